//! An owner's greetings: recording one, and choosing which one callers hear.

use std::time::{Duration, Instant};

use crate::command::{RecordingCommand, ReviewCommand};
use crate::id::RecordingId;
use crate::io::{Clip, EndOfRecording, Event};
use crate::key_map::Match;
use crate::limits::{GREETING_MIN, REPEATS_MAX};
use crate::line::{Choice, Line, Turn};
use crate::mailbox::{GreetingInUse, GreetingKind, Mailbox, RecordedGreeting};
use crate::phrase::Phrase;
use crate::speech::Speech;
use crate::store::AudioId;
use crate::store_request::{Began, Beginning, Finished, Finishing, Purpose, StoreAnswer, StoreError, StoreRequest};

pub(crate) struct Greetings {
    kind: GreetingKind,
    stage: Stage,
    /// What is recorded and neither accepted nor discarded.
    take: Option<RecordingId>,
    length: Duration,
    takes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    /// "Record after the tone."
    Prompt,
    Tone,
    Recording,
    Review,
    Finishing,
    /// The store puts a greeting into use; said then.
    Choosing(GreetingInUse, Option<Phrase>),
}

pub(crate) enum GreetingsNext {
    Stay,
    /// Back to the menu, where this is said first.
    Done(Option<Phrase>),
    GivenUp,
}

impl Greetings {
    /// Records a greeting.
    pub(crate) fn record(kind: GreetingKind, mailbox: &Mailbox, line: &mut Line, now: Instant) -> Self {
        let mut greetings = Self { kind, stage: Stage::Opening, take: None, length: Duration::ZERO, takes: 0 };
        greetings.open(mailbox, line, now);
        greetings
    }

    /// Puts a greeting into use, which has been recorded if it needs to be.
    pub(crate) fn choose(
        greeting: GreetingInUse,
        said: Option<Phrase>,
        mailbox: &Mailbox,
        line: &mut Line,
        now: Instant,
    ) -> Self {
        line.ask(StoreRequest::UseGreeting { mailbox: mailbox.id, greeting }, now);
        let kind = greeting.kind().unwrap_or(GreetingKind::Own);
        Self { kind, stage: Stage::Choosing(greeting, said), take: None, length: Duration::ZERO, takes: 0 }
    }

    /// Discards what was not accepted.
    pub(crate) fn abandon(&mut self, line: &mut Line) {
        line.end_recording();
        if let Some(recording) = self.take.take().filter(|_| self.stage != Stage::Finishing) {
            line.discard(recording);
        }
    }

    pub(crate) fn on(&mut self, turn: Turn, mailbox: &mut Mailbox, line: &mut Line, now: Instant) -> GreetingsNext {
        match self.stage {
            Stage::Opening => self.on_opened(turn, line, now),
            Stage::Prompt => {
                self.stage = Stage::Tone;
                line.play_whole(line.speech().clip(Clip::Tone), now);
                GreetingsNext::Stay
            }
            Stage::Tone => {
                let Some(recording) = self.take else { return failed(StoreError::Gone, line) };
                self.stage = Stage::Recording;
                line.record(recording, line.options.greeting_max, now);
                GreetingsNext::Stay
            }
            Stage::Recording => self.on_recording(turn, mailbox, line, now),
            Stage::Review => self.on_review(turn, mailbox, line, now),
            Stage::Finishing => self.on_finished(turn, mailbox, line, now),
            Stage::Choosing(greeting, said) => match turn {
                Turn::Answer(StoreAnswer::UsesGreeting) => {
                    mailbox.greeting = greeting;
                    GreetingsNext::Done(said)
                }
                turn => failed(turn.store_error(), line),
            },
        }
    }

    fn open(&mut self, mailbox: &Mailbox, line: &mut Line, now: Instant) {
        if let Some(recording) = self.take.take() {
            line.discard(recording);
        }
        self.stage = Stage::Opening;
        let purpose = Purpose::Greeting(self.kind);
        let beginning = Beginning { mailbox: mailbox.id, purpose, rate_hz: line.start.rate_hz, begun: line.wall(now) };
        line.ask(StoreRequest::BeginRecording(beginning), now);
    }

    fn on_opened(&mut self, turn: Turn, line: &mut Line, now: Instant) -> GreetingsNext {
        match turn {
            Turn::Answer(StoreAnswer::BeganRecording(Began::Recording { recording, .. })) => {
                self.take = Some(recording);
                self.stage = Stage::Prompt;
                let nothing_before = (self.takes > 0 && self.length < GREETING_MIN).then_some(Phrase::NothingRecorded);
                let speech = nothing_before.into_iter().fold(line.speech(), Speech::sentence);
                line.play_whole(speech.sentence(Phrase::RecordAfterTone), now);
                GreetingsNext::Stay
            }
            turn => failed(turn.store_error(), line),
        }
    }

    fn on_recording(&mut self, turn: Turn, mailbox: &Mailbox, line: &mut Line, now: Instant) -> GreetingsNext {
        match turn {
            Turn::Digit(digit) => {
                let is_finish = line.options.keys.recording.find(&[digit]) == Match::Command(RecordingCommand::Finish);
                if is_finish {
                    line.stop_recording(now);
                }
                GreetingsNext::Stay
            }
            Turn::Recorded { why: EndOfRecording::StoreFailed(error), .. } => {
                self.abandon(line);
                failed(error, line)
            }
            Turn::Recorded { why, audio } => {
                self.takes += 1;
                self.length = audio.unwrap_or(line.options.greeting_max);
                if self.length >= GREETING_MIN {
                    return self.review((why == EndOfRecording::Limit).then_some(Phrase::LimitReached), line, now);
                }
                if line.failed() || self.takes > REPEATS_MAX {
                    self.abandon(line);
                    return GreetingsNext::GivenUp;
                }
                self.open(mailbox, line, now);
                GreetingsNext::Stay
            }
            _ => GreetingsNext::Stay,
        }
    }

    fn review(&mut self, said: Option<Phrase>, line: &mut Line, now: Instant) -> GreetingsNext {
        self.stage = Stage::Review;
        let speech = said.into_iter().fold(line.speech(), Speech::sentence);
        review_menu(speech, Duration::ZERO, line, now);
        GreetingsNext::Stay
    }

    fn on_review(&mut self, turn: Turn, mailbox: &Mailbox, line: &mut Line, now: Instant) -> GreetingsNext {
        let keys = line.options.keys.clone();
        let said = match line.choose(&keys.review, &turn, now) {
            Choice::Wait => return GreetingsNext::Stay,
            Choice::Command(ReviewCommand::Accept) => return self.accept(line, now),
            Choice::Command(ReviewCommand::Listen) => {
                if let Some(recording) = self.take {
                    review_menu(line.speech().audio(AudioId::Recording(recording)), self.length, line, now);
                }
                return GreetingsNext::Stay;
            }
            Choice::Command(ReviewCommand::RecordAgain) if self.takes < REPEATS_MAX => {
                self.open(mailbox, line, now);
                return GreetingsNext::Stay;
            }
            Choice::Command(ReviewCommand::Cancel) => {
                self.abandon(line);
                return GreetingsNext::Done(Some(Phrase::Cancelled));
            }
            Choice::Command(ReviewCommand::Operator | ReviewCommand::RecordAgain) | Choice::WrongKey => {
                Phrase::WrongKey
            }
            Choice::NoKey => Phrase::AreYouThere,
        };
        if line.failed() {
            self.abandon(line);
            return GreetingsNext::GivenUp;
        }
        self.review(Some(said), line, now)
    }

    fn accept(&mut self, line: &mut Line, now: Instant) -> GreetingsNext {
        let Some(recording) = self.take else { return failed(StoreError::Gone, line) };
        self.stage = Stage::Finishing;
        line.ask(StoreRequest::FinishRecording(Finishing { recording, audio_min: GREETING_MIN }), now);
        GreetingsNext::Stay
    }

    /// The greeting is kept. An owner who records an own greeting wants it heard; one for absences waits for them.
    fn on_finished(&mut self, turn: Turn, mailbox: &mut Mailbox, line: &mut Line, now: Instant) -> GreetingsNext {
        match turn {
            Turn::Answer(StoreAnswer::FinishedRecording(Finished::Greeting(id))) => {
                self.take = None;
                line.event(Event::GreetingRecorded);
                mailbox.recorded.retain(|greeting| greeting.kind != self.kind);
                mailbox.recorded.push(RecordedGreeting { kind: self.kind, id });
                if self.kind == GreetingKind::Own && mailbox.greeting != GreetingInUse::Own {
                    *self = Self::choose(GreetingInUse::Own, Some(Phrase::GreetingSaved), mailbox, line, now);
                    return GreetingsNext::Stay;
                }
                GreetingsNext::Done(Some(Phrase::GreetingSaved))
            }
            Turn::Answer(StoreAnswer::FinishedRecording(_)) => {
                self.take = None;
                GreetingsNext::Done(Some(Phrase::NothingRecorded))
            }
            turn => {
                // It may have been kept all the same; what was not is discarded.
                self.stage = Stage::Review;
                self.abandon(line);
                failed(turn.store_error(), line)
            }
        }
    }
}

fn review_menu(before: Speech, recorded: Duration, line: &mut Line, now: Instant) {
    let keys = line.options.keys.clone();
    let menu = before.menu(&keys.review, |command| command == ReviewCommand::Operator);
    line.play(menu, recorded, now);
}

fn failed(error: StoreError, line: &mut Line) -> GreetingsNext {
    line.event(Event::of(error));
    GreetingsNext::Done(Some(Phrase::TechnicalProblem))
}
