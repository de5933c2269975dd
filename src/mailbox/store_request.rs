//! What a call asks its store, and what it is told.

use std::time::Duration;

use jiff::Timestamp;

use crate::address::{Address, PlanName};
use crate::id::{GreetingId, MailboxId, MessageId, RecordingId};
use crate::mailbox::{GreetingInUse, GreetingKind, Mailbox, Quota};
use crate::message::{Caller, Message, MessageState};
use crate::pin::Pin;

/// A question to the store. The functions of [`Store`](crate::Store) say what each one means and what is synced.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreRequest {
    FindMailbox { plan: PlanName, address: Address },
    VerifyPin(PinAttempt),
    ChangePin(PinChange),
    BeginRecording(Beginning),
    FinishRecording(Finishing),
    DiscardRecording(RecordingId),
    ListMessages(MailboxId),
    SetMessageState { mailbox: MailboxId, message: MessageId, state: MessageState },
    UseGreeting { mailbox: MailboxId, greeting: GreetingInUse },
}

/// The answer to the request of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreAnswer {
    /// None: no mailbox has that address in that plan.
    FoundMailbox(Option<Box<Mailbox>>),
    VerifiedPin(PinVerdict),
    ChangedPin(PinChanged),
    BeganRecording(Began),
    FinishedRecording(Finished),
    DiscardedRecording,
    /// Without the deleted ones, oldest first.
    Messages(Vec<Message>),
    SetMessageState,
    UsesGreeting,
    /// Whatever was asked, it did not happen, or nobody can say whether it did.
    Failed(StoreError),
}

/// A PIN that a caller entered.
#[derive(Clone, Debug, PartialEq)]
pub struct PinAttempt {
    /// None when the caller named a mailbox that does not exist: the store then does the same work and answers
    /// [`PinVerdict::Wrong`], so that time tells nothing.
    pub mailbox: Option<MailboxId>,
    pub pin: Pin,
    /// Wrong PINs in a row that lock the mailbox.
    pub attempts_max: u32,
}

/// What a PIN was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinVerdict {
    Right {
        /// When its owner chose it.
        chosen: Timestamp,
        /// It was given by an administrator and serves once, to choose another.
        must_change: bool,
    },
    Wrong,
    /// Too many wrong ones; only an administrator unlocks. The PIN was not looked at.
    Locked,
}

/// A new PIN, which the call found good under its policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PinChange {
    pub mailbox: MailboxId,
    pub pin: Pin,
    /// Earlier PINs that may not come back, the present one included.
    pub history: u32,
    pub chosen: Timestamp,
}

/// Whether the PIN is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinChanged {
    Changed,
    /// It is the present one or one of the last.
    UsedBefore,
}

/// A recording that is to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Beginning {
    pub mailbox: MailboxId,
    pub purpose: Purpose,
    /// Samples per second of the audio that will be appended: 8000 or 16000.
    pub rate_hz: u32,
    pub begun: Timestamp,
}

/// What is recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Purpose {
    Deposit {
        caller: Caller,
        quota: Quota,
        /// Deposits into this mailbox at once, this one included.
        deposits_max: u32,
        /// A recording of the same call that this one will take the place of: it counts against neither limit.
        replaces: Option<RecordingId>,
    },
    Greeting(GreetingKind),
}

/// Whether a recording began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    Recording {
        recording: RecordingId,
        /// What the quota leaves; no limit for a greeting.
        audio_max: Duration,
    },
    MailboxFull,
    TooManyDeposits,
}

/// A recording that is to become a message or a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finishing {
    pub recording: RecordingId,
    /// Less audio than this is discarded.
    pub audio_min: Duration,
}

/// What became of a recording. All of it is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    Message {
        message: MessageId,
        length: Duration,
    },
    Greeting(GreetingId),
    /// Discarded.
    TooShort,
}

/// Why the store could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// Ours to alarm, the operator's to mend.
    #[error("the disk is full")]
    DiskFull,
    /// Its queue is full, or it did not answer in time.
    #[error("the store is busy")]
    Busy,
    #[error("the store is not reachable")]
    Unavailable,
    /// No such mailbox, message or recording, or not any more.
    #[error("not in the store")]
    Gone,
    /// It is there and cannot be read: set aside for an administrator.
    #[error("what is stored is damaged")]
    Damaged,
}
