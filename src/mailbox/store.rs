//! The store behind the mailbox, as the shell implements it and the worker awaits it.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::address::{Address, PlanName};
use crate::id::{GreetingId, MailboxId, MessageId, RecordingId};
use crate::mailbox::{GreetingInUse, Mailbox};
use crate::message::{Caller, Message, MessageState};
use crate::store_request::{
    Began, Beginning, Finished, Finishing, PinAttempt, PinChange, PinChanged, PinVerdict, StoreAnswer, StoreError,
    StoreRequest,
};

/// Mailboxes, PINs, messages and greetings.
///
/// # What is synced
/// A function that changes something and returns `Ok` has made it last: it survives `kill -9` and power loss. The one
/// exception is [`append_audio`](Self::append_audio). A function that returns an error changed nothing, or left a
/// recording that recovery finds.
///
/// # Recordings
/// Begun, appended to and finished by one process, which holds a lock on each while it lives. At start, a store turns
/// every recording that nobody holds and that was to be a message into one, marked
/// [`partial`](Message::partial), if it has at least [`MESSAGE_MIN`](crate::limits::MESSAGE_MIN) of audio; any other
/// it removes.
///
/// # Cost
/// Any function may wait for a disk, [`verify_pin`](Self::verify_pin) and [`change_pin`](Self::change_pin) besides
/// spend tens of milliseconds of a core. None may be awaited by what carries media. Queues are bounded: a full one is
/// [`StoreError::Busy`].
///
/// # Errors
/// All functions return [`StoreError`]; the fault is the operator's or ours, never the caller's.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The mailbox with that address in that plan.
    async fn find_mailbox(&self, plan: &PlanName, address: &Address) -> Result<Option<Mailbox>, StoreError>;

    /// Compares a PIN. The attempt is counted and synced before the comparison, the count goes back to zero after a
    /// right one; at `attempts_max` the mailbox is locked, and its PIN no longer looked at.
    async fn verify_pin(&self, attempt: PinAttempt) -> Result<PinVerdict, StoreError>;

    /// Sets a PIN that its owner chose, unless it is among the last ones. Unlocks nothing.
    async fn change_pin(&self, change: PinChange) -> Result<PinChanged, StoreError>;

    /// Opens a recording. For a deposit, the limits are judged first, in the order quota, deposits at once. When this
    /// returns, recovery would find the recording.
    async fn begin_recording(&self, beginning: Beginning) -> Result<Began, StoreError>;

    /// Appends samples (16 bits, mono, at the rate the recording began with). After this returns they survive
    /// `kill -9`; a store syncs at least once per second, so that power loss costs no more than that. Callers append
    /// at least every 200 ms.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] ends the recording: what was appended before is kept and can be finished.
    async fn append_audio(&self, recording: RecordingId, samples: &[i16]) -> Result<(), StoreError>;

    /// Makes a message or a greeting of a recording, or discards it when it is too short. A greeting takes the place
    /// of the one of its kind in the same transaction; it does not come into use by that.
    ///
    /// # Errors
    /// The recording stays, to be recovered at the next start. To finish one again is no error: the answer is the
    /// same.
    async fn finish_recording(&self, finishing: Finishing) -> Result<Finished, StoreError>;

    /// Forgets a recording. One that is gone already is no error.
    async fn discard_recording(&self, recording: RecordingId) -> Result<(), StoreError>;

    /// The new and saved messages of a mailbox, oldest first; the oldest
    /// [`MESSAGES_LISTED_MAX`](crate::limits::MESSAGES_LISTED_MAX) of each state.
    async fn list_messages(&self, mailbox: MailboxId) -> Result<Vec<Message>, StoreError>;

    /// Moves a message to a state, from any other: a deleted one comes back within
    /// [`DELETED_KEPT`](crate::limits::DELETED_KEPT), even into a mailbox that is full.
    async fn set_message_state(
        &self,
        mailbox: MailboxId,
        message: MessageId,
        state: MessageState,
    ) -> Result<(), StoreError>;

    /// Notes that a caller was there and left no message, for owners who want to be told by mail; for others nothing
    /// is kept.
    async fn note_missed_call(&self, mailbox: MailboxId, caller: Caller, at: Timestamp) -> Result<(), StoreError>;

    /// Chooses the greeting that callers hear.
    async fn use_greeting(&self, mailbox: MailboxId, greeting: GreetingInUse) -> Result<(), StoreError>;

    /// Reads at most `samples_max` samples from sample `from` on, of a recording up to what was appended last. For
    /// playing: a player reads ahead by a second or more and never waits.
    async fn read_audio(&self, audio: AudioId, from: u64, samples_max: usize) -> Result<Audio, StoreError>;
}

/// Something recorded that can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioId {
    Message(MessageId),
    Greeting(GreetingId),
    /// What this call has recorded and not yet finished.
    Recording(RecordingId),
}

/// A stretch of stored audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// 16 bits, mono, losslessly what was appended.
    pub samples: Vec<i16>,
    pub rate_hz: u32,
    /// Nothing follows.
    pub is_end: bool,
}

/// Asks `store` what a call asked, and gives the answer back for [`Input::Stored`](crate::Input::Stored).
pub async fn answer(store: &(impl Store + ?Sized), request: StoreRequest) -> StoreAnswer {
    let answer = match request {
        StoreRequest::FindMailbox { plan, address } => {
            store.find_mailbox(&plan, &address).await.map(|found| StoreAnswer::FoundMailbox(found.map(Box::new)))
        }
        StoreRequest::VerifyPin(attempt) => store.verify_pin(attempt).await.map(StoreAnswer::VerifiedPin),
        StoreRequest::ChangePin(change) => store.change_pin(change).await.map(StoreAnswer::ChangedPin),
        StoreRequest::BeginRecording(beginning) => {
            store.begin_recording(beginning).await.map(StoreAnswer::BeganRecording)
        }
        StoreRequest::FinishRecording(finishing) => {
            store.finish_recording(finishing).await.map(StoreAnswer::FinishedRecording)
        }
        StoreRequest::DiscardRecording(recording) => {
            store.discard_recording(recording).await.map(|()| StoreAnswer::DiscardedRecording)
        }
        StoreRequest::ListMessages(mailbox) => store.list_messages(mailbox).await.map(StoreAnswer::Messages),
        StoreRequest::SetMessageState { mailbox, message, state } => {
            store.set_message_state(mailbox, message, state).await.map(|()| StoreAnswer::SetMessageState)
        }
        StoreRequest::UseGreeting { mailbox, greeting } => {
            store.use_greeting(mailbox, greeting).await.map(|()| StoreAnswer::UsesGreeting)
        }
    };
    answer.unwrap_or_else(StoreAnswer::Failed)
}

/// The time that `samples` take at `rate_hz`.
pub fn audio_length(samples: u64, rate_hz: u32) -> Duration {
    Duration::from_nanos(samples.saturating_mul(1_000_000_000 / u64::from(rate_hz.max(1))))
}
