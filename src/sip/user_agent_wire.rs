//! What all calls of a user agent share: the endpoint, who asked for which transaction, and the events for the role.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::dialog::{Dialog, DialogId};
use crate::endpoint::Endpoint;
use crate::fields::Reason;
use crate::header_name::HeaderName;
use crate::io::{ClientTx, SendError, ServerTx};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::session_challenge::Shown;
use crate::status::StatusCode;
use crate::target::Target;
use crate::user_agent_io::{CallEvent, CallHandle, PingHandle};
use crate::user_agent_options::{Availability, UserAgentOptions};

/// Methods that we take, as Allow says.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY";

/// Extensions that we know, as Supported says.
pub(crate) const SUPPORTED: &str = "timer, 100rel";

/// Bodies that we read, as Accept says.
pub(crate) const ACCEPT: &str = "application/sdp, application/dtmf-relay, application/dtmf, message/sipfrag";

/// What a request of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The INVITE that makes a call, at one of its targets.
    Invite(CallHandle),
    Reinvite(CallHandle),
    /// A session refresh.
    Refresh(CallHandle),
    Bye(CallHandle),
    Refer(CallHandle),
    /// Nothing depends on the answer but that the peer still knows the call.
    Notice(CallHandle),
    Ping(PingHandle),
}

/// The shared part.
pub(crate) struct Wire {
    pub endpoint: Endpoint,
    pub options: UserAgentOptions,
    pub events: VecDeque<CallEvent>,
    /// Requests of ours under way.
    pub client: BTreeMap<ClientTx, Purpose>,
    /// Requests of peers that wait for our answer, by call.
    pub server: BTreeMap<ServerTx, CallHandle>,
    pub dialogs: BTreeMap<DialogId, CallHandle>,
    rng: ChaCha20Rng,
}

impl Wire {
    pub fn new(options: UserAgentOptions, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut endpoint_seed = [0; 32];
        rng.fill_bytes(&mut endpoint_seed);
        Self {
            endpoint: Endpoint::new(options.endpoint.clone(), endpoint_seed),
            options,
            events: VecDeque::new(),
            client: BTreeMap::new(),
            server: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            rng,
        }
    }

    pub fn emit(&mut self, event: CallEvent) {
        self.events.push_back(event);
    }

    /// Evenly drawn, both ends included.
    pub fn millis_between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.rng.next_u64() % (most - least + 1))
    }

    /// First of the RSeq numbers of a call (RFC 3262 section 3: 1 to 2^31 - 1, room left to grow).
    pub fn first_rseq(&mut self) -> u32 {
        1 + self.rng.next_u32() % (1 << 30)
    }

    pub fn t1(&self) -> Duration {
        self.options.endpoint.timers.t1
    }

    pub fn t2(&self) -> Duration {
        self.options.endpoint.timers.t2
    }

    /// Sends a request of a dialog of this call.
    pub fn send_in(
        &mut self,
        dialog: &Dialog,
        mut request: Request,
        purpose: Purpose,
        now: Instant,
    ) -> Result<ClientTx, SendError> {
        if let Some(name) = &self.options.name {
            request.headers.push(HeaderName::UserAgent, name);
        }
        let hop = dialog.next_hop(&request).ok_or(SendError::NoTransport)?;
        self.send(request, hop, purpose, now)
    }

    pub fn send(
        &mut self,
        request: Request,
        hop: Target,
        purpose: Purpose,
        now: Instant,
    ) -> Result<ClientTx, SendError> {
        let tx = self.endpoint.send_request(request, hop, now)?;
        self.client.insert(tx, purpose);
        Ok(tx)
    }

    /// Sends the ACK for a 2xx, signed with what its INVITE has shown. What cannot be sent is sent when the 2xx comes
    /// again.
    pub fn acknowledge(&mut self, dialog: &Dialog, ack: &Request, shown: &Shown, now: Instant) {
        if let Some(hop) = dialog.next_hop(ack) {
            let mut ack = ack.clone();
            shown.sign(&mut ack, &hop, self);
            let _ = self.endpoint.send_ack(ack, hop, now);
        }
    }

    /// A response with our tag; `None` when the transaction is gone.
    pub fn response(&self, tx: ServerTx, status: StatusCode) -> Option<Response> {
        let mut response = self.endpoint.response(tx, status)?;
        if let Some(name) = &self.options.name {
            response.headers.push(HeaderName::Server, name);
        }
        match status {
            StatusCode::METHOD_NOT_ALLOWED => response.headers.push(HeaderName::Allow, ALLOW),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => response.headers.push(HeaderName::Accept, ACCEPT),
            _ => {}
        }
        Some(response)
    }

    /// Answers with nothing but a status and these header lines.
    pub fn answer(&mut self, tx: ServerTx, status: StatusCode, headers: &[(HeaderName, String)], now: Instant) {
        if status.is_final() {
            self.server.remove(&tx);
        }
        if let Some(mut response) = self.response(tx, status) {
            for (name, value) in headers {
                response.headers.push(name.clone(), value);
            }
            self.send_response(tx, response, now);
        }
    }

    pub fn send_response(&mut self, tx: ServerTx, response: Response, now: Instant) {
        if response.status.is_final() {
            self.server.remove(&tx);
        }
        self.endpoint.send_response(tx, response, now);
    }

    pub fn cancel(&mut self, tx: ClientTx, reason: Option<Reason>, now: Instant) {
        self.endpoint.cancel(tx, reason, now);
    }

    /// Answers an OPTIONS: what we can do, or that calls had better go elsewhere.
    pub fn answer_options(&mut self, tx: ServerTx, now: Instant) {
        let (status, retry_after) = match self.options.availability {
            Availability::Ready => (StatusCode::OK, None),
            Availability::Unavailable { retry_after_secs } => (StatusCode::SERVICE_UNAVAILABLE, Some(retry_after_secs)),
        };
        let Some(mut response) = self.response(tx, status) else { return };
        self.say_abilities(&mut response.headers);
        response.headers.push(HeaderName::Accept, ACCEPT);
        if let Some(seconds) = retry_after {
            response.headers.push(HeaderName::RetryAfter, seconds);
        }
        for (name, value) in &self.options.options_headers {
            response.headers.push(name.clone(), value);
        }
        self.send_response(tx, response, now);
    }

    /// 422 (RFC 4028 section 6).
    pub fn answer_too_small(&mut self, tx: ServerTx, now: Instant) {
        let floor = self.options.timer.floor_secs().to_string();
        self.answer(tx, StatusCode::SESSION_INTERVAL_TOO_SMALL, &[(HeaderName::MinSe, floor)], now);
    }

    /// The headers of a 2xx or a target refresh that say what we can do.
    pub fn say_abilities(&self, headers: &mut crate::headers::Headers) {
        headers.push(HeaderName::Allow, ALLOW);
        headers.push(HeaderName::Supported, SUPPORTED);
    }
}

/// Extensions in Require that we do not know (RFC 3261 section 8.2.2.3); not asked of ACK and CANCEL.
pub(crate) fn unknown_extensions(request: &Request) -> Vec<String> {
    if matches!(request.method, Method::Ack | Method::Cancel) {
        return Vec::new();
    }
    let known = |tag: &&str| SUPPORTED.split(", ").chain(["norefersub"]).any(|ours| ours.eq_ignore_ascii_case(tag));
    request.headers.required().into_iter().filter(|tag| !known(tag)).map(String::from).collect()
}
