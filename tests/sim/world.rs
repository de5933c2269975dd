//! Everything together in virtual time: the next event, what it does to the edge, what the model says to that.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use postern_token::Claims;
use postern_turn::io;
use postern_turn::io::Transport;

use crate::client::Client;
use crate::clock::{Clock, MILLI, SECOND, Schedule};
use crate::defect::Defect;
use crate::edge::Edge;
use crate::effect::{Effect, Input};
use crate::model::{Model, Violation};
use crate::network::{Network, Packet, Who};
use crate::peer::{HABITS, Peer};
use crate::random::Random;
use crate::rules::Issued;
use crate::scenario::{self, Scenario};
use crate::stranger::Overheard;
use crate::temper::TEMPERS;
use crate::trace;

/// Steps that are shown when something went wrong.
const SHOWN: usize = 40;

pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) clock: Clock,
    pub(crate) schedule: Schedule<Event>,
    pub(crate) random: Random,
    pub(crate) edge: Edge,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) overheard: Overheard,
    pub(crate) reservations: Vec<[u8; 8]>,
    pub(crate) forbidden: Vec<SocketAddr>,
    pub(crate) streams: u32,
    /// The last moment at which probes were planned, and how many.
    pub(crate) probes: (u64, u32),
    pub model: Model,
    pub steps: u64,
    /// Of all that left the edge.
    pub digest: u64,
    /// What happened last, for those who want to read it.
    trace: Option<VecDeque<String>>,
}

/// What is to happen.
#[derive(Debug)]
pub enum Event {
    /// At the edge.
    Packet(Packet),
    /// At somebody outside, from an address of the edge.
    Arrival {
        who: Who,
        from: SocketAddr,
        stream: u32,
        bytes: Vec<u8>,
    },
    Input(Input),
    Client(usize),
    Repeat(usize),
    Peer(usize),
    Stranger,
    Incident(Incident),
}

#[derive(Clone, Copy, Debug)]
pub enum Incident {
    Reload,
    WallStep(i64),
    NatReboot,
    LoseRelay,
    Drain,
}

/// Where a run of a seed went wrong.
#[derive(Clone)]
pub struct Failure {
    pub seed: u64,
    pub step: u64,
    pub violation: Violation,
    pub last: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.last {
            writeln!(f, "{step}")?;
        }
        let Violation { rule, what } = &self.violation;
        write!(f, "{rule:?}: {what}\nseed {} broke at step {}; the steps before it stand above", self.seed, self.step)
    }
}

impl World {
    pub fn new(seed: u64, defect: Defect, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let scenario = Scenario::draw(&mut random);
        let edge = Edge::new(scenario.shards, &scenario.rules, scenario.foreign.clone(), defect, &mut random);
        let mut world = Self {
            clock: Clock::new(),
            schedule: Schedule::new(),
            edge,
            network: Network::default(),
            clients: Vec::new(),
            peers: Vec::new(),
            overheard: Overheard::default(),
            reservations: Vec::new(),
            forbidden: scenario::forbidden(&scenario.rules),
            streams: 0,
            probes: (0, 0),
            model: Model::new(scenario.rules.clone()),
            steps: 0,
            digest: 0,
            trace: traced.then(VecDeque::new),
            random,
            scenario,
        };
        world.populate();
        world.plan();
        world
    }

    /// Runs a seed to its end.
    ///
    /// # Errors
    /// What the model objected to, with the last steps.
    pub fn run(seed: u64, defect: Defect) -> Result<Self, Box<Failure>> {
        let outcome = Self::new(seed, defect, false).finish(seed);
        // Once more, this time with a pen: the same seed gives the same history.
        outcome.or_else(|_| Self::new(seed, defect, true).finish(seed))
    }

    /// How long it was in virtual time.
    pub fn minutes(&self) -> u64 {
        self.scenario.minutes
    }

    fn finish(mut self, seed: u64) -> Result<Self, Box<Failure>> {
        match self.play() {
            Ok(()) => Ok(self),
            Err(violation) => {
                let last = self.trace.take().unwrap_or_default().into();
                Err(Box::new(Failure { seed, step: self.steps, violation, last }))
            }
        }
    }

    fn play(&mut self) -> Result<(), Violation> {
        let end = self.clock.nanos() + self.scenario.minutes * 60 * SECOND;
        while self.next_at().is_some_and(|at| at < end) {
            self.turn()?;
        }
        // Everybody stops; the shell finishes what it began, then the process ends.
        self.clock.jump_to(end);
        while let Some(event) = self.schedule.pop() {
            if let Event::Input(input @ (Input::Open { .. } | Input::Adopt { .. })) = event {
                self.step(input)?;
            }
        }
        self.step(Input::Shutdown)?;
        while self.next_at().is_some() {
            self.turn()?;
        }
        self.model.check_empty()
    }

    fn next_at(&self) -> Option<u64> {
        let shards = (0..self.edge.shards()).filter_map(|shard| self.edge.next_timeout(shard));
        shards.chain(self.edge.broker_timeout()).map(|at| at + self.lateness()).chain(self.schedule.next_at()).min()
    }

    /// How late this shell is with timers.
    fn lateness(&self) -> u64 {
        self.scenario.slowness_nanos
    }

    /// Time moves to the next event, and that happens.
    fn turn(&mut self) -> Result<(), Violation> {
        let Some(at) = self.next_at() else { return Ok(()) };
        self.clock.jump_to(at);
        let now = self.clock.nanos();
        for shard in 0..self.edge.shards() {
            if self.edge.next_timeout(shard).is_some_and(|due| due + self.lateness() <= now) {
                return self.step(Input::Timeout { shard });
            }
        }
        if self.edge.broker_timeout().is_some_and(|due| due + self.lateness() <= now) {
            return self.step(Input::BrokerTimeout);
        }
        match self.schedule.pop() {
            Some(event) => self.happen(event),
            None => Ok(()),
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Packet(packet) => self.arrive_at_edge(packet),
            Event::Arrival { who, from, stream, bytes } => {
                self.arrive_outside(who, from, stream, &bytes);
                Ok(())
            }
            Event::Input(input) => self.step(input),
            Event::Client(at) => self.act(at),
            Event::Repeat(at) => {
                self.repeat(at);
                Ok(())
            }
            Event::Peer(at) => {
                self.act_as_peer(at);
                Ok(())
            }
            Event::Stranger => self.act_as_stranger(),
            Event::Incident(incident) => self.suffer(incident),
        }
    }

    fn suffer(&mut self, incident: Incident) -> Result<(), Violation> {
        match incident {
            Incident::Reload => {
                let rules = scenario::changed(self.model.rules(), &mut self.random);
                self.step(Input::Reload(Box::new(rules)))
            }
            Incident::WallStep(secs) => {
                self.clock.step_wall(secs);
                Ok(())
            }
            Incident::NatReboot => {
                self.network.reboot_nat(&mut self.random);
                Ok(())
            }
            Incident::LoseRelay => {
                let relays: Vec<SocketAddr> = self.model.relays().collect();
                if relays.is_empty() {
                    return Ok(());
                }
                let relay = *self.random.pick(&relays);
                self.step(Input::LoseRelay { relay })
            }
            Incident::Drain => self.step(Input::Drain),
        }
    }

    /// One input of the edge, all that follows at once, and the model's judgement.
    pub(crate) fn step(&mut self, input: Input) -> Result<(), Violation> {
        let now = self.clock.now();
        self.steps += 1;
        let effects = self.edge.take(now, &input);
        self.note(&input, &effects);
        self.model.judge(now, &input, &effects, &self.edge)?;
        for effect in effects {
            self.follow(effect);
        }
        if let Input::Client { client, .. } = &input {
            self.plan_probes(client);
        }
        Ok(())
    }

    fn note(&mut self, input: &Input, effects: &[Effect]) {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (self.digest, self.clock.nanos()).hash(&mut hasher);
        for effect in effects {
            match effect {
                Effect::Answer { client, message } => (client, message).hash(&mut hasher),
                Effect::ToClient { client, frame } => (client, frame).hash(&mut hasher),
                Effect::ToPeer { from, to, payload } => (from, to, payload).hash(&mut hasher),
                _ => {}
            }
        }
        self.digest = hasher.finish();
        let Some(steps) = &mut self.trace else { return };
        let secs = self.clock.passed_nanos() as f64 / 1e9;
        let mut text = format!("{:>8} {secs:>14.9} {}", self.steps, trace::input(input));
        for effect in effects {
            text += &format!("\n{:>26}{}", "", trace::effect(effect));
        }
        if steps.len() == SHOWN {
            steps.pop_front();
        }
        steps.push_back(text);
    }

    /// What the edge did goes its way through the network, or comes back to the shell later.
    fn follow(&mut self, effect: Effect) {
        let now = self.clock.nanos();
        match effect {
            Effect::Answer { client, message } => self.send_out(client.local, client.remote, client.stream, message),
            Effect::ToClient { client, frame } => self.send_out(client.local, client.remote, client.stream, frame),
            Effect::ToPeer { from, to, payload } if self.model.rules().relays.contains(&to.ip()) => {
                let delay = self.random.below(MILLI);
                let input = Input::Peer { relay: to, from, payload };
                self.schedule.at(now + delay, Event::Input(input));
            }
            Effect::ToPeer { from, to, payload } => self.send_out(from, to, 0, payload),
            Effect::Asked { shard, wish } => {
                let delay = self.random.below(self.scenario.slowness_nanos.max(1));
                self.schedule.at(now + delay, Event::Input(Input::Open { shard, wish }));
            }
            Effect::Handover { to, client, ticket, message } => {
                let delay = self.random.below(self.scenario.slowness_nanos.max(1));
                self.schedule.at(now + delay, Event::Input(Input::Adopt { to, client, ticket, message }));
            }
            Effect::Reserved { token, .. } => self.reservations.push(token),
            _ => {}
        }
    }

    fn send_out(&mut self, local: SocketAddr, to: SocketAddr, stream: u32, bytes: Vec<u8>) {
        let now = self.clock.nanos();
        let from = self.model.rules().outside(local);
        let Some((who, arrivals)) = self.network.towards_host(now, &mut self.random, from, to, stream) else { return };
        if let Who::Peer(at) = who
            && self.peers[at].habit == crate::peer::Habit::Closed
        {
            let icmp_type = if to.is_ipv4() { 3 } else { 1 };
            let icmp = io::PeerIcmp { peer: io::Peer(to), icmp_type, code: 3, info: 0 };
            for arrival in arrivals {
                self.schedule.at(arrival, Event::Input(Input::Icmp { relay: local, icmp }));
            }
            return;
        }
        for arrival in arrivals {
            self.schedule.at(arrival, Event::Arrival { who, from, stream, bytes: bytes.clone() });
        }
    }

    /// From a socket outside to an address of the edge.
    pub(crate) fn send_in(&mut self, from: SocketAddr, to: SocketAddr, stream: u32, bytes: Vec<u8>) {
        let now = self.clock.nanos();
        let sent = self.network.towards_edge(now, &mut self.random, from, to, stream, bytes);
        let Some((packet, arrivals)) = sent else { return };
        for arrival in arrivals {
            self.schedule.at(arrival, Event::Packet(packet.clone()));
        }
    }

    fn arrive_at_edge(&mut self, packet: Packet) -> Result<(), Violation> {
        let rules = self.model.rules();
        let local = rules.inside(packet.to);
        if let Some(listener) = rules.listeners.iter().position(|listener| *listener == local) {
            if packet.stream == 0 {
                self.overheard.note(packet.from, packet.to, &packet.bytes);
            }
            let transport = if packet.stream == 0 { Transport::Udp } else { Transport::Tcp };
            let listener = listener as u16;
            let client = io::Client { transport, listener, stream: packet.stream, local, remote: packet.from };
            return match packet.bytes.is_empty() && packet.stream != 0 {
                true => self.step(Input::ClientClosed { client }),
                false => self.step(Input::Client { client, bytes: packet.bytes }),
            };
        }
        self.step(Input::Peer { relay: local, from: packet.from, payload: packet.bytes })
    }

    /// A token for one of the identities, as the token service would give it out today.
    pub(crate) fn issue(&mut self, identity: usize) -> Issued {
        let now = self.clock.now();
        let random = &mut self.random;
        let expires = now.unix_secs + random.weighted(&[(1, 40), (2, 300), (6, 4_000), (1, 40_000)]) + random.below(60);
        let name = format!("user{identity}");
        let rules = self.model.rules();
        let issued = match random.below(6) {
            0 => Issued::classic(rules, None, expires),
            1 | 2 => Issued::classic(rules, Some(&name), expires),
            _ => {
                let mut claims = Claims::new(name, expires);
                claims.call_id = Some(format!("call{identity}"));
                if random.once_in(5) {
                    claims.peers = Some(
                        ["192.0.2.0/25", "2001:db8:b::/48", "203.0.113.10/32"]
                            .iter()
                            .filter_map(|net| net.parse().ok())
                            .collect(),
                    );
                }
                if random.once_in(5) {
                    claims.bitrate_bps = Some(random.within(2_000..60_000));
                }
                if random.once_in(4) {
                    claims.allocations = Some(random.within(1..8) as u32);
                }
                Issued::extended(rules, &claims)
            }
        };
        self.model.learn(issued.clone());
        issued
    }

    fn populate(&mut self) {
        let listeners: Vec<SocketAddr> = self.model.rules().listeners.clone();
        let servers: Vec<SocketAddr> = listeners.iter().map(|local| self.model.rules().outside(*local)).collect();
        let identities = self.random.within(2..6) as usize;
        for at in 0..self.scenario.clients {
            let stream = self.random.once_in(6);
            let (address, nat, server) = match self.random.below(5) {
                0 if !stream => (v6(0xc, at), None, servers[1]),
                1 | 2 if !stream => {
                    let nat = self.network.add_nat(&mut self.random, v4([198, 51, 100, at as u8 + 1]));
                    (v4([192, 168, at as u8 + 1, 2]), Some(nat), servers[0])
                }
                _ => (v4([198, 51, 100, at as u8 + 101]), None, servers[0]),
            };
            self.network.add_host(&mut self.random, address, nat);
            let inside = self.network.open(address, Who::Client(at));
            let identity = self.random.below(identities as u64) as usize;
            let temper = self.random.weighted(&TEMPERS);
            let token = self.issue(identity);
            let stream = if stream { self.new_stream() } else { 0 };
            let mut client = Client::new(inside, server, stream, temper, token);
            client.identity = identity;
            client.sha256 = self.random.once_in(3);
            self.clients.push(client);
        }
        for at in 0..self.scenario.peers {
            let (address, nat) = match self.random.below(4) {
                0 => (v6(0xb, at), None),
                1 => {
                    let nat = self.network.add_nat(&mut self.random, v4([192, 0, 2, at as u8 + 101]));
                    (v4([192, 168, at as u8 + 101, 2]), Some(nat))
                }
                _ => (v4([192, 0, 2, at as u8 + 1]), None),
            };
            self.network.add_host(&mut self.random, address, nat);
            let inside = self.network.open(address, Who::Peer(at));
            let habit = *self.random.pick(&HABITS);
            self.peers.push(Peer::new(inside, habit, nat.is_none().then_some(inside)));
        }
    }

    pub(crate) fn new_stream(&mut self) -> u32 {
        self.streams += 1;
        self.streams
    }

    fn plan(&mut self) {
        let start = self.clock.nanos();
        let span = self.scenario.minutes * 60 * SECOND;
        for at in 0..self.clients.len() {
            let begins = self.random.below(20 * SECOND);
            self.schedule.at(start + begins, Event::Client(at));
        }
        for at in 0..self.peers.len() {
            self.schedule.at(start + self.random.below(SECOND), Event::Peer(at));
        }
        self.schedule.at(start + SECOND, Event::Stranger);
        let mut incidents: Vec<Incident> = (0..self.scenario.reloads).map(|_| Incident::Reload).collect();
        if self.scenario.wall_steps {
            incidents.extend([-3_600, -20, 5, 700].map(Incident::WallStep));
        }
        if self.random.once_in(2) {
            incidents.extend([Incident::NatReboot, Incident::LoseRelay]);
        }
        for incident in incidents {
            self.schedule.at(start + self.random.below(span), Event::Incident(incident));
        }
        if self.scenario.drains {
            self.schedule.at(start + span * 4 / 5, Event::Incident(Incident::Drain));
        }
    }
}

fn v4(octets: [u8; 4]) -> IpAddr {
    Ipv4Addr::from(octets).into()
}

fn v6(net: u16, at: usize) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, net, at as u16, 0, 0, 0, 1).into()
}
