//! The TURN server of one shard: requests, data, timers and reloads go in by `handle_*`, work comes out by `poll`.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::counters::Counters;
use crate::io::{
    Action, AllocationId, Client, ConnectionId, DropReason, Now, OpenedRelays, Peer, PeerIcmp, PeerVerdict, RelayFailure, RelayId,
    StreamProgress, Verdict,
};
use crate::mobility::ExportedAllocation;
use crate::options::{Options, Shared};

/// A STUN and TURN server without sockets or clocks.
///
/// One mutation, then drain: after each `handle_*` call [`poll`](Self::poll) until it answers `None`, in order, before the
/// next input. A call that returns `ToPeer`, `ToClient` or `Drop` queues nothing but what an expiry that it noticed brings
/// about, so a shell may also drain once per batch of datagrams.
#[derive(Debug)]
pub struct Server {
    options: Arc<Options>,
    shared: Shared,
    actions: VecDeque<Action>,
    /// Read by the shell once per turn of its loop.
    pub counters: Counters,
}

impl Server {
    /// `seed` comes from the operating system, or from the test.
    pub fn new(options: Arc<Options>, seed: [u8; 32], shared: Shared) -> Self {
        let _ = seed;
        Self { options, shared, actions: VecDeque::new(), counters: Counters::default() }
    }

    /// A datagram of a client, over UDP or out of a DTLS record. Ranges in the verdict count from the start of `datagram`.
    pub fn handle_datagram(&mut self, now: Now, client: Client, tos: u8, datagram: &[u8]) -> Verdict {
        let _ = (now, client, tos, datagram, &self.options, &self.shared);
        Verdict::Drop(DropReason::NotStun)
    }

    /// The accumulated, not yet consumed bytes of a TCP or TLS client. Takes at most one frame: carry out the verdict, drain
    /// `poll`, take `consumed` bytes off, call again until nothing is consumed. After an [`Action::Splice`] of this stream
    /// what is left in the buffer is the peer's, and this is called no more.
    pub fn handle_stream(&mut self, now: Now, client: Client, bytes: &[u8]) -> StreamProgress {
        let _ = (now, client, bytes);
        StreamProgress { consumed: 0, verdict: None }
    }

    /// The client's connection is gone: its allocation, or the peer connection that it was spliced to, goes with it.
    pub fn handle_client_closed(&mut self, now: Now, client: Client) {
        let _ = (now, client);
    }

    /// A datagram from `peer` to a relay socket. `payload` is its place in `buffer`, with [`HEADROOM`](crate::io::HEADROOM) bytes
    /// free before it and [`TAILROOM`](crate::io::TAILROOM) after it; the frame in the verdict is a range of the same buffer.
    pub fn handle_peer_datagram(&mut self, now: Now, relay: RelayId, peer: Peer, tos: u8, buffer: &mut [u8], payload: Range<usize>) -> PeerVerdict {
        let _ = (now, relay, peer, tos, buffer, payload);
        PeerVerdict::Drop(DropReason::UnknownRelay)
    }

    /// An ICMP error that the relay socket's error queue held.
    pub fn handle_peer_icmp(&mut self, now: Now, relay: RelayId, icmp: PeerIcmp) {
        let _ = (now, relay, icmp);
    }

    /// The relay sockets that [`Action::OpenRelay`] asked for are bound.
    pub fn handle_relay_opened(&mut self, now: Now, allocation: AllocationId, opened: OpenedRelays) {
        let _ = (now, allocation, opened);
    }

    /// No relay socket at all for [`Action::OpenRelay`].
    pub fn handle_relay_failed(&mut self, now: Now, allocation: AllocationId, failure: RelayFailure) {
        let _ = (now, allocation, failure);
    }

    /// The relay socket broke: its allocation ends.
    pub fn handle_relay_lost(&mut self, now: Now, relay: RelayId) {
        let _ = (now, relay);
    }

    /// The connection that [`Action::ConnectPeer`] asked for stands. Nothing is read from it before [`Action::Splice`].
    pub fn handle_peer_connected(&mut self, now: Now, connection: ConnectionId) {
        let _ = (now, connection);
    }

    /// The connection that [`Action::ConnectPeer`] asked for came to nothing.
    pub fn handle_peer_connect_failed(&mut self, now: Now, connection: ConnectionId) {
        let _ = (now, connection);
    }

    /// A peer connected to the relayed address of a TCP allocation: `None` means close it, nothing is read from it before
    /// [`Action::Splice`] (RFC 6062 section 5.3).
    pub fn handle_peer_accepted(&mut self, now: Now, relay: RelayId, peer: Peer) -> Option<ConnectionId> {
        let _ = (now, relay, peer);
        None
    }

    /// A peer's connection closed; the shell closes the client's data connection when it was spliced and everything is flushed.
    pub fn handle_peer_closed(&mut self, now: Now, connection: ConnectionId) {
        let _ = (now, connection);
    }

    /// Bytes that went through a spliced connection since the last call.
    pub fn handle_flow(&mut self, connection: ConnectionId, to_peer_bytes: u64, to_client_bytes: u64) {
        let _ = (connection, to_peer_bytes, to_client_bytes);
    }

    /// A new generation of options. Permissions, channels and connections to peers that are no longer allowed are gone when
    /// this returns; allocations whose key was removed get 401 from here on and end at their lifetime.
    pub fn handle_options(&mut self, now: Now, options: Arc<Options>) {
        let _ = now;
        self.options = options;
    }

    /// From here on a new Allocate is sent elsewhere (300) or refused (508); everything else goes on.
    pub fn handle_drain(&mut self, now: Now) {
        let _ = now;
    }

    /// Reclaims what is over; to be called when [`next_timeout`](Self::next_timeout) has come.
    pub fn handle_timeout(&mut self, now: Now) {
        let _ = now;
    }

    /// Ends every allocation, with its record.
    pub fn shutdown(&mut self, now: Now) {
        let _ = now;
    }

    /// Takes the allocation out whose mobility ticket this is, to be adopted by another shard's server; its relay sockets
    /// go along (RFC 8016). `None`: no such ticket here.
    pub fn export(&mut self, now: Now, ticket: &[u8]) -> Option<Box<ExportedAllocation>> {
        let _ = (now, ticket);
        None
    }

    /// Takes over an allocation that [`export`](Self::export) gave away. `relays` are its relay sockets on this shard, in the order of
    /// [`ExportedAllocation::relays`]. Then hand in the message of the [`Action::Adopt`] again.
    pub fn handle_adopted(&mut self, now: Now, exported: Box<ExportedAllocation>, relays: &[RelayId]) {
        let _ = (now, exported, relays);
    }

    /// The next piece of work, in the order in which it must be done.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest, in nanoseconds of the monotonic clock.
    pub fn next_timeout(&self) -> Option<u64> {
        None
    }

    /// Allocations alive on this shard, those that wait for their relay socket included.
    pub fn allocations(&self) -> usize {
        0
    }
}
