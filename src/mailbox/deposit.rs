//! A deposit: the takes of one message, and what must not be lost of them.

use std::time::{Duration, Instant};

use crate::id::RecordingId;
use crate::io::Event;
use crate::limits::{FINISH_ATTEMPTS_MAX, FINISH_PAUSE, MESSAGE_MIN};
use crate::line::{Line, Turn};
use crate::mailbox::Mailbox;
use crate::outcome::CallResult;
use crate::store_request::{Began, Beginning, Finished, Finishing, Purpose, StoreAnswer, StoreError, StoreRequest};

/// The takes of a message. There are two while a caller records again: the earlier one is kept until the new one is
/// long enough to take its place.
#[derive(Debug, Default)]
pub(crate) struct Deposit {
    /// Long enough to be a message.
    earlier: Option<RecordingId>,
    take: Take,
}

#[derive(Debug, Default)]
enum Take {
    #[default]
    None,
    /// Asked for.
    Opening,
    Open {
        recording: RecordingId,
        audio_max: Duration,
    },
    Recording(RecordingId),
    /// The length is none when nobody told it in time: the store knows.
    Recorded {
        recording: RecordingId,
        audio: Option<Duration>,
    },
}

/// What came of asking for a recording.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    Yes,
    MailboxFull,
    TooManyDeposits,
    Failed(StoreError),
}

impl Deposit {
    /// Asks for a recording, for the first take or for another. A take that is long enough is kept until then.
    pub(crate) fn open(&mut self, mailbox: &Mailbox, line: &mut Line, now: Instant) {
        self.set_aside(line);
        let purpose = Purpose::Deposit {
            caller: line.start.caller.clone(),
            quota: mailbox.quota.or(line.options.quota),
            deposits_max: line.options.deposits_max,
            replaces: self.earlier,
        };
        let beginning = Beginning { mailbox: mailbox.id, purpose, rate_hz: line.start.rate_hz, begun: line.wall(now) };
        self.take = Take::Opening;
        line.ask(StoreRequest::BeginRecording(beginning), now);
    }

    /// The take just recorded becomes the earlier one, or goes when it is too short.
    fn set_aside(&mut self, line: &mut Line) {
        let gone = match std::mem::take(&mut self.take) {
            Take::Recorded { recording, audio } if is_message(audio) => self.earlier.replace(recording),
            Take::Recorded { recording, .. } | Take::Open { recording, .. } | Take::Recording(recording) => {
                Some(recording)
            }
            Take::None | Take::Opening => None,
        };
        if let Some(recording) = gone {
            line.discard(recording);
        }
    }

    /// The answer to [`open`](Self::open).
    pub(crate) fn opened(&mut self, answer: StoreAnswer, line: &mut Line) -> Opened {
        self.take = Take::None;
        match answer {
            StoreAnswer::BeganRecording(Began::Recording { recording, audio_max }) => {
                if audio_max < MESSAGE_MIN {
                    line.discard(recording);
                    return Opened::MailboxFull;
                }
                self.take = Take::Open { recording, audio_max };
                Opened::Yes
            }
            StoreAnswer::BeganRecording(Began::MailboxFull) => Opened::MailboxFull,
            StoreAnswer::BeganRecording(Began::TooManyDeposits) => Opened::TooManyDeposits,
            StoreAnswer::Failed(error) => Opened::Failed(error),
            _ => Opened::Failed(StoreError::Unavailable),
        }
    }

    /// Begins to record the open take; false when none is open.
    pub(crate) fn record(&mut self, line: &mut Line, now: Instant) -> bool {
        let Take::Open { recording, audio_max } = self.take else { return false };
        self.take = Take::Recording(recording);
        line.record(recording, audio_max.min(line.options.message_max), now);
        true
    }

    /// The take has ended. True when it is long enough to be a message.
    pub(crate) fn recorded(&mut self, audio: Option<Duration>) -> bool {
        if let Take::Recording(recording) = self.take {
            self.take = Take::Recorded { recording, audio };
        }
        is_message(audio)
    }

    /// What would be accepted now, and its length if known.
    pub(crate) fn message(&self) -> Option<(RecordingId, Option<Duration>)> {
        match self.take {
            Take::Recorded { recording, audio } if is_message(audio) => Some((recording, audio)),
            _ => self.earlier.map(|recording| (recording, None)),
        }
    }

    /// Forgets all takes, as the caller asked.
    pub(crate) fn cancel(&mut self, line: &mut Line) {
        self.set_aside(line);
        if let Some(recording) = self.earlier.take() {
            line.discard(recording);
        }
    }
}

/// A take of unknown length may be a message; the store judges.
fn is_message(audio: Option<Duration>) -> bool {
    audio.is_none_or(|audio| audio >= MESSAGE_MIN)
}

/// A deposit at its end: brought to the store, whatever it takes.
#[derive(Debug)]
pub(crate) struct Settling {
    deposit: Deposit,
    attempts: u32,
}

/// How a deposit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Not yet.
    Waiting,
    /// A message was left, and is synced.
    Kept,
    /// There was nothing to keep.
    Nothing,
    /// The store did not confirm it.
    Unconfirmed,
}

impl Settling {
    /// Begins to settle. The line is silent, or waits for what the deposit asked or records.
    pub(crate) fn begin(deposit: Deposit, line: &mut Line, now: Instant) -> (Self, Settled) {
        let mut settling = Self { deposit, attempts: 0 };
        let settled = match settling.deposit.take {
            Take::Opening => Settled::Waiting,
            Take::Recording(_) => {
                line.stop_recording(now);
                Settled::Waiting
            }
            _ => {
                line.stop();
                settling.finish(line, now)
            }
        };
        (settling, settled)
    }

    /// Goes on with what was waited for.
    pub(crate) fn on(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Settled {
        match turn {
            Turn::Recorded { audio, .. } => {
                self.deposit.recorded(audio);
                self.finish(line, now)
            }
            Turn::Answer(answer) if matches!(self.deposit.take, Take::Opening) => {
                // Too late: what has just been opened is closed again, unused.
                self.deposit.opened(answer, line);
                self.finish(line, now)
            }
            Turn::Answer(answer) => self.finished(answer, line, now),
            Turn::NoKey => self.finish(line, now),
            _ => Settled::Waiting,
        }
    }

    fn finish(&mut self, line: &mut Line, now: Instant) -> Settled {
        self.deposit.set_aside_unusable(line);
        let Some((recording, _)) = self.deposit.message() else { return Settled::Nothing };
        self.attempts += 1;
        line.ask(StoreRequest::FinishRecording(Finishing { recording, audio_min: MESSAGE_MIN }), now);
        Settled::Waiting
    }

    fn finished(&mut self, answer: StoreAnswer, line: &mut Line, now: Instant) -> Settled {
        match answer {
            StoreAnswer::FinishedRecording(Finished::Message { message, length }) => {
                if let (Take::Recorded { .. }, Some(earlier)) = (&self.deposit.take, self.deposit.earlier) {
                    line.discard(earlier);
                }
                line.result = CallResult::VoiceMessage { message, length };
                line.event(Event::MessageLeft);
                Settled::Kept
            }
            // The store has discarded it: an earlier take, if there is one, is the message.
            StoreAnswer::FinishedRecording(_) => {
                match std::mem::take(&mut self.deposit.take) {
                    Take::None => self.deposit.earlier = None,
                    _ => self.attempts = 0,
                }
                self.finish(line, now)
            }
            _ if self.attempts < FINISH_ATTEMPTS_MAX => {
                line.pause(FINISH_PAUSE, now);
                Settled::Waiting
            }
            answer => {
                line.result = CallResult::VoiceMessageUnconfirmed;
                line.event(Event::of(Turn::Answer(answer).store_error()));
                Settled::Unconfirmed
            }
        }
    }
}

impl Deposit {
    /// Discards a take that is no message, so that an earlier one is what counts.
    fn set_aside_unusable(&mut self, line: &mut Line) {
        match self.take {
            Take::Recorded { audio, .. } if is_message(audio) => {}
            _ => self.set_aside(line),
        }
    }
}
