//! The messages between UM service and worker: one JSON object a line.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::call_key::CallKey;
use crate::limits::{LINE_BYTES_MAX, RECENT_CALLS_MAX, RECENT_CALLS_PART_MAX, STORY_BYTES_MAX, STORY_PART_BYTES_MAX};
use crate::order::{Order, OrderId, OrderReport};
use crate::slot::Slot;

/// From the UM service, or from `postern call`, to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum ToWorker {
    /// A UM service is here. Answered by `Hello`, `CallBegan` for each running call, `Status`; from then on `Status`
    /// every [`HEARTBEAT`](crate::limits::HEARTBEAT). May come again, when `calls_max` has changed.
    Hello {
        version: u32,
        /// The worker answers further calls with 486.
        calls_max: u32,
    },
    /// Take no more calls: answer a new INVITE with a 302 to `elsewhere`, or 503 when that is empty. Running dialogs
    /// are served on. Comes again when `elsewhere` has changed.
    Drain { elsewhere: Contacts },
    /// Take calls again: the other worker failed.
    Resume,
    /// End within [`RETIRE_TIME`](crate::limits::RETIRE_TIME): hang up what is left, recordings kept.
    Retire,
    /// Place this call. Answered by `CallBegan` and `Order`, and by `Order` whenever it has come further; then
    /// `CallEnded`. A second one of the same id changes nothing.
    Place(Box<Order>),
    /// Hang up an outgoing call; one that is not known, or over, stays as it is.
    HangUp { order: OrderId },
    /// Tell what is known of the call with this Call-ID; answered by `Story`. Needs no `Hello` before it, and nor does the
    /// next.
    Story { question: u64, call: CallKey },
    /// Name the calls that a story can be told of; answered by `RecentCalls`.
    RecentCalls { question: u64 },
}

/// From a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum FromWorker {
    /// First on each connection of a UM service.
    Hello {
        version: u32,
        slot: Slot,
        /// As given at the start by `--generation`.
        generation: u64,
        pid: u32,
    },
    /// The heartbeat; at once too when `ready` or `draining` changes, and when the last call of a draining worker ends.
    Status(Status),
    /// A call was let in; said before its 200.
    CallBegan { call: CallKey },
    /// Nothing of it is left to be done, its recording synced.
    CallEnded { call: CallKey },
    /// How an outgoing call is. Said after `Hello` too, of each that is under way or was not long ago.
    Order(OrderReport),
    /// A part of an answer; see [`story_parts`].
    Story {
        question: u64,
        /// The text of this part.
        text: String,
        /// Whether there are further parts.
        more: bool,
    },
    /// A part of an answer; see [`recent_calls_parts`].
    RecentCalls {
        question: u64,
        /// The youngest first.
        calls: Vec<RecentCall>,
        /// Whether there are further parts.
        more: bool,
    },
}

/// A call that a story can be told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecentCall {
    pub call: CallKey,
    pub began_unix_millis: i64,
    /// `None` while it is under way.
    pub ended_unix_millis: Option<i64>,
}

/// How a worker is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    pub ready: Readiness,
    /// Calls that have begun and not ended.
    pub calls: u32,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// Since the process began.
    pub age_secs: u64,
    /// Since it was told to drain; `None`: it takes calls.
    pub draining_secs: Option<u64>,
    /// Where it takes calls.
    pub contacts: Contacts,
}

/// What a worker needs to take calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Readiness {
    pub store_writable: bool,
    pub ports_bound: bool,
    pub prompts_loaded: bool,
}

impl Readiness {
    /// Nothing is missing.
    pub const ALL: Readiness = Readiness { store_writable: true, ports_bound: true, prompts_loaded: true };

    pub fn is_ready(self) -> bool {
        self == Self::ALL
    }

    /// What is missing, for operators.
    pub fn missing(self) -> impl Iterator<Item = &'static str> {
        let parts = [
            (self.store_writable, "the store is not writable"),
            (self.ports_bound, "its ports are not bound"),
            (self.prompts_loaded, "its prompts are not loaded"),
        ];
        parts.into_iter().filter(|(there, _)| !there).map(|(_, what)| what)
    }
}

/// Where a worker takes calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Contacts {
    /// Without TLS, in order of preference.
    pub tcp: Vec<SocketAddr>,
    /// With TLS: the name in its certificate, and the port.
    pub tls: Option<NamedPort>,
}

impl Contacts {
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.tls.is_none()
    }
}

/// A host by its name, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NamedPort {
    pub host: String,
    pub port: u16,
}

/// Why a line cannot be used. The connection that it came by is of no more use either.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("a line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("a line is no message of this version: {0}")]
    Malformed(String),
}

/// One message as a line, its end included.
///
/// # Errors
/// [`WireError::TooLong`], which no message made by the functions of this room can be.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, WireError> {
    let mut line = serde_json::to_vec(message).map_err(|error| WireError::Malformed(error.to_string()))?;
    line.push(b'\n');
    if line.len() > LINE_BYTES_MAX { Err(WireError::TooLong) } else { Ok(line) }
}

/// Cuts a stream of bytes into messages. Holds at most one line.
#[derive(Debug, Default)]
pub struct Lines {
    held: Vec<u8>,
}

impl Lines {
    /// Takes bytes in and gives the messages that they complete, in order. Messages of an unknown type are passed over.
    ///
    /// # Errors
    /// What the peer wrote cannot be read; nothing after it can.
    pub fn push<M: for<'de> Deserialize<'de>>(&mut self, mut bytes: &[u8]) -> Result<Vec<M>, WireError> {
        let mut messages = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.hold(&bytes[..end])?;
            bytes = &bytes[end + 1..];
            messages.extend(decode(&self.held)?);
            self.held.clear();
        }
        self.hold(bytes)?;
        Ok(messages)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        if self.held.len() + bytes.len() >= LINE_BYTES_MAX {
            return Err(WireError::TooLong);
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

/// The types of [`ToWorker`] and [`FromWorker`]; a line of another type comes from a later version.
const TYPES: [&str; 12] = [
    "hello",
    "drain",
    "resume",
    "retire",
    "place",
    "hang-up",
    "story",
    "recent-calls",
    "status",
    "call-began",
    "call-ended",
    "order",
];

fn decode<M: for<'de> Deserialize<'de>>(line: &[u8]) -> Result<Option<M>, WireError> {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    let malformed = |error: serde_json::Error| WireError::Malformed(error.to_string());
    let kind: Kind = serde_json::from_slice(line).map_err(malformed)?;
    if !TYPES.contains(&kind.r#type.as_str()) {
        return Ok(None);
    }
    serde_json::from_slice(line).map(Some).map_err(malformed)
}

/// A story as the messages that carry it; a story that is too long is cut.
pub fn story_parts(question: u64, story: &str) -> Vec<FromWorker> {
    let mut rest = cut(story, STORY_BYTES_MAX).0;
    let mut parts = Vec::new();
    loop {
        let (text, after) = cut(rest, STORY_PART_BYTES_MAX);
        parts.push(FromWorker::Story { question, text: text.to_owned(), more: !after.is_empty() });
        if after.is_empty() {
            return parts;
        }
        rest = after;
    }
}

/// Calls as the messages that carry them; the last ones beyond [`RECENT_CALLS_MAX`] are left out.
pub fn recent_calls_parts(question: u64, calls: &[RecentCall]) -> Vec<FromWorker> {
    let mut rest = &calls[..calls.len().min(RECENT_CALLS_MAX)];
    let mut parts = Vec::new();
    loop {
        let (part, after) = rest.split_at(rest.len().min(RECENT_CALLS_PART_MAX));
        parts.push(FromWorker::RecentCalls { question, calls: part.to_vec(), more: !after.is_empty() });
        if after.is_empty() {
            return parts;
        }
        rest = after;
    }
}

/// Splits after at most `bytes_max` bytes, at the border of a character.
fn cut(text: &str, bytes_max: usize) -> (&str, &str) {
    let mut at = text.len().min(bytes_max);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    text.split_at(at)
}
