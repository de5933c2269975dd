//! A challenge to an outgoing call, answered once with the credentials of the way that it goes (RFC 3261 section 22.2).

use std::sync::Arc;
use std::time::Instant;

use crate::digest::{Challenge, Credentials};
use crate::header_name::HeaderName;
use crate::io::ClientTx;
use crate::message::{Request, Response};
use crate::session::Session;
use crate::source::{ConnId, Transport};
use crate::status::StatusCode;
use crate::target::{Security, Target};
use crate::user_agent_wire::Wire;

/// What a call proves who it is with, towards one next hop.
#[derive(Default)]
pub(crate) struct Proof {
    credentials: Option<Arc<Credentials>>,
    /// Where the hop is, whatever the Request-URI says.
    hop: Option<Target>,
    /// What was asked for each header line, and how often it was answered.
    answered: Vec<Answered>,
}

struct Answered {
    line: HeaderName,
    challenge: Challenge,
    count: u32,
}

impl Proof {
    /// For a way that has not been asked yet.
    pub(crate) fn new(credentials: Option<Arc<Credentials>>, hop: Target) -> Proof {
        Proof { credentials, hop: Some(hop), answered: Vec::new() }
    }

    /// Where the same way goes again.
    pub(crate) fn hop(&self) -> Option<Target> {
        self.hop.clone()
    }

    /// The answers that `request`, which went out as `tx`, was signed with.
    pub(crate) fn shown_in(&self, request: &Request, tx: ClientTx, wire: &Wire) -> Shown {
        let line = |answered: &Answered| {
            let value = request.headers.value(answered.line.clone())?;
            Some((answered.line.clone(), value.to_owned()))
        };
        let lines = self.answered.iter().filter_map(line).collect();
        Shown { lines, hop: self.hop.clone(), conn: wire.endpoint.connection_of(tx) }
    }

    /// Writes the answers into `request`, which is to be sent now; what an earlier way was shown goes.
    pub(crate) fn sign(&mut self, request: &mut Request, wire: &mut Wire) {
        request.headers.remove(HeaderName::Authorization);
        request.headers.remove(HeaderName::ProxyAuthorization);
        let Some(credentials) = &self.credentials else { return };
        let (method, uri) = (request.method.as_str().to_owned(), request.uri.to_string());
        for answered in &mut self.answered {
            answered.count += 1;
            let cnonce = wire.endpoint.draw_token();
            let value = answered.challenge.answer(credentials, &method, &uri, answered.count, &cnonce);
            request.headers.push(answered.line.clone(), value);
        }
    }

    /// Takes a challenge. `false` when there is nothing to answer it with, or it was answered before: only a new nonce
    /// after a stale one is worth another try.
    fn take(&mut self, line: HeaderName, challenge: Challenge) -> bool {
        if self.credentials.is_none() {
            return false;
        }
        match self.answered.iter_mut().find(|answered| answered.line == line) {
            None => self.answered.push(Answered { line, challenge, count: 0 }),
            Some(former) if challenge.stale && former.challenge.nonce != challenge.nonce && !former.challenge.stale => {
                *former = Answered { line, challenge, count: 0 };
            }
            Some(_) => return false,
        }
        true
    }
}

/// What an INVITE proved who we are with, and by which way: nobody else is to see it.
#[derive(Default)]
pub(crate) struct Shown {
    lines: Vec<(HeaderName, String)>,
    hop: Option<Target>,
    conn: Option<ConnId>,
}

impl Shown {
    /// Writes the answers into the ACK (RFC 3261 section 13.2.2.4), if that goes the INVITE's own way.
    pub(crate) fn sign(&self, ack: &mut Request, target: &Target, wire: &Wire) {
        let own_way = match wire.endpoint.standing_connection(target) {
            Some(conn) => self.conn == Some(conn),
            None => self.hop.as_ref().is_some_and(|hop| leads_to_the_same(hop, target)),
        };
        for (name, value) in self.lines.iter().filter(|_| own_way) {
            ack.headers.push(name.clone(), value);
        }
    }
}

/// Whether requests to both go to the same port of the same host, and the other no less protected.
fn leads_to_the_same(hop: &Target, other: &Target) -> bool {
    let place = |target: &Target| (target.uri.host.clone(), target.uri.port.unwrap_or(Transport::Tcp.default_port()));
    let is_secure = |target: &Target| target.uri.secure || target.security == Security::Tls;
    place(hop) == place(other) && (is_secure(other) || !is_secure(hop))
}

impl Session {
    /// Calls the same way again with an answer to this 401 or 407. Whether that was done.
    pub(crate) fn answer_challenge(&mut self, wire: &mut Wire, response: &Response, now: Instant) -> bool {
        let (asked, line) = match response.status {
            StatusCode::UNAUTHORIZED => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization)
            }
            _ => return false,
        };
        let Some(outgoing) = self.calling() else { return false };
        let Some(challenge) = Challenge::best_of(response.headers.values(asked)) else { return false };
        let Some(target) = outgoing.proof.hop() else { return false };
        // RFC 3261 section 22.2: 401 is the callee's. Behind another hop that is a stranger; 407 is the hop's own.
        let is_beyond = outgoing.request.uri.as_sip().is_none_or(|uri| uri.host != target.uri.host);
        if response.status == StatusCode::UNAUTHORIZED && is_beyond {
            return false;
        }
        if !outgoing.proof.take(line, challenge) {
            return false;
        }
        let secured = outgoing.secured || target.security == Security::Tls;
        self.invite_again(wire, None, if secured { target.secured() } else { target }, now)
    }
}
