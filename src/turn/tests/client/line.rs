//! One client and one edge with a line between, in virtual time: late, lossy, doubling by seed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_turn::client::{Allocated, ClientCredentials, ClientEvent, ClientInput, ClientSettings, TurnClient};
use postern_turn::io::{HEADROOM, TAILROOM, Transport};

use crate::edge::{Edge, Out, Wishes};

/// One way over the line.
pub const LATENCY: Duration = Duration::from_millis(20);

pub fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn server() -> SocketAddr {
    at("203.0.113.10:3478")
}

pub fn peer() -> SocketAddr {
    at("192.0.2.7:5000")
}

enum Packet {
    ToEdge(Vec<u8>),
    ToClient(Vec<u8>),
}

pub struct Line {
    pub now: Instant,
    pub edge: Edge,
    pub client: TurnClient,
    pub events: Vec<ClientEvent>,
    /// Peers' data as it reached the client.
    pub received: Vec<(SocketAddr, Vec<u8>)>,
    /// What peers got: from, to, payload.
    pub at_peers: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Messages of the client, repeats included.
    pub sent: Vec<Vec<u8>>,
    /// Changes, loses or doubles what goes to the client; `None` loses it.
    pub tamper: Box<dyn FnMut(Vec<u8>) -> Vec<Vec<u8>>>,
    pub loss_per_mille: u64,
    from: SocketAddr,
    transport: Transport,
    packets: Vec<(Instant, Packet)>,
    /// Unfinished frames on a stream.
    at_edge: Vec<u8>,
    at_client: Vec<u8>,
    random: u64,
}

impl Line {
    pub fn new() -> Self {
        Self::with(Wishes::default(), |_, _| {})
    }

    /// A client with an extended token for ten hours, started.
    pub fn with(wishes: Wishes, change: impl FnOnce(&Edge, &mut ClientSettings)) -> Self {
        let mut line = Self::idle(wishes, change);
        line.client.start(line.now);
        line.take_out();
        line
    }

    pub fn idle(wishes: Wishes, change: impl FnOnce(&Edge, &mut ClientSettings)) -> Self {
        let now = Instant::now();
        let edge = Edge::new(now, server(), wishes);
        let mut settings = ClientSettings::new(server(), Transport::Udp, edge.token(secs(36_000)));
        change(&edge, &mut settings);
        let transport = settings.transport;
        Self {
            now,
            edge,
            client: TurnClient::new(settings, [9; 32]),
            events: Vec::new(),
            received: Vec::new(),
            at_peers: Vec::new(),
            sent: Vec::new(),
            tamper: Box::new(|bytes| vec![bytes]),
            loss_per_mille: 0,
            from: at("198.51.100.1:4000"),
            transport,
            packets: Vec::new(),
            at_edge: Vec::new(),
            at_client: Vec::new(),
            random: 0x9E37_79B9_7F4A_7C15,
        }
    }

    /// Another client on the same edge from this address; the former one is gone without a word.
    pub fn replace_client(&mut self, from: &str, settings: ClientSettings) {
        self.from = at(from);
        self.client = TurnClient::new(settings, [10; 32]);
        self.events.clear();
        self.client.start(self.now);
        self.take_out();
    }

    pub fn settings(&self, credentials: ClientCredentials) -> ClientSettings {
        ClientSettings::new(server(), self.transport, credentials)
    }

    /// Lets time pass; packets arrive and timers ring at their moments.
    pub fn pass(&mut self, time: Duration) {
        let target = self.now + time;
        loop {
            let packet = self.packets.iter().map(|(at, _)| *at).min();
            let next = [packet, self.client.next_timeout(), self.edge.next_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= target) else { break };
            assert!(self.sent.len() < 10_000, "the client goes on and on");
            self.now = next.max(self.now);
            self.deliver_due();
            if self.client.next_timeout().is_some_and(|at| at <= self.now) {
                self.client.handle_timeout(self.now);
            }
            self.take_out();
            self.edge.handle_timeout(self.now);
            self.take_edge_out();
        }
        self.now = target;
    }

    /// The allocation, once it is there; a second must do.
    pub fn allocated(&mut self) -> Allocated {
        self.pass(secs(1));
        self.client.allocated().unwrap_or_else(|| panic!("no allocation: {:?}", self.events))
    }

    pub fn permit(&mut self, peer: SocketAddr) {
        self.client.permit(self.now, peer);
        self.take_out();
        self.pass(secs(1));
    }

    /// Sends data as a shell does; whether it left.
    pub fn send(&mut self, peer: SocketAddr, payload: &[u8]) -> bool {
        let range = HEADROOM..HEADROOM + payload.len();
        let mut buffer = vec![0; HEADROOM + payload.len() + TAILROOM];
        buffer[range.clone()].copy_from_slice(payload);
        let Some(frame) = self.client.wrap(peer, &mut buffer, range) else { return false };
        self.launch(buffer[frame].to_vec());
        true
    }

    /// A peer sends to the relayed address; whether anybody listens there.
    pub fn send_back(&mut self, relayed: SocketAddr, peer: SocketAddr, payload: &[u8]) -> bool {
        let heard = self.edge.handle_peer(self.now, relayed, peer, payload);
        self.take_edge_out();
        heard
    }

    /// How many of the client's messages so far had this type.
    pub fn count_sent(&self, message_type: u16) -> usize {
        self.sent.iter().filter(|bytes| bytes[..2] == message_type.to_be_bytes()).count()
    }

    pub fn take_out(&mut self) {
        while let Some(bytes) = self.client.poll_transmit() {
            self.sent.push(bytes.clone());
            self.launch(bytes);
        }
        while let Some(event) = self.client.poll_event() {
            self.events.push(event);
        }
    }

    fn launch(&mut self, bytes: Vec<u8>) {
        if !self.is_lost() {
            self.packets.push((self.now + LATENCY, Packet::ToEdge(bytes)));
        }
    }

    pub fn take_edge_out(&mut self) {
        for out in std::mem::take(&mut self.edge.out) {
            match out {
                Out::ToClient { client, bytes } if client.remote == self.from => {
                    for bytes in (self.tamper)(bytes) {
                        if !self.is_lost() {
                            self.packets.push((self.now + LATENCY, Packet::ToClient(bytes)));
                        }
                    }
                }
                Out::ToClient { .. } => {}
                Out::ToPeer { from, to, payload } => self.at_peers.push((from, to, payload)),
            }
        }
    }

    fn deliver_due(&mut self) {
        while let Some(place) = self.packets.iter().position(|(at, _)| *at <= self.now) {
            match self.packets.remove(place).1 {
                Packet::ToEdge(_) if self.edge.is_dead => {}
                Packet::ToEdge(bytes) => self.at_edge(&bytes),
                Packet::ToClient(bytes) => self.at_client(&bytes),
            }
        }
    }

    fn at_edge(&mut self, bytes: &[u8]) {
        if self.transport == Transport::Udp {
            self.edge.handle_datagram(self.now, self.from, bytes);
        } else {
            // In pieces, as a stream may come.
            for piece in bytes.chunks(7) {
                self.at_edge.extend_from_slice(piece);
                self.edge.handle_stream(self.now, 1, self.from, &mut self.at_edge);
            }
        }
        self.take_edge_out();
    }

    fn at_client(&mut self, bytes: &[u8]) {
        if self.transport == Transport::Udp {
            let input = self.client.handle_datagram(self.now, bytes);
            self.take_data(bytes, input);
        } else {
            for piece in bytes.chunks(7) {
                self.at_client.extend_from_slice(piece);
                loop {
                    let progress = self.client.handle_stream(self.now, &self.at_client);
                    if progress.consumed == 0 {
                        break;
                    }
                    let frame: Vec<u8> = self.at_client.drain(..progress.consumed).collect();
                    self.take_data(&frame, progress.input);
                }
            }
        }
        self.take_out();
    }

    fn take_data(&mut self, bytes: &[u8], input: ClientInput) {
        if let ClientInput::Data { peer, payload } = input {
            self.received.push((peer, bytes[payload].to_vec()));
        }
    }

    fn is_lost(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 1_000 < self.loss_per_mille
    }
}
