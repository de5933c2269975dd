//! Which ports of the relay addresses carry an allocation right now: written by the broker, read on every shard's packet path.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ports of one address and transport, in words of a bitmap.
const WORDS: usize = 65_536 / 64;

/// A shared set of live relay ports. A copy is another handle on the same set; reading takes no lock.
///
/// A reader may see a port some nanoseconds late. That is harmless: a port just closed has no socket behind it, and one
/// just opened was not yet told to any client.
#[derive(Clone, Debug)]
pub struct LivePorts {
    addresses: Arc<[Ports]>,
}

#[derive(Debug)]
struct Ports {
    address: IpAddr,
    udp: Box<[AtomicU64]>,
    tcp: Box<[AtomicU64]>,
}

impl LivePorts {
    /// No port is live yet. `addresses` are the local relay addresses; each costs 16 KB.
    pub fn new(addresses: &[IpAddr]) -> Self {
        let empty = || (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self { addresses: addresses.iter().map(|&address| Ports { address, udp: empty(), tcp: empty() }).collect() }
    }

    /// Whether an allocation owns this local relayed transport address.
    pub fn is_live(&self, local: SocketAddr, tcp: bool) -> bool {
        let (word, bit) = place(local.port());
        self.words(local.ip(), tcp).is_some_and(|words| words[word].load(Ordering::Relaxed) & bit != 0)
    }

    pub(crate) fn set(&self, local: SocketAddr, tcp: bool) {
        let (word, bit) = place(local.port());
        if let Some(words) = self.words(local.ip(), tcp) {
            words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    pub(crate) fn clear(&self, local: SocketAddr, tcp: bool) {
        let (word, bit) = place(local.port());
        if let Some(words) = self.words(local.ip(), tcp) {
            words[word].fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn words(&self, address: IpAddr, tcp: bool) -> Option<&[AtomicU64]> {
        let ports = self.addresses.iter().find(|ports| ports.address == address)?;
        Some(if tcp { &ports.tcp } else { &ports.udp })
    }
}

fn place(port: u16) -> (usize, u64) {
    (usize::from(port / 64), 1 << (port % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_live_for_its_address_and_transport_alone() {
        let ports = LivePorts::new(&["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        let seen = ports.clone();
        let local: SocketAddr = "192.0.2.1:65535".parse().unwrap();
        ports.set(local, false);
        assert!(seen.is_live(local, false));
        assert!(!seen.is_live(local, true));
        assert!(!seen.is_live("192.0.2.1:65534".parse().unwrap(), false));
        assert!(!seen.is_live("[2001:db8::1]:65535".parse().unwrap(), false));
        assert!(!seen.is_live("192.0.2.2:65535".parse().unwrap(), false));
        ports.clear(local, false);
        assert!(!seen.is_live(local, false));
    }

    #[test]
    fn an_address_that_is_no_relay_address_is_never_live() {
        let ports = LivePorts::new(&[]);
        ports.set("192.0.2.1:5000".parse().unwrap(), false);
        assert!(!ports.is_live("192.0.2.1:5000".parse().unwrap(), false));
    }
}
