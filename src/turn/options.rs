//! What a server is told: settings that a reload replaces whole, and what the shards of one process share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use postern_token::Credentials;

/// Settings of one generation; [`Server::handle_options`](crate::Server::handle_options) replaces them.
pub struct Options {
    pub realm: String,
    pub credentials: Arc<dyn Credentials>,
    pub lifetimes: Lifetimes,
    pub quotas: Quotas,
    pub features: Features,
    /// Where a draining server sends new clients, tried in order for one of the client's family.
    pub alternates: Vec<Alternate>,
    /// Local relay address to the one that clients and peers are told, behind a 1:1 NAT; no entry means the same.
    pub advertise: Vec<(IpAddr, IpAddr)>,
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

/// Allocations per identity; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub allocations_per_identity: u32,
    /// What a token may raise the former to, at most.
    pub allocations_max: u32,
}

/// What is spoken beyond RFC 8656.
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

/// The second address and port of NAT behaviour discovery (RFC 5780 section 6). Addresses are the advertised ones.
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
        f.debug_struct("Options").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// What the servers of all shards of a process have in common.
#[derive(Clone, Debug)]
pub struct Shared {
    /// This server's number; it goes into connection ids and serials.
    pub shard: u8,
}
