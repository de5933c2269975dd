//! Gathering candidates (RFC 8445 section 5.1): hosts at once, servers and edges within a few seconds.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use postern_turn::client::{Allocated, BindingClient, BindingEvent};
use rand_chacha::rand_core::Rng;

use crate::agent::Agent;
use crate::candidate::{Candidate, Component, Kind, priority};
use crate::io::{Event, SocketId, Transport, Way};
use crate::limits::{GATHER_SPARE, GATHER_TIMEOUT, LOCAL_CANDIDATES_MAX};
use crate::relays::RelayId;
use crate::session::Base;
use crate::story::Happening;

/// A local candidate with where it sends from.
#[derive(Clone, Debug)]
pub(crate) struct LocalCandidate {
    pub(crate) candidate: Candidate,
    pub(crate) base: Base,
}

/// What gathering waits for, beside the relays.
#[derive(Debug)]
pub(crate) struct Gathering {
    pub(crate) deadline: Instant,
    /// Who has not answered by then is down.
    timeout: Instant,
    bindings: Vec<Binding>,
}

#[derive(Debug)]
struct Binding {
    socket: SocketId,
    server: SocketAddr,
    client: BindingClient,
}

/// A local address before it is ranked.
struct Found {
    kind: Kind,
    component: Component,
    address: SocketAddr,
    base: Base,
    related: Option<SocketAddr>,
    server: Option<IpAddr>,
    /// 0 is preferred.
    rank: u16,
}

impl Gathering {
    pub(crate) fn next_timeout(&self) -> Instant {
        self.bindings.iter().filter_map(|binding| binding.client.next_timeout()).fold(self.deadline, Instant::min)
    }

    /// Whether these bytes were the answer that one of ours waited for.
    pub(crate) fn handle_datagram(&mut self, socket: SocketId, from: SocketAddr, bytes: &[u8]) -> bool {
        let mut of_server =
            self.bindings.iter_mut().filter(|binding| binding.socket == socket && binding.server == from);
        of_server.any(|binding| binding.client.handle_datagram(bytes))
    }
}

impl Agent {
    /// Asks all servers, and all edges that have no allocation of ours.
    pub(crate) fn gather(&mut self, now: Instant) {
        self.add_hosts();
        let mut bindings = Vec::new();
        if !self.relay_only {
            for server in self.stun_servers.clone() {
                for (at, socket) in self.sockets.clone().into_iter().enumerate() {
                    let other_family = socket.address.is_ipv4() != server.is_ipv4();
                    if other_family || self.mux && socket.component == Component::RTCP {
                        continue;
                    }
                    let mut seed = [0; 32];
                    self.rng.fill_bytes(&mut seed);
                    let client = BindingClient::new(now, seed);
                    bindings.push(Binding { socket: SocketId(at as u8), server, client });
                }
            }
        }
        let timeout = now + GATHER_TIMEOUT;
        self.gathering = Some(Gathering { deadline: timeout, timeout, bindings });
        self.start_relays(now);
        self.hurry(now);
    }

    /// Others get a little more time once an edge has given all that a call needs: one that died would hold it up.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if self.has_relays()
            && let Some(gathering) = &mut self.gathering
        {
            gathering.deadline = gathering.deadline.min(now + GATHER_SPARE);
        }
    }

    pub(crate) fn run_gathering(&mut self, now: Instant) {
        let Some(mut gathering) = self.gathering.take() else { return };
        let mut found = Vec::new();
        let mut asked = Vec::new();
        gathering.bindings.retain_mut(|binding| {
            binding.client.handle_timeout(now);
            if let Some(bytes) = binding.client.poll_transmit() {
                asked.push((binding.socket, binding.server, bytes));
            }
            match binding.client.poll_event() {
                Some(BindingEvent::Mapped(mapped)) => found.push((binding.socket, binding.server, mapped)),
                Some(BindingEvent::Refused(_) | BindingEvent::NoAnswer) => {}
                None => return true,
            }
            false
        });
        for (socket, server, bytes) in asked {
            self.transmit(Way::Socket(socket), server, bytes);
        }
        for (socket, server, mapped) in found {
            self.add_reflexive(socket, server, mapped);
        }
        let pending = !gathering.bindings.is_empty() || self.relays.iter().any(|relay| relay.is_pending());
        if pending && now < gathering.deadline {
            self.gathering = Some(gathering);
            return;
        }
        self.give_up_pending(now, now >= gathering.timeout);
        self.diary.note(
            now,
            Happening::Gathered {
                host: self.count_locals(Kind::Host),
                server_reflexive: self.count_locals(Kind::ServerReflexive),
                relayed: self.count_locals(Kind::Relayed),
            },
        );
        self.event(Event::Gathered);
        self.begin_checks(now);
    }

    fn add_hosts(&mut self) {
        if self.relay_only {
            return;
        }
        for (at, socket) in self.sockets.clone().into_iter().enumerate() {
            if self.mux && socket.component == Component::RTCP {
                continue;
            }
            let base = Base::Socket(SocketId(at as u8));
            self.add_local(Found {
                kind: Kind::Host,
                component: socket.component,
                address: socket.address,
                base,
                related: None,
                server: None,
                rank: self.host_rank(socket.address),
            });
        }
    }

    /// Distinct host addresses in the order of the settings.
    fn host_rank(&self, address: SocketAddr) -> u16 {
        let first = self.sockets.iter().position(|socket| socket.address.ip() == address.ip());
        first.unwrap_or(0) as u16
    }

    pub(crate) fn add_reflexive(&mut self, socket: SocketId, server: SocketAddr, mapped: SocketAddr) {
        let Some(host) = self.sockets.get(usize::from(socket.0)).copied() else { return };
        // RFC 8445 section 5.1.3: one that is its own base is redundant.
        if self.relay_only || mapped == host.address || self.mux && host.component == Component::RTCP {
            return;
        }
        let rank = self.host_rank(host.address);
        let base = Base::Socket(socket);
        self.add_local(Found {
            kind: Kind::ServerReflexive,
            component: host.component,
            address: mapped,
            base,
            related: Some(host.address),
            server: Some(server.ip()),
            rank,
        });
    }

    pub(crate) fn add_relayed(&mut self, now: Instant, id: RelayId, allocated: &Allocated) {
        let Some(relay) = self.relay(id) else { return };
        let by = match relay.edge.transport {
            Transport::Udp | Transport::Dtls => 0,
            Transport::Tcp => 1,
            Transport::Tls => 2,
        };
        let (component, server, rank) = (relay.component, relay.edge.server.ip(), by * 64 + relay.rank);
        let related = if self.relay_only { None } else { allocated.mapped };
        // RFC 8839 section 5.1: `raddr` is there for relayed candidates, if need be without saying anything.
        let related = related.unwrap_or(SocketAddr::new(unspecified(allocated.relayed), 9));
        self.add_local(Found {
            kind: Kind::Relayed,
            component,
            address: allocated.relayed,
            base: Base::Relay(id),
            related: Some(related),
            server: Some(server),
            rank,
        });
        if self.gathering.is_none() {
            self.form_pairs(now);
        }
    }

    fn add_local(&mut self, found: Found) {
        let Found { kind, component, address, base, related, server, rank } = found;
        let known = self.locals.iter().any(|local| local.base == base && local.candidate.address == address);
        if known || self.locals.len() >= LOCAL_CANDIDATES_MAX {
            return;
        }
        let base_ip = related.filter(|_| kind == Kind::ServerReflexive).unwrap_or(address).ip();
        let foundation = self.foundation(kind, base_ip, server);
        let priority = priority(kind, u16::MAX - rank, component);
        let candidate = Candidate { foundation, component, priority, address, kind, related };
        self.locals.push(LocalCandidate { candidate, base });
    }

    /// The same for candidates of the same kind, base and server (RFC 8445 section 5.1.1.3).
    pub(crate) fn foundation(&mut self, kind: Kind, base: IpAddr, server: Option<IpAddr>) -> String {
        let key = (kind, base, server);
        let at = self.foundations.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.foundations.push(key);
            self.foundations.len() - 1
        });
        (at + 1).to_string()
    }
}

fn unspecified(like: SocketAddr) -> IpAddr {
    if like.is_ipv4() {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
    }
}
