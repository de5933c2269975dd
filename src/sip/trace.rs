//! Which messages went by, for whoever tells the story of a call. Methods and statuses alone: neither bodies, which may
//! hold keys, nor addresses.

use std::collections::VecDeque;
use std::fmt;

use crate::endpoint::Endpoint;
use crate::fields::CSeq;
use crate::headers::Headers;
use crate::limits::TRACED_MAX;
use crate::message::{Message, Request, Response};
use crate::method::Method;
use crate::status::StatusCode;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Received,
    Sent,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gist {
    Request(Method),
    Response(StatusCode),
}

impl fmt::Display for Gist {
    /// A status comes with its usual phrase, never with the peer's own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(method) => method.fmt(f),
            Self::Response(status) => write!(f, "{} {}", status.code(), status.phrase()),
        }
    }
}

/// A message that went by. Repetitions by a timer of ours are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    pub way: Way,
    pub call_id: String,
    pub gist: Gist,
    pub cseq: CSeq,
}

/// The messages that wait to be told of; nothing is kept unless somebody asked for it.
#[derive(Debug, Default)]
pub(crate) struct Trace(Option<VecDeque<Traced>>);

impl Trace {
    fn note(&mut self, way: Way, gist: Gist, headers: &Headers) {
        let Some(traced) = &mut self.0 else { return };
        let (Ok(call_id), Ok(cseq)) = (headers.call_id(), headers.cseq()) else { return };
        if traced.len() >= TRACED_MAX {
            traced.pop_front();
        }
        traced.push_back(Traced { way, call_id: call_id.to_owned(), gist, cseq });
    }

    pub(crate) fn received(&mut self, message: &Message) {
        match message {
            Message::Request(request) => {
                self.note(Way::Received, Gist::Request(request.method.clone()), &request.headers);
            }
            Message::Response(response) => {
                self.note(Way::Received, Gist::Response(response.status), &response.headers);
            }
        }
    }

    pub(crate) fn sent_request(&mut self, request: &Request) {
        self.note(Way::Sent, Gist::Request(request.method.clone()), &request.headers);
    }

    pub(crate) fn sent_response(&mut self, response: &Response) {
        self.note(Way::Sent, Gist::Response(response.status), &response.headers);
    }
}

impl Endpoint {
    /// Whether messages are told of by [`poll_traced`](Self::poll_traced) from now on; at first they are not.
    pub fn set_tracing(&mut self, tracing: bool) {
        self.trace.0 = tracing.then(VecDeque::new);
    }

    /// The next message that went by, in order. Those that are not taken in time are forgotten, the oldest first.
    pub fn poll_traced(&mut self) -> Option<Traced> {
        self.trace.0.as_mut()?.pop_front()
    }
}
