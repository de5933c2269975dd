//! The choice of a new PIN: entered twice, judged by the policy, and by the store's memory of earlier ones.

use std::time::{Duration, Instant};

use crate::io::Event;
use crate::line::{Entry, Line, Turn};
use crate::logon::ask_entry;
use crate::mailbox::Mailbox;
use crate::phrase::Phrase;
use crate::pin::{Pin, PinRefusal};
use crate::store_request::{PinChange, PinChanged, StoreAnswer, StoreError, StoreRequest};

pub(crate) struct NewPin {
    stage: Stage,
    /// PINs that were refused, and entries that were not made.
    failures: u32,
}

enum Stage {
    First,
    /// What the first entry was.
    Again(Pin),
    Changing,
}

pub(crate) enum NewPinNext {
    Stay,
    Changed,
    GivenUp,
    StoreFailed(StoreError),
}

impl NewPin {
    /// Asks for one, after saying why.
    pub(crate) fn begin(why: Option<Phrase>, line: &mut Line, now: Instant) -> Self {
        ask_entry(why, Phrase::EnterNewPin, line, now);
        Self { stage: Stage::First, failures: 0 }
    }

    pub(crate) fn on(&mut self, turn: Turn, mailbox: &Mailbox, line: &mut Line, now: Instant) -> NewPinNext {
        if matches!(self.stage, Stage::Changing) {
            return self.on_changed(turn, line, now);
        }
        let keys = line.options.keys.clone();
        let digits = match line.enter(&keys.entry, &turn, now) {
            Entry::Wait => return NewPinNext::Stay,
            Entry::Entered(digits) => digits,
            Entry::Left | Entry::NoKey => return self.again(Phrase::AreYouThere, line, now),
        };
        // Digits and "*" come in; too many, or a "*", make no PIN.
        let Some(pin) = Pin::new(&digits) else { return self.again(Phrase::PinTooLong, line, now) };
        match std::mem::replace(&mut self.stage, Stage::First) {
            Stage::Again(first) if first == pin => {
                self.stage = Stage::Changing;
                let history = line.options.pin.history;
                let change = PinChange { mailbox: mailbox.id, pin, history, chosen: line.wall(now) };
                line.ask(StoreRequest::ChangePin(change), now);
                NewPinNext::Stay
            }
            Stage::Again(_) => self.again(Phrase::PinsDiffer, line, now),
            Stage::First | Stage::Changing => match line.options.pin.judge(&pin, mailbox) {
                Ok(()) => {
                    self.stage = Stage::Again(pin);
                    ask_entry(None, Phrase::EnterPinAgain, line, now);
                    NewPinNext::Stay
                }
                Err(PinRefusal::TooShort) => self.again(Phrase::PinTooShort, line, now),
                Err(PinRefusal::TooLong) => self.again(Phrase::PinTooLong, line, now),
                Err(PinRefusal::CommonPattern) => self.again(Phrase::PinTooEasy, line, now),
                Err(PinRefusal::OwnNumber) => self.again(Phrase::PinOwnNumber, line, now),
            },
        }
    }

    fn on_changed(&mut self, turn: Turn, line: &mut Line, now: Instant) -> NewPinNext {
        match turn {
            Turn::Answer(StoreAnswer::ChangedPin(PinChanged::Changed)) => {
                line.event(Event::PinChanged);
                NewPinNext::Changed
            }
            Turn::Answer(StoreAnswer::ChangedPin(PinChanged::UsedBefore)) => {
                self.again(Phrase::PinUsedBefore, line, now)
            }
            turn => NewPinNext::StoreFailed(turn.store_error()),
        }
    }

    /// From the beginning, after saying what was wrong.
    fn again(&mut self, why: Phrase, line: &mut Line, now: Instant) -> NewPinNext {
        self.stage = Stage::First;
        self.failures += 1;
        if self.failures >= line.options.input_failures_max {
            return NewPinNext::GivenUp;
        }
        if why == Phrase::PinTooShort {
            let length_min = line.options.pin.length_min;
            let keys = line.options.keys.clone();
            let speech = line
                .speech()
                .phrase(why)
                .words(|language, words| language.digits_at_least(length_min, words))
                .pause()
                .entry(Phrase::EnterNewPin, &keys.entry, crate::command::EntryCommand::Finish);
            line.play(speech, Duration::ZERO, now);
        } else {
            ask_entry(Some(why), Phrase::EnterNewPin, line, now);
        }
        NewPinNext::Stay
    }
}
