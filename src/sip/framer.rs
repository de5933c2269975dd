//! Messages out of a stream: framed by Content-Length, with keep-alives between them (RFC 3261 section 18.3, RFC 5626
//! section 4.4.1).

use crate::limits::HEAD_BYTES_MAX;
use crate::message::Message;
use crate::parse::{Head, Malformed, find};
use crate::status::StatusCode;

/// What a stream brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message, or one that is wrong within its bounds: the stream goes on behind it.
    Message(Result<Message, Malformed>),
    /// CRLF CRLF: to be answered by CRLF.
    Ping,
    /// The answer to a ping.
    Pong,
    /// Where the next message begins is unknown: close.
    Broken(Malformed),
}

/// Cuts one stream into messages. Holds at most one unfinished message and what was pushed last; a byte is looked at a
/// bounded number of times, however the stream is cut.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done with.
    start: usize,
    /// Bytes from `start` on in which the end of the headers is not.
    searched: usize,
    /// Headers of the unfinished message and its length, when they are known.
    head: Option<(Head, usize)>,
    message_bytes_max: usize,
    broken: bool,
}

/// Bytes between the headers and the body.
const EMPTY_LINE: &[u8] = b"\r\n\r\n";

impl Framer {
    pub fn new(message_bytes_max: usize) -> Framer {
        Framer { buffer: Vec::new(), start: 0, searched: 0, head: None, message_bytes_max, broken: false }
    }

    /// Adds what arrived. Drain [`pop`](Framer::pop) before the next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next frame; `None` when more bytes are needed, and for ever after [`Frame::Broken`].
    pub fn pop(&mut self) -> Option<Frame> {
        if self.broken {
            return None;
        }
        if self.head.is_none() {
            if let Some(keep_alive) = self.pop_keep_alive() {
                return keep_alive;
            }
            if let Err(malformed) = self.read_head()? {
                return Some(self.break_off(malformed));
            }
        }
        let (_, bytes) = self.head.as_ref()?;
        if self.buffer.len() - self.start < *bytes {
            return None;
        }
        let (head, bytes) = self.head.take()?;
        let message = &self.buffer[self.start..self.start + bytes];
        // The length was counted from the headers' end: it is there.
        let body = find(message, EMPTY_LINE).map_or(&[][..], |end| &message[end + EMPTY_LINE.len()..]);
        let parsed = head.into_message(body);
        self.start += bytes;
        self.searched = 0;
        Some(Frame::Message(parsed))
    }

    /// Whether a message has begun and not ended.
    pub fn is_within_message(&self) -> bool {
        let rest = &self.buffer[self.start..];
        !self.broken && !EMPTY_LINE.starts_with(rest)
    }

    /// Line ends before a message. The outer `None`: there are none.
    fn pop_keep_alive(&mut self) -> Option<Option<Frame>> {
        let rest = &self.buffer[self.start..];
        if rest.starts_with(EMPTY_LINE) {
            self.start += EMPTY_LINE.len();
            return Some(Some(Frame::Ping));
        }
        if EMPTY_LINE.starts_with(rest) {
            // Nothing, or the first bytes of a ping: the rest tells. A pong that stands alone waits for it unharmed.
            return Some(None);
        }
        rest.starts_with(b"\r\n").then(|| {
            self.start += 2;
            Some(Frame::Pong)
        })
    }

    /// Looks for the end of the headers. `None`: not there yet.
    fn read_head(&mut self) -> Option<Result<(), Malformed>> {
        let rest = &self.buffer[self.start..];
        let from = self.searched.saturating_sub(EMPTY_LINE.len() - 1);
        let Some(end) = find(&rest[from..], EMPTY_LINE).map(|at| from + at) else {
            self.searched = rest.len();
            let too_long = rest.len() > HEAD_BYTES_MAX.min(self.message_bytes_max);
            return too_long.then(|| {
                Err(Head::read(&rest[..HEAD_BYTES_MAX.min(rest.len())])
                    .refuse(StatusCode::MESSAGE_TOO_LARGE, StatusCode::MESSAGE_TOO_LARGE.phrase()))
            });
        };
        let head = Head::read(&rest[..end]);
        let length = match head.content_length() {
            Ok(Some(length)) => length,
            // RFC 3261 section 18.3: needed on a stream. Guessing would let a body pass as a message.
            Ok(None) => return Some(Err(head.refuse(StatusCode::BAD_REQUEST, "Content-Length is missing"))),
            Err(error) => return Some(Err(head.refuse(StatusCode::BAD_REQUEST, error.to_string()))),
        };
        let bytes = (end + EMPTY_LINE.len()).saturating_add(length);
        if bytes > self.message_bytes_max || end > HEAD_BYTES_MAX {
            let status = StatusCode::MESSAGE_TOO_LARGE;
            return Some(Err(head.refuse(status, status.phrase())));
        }
        self.head = Some((head, bytes));
        Some(Ok(()))
    }

    fn break_off(&mut self, malformed: Malformed) -> Frame {
        self.broken = true;
        self.buffer = Vec::new();
        self.start = 0;
        Frame::Broken(malformed)
    }
}
