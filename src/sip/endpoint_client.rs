//! The endpoint's client side: requests of ours, from the target to the final response.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client_transaction::{ClientTransaction, OnResponse, OnTimeout};
use crate::endpoint::{Endpoint, Owner};
use crate::fields::Reason;
use crate::header_name::HeaderName;
use crate::host::Host;
use crate::io::{Action, Answer, ClientTx, Event, FailCause, Question, QuestionId, SendError};
use crate::limits::{DATAGRAM_REQUEST_BYTES_MAX, QUESTION_TIME, QUESTIONS_MAX};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::resolve::{Destination, Plan, Step};
use crate::source::{ConnId, Source, Transport};
use crate::status::StatusCode;
use crate::target::{Security, Target};
use crate::via::Via;

/// A request of ours.
#[derive(Debug)]
pub(crate) struct Client {
    kind: Kind,
    request: Request,
    plan: Plan,
    /// Whether the target asked for UDP by name: then a long request goes by it too.
    names_udp: bool,
    answer_time: Option<Duration>,
    attempt: Option<Attempt>,
    cancel: Cancel,
    /// A 503 that is the answer if no other address gives one.
    refusal: Option<(Response, Source)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its user hears of it.
    Request,
    /// Sent once, nothing comes back.
    Ack,
    /// A CANCEL of ours, or an attempt given up whose repeated answers are still to be absorbed.
    Silent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cancel {
    No,
    /// To be sent as soon as anything was answered (RFC 3261 section 9.1).
    Wanted(Option<Reason>),
    Sent,
}

#[derive(Clone, Debug)]
enum Path {
    Conn(ConnId),
    Udp { local: SocketAddr, remote: SocketAddr },
}

impl Path {
    /// Whether a response came back by the way that the request went.
    fn is_of(&self, source: &Source) -> bool {
        match self {
            Path::Conn(conn) => source.conn == Some(*conn),
            Path::Udp { remote, .. } => source.conn.is_none() && source.remote == *remote,
        }
    }
}

/// The request at one address.
#[derive(Debug)]
struct Attempt {
    path: Path,
    destination: Option<Destination>,
    /// Whether the connection was made for it.
    fresh: bool,
    branch: String,
    /// The Via that it has to have, if not one made for its way: a CANCEL's is its INVITE's.
    via: Option<Via>,
    /// `None` while the connection is being made.
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    via: Via,
    transport: Transport,
    /// Whom it was sent to, and the names that they proved.
    peer: (IpAddr, Arc<[String]>),
    /// To be sent again over UDP; empty otherwise.
    bytes: Vec<u8>,
    state: ClientTransaction,
}

impl Sent {
    /// Whether whoever it was sent to may answer by this other way (RFC 3261 section 18.2.2): from the same address, and
    /// with the same name where names are proved.
    fn may_be_answered_by(&self, source: &Source) -> bool {
        let (address, names) = &self.peer;
        let proved = || names.iter().any(|name| source.names.contains(name));
        source.transport == self.transport
            && source.remote.ip().to_canonical() == address.to_canonical()
            && (self.transport != Transport::Tls || proved())
    }
}

/// A question that is open, and who waits for the answer.
#[derive(Debug)]
pub(crate) struct Asked {
    id: QuestionId,
    waiting: Vec<ClientTx>,
}

impl Endpoint {
    /// Sends a request. It needs From, To, Call-ID and CSeq; Via is added by us, Max-Forwards if it is missing.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent and no event follows.
    pub fn send_request(&mut self, request: Request, target: Target, now: Instant) -> Result<ClientTx, SendError> {
        self.start(Kind::Request, request, target, now)
    }

    /// Sends the ACK for a 2xx (RFC 3261 section 13.2.2.4): outside of transactions, once for each such response.
    ///
    /// # Errors
    /// As [`send_request`](Endpoint::send_request).
    pub fn send_ack(&mut self, ack: Request, target: Target, now: Instant) -> Result<(), SendError> {
        self.start(Kind::Ack, ack, target, now).map(|_| ())
    }

    /// Gives up an INVITE: a CANCEL goes out when RFC 3261 section 9.1 allows it. Its final response (487, or a 2xx that crossed)
    /// or failure is reported as ever. Other requests, and those that have their final response, go on.
    pub fn cancel(&mut self, tx: ClientTx, reason: Option<Reason>, now: Instant) {
        let Some(client) = self.clients.get_mut(&tx) else { return };
        let cancellable = client.kind == Kind::Request && client.request.method == Method::Invite;
        if !cancellable || client.cancel != Cancel::No {
            return;
        }
        match client.attempt.as_ref().and_then(|attempt| attempt.sent.as_ref()) {
            None => {
                client.refusal = None;
                self.finish(tx, FailCause::GivenUp);
            }
            Some(sent) if sent.state.is_unanswered() => client.cancel = Cancel::Wanted(reason),
            Some(sent) if sent.state.is_proceeding() => self.send_cancel(tx, reason, now),
            Some(_) => {}
        }
    }

    fn start(&mut self, kind: Kind, mut request: Request, target: Target, now: Instant) -> Result<ClientTx, SendError> {
        let headers = &request.headers;
        let complete = headers.from().is_ok() && headers.to().is_ok() && headers.call_id().is_ok();
        if !complete || !headers.cseq().is_ok_and(|cseq| cseq.method == request.method) {
            return Err(SendError::Incomplete);
        }
        if self.clients.len() >= self.options.client_transactions_max {
            return Err(SendError::TooMany);
        }
        let given = self.standing_connection(&target);
        let plan = match Plan::new(&target, &self.options) {
            Ok(plan) => plan,
            // The connection that is there needs none.
            Err(_) if given.is_some() => Plan::empty(),
            Err(error) => return Err(error),
        };
        if !request.headers.contains(HeaderName::MaxForwards) {
            request.headers.push(HeaderName::MaxForwards, 70);
        }
        let tx = ClientTx(self.draw_id());
        let names_udp = target.uri.param("transport").is_some();
        let answer_time = target.answer_time;
        let client =
            Client { kind, request, plan, names_udp, answer_time, attempt: None, cancel: Cancel::No, refusal: None };
        self.clients.insert(tx, client);
        match given {
            Some(conn) => self.begin(tx, Path::Conn(conn), None, false, now),
            None => self.advance(tx, FailCause::Unresolved, now),
        }
        Ok(tx)
    }

    /// The connection that a request to `target` takes because it stands, whatever the URI says.
    pub(crate) fn standing_connection(&self, target: &Target) -> Option<ConnId> {
        let secure = target.uri.secure || target.security == Security::Tls;
        let fits = |conn: &ConnId| {
            self.connections.of(*conn).is_some_and(|known| !secure || known.source.transport == Transport::Tls)
        };
        target.conn.filter(fits)
    }

    /// The connection that a request of ours went by.
    pub(crate) fn connection_of(&self, tx: ClientTx) -> Option<ConnId> {
        match self.clients.get(&tx)?.attempt.as_ref()?.path {
            Path::Conn(conn) => Some(conn),
            Path::Udp { .. } => None,
        }
    }

    /// Goes to the next address, or ends with `cause`.
    fn advance(&mut self, tx: ClientTx, mut cause: FailCause, now: Instant) {
        while let Some(client) = self.clients.get_mut(&tx) {
            if client.cancel != Cancel::No {
                return self.finish(tx, cause);
            }
            match client.plan.next() {
                Step::Try(destination) => {
                    if self.attempt(tx, destination, now) {
                        return;
                    }
                    cause = FailCause::Transport;
                }
                Step::Ask(question) => {
                    if self.ask(tx, question, now) {
                        return;
                    }
                    if let Some(client) = self.clients.get_mut(&tx) {
                        client.plan.answer(&Answer::None, &mut self.rng);
                    }
                }
                Step::Exhausted => return self.finish(tx, cause),
            }
        }
    }

    /// Ends a request that has no final response.
    fn finish(&mut self, tx: ClientTx, cause: FailCause) {
        self.timers.set(Owner::Client(tx), None);
        let Some(client) = self.forget_client(tx) else { return };
        if client.kind != Kind::Request {
            return;
        }
        self.events.push_back(match client.refusal {
            Some((response, source)) => Event::Response { tx, response, source },
            None => Event::Failed { tx, cause },
        });
    }

    fn forget_client(&mut self, tx: ClientTx) -> Option<Client> {
        self.timers.set(Owner::Client(tx), None);
        let mut client = self.clients.remove(&tx)?;
        if let Some(attempt) = client.attempt.take() {
            self.forget_attempt(tx, &attempt, client.request.method == Method::Cancel);
        }
        Some(client)
    }

    fn forget_attempt(&mut self, tx: ClientTx, attempt: &Attempt, is_cancel: bool) {
        self.branches.remove(&(attempt.branch.clone(), is_cancel));
        if let Path::Conn(conn) = attempt.path
            && let Some(connection) = self.connections.of_mut(conn)
        {
            connection.clients.remove(&tx);
        }
    }

    /// Asks DNS on behalf of a request. `false` when too much is asked already.
    fn ask(&mut self, tx: ClientTx, question: Question, now: Instant) -> bool {
        if let Some(asked) = self.questions.get_mut(&question) {
            asked.waiting.push(tx);
            return true;
        }
        if self.questions.len() >= QUESTIONS_MAX {
            return false;
        }
        let id = QuestionId(self.draw_id());
        self.question_ids.insert(id, question.clone());
        self.questions.insert(question.clone(), Asked { id, waiting: vec![tx] });
        self.timers.set(Owner::Question(id), Some(now + QUESTION_TIME));
        self.actions.push_back(Action::Resolve { question: id, what: question });
        true
    }

    pub(crate) fn on_resolved(&mut self, id: QuestionId, answer: Answer, now: Instant) {
        self.timers.set(Owner::Question(id), None);
        let Some(asked) = self.question_ids.remove(&id).and_then(|question| self.questions.remove(&question)) else {
            return;
        };
        debug_assert_eq!(asked.id, id);
        for tx in asked.waiting {
            if let Some(client) = self.clients.get_mut(&tx) {
                client.plan.answer(&answer, &mut self.rng);
                self.advance(tx, FailCause::Unresolved, now);
            }
        }
    }

    /// Tries one address. `false` when there is no way to it.
    fn attempt(&mut self, tx: ClientTx, mut destination: Destination, now: Instant) -> bool {
        let Some(client) = self.clients.get(&tx) else { return false };
        if destination.transport == Transport::Udp {
            // RFC 3261 section 18.1.1: what might not fit a packet goes by a stream.
            let long = client.request.encode().len() + 200 > DATAGRAM_REQUEST_BYTES_MAX;
            if long && !client.names_udp {
                destination.transport = Transport::Tcp;
            } else {
                let remote = destination.remote;
                let local = self.options.udp.iter().find(|local| local.is_ipv4() == remote.is_ipv4()).copied();
                let Some(local) = local else { return false };
                self.begin(tx, Path::Udp { local, remote }, Some(destination), true, now);
                return true;
            }
        }
        let within = client.answer_time;
        let Some((conn, fresh)) = self.connection_to(&destination, within, now) else { return false };
        self.begin(tx, Path::Conn(conn), Some(destination), fresh, now);
        true
    }

    fn begin(&mut self, tx: ClientTx, path: Path, destination: Option<Destination>, fresh: bool, now: Instant) {
        let branch = self.draw_branch();
        let Some(client) = self.clients.get_mut(&tx) else { return };
        let ready = match path {
            Path::Udp { .. } => true,
            Path::Conn(conn) => self.connections.of_mut(conn).is_some_and(|connection| {
                connection.clients.insert(tx);
                connection.is_open()
            }),
        };
        client.attempt = Some(Attempt { path, destination, fresh, branch, via: None, sent: None });
        if ready {
            self.transmit(tx, now);
        }
    }

    /// Sends an attempt whose way stands.
    pub(crate) fn transmit(&mut self, tx: ClientTx, now: Instant) {
        let Some(client) = self.clients.get_mut(&tx) else { return };
        let Some(attempt) = client.attempt.as_mut().filter(|attempt| attempt.sent.is_none()) else { return };
        let (transport, local, peer) = match attempt.path {
            Path::Udp { local, remote } => (Transport::Udp, local, (remote.ip(), Arc::from([]))),
            Path::Conn(conn) => match self.connections.of(conn).map(|connection| &connection.source) {
                Some(source) => (source.transport, source.local, (source.remote.ip(), source.names.clone())),
                None => return,
            },
        };
        let listening = match transport {
            Transport::Udp => None,
            Transport::Tcp => self.options.tcp_port,
            Transport::Tls => self.options.tls_port,
        };
        let host = self.options.host.clone().unwrap_or(Host::from(local.ip()));
        let via = attempt.via.take().unwrap_or_else(|| {
            let mut via = Via::new(transport, host, Some(listening.unwrap_or(local.port())), &attempt.branch);
            via.params.set("rport", None);
            if transport == Transport::Tls && listening.is_some() {
                // RFC 5923 section 4: the peer may send its requests back by this connection.
                via.params.set("alias", None);
            }
            via
        });
        let mut request = client.request.clone();
        request.headers.push_first(HeaderName::Via, &via);
        let bytes = request.encode();
        let (invite, reliable) = (request.method == Method::Invite, transport.is_reliable());
        let state = ClientTransaction::start(invite, reliable, self.options.timers, client.answer_time, now);
        let kept = if reliable { Vec::new() } else { bytes.clone() };
        self.timers.set(Owner::Client(tx), state.next_timeout());
        attempt.sent = Some(Sent { via, transport, peer, bytes: kept, state });
        let (path, branch) = (attempt.path.clone(), attempt.branch.clone());
        let is_ack = client.kind == Kind::Ack;
        self.branches.insert((branch, request.method == Method::Cancel), tx);
        self.trace.sent_request(&request);
        self.push_bytes(&path, bytes);
        if is_ack {
            self.forget_client(tx);
        }
    }

    fn push_bytes(&mut self, path: &Path, bytes: Vec<u8>) {
        self.actions.push_back(match *path {
            Path::Conn(conn) => Action::Send { conn, bytes },
            Path::Udp { local, remote } => Action::SendDatagram { local, remote, bytes },
        });
    }

    pub(crate) fn on_response(&mut self, mut response: Response, source: Source, now: Instant) {
        self.counters.responses_in += 1;
        let Some((tx, verdict)) = self.match_response(&response, &source, now) else {
            self.counters.stray_responses += 1;
            return;
        };
        if matches!(verdict, OnResponse::AckAndDeliver | OnResponse::Ack) {
            self.acknowledge(tx, &response, &source);
        }
        let deliver = matches!(verdict, OnResponse::AckAndDeliver | OnResponse::Deliver);
        let Some(client) = self.clients.get_mut(&tx) else { return };
        // Nobody else than whom the request went to learns what a password hashes to.
        if !client.attempt.as_ref().is_some_and(|attempt| attempt.path.is_of(&source)) {
            response.headers.remove(HeaderName::WwwAuthenticate);
            response.headers.remove(HeaderName::ProxyAuthenticate);
        }
        if deliver && client.kind == Kind::Request {
            let elsewhere = response.status == StatusCode::SERVICE_UNAVAILABLE
                && client.cancel == Cancel::No
                && !client.plan.is_exhausted();
            if elsewhere {
                client.refusal = Some((response, source));
                self.set_aside(tx);
                return self.advance(tx, FailCause::Transport, now);
            }
            let cancel = match &client.cancel {
                Cancel::Wanted(reason) if !response.status.is_final() => Some(reason.clone()),
                _ => None,
            };
            self.events.push_back(Event::Response { tx, response, source });
            if let Some(reason) = cancel {
                self.send_cancel(tx, reason, now);
            }
        }
        self.settle_client(tx);
    }

    /// Whose response it is, and what its transaction says to it: same branch, same method, same peer by the same
    /// transport, as many Vias as went out (RFC 3261 sections 17.1.3 and 8.1.3.3).
    fn match_response(&mut self, response: &Response, source: &Source, now: Instant) -> Option<(ClientTx, OnResponse)> {
        let (via, cseq) = (response.headers.top_via().ok()?, response.headers.cseq().ok()?);
        let tx = *self.branches.get(&(via.branch()?.to_owned(), cseq.method == Method::Cancel))?;
        let client = self.clients.get_mut(&tx)?;
        let attempt = client.attempt.as_mut()?;
        let sent = attempt.sent.as_mut()?;
        let vias = client.request.headers.vias().map_or(0, |vias| vias.len()) + 1;
        let ours = cseq == client.request.headers.cseq().ok()?
            && (attempt.path.is_of(source) || sent.may_be_answered_by(source))
            && response.headers.vias().is_ok_and(|all| all.len() == vias);
        ours.then(|| (tx, sent.state.on_response(response.status, now)))
    }

    /// The ACK for a final response that is no 2xx belongs to the transaction (RFC 3261 section 17.1.1.3).
    fn acknowledge(&mut self, tx: ClientTx, response: &Response, source: &Source) {
        let Some(client) = self.clients.get(&tx) else { return };
        let Some((attempt, sent)) = client.attempt.as_ref().and_then(|attempt| Some((attempt, attempt.sent.as_ref()?)))
        else {
            return;
        };
        let ack = within_transaction(&client.request, &sent.via, Method::Ack, response.headers.value(HeaderName::To));
        let path = match (&attempt.path, source.conn) {
            // The server may have made another connection to answer by.
            (Path::Conn(_), Some(conn)) => Path::Conn(conn),
            (path, _) => path.clone(),
        };
        self.trace.sent_request(&ack);
        self.push_bytes(&path, ack.encode());
    }

    fn send_cancel(&mut self, tx: ClientTx, reason: Option<Reason>, now: Instant) {
        let Some(client) = self.clients.get_mut(&tx) else { return };
        client.cancel = Cancel::Sent;
        let Some(attempt) = client.attempt.as_mut() else { return };
        let Some(sent) = attempt.sent.as_mut() else { return };
        sent.state.expect_end(now);
        self.timers.set(Owner::Client(tx), sent.state.next_timeout());
        let mut cancel = within_transaction(&client.request, &sent.via, Method::Cancel, None);
        if let Some(reason) = reason {
            cancel.headers.push(HeaderName::Reason, reason);
        }
        let (path, branch, via) = (attempt.path.clone(), attempt.branch.clone(), sent.via.clone());
        let (transport, peer) = (sent.transport, sent.peer.clone());
        if let Path::Conn(conn) = path
            && !self.connections.of(conn).is_some_and(|connection| connection.is_open())
        {
            let Some(destination) = attempt.destination.clone() else { return };
            return self.send_cancel_afresh(cancel, destination, branch, via, now);
        }
        let bytes = cancel.encode();
        let reliable = transport.is_reliable();
        let state = ClientTransaction::start(false, reliable, self.options.timers, None, now);
        self.trace.sent_request(&cancel);
        self.push_bytes(&path, bytes.clone());
        // Its Via is in the bytes already.
        cancel.headers.remove(HeaderName::Via);
        let kept = if reliable { Vec::new() } else { bytes };
        let sent = Some(Sent { via, transport, peer, bytes: kept, state });
        self.add_silent(cancel, Attempt { path, destination: None, fresh: true, branch, via: None, sent });
    }

    /// The connection of the INVITE is gone: its CANCEL finds it by their Via.
    fn send_cancel_afresh(
        &mut self,
        mut cancel: Request,
        destination: Destination,
        branch: String,
        via: Via,
        now: Instant,
    ) {
        let Some((conn, fresh)) = self.connection_to(&destination, None, now) else { return };
        cancel.headers.remove(HeaderName::Via);
        let path = Path::Conn(conn);
        let tx =
            self.add_silent(cancel, Attempt { path, destination: None, fresh, branch, via: Some(via), sent: None });
        if self.connections.of(conn).is_some_and(|connection| connection.is_open()) {
            self.transmit(tx, now);
        }
    }

    /// Keeps what its user hears nothing of.
    fn add_silent(&mut self, request: Request, attempt: Attempt) -> ClientTx {
        let tx = ClientTx(self.draw_id());
        self.branches.insert((attempt.branch.clone(), request.method == Method::Cancel), tx);
        if let Path::Conn(conn) = attempt.path
            && let Some(connection) = self.connections.of_mut(conn)
        {
            connection.clients.insert(tx);
        }
        self.clients.insert(
            tx,
            Client {
                kind: Kind::Silent,
                request,
                plan: Plan::empty(),
                names_udp: false,
                answer_time: None,
                attempt: Some(attempt),
                cancel: Cancel::No,
                refusal: None,
            },
        );
        self.settle_client(tx);
        tx
    }

    /// Takes the attempt off a request that goes elsewhere; its repeated answers are absorbed for a while.
    fn set_aside(&mut self, tx: ClientTx) {
        self.timers.set(Owner::Client(tx), None);
        let Some(client) = self.clients.get_mut(&tx) else { return };
        let Some(attempt) = client.attempt.take() else { return };
        let is_cancel = client.request.method == Method::Cancel;
        let request = Request { body: Vec::new(), ..client.request.clone() };
        let lingers = attempt.sent.as_ref().is_some_and(|sent| !sent.state.is_terminated());
        self.forget_attempt(tx, &attempt, is_cancel);
        if lingers {
            self.add_silent(request, attempt);
        }
    }

    /// Sets a transaction's next deadline, or forgets it at its end.
    fn settle_client(&mut self, tx: ClientTx) {
        let Some(client) = self.clients.get(&tx) else { return };
        let Some(sent) = client.attempt.as_ref().and_then(|attempt| attempt.sent.as_ref()) else { return };
        if sent.state.is_terminated() {
            self.forget_client(tx);
        } else {
            self.timers.set(Owner::Client(tx), sent.state.next_timeout());
        }
    }

    pub(crate) fn on_client_timeout(&mut self, tx: ClientTx, now: Instant) {
        let Some(client) = self.clients.get_mut(&tx) else { return };
        let Some(attempt) = client.attempt.as_mut() else { return };
        let Some(sent) = attempt.sent.as_mut() else { return };
        let unanswered = sent.state.is_unanswered();
        match sent.state.on_timeout(now) {
            OnTimeout::Retransmit => {
                let (path, bytes) = (attempt.path.clone(), sent.bytes.clone());
                self.counters.retransmissions += 1;
                self.push_bytes(&path, bytes);
            }
            OnTimeout::TimedOut => {
                self.set_aside(tx);
                return if unanswered {
                    self.advance(tx, FailCause::Timeout, now)
                } else {
                    self.finish(tx, FailCause::Timeout)
                };
            }
            OnTimeout::Nothing => {}
        }
        self.settle_client(tx);
    }

    /// The connection of an attempt is gone.
    pub(crate) fn on_client_connection_gone(&mut self, tx: ClientTx, conn: ConnId, now: Instant) {
        let Some(client) = self.clients.get_mut(&tx) else { return };
        let Some(attempt) = client.attempt.as_mut() else { return };
        if !matches!(attempt.path, Path::Conn(known) if known == conn) {
            return;
        }
        match attempt.sent.as_mut() {
            Some(sent) if !sent.state.is_unanswered() => {
                // The server may still answer by a connection of its own (RFC 3261 section 18.2.2).
                sent.state.expect_end(now);
                self.settle_client(tx);
            }
            sent => {
                let stale = sent.is_some() && !attempt.fresh;
                if let Some(destination) = attempt.destination.take().filter(|_| stale) {
                    // It may have been closed as we wrote: once more by a fresh one.
                    client.plan.retry(destination);
                }
                if let Some(attempt) = client.attempt.take() {
                    let is_cancel = client.request.method == Method::Cancel;
                    self.forget_attempt(tx, &attempt, is_cancel);
                }
                self.timers.set(Owner::Client(tx), None);
                self.advance(tx, FailCause::Transport, now);
            }
        }
    }
}

/// An ACK or CANCEL that goes with a request (RFC 3261 sections 9.1 and 17.1.1.3): same Via and Route, no body.
fn within_transaction(request: &Request, via: &Via, method: Method, to: Option<&str>) -> Request {
    let mut made = Request::new(method.clone(), request.uri.clone());
    made.headers.push(HeaderName::Via, via);
    made.headers.push(HeaderName::MaxForwards, 70);
    for name in [HeaderName::Route, HeaderName::From, HeaderName::To, HeaderName::CallId] {
        made.headers.copy_from(&request.headers, name);
    }
    if let Some(to) = to {
        made.headers.set(HeaderName::To, to);
    }
    if let Ok(cseq) = request.headers.cseq() {
        made.headers.push(HeaderName::CSeq, crate::fields::CSeq { number: cseq.number, method });
    }
    made
}
