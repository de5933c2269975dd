//! The client's 5-tuple as a compact map key, and the keyed hash of the packet path's tables.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use foldhash::SharedSeed;
pub(crate) use foldhash::quality::SeedableRandomState as SeededHash;

use crate::io::{Client, Transport};

/// A client's 5-tuple without the shell's handles, but the stream: a connection's number is never an older one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FiveTuple {
    remote: u128,
    local: u128,
    /// Remote port, local port, transport with families, nothing: 16 bits each.
    ports: u64,
    /// Stream, and the scope of a link-local remote address.
    link: u64,
}

impl FiveTuple {
    pub(crate) fn of(client: &Client) -> Self {
        let transport: u64 = match client.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls => 2,
            Transport::Dtls => 3,
        };
        let family = u64::from(client.remote.is_ipv6()) << 2;
        let scope = match client.remote {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(v6) => v6.scope_id(),
        };
        Self {
            remote: bits(client.remote.ip()),
            local: bits(client.local.ip()),
            ports: u64::from(client.remote.port()) << 48
                | u64::from(client.local.port()) << 32
                | (transport | family) << 16,
            link: u64::from(scope) << 32 | u64::from(client.stream),
        }
    }
}

impl Hash for FiveTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.remote);
        state.write_u128(self.local);
        state.write_u64(self.ports);
        state.write_u64(self.link);
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The hash of the packet path's tables, keyed so that nobody outside can choose colliding keys.
pub(crate) fn seeded_hash(seed: u64) -> SeededHash {
    SeededHash::with_seed(seed, SharedSeed::global_fixed())
}
