//! Address translators (RFC 4787): how they map, and whom they let in.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// What a mapping, or a way in, depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    Endpoint,
    Address,
    AddressAndPort,
}

pub const KINDS: [Dependence; 3] = [Dependence::Endpoint, Dependence::Address, Dependence::AddressAndPort];

type Remote = (Option<IpAddr>, Option<u16>);

#[derive(Debug)]
pub struct Nat {
    pub public: IpAddr,
    mapping: Dependence,
    filtering: Dependence,
    next_port: u16,
    by_inside: BTreeMap<(SocketAddr, Remote), u16>,
    /// Inside address, and whom it wrote to by this mapping.
    by_port: BTreeMap<u16, (SocketAddr, Vec<Remote>)>,
}

impl Nat {
    pub fn new(public: IpAddr, mapping: Dependence, filtering: Dependence) -> Self {
        Self { public, mapping, filtering, next_port: 30_000, by_inside: BTreeMap::new(), by_port: BTreeMap::new() }
    }

    pub fn outbound(&mut self, inside: SocketAddr, to: SocketAddr) -> SocketAddr {
        let key = (inside, seen(self.mapping, to));
        let port = *self.by_inside.entry(key).or_insert_with(|| {
            // Neither consecutive nor preserved.
            self.next_port += 7;
            self.by_port.insert(self.next_port, (inside, Vec::new()));
            self.next_port
        });
        let way = seen(self.filtering, to);
        let (_, spoken_to) = self.by_port.get_mut(&port).unwrap();
        if !spoken_to.contains(&way) {
            spoken_to.push(way);
        }
        SocketAddr::new(self.public, port)
    }

    pub fn inbound(&self, from: SocketAddr, port: u16) -> Option<SocketAddr> {
        let (inside, spoken_to) = self.by_port.get(&port)?;
        spoken_to.contains(&seen(self.filtering, from)).then_some(*inside)
    }
}

fn seen(dependence: Dependence, remote: SocketAddr) -> Remote {
    match dependence {
        Dependence::Endpoint => (None, None),
        Dependence::Address => (Some(remote.ip()), None),
        Dependence::AddressAndPort => (Some(remote.ip()), Some(remote.port())),
    }
}
