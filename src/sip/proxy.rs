//! A stateful SIP proxy without sockets or clock (RFC 3261 section 16) above an [`Endpoint`](crate::Endpoint).
//!
//! The shell drives it through [`Core`]; its role drains [`poll_event`](Proxy::poll_event) and decides where requests
//! outside of dialogs go. What belongs to a dialog that came through us finds its way by our Record-Route.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::endpoint::Endpoint;
use crate::header_name::HeaderName;
use crate::io::{Action, Answer, ClientTx, Core, Event, FailCause, QuestionId, ServerTx};
use crate::limits::{END_TIME, RETRY_AFTER_SECS};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::proxy_context::{Context, Stage, Stop};
use crate::proxy_io::{Forward, ForwardHandle, ProxyEvent, ProxyOptions, ProxyTarget, TargetFault};
use crate::proxy_route::{Passage, Routed, Routes, loop_hash};
use crate::source::{ConnId, Source};
use crate::status::StatusCode;
use crate::target::Target;
use crate::uri::{SipUri, Uri};

/// A proxy: any number of requests at once, up to [`forwarded_max`](ProxyOptions::forwarded_max).
pub struct Proxy {
    endpoint: Endpoint,
    options: ProxyOptions,
    routes: Routes,
    events: VecDeque<ProxyEvent>,
    contexts: BTreeMap<ForwardHandle, Context>,
    by_server: BTreeMap<ServerTx, ForwardHandle>,
    by_client: BTreeMap<ClientTx, ForwardHandle>,
    deadlines: BTreeSet<(Instant, ForwardHandle)>,
    deadline_of: BTreeMap<ForwardHandle, Instant>,
    last_handle: u64,
}

impl Proxy {
    /// `seed` must be secret and new for each proxy.
    pub fn new(mut options: ProxyOptions, seed: [u8; 32]) -> Proxy {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut endpoint_seed = [0; 32];
        rng.fill_bytes(&mut endpoint_seed);
        let mut drawn = [0; 32];
        rng.fill_bytes(&mut drawn);
        let (signing, believed) = options.route_keys.split_first().unwrap_or((&drawn, &[]));
        let routes = Routes::new(signing, believed, rng.next_u32());
        options.endpoint.refuse_merged = false;
        Proxy {
            endpoint: Endpoint::new(options.endpoint.clone(), endpoint_seed),
            routes,
            options,
            events: VecDeque::new(),
            contexts: BTreeMap::new(),
            by_server: BTreeMap::new(),
            by_client: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            deadline_of: BTreeMap::new(),
            last_handle: 0,
        }
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<ProxyEvent> {
        self.events.pop_front()
    }

    /// Requests that are not finished.
    pub fn forwarding(&self) -> usize {
        self.contexts.len()
    }

    /// Nothing is remembered of any request.
    pub fn is_idle(&self) -> bool {
        self.contexts.is_empty()
            && self.by_server.is_empty()
            && self.by_client.is_empty()
            && self.deadlines.is_empty()
            && self.endpoint.transactions() == (0, 0)
    }

    /// The endpoint below, to look at its counters and connections.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request on. False when it is gone, or was decided upon before.
    pub fn forward(&mut self, handle: ForwardHandle, forward: Forward, now: Instant) -> bool {
        let Some(context) = self.contexts.get_mut(&handle).filter(|context| context.stage == Stage::Deciding) else {
            return false;
        };
        for (name, value) in forward.headers {
            match value {
                Some(value) => context.request.headers.set(name, value),
                None => context.request.headers.remove(name),
            }
        }
        context.targets = forward.targets.into();
        context.follow_redirects = forward.follow_redirects;
        context.secured = forward.secured;
        context.answer_time = forward.answer_time;
        self.try_next(handle, StatusCode::TEMPORARILY_UNAVAILABLE, now);
        self.drain(now);
        true
    }

    /// Answers a request here. False when it is gone, or was decided upon before.
    pub fn respond(
        &mut self,
        handle: ForwardHandle,
        status: StatusCode,
        headers: &[(HeaderName, String)],
        now: Instant,
    ) -> bool {
        let deciding = self.contexts.get(&handle).is_some_and(|context| context.stage == Stage::Deciding);
        if deciding {
            self.finish_with(handle, status, headers, now);
            self.drain(now);
        }
        deciding
    }

    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Request { tx, request, source } => self.on_request(tx, request, source, now),
                Event::Ack { request, source } => self.on_ack(request, &source, now),
                Event::Cancelled { tx, cancel } => self.on_cancelled(tx, &cancel, now),
                Event::Abandoned { tx, .. } => self.on_abandoned(tx, now),
                Event::Response { tx, response, .. } => self.on_response(tx, response, now),
                Event::Failed { tx, cause } => self.on_failed(tx, cause, now),
                Event::Closed { .. } => {}
            }
        }
    }

    fn answer(&mut self, tx: ServerTx, status: StatusCode, headers: &[(HeaderName, String)], now: Instant) {
        if let Some(mut response) = self.endpoint.response(tx, status) {
            for (name, value) in headers {
                response.headers.push(name.clone(), value);
            }
            self.endpoint.send_response(tx, response, now);
        }
    }

    /// RFC 3261 sections 16.3 and 16.4.
    fn on_request(&mut self, tx: ServerTx, mut request: Request, source: Source, now: Instant) {
        let required = request.headers.proxy_required();
        if !required.is_empty() {
            let header = (HeaderName::Unsupported, required.join(", "));
            return self.answer(tx, StatusCode::BAD_EXTENSION, &[header], now);
        }
        if matches!(request.uri, Uri::Other { .. }) {
            return self.answer(tx, StatusCode::UNSUPPORTED_URI_SCHEME, &[], now);
        }
        let hops = request.headers.max_forwards().ok().flatten().unwrap_or(70);
        let routed = self.routes.preprocess(&mut request, &self.options, &source);
        // OPTIONS at its last hop asks about us (RFC 3261 section 11).
        if hops == 0 && (request.method != Method::Options || routed != Routed::NotOurs) {
            return self.answer(tx, StatusCode::TOO_MANY_HOPS, &[], now);
        }
        if self.routes.is_loop(&request, &self.options) {
            return self.answer(tx, StatusCode::LOOP_DETECTED, &[], now);
        }
        if self.contexts.len() >= self.options.forwarded_max {
            let header = (HeaderName::RetryAfter, RETRY_AFTER_SECS.to_string());
            return self.answer(tx, StatusCode::SERVICE_UNAVAILABLE, &[header], now);
        }
        let in_dialog = request.headers.to_tag().is_some();
        match routed {
            Routed::Forged => return self.answer(tx, StatusCode::FORBIDDEN, &[], now),
            Routed::NotOurs if in_dialog => return self.answer(tx, StatusCode::CALL_DOES_NOT_EXIST, &[], now),
            Routed::NotOurs | Routed::Passing(_) => {}
        }
        request.headers.set(HeaderName::MaxForwards, hops.saturating_sub(1));
        self.last_handle += 1;
        let handle = ForwardHandle(self.last_handle);
        let context = Context {
            tx,
            source: source.clone(),
            request,
            stage: Stage::Deciding,
            targets: VecDeque::new(),
            tried: Vec::new(),
            follow_redirects: false,
            secured: false,
            answer_time: None,
            in_dialog,
            best: None,
            timer_c: None,
        };
        let request = Box::new(context.request.clone());
        self.contexts.insert(handle, context);
        self.by_server.insert(tx, handle);
        match routed {
            Routed::Passing(passage) if in_dialog => self.pass_on(handle, passage, now),
            _ => self.events.push_back(ProxyEvent::Incoming { handle, request, source }),
        }
    }

    /// A request within a dialog goes where its route set says, over the connection that is there.
    fn pass_on(&mut self, handle: ForwardHandle, passage: Passage, now: Instant) {
        let Some(context) = self.contexts.get_mut(&handle) else { return };
        let (Uri::Sip(uri), Some(hop)) = (context.request.uri.clone(), Target::of(&context.request)) else {
            return self.finish_with(handle, StatusCode::UNSUPPORTED_URI_SCHEME, &[], now);
        };
        context.targets.push_back(ProxyTarget { uri, hop: Some(passage.lead(hop)) });
        context.secured = passage.secured;
        self.try_next(handle, StatusCode::SERVER_INTERNAL_ERROR, now);
    }

    /// Sends the request to the next target. Without one, the best answer goes back: `otherwise` when there is none.
    fn try_next(&mut self, handle: ForwardHandle, otherwise: StatusCode, now: Instant) {
        loop {
            let Some(context) = self.contexts.get_mut(&handle) else { return };
            let Some((uri, target)) = context.next_target() else {
                return self.finish_with_best(handle, otherwise, now);
            };
            let mut request = context.request.clone();
            request.uri = Uri::Sip(uri.clone());
            if !context.in_dialog {
                let hash = loop_hash(&context.request);
                self.routes.record(&mut request, &hash, &self.options, &context.source, &target);
            }
            match self.endpoint.send_request(request, target, now) {
                Ok(tx) => {
                    context.stage = Stage::Forwarded(tx);
                    context.timer_c = context.is_invite().then(|| now + self.options.timer_c);
                    self.by_client.insert(tx, handle);
                    return self.note_deadline(handle);
                }
                Err(_) => self.tell_failure(handle, TargetFault::NotSent),
            }
        }
    }

    fn tell_failure(&mut self, handle: ForwardHandle, fault: TargetFault) {
        let uri = self.contexts.get(&handle).filter(|context| !context.in_dialog).and_then(|one| one.tried.last());
        if let Some(uri) = uri.cloned() {
            self.events.push_back(ProxyEvent::TargetFailed { handle, uri, fault });
        }
    }

    fn tell_finish(&mut self, handle: ForwardHandle, status: StatusCode, uri: Option<SipUri>) {
        let Some(context) = self.contexts.get(&handle).filter(|context| !context.in_dialog) else { return };
        let method = context.request.method.clone();
        self.events.push_back(ProxyEvent::Finished { handle, method, status, uri });
    }

    /// RFC 3261 section 16.7.
    fn on_response(&mut self, tx: ClientTx, mut response: Response, now: Instant) {
        let Some(handle) = self.by_client.get(&tx).copied() else { return };
        let Some(context) = self.contexts.get_mut(&handle) else { return };
        response.headers.pop_first_value(HeaderName::Via);
        let status = response.status;
        if status == StatusCode::TRYING {
            return;
        }
        if status.is_provisional() {
            if context.is_invite() && matches!(context.stage, Stage::Forwarded(_)) {
                context.timer_c = Some(now + self.options.timer_c);
                self.note_deadline(handle);
            }
            let server = self.contexts.get(&handle).map(|context| context.tx);
            if let Some(server) = server {
                self.endpoint.send_response(server, response, now);
            }
            return;
        }
        if status.is_success() {
            return self.on_success(handle, tx, response, now);
        }
        self.by_client.remove(&tx);
        let uri = context.tried.last().cloned();
        let stopping = matches!(context.stage, Stage::Stopping(..));
        // Where calls go on from here is never the caller's to know, a cancelled call's included.
        let redirects = status.is_redirection() && context.follow_redirects;
        if redirects && !stopping {
            context.take_redirection(&response);
        } else if let Some(uri) = uri.filter(|_| !redirects) {
            context.note_final(response, uri);
        }
        let stop = stopping || status.code() >= 600;
        if !redirects {
            self.tell_failure(handle, TargetFault::Status(status));
        }
        if stop {
            self.finish_with_best(handle, StatusCode::REQUEST_TERMINATED, now);
        } else {
            self.try_next(handle, StatusCode::TEMPORARILY_UNAVAILABLE, now);
        }
    }

    /// A 2xx goes back at once. More of them may follow an INVITE's, from forks further on.
    fn on_success(&mut self, handle: ForwardHandle, tx: ClientTx, response: Response, now: Instant) {
        let Some(context) = self.contexts.get(&handle) else { return };
        let first = !matches!(context.stage, Stage::Answered(..));
        let (server, uri, status) = (context.tx, context.tried.last().cloned(), response.status);
        self.endpoint.send_response(server, response, now);
        if !first {
            return;
        }
        self.tell_finish(handle, status, uri);
        match self.contexts.get_mut(&handle) {
            Some(context) if context.is_invite() => {
                context.stage = Stage::Answered(tx, now + self.options.endpoint.timers.transaction());
                context.timer_c = None;
                self.note_deadline(handle);
            }
            _ => self.forget(handle),
        }
    }

    fn on_failed(&mut self, tx: ClientTx, cause: FailCause, now: Instant) {
        let Some(handle) = self.by_client.remove(&tx) else { return };
        let Some(context) = self.contexts.get(&handle) else { return };
        match context.stage {
            Stage::Answered(..) | Stage::Deciding => {}
            Stage::Stopping(..) => self.finish_with_best(handle, StatusCode::REQUEST_TERMINATED, now),
            Stage::Forwarded(_) => {
                self.tell_failure(handle, TargetFault::NoAnswer(cause));
                let status = match cause {
                    FailCause::Timeout => StatusCode::REQUEST_TIMEOUT,
                    // RFC 3261 section 16.9 has it counted as a 503, which section 16.7 turns into this.
                    FailCause::Transport | FailCause::Unresolved | FailCause::GivenUp => {
                        StatusCode::SERVER_INTERNAL_ERROR
                    }
                };
                self.try_next(handle, status, now);
            }
        }
    }

    fn on_cancelled(&mut self, tx: ServerTx, cancel: &Request, now: Instant) {
        let Some(handle) = self.by_server.get(&tx).copied() else { return };
        let Some(context) = self.contexts.get_mut(&handle) else { return };
        context.targets.clear();
        match context.stage {
            Stage::Forwarded(client) => {
                context.stage = Stage::Stopping(client, Stop::Cancelled);
                context.timer_c = Some(now + END_TIME);
                let reason = cancel.headers.reasons().into_iter().next();
                self.endpoint.cancel(client, reason, now);
                self.note_deadline(handle);
            }
            Stage::Deciding => {
                self.answer(tx, StatusCode::REQUEST_TERMINATED, &[], now);
                self.events.push_back(ProxyEvent::Withdrawn { handle });
                self.forget(handle);
            }
            Stage::Stopping(..) | Stage::Answered(..) => {}
        }
    }

    fn on_abandoned(&mut self, tx: ServerTx, now: Instant) {
        let Some(handle) = self.by_server.get(&tx).copied() else { return };
        let Some(context) = self.contexts.get(&handle) else { return };
        if matches!(context.stage, Stage::Answered(..)) {
            return;
        }
        if let Some(client) = context.client() {
            self.endpoint.cancel(client, None, now);
        }
        self.events.push_back(ProxyEvent::Withdrawn { handle });
        self.forget(handle);
    }

    /// The ACK for a 2xx is a request of its own, and has no answer.
    fn on_ack(&mut self, mut ack: Request, source: &Source, now: Instant) {
        let hops = ack.headers.max_forwards().ok().flatten().unwrap_or(70);
        let Routed::Passing(passage) = self.routes.preprocess(&mut ack, &self.options, source) else { return };
        if hops == 0 {
            return;
        }
        ack.headers.set(HeaderName::MaxForwards, hops - 1);
        if let Some(target) = Target::of(&ack) {
            let target = passage.lead(target);
            // Nobody is to be told; the 2xx comes again if it was lost.
            let _ = self.endpoint.send_ack(ack, target, now);
        }
    }

    fn on_timeout(&mut self, handle: ForwardHandle, now: Instant) {
        let Some(context) = self.contexts.get_mut(&handle) else { return };
        match context.stage {
            Stage::Answered(_, until) if until <= now => self.forget(handle),
            // RFC 3261 section 16.8.
            Stage::Forwarded(client) if context.timer_c.is_some_and(|at| at <= now) => {
                context.stage = Stage::Stopping(client, Stop::TimerC);
                context.timer_c = Some(now + END_TIME);
                context.targets.clear();
                self.endpoint.cancel(client, None, now);
                self.note_deadline(handle);
            }
            Stage::Stopping(..) if context.timer_c.is_some_and(|at| at <= now) => {
                self.finish_with_best(handle, StatusCode::REQUEST_TERMINATED, now);
            }
            _ => self.note_deadline(handle),
        }
    }

    fn finish_with_best(&mut self, handle: ForwardHandle, otherwise: StatusCode, now: Instant) {
        let Some(context) = self.contexts.get_mut(&handle) else { return };
        let timed_out = matches!(context.stage, Stage::Stopping(_, Stop::TimerC));
        let best = context.best.take().filter(|_| !timed_out);
        let Some((mut response, uri)) = best else {
            let status = if timed_out { StatusCode::REQUEST_TIMEOUT } else { otherwise };
            // RFC 4320: a 408 helps nobody but an INVITE's sender.
            if status == StatusCode::REQUEST_TIMEOUT && !context.is_invite() {
                self.tell_finish(handle, status, None);
                return self.forget(handle);
            }
            return self.finish_with(handle, status, &[], now);
        };
        // A 503 would keep the sender from us, not from the target (RFC 3261 section 16.7 step 6).
        if response.status == StatusCode::SERVICE_UNAVAILABLE {
            response.status = StatusCode::SERVER_INTERNAL_ERROR;
            response.phrase = StatusCode::SERVER_INTERNAL_ERROR.phrase().into();
            response.headers.remove(HeaderName::RetryAfter);
        }
        let (server, status) = (context.tx, response.status);
        self.endpoint.send_response(server, response, now);
        self.tell_finish(handle, status, Some(uri));
        self.forget(handle);
    }

    fn finish_with(
        &mut self,
        handle: ForwardHandle,
        status: StatusCode,
        headers: &[(HeaderName, String)],
        now: Instant,
    ) {
        let Some(context) = self.contexts.get(&handle) else { return };
        self.answer(context.tx, status, headers, now);
        self.tell_finish(handle, status, None);
        self.forget(handle);
    }

    fn forget(&mut self, handle: ForwardHandle) {
        let Some(context) = self.contexts.remove(&handle) else { return };
        self.by_server.remove(&context.tx);
        if let Some(client) = context.client() {
            self.by_client.remove(&client);
        }
        if let Some(at) = self.deadline_of.remove(&handle) {
            self.deadlines.remove(&(at, handle));
        }
    }

    fn note_deadline(&mut self, handle: ForwardHandle) {
        let deadline = self.contexts.get(&handle).and_then(Context::next_timeout);
        if let Some(before) = self.deadline_of.remove(&handle) {
            self.deadlines.remove(&(before, handle));
        }
        if let Some(deadline) = deadline {
            self.deadline_of.insert(handle, deadline);
            self.deadlines.insert((deadline, handle));
        }
    }
}

impl Core for Proxy {
    fn handle_accepted(&mut self, source: Source, now: Instant) -> Option<ConnId> {
        let conn = self.endpoint.handle_accepted(source, now);
        self.drain(now);
        conn
    }

    fn handle_connected(&mut self, conn: ConnId, local: SocketAddr, names: Arc<[String]>, now: Instant) {
        self.endpoint.handle_connected(conn, local, names, now);
        self.drain(now);
    }

    fn handle_connect_failed(&mut self, conn: ConnId, now: Instant) {
        self.endpoint.handle_connect_failed(conn, now);
        self.drain(now);
    }

    fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        self.endpoint.handle_bytes(conn, bytes, now);
        self.drain(now);
    }

    fn handle_closed(&mut self, conn: ConnId, now: Instant) {
        self.endpoint.handle_closed(conn, now);
        self.drain(now);
    }

    fn handle_datagram(&mut self, local: SocketAddr, remote: SocketAddr, bytes: &[u8], now: Instant) {
        self.endpoint.handle_datagram(local, remote, bytes, now);
        self.drain(now);
    }

    fn handle_resolved(&mut self, question: QuestionId, answer: Answer, now: Instant) {
        self.endpoint.handle_resolved(question, answer, now);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.drain(now);
        while let Some((at, handle)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            // Each is met once: what it was for is over or has a new one.
            self.deadlines.remove(&(at, handle));
            self.deadline_of.remove(&handle);
            self.on_timeout(handle, now);
        }
        self.drain(now);
    }

    fn next_timeout(&self) -> Option<Instant> {
        let own = self.deadlines.first().map(|(at, _)| *at);
        own.into_iter().chain(self.endpoint.next_timeout()).min()
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.endpoint.poll_action()
    }
}
