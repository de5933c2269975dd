//! Before the PIN: an owner calls, or somebody who claims to be one. Nothing of any mailbox is told, not even whether
//! it exists.

use std::time::{Duration, Instant};

use crate::address::Address;
use crate::command::EntryCommand;
use crate::conversation::Next;
use crate::io::Event;
use crate::leaving::Farewell;
use crate::line::{Entry, Line, Turn};
use crate::mailbox::Mailbox;
use crate::outcome::{CallResult, EndOfCall};
use crate::phrase::Phrase;
use crate::pin::Pin;
use crate::speech::Speech;
use crate::store_request::{PinAttempt, PinVerdict, StoreAnswer, StoreError, StoreRequest};

pub(crate) struct Logon {
    /// The mailbox asked for. None: not yet known, or there is none such.
    mailbox: Option<Box<Mailbox>>,
    stage: Stage,
    failures: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    FindingByCaller,
    Number,
    /// By the number entered, as an extension first, then as what follows.
    FindingByNumber(Option<Address>),
    Pin,
    Verifying,
}

impl Logon {
    pub(crate) fn begin(line: &mut Line, now: Instant) -> Self {
        let mut logon = Self { mailbox: None, stage: Stage::FindingByCaller, failures: 0 };
        match line.start.caller_address.clone() {
            Some(address) => find(address, line, now),
            None => logon.ask_number(Some(Phrase::Welcome), line, now),
        }
        logon
    }

    /// The call of an owner to the own number.
    pub(crate) fn of_owner(mailbox: Box<Mailbox>, line: &mut Line, now: Instant) -> Self {
        let mut logon = Self { mailbox: Some(mailbox), stage: Stage::Pin, failures: 0 };
        logon.ask_pin(Some(Phrase::Welcome), line, now);
        logon
    }

    pub(crate) fn on(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        match self.stage {
            Stage::FindingByCaller | Stage::FindingByNumber(_) => self.on_found(turn, line, now),
            Stage::Number => self.on_number(turn, line, now),
            Stage::Pin => self.on_pin(turn, line, now),
            Stage::Verifying => self.on_verified(turn, line, now),
        }
    }

    fn ask_number(&mut self, before: Option<Phrase>, line: &mut Line, now: Instant) {
        self.mailbox = None;
        self.stage = Stage::Number;
        ask_entry(before, Phrase::EnterMailbox, line, now);
    }

    fn ask_pin(&mut self, before: Option<Phrase>, line: &mut Line, now: Instant) {
        self.stage = Stage::Pin;
        ask_entry(before, Phrase::EnterPin, line, now);
    }

    fn on_found(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let Turn::Answer(StoreAnswer::FoundMailbox(found)) = turn else {
            return Next::store_failed(turn.store_error(), line);
        };
        self.mailbox = found;
        match std::mem::replace(&mut self.stage, Stage::Pin) {
            Stage::FindingByCaller if self.mailbox.is_none() => self.ask_number(Some(Phrase::Welcome), line, now),
            Stage::FindingByCaller => self.ask_pin(Some(Phrase::Welcome), line, now),
            Stage::FindingByNumber(Some(address)) if self.mailbox.is_none() => {
                self.stage = Stage::FindingByNumber(None);
                find(address, line, now);
            }
            // The PIN is asked for even if there is no such mailbox.
            _ => self.ask_pin(None, line, now),
        }
        Next::Stay
    }

    fn on_number(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let keys = line.options.keys.clone();
        match line.enter(&keys.entry, &turn, now) {
            Entry::Wait => {}
            Entry::Entered(digits) => {
                let extension: Option<Address> = digits.parse().ok();
                let number = format!("+{}", *digits).parse().ok();
                let (first, then) = if extension.is_some() { (extension, number) } else { (number, None) };
                match first {
                    Some(address) => {
                        self.stage = Stage::FindingByNumber(then);
                        find(address, line, now);
                    }
                    // Nobody can have that number, which the caller is not told either.
                    None => self.ask_pin(None, line, now),
                }
            }
            Entry::Left | Entry::NoKey if line.failed() => return Next::inputs_failed(line),
            Entry::Left | Entry::NoKey => self.ask_number(Some(Phrase::AreYouThere), line, now),
        }
        Next::Stay
    }

    fn on_pin(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let keys = line.options.keys.clone();
        match line.enter(&keys.entry, &turn, now) {
            Entry::Wait => {}
            Entry::Entered(digits) => {
                // What cannot be a PIN tries none.
                let Some(pin) = Pin::new(&digits) else { return self.wrong_pin(line, now) };
                self.stage = Stage::Verifying;
                let mailbox = self.mailbox.as_ref().map(|mailbox| mailbox.id);
                let attempts_max = line.options.pin.attempts_max;
                line.ask(StoreRequest::VerifyPin(PinAttempt { mailbox, pin, attempts_max }), now);
            }
            Entry::Left | Entry::NoKey if line.failed() => return Next::inputs_failed(line),
            // The clear key with nothing to clear: another mailbox is meant.
            Entry::Left => self.ask_number(None, line, now),
            Entry::NoKey => self.ask_pin(Some(Phrase::AreYouThere), line, now),
        }
        Next::Stay
    }

    fn on_verified(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let Turn::Answer(StoreAnswer::VerifiedPin(verdict)) = turn else {
            return Next::store_failed(turn.store_error(), line);
        };
        match (verdict, self.mailbox.take()) {
            (PinVerdict::Right { chosen, must_change }, Some(mailbox)) => {
                line.event(Event::LoggedOn);
                line.result = CallResult::SubscriberAccess;
                line.mailbox = Some(mailbox.id);
                line.speak_for(&mailbox);
                let expired = line.options.pin.has_expired(chosen, line.wall(now));
                let why_expired = expired.then_some(Phrase::PinExpired);
                Next::Access { mailbox, must_change: must_change.then_some(Phrase::MustChangePin).or(why_expired) }
            }
            (PinVerdict::Locked, _) => {
                line.event(Event::LockedOut);
                Next::Leave(Farewell::new(EndOfCall::LogonFailed).words(&[Phrase::Locked, Phrase::Goodbye]))
            }
            (PinVerdict::Wrong | PinVerdict::Right { .. }, mailbox) => {
                self.mailbox = mailbox;
                self.wrong_pin(line, now)
            }
        }
    }

    fn wrong_pin(&mut self, line: &mut Line, now: Instant) -> Next {
        line.event(Event::LogonFailed);
        self.failures += 1;
        if self.failures >= line.options.logon_failures_max {
            let words = [Phrase::WrongLogon, Phrase::Goodbye];
            return Next::Leave(Farewell::new(EndOfCall::LogonFailed).words(&words));
        }
        self.ask_pin(Some(Phrase::WrongLogon), line, now);
        Next::Stay
    }
}

fn find(address: Address, line: &mut Line, now: Instant) {
    line.ask(StoreRequest::FindMailbox { plan: line.start.plan.clone(), address }, now);
}

/// Asks for digits, after some words.
pub(crate) fn ask_entry(before: Option<Phrase>, what: Phrase, line: &mut Line, now: Instant) {
    let keys = line.options.keys.clone();
    let speech = before.into_iter().fold(line.speech(), Speech::sentence);
    line.play(speech.entry(what, &keys.entry, EntryCommand::Finish), Duration::ZERO, now);
}

impl Turn {
    /// The store's error; any other turn where an answer was due is its fault too.
    pub(crate) fn store_error(&self) -> StoreError {
        match self {
            Self::Answer(StoreAnswer::Failed(error)) => *error,
            _ => StoreError::Unavailable,
        }
    }
}
