//! A network in virtual time: parties with addresses, connections that keep order, datagrams that may not arrive.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_sip::io::{Action, Answer, Question, QuestionId};
use postern_sip::proxy_io::ProxyEvent;
use postern_sip::{CallEvent, ConnId, Core, Message, Proxy, Source, Transport, UserAgent};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// How datagrams fare. Connections only know the least latency.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub latency_ms: u64,
    /// Added at random, so that datagrams overtake one another.
    pub jitter_ms: u64,
    pub lost_percent: u64,
    pub doubled_percent: u64,
    /// With some of their bytes changed, cut out or repeated.
    pub damaged_percent: u64,
}

pub const CALM: Weather =
    Weather { latency_ms: 1, jitter_ms: 0, lost_percent: 0, doubled_percent: 0, damaged_percent: 0 };

/// What stands at an address.
pub enum Node {
    Agent(Box<UserAgent>),
    Proxy(Box<Proxy>),
}

pub struct Party {
    pub node: Node,
    pub address: IpAddr,
    /// Names in its certificate.
    pub names: Arc<[String]>,
    pub events: Vec<CallEvent>,
    pub proxied: Vec<ProxyEvent>,
    /// Requests and responses that it sent, in order, decoded.
    pub sent: Vec<Message>,
}

impl Party {
    pub fn core(&mut self) -> &mut dyn Core {
        match &mut self.node {
            Node::Agent(agent) => agent.as_mut(),
            Node::Proxy(proxy) => proxy.as_mut(),
        }
    }

    /// Nothing is left of any call.
    pub fn is_idle(&self) -> bool {
        match &self.node {
            Node::Agent(agent) => agent.is_idle(),
            Node::Proxy(proxy) => proxy.is_idle(),
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match &self.node {
            Node::Agent(agent) => agent.next_timeout(),
            Node::Proxy(proxy) => proxy.next_timeout(),
        }
    }

    pub fn agent(&mut self) -> &mut UserAgent {
        match &mut self.node {
            Node::Agent(agent) => agent,
            Node::Proxy(_) => panic!("a proxy stands here"),
        }
    }

    pub fn proxy(&mut self) -> &mut Proxy {
        match &mut self.node {
            Node::Proxy(proxy) => proxy,
            Node::Agent(_) => panic!("a user agent stands here"),
        }
    }
}

enum Delivery {
    Connect { from: usize, conn: ConnId, transport: Transport, remote: SocketAddr },
    Connected { to: usize, conn: ConnId, local: SocketAddr, names: Arc<[String]> },
    ConnectFailed { to: usize, conn: ConnId },
    Bytes { to: usize, conn: ConnId, bytes: Vec<u8> },
    Closed { to: usize, conn: ConnId },
    Datagram { to: usize, local: SocketAddr, remote: SocketAddr, bytes: Vec<u8> },
    Resolved { to: usize, question: QuestionId, answer: Answer },
}

pub struct Network {
    pub now: Instant,
    pub parties: Vec<Party>,
    pub weather: Weather,
    /// Names that DNS knows.
    pub names: BTreeMap<String, IpAddr>,
    /// Parties that nothing reaches.
    pub dead: Vec<usize>,
    rng: ChaCha20Rng,
    queue: BTreeMap<(Instant, u64), Delivery>,
    links: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    sequence: u64,
}

impl Network {
    pub fn new(seed: u64) -> Network {
        Network {
            now: Instant::now(),
            parties: Vec::new(),
            weather: CALM,
            names: BTreeMap::new(),
            dead: Vec::new(),
            rng: ChaCha20Rng::seed_from_u64(seed),
            queue: BTreeMap::new(),
            links: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub fn join(&mut self, node: Node, address: IpAddr, name: &str) -> usize {
        self.names.insert(name.into(), address);
        let names = Arc::from([name.to_string()]);
        self.parties.push(Party { node, address, names, events: Vec::new(), proxied: Vec::new(), sent: Vec::new() });
        self.parties.len() - 1
    }

    /// Events since the last call.
    pub fn take_events(&mut self, party: usize) -> Vec<CallEvent> {
        self.flush(party);
        std::mem::take(&mut self.parties[party].events)
    }

    /// Lets time pass; whatever is due in it happens.
    pub fn run(&mut self, time: Duration) {
        self.run_with(time, |_, _| {});
    }

    /// As [`run`](Self::run); `role` is called after each step with the party that was touched.
    pub fn run_with(&mut self, time: Duration, mut role: impl FnMut(&mut Network, usize)) {
        let end = self.now + time;
        for party in 0..self.parties.len() {
            self.flush(party);
            role(self, party);
            self.flush(party);
        }
        // A loop that goes on for ever in no time is a fault of its own.
        for _ in 0..2_000_000 {
            let timer = self.parties.iter().enumerate().filter_map(|(at, one)| Some((one.next_timeout()?, at))).min();
            let delivery = self.queue.keys().next().map(|(at, _)| *at);
            let timer_first = timer.is_some_and(|(at, _)| delivery.is_none_or(|delivery| at < delivery));
            let next = if timer_first { timer.map(|(at, _)| at) } else { delivery };
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            let touched = if timer_first {
                let party = timer.map_or(0, |(_, party)| party);
                self.parties[party].core().handle_timeout(self.now);
                party
            } else {
                let (_, delivery) = self.queue.pop_first().unwrap();
                self.deliver(delivery)
            };
            self.flush(touched);
            role(self, touched);
            self.flush(touched);
        }
        panic!("time stands still");
    }

    /// Ends all connections of a party, for both sides.
    pub fn break_connections(&mut self, party: usize) {
        let mine: Vec<_> =
            self.links.iter().filter(|((one, _), (other, _))| *one == party || *other == party).collect();
        let mine: Vec<_> = mine.into_iter().map(|(from, _)| *from).collect();
        for (one, conn) in mine {
            self.links.remove(&(one, conn));
            self.parties[one].core().handle_closed(conn, self.now);
            self.flush(one);
        }
    }

    /// Connections of a party.
    pub fn connections(&self, party: usize) -> usize {
        self.links.keys().filter(|(one, _)| *one == party).count()
    }

    fn after(&mut self, wait: Duration, delivery: Delivery) {
        self.sequence += 1;
        self.queue.insert((self.now + wait, self.sequence), delivery);
    }

    /// Takes a party's actions and events.
    pub fn flush(&mut self, party: usize) {
        let latency = Duration::from_millis(self.weather.latency_ms);
        while let Some(action) = self.parties[party].core().poll_action() {
            match action {
                Action::Connect { conn, transport, remote, .. } => {
                    self.after(latency, Delivery::Connect { from: party, conn, transport, remote });
                }
                Action::Send { conn, bytes } => {
                    self.note_sent(party, &bytes);
                    if let Some((to, other)) = self.links.get(&(party, conn)).copied() {
                        self.after(latency, Delivery::Bytes { to, conn: other, bytes });
                    }
                }
                Action::Close { conn } => {
                    if let Some((to, other)) = self.links.remove(&(party, conn)) {
                        self.links.remove(&(to, other));
                        self.after(latency, Delivery::Closed { to, conn: other });
                    }
                }
                Action::SendDatagram { local, remote, bytes } => {
                    self.note_sent(party, &bytes);
                    self.send_datagram(local, remote, bytes);
                }
                Action::Resolve { question, what } => {
                    let answer = match what {
                        Question::Addresses(name) => self.names.get(&name).map(|one| Answer::Addresses(vec![*one])),
                        Question::Srv(_) => None,
                    };
                    let answer = answer.unwrap_or(Answer::None);
                    self.after(latency, Delivery::Resolved { to: party, question, answer });
                }
            }
        }
        let Party { node, events, proxied, .. } = &mut self.parties[party];
        match node {
            Node::Agent(agent) => events.extend(std::iter::from_fn(|| agent.poll_event())),
            Node::Proxy(proxy) => proxied.extend(std::iter::from_fn(|| proxy.poll_event())),
        }
    }

    fn note_sent(&mut self, party: usize, bytes: &[u8]) {
        if let Ok(message) = Message::parse(bytes) {
            self.parties[party].sent.push(message);
        }
    }

    fn percent(&mut self) -> u64 {
        self.rng.next_u64() % 100
    }

    fn send_datagram(&mut self, local: SocketAddr, remote: SocketAddr, bytes: Vec<u8>) {
        let Some(to) = self.parties.iter().position(|party| party.address == remote.ip()) else { return };
        let copies = 1 + u64::from(self.percent() < self.weather.doubled_percent);
        for _ in 0..copies {
            if self.percent() < self.weather.lost_percent || self.dead.contains(&to) {
                continue;
            }
            let jitter = if self.weather.jitter_ms == 0 { 0 } else { self.rng.next_u64() % self.weather.jitter_ms };
            let wait = Duration::from_millis(self.weather.latency_ms + jitter);
            let mut bytes = bytes.clone();
            if self.percent() < self.weather.damaged_percent {
                self.damage(&mut bytes);
            }
            self.after(wait, Delivery::Datagram { to, local: remote, remote: local, bytes });
        }
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.rng.next_u64() % 4 {
            let at = self.rng.next_u64() as usize % bytes.len();
            let end = (at + 1 + self.rng.next_u64() as usize % 12).min(bytes.len());
            match self.rng.next_u64() % 5 {
                0 => bytes[at] = self.rng.next_u64() as u8,
                1 => bytes[at] = b"0123456789;:,<>=\"\r\n -"[self.rng.next_u64() as usize % 21],
                2 if end - at < bytes.len() => drop(bytes.drain(at..end)),
                3 => bytes[at..end].reverse(),
                _ => bytes.extend_from_within(at..end),
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) -> usize {
        let now = self.now;
        match delivery {
            Delivery::Connect { from, conn, transport, remote } => self.connect(from, conn, transport, remote),
            Delivery::Connected { to, conn, local, names } => {
                self.parties[to].core().handle_connected(conn, local, names, now);
                to
            }
            Delivery::ConnectFailed { to, conn } => {
                self.parties[to].core().handle_connect_failed(conn, now);
                to
            }
            Delivery::Bytes { to, conn, bytes } => {
                if self.links.contains_key(&(to, conn)) && !self.dead.contains(&to) {
                    self.parties[to].core().handle_bytes(conn, &bytes, now);
                }
                to
            }
            Delivery::Closed { to, conn } => {
                self.parties[to].core().handle_closed(conn, now);
                to
            }
            Delivery::Datagram { to, local, remote, bytes } => {
                self.parties[to].core().handle_datagram(local, remote, &bytes, now);
                to
            }
            Delivery::Resolved { to, question, answer } => {
                self.parties[to].core().handle_resolved(question, answer, now);
                to
            }
        }
    }

    fn connect(&mut self, from: usize, conn: ConnId, transport: Transport, remote: SocketAddr) -> usize {
        let latency = Duration::from_millis(self.weather.latency_ms);
        let to = self.parties.iter().position(|party| party.address == remote.ip());
        let listens = remote.port() == transport.default_port();
        let Some(to) = to.filter(|to| listens && !self.dead.contains(to)) else {
            self.after(latency, Delivery::ConnectFailed { to: from, conn });
            return from;
        };
        self.sequence += 1;
        let local = SocketAddr::new(self.parties[from].address, 30_000 + (self.sequence % 30_000) as u16);
        let secure = transport == Transport::Tls;
        let of = |party: &Party| if secure { party.names.clone() } else { Arc::from([]) };
        let source = Source { transport, local: remote, remote: local, names: of(&self.parties[from]), conn: None };
        let names = of(&self.parties[to]);
        match self.parties[to].core().handle_accepted(source, self.now) {
            Some(accepted) => {
                self.links.insert((from, conn), (to, accepted));
                self.links.insert((to, accepted), (from, conn));
                self.after(latency, Delivery::Connected { to: from, conn, local, names });
            }
            None => self.after(latency, Delivery::ConnectFailed { to: from, conn }),
        }
        to
    }
}
