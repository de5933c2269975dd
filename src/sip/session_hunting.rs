//! An outgoing call that has other ways to go, should one be refused or lead nowhere.

use std::time::Instant;

use crate::header_name::HeaderName;
use crate::io::FailCause;
use crate::limits::CALL_TARGETS_MAX;
use crate::name_addr::NameAddr;
use crate::session::Session;
use crate::session_challenge::Proof;
use crate::status::StatusCode;
use crate::target::Security;
use crate::user_agent_io::{Alternative, CallEvent};
use crate::user_agent_wire::Wire;

impl Session {
    /// Takes what may be tried after the way under way, [`CALL_TARGETS_MAX`] at most. So many could not be sent to.
    pub fn set_alternatives(&mut self, alternatives: impl IntoIterator<Item = Alternative>, failed: usize) {
        if let Some(outgoing) = self.calling() {
            outgoing.alternatives_tried = failed;
            outgoing.alternatives.extend(alternatives.into_iter().take(CALL_TARGETS_MAX));
        }
    }

    /// Calls by the next way that can be sent to, after this answer or none at all. Whether there was one.
    pub(crate) fn try_next_alternative(&mut self, wire: &mut Wire, why: Failed, now: Instant) -> bool {
        if !why.leaves_hope() {
            return false;
        }
        loop {
            let Some(outgoing) = self.calling() else { return false };
            let Some(Alternative { uri, target, credentials }) = outgoing.alternatives.pop_front() else {
                return false;
            };
            outgoing.alternatives_tried += 1;
            let at = outgoing.alternatives_tried;
            outgoing.secured = target.security == Security::Tls;
            outgoing.proof = Proof::new(credentials, target.clone());
            outgoing.tried.push(uri.clone());
            outgoing.request.headers.set(HeaderName::To, NameAddr::new(uri.clone()));
            if self.invite_again(wire, Some(uri), target, now) {
                wire.emit(CallEvent::Rerouted { call: self.call, at });
                return true;
            }
        }
    }
}

/// How one way failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failed {
    Refused(StatusCode),
    Unreachable(FailCause),
}

impl Failed {
    /// Whether another way may do better: nothing answered, or what did was in trouble itself. Any other refusal is the
    /// callee's.
    fn leaves_hope(self) -> bool {
        match self {
            Failed::Refused(status) => status == StatusCode::REQUEST_TIMEOUT || (500..600).contains(&status.code()),
            Failed::Unreachable(cause) => cause != FailCause::GivenUp,
        }
    }
}
