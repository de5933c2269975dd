//! What is written down about an allocation when it starts and when it ends.

use std::net::SocketAddr;

use crate::io::{Client, Now, RelayId};

/// Why an allocation ended; a closed set, each a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EndReason {
    /// Refresh with lifetime 0.
    Released,
    /// The client stopped refreshing.
    LifetimeOver,
    /// The credential expired (RFC 8656 lifetimes never reach beyond it).
    CredentialExpired,
    /// The key that made its credential was removed.
    KeyRemoved,
    /// The client's control connection closed.
    ClientClosed,
    /// The drain's deadline passed or the process ends.
    Shutdown,
    /// The shell lost the relay socket.
    RelayLost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRecord {
    /// Unique in this process's life.
    pub serial: u64,
    pub client: Client,
    /// Relayed transport addresses as advertised.
    pub relays: Vec<SocketAddr>,
    pub tcp: bool,
    pub identity: String,
    pub key_id: String,
    pub call_id: Option<String>,
    pub lifetime_secs: u32,
    pub started: Now,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndRecord {
    pub start: StartRecord,
    /// The 5-tuple at the end: another than at the start if the allocation moved (RFC 8016).
    pub client: Client,
    pub ended: Now,
    /// The shell's indices of the relay sockets that it still had; `Ended` comes before their `CloseRelay`, so that what the shell knows of
    /// them (media quality) can still go into the record.
    pub relay_ids: Vec<RelayId>,
    /// Peers that had a permission, at most [`PEERS_RECORDED_MAX`].
    pub peers: Vec<SocketAddr>,
    pub to_peer: Flow,
    pub to_client: Flow,
}

/// Relayed payload of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub packets: u64,
    pub bytes: u64,
    pub dropped_packets: u64,
}

pub const PEERS_RECORDED_MAX: usize = 16;
