//! The response context of one forwarded request (RFC 3261 section 16.7): one branch at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::header_name::HeaderName;
use crate::io::{ClientTx, ServerTx};
use crate::limits::PROXY_TARGETS_MAX;
use crate::message::{Request, Response};
use crate::method::Method;
use crate::proxy_io::ProxyTarget;
use crate::source::Source;
use crate::status::StatusCode;
use crate::target::{Security, Target};
use crate::uri::{SipUri, Uri};

/// A request under way.
pub(crate) struct Context {
    pub tx: ServerTx,
    pub source: Source,
    /// As it will go out, but for Request-URI and Record-Route.
    pub request: Request,
    pub stage: Stage,
    pub targets: VecDeque<ProxyTarget>,
    pub tried: Vec<SipUri>,
    pub follow_redirects: bool,
    pub secured: bool,
    pub answer_time: Option<Duration>,
    /// Within a dialog: the connection that is there is used, and nothing is recorded.
    pub in_dialog: bool,
    /// The best final response so far, ours at the top taken off.
    pub best: Option<(Response, SipUri)>,
    /// Timer C, or how long a request that is given up may take to end.
    pub timer_c: Option<Instant>,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The role decides.
    Deciding,
    /// At the target that was tried last.
    Forwarded(ClientTx),
    /// To be given up; its last answer is awaited.
    Stopping(ClientTx, Stop),
    /// A 2xx went back; more of them may follow until then.
    Answered(ClientTx, Instant),
}

/// Why a request is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled,
    TimerC,
}

impl Context {
    pub fn is_invite(&self) -> bool {
        self.request.method == Method::Invite
    }

    pub fn client(&self) -> Option<ClientTx> {
        match self.stage {
            Stage::Forwarded(tx) | Stage::Stopping(tx, _) | Stage::Answered(tx, _) => Some(tx),
            Stage::Deciding => None,
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Answered(_, until) => Some(until),
            _ => self.timer_c,
        }
    }

    /// The next target that was not tried, with its next hop.
    pub fn next_target(&mut self) -> Option<(SipUri, Target)> {
        while let Some(ProxyTarget { uri, hop }) = self.targets.pop_front() {
            let known = self.tried.iter().any(|tried| tried.is_equivalent(&uri));
            if known || self.tried.len() >= PROXY_TARGETS_MAX {
                continue;
            }
            self.tried.push(uri.clone());
            let mut request = Request::new(self.request.method.clone(), uri.clone());
            request.headers.copy_from(&self.request.headers, HeaderName::Route);
            let Some(mut target) = hop.or_else(|| Target::of(&request)) else { continue };
            if self.secured {
                target.security = Security::Tls;
            }
            target.answer_time = target.answer_time.or(self.answer_time);
            return Some((uri, target));
        }
        None
    }

    /// Takes the contacts of a redirection as the next targets, best first.
    pub fn take_redirection(&mut self, response: &Response) {
        for contact in response.headers.contacts_by_preference().into_iter().rev() {
            if let Uri::Sip(uri) = contact.uri {
                self.targets.push_front(ProxyTarget { uri: uri.for_request(), hop: None });
            }
        }
        self.targets.truncate(PROXY_TARGETS_MAX);
    }

    /// Keeps a final response if it is better than the one before (RFC 3261 section 16.7 step 6).
    pub fn note_final(&mut self, response: Response, uri: SipUri) {
        let better = self.best.as_ref().is_none_or(|(best, _)| rank(response.status) < rank(best.status));
        if better {
            self.best = Some((response, uri));
        }
    }
}

/// Lower is better: 6xx, then the lowest class, within 4xx those that help the caller to mend its request.
fn rank(status: StatusCode) -> (u16, u8) {
    let class = status.code() / 100;
    let helps = matches!(status.code(), 401 | 407 | 415 | 420 | 484);
    (if class == 6 { 0 } else { class }, u8::from(!helps))
}
