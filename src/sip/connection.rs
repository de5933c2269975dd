//! The connections an endpoint knows, and which of them a request may use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::framer::Framer;
use crate::io::ClientTx;
use crate::limits::{CONNECTING_BYTES_MAX, FIRST_MESSAGE_TIME, MESSAGE_TIME};
use crate::options::EndpointOptions;
use crate::resolve::Destination;
use crate::source::{ConnId, Source, Transport};

/// A setting below is taken for this: a deadline must lie ahead.
const IDLE_TIME_MIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) enum ConnectionState {
    /// Being made until then; responses that wait for it.
    Connecting {
        until: Instant,
        waiting: Vec<Vec<u8>>,
    },
    Open,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) source: Source,
    pub(crate) state: ConnectionState,
    pub(crate) framer: Framer,
    /// Requests of ours that wait for it or were sent by it.
    pub(crate) clients: BTreeSet<ClientTx>,
    /// Requests that came by it and are not finished.
    pub(crate) servers: usize,
    accepted: bool,
    opened: Instant,
    last_byte: Instant,
    message_began: Option<Instant>,
    /// Whether a message has come.
    spoke: bool,
    /// What it is found by.
    destinations: Vec<Destination>,
}

impl Connection {
    fn new(
        source: Source,
        state: ConnectionState,
        accepted: bool,
        options: &EndpointOptions,
        now: Instant,
    ) -> Connection {
        Connection {
            source,
            state,
            framer: Framer::new(options.message_bytes_max),
            clients: BTreeSet::new(),
            servers: 0,
            accepted,
            opened: now,
            last_byte: now,
            message_began: None,
            spoke: false,
            destinations: Vec::new(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, ConnectionState::Open)
    }

    /// Notes that bytes came and were framed.
    pub(crate) fn note_bytes(&mut self, now: Instant) {
        self.last_byte = now;
        let within = self.framer.is_within_message();
        self.message_began = within.then(|| self.message_began.unwrap_or(now));
    }

    /// Notes that a whole message came: the time for the next begins anew.
    pub(crate) fn note_message(&mut self) {
        self.spoke = true;
        self.message_began = None;
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.servers > 0 || !self.clients.is_empty()
    }

    pub(crate) fn deadline(&self, options: &EndpointOptions) -> Instant {
        match (&self.state, self.message_began) {
            (ConnectionState::Connecting { until, .. }, _) => *until,
            (ConnectionState::Open, Some(began)) => began + MESSAGE_TIME,
            (ConnectionState::Open, None) if self.accepted && !self.spoke => self.opened + FIRST_MESSAGE_TIME,
            (ConnectionState::Open, None) => self.last_byte + options.idle_time.max(IDLE_TIME_MIN),
        }
    }

    /// What to do at the deadline: whether the connection is to go. One that is merely silent stays while it is used.
    pub(crate) fn is_overdue(&mut self, now: Instant) -> bool {
        let silent_only = self.is_open() && self.message_began.is_none() && (self.spoke || !self.accepted);
        if silent_only && self.is_busy() {
            self.last_byte = now;
            return false;
        }
        true
    }

    /// Keeps a response until the connection stands; `false` when too much waits.
    pub(crate) fn keep(&mut self, bytes: Vec<u8>) -> bool {
        let ConnectionState::Connecting { waiting, .. } = &mut self.state else { return false };
        let held: usize = waiting.iter().map(Vec::len).sum();
        let fits = held + bytes.len() <= CONNECTING_BYTES_MAX;
        if fits {
            waiting.push(bytes);
        }
        fits
    }

    /// The connection stands; what waited for it.
    pub(crate) fn open(&mut self, now: Instant) -> Vec<Vec<u8>> {
        (self.opened, self.last_byte) = (now, now);
        match std::mem::replace(&mut self.state, ConnectionState::Open) {
            ConnectionState::Connecting { waiting, .. } => waiting,
            ConnectionState::Open => Vec::new(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Connections {
    by_id: BTreeMap<ConnId, Connection>,
    /// Where a request may go over a connection that is there.
    by_destination: BTreeMap<Destination, ConnId>,
    per_source: BTreeMap<IpAddr, usize>,
    next_id: u64,
}

/// Destinations that one connection is found by: the names of its certificate and its aliases.
const NAMES_MAX: usize = 16;

impl Connections {
    pub(crate) fn new() -> Connections {
        Connections { by_id: BTreeMap::new(), by_destination: BTreeMap::new(), per_source: BTreeMap::new(), next_id: 1 }
    }

    pub(crate) fn find(&self, destination: &Destination) -> Option<ConnId> {
        self.by_destination.get(destination).copied()
    }

    pub(crate) fn of(&self, conn: ConnId) -> Option<&Connection> {
        self.by_id.get(&conn)
    }

    pub(crate) fn of_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.by_id.get_mut(&conn)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn over(&self, transport: Transport) -> usize {
        self.by_id.values().filter(|connection| connection.source.transport == transport).count()
    }

    /// A connection to be made; `None` when there are too many.
    pub(crate) fn connect(
        &mut self,
        destination: &Destination,
        until: Instant,
        options: &EndpointOptions,
        now: Instant,
    ) -> Option<ConnId> {
        if self.by_id.len() >= options.connections_max {
            return None;
        }
        let conn = self.draw_id();
        let source = Source {
            transport: destination.transport,
            local: destination.remote,
            remote: destination.remote,
            names: [].into(),
            conn: Some(conn),
        };
        let state = ConnectionState::Connecting { until, waiting: Vec::new() };
        self.by_id.insert(conn, Connection::new(source, state, false, options, now));
        self.list(conn, destination.clone());
        Some(conn)
    }

    /// A connection that was accepted; `None` when there are too many, in all or of this source.
    pub(crate) fn accept(&mut self, mut source: Source, options: &EndpointOptions, now: Instant) -> Option<ConnId> {
        let group = group_of(source.remote.ip());
        if self.per_source.get(&group).copied().unwrap_or(0) >= options.connections_per_source_max
            || self.by_id.len() >= options.connections_max
        {
            return None;
        }
        let conn = self.draw_id();
        source.conn = Some(conn);
        *self.per_source.entry(group).or_default() += 1;
        let destinations = destinations_of(&source);
        self.by_id.insert(conn, Connection::new(source, ConnectionState::Open, true, options, now));
        for destination in destinations {
            self.list(conn, destination);
        }
        Some(conn)
    }

    /// The accepted connection that was silent for longest and is not in use, those without a certificate first.
    pub(crate) fn idlest(&self, silent_since: Instant) -> Option<ConnId> {
        let idle = self.by_id.iter().filter(|(_, connection)| {
            connection.accepted && !connection.is_busy() && connection.last_byte <= silent_since
        });
        idle.min_by_key(|(_, connection)| (!connection.source.names.is_empty(), connection.last_byte))
            .map(|(conn, _)| *conn)
    }

    /// Lets requests to the address that the peer listens on use its connection (RFC 5923 section 5): only over TLS, where
    /// the certificate names that address's host.
    pub(crate) fn alias(&mut self, conn: ConnId, host: &str, port: u16) {
        let Some(connection) = self.by_id.get(&conn) else { return };
        if connection.source.transport == Transport::Tls && connection.source.has_name(host) {
            let remote = (connection.source.remote.ip().to_canonical(), port).into();
            let (transport, server_name) = (Transport::Tls, Some(host.to_owned()));
            self.list(conn, Destination { transport, remote, server_name });
        }
    }

    /// Lets a connection be found by a destination, unless another one is.
    fn list(&mut self, conn: ConnId, destination: Destination) {
        let Some(connection) = self.by_id.get_mut(&conn) else { return };
        if connection.destinations.len() < NAMES_MAX && !self.by_destination.contains_key(&destination) {
            connection.destinations.push(destination.clone());
            self.by_destination.insert(destination, conn);
        }
    }

    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        let connection = self.by_id.remove(&conn)?;
        for destination in &connection.destinations {
            self.by_destination.remove(destination);
        }
        if connection.accepted {
            let group = group_of(connection.source.remote.ip());
            if let Some(count) = self.per_source.get_mut(&group) {
                *count -= 1;
                if *count == 0 {
                    self.per_source.remove(&group);
                }
            }
        }
        Some(connection)
    }

    fn draw_id(&mut self) -> ConnId {
        self.next_id += 1;
        ConnId(self.next_id)
    }
}

/// How a request finds an accepted connection: by the address it came from, with TLS under each name it proved.
fn destinations_of(source: &Source) -> Vec<Destination> {
    let remote = (source.remote.ip().to_canonical(), source.remote.port()).into();
    let destination = |server_name| Destination { transport: source.transport, remote, server_name };
    match source.transport {
        Transport::Tls => source.names.iter().take(NAMES_MAX).map(|name| destination(Some(name.clone()))).collect(),
        _ => vec![destination(None)],
    }
}

/// Whom a cap counts as one: an IPv4 address, an IPv6 /64.
pub(crate) fn group_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}
