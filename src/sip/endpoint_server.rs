//! The endpoint's server side: requests of others, and their answers.

use std::net::SocketAddr;
use std::time::Instant;

use crate::connection::group_of;
use crate::endpoint::{Endpoint, Owner};
use crate::header_name::HeaderName;
use crate::host::Host;
use crate::io::{Action, Event, FailCause, ServerTx};
use crate::limits::RETRY_AFTER_SECS;
use crate::message::{Request, Response};
use crate::method::Method;
use crate::resolve::Destination;
use crate::server_transaction::{OnTimeout, ServerTransaction};
use crate::source::{Source, Transport};
use crate::status::StatusCode;
use crate::transaction_key::{MergeKey, TransactionKey};
use crate::via::Via;

/// A request that came in.
#[derive(Debug)]
pub(crate) struct Server {
    /// Without its body.
    request: Request,
    source: Source,
    /// Its topmost Via, with the source noted.
    via: Via,
    key: TransactionKey,
    merge: Option<MergeKey>,
    /// Of our answers' To.
    tag: String,
    state: ServerTransaction,
    /// The last answer's bytes, kept where it may have to be sent again.
    last_answer: Option<Vec<u8>>,
}

impl Endpoint {
    /// Answers a request. Each answer goes out at most once, but for what the transaction repeats by itself; a 2xx to an INVITE
    /// may be given again until its ACK has come (RFC 6026 section 7.1: its repetition is the user's). An answer that
    /// comes too late is passed over.
    pub fn send_response(&mut self, tx: ServerTx, response: Response, now: Instant) {
        let Some(server) = self.servers.get_mut(&tx) else { return };
        if !server.state.on_answer(response.status, now) {
            return;
        }
        // What a proxy forwards has the tag of who answered; a CANCEL that comes later is answered with it too.
        if response.status != StatusCode::TRYING
            && let Some(tag) = response.headers.to_tag()
        {
            server.tag = tag;
        }
        self.trace.sent_response(&response);
        let bytes = response.encode();
        let repeated = !server.source.transport.is_reliable() && server.state.repeats_answer();
        server.last_answer = repeated.then(|| bytes.clone());
        if response.status.is_final()
            && let Some(merge) = server.merge.take()
        {
            self.merges.remove(&merge);
        }
        let (source, via) = (server.source.clone(), server.via.clone());
        if !self.transmit_answer(&source, &via, bytes, now) && response.status.is_final() {
            self.events.push_back(Event::Abandoned { tx, cause: FailCause::Transport });
            self.forget_server(tx);
            return;
        }
        self.settle_server(tx);
    }

    /// A response to a pending request, with the tag that all its answers carry. `None` when the transaction is gone.
    pub fn response(&self, tx: ServerTx, status: StatusCode) -> Option<Response> {
        let server = self.servers.get(&tx)?;
        Some(server.request.response(status, Some(&server.tag)))
    }

    /// The request of a transaction that is not gone, without its body.
    pub fn request(&self, tx: ServerTx) -> Option<&Request> {
        self.servers.get(&tx).map(|server| &server.request)
    }

    pub(crate) fn on_request(&mut self, mut request: Request, source: Source, now: Instant) {
        self.counters.requests_in += 1;
        let Ok(mut via) = request.headers.top_via() else { return };
        via.note_source(source.remote);
        self.note_alias(&via, &source);
        request.headers.replace_top_via(&via);
        let Some(key) = TransactionKey::of(&request, &source) else { return };
        let known = self.server_keys.get(&key).copied();
        match (request.method == Method::Ack, known) {
            (true, Some(tx)) => self.on_ack(tx, request, source, now),
            (true, None) => self.events.push_back(Event::Ack { request, source }),
            (false, Some(tx)) => self.on_repeated_request(tx, now),
            (false, None) => self.on_new_request(request, via, key, source, now),
        }
    }

    fn note_alias(&mut self, via: &Via, source: &Source) {
        if let (Some(conn), true, Host::Name(host)) = (source.conn, via.params.contains("alias"), &via.host) {
            self.connections.alias(conn, host, via.port.unwrap_or(source.transport.default_port()));
        }
    }

    fn on_ack(&mut self, tx: ServerTx, request: Request, source: Source, now: Instant) {
        let Some(server) = self.servers.get_mut(&tx) else { return };
        if server.state.on_ack(now) {
            self.events.push_back(Event::Ack { request, source });
        }
        self.settle_server(tx);
    }

    fn on_repeated_request(&mut self, tx: ServerTx, now: Instant) {
        self.counters.repeated_requests += 1;
        let Some(server) = self.servers.get(&tx).filter(|server| server.state.repeats_answer()) else { return };
        if let Some(bytes) = server.last_answer.clone() {
            let (source, via) = (server.source.clone(), server.via.clone());
            self.transmit_answer(&source, &via, bytes, now);
        }
    }

    fn on_new_request(&mut self, request: Request, via: Via, key: TransactionKey, source: Source, now: Instant) {
        let group = group_of(source.remote.ip());
        let of_source = self.servers_per_source.get(&group).copied().unwrap_or(0);
        if self.servers.len() >= self.options.server_transactions_max
            || of_source >= self.options.server_transactions_per_source_max
        {
            self.counters.refused_requests += 1;
            let refusal = request.response(StatusCode::SERVICE_UNAVAILABLE, None);
            self.answer_statelessly(refusal.with(HeaderName::RetryAfter, RETRY_AFTER_SECS), &source, now);
            return;
        }
        let cancelled = (request.method == Method::Cancel).then(|| {
            TransactionKey::cancelled_by(&request, &source).and_then(|key| self.server_keys.get(&key).copied())
        });
        let merge = if self.options.refuse_merged && cancelled.is_none() { MergeKey::of(&request) } else { None };
        let merged = merge.as_ref().is_some_and(|merge| self.merges.contains_key(merge));
        let tx = self.add_server(&request, via, key, merge.filter(|_| !merged), source.clone(), now);
        match cancelled {
            Some(invite) => self.on_cancel(tx, invite, request, now),
            None if merged => self.answer(tx, StatusCode::LOOP_DETECTED, now),
            None => self.events.push_back(Event::Request { tx, request, source }),
        }
    }

    fn add_server(
        &mut self,
        request: &Request,
        via: Via,
        key: TransactionKey,
        merge: Option<MergeKey>,
        source: Source,
        now: Instant,
    ) -> ServerTx {
        let tx = ServerTx(self.draw_id());
        if let Some(connection) = source.conn.and_then(|conn| self.connections.of_mut(conn)) {
            connection.servers += 1;
        }
        *self.servers_per_source.entry(group_of(source.remote.ip())).or_default() += 1;
        if let Some(merge) = &merge {
            self.merges.insert(merge.clone(), tx);
        }
        self.server_keys.insert(key.clone(), tx);
        let (invite, reliable) = (request.method == Method::Invite, source.transport.is_reliable());
        let state = ServerTransaction::start(invite, reliable, self.options.timers, now);
        let request = Request { body: Vec::new(), ..request.clone() };
        let tag = self.draw_token();
        self.servers.insert(tx, Server { request, source, via, key, merge, tag, state, last_answer: None });
        self.settle_server(tx);
        tx
    }

    /// RFC 3261 section 9.2. The 200 carries the tag of the INVITE's answers.
    fn on_cancel(&mut self, tx: ServerTx, invite: Option<ServerTx>, cancel: Request, now: Instant) {
        let Some((invite, pending, tag)) = invite.and_then(|invite| {
            let server = self.servers.get(&invite)?;
            Some((invite, server.state.is_pending(), server.tag.clone()))
        }) else {
            return self.answer(tx, StatusCode::CALL_DOES_NOT_EXIST, now);
        };
        if let Some(server) = self.servers.get_mut(&tx) {
            server.tag = tag;
        }
        self.answer(tx, StatusCode::OK, now);
        if pending {
            self.events.push_back(Event::Cancelled { tx: invite, cancel });
        }
    }

    fn answer(&mut self, tx: ServerTx, status: StatusCode, now: Instant) {
        if let Some(response) = self.response(tx, status) {
            self.send_response(tx, response, now);
        }
    }

    pub(crate) fn on_server_timeout(&mut self, tx: ServerTx, now: Instant) {
        let Some(server) = self.servers.get_mut(&tx) else { return };
        match server.state.on_timeout(now) {
            OnTimeout::Try => self.answer(tx, StatusCode::TRYING, now),
            OnTimeout::Retransmit => {
                if let Some(bytes) = server.last_answer.clone() {
                    self.counters.retransmissions += 1;
                    let (source, via) = (server.source.clone(), server.via.clone());
                    self.transmit_answer(&source, &via, bytes, now);
                }
            }
            OnTimeout::Unacknowledged => self.events.push_back(Event::Abandoned { tx, cause: FailCause::Timeout }),
            OnTimeout::Unanswered => {
                let (source, via) = (server.source.clone(), server.via.clone());
                let response = server.request.response(StatusCode::SERVER_INTERNAL_ERROR, Some(&server.tag));
                self.trace.sent_response(&response);
                self.transmit_answer(&source, &via, response.encode(), now);
                self.events.push_back(Event::Abandoned { tx, cause: FailCause::Timeout });
            }
            OnTimeout::Nothing => {}
        }
        self.settle_server(tx);
    }

    /// Sets a transaction's next deadline, or forgets it at its end.
    fn settle_server(&mut self, tx: ServerTx) {
        match self.servers.get(&tx) {
            Some(server) if !server.state.is_terminated() => {
                self.timers.set(Owner::Server(tx), server.state.next_timeout());
            }
            _ => self.forget_server(tx),
        }
    }

    fn forget_server(&mut self, tx: ServerTx) {
        self.timers.set(Owner::Server(tx), None);
        let Some(server) = self.servers.remove(&tx) else { return };
        self.server_keys.remove(&server.key);
        if let Some(merge) = &server.merge {
            self.merges.remove(merge);
        }
        if let Some(connection) = server.source.conn.and_then(|conn| self.connections.of_mut(conn)) {
            connection.servers -= 1;
        }
        let group = group_of(server.source.remote.ip());
        if let Some(count) = self.servers_per_source.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.servers_per_source.remove(&group);
            }
        }
    }

    /// Answers without a transaction: what cannot be read, or for which there is no room.
    pub(crate) fn answer_statelessly(&mut self, mut response: Response, source: &Source, now: Instant) {
        let Ok(mut via) = response.headers.top_via() else { return };
        via.note_source(source.remote);
        response.headers.replace_top_via(&via);
        if response.headers.to().is_ok_and(|to| to.tag().is_none()) {
            let text = response.headers.value(HeaderName::To).unwrap_or_default().trim_end_matches(';').to_owned();
            let tag = self.draw_token();
            response.headers.set(HeaderName::To, format!("{text};tag={tag}"));
        }
        self.trace.sent_response(&response);
        self.transmit_answer(source, &via, response.encode(), now);
    }

    /// Sends an answer the way its request came, or as that one's Via says when that connection is gone (RFC 3261 section
    /// 18.2.2, RFC 3581 section 4). `false` when there is no way.
    fn transmit_answer(&mut self, source: &Source, via: &Via, bytes: Vec<u8>, now: Instant) -> bool {
        let Some(came_by) = source.conn else {
            let port = via.rport().or(via.port).unwrap_or(Transport::Udp.default_port());
            let remote = SocketAddr::new(source.remote.ip(), port);
            self.actions.push_back(Action::SendDatagram { local: source.local, remote, bytes });
            return true;
        };
        if self.connections.of(came_by).is_some_and(|connection| connection.is_open()) {
            self.actions.push_back(Action::Send { conn: came_by, bytes });
            return true;
        }
        let destination = Destination {
            transport: source.transport,
            remote: SocketAddr::new(
                source.remote.ip().to_canonical(),
                via.port.unwrap_or(source.transport.default_port()),
            ),
            server_name: (source.transport == Transport::Tls).then(|| match via.host.address() {
                Some(address) => address.to_string(),
                None => via.host.to_string(),
            }),
        };
        let sent =
            self.connection_to(&destination, None, now).is_some_and(|(conn, _)| match self.connections.of_mut(conn) {
                Some(connection) if connection.is_open() => {
                    self.actions.push_back(Action::Send { conn, bytes });
                    true
                }
                Some(connection) => connection.keep(bytes),
                None => false,
            });
        self.counters.unsent_responses += u64::from(!sent);
        sent
    }
}
