//! What a server is told: settings that a reload replaces whole, and what the shards of one process share.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use postern_token::Credentials;

use crate::mobility::{MobilityHomes, TicketKey};
use crate::nonce::NonceKeys;
use crate::policy::PeerPolicy;
use crate::stranger_limiter::StrangerLimiter;

/// Settings of one generation; [`Server::handle_options`](crate::Server::handle_options) replaces them.
pub struct Options {
    /// Prepared ([`opaque_string`](crate::opaque_string)); at most 763 bytes.
    pub realm: String,
    pub credentials: Arc<dyn Credentials>,
    pub nonce_keys: NonceKeys,
    /// Which peers may be reached, and under which names our own addresses are known.
    pub policy: PeerPolicy,
    pub lifetimes: Lifetimes,
    pub quotas: Quotas,
    /// Clients there get an answer before they have authenticated, however often they ask.
    pub worker_networks: Vec<IpNet>,
    pub features: Features,
    /// Where a draining server sends new clients; the first one of the client's family is named.
    pub alternates: Vec<Alternate>,
}

/// How long things live, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Without LIFETIME, and at least (RFC 8656 section 7.2).
    pub default_secs: u32,
    pub allocation_max_secs: u32,
    /// A credential issued for longer counts as one for this long, from its Allocate on.
    pub token_max_secs: u64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { default_secs: 600, allocation_max_secs: 3_600, token_max_secs: 28_800 }
    }
}

/// Allocations per identity; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub allocations_per_identity: u32,
    /// What a token may raise the former to, at most.
    pub allocations_max: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { allocations_per_identity: 50, allocations_max: 1_000 }
    }
}

/// What is spoken beyond RFC 8656, and what is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// RFC 6062.
    pub tcp_allocations: bool,
    /// RFC 8016.
    pub mobility: bool,
    /// RFC 5780, only with an alternate address to answer from.
    pub nat_discovery: Option<NatDiscovery>,
    /// SOFTWARE in answers to those who have authenticated; `None` is none.
    pub software: Option<String>,
}

/// The two addresses and two ports of NAT behaviour discovery (RFC 5780 section 6): all four combinations are
/// listeners. Addresses are the advertised ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatDiscovery {
    pub primary: SocketAddr,
    pub alternate: SocketAddr,
}

/// Another edge (RFC 8489 section 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternate {
    pub address: SocketAddr,
    pub domain: Option<String>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("realm", &self.realm).field("features", &self.features).finish_non_exhaustive()
    }
}

/// What the servers of all shards of a process have in common. A copy is another handle on the same.
#[derive(Clone, Debug)]
pub struct Shared {
    /// This server's number; it goes into connection ids and serials. All else is the same for every shard.
    pub shard: u8,
    pub strangers: Arc<StrangerLimiter>,
    pub homes: Arc<MobilityHomes>,
    pub ticket_key: Arc<TicketKey>,
}

impl Shared {
    /// For shard 0; `seed` comes from the operating system, or from the test.
    pub fn new(seed: [u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = seed;
        Self {
            shard: 0,
            strangers: Arc::new(StrangerLimiter::new(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))),
            homes: Arc::default(),
            ticket_key: Arc::new(TicketKey::new(&seed)),
        }
    }

    /// The same for another shard.
    pub fn for_shard(&self, shard: u8) -> Self {
        Self { shard, ..self.clone() }
    }
}
