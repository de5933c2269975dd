//! What a call came to, for its record.

use std::time::Duration;

use crate::id::{MailboxId, MessageId};

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The mailbox it was about, once known.
    pub mailbox: Option<MailboxId>,
    pub result: CallResult,
    pub end: EndOfCall,
}

/// The call type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// A message was left, and is synced.
    VoiceMessage { message: MessageId, length: Duration },
    /// Audio was recorded that the store could not confirm; recovery may find it.
    VoiceMessageUnconfirmed,
    /// The mailbox's caller left no message.
    MissedCall,
    /// A PIN was right.
    SubscriberAccess,
    /// Nobody logged on.
    UnauthenticatedPilot,
    /// We called a mailbox's owner, to play a message or a greeting.
    PlayOnPhone,
    /// We called a mailbox's owner, to record a greeting.
    GreetingsRecording,
}

/// Who or what ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndOfCall {
    CallerHungUp,
    MediaLost,
    /// Nothing was left to do.
    Finished,
    /// Handed on to the operator.
    Transferred,
    /// Too many wrong or missing inputs.
    InputsFailed,
    /// Too many wrong PINs, or a locked mailbox.
    LogonFailed,
    /// No such mailbox, a full one, or too many deposits at once.
    Refused,
    /// The store could not.
    StoreFailed,
    /// The longest call was reached.
    CallTooLong,
}
