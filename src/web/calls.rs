//! Outgoing calls, as the web services ask for them and the role places them.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use postern_mailbox::{GreetingKind, MailboxId, MessageId};

/// Who places calls for mailboxes. No function waits for a phone: a call is placed when its id is given, and what
/// becomes of it is asked for by [`info`](Self::info).
#[async_trait]
pub trait Calls: Send + Sync + 'static {
    /// Calls `to`, a dial string as its owner typed it, which nobody has judged yet.
    ///
    /// # Errors
    /// Why there is no call; nothing was sent.
    async fn place(&self, mailbox: MailboxId, what: CallPurpose, to: String) -> Result<CallId, CallRefusal>;

    /// How the call stands. None: this mailbox has no such call, or it ended too long ago.
    async fn info(&self, mailbox: MailboxId, call: CallId) -> Option<CallInfo>;

    /// Ends the call. False: this mailbox has no such call; one that has ended already is no error.
    async fn hang_up(&self, mailbox: MailboxId, call: CallId) -> bool;
}

/// Names one outgoing call. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u128);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What is no call's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a call's id has 32 hexadecimal digits")]
pub struct CallIdError;

impl FromStr for CallId {
    type Err = CallIdError;

    fn from_str(text: &str) -> Result<Self, CallIdError> {
        if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(CallIdError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| CallIdError)
    }
}

/// What a call is for. The message is the mailbox's own: it was looked up before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPurpose {
    PlayMessage(MessageId),
    /// It was recorded.
    PlayGreeting(GreetingKind),
    RecordGreeting(GreetingKind),
}

/// Why no call is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CallRefusal {
    /// The caller's: the dialling rules of the mailbox do not allow the dial string.
    #[error("the dialling rules do not allow this number")]
    NotAllowed,
    /// The mailbox has a call already.
    #[error("the mailbox has a call already")]
    Busy,
    /// The mailbox has had its calls of this hour.
    #[error("too many calls within an hour")]
    TooMany,
    /// The operator's, or passing: no gateway, no worker.
    #[error("no call can be placed now")]
    Unavailable,
}

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallInfo {
    pub state: CallState,
    /// Why it ended; none before that.
    pub cause: Option<CallCause>,
    /// The final answer that it got, if any.
    pub sip_status: Option<u16>,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallState {
    /// Asked for and not yet on its way.
    Idle,
    Connecting,
    /// It rings.
    Alerted,
    Connected,
    Disconnected,
}

impl CallState {
    pub const ALL: [Self; 5] = [Self::Idle, Self::Connecting, Self::Alerted, Self::Connected, Self::Disconnected];

    /// As the web services write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Alerted => "alerted",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallCause {
    /// One of both hung up.
    None,
    Busy,
    NoAnswer,
    Unavailable,
    Other,
}

impl CallCause {
    pub const ALL: [Self; 5] = [Self::None, Self::Busy, Self::NoAnswer, Self::Unavailable, Self::Other];

    /// As the web services write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Unavailable => "unavailable",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_was_written_reads_back_and_nothing_else_is_one() {
        for id in [CallId(0), CallId(u128::MAX), CallId(0xabc)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in ["", "0", "+0000000000000000000000000000abc", &"0".repeat(33), &"G".repeat(32), &"A".repeat(32)] {
            assert_eq!(text.parse::<CallId>(), Err(CallIdError), "{text}");
        }
    }
}
