//! TCP allocations (RFC 6062): Connect, connections that peers make, and ConnectionBind.

use rand_chacha::rand_core::Rng;

use crate::attribute::Attribute;
use crate::authenticate::Session;
use crate::counters::{Direction, Path};
use crate::error_code::ErrorCode;
use crate::five_tuple::FiveTuple;
use crate::io::{Action, Client, CloseCause, ConnectionId, Now, Peer, RelayId, ReplyFrom};
use crate::limits::{CONNECTION_WAIT_SECS, CONNECTIONS_PER_ALLOCATION_MAX};
use crate::message::{Class, MessageWriter, Method};
use crate::policy::{Purpose, Ruling};
use crate::reply::ReplyTo;
use crate::request::Request;
use crate::requests::{Handled, Outcome};
use crate::server::Server;
use crate::wheel::SECOND;

/// A TCP connection with a peer.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) allocation: u32,
    /// As the relay's socket sees it.
    peer: Peer,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The shell connects (or, where the policy sends nothing, nobody does); the answer to Connect waits.
    Connecting { reply: Box<ReplyTo>, asked: bool, deadline_nanos: u64 },
    /// The peer's side stands and waits for a ConnectionBind.
    Waiting { deadline_nanos: u64 },
    /// Joined with a client's data connection.
    Bound { data_client: Client },
}

impl Connection {
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// When it is given up.
    pub(crate) fn deadline_nanos(&self) -> Option<u64> {
        match self.state {
            State::Connecting { deadline_nanos, .. } | State::Waiting { deadline_nanos } => Some(deadline_nanos),
            State::Bound { .. } => None,
        }
    }
}

impl Server {
    /// RFC 6062 section 5.2.
    pub(crate) fn on_connect(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &ReplyTo,
        session: &Session,
    ) -> Outcome {
        let at = self.own_allocation(now, &reply.client, session)?;
        self.end_overdue_connections(now, at);
        let allocation = self.allocations.live(at).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        let named = request.peers.first().filter(|_| allocation.tcp).ok_or(ErrorCode::BAD_REQUEST)?;
        self.check_peer(at, session, named, Purpose::Connect)?;
        let policy = &self.options.policy;
        let asked = policy.judge(named, session.grant.peers.as_deref(), Purpose::Connect) == Ruling::Allowed;
        let peer = Peer(policy.advertise().inside(named));
        if self.is_connected(at, peer) {
            return Err(ErrorCode::CONNECTION_ALREADY_EXISTS);
        }
        let relay = allocation.relay_for(peer.0.ip()).ok_or(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH)?.id;
        let state = State::Connecting { reply: Box::new(reply.clone()), asked, deadline_nanos: wait_ends(now) };
        let connection = self.add_connection(now, at, peer, state).ok_or(ErrorCode::INSUFFICIENT_CAPACITY)?;
        if let Some(allocation) = self.allocations.live_mut(at) {
            allocation.record_peer(named);
        }
        if asked {
            self.actions.push_back(Action::ConnectPeer { connection, relay, peer });
        }
        Ok(Handled::Later)
    }

    /// RFC 6062 section 5.4. The client's connection must be a new one: whatever already has a part cannot become data.
    pub(crate) fn on_connection_bind(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &ReplyTo,
        session: &Session,
    ) -> Outcome {
        let client = reply.client;
        if !client.transport.is_stream() || self.is_taken(now, &client) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        let id = request.connection_id.ok_or(ErrorCode::BAD_REQUEST)?;
        let at = self.connections.get(&id).map(|connection| connection.allocation).ok_or(ErrorCode::BAD_REQUEST)?;
        if !self.check_alive(now, at) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        self.end_overdue_connections(now, at);
        let allocation = self.allocations.live(at).ok_or(ErrorCode::BAD_REQUEST)?;
        if !session.may_act_for(&allocation.session) {
            return Err(ErrorCode::WRONG_CREDENTIALS);
        }
        let connection = self.connections.get_mut(&id).ok_or(ErrorCode::BAD_REQUEST)?;
        let State::Waiting { .. } = connection.state else { return Err(ErrorCode::BAD_REQUEST) };
        connection.state = State::Bound { data_client: client };
        self.data_streams.insert(FiveTuple::of(&client), id);
        let outcome = Ok(self.succeed(reply, &[]));
        self.conclude(now, reply, outcome);
        self.actions.push_back(Action::Splice { stream: client.stream, connection: id });
        Ok(Handled::Later)
    }

    /// The connection that [`Action::ConnectPeer`] asked for stands. Nothing is read from it before [`Action::Splice`].
    pub fn handle_peer_connected(&mut self, now: Now, connection: ConnectionId) {
        let Some(found) = self.connections.get_mut(&connection) else {
            return self.actions.push_back(Action::ClosePeer { connection });
        };
        let at = found.allocation;
        if !matches!(found.state, State::Connecting { .. }) {
            return;
        }
        let waiting = State::Waiting { deadline_nanos: wait_ends(now) };
        let State::Connecting { reply, .. } = std::mem::replace(&mut found.state, waiting) else { return };
        let outcome = Ok(self.succeed(&reply, &[Attribute::ConnectionId(connection)]));
        self.conclude(now, &reply, outcome);
        self.schedule(now, at);
    }

    /// The connection that [`Action::ConnectPeer`] asked for came to nothing.
    pub fn handle_peer_connect_failed(&mut self, now: Now, connection: ConnectionId) {
        let connecting = |found: &Connection| matches!(found.state, State::Connecting { .. });
        if self.connections.get(&connection).is_some_and(connecting) {
            self.give_up(now, connection, ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE);
        }
    }

    /// A peer connected to the relayed address of a TCP allocation: `None` means close it, nothing is read from it
    /// before [`Action::Splice`] (RFC 6062 section 5.3).
    pub fn handle_peer_accepted(&mut self, now: Now, relay: RelayId, peer: Peer) -> Option<ConnectionId> {
        let at = self.relay_owner(relay)?;
        if !self.check_alive(now, at) {
            return None;
        }
        self.end_overdue_connections(now, at);
        let allocation = self.allocations.live(at)?;
        if !allocation.tcp
            || !allocation.permissions.is_permitted(now.mono_nanos, peer.0.ip())
            || self.is_connected(at, peer)
        {
            return None;
        }
        let client = allocation.client;
        let connection = self.add_connection(now, at, peer, State::Waiting { deadline_nanos: wait_ends(now) })?;
        let outside = self.options.policy.advertise().outside(peer.0);
        let mut message = Vec::with_capacity(64);
        let transaction_id = self.draw_transaction_id();
        let mut writer = MessageWriter::new(&mut message, Class::Indication, Method::ConnectionAttempt, transaction_id);
        writer.attribute(&Attribute::ConnectionId(connection)).attribute(&Attribute::XorPeerAddress(outside));
        // Two short attributes always fit.
        let _ = writer.finish();
        self.actions.push_back(Action::ToClient { client, to: client.remote, from: ReplyFrom::Same, message });
        Some(connection)
    }

    /// A peer's connection closed; the shell closes the client's data connection when it was spliced and everything is
    /// flushed.
    pub fn handle_peer_closed(&mut self, _now: Now, connection: ConnectionId) {
        self.forget_connection(connection);
    }

    /// Bytes that went through a spliced connection since the last call.
    pub fn handle_flow(&mut self, connection: ConnectionId, to_peer_bytes: u64, to_client_bytes: u64) {
        self.counters.relayed[Direction::ToPeer as usize][Path::Tcp as usize].bytes += to_peer_bytes;
        self.counters.relayed[Direction::ToClient as usize][Path::Tcp as usize].bytes += to_client_bytes;
        let at = self.connections.get(&connection).map(|found| found.allocation);
        if let Some(allocation) = at.and_then(|at| self.allocations.live_mut(at)) {
            allocation.to_peer.bytes += to_peer_bytes;
            allocation.to_client.bytes += to_client_bytes;
        }
    }

    /// Ends connections that nobody established or bound in time.
    pub(crate) fn end_overdue_connections(&mut self, now: Now, at: u32) {
        let Some(allocation) = self.allocations.live(at) else { return };
        let overdue = |id: &ConnectionId| {
            let deadline = self.connections.get(id).and_then(Connection::deadline_nanos);
            deadline.is_some_and(|deadline| now.mono_nanos >= deadline)
        };
        let overdue: Vec<ConnectionId> = allocation.connections.iter().copied().filter(overdue).collect();
        for id in overdue {
            self.give_up(now, id, ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE);
        }
    }

    /// Ends a connection; a Connect that still waits for it is answered with `code`.
    pub(crate) fn give_up(&mut self, now: Now, id: ConnectionId, code: ErrorCode) {
        let waiting = match self.connections.get(&id).map(|connection| &connection.state) {
            Some(State::Connecting { reply, .. }) => Some(reply.clone()),
            _ => None,
        };
        self.drop_connection(id, true);
        if let Some(reply) = waiting {
            self.conclude(now, &reply, Err(code));
        }
    }

    /// Ends all connections of an allocation that ends.
    pub(crate) fn drop_connections(&mut self, at: u32) {
        let connections =
            self.allocations.live(at).map(|allocation| allocation.connections.clone()).unwrap_or_default();
        for id in connections {
            self.drop_connection(id, true);
        }
    }

    /// Ends a connection on the peer's side, and the client's data connection when it has one.
    pub(crate) fn drop_connection(&mut self, id: ConnectionId, close_client: bool) {
        let Some(connection) = self.forget_connection(id) else { return };
        match connection.state {
            State::Connecting { asked: false, .. } => {}
            State::Connecting { .. } | State::Waiting { .. } => {
                self.actions.push_back(Action::ClosePeer { connection: id })
            }
            State::Bound { data_client } => {
                self.actions.push_back(Action::ClosePeer { connection: id });
                if close_client {
                    self.actions.push_back(Action::CloseClient { client: data_client, cause: CloseCause::PeerGone });
                }
            }
        }
    }

    fn forget_connection(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if let State::Bound { data_client } = &connection.state {
            self.data_streams.remove(&FiveTuple::of(data_client));
        }
        if let Some(allocation) = self.allocations.live_mut(connection.allocation) {
            allocation.connections.retain(|other| *other != id);
        }
        Some(connection)
    }

    fn is_connected(&self, at: u32, peer: Peer) -> bool {
        let connections =
            self.allocations.live(at).map(|allocation| allocation.connections.as_slice()).unwrap_or_default();
        connections.iter().any(|id| self.connections.get(id).is_some_and(|connection| connection.peer == peer))
    }

    /// Draws an id and enters the connection; `None` when the allocation has too many.
    fn add_connection(&mut self, now: Now, at: u32, peer: Peer, state: State) -> Option<ConnectionId> {
        if self.allocations.live(at)?.connections.len() >= CONNECTIONS_PER_ALLOCATION_MAX {
            return None;
        }
        let id = loop {
            let id = ConnectionId(self.rng.next_u32() & !0xFF | u32::from(self.shared.shard));
            if !self.connections.contains_key(&id) {
                break id;
            }
        };
        self.connections.insert(id, Connection { allocation: at, peer, state });
        self.allocations.live_mut(at)?.connections.push(id);
        self.schedule(now, at);
        Some(id)
    }
}

fn wait_ends(now: Now) -> u64 {
    now.mono_nanos + CONNECTION_WAIT_SECS * SECOND
}
