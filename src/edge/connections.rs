//! TCP allocations (RFC 6062): peers' connections before ConnectionBind, and pipes after it.

use postern_net::Interest;
use postern_net::pipe::{Pipe, PipeState};
use postern_net::tcp_peer::TcpPeer;
use postern_telemetry::labels::CloseReason;
use postern_turn::io::{ConnectionId, Peer, RelayId, Transport};

use crate::descriptors::Descriptor;
use crate::limits;
use crate::relays::Relay;
use crate::shard::{Shard, Source, Turn};

/// A peer's connection that no data connection was bound to yet. Nothing is read from it.
pub(crate) struct PeerConnection {
    peer: TcpPeer,
    descriptor: Descriptor,
    connecting: bool,
}

/// A client's data connection joined with a peer's.
pub(crate) struct SplicedPipe {
    pipe: Pipe,
    /// The client's and the peer's, held until the pipe is dropped.
    _descriptors: [Descriptor; 2],
    connection: ConnectionId,
    transport: Transport,
    to_peer_seen: u64,
    to_client_seen: u64,
}

impl Shard {
    /// Starts to connect from the relayed address; [`on_peer`](Self::on_peer) learns how it ends.
    pub(crate) fn connect_peer(&mut self, connection: ConnectionId, relay: RelayId, peer: Peer, turn: Turn) {
        let local = match self.relays.get(relay.0 as usize) {
            Some(Relay::Tcp(relay)) => relay.local,
            _ => return self.server.handle_peer_connect_failed(turn.now, connection),
        };
        let Some(descriptor) = self.shared.descriptors.take() else {
            return self.server.handle_peer_connect_failed(turn.now, connection);
        };
        let started = TcpPeer::connect(local, peer.0).and_then(|peer| {
            self.reactor.register(&peer, Source::Peer(connection.0).token(), Interest::EDGE).map(|()| peer)
        });
        match started {
            Ok(peer) => {
                self.peers.insert(connection, PeerConnection { peer, descriptor, connecting: true });
            }
            Err(_) => self.server.handle_peer_connect_failed(turn.now, connection),
        }
    }

    /// The kernel has news of a connection that is being made.
    pub(crate) fn on_peer(&mut self, connection: ConnectionId, turn: Turn) {
        let Some(entry) = self.peers.get_mut(&connection) else { return };
        if !entry.connecting {
            return;
        }
        match entry.peer.connected() {
            None => return,
            Some(Ok(())) => {
                entry.connecting = false;
                self.server.handle_peer_connected(turn.now, connection);
            }
            Some(Err(_)) => {
                self.peers.remove(&connection);
                self.server.handle_peer_connect_failed(turn.now, connection);
            }
        }
        self.carry_out(turn);
    }

    /// Peers at the door of a TCP allocation's relayed address.
    pub(crate) fn accept_peers(&mut self, relay: RelayId, turn: Turn) {
        for _ in 0..limits::PEER_ACCEPTS_PER_TURN {
            let Some(Relay::Tcp(own)) = self.relays.get(relay.0 as usize) else { return };
            let (peer, from) = match own.listener.accept() {
                Ok(Some(accepted)) => accepted,
                Ok(None) => return,
                Err(error) => return self.meters.relay_failed(own.local, &error),
            };
            let Some(descriptor) = self.shared.descriptors.take() else { continue };
            let connection = self.server.handle_peer_accepted(turn.now, relay, Peer(from));
            let watched = connection
                .filter(|id| self.reactor.register(&peer, Source::Peer(id.0).token(), Interest::EDGE).is_ok());
            match (watched, connection) {
                (Some(id), _) => {
                    self.peers.insert(id, PeerConnection { peer, descriptor, connecting: false });
                }
                (None, Some(id)) => self.server.handle_peer_closed(turn.now, id),
                (None, None) => {}
            }
            self.carry_out(turn);
        }
        self.unfinished.push(Source::Relay(relay.0));
    }

    /// Joins a data connection with the peer's; bytes that came behind the ConnectionBind are already the peer's.
    pub(crate) fn splice(&mut self, stream: u32, connection: ConnectionId, turn: Turn) {
        let Some(peer) = self.peers.remove(&connection) else { return };
        let Some((client, descriptor, transport)) = self.detach_stream(stream) else {
            return self.server.handle_peer_closed(turn.now, connection);
        };
        let index = self.pipes.vacant_key() as u32;
        let token = Source::Pipe(index).token();
        let watched = self
            .reactor
            .modify(&client, token, Interest::EDGE)
            .and_then(|()| self.reactor.modify(&peer.peer, token, Interest::EDGE));
        self.pipes.insert(SplicedPipe {
            pipe: Pipe::new(client, peer.peer),
            _descriptors: [descriptor, peer.descriptor],
            connection,
            transport,
            to_peer_seen: 0,
            to_client_seen: 0,
        });
        self.spliced.insert(connection, index);
        match watched {
            Ok(()) => self.on_pipe(index, turn),
            Err(_) => self.end_pipe(index, turn),
        }
    }

    pub(crate) fn on_pipe(&mut self, index: u32, turn: Turn) {
        let Some(entry) = self.pipes.get_mut(index as usize) else { return };
        let driven = entry.pipe.drive();
        let (to_peer, to_client) = (entry.pipe.bytes_to_peer(), entry.pipe.bytes_to_client());
        self.server.handle_flow(entry.connection, to_peer - entry.to_peer_seen, to_client - entry.to_client_seen);
        (entry.to_peer_seen, entry.to_client_seen) = (to_peer, to_client);
        match driven {
            Ok(PipeState::Waiting) => {}
            Ok(PipeState::More) => self.unfinished.push(Source::Pipe(index)),
            Ok(PipeState::Closed) | Err(_) => self.end_pipe(index, turn),
        }
    }

    fn end_pipe(&mut self, index: u32, turn: Turn) {
        if let Some(connection) = self.remove_pipe(index) {
            self.server.handle_peer_closed(turn.now, connection);
            self.carry_out(turn);
        }
    }

    fn remove_pipe(&mut self, index: u32) -> Option<ConnectionId> {
        let entry = self.pipes.try_remove(index as usize)?;
        self.spliced.remove(&entry.connection);
        self.meters.stream_closed(entry.transport, CloseReason::Peer);
        Some(entry.connection)
    }

    /// The server wants the connection gone, spliced or not.
    pub(crate) fn close_peer(&mut self, connection: ConnectionId) {
        self.peers.remove(&connection);
        if let Some(&index) = self.spliced.get(&connection) {
            self.remove_pipe(index);
        }
    }
}
