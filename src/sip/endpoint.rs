//! The transport and transaction layers of SIP in one state machine, without sockets or clock (RFC 3261 sections 17 and 18).

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::connection::Connections;
use crate::counters::Counters;
use crate::endpoint_client::{Asked, Client};
use crate::endpoint_server::Server;
use crate::io::{Action, Answer, ClientTx, Core, Event, Question, QuestionId, ServerTx};
use crate::message::Message;
use crate::options::EndpointOptions;
use crate::source::{ConnId, Source, Transport};
use crate::timers::Timers;
use crate::trace::Trace;
use crate::transaction_key::{MergeKey, TransactionKey};
use crate::via::MAGIC_COOKIE;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Client(ClientTx),
    Server(ServerTx),
    Connection(ConnId),
    Question(QuestionId),
}

/// One SIP element's connections and transactions. Below it a shell that drives it as a [`Core`]; above it its user, who
/// drains [`poll_event`](Endpoint::poll_event) after each call and gives commands:
///
/// - `send_request`, `cancel`, `send_ack` for requests of ours,
/// - `send_response`, `response` for those of others.
///
/// After every input or command: drain the events, then the actions, then ask for the next timeout.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) options: EndpointOptions,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) connections: Connections,
    pub(crate) timers: Timers<Owner>,
    pub(crate) servers: BTreeMap<ServerTx, Server>,
    pub(crate) server_keys: BTreeMap<TransactionKey, ServerTx>,
    pub(crate) merges: BTreeMap<MergeKey, ServerTx>,
    pub(crate) servers_per_source: BTreeMap<IpAddr, usize>,
    pub(crate) clients: BTreeMap<ClientTx, Client>,
    /// Client transactions by branch, and whether the request is a CANCEL.
    pub(crate) branches: BTreeMap<(String, bool), ClientTx>,
    pub(crate) questions: BTreeMap<Question, Asked>,
    pub(crate) question_ids: BTreeMap<QuestionId, Question>,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) counters: Counters,
    pub(crate) trace: Trace,
    next_id: u64,
}

impl Endpoint {
    /// `seed` must be secret and new for each endpoint: branches and tags come from it.
    pub fn new(options: EndpointOptions, seed: [u8; 32]) -> Endpoint {
        Endpoint {
            options,
            rng: ChaCha8Rng::from_seed(seed),
            connections: Connections::new(),
            timers: Timers::new(),
            servers: BTreeMap::new(),
            server_keys: BTreeMap::new(),
            merges: BTreeMap::new(),
            servers_per_source: BTreeMap::new(),
            clients: BTreeMap::new(),
            branches: BTreeMap::new(),
            questions: BTreeMap::new(),
            question_ids: BTreeMap::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            trace: Trace::default(),
            next_id: 0,
        }
    }

    pub fn options(&self) -> &EndpointOptions {
        &self.options
    }

    /// Replaces the options. What has begun goes on as it began.
    pub fn set_options(&mut self, options: EndpointOptions) {
        self.options = options;
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Connections that stand or are being made.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Those of them that are of this transport. Cost: linear in connections.
    pub fn connections_over(&self, transport: Transport) -> usize {
        self.connections.over(transport)
    }

    /// Transactions that are not finished, of others and of ours.
    pub fn transactions(&self) -> (usize, usize) {
        (self.servers.len(), self.clients.len())
    }

    /// Where a connection leads, while it stands.
    pub fn source(&self, conn: ConnId) -> Option<&Source> {
        self.connections.of(conn).filter(|connection| connection.is_open()).map(|connection| &connection.source)
    }

    /// A text nobody can guess, for tags and Call-IDs: 96 bits.
    pub fn draw_token(&mut self) -> String {
        format!("{:016x}{:08x}", self.rng.next_u64(), self.rng.next_u32())
    }

    pub(crate) fn draw_branch(&mut self) -> String {
        format!("{MAGIC_COOKIE}{}", self.draw_token())
    }

    pub(crate) fn draw_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A message that was read, from anywhere.
    pub(crate) fn on_message(&mut self, message: Message, source: &Source, now: Instant) {
        self.trace.received(&message);
        match message {
            Message::Request(request) => self.on_request(request, source.clone(), now),
            Message::Response(response) => self.on_response(response, source.clone(), now),
        }
    }
}

impl Core for Endpoint {
    fn handle_accepted(&mut self, source: Source, now: Instant) -> Option<ConnId> {
        self.on_accepted(source, now)
    }

    fn handle_connected(&mut self, conn: ConnId, local: SocketAddr, names: Arc<[String]>, now: Instant) {
        self.on_connected(conn, local, names, now);
    }

    fn handle_connect_failed(&mut self, conn: ConnId, now: Instant) {
        self.on_connection_gone(conn, now);
    }

    fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        self.on_bytes(conn, bytes, now);
    }

    fn handle_closed(&mut self, conn: ConnId, now: Instant) {
        self.on_connection_gone(conn, now);
    }

    fn handle_datagram(&mut self, local: SocketAddr, remote: SocketAddr, bytes: &[u8], now: Instant) {
        if bytes.iter().all(|byte| b"\r\n\0".contains(byte)) || bytes.len() > self.options.message_bytes_max {
            return;
        }
        let source = Source { transport: Transport::Udp, local, remote, names: [].into(), conn: None };
        match Message::parse(bytes) {
            Ok(message) => self.on_message(message, &source, now),
            Err(malformed) => self.on_malformed(&malformed, &source, now),
        }
    }

    fn handle_resolved(&mut self, question: QuestionId, answer: Answer, now: Instant) {
        self.on_resolved(question, answer, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(owner) = self.timers.pop_due(now) {
            match owner {
                Owner::Client(tx) => self.on_client_timeout(tx, now),
                Owner::Server(tx) => self.on_server_timeout(tx, now),
                Owner::Connection(conn) => self.on_connection_timeout(conn, now),
                Owner::Question(question) => self.on_resolved(question, Answer::None, now),
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}
