//! Call answering: a caller reached a mailbox instead of its owner.

use std::time::{Duration, Instant};

use crate::address::Address;
use crate::command::{GreetingCommand, RecordingCommand, ReviewCommand};
use crate::conversation::Next;
use crate::deposit::{Deposit, Opened};
use crate::io::{Clip, EndOfRecording, Event, Kind, Reason};
use crate::key_map::Match;
use crate::leaving::Farewell;
use crate::limits::REPEATS_MAX;
use crate::line::{Choice, Line, Turn};
use crate::mailbox::{GreetingKind, Mailbox};
use crate::outcome::EndOfCall;
use crate::phrase::Phrase;
use crate::speech::Speech;
use crate::store::AudioId;
use crate::store_request::{StoreAnswer, StoreError, StoreRequest};

/// The conversation with a caller.
pub(crate) struct Answering {
    /// None until it is found.
    mailbox: Option<Box<Mailbox>>,
    deposit: Deposit,
    stage: Stage,
    /// Takes in a row without audio.
    empty_takes: u32,
    /// Takes in all, and times that the operator did not answer.
    repeats: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    FindingMailbox,
    /// The store opens a recording; what is said next.
    Opening(Opening),
    Greeting,
    Tone,
    Recording,
    Review,
    Transferring,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Greeting,
    /// "Record after the tone", after these words.
    Tone(Option<Phrase>),
}

impl Answering {
    pub(crate) fn begin(line: &mut Line, mailbox: Address, now: Instant) -> Self {
        line.ask(StoreRequest::FindMailbox { plan: line.start.plan.clone(), address: mailbox }, now);
        Self { mailbox: None, deposit: Deposit::default(), stage: Stage::FindingMailbox, empty_takes: 0, repeats: 0 }
    }

    /// Gives up what is still open, for the end of the call.
    pub(crate) fn take_deposit(&mut self) -> Deposit {
        std::mem::take(&mut self.deposit)
    }

    pub(crate) fn on(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        match self.stage {
            Stage::FindingMailbox => self.on_found(turn, line, now),
            Stage::Opening(opening) => self.on_opened(opening, turn, line, now),
            Stage::Greeting => self.on_greeting(turn, line, now),
            Stage::Tone => self.on_tone(line, now),
            Stage::Recording => self.on_recording(turn, line, now),
            Stage::Review => self.on_review(turn, line, now),
            Stage::Transferring => self.on_transfer(turn, line, now),
        }
    }

    fn on_found(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        match turn {
            Turn::Answer(StoreAnswer::FoundMailbox(Some(mailbox))) => {
                line.mailbox = Some(mailbox.id);
                if is_called_by_its_owner(line, &mailbox) {
                    return Next::Logon(mailbox);
                }
                line.speak_for(&mailbox);
                self.mailbox = Some(mailbox);
                self.open(Opening::Greeting, line, now)
            }
            Turn::Answer(StoreAnswer::FoundMailbox(None)) => {
                line.event(Event::MailboxUnknown);
                Next::Leave(Farewell::new(EndOfCall::Refused).words(&[Phrase::MailboxUnknown, Phrase::Goodbye]))
            }
            turn => Next::store_failed(turn.store_error(), line),
        }
    }

    fn open(&mut self, opening: Opening, line: &mut Line, now: Instant) -> Next {
        let Some(mailbox) = &self.mailbox else { return Next::Stay };
        self.stage = Stage::Opening(opening);
        self.deposit.open(mailbox, line, now);
        Next::Stay
    }

    fn on_opened(&mut self, opening: Opening, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let Turn::Answer(answer) = turn else { return Next::Stay };
        match self.deposit.opened(answer, line) {
            Opened::Yes => {}
            Opened::MailboxFull => return self.refuse(Event::MailboxFull, Phrase::MailboxFull, line),
            Opened::TooManyDeposits => return self.refuse(Event::TooManyDeposits, Phrase::MailboxBusy, line),
            Opened::Failed(error) => return self.no_recording(error, line),
        }
        match opening {
            Opening::Greeting => {
                self.stage = Stage::Greeting;
                let speech = self.greeting(line, true);
                // One playback: a greeting and the standard words. A greeting is never longer than allowed.
                line.play(speech, line.options.greeting_max, now);
            }
            Opening::Tone(before) => {
                let speech = before.into_iter().fold(line.speech(), Speech::sentence);
                self.stage = Stage::Greeting;
                line.play(speech.sentence(Phrase::RecordAfterTone), Duration::ZERO, now);
            }
        }
        Next::Stay
    }

    fn refuse(&mut self, event: Event, words: Phrase, line: &mut Line) -> Next {
        line.event(event);
        Next::Leave(self.farewell(EndOfCall::Refused).words(&[words, Phrase::Goodbye]))
    }

    /// The store cannot record.
    fn no_recording(&mut self, error: StoreError, line: &mut Line) -> Next {
        line.event(Event::of(error));
        Next::Leave(self.farewell(EndOfCall::StoreFailed).words(&[Phrase::CannotRecord, Phrase::Goodbye]))
    }

    /// What callers hear first. `recorded`: with the owner's recordings, where there are any.
    fn greeting(&self, line: &Line, recorded: bool) -> Speech {
        let speech = line.speech();
        let Some(mailbox) = self.mailbox.as_deref() else { return speech };
        let recording = |kind| mailbox.recorded(kind).filter(|_| recorded);
        if let Some(greeting) = mailbox.greeting.kind().and_then(recording) {
            return speech.audio(AudioId::Greeting(greeting));
        }
        let who = match (recording(GreetingKind::Name), mailbox.spoken_digits()) {
            (Some(name), _) => speech.audio(AudioId::Greeting(name)),
            (None, Some(digits)) => {
                speech.phrase(Phrase::ThePersonAt).words(|language, words| language.digits(digits, words))
            }
            (None, None) => speech.phrase(Phrase::ThePersonYouCalled),
        };
        let keys = &line.options.keys.recording;
        who.sentence(Phrase::IsNotAvailable).sentence(Phrase::LeaveMessage).choice(keys, RecordingCommand::Finish)
    }

    fn on_greeting(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        match turn {
            Turn::Played => return self.tone(line, now),
            Turn::PlayFailed => {
                // A greeting that cannot be read is no reason to lose the message.
                let speech = self.greeting(line, false);
                line.play(speech, Duration::ZERO, now);
                return Next::Stay;
            }
            _ => {}
        }
        let keys = line.options.keys.clone();
        match line.choose(&keys.greeting, &turn, now) {
            Choice::Wait => Next::Stay,
            Choice::Command(GreetingCommand::Operator) => self.transfer(line, now),
            // Whoever presses anything else has heard enough of the greeting.
            Choice::Command(GreetingCommand::Skip) | Choice::WrongKey | Choice::NoKey => self.tone(line, now),
        }
    }

    fn tone(&mut self, line: &mut Line, now: Instant) -> Next {
        self.stage = Stage::Tone;
        line.play_whole(line.speech().clip(Clip::Tone), now);
        Next::Stay
    }

    fn on_tone(&mut self, line: &mut Line, now: Instant) -> Next {
        self.stage = Stage::Recording;
        if self.deposit.record(line, now) { Next::Stay } else { self.no_recording(StoreError::Gone, line) }
    }

    fn on_recording(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        match turn {
            Turn::Digit(digit) => {
                match line.options.keys.recording.find(&[digit]) {
                    Match::Command(RecordingCommand::Finish) => line.stop_recording(now),
                    Match::Command(RecordingCommand::Operator) if self.has_operator(line) => {
                        self.stage = Stage::Transferring;
                        line.stop_recording(now);
                    }
                    _ => {}
                }
                Next::Stay
            }
            Turn::Recorded { why, audio } => self.recorded(why, audio, line, now),
            _ => Next::Stay,
        }
    }

    fn recorded(&mut self, why: EndOfRecording, audio: Option<Duration>, line: &mut Line, now: Instant) -> Next {
        let is_message = self.deposit.recorded(audio);
        if let EndOfRecording::StoreFailed(error) = why {
            line.event(Event::of(error));
            let words = if is_message { Phrase::LimitReached } else { Phrase::CannotRecord };
            return Next::Leave(self.farewell(EndOfCall::StoreFailed).words(&[words, Phrase::Goodbye]));
        }
        if !is_message {
            self.empty_takes += 1;
            if self.empty_takes >= line.options.input_failures_max {
                line.event(Event::InputsFailed);
                let words = [Phrase::NothingRecorded, Phrase::Goodbye];
                return Next::Leave(self.farewell(EndOfCall::InputsFailed).words(&words));
            }
            return self.open(Opening::Tone(Some(Phrase::NothingRecorded)), line, now);
        }
        self.empty_takes = 0;
        self.review((why == EndOfRecording::Limit).then_some(Phrase::LimitReached), line, now)
    }

    fn review(&mut self, before: Option<Phrase>, line: &mut Line, now: Instant) -> Next {
        self.stage = Stage::Review;
        let speech = before.into_iter().fold(line.speech(), Speech::sentence);
        self.review_menu(speech, Duration::ZERO, line, now);
        Next::Stay
    }

    fn review_menu(&self, before: Speech, recorded: Duration, line: &mut Line, now: Instant) {
        let keys = line.options.keys.clone();
        let has_operator = self.has_operator(line);
        let menu = before.menu(&keys.review, |command| command == ReviewCommand::Operator && !has_operator);
        line.play(menu, recorded, now);
    }

    fn on_review(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let keys = line.options.keys.clone();
        let said = match line.choose(&keys.review, &turn, now) {
            Choice::Wait => return Next::Stay,
            Choice::Command(command) => {
                self.repeats += 1;
                if self.repeats > REPEATS_MAX {
                    return self.accept(EndOfCall::InputsFailed);
                }
                return self.reviewed(command, line, now);
            }
            Choice::WrongKey => Phrase::WrongKey,
            Choice::NoKey => Phrase::AreYouThere,
        };
        if line.failed() {
            line.event(Event::InputsFailed);
            return self.accept(EndOfCall::InputsFailed);
        }
        self.review(Some(said), line, now)
    }

    fn reviewed(&mut self, command: ReviewCommand, line: &mut Line, now: Instant) -> Next {
        match command {
            ReviewCommand::Accept => self.accept(EndOfCall::Finished),
            ReviewCommand::Listen => {
                if let Some((recording, audio)) = self.deposit.message() {
                    let heard = line.speech().audio(AudioId::Recording(recording));
                    let longest = audio.unwrap_or(line.options.message_max);
                    self.review_menu(heard, longest, line, now);
                }
                Next::Stay
            }
            ReviewCommand::RecordAgain => self.open(Opening::Tone(None), line, now),
            ReviewCommand::Cancel => {
                self.deposit.cancel(line);
                Next::Leave(Farewell::new(EndOfCall::Finished).words(&[Phrase::Cancelled, Phrase::Goodbye]))
            }
            ReviewCommand::Operator => self.transfer(line, now),
        }
    }

    /// The message is left: it is brought to the store, and the caller told.
    fn accept(&mut self, end: EndOfCall) -> Next {
        Next::Leave(self.farewell(end).words(&[Phrase::Goodbye]))
    }

    fn has_operator(&self, line: &Line) -> bool {
        self.mailbox.as_ref().is_some_and(|mailbox| line.options.operator_of(mailbox).is_some())
    }

    fn transfer(&mut self, line: &mut Line, now: Instant) -> Next {
        let operator = self.mailbox.as_ref().and_then(|mailbox| line.options.operator_of(mailbox));
        let Some(target) = operator.map(str::to_owned) else {
            return match self.stage {
                Stage::Review => self.review(Some(Phrase::NoOperator), line, now),
                _ => self.tone(line, now),
            };
        };
        self.stage = Stage::Transferring;
        line.transfer(target, now);
        Next::Stay
    }

    fn on_transfer(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        match turn {
            // The operator was asked for during the recording, which has ended now.
            Turn::Recorded { audio, .. } => {
                self.deposit.recorded(audio);
                self.transfer(line, now)
            }
            Turn::Transferred => Next::Leave(self.farewell(EndOfCall::Transferred)),
            _ => {
                line.event(Event::TransferFailed);
                self.repeats += 1;
                if self.deposit.message().is_some() || self.repeats > REPEATS_MAX {
                    let words = [Phrase::OperatorFailed, Phrase::Goodbye];
                    return Next::Leave(self.farewell(EndOfCall::Finished).words(&words));
                }
                self.open(Opening::Tone(Some(Phrase::OperatorFailed)), line, now)
            }
        }
    }

    fn farewell(&mut self, end: EndOfCall) -> Farewell {
        Farewell::new(end).deposit(self.take_deposit())
    }
}

/// A mailbox's own number, called by itself and not diverted, wants its messages.
fn is_called_by_its_owner(line: &Line, mailbox: &Mailbox) -> bool {
    let directly = matches!(line.start.kind, Kind::Answering { reason: Reason::Direct, .. });
    directly && line.start.caller_address.as_ref().is_some_and(|caller| mailbox.addresses.contains(caller))
}
