//! A SIP user agent without sockets or clock: calls above an [`Endpoint`](crate::Endpoint).
//!
//! The shell drives it through [`Core`] as it would the endpoint; its role drains [`poll_event`](UserAgent::poll_event)
//! and gives commands. After each call of either, drain actions and events, then read `next_timeout` again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::dialog::DialogId;
use crate::header_name::HeaderName;
use crate::io::{Action, Answer, ClientTx, Core, Event, FailCause, QuestionId, ServerTx};
use crate::limits::RETRY_AFTER_SECS;
use crate::message::{Request, Response};
use crate::method::Method;
use crate::sdp_body::{self, Body};
use crate::session::{Phase, Session};
use crate::session_timer::UasTimer;
use crate::source::{ConnId, Source};
use crate::status::StatusCode;
use crate::trace::Traced;
use crate::uri::Uri;
use crate::user_agent_io::{
    CallEvent, CallHandle, CommandError, EndCause, PingFault, PingHandle, Pong, TransferProgress,
};
use crate::user_agent_options::{Availability, UserAgentOptions};
use crate::user_agent_wire::{Purpose, Wire, unknown_extensions};

/// A user agent: any number of calls, in and out, up to [`calls_max`](UserAgentOptions::calls_max).
pub struct UserAgent {
    pub(crate) wire: Wire,
    pub(crate) sessions: BTreeMap<CallHandle, Session>,
    deadlines: BTreeSet<(Instant, CallHandle)>,
    deadline_of: BTreeMap<CallHandle, Instant>,
    pub(crate) pings: BTreeMap<PingHandle, Instant>,
    last_handle: u64,
}

impl UserAgent {
    /// `seed` must be secret and new for each user agent: tags, branches and Call-IDs come from it.
    pub fn new(options: UserAgentOptions, seed: [u8; 32]) -> UserAgent {
        UserAgent {
            wire: Wire::new(options, seed),
            sessions: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            deadline_of: BTreeMap::new(),
            pings: BTreeMap::new(),
            last_handle: 0,
        }
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<CallEvent> {
        self.wire.events.pop_front()
    }

    /// Calls that are not over, those whose BYE is still on its way among them.
    pub fn calls(&self) -> usize {
        self.sessions.len()
    }

    /// Nothing is remembered of any call or request.
    pub fn is_idle(&self) -> bool {
        let wire = &self.wire;
        self.sessions.is_empty()
            && self.deadlines.is_empty()
            && self.pings.is_empty()
            && wire.dialogs.is_empty()
            && wire.client.is_empty()
            && wire.server.is_empty()
            && wire.endpoint.transactions() == (0, 0)
    }

    pub fn options(&self) -> &UserAgentOptions {
        &self.wire.options
    }

    /// Replaces the options; running calls keep what they agreed.
    pub fn set_options(&mut self, options: UserAgentOptions) {
        self.wire.endpoint.set_options(options.endpoint.clone());
        self.wire.options = options;
    }

    /// How OPTIONS is answered from now on, with these header lines besides.
    pub fn set_availability(&mut self, availability: Availability, headers: Vec<(HeaderName, String)>) {
        self.wire.options.availability = availability;
        self.wire.options.options_headers = headers;
    }

    /// Whether messages are told of by [`poll_traced`](Self::poll_traced) from now on; at first they are not.
    pub fn set_tracing(&mut self, tracing: bool) {
        self.wire.endpoint.set_tracing(tracing);
    }

    /// The next message that went by, of calls and of anything else.
    pub fn poll_traced(&mut self) -> Option<Traced> {
        self.wire.endpoint.poll_traced()
    }

    /// The endpoint below, to look at its counters and connections.
    pub fn endpoint(&self) -> &crate::Endpoint {
        &self.wire.endpoint
    }

    pub(crate) fn next_handle(&mut self) -> u64 {
        self.last_handle += 1;
        self.last_handle
    }

    pub(crate) fn command(
        &mut self,
        call: CallHandle,
        now: Instant,
        run: impl FnOnce(&mut Session, &mut Wire) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let session = self.sessions.get_mut(&call).ok_or(CommandError::NoSuchCall)?;
        let outcome = run(session, &mut self.wire);
        self.settle(call, now);
        outcome
    }

    fn with(&mut self, call: CallHandle, run: impl FnOnce(&mut Session, &mut Wire)) {
        if let Some(session) = self.sessions.get_mut(&call) {
            run(session, &mut self.wire);
            self.settle_call(call);
        }
    }

    /// Takes note of what a command did to a call, and of what the endpoint has to say to it.
    pub(crate) fn settle(&mut self, call: CallHandle, now: Instant) {
        self.settle_call(call);
        self.drain(now);
    }

    /// Notes the call's next deadline, or forgets the call when it is over.
    fn settle_call(&mut self, call: CallHandle) {
        let Some(session) = self.sessions.get(&call) else { return };
        let deadline = if session.is_over() { None } else { session.next_timeout() };
        let before = match deadline {
            Some(deadline) => self.deadline_of.insert(call, deadline),
            None => self.deadline_of.remove(&call),
        };
        if before != deadline {
            if let Some(before) = before {
                self.deadlines.remove(&(before, call));
            }
            if let Some(deadline) = deadline {
                self.deadlines.insert((deadline, call));
            }
        }
        if session.is_over() {
            if let Some(dialog) = &session.dialog {
                self.wire.dialogs.remove(dialog.id());
            }
            if let Some((tx, _)) = &session.last_ack {
                self.wire.client.remove(tx);
            }
            self.sessions.remove(&call);
        }
    }

    /// Takes what the endpoint has to say.
    pub(crate) fn drain(&mut self, now: Instant) {
        while let Some(event) = self.wire.endpoint.poll_event() {
            match event {
                Event::Request { tx, request, source } => self.on_request(tx, request, source, now),
                Event::Ack { request, source } => {
                    let call = DialogId::of_incoming(&request).and_then(|id| self.wire.dialogs.get(&id).copied());
                    if let Some(call) = call {
                        self.with(call, |session, wire| session.on_ack(wire, &request, &source, now));
                    }
                }
                Event::Cancelled { tx, .. } => self.on_gone(tx, EndCause::Cancelled, now),
                Event::Abandoned { tx, .. } => self.on_gone(tx, EndCause::Abandoned, now),
                Event::Response { tx, response, source } => self.on_response(tx, response, source, now),
                Event::Failed { tx, cause } => self.on_failed(tx, cause, now),
                Event::Closed { conn } => self.on_closed(conn),
            }
        }
    }

    fn on_request(&mut self, tx: ServerTx, request: Request, source: Source, now: Instant) {
        let unknown = unknown_extensions(&request);
        if !unknown.is_empty() {
            let header = (HeaderName::Unsupported, unknown.join(", "));
            return self.wire.answer(tx, StatusCode::BAD_EXTENSION, &[header], now);
        }
        if request.headers.to_tag().is_some() {
            let call = DialogId::of_incoming(&request).and_then(|id| self.wire.dialogs.get(&id).copied());
            return match call {
                Some(call) => self.with(call, |session, wire| session.on_request(wire, tx, request, &source, now)),
                None => self.wire.answer(tx, StatusCode::CALL_DOES_NOT_EXIST, &[], now),
            };
        }
        if matches!(request.uri, Uri::Other { .. }) {
            return self.wire.answer(tx, StatusCode::UNSUPPORTED_URI_SCHEME, &[], now);
        }
        if self.wire.options.passed_up.contains(&request.method) {
            let request = Box::new(request);
            return self.wire.emit(CallEvent::Request { tx, request, source });
        }
        match request.method {
            Method::Invite => self.on_invite(tx, request, source, now),
            Method::Options => self.wire.answer_options(tx, now),
            Method::Bye | Method::Prack | Method::Update | Method::Info | Method::Notify => {
                self.wire.answer(tx, StatusCode::CALL_DOES_NOT_EXIST, &[], now);
            }
            Method::Refer => self.wire.answer(tx, StatusCode::FORBIDDEN, &[], now),
            Method::Other(_) => self.wire.answer(tx, StatusCode::NOT_IMPLEMENTED, &[], now),
            _ => self.wire.answer(tx, StatusCode::METHOD_NOT_ALLOWED, &[], now),
        }
    }

    fn on_invite(&mut self, tx: ServerTx, invite: Request, source: Source, now: Instant) {
        if self.sessions.len() >= self.wire.options.calls_max {
            let header = (HeaderName::RetryAfter, RETRY_AFTER_SECS.to_string());
            return self.wire.answer(tx, StatusCode::SERVICE_UNAVAILABLE, &[header], now);
        }
        if !matches!(invite.headers.contact(), Ok(Some(_))) {
            return self.wire.answer(tx, StatusCode::BAD_REQUEST, &[], now);
        }
        if !sdp_body::is_accepted_by(&invite.headers) {
            return self.wire.answer(tx, StatusCode::NOT_ACCEPTABLE, &[], now);
        }
        if self.wire.options.timer.judge_request(&invite.headers, None) == UasTimer::TooSmall {
            return self.wire.answer_too_small(tx, now);
        }
        let offer = match Body::of(&invite.headers, &invite.body) {
            Body::Empty => None,
            Body::Session(offer) => Some(offer),
            Body::Unsupported => return self.wire.answer(tx, StatusCode::UNSUPPORTED_MEDIA_TYPE, &[], now),
            Body::Malformed(_) => return self.wire.answer(tx, StatusCode::BAD_REQUEST, &[], now),
        };
        let call = CallHandle(self.next_handle());
        let session = Session::incoming(&mut self.wire, call, tx, &invite, offer.is_some(), &source);
        self.sessions.insert(call, session);
        self.wire.server.insert(tx, call);
        self.wire.emit(CallEvent::Incoming { call, invite: Box::new(invite), offer, source });
        self.settle_call(call);
    }

    /// A request of a peer is to be given up, or its transaction went.
    fn on_gone(&mut self, tx: ServerTx, cause: EndCause, now: Instant) {
        let Some(call) = self.wire.server.get(&tx).copied() else {
            return self.wire.answer(tx, StatusCode::REQUEST_TERMINATED, &[], now);
        };
        self.with(call, |session, wire| match &session.phase {
            Phase::Incoming(incoming) if incoming.tx == tx => session.on_incoming_gone(wire, tx, cause, now),
            Phase::PeerBye { tx: bye, .. } if *bye == tx => session.finish(wire, EndCause::Peer),
            _ => session.on_exchange_gone(wire, tx, now),
        });
        self.wire.server.remove(&tx);
    }

    fn on_response(&mut self, tx: ClientTx, response: Response, source: Source, now: Instant) {
        let Some(purpose) = self.wire.client.get(&tx).copied() else { return };
        let repeats = matches!(purpose, Purpose::Invite(_) | Purpose::Reinvite(_)) && response.status.is_success();
        if response.status.is_final() && !repeats {
            self.wire.client.remove(&tx);
        }
        match purpose {
            Purpose::Ping(ping) => self.on_pong(ping, response, source, now),
            Purpose::Invite(call) | Purpose::Reinvite(call) if !self.sessions.contains_key(&call) => {
                self.wire.client.remove(&tx);
            }
            Purpose::Invite(call) => {
                self.with(call, |session, wire| session.on_invite_response(wire, tx, response, &source, now));
            }
            Purpose::Reinvite(call) => {
                self.with(call, |session, wire| session.on_reinvite_response(wire, tx, &response, &source, now));
            }
            Purpose::Refresh(call) => {
                self.with(call, |session, wire| session.on_refresh_response(wire, &response, &source, now));
            }
            Purpose::Refer(call) => {
                self.with(call, |session, wire| session.on_refer_response(wire, &response, now));
            }
            Purpose::Bye(call) if response.status.is_final() => {
                self.with(call, |session, _| session.phase = Phase::Over);
            }
            Purpose::Notice(call) if response.status == StatusCode::CALL_DOES_NOT_EXIST => {
                self.with(call, |session, wire| {
                    if session.is_active() {
                        session.leave(wire, EndCause::Forgotten, None, now);
                    }
                });
            }
            Purpose::Bye(_) | Purpose::Notice(_) => {}
        }
    }

    fn on_failed(&mut self, tx: ClientTx, cause: FailCause, now: Instant) {
        let Some(purpose) = self.wire.client.remove(&tx) else { return };
        match purpose {
            Purpose::Ping(ping) => {
                if let Some(sent) = self.pings.remove(&ping) {
                    let fault = PingFault { cause, after: now.saturating_duration_since(sent) };
                    self.wire.emit(CallEvent::Pong { ping, outcome: Err(fault) });
                }
            }
            Purpose::Invite(call) => self.with(call, |session, wire| session.on_invite_failed(wire, cause, now)),
            Purpose::Reinvite(call) => self.with(call, |session, wire| session.on_reoffer_failed(wire, cause, now)),
            Purpose::Refresh(call) => self.with(call, |session, wire| session.on_refresh_failed(wire, cause, now)),
            Purpose::Refer(call) => {
                self.with(call, |session, wire| session.end_referral(wire, TransferProgress::Unknown, now));
            }
            Purpose::Bye(call) => self.with(call, |session, _| session.phase = Phase::Over),
            Purpose::Notice(_) => {}
        }
    }

    fn on_pong(&mut self, ping: PingHandle, response: Response, source: Source, now: Instant) {
        if response.status.is_provisional() {
            return;
        }
        if let Some(sent) = self.pings.remove(&ping) {
            let round_trip = now.saturating_duration_since(sent);
            let pong = Pong { response: Box::new(response), source, round_trip };
            self.wire.emit(CallEvent::Pong { ping, outcome: Ok(pong) });
        }
    }

    /// Looks at every call: connections end seldom.
    fn on_closed(&mut self, conn: ConnId) {
        for session in self.sessions.values_mut() {
            session.on_connection_gone(&mut self.wire, conn);
        }
    }
}

impl Core for UserAgent {
    fn handle_accepted(&mut self, source: Source, now: Instant) -> Option<ConnId> {
        let conn = self.wire.endpoint.handle_accepted(source, now);
        self.drain(now);
        conn
    }

    fn handle_connected(&mut self, conn: ConnId, local: SocketAddr, names: Arc<[String]>, now: Instant) {
        self.wire.endpoint.handle_connected(conn, local, names, now);
        self.drain(now);
    }

    fn handle_connect_failed(&mut self, conn: ConnId, now: Instant) {
        self.wire.endpoint.handle_connect_failed(conn, now);
        self.drain(now);
    }

    fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        self.wire.endpoint.handle_bytes(conn, bytes, now);
        self.drain(now);
    }

    fn handle_closed(&mut self, conn: ConnId, now: Instant) {
        self.wire.endpoint.handle_closed(conn, now);
        self.drain(now);
    }

    fn handle_datagram(&mut self, local: SocketAddr, remote: SocketAddr, bytes: &[u8], now: Instant) {
        self.wire.endpoint.handle_datagram(local, remote, bytes, now);
        self.drain(now);
    }

    fn handle_resolved(&mut self, question: QuestionId, answer: Answer, now: Instant) {
        self.wire.endpoint.handle_resolved(question, answer, now);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.wire.endpoint.handle_timeout(now);
        self.drain(now);
        while let Some((_, call)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            let before = self.deadline_of.get(&call).copied();
            self.with(call, |session, wire| session.on_timeout(wire, now));
            // A deadline that its session leaves standing would be met again at once.
            if self.deadline_of.get(&call).copied() == before {
                break;
            }
        }
        self.drain(now);
    }

    fn next_timeout(&self) -> Option<Instant> {
        let own = self.deadlines.first().map(|(at, _)| *at);
        own.into_iter().chain(self.wire.endpoint.next_timeout()).min()
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.wire.endpoint.poll_action()
    }
}
