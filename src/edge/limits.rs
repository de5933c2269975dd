//! Every bound of this room, by name.

use std::time::Duration;

/// Datagrams taken by one recvmmsg of a listener.
pub(crate) const LISTENER_BATCH: usize = 64;
/// recvmmsg calls on one listener in one turn of the loop, so that nobody starves the relay sockets.
pub(crate) const LISTENER_BATCHES_PER_TURN: usize = 4;
/// Datagrams taken from one ready relay socket in one turn.
pub(crate) const RELAY_DATAGRAMS_PER_TURN: usize = 8;
/// Datagrams collected for clients before they go out by one sendmmsg.
pub(crate) const SEND_BATCH: usize = 64;
/// Entries taken from a relay socket's error queue at a time.
pub(crate) const ICMP_ERRORS_PER_TURN: usize = 16;
/// Frames and reads of one stream in one turn, together.
pub(crate) const STREAM_FRAMES_PER_TURN: usize = 256;
/// Peer connections accepted on one relayed address in one turn.
pub(crate) const PEER_ACCEPTS_PER_TURN: usize = 8;
/// Readiness events taken by one wait.
pub(crate) const EVENTS_PER_TURN: usize = 512;
/// Longest sleep of a shard's loop: its heartbeat must be younger than a second.
pub(crate) const TURN_MAX: Duration = Duration::from_millis(250);
/// A turn longer than this is counted: 50 ms of delay is heard.
pub(crate) const SLOW_TURN: Duration = Duration::from_millis(50);
/// Messages waiting for one shard from the control plane and the other shards.
pub(crate) const INBOX_MAX: usize = 4096;
/// Of these, taken in one turn: each may be a new client with a request to verify.
pub(crate) const MESSAGES_PER_TURN: usize = 64;
/// A stream without an allocation lives this long.
pub(crate) const UNAUTHENTICATED_STREAM: Duration = Duration::from_secs(10);
/// Of the descriptors in reserve ([`postern_net::limits::DESCRIPTORS_RESERVED`]), how many clients' connections may take when
/// everything else is used up.
pub(crate) const DESCRIPTORS_FOR_CLIENTS: u64 = 128;
/// How often certificates and secrets are looked at for a change.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Longest wait for all shards to take a new generation.
pub(crate) const RELOAD_WAIT: Duration = Duration::from_secs(5);
/// Longest wait of an ended shard for allocations that others may still send it, and how often it looks.
pub(crate) const LEAVE_WAIT: Duration = Duration::from_millis(500);
pub(crate) const LEAVE_LOOK: Duration = Duration::from_millis(5);
