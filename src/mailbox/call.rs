//! The state machine of one call.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::access::Access;
use crate::answering::Answering;
use crate::conversation::Next;
use crate::io::{Action, Errand, Event, Input, Kind, Start};
use crate::leaving::{Farewell, Leaving};
use crate::line::{Line, Turn};
use crate::logon::Logon;
use crate::options::Options;
use crate::outcome::{CallResult, EndOfCall};
use crate::phrase::Phrase;
use crate::placed::Placed;
use crate::store_request::{Began, StoreAnswer};

/// A call, from its answer to its end.
///
/// One mutation, then drain: after [`new`](Self::new), [`handle`](Self::handle) and
/// [`handle_timeout`](Self::handle_timeout), take actions from [`poll`](Self::poll) until there are none, then read
/// [`deadline`](Self::deadline). It ends with [`Action::Ended`], at the latest a few store timeouts after the longest
/// call.
pub struct Call {
    line: Line,
    part: Part,
}

enum Part {
    Answering(Answering),
    Logon(Logon),
    Access(Box<Access>),
    Placed(Placed),
    Leaving(Leaving),
}

impl Call {
    /// A call that has just been answered. `wall` is the time of day at `now`, for dates; no timer runs on it.
    pub fn new(options: Arc<Options>, start: Start, now: Instant, wall: Timestamp) -> Self {
        let start = Start { caller: start.caller.shortened(), ..start };
        let kind = start.kind.clone();
        let result = match kind {
            Kind::Answering { .. } => CallResult::MissedCall,
            Kind::SubscriberAccess => CallResult::UnauthenticatedPilot,
            Kind::Placed { errand: Errand::RecordGreeting(_), .. } => CallResult::GreetingsRecording,
            Kind::Placed { .. } => CallResult::PlayOnPhone,
        };
        let mut line = Line::new(options, start, result, now, wall);
        let part = match kind {
            Kind::Answering { mailbox, .. } => Part::Answering(Answering::begin(&mut line, mailbox, now)),
            Kind::SubscriberAccess => Part::Logon(Logon::begin(&mut line, now)),
            Kind::Placed { mailbox, errand } => Part::Placed(Placed::begin(mailbox, errand, &mut line, now)),
        };
        Self { line, part }
    }

    /// Takes an input. What was not asked for, or comes too late, changes nothing.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if self.has_ended() {
            return;
        }
        match input {
            Input::HungUp => self.disconnect(EndOfCall::CallerHungUp, now),
            Input::MediaLost => self.disconnect(EndOfCall::MediaLost, now),
            Input::Held if !self.is_leaving() => self.line.hold(now),
            Input::Held => {}
            Input::Resumed => self.line.resume(now),
            input => {
                let opened_late = match &input {
                    Input::Stored(_, StoreAnswer::BeganRecording(Began::Recording { recording, .. })) => {
                        Some(*recording)
                    }
                    _ => None,
                };
                match self.line.turn(input) {
                    Some(turn) => self.take(turn, now),
                    None => opened_late.into_iter().for_each(|recording| self.line.discard(recording)),
                }
            }
        }
    }

    /// The next action, in the order to be carried out.
    pub fn poll(&mut self) -> Option<Action> {
        self.line.poll()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); none once the call has ended.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.part {
            Part::Leaving(leaving) if leaving.has_ended() => None,
            Part::Leaving(_) => self.line.deadline(),
            _ => Some(self.line.deadline().map_or(self.line.end(), |deadline| deadline.min(self.line.end()))),
        }
    }

    /// Acts on what `now` has come to. Before the deadline it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.has_ended() {
            return;
        }
        if !self.is_leaving() && now >= self.line.end() {
            self.line.event(Event::CallTooLong);
            return self.leave(EndOfCall::CallTooLong, &[Phrase::CallTooLong, Phrase::Goodbye], true, now);
        }
        if let Some(turn) = self.line.timed_out(now) {
            self.take(turn, now);
        }
    }

    /// Whether [`Action::Ended`] was given out or waits to be polled.
    pub fn has_ended(&self) -> bool {
        matches!(&self.part, Part::Leaving(leaving) if leaving.has_ended())
    }

    fn is_leaving(&self) -> bool {
        matches!(self.part, Part::Leaving(_))
    }

    /// A turn, and the keys pressed ahead that it makes room for.
    fn take(&mut self, turn: Turn, now: Instant) {
        let mut turn = Some(turn);
        while let Some(taken) = turn {
            let next = match &mut self.part {
                Part::Answering(answering) => answering.on(taken, &mut self.line, now),
                Part::Logon(logon) => logon.on(taken, &mut self.line, now),
                Part::Access(access) => access.on(taken, &mut self.line, now),
                Part::Placed(placed) => placed.on(taken, &mut self.line, now),
                Part::Leaving(leaving) => {
                    leaving.on(taken, &mut self.line, now);
                    Next::Stay
                }
            };
            match next {
                Next::Stay => {}
                Next::Logon(mailbox) => {
                    self.line.result = CallResult::UnauthenticatedPilot;
                    self.part = Part::Logon(Logon::of_owner(mailbox, &mut self.line, now));
                }
                Next::Access { mailbox, must_change } => {
                    self.part = Part::Access(Box::new(Access::begin(mailbox, must_change, &mut self.line, now)));
                }
                Next::Leave(farewell) => {
                    self.part = Part::Leaving(Leaving::begin(farewell, true, &mut self.line, now));
                }
            }
            turn = self.line.key_ahead();
        }
    }

    fn disconnect(&mut self, end: EndOfCall, now: Instant) {
        let hung_up = end == EndOfCall::CallerHungUp;
        match &mut self.part {
            Part::Leaving(leaving) => leaving.disconnected(hung_up, &mut self.line),
            _ => self.leave(end, &[], !hung_up, now),
        }
    }

    /// Ends the conversation wherever it is.
    fn leave(&mut self, end: EndOfCall, words: &[Phrase], connected: bool, now: Instant) {
        let farewell = Farewell::new(end).words(words);
        let farewell = match &mut self.part {
            Part::Answering(answering) => farewell.deposit(answering.take_deposit()),
            Part::Logon(_) => farewell,
            Part::Access(access) => {
                access.abandon(&mut self.line);
                farewell
            }
            Part::Placed(placed) => {
                placed.abandon(&mut self.line);
                farewell
            }
            Part::Leaving(_) => return,
        };
        self.part = Part::Leaving(Leaving::begin(farewell, connected, &mut self.line, now));
    }
}
