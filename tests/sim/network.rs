//! Hosts, their access lines and their NATs: which packet arrives where, when, and from whom.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::link::Link;
use crate::nat::Nat;
use crate::random::Random;

/// Who sits at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Client(usize),
    Peer(usize),
}

/// A packet between the edge and somebody outside; addresses as they are at the edge.
#[derive(Clone, Debug)]
pub struct Packet {
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// 0 is UDP.
    pub stream: u32,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct Network {
    hosts: Vec<Host>,
    nats: Vec<Nat>,
    /// Which host an inside address belongs to.
    by_address: BTreeMap<IpAddr, usize>,
    sockets: BTreeMap<SocketAddr, Who>,
    /// When the last bytes of a stream arrive, in either direction.
    streams: BTreeMap<(u32, bool), u64>,
    next_port: u16,
}

#[derive(Debug)]
struct Host {
    nat: Option<usize>,
    link: Link,
}

impl Network {
    /// A NAT with this public address; returns its number.
    pub fn add_nat(&mut self, random: &mut Random, public: IpAddr) -> usize {
        self.nats.push(Nat::draw(random, public));
        self.nats.len() - 1
    }

    pub fn add_host(&mut self, random: &mut Random, address: IpAddr, nat: Option<usize>) {
        self.by_address.insert(address, self.hosts.len());
        self.hosts.push(Host { nat, link: Link::draw(random) });
    }

    /// A socket of `who` on the host at `address`, with a port that it never had.
    pub fn open(&mut self, address: IpAddr, who: Who) -> SocketAddr {
        self.next_port = self.next_port.checked_add(1).unwrap_or_default().max(1_024);
        let socket = SocketAddr::new(address, self.next_port);
        self.sockets.insert(socket, who);
        socket
    }

    pub fn close(&mut self, socket: SocketAddr) {
        self.sockets.remove(&socket);
    }

    pub fn reboot_nat(&mut self, random: &mut Random) {
        if !self.nats.is_empty() {
            let at = random.below(self.nats.len() as u64) as usize;
            self.nats[at].reboot();
        }
    }

    /// From a socket outside towards the edge: the packet as it will be there, and when each copy arrives.
    pub fn towards_edge(
        &mut self,
        now: u64,
        random: &mut Random,
        from: SocketAddr,
        to: SocketAddr,
        stream: u32,
        bytes: Vec<u8>,
    ) -> Option<(Packet, Vec<u64>)> {
        let host = *self.by_address.get(&from.ip())?;
        let from = match self.hosts[host].nat {
            Some(nat) if stream == 0 => self.nats[nat].outbound(now, from, to),
            _ => from,
        };
        let arrivals = self.arrivals(now, random, host, stream, true);
        Some((Packet { from, to, stream, bytes }, arrivals))
    }

    /// From the edge to an address outside: whom it reaches, at which of its sockets, and when.
    pub fn towards_host(
        &mut self,
        now: u64,
        random: &mut Random,
        from: SocketAddr,
        to: SocketAddr,
        stream: u32,
    ) -> Option<(Who, Vec<u64>)> {
        let nat = self.nats.iter_mut().find(|nat| nat.public() == to.ip());
        let inside = match nat {
            Some(nat) => nat.inbound(now, from, to.port())?,
            None => to,
        };
        let who = *self.sockets.get(&inside)?;
        let host = *self.by_address.get(&inside.ip())?;
        Some((who, self.arrivals(now, random, host, stream, false)))
    }

    /// A stream loses nothing and keeps its order.
    fn arrivals(&mut self, now: u64, random: &mut Random, host: usize, stream: u32, inward: bool) -> Vec<u64> {
        let link = &mut self.hosts[host].link;
        if stream == 0 {
            return link.pass(random).into_iter().map(|delay| now + delay).collect();
        }
        let last = self.streams.entry((stream, inward)).or_default();
        *last = (*last + 1).max(now + link.latency_nanos());
        vec![*last]
    }
}
