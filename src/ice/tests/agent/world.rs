//! Agents, translators and edges on one network in virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_ice::Agent;
use postern_ice::candidate::{Component, Kind};
use postern_ice::io::{
    Action, EdgeId, EdgeServer, Event, HEADROOM, Input, LocalSocket, Role, Settings, SocketId, StreamId, TAILROOM,
    Transport, Way,
};
use postern_ice::sdp::Description;

use crate::edge::{Edge, Out, Wishes};
use crate::nat::Nat;

pub const RTP: Component = Component::RTP;
pub const RTCP: Component = Component::RTCP;

pub fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A host with one agent.
pub struct Host {
    pub agent: Agent,
    pub sockets: Vec<SocketAddr>,
    /// Place of the translator that it is behind.
    pub nat: Option<usize>,
    pub events: Vec<Event>,
    /// Media that its agent let through: component and sender.
    pub heard: Vec<(Component, SocketAddr)>,
    /// Bytes that its agent had no use for.
    pub ignored: usize,
    /// Datagrams to these addresses are not let out.
    pub blocked: Vec<SocketAddr>,
    /// Datagrams that left it.
    pub sent: usize,
    streams: Vec<Stream>,
}

struct Stream {
    id: StreamId,
    edge: usize,
    /// Unfinished frames.
    at_edge: Vec<u8>,
    at_host: Vec<u8>,
}

enum Packet {
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Connected { host: usize, stream: StreamId },
    Refused { host: usize, stream: StreamId },
    ToEdge { host: usize, stream: StreamId, bytes: Vec<u8> },
    ToHost { host: usize, stream: StreamId, bytes: Vec<u8> },
}

pub struct World {
    pub now: Instant,
    pub hosts: Vec<Host>,
    pub nats: Vec<Nat>,
    pub edges: Vec<Edge>,
    pub latency: Duration,
    /// Up to so much more, by chance: packets overtake each other.
    pub jitter: Duration,
    pub loss_per_mille: u64,
    /// What went to addresses where nobody of ours is: from, to, bytes.
    pub astray: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    packets: Vec<(Instant, u64, Packet)>,
    sequence: u64,
    random: u64,
}

/// What a host is made of.
pub struct Plan {
    pub role: Role,
    pub mux: bool,
    pub sockets: Vec<&'static str>,
    pub nat: Option<usize>,
    /// Edges by place, with the transport to each.
    pub edges: Vec<(usize, Transport)>,
    pub relay_only: bool,
    pub blocked: Vec<SocketAddr>,
}

impl Plan {
    /// Two components at this address, ports 10000 and 10001.
    pub fn new(role: Role, ip: &'static str) -> Self {
        Self {
            role,
            mux: false,
            sockets: vec![ip],
            nat: None,
            edges: Vec::new(),
            relay_only: false,
            blocked: Vec::new(),
        }
    }

    pub fn mux(self) -> Self {
        Self { mux: true, ..self }
    }

    pub fn behind(self, nat: usize) -> Self {
        Self { nat: Some(nat), ..self }
    }

    pub fn edge(mut self, edge: usize, transport: Transport) -> Self {
        self.edges.push((edge, transport));
        self
    }

    pub fn relay_only(self) -> Self {
        Self { relay_only: true, ..self }
    }

    pub fn blocking(mut self, to: &str) -> Self {
        self.blocked.push(at(to));
        self
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Instant::now(),
            hosts: Vec::new(),
            nats: Vec::new(),
            edges: Vec::new(),
            latency: millis(20),
            jitter: Duration::ZERO,
            loss_per_mille: 0,
            astray: Vec::new(),
            packets: Vec::new(),
            sequence: 0,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    pub fn add_edge(&mut self, address: &str) -> usize {
        self.add_edge_with(address, Wishes::default())
    }

    pub fn add_edge_with(&mut self, address: &str, wishes: Wishes) -> usize {
        self.edges.push(Edge::new(self.now, at(address), wishes));
        self.edges.len() - 1
    }

    /// What a worker is told of an edge.
    pub fn server(&self, edge: usize, transport: Transport) -> EdgeServer {
        EdgeServer {
            id: EdgeId(edge as u16),
            server: self.edges[edge].address,
            transport,
            credentials: self.edges[edge].token(secs(36_000)),
            family: None,
        }
    }

    pub fn add(&mut self, plan: Plan) -> usize {
        let edges = plan.edges.iter().map(|(edge, transport)| self.server(*edge, *transport)).collect();
        self.add_with(plan, edges)
    }

    pub fn add_with(&mut self, plan: Plan, edges: Vec<EdgeServer>) -> usize {
        let components = if plan.mux { &[RTP][..] } else { &[RTP, RTCP][..] };
        let mut sockets = Vec::new();
        for ip in &plan.sockets {
            for (offset, component) in components.iter().enumerate() {
                let address = SocketAddr::new(ip.parse().unwrap(), 10_000 + offset as u16);
                sockets.push(LocalSocket { component: *component, address });
            }
        }
        let settings = Settings {
            role: plan.role,
            mux: plan.mux,
            sockets: sockets.clone(),
            stun_servers: if plan.nat.is_some() {
                self.edges.iter().map(|edge| edge.address).take(1).collect()
            } else {
                vec![]
            },
            edges,
            relay_only: plan.relay_only,
        };
        let seed = [self.hosts.len() as u8 + 1 + (self.random >> 56) as u8; 32];
        let agent = Agent::new(self.now, settings, seed);
        self.hosts.push(Host {
            agent,
            sockets: sockets.iter().map(|socket| socket.address).collect(),
            nat: plan.nat,
            events: Vec::new(),
            heard: Vec::new(),
            ignored: 0,
            blocked: plan.blocked,
            sent: 0,
            streams: Vec::new(),
        });
        let host = self.hosts.len() - 1;
        self.take_out(host);
        host
    }

    /// Passes time until every agent has gathered.
    pub fn gather(&mut self) {
        for _ in 0..100 {
            if self.hosts.iter().all(|host| !host.agent.is_gathering()) {
                return;
            }
            self.pass(millis(50));
        }
        panic!("gathering without end");
    }

    /// Offer and answer, as fast as signalling can be.
    pub fn introduce(&mut self, offerer: usize, answerer: usize) {
        self.gather();
        self.tell(offerer, answerer);
        self.tell(answerer, offerer);
    }

    pub fn tell(&mut self, from: usize, to: usize) {
        let description = self.told_by(from);
        self.hear(to, &description);
    }

    /// A description that went through SDP and back.
    pub fn told_by(&self, host: usize) -> Description {
        let description = self.hosts[host].agent.description();
        let mut attributes = postern_ice::sdp::Attributes::default();
        for (name, value) in description.attributes() {
            assert!(attributes.take(name, &value), "{name}");
        }
        assert_eq!(attributes.left_out, []);
        attributes.description(description.defaults.clone()).expect("ICE")
    }

    pub fn hear(&mut self, host: usize, description: &Description) -> postern_ice::io::RemoteChange {
        let change = self.hosts[host].agent.set_remote(self.now, description);
        self.take_out(host);
        change
    }

    /// Lets time pass; packets arrive and timers ring at their moments.
    pub fn pass(&mut self, time: Duration) {
        let target = self.now + time;
        let mut turns = 0;
        loop {
            let packet = self.packets.iter().map(|(at, _, _)| *at).min();
            let agents = self.hosts.iter().filter_map(|host| host.agent.next_timeout()).min();
            let edges = self.edges.iter().filter_map(Edge::next_timeout).min();
            let next = [packet, agents, edges].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= target) else { break };
            turns += 1;
            assert!(turns < 200_000, "somebody goes on and on");
            self.now = next.max(self.now);
            while let Some(place) = self.next_due() {
                let (_, _, packet) = self.packets.swap_remove(place);
                self.deliver(packet);
            }
            for host in 0..self.hosts.len() {
                if self.hosts[host].agent.next_timeout().is_some_and(|at| at <= self.now) {
                    self.hosts[host].agent.handle_timeout(self.now);
                    self.take_out(host);
                }
            }
            for edge in 0..self.edges.len() {
                self.edges[edge].handle_timeout(self.now);
                self.take_edge_out(edge);
            }
        }
        self.now = target;
    }

    /// Everybody sends media of every component each 20 ms.
    pub fn talk(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            for host in 0..self.hosts.len() {
                for component in [RTP, RTCP] {
                    self.say(host, component);
                }
            }
            self.pass(millis(20));
        }
    }

    /// One packet; whether there was a way.
    pub fn say(&mut self, host: usize, component: Component) -> bool {
        let mut buffer = [0x80; HEADROOM + 172 + TAILROOM];
        let Some(out) = self.hosts[host].agent.send(component, &mut buffer, HEADROOM..HEADROOM + 172) else {
            return false;
        };
        self.send(host, out.way, out.to, buffer[out.frame].to_vec());
        true
    }

    /// A datagram from anywhere.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.launch(Packet::Datagram { from, to, bytes });
    }

    pub fn kinds(&self, host: usize, component: Component) -> Option<(Kind, Kind)> {
        self.hosts[host].agent.selected(component).map(|pair| (pair.local.kind, pair.remote.kind))
    }

    pub fn has(&self, host: usize, event: impl Fn(&Event) -> bool) -> bool {
        self.hosts[host].events.iter().any(event)
    }

    /// Media reaches both, on every component there is.
    pub fn assert_media(&mut self, hosts: [usize; 2], components: &[Component]) {
        for host in hosts {
            self.hosts[host].heard.clear();
        }
        self.talk(millis(500));
        for host in hosts {
            for component in components {
                let heard = self.hosts[host].heard.iter().filter(|(of, _)| of == component).count();
                assert!(heard > 10, "host {host} heard {heard} of {component:?}\n{}", self.hosts[host].agent.story());
            }
        }
    }

    pub fn take_out(&mut self, host: usize) {
        while let Some(action) = self.hosts[host].agent.poll_action() {
            match action {
                Action::Transmit(transmit) => self.send(host, transmit.way, transmit.to, transmit.bytes),
                Action::Connect { stream, server, .. } => self.connect(host, stream, server),
                Action::Close { stream } => self.hosts[host].streams.retain(|known| known.id != stream),
            }
        }
        while let Some(event) = self.hosts[host].agent.poll_event() {
            self.hosts[host].events.push(event);
        }
    }

    fn connect(&mut self, host: usize, stream: StreamId, server: SocketAddr) {
        match self.edges.iter().position(|edge| edge.address == server && !edge.is_dead) {
            Some(edge) => {
                let stream_of = Stream { id: stream, edge, at_edge: Vec::new(), at_host: Vec::new() };
                self.hosts[host].streams.push(stream_of);
                self.launch(Packet::Connected { host, stream });
            }
            None => self.launch(Packet::Refused { host, stream }),
        }
    }

    fn send(&mut self, host: usize, way: Way, to: SocketAddr, bytes: Vec<u8>) {
        self.hosts[host].sent += 1;
        match way {
            Way::Stream(stream) => self.launch(Packet::ToEdge { host, stream, bytes }),
            Way::Socket(_) if self.hosts[host].blocked.iter().any(|blocked| blocked.ip() == to.ip()) => {}
            Way::Socket(SocketId(socket)) => {
                let from = self.hosts[host].sockets[usize::from(socket)];
                let nat = self.hosts[host].nat;
                let neighbour = self.hosts.iter().any(|other| other.nat == nat && other.sockets.contains(&to));
                let from = match nat {
                    Some(nat) if !neighbour => self.nats[nat].outbound(from, to),
                    _ => from,
                };
                self.launch(Packet::Datagram { from, to, bytes });
            }
        }
    }

    fn launch(&mut self, packet: Packet) {
        let datagram = matches!(packet, Packet::Datagram { .. });
        if datagram && self.draw() % 1_000 < self.loss_per_mille {
            return;
        }
        let jitter = self.jitter.as_micros() as u64;
        let late = if datagram && jitter > 0 { self.draw() % jitter } else { 0 };
        self.sequence += 1;
        self.packets.push((self.now + self.latency + Duration::from_micros(late), self.sequence, packet));
    }

    fn next_due(&self) -> Option<usize> {
        let due = self.packets.iter().enumerate().filter(|(_, (at, _, _))| *at <= self.now);
        due.min_by_key(|(_, (at, sequence, _))| (*at, *sequence)).map(|(place, _)| place)
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::Datagram { from, to, bytes } => self.deliver_datagram(from, to, &bytes),
            Packet::Connected { host, stream } => {
                self.hosts[host].agent.handle_connected(self.now, stream);
                self.take_out(host);
            }
            Packet::Refused { host, stream } => {
                self.hosts[host].agent.handle_closed(self.now, stream);
                self.take_out(host);
            }
            Packet::ToEdge { host, stream, bytes } => {
                let remote = SocketAddr::new(self.hosts[host].sockets[0].ip(), 40_000 + stream.0 as u16);
                let Some(known) = self.hosts[host].streams.iter_mut().find(|known| known.id == stream) else { return };
                known.at_edge.extend_from_slice(&bytes);
                let edge = known.edge;
                if self.edges[edge].is_dead {
                    return;
                }
                self.edges[edge].handle_stream(self.now, stream_number(host, stream), remote, &mut known.at_edge);
                self.take_edge_out(edge);
            }
            Packet::ToHost { host, stream, bytes } => self.deliver_stream(host, stream, &bytes),
        }
    }

    fn deliver_datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if let Some(edge) = self.edges.iter().position(|edge| edge.address.ip() == to.ip()) {
            if !self.edges[edge].is_dead {
                if self.edges[edge].address == to {
                    self.edges[edge].handle_datagram(self.now, from, bytes);
                } else {
                    self.edges[edge].handle_peer(self.now, to, from, bytes);
                }
                self.take_edge_out(edge);
            }
            return;
        }
        let nat = self.nats.iter().position(|nat| nat.public == to.ip());
        let (to, behind) = match nat {
            Some(nat) => match self.nats[nat].inbound(from, to.port()) {
                Some(inside) => (inside, Some(nat)),
                None => return,
            },
            // Only neighbours reach an inside address.
            None => (to, self.hosts.iter().find(|host| host.sockets.contains(&from)).and_then(|host| host.nat)),
        };
        let found = self.hosts.iter().position(|host| host.nat == behind && host.sockets.contains(&to));
        let Some(host) = found else { return self.astray.push((from, to, bytes.to_vec())) };
        let socket = self.hosts[host].sockets.iter().position(|socket| *socket == to).unwrap();
        let input = self.hosts[host].agent.handle_datagram(self.now, SocketId(socket as u8), from, bytes);
        self.take_input(host, input);
        self.take_out(host);
    }

    fn deliver_stream(&mut self, host: usize, stream: StreamId, bytes: &[u8]) {
        let Some(place) = self.hosts[host].streams.iter().position(|known| known.id == stream) else { return };
        self.hosts[host].streams[place].at_host.extend_from_slice(bytes);
        while let Some(known) = self.hosts[host].streams.iter_mut().find(|known| known.id == stream) {
            let buffered = std::mem::take(&mut known.at_host);
            let progress = self.hosts[host].agent.handle_stream(self.now, stream, &buffered);
            if let Some(known) = self.hosts[host].streams.iter_mut().find(|known| known.id == stream) {
                known.at_host = buffered[progress.consumed..].to_vec();
            }
            if progress.consumed == 0 {
                break;
            }
            self.take_input(host, progress.input);
            self.take_out(host);
        }
    }

    fn take_input(&mut self, host: usize, input: Input) {
        match input {
            Input::Media { component, from, .. } => self.hosts[host].heard.push((component, from)),
            Input::Consumed => {}
            Input::Ignored(_) => self.hosts[host].ignored += 1,
        }
    }

    fn take_edge_out(&mut self, edge: usize) {
        for out in std::mem::take(&mut self.edges[edge].out) {
            match out {
                Out::ToPeer { from, to, payload } => {
                    self.launch(Packet::Datagram { from, to, bytes: payload });
                }
                Out::ToClient { client, bytes } if client.stream == 0 => {
                    let from = self.edges[edge].address;
                    self.launch(Packet::Datagram { from, to: client.remote, bytes });
                }
                Out::ToClient { client, bytes } => {
                    let (host, stream) = (client.stream / 1_000 - 1, client.stream % 1_000);
                    self.launch(Packet::ToHost { host: host as usize, stream: StreamId(stream), bytes });
                }
            }
        }
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }
}

/// The edge tells streams of all hosts apart.
fn stream_number(host: usize, stream: StreamId) -> u32 {
    (host as u32 + 1) * 1_000 + stream.0
}
