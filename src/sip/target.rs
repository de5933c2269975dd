//! Where a request is to go.

use std::time::Duration;

use crate::message::Request;
use crate::source::ConnId;
use crate::uri::{SipUri, Uri};

/// How well the way to the target must be protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// As the URI says.
    #[default]
    AsGiven,
    /// TLS to a peer that proves the URI's host name, or nothing: never TCP or UDP.
    Tls,
}

/// The next hop of a request (RFC 3263).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub uri: SipUri,
    pub security: Security,
    /// A connection to be used if it still stands and is secure enough, whatever the URI says: that of the dialog.
    pub conn: Option<ConnId>,
    /// How long one address may take to answer anything at all, in place of 64 T1.
    pub answer_time: Option<Duration>,
}

impl Target {
    pub fn new(uri: SipUri) -> Target {
        Target { uri, security: Security::AsGiven, conn: None, answer_time: None }
    }

    /// The topmost Route, or else the Request-URI (RFC 3261 section 8.1.2). `None` when that is no SIP URI or cannot be
    /// read.
    pub fn of(request: &Request) -> Option<Target> {
        let routes = request.headers.routes().ok()?;
        let uri = routes.into_iter().next().map(|route| route.uri).unwrap_or_else(|| request.uri.clone());
        match uri {
            Uri::Sip(uri) => Some(Target::new(uri)),
            _ => None,
        }
    }

    /// Over TLS or not at all.
    pub fn secured(mut self) -> Target {
        self.security = Security::Tls;
        self
    }

    /// Over this connection if it still stands.
    pub fn over(mut self, conn: Option<ConnId>) -> Target {
        self.conn = conn;
        self
    }

    /// Each address gets this long to answer anything.
    pub fn answered_within(mut self, time: Duration) -> Target {
        self.answer_time = Some(time);
        self
    }
}
