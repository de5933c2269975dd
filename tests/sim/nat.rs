//! Address translators between hosts and the edge (RFC 4787): how they map, whom they let in, and when they forget.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::clock::SECOND;
use crate::random::Random;

/// What a mapping, or a way in, depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    Endpoint,
    Address,
    AddressAndPort,
}

const KINDS: [Dependence; 3] = [Dependence::Endpoint, Dependence::Address, Dependence::AddressAndPort];

/// Which remote a mapping is for, as far as its kind looks.
type Remote = (Option<IpAddr>, Option<u16>);

#[derive(Debug)]
pub struct Nat {
    public: IpAddr,
    mapping: Dependence,
    filtering: Dependence,
    idle_nanos: u64,
    next_port: u16,
    by_inside: BTreeMap<(SocketAddr, Remote), u16>,
    by_port: BTreeMap<u16, Mapping>,
}

#[derive(Debug)]
struct Mapping {
    inside: SocketAddr,
    last_used: u64,
    /// Whom the inside has written to, as far as filtering looks.
    spoken_to: Vec<Remote>,
}

impl Nat {
    pub fn draw(random: &mut Random, public: IpAddr) -> Self {
        Self {
            public,
            mapping: *random.pick(&KINDS),
            filtering: *random.pick(&KINDS),
            idle_nanos: random.within(20..180) * SECOND,
            next_port: 20_000 + random.below(20_000) as u16,
            by_inside: BTreeMap::new(),
            by_port: BTreeMap::new(),
        }
    }

    pub fn public(&self) -> IpAddr {
        self.public
    }

    /// The source address that a packet from `inside` to `to` has outside. A mapping that idled is made anew, with
    /// another port.
    pub fn outbound(&mut self, now: u64, inside: SocketAddr, to: SocketAddr) -> SocketAddr {
        let key = (inside, seen(self.mapping, to));
        let idle = self.idle_nanos;
        let living = self.by_inside.get(&key).copied();
        let living = living.filter(|port| self.by_port.get(port).is_some_and(|at| now - at.last_used < idle));
        let port = living.unwrap_or_else(|| self.map(now, key));
        let way = seen(self.filtering, to);
        if let Some(mapping) = self.by_port.get_mut(&port) {
            mapping.last_used = now;
            if !mapping.spoken_to.contains(&way) {
                mapping.spoken_to.push(way);
            }
        }
        SocketAddr::new(self.public, port)
    }

    /// Whom a packet from `from` to the public `port` reaches, if anybody.
    pub fn inbound(&mut self, now: u64, from: SocketAddr, port: u16) -> Option<SocketAddr> {
        let mapping = self.by_port.get_mut(&port)?;
        if now - mapping.last_used >= self.idle_nanos || !mapping.spoken_to.contains(&seen(self.filtering, from)) {
            return None;
        }
        mapping.last_used = now;
        Some(mapping.inside)
    }

    /// Everything forgotten at once, as after a power cut.
    pub fn reboot(&mut self) {
        self.by_inside.clear();
        self.by_port.clear();
    }

    fn map(&mut self, now: u64, key: (SocketAddr, Remote)) -> u16 {
        if let Some(old) = self.by_inside.remove(&key) {
            self.by_port.remove(&old);
        }
        while self.by_port.contains_key(&self.next_port) {
            self.next_port = self.next_port.checked_add(1).unwrap_or(20_000);
        }
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(20_000);
        self.by_port.insert(port, Mapping { inside: key.0, last_used: now, spoken_to: Vec::new() });
        self.by_inside.insert(key, port);
        port
    }
}

fn seen(dependence: Dependence, remote: SocketAddr) -> Remote {
    match dependence {
        Dependence::Endpoint => (None, None),
        Dependence::Address => (Some(remote.ip()), None),
        Dependence::AddressAndPort => (Some(remote.ip()), Some(remote.port())),
    }
}
