//! The end of a call: what must be kept is kept, the last words are said, and the call is over.

use std::time::Instant;

use crate::deposit::{Deposit, Settled, Settling};
use crate::io::{Action, Event};
use crate::line::{Line, Turn};
use crate::outcome::{CallResult, EndOfCall, Outcome};
use crate::phrase::Phrase;

/// Why a conversation is over, and what remains to be done.
#[derive(Debug)]
pub(crate) struct Farewell {
    pub(crate) end: EndOfCall,
    /// To be kept first.
    pub(crate) deposit: Option<Deposit>,
    /// Said then, while somebody is there to hear them.
    pub(crate) words: Vec<Phrase>,
}

impl Farewell {
    pub(crate) fn new(end: EndOfCall) -> Self {
        Self { end, deposit: None, words: Vec::new() }
    }

    pub(crate) fn deposit(self, deposit: Deposit) -> Self {
        Self { deposit: Some(deposit), ..self }
    }

    pub(crate) fn words(self, words: &[Phrase]) -> Self {
        Self { words: words.to_vec(), ..self }
    }
}

#[derive(Debug)]
pub(crate) struct Leaving {
    end: EndOfCall,
    words: Vec<Phrase>,
    stage: Stage,
    /// The caller is still there.
    connected: bool,
}

#[derive(Debug)]
enum Stage {
    Settling(Settling),
    Speaking,
    Ended,
}

impl Leaving {
    /// Says goodbye. `connected`: the call is up, and is ours to end.
    pub(crate) fn begin(farewell: Farewell, connected: bool, line: &mut Line, now: Instant) -> Self {
        let Farewell { end, deposit, words } = farewell;
        let mut leaving = Self { end, words, stage: Stage::Ended, connected };
        line.resume(now);
        match deposit {
            Some(deposit) => {
                let (settling, settled) = Settling::begin(deposit, line, now);
                leaving.stage = Stage::Settling(settling);
                leaving.settled(settled, line, now);
            }
            None => {
                line.stop();
                leaving.speak(line, now);
            }
        }
        leaving
    }

    pub(crate) fn on(&mut self, turn: Turn, line: &mut Line, now: Instant) {
        match &mut self.stage {
            Stage::Settling(settling) => {
                let settled = settling.on(turn, line, now);
                self.settled(settled, line, now);
            }
            Stage::Speaking => self.end(line),
            Stage::Ended => {}
        }
    }

    /// The caller is gone, or cannot hear us any more.
    pub(crate) fn disconnected(&mut self, hung_up: bool, line: &mut Line) {
        self.words.clear();
        self.connected &= !hung_up;
        if matches!(self.stage, Stage::Speaking) {
            line.stop();
            self.end(line);
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    fn settled(&mut self, settled: Settled, line: &mut Line, now: Instant) {
        let said = match settled {
            Settled::Waiting => return,
            Settled::Kept => Some(Phrase::MessageAccepted),
            Settled::Unconfirmed => Some(Phrase::MessageNotAccepted),
            Settled::Nothing => None,
        };
        if let Some(said) = said.filter(|_| !self.words.is_empty()) {
            self.words.insert(self.words.len() - 1, said);
        }
        self.speak(line, now);
    }

    fn speak(&mut self, line: &mut Line, now: Instant) {
        if !self.connected || self.words.is_empty() {
            return self.end(line);
        }
        let speech = self.words.iter().fold(line.speech(), |speech, &phrase| speech.sentence(phrase));
        self.stage = Stage::Speaking;
        line.play_whole(speech, now);
    }

    fn end(&mut self, line: &mut Line) {
        if self.connected {
            line.emit(Action::HangUp);
        }
        if line.result == CallResult::MissedCall && line.mailbox.is_some() {
            line.event(Event::CallMissed);
        }
        line.emit(Action::Ended(Outcome { mailbox: line.mailbox, result: line.result, end: self.end }));
        self.stage = Stage::Ended;
    }
}
