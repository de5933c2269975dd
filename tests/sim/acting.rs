//! What clients, peers and strangers do when it is their turn, and when something reaches them.

use std::net::SocketAddr;

use postern_turn::io;

use crate::client::Ask;
use crate::clock::SECOND;
use crate::effect::Input;
use crate::model::Violation;
use crate::network::Who;
use crate::peer::{Habit, Peer};
use crate::stranger::Attempt;
use crate::temper::{Act, Surroundings, Temper};
use crate::world::{Event, World};

/// Probes that are planned in one moment, at most: those for that very moment are followed by more, and might have no end.
const PROBES_AT_ONCE: u32 = 1_000;

impl World {
    pub(crate) fn act(&mut self, at: usize) -> Result<(), Violation> {
        let now = self.clock.nanos();
        let next = now + self.random.within(1..2 * self.scenario.pace_nanos);
        self.schedule.at(next, Event::Client(at));
        let peers = self.known_peers();
        let around = Surroundings { peers: &peers, forbidden: &self.forbidden, overheard: &self.reservations };
        let act = self.clients[at].decide(now, &mut self.random, &around);
        match act {
            Act::Ask(ask) => self.ask(at, ask),
            Act::Send(peer) => {
                let payload = self.payload(at);
                let bytes = self.clients[at].indication(&mut self.random, peer, &payload);
                self.send_from_client(at, bytes);
            }
            Act::Channel(number) => {
                let payload = self.payload(at);
                let bytes = self.clients[at].channel_data(number, &payload);
                self.send_from_client(at, bytes);
            }
            Act::Leave => {
                self.clients[at].forget();
                self.move_client(at);
            }
            Act::Roam => {
                self.move_client(at);
                let ticket = self.clients[at].ticket.clone();
                self.ask(at, Ask::Refresh { lifetime: None, family: None, ticket });
            }
            Act::Renew => self.clients[at].token = self.issue(self.clients[at].identity),
            Act::ForgeNonce => {
                let others: Vec<Vec<u8>> = self.clients.iter().map(|client| client.nonce.clone()).collect();
                self.clients[at].nonce = self.random.pick(&others).clone();
            }
            Act::Rest => {}
        }
        if self.clients[at].token.expires_unix_secs < self.clock.now().unix_secs + 20 && self.random.once_in(4) {
            self.clients[at].token = self.issue(self.clients[at].identity);
        }
        Ok(())
    }

    pub(crate) fn repeat(&mut self, at: usize) {
        let now = self.clock.nanos();
        for bytes in self.clients[at].repeats(now) {
            self.send_from_client(at, bytes);
        }
        self.plan_repeat(at);
    }

    pub(crate) fn act_as_peer(&mut self, at: usize) {
        let now = self.clock.nanos();
        let next = now + self.random.within(1..6 * SECOND);
        self.schedule.at(next, Event::Peer(at));
        let inside = self.peers[at].inside;
        if self.peers[at].known_as.is_none() || self.random.once_in(20) {
            let server = self.model.rules().outside(self.model.rules().listeners[0]);
            if server.is_ipv4() == inside.is_ipv4() {
                let bytes = Peer::ask(&mut self.random);
                self.send_in(inside, server, 0, bytes);
            }
        }
        if self.peers[at].habit != Habit::Talks {
            return;
        }
        let relays: Vec<SocketAddr> = self.peers[at].heard.clone();
        if !relays.is_empty() {
            let relay = *self.random.pick(&relays);
            let payload = self.noise();
            self.send_in(inside, relay, 0, payload);
        }
    }

    /// Somebody tries the listeners, and somebody all relay ports.
    pub(crate) fn act_as_stranger(&mut self) -> Result<(), Violation> {
        let now = self.clock.nanos();
        self.schedule.at(now + self.random.within(1..8 * SECOND), Event::Stranger);
        if let Some(Attempt { from, to, bytes }) = self.overheard.attempt(&mut self.random) {
            let local = self.model.rules().inside(to);
            let listener = self.model.rules().listeners.iter().position(|listener| *listener == local);
            let listener = listener.unwrap_or_default() as u16;
            let client = io::Client { transport: io::Transport::Udp, listener, stream: 0, local, remote: from };
            // One packet, or as many as an impatient one sends in a second.
            for _ in 0..if self.random.once_in(30) { 60 } else { 1 } {
                self.step(Input::Client { client, bytes: bytes.clone() })?;
            }
        }
        let relays: Vec<SocketAddr> = self.model.relays().collect();
        for relay in relays {
            let from = self.stranger_for(relay);
            let payload = self.noise();
            self.step(Input::Peer { relay, from, payload })?;
        }
        Ok(())
    }

    /// An address that writes to a relay uninvited: anybody's, or a peer's with another port.
    fn stranger_for(&mut self, relay: SocketAddr) -> SocketAddr {
        let port = self.random.within(1..65_536) as u16;
        let peers: Vec<SocketAddr> =
            self.known_peers().into_iter().filter(|peer| peer.is_ipv4() == relay.is_ipv4()).collect();
        if !peers.is_empty() && self.random.once_in(2) {
            let peer = *self.random.pick(&peers);
            return self.model.rules().inside(SocketAddr::new(peer.ip(), port));
        }
        match relay {
            SocketAddr::V4(_) => SocketAddr::from(([192, 0, 2, self.random.below(256) as u8], port)),
            SocketAddr::V6(_) => SocketAddr::from(([0x2001, 0xdb8, 0xb, 0, 0, 0, 0, port], port)),
        }
    }

    pub(crate) fn arrive_outside(&mut self, who: Who, from: SocketAddr, stream: u32, bytes: &[u8]) {
        match who {
            Who::Client(at) => {
                let now = self.clock.nanos();
                let client = &mut self.clients[at];
                if client.stream != stream {
                    return;
                }
                client.received += 1;
                if let Some(bytes) = client.on_answer(now, &mut self.random, bytes) {
                    self.send_from_client(at, bytes);
                    self.plan_repeat(at);
                }
            }
            Who::Peer(at) => {
                let inside = self.peers[at].inside;
                if let Some(bytes) = self.peers[at].on_packet(from, bytes) {
                    self.send_in(inside, from, 0, bytes);
                }
            }
        }
    }

    /// At the very moments when something of this client ends: data just before and just then, in both directions.
    pub(crate) fn plan_probes(&mut self, client: &io::Client) {
        if !self.random.once_in(12) {
            return;
        }
        let Some(allocation) = self.model.allocation(client) else { return };
        let now = self.clock.nanos();
        if self.probes.0 != now {
            self.probes = (now, 0);
        }
        if self.probes.1 > PROBES_AT_ONCE {
            return;
        }
        let mut probes = Vec::new();
        let mut writer = crate::client::Client::new(
            client.remote,
            client.local,
            client.stream,
            Temper::Caller,
            self.clients[0].token.clone(),
        );
        writer.stream = client.stream;
        let ends = allocation.permissions.iter().map(|(ip, end)| (SocketAddr::new(*ip, 7), *end));
        let whole = allocation.permissions.keys().map(|ip| (SocketAddr::new(*ip, 7), allocation.ends));
        for (peer, end) in ends.chain(whole).filter(|(_, end)| *end > now) {
            let send = writer.indication(&mut self.random, peer, b"probe");
            let Some(relay) = allocation.relay_for(peer.ip()) else { continue };
            probes.push((end, Input::Client { client: *client, bytes: send }));
            probes.push((end, Input::Peer { relay, from: peer, payload: b"probe".to_vec() }));
        }
        for (number, (peer, end)) in &allocation.channels {
            let bytes = writer.channel_data(*number, b"probe");
            let Some(relay) = allocation.relay_for(peer.ip()) else { continue };
            probes.push((*end, Input::Client { client: *client, bytes }));
            probes.push((*end, Input::Peer { relay, from: *peer, payload: b"probe".to_vec() }));
        }
        for (end, input) in probes {
            for at in [end - 1, end] {
                if at >= now {
                    self.probes.1 += 1;
                    self.schedule.at(at, Event::Input(input.clone()));
                }
            }
        }
    }

    fn ask(&mut self, at: usize, ask: Ask) {
        let now = self.clock.nanos();
        let bytes = self.clients[at].ask(now, &mut self.random, ask);
        self.send_from_client(at, bytes);
        self.plan_repeat(at);
    }

    fn plan_repeat(&mut self, at: usize) {
        if let Some(due) = self.clients[at].next_repeat() {
            self.schedule.at(due, Event::Repeat(at));
        }
    }

    fn send_from_client(&mut self, at: usize, bytes: Vec<u8>) {
        let client = &mut self.clients[at];
        client.sent += 1;
        let (inside, server, stream) = (client.inside, client.server, client.stream);
        self.send_in(inside, server, stream, bytes);
    }

    /// To a new port; a stream closes, and another is opened.
    fn move_client(&mut self, at: usize) {
        let (old, server, stream) = (self.clients[at].inside, self.clients[at].server, self.clients[at].stream);
        if stream != 0 {
            self.send_in(old, server, stream, Vec::new());
            self.clients[at].stream = self.new_stream();
        }
        self.network.close(old);
        let inside = self.network.open(old.ip(), Who::Client(at));
        self.clients[at].leave(inside);
    }

    /// Peers and relayed addresses as they are known by now.
    fn known_peers(&self) -> Vec<SocketAddr> {
        let peers = self.peers.iter().filter_map(|peer| peer.known_as);
        peers.chain(self.clients.iter().flat_map(|client| client.relayed.iter().copied())).collect()
    }

    fn payload(&mut self, at: usize) -> Vec<u8> {
        let mut payload = (at as u32).to_be_bytes().to_vec();
        payload.extend(self.clients[at].sent.to_be_bytes());
        payload.extend(self.noise());
        payload
    }

    fn noise(&mut self) -> Vec<u8> {
        let len = self.random.weighted(&[(1, 0), (6, 160), (2, 1_200), (1, 7)]) + self.random.below(4) as usize;
        self.random.bytes(len)
    }
}
