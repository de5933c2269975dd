//! The edge under test: servers, broker, and a shell of a few lines that does what they ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use postern_turn::Server;
use postern_turn::broker::{Broker, PortUse};
use postern_turn::io::{
    Action, Client, HEADROOM, Now, OpenedRelay, Peer, PeerIcmp, PeerVerdict, QuotaKey, RelayId, TAILROOM, Transport,
    Verdict,
};
use postern_turn::message::Message;
use postern_turn::options::Shared;

use crate::clock::MILLI;
use crate::defect::Defect;
use crate::effect::{Effect, Input, ShortWay};
use crate::random::Random;
use crate::rules::Rules;

pub struct Edge {
    pub(crate) shards: Vec<Shard>,
    pub(crate) broker: Broker,
    /// Ports that other programs hold.
    pub(crate) foreign: BTreeSet<u16>,
    /// Sockets of reservations, by lease.
    pub(crate) reserved: BTreeMap<u64, SocketAddr>,
    /// Streams whose client has left.
    pub(crate) closed: BTreeSet<u32>,
    /// Whose socket each open relay port is.
    pub(crate) ports: BTreeMap<SocketAddr, (usize, RelayId)>,
    pub(crate) defect: Defect,
    pub(crate) effects: Vec<Effect>,
    damage: Damage,
}

/// One server with its relay sockets.
pub(crate) struct Shard {
    pub(crate) server: Server,
    pub(crate) sockets: Vec<Option<OpenedRelay>>,
}

/// What a planted defect remembers.
#[derive(Default)]
struct Damage {
    payloads: u64,
    last_client: Option<Client>,
    answered: BTreeSet<Vec<u8>>,
}

impl Edge {
    pub fn new(shards: usize, rules: &Rules, foreign: BTreeSet<u16>, defect: Defect, random: &mut Random) -> Self {
        let broker = Broker::new(rules.pool(), random.array());
        let options = defect.change_rules(rules).options(broker.live_ports(), |verifier| defect.credentials(verifier));
        let shared = Shared::new(random.array());
        let shard = |index: usize| Shard {
            server: Server::new(options.clone(), random.array(), shared.for_shard(index as u8)),
            sockets: Vec::new(),
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            broker,
            foreign,
            reserved: BTreeMap::new(),
            closed: BTreeSet::new(),
            ports: BTreeMap::new(),
            defect,
            effects: Vec::new(),
            damage: Damage::default(),
        }
    }

    /// The shard whose listener the kernel would choose for this client.
    pub fn shard_of(&self, client: &Client) -> usize {
        let mut hasher = DefaultHasher::new();
        (client.transport, client.stream, client.local, client.remote).hash(&mut hasher);
        (hasher.finish() % self.shards.len() as u64) as usize
    }

    /// Takes one input and does all that follows from it at once.
    pub fn take(&mut self, now: Now, input: &Input) -> Vec<Effect> {
        match input {
            Input::Client { client, bytes } => self.on_client(now, self.shard_of(client), *client, bytes),
            Input::ClientClosed { client } => {
                let shard = self.shard_of(client);
                self.closed.insert(client.stream);
                self.shards[shard].server.handle_client_closed(now, *client);
                self.carry_out(now, shard);
            }
            Input::Peer { relay, from, payload } => self.on_peer(now, *relay, *from, payload),
            Input::Icmp { relay, icmp } => self.on_icmp(now, *relay, *icmp),
            Input::Open { shard, wish } => {
                self.open(now, *shard, wish);
                self.carry_out(now, *shard);
            }
            Input::Adopt { to, client, ticket, message } => self.adopt(now, *to, *client, ticket, message),
            Input::LoseRelay { relay } => {
                if let Some(&(shard, id)) = self.ports.get(relay) {
                    self.shards[shard].server.handle_relay_lost(now, id);
                    self.carry_out(now, shard);
                }
            }
            Input::Timeout { shard } => {
                if self.defect != Defect::NoTimeouts {
                    self.shards[*shard].server.handle_timeout(now);
                    self.carry_out(now, *shard);
                }
            }
            Input::BrokerTimeout => self.end_reservations(now),
            Input::Reload(rules) => self.reload(now, rules),
            Input::Drain => {
                for shard in 0..self.shards.len() {
                    if self.defect != Defect::MissesDrain {
                        self.shards[shard].server.handle_drain(now);
                        self.carry_out(now, shard);
                    }
                }
            }
            Input::Shutdown => {
                for shard in 0..self.shards.len() {
                    self.shards[shard].server.shutdown(now);
                    self.carry_out(now, shard);
                }
            }
        }
        std::mem::take(&mut self.effects)
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    pub fn allocations(&self, shard: usize) -> usize {
        self.shards[shard].server.allocations()
    }

    /// Allocations that the metrics count as living.
    pub fn counted_live(&self) -> u64 {
        let live = self.shards.iter().flat_map(|shard| shard.server.counters.allocations_live.iter().flatten());
        live.sum()
    }

    pub fn next_timeout(&self, shard: usize) -> Option<u64> {
        self.shards[shard].server.next_timeout()
    }

    pub fn broker_timeout(&self) -> Option<u64> {
        self.broker.next_timeout()
    }

    pub fn quota_used(&self, key: &QuotaKey) -> u32 {
        self.broker.allocations_of(key)
    }

    pub fn port_use(&self) -> impl Iterator<Item = PortUse> + '_ {
        self.broker.port_use()
    }

    /// Whether a relay socket is bound to this local address.
    pub fn is_open(&self, local: SocketAddr) -> bool {
        self.ports.contains_key(&local)
    }

    fn on_client(&mut self, now: Now, shard: usize, client: Client, bytes: &[u8]) {
        let server = &mut self.shards[shard].server;
        let verdict = match client.transport {
            Transport::Udp | Transport::Dtls => Some(server.handle_datagram(now, client, 0, bytes)),
            Transport::Tcp | Transport::Tls => {
                // A stream comes in pieces: nothing may come of half a frame.
                let half = server.handle_stream(now, client, &bytes[..bytes.len() / 2]);
                assert_eq!((half.consumed, half.verdict), (0, None), "half a frame was taken");
                server.handle_stream(now, client, bytes).verdict
            }
        };
        if let Some(Verdict::ToPeer { relay, peer, payload, .. }) = verdict {
            let payload = self.spoil(bytes[payload].to_vec());
            if let Some(from) = self.local(shard, relay) {
                self.effects.push(Effect::ToPeer { from, to: peer.0, payload });
            }
        }
        self.carry_out(now, shard);
    }

    fn on_peer(&mut self, now: Now, relay: SocketAddr, from: SocketAddr, payload: &[u8]) {
        let Some(&(shard, id)) = self.ports.get(&relay) else { return };
        let now = self.peer_clock(now);
        let range = HEADROOM..HEADROOM + payload.len();
        let mut buffer = vec![0xEE; HEADROOM + payload.len() + TAILROOM];
        buffer[range.clone()].copy_from_slice(payload);
        let verdict = self.shards[shard].server.handle_peer_datagram(now, id, Peer(from), 0, &mut buffer, range);
        if let PeerVerdict::ToClient { client, frame, .. } = verdict {
            let frame = self.spoil(buffer[frame].to_vec());
            let client = self.mix(client);
            self.effects.push(Effect::ToClient { client, frame });
        }
        self.carry_out(now, shard);
    }

    fn on_icmp(&mut self, now: Now, relay: SocketAddr, icmp: PeerIcmp) {
        let Some(&(shard, id)) = self.ports.get(&relay) else { return };
        self.shards[shard].server.handle_peer_icmp(now, id, icmp);
        self.carry_out(now, shard);
    }

    /// RFC 8016: out of its home, into the shard of the client's new address, and the request once more.
    fn adopt(&mut self, now: Now, to: usize, client: Client, ticket: &[u8], message: &[u8]) {
        let Some(home) = self.shards[to].server.shard_of_ticket(ticket).map(usize::from) else { return };
        let exported = self.shards[home].server.export(now, ticket);
        self.carry_out(now, home);
        let Some(exported) = exported else { return };
        let moved: Vec<OpenedRelay> =
            exported.relays().filter_map(|relay| self.shards[home].sockets[relay.0 as usize].take()).collect();
        let ids: Vec<RelayId> = moved.iter().map(|old| self.add_socket(to, old.local, old.lease).relay).collect();
        self.effects.push(Effect::Moved { relays: moved.iter().map(|old| old.local).collect(), to });
        let is_here = !self.closed.contains(&client.stream);
        self.shards[to].server.handle_adopted(now, exported, &ids, is_here.then_some(client));
        self.carry_out(now, to);
        if is_here {
            self.on_client(now, to, client, message);
        }
    }

    fn reload(&mut self, now: Now, rules: &Rules) {
        let defect = self.defect;
        let live = self.broker.live_ports();
        let options = defect.change_rules(rules).options(live, |verifier| defect.credentials(verifier));
        let last = self.shards.len() - 1;
        for shard in 0..self.shards.len() {
            if defect != Defect::MissesReload || shard != last {
                self.shards[shard].server.handle_options(now, options.clone());
                self.carry_out(now, shard);
            }
        }
    }

    fn end_reservations(&mut self, now: Now) {
        for expired in self.broker.handle_timeout(now.mono_nanos) {
            if let Some(local) = self.reserved.remove(&expired.port.lease) {
                self.effects.push(Effect::ReservationOver { local });
            }
        }
    }

    pub(crate) fn carry_out(&mut self, now: Now, shard: usize) {
        while let Some(action) = self.shards[shard].server.poll() {
            match action {
                Action::ToClient { client, message, .. } => {
                    let message = self.answer_anew(message);
                    self.effects.push(Effect::Answer { client, message });
                }
                Action::OpenRelay(wish) => self.effects.push(Effect::Asked { shard, wish }),
                Action::CloseRelay { relay, lease } => self.close(now, shard, relay, lease),
                Action::Adopt { client, ticket, message } => {
                    self.effects.push(Effect::Handover { to: shard, client, ticket, message });
                }
                Action::Bind { client, channel, relay, peer } => {
                    if let Some(relay) = self.local(shard, relay) {
                        self.effects.push(Effect::Bound(ShortWay { client, channel, relay, peer: peer.0 }));
                    }
                }
                Action::Unbind { client, channel, relay, peer } => {
                    if let Some(relay) = self.local(shard, relay) {
                        self.effects.push(Effect::Unbound(ShortWay { client, channel, relay, peer: peer.0 }));
                    }
                }
                Action::Started(record) => self.effects.push(Effect::Started(record)),
                Action::Ended(record, reason) => self.effects.push(Effect::Ended(record, reason)),
                Action::Warn(_) | Action::Moved { .. } | Action::Released { .. } => {}
                Action::CloseClient { client, cause } => unreachable!("{client:?} behaves, and meets {cause:?}"),
                Action::ConnectPeer { .. } | Action::Splice { .. } | Action::ClosePeer { .. } => {
                    unreachable!("TCP allocations are switched off")
                }
            }
        }
    }

    fn close(&mut self, now: Now, shard: usize, relay: RelayId, lease: u64) {
        if self.defect == Defect::KeepsRelays {
            return;
        }
        if let Some(socket) = self.shards[shard].sockets.get_mut(relay.0 as usize).and_then(Option::take) {
            self.ports.remove(&socket.local);
            self.effects.push(Effect::Closed { local: socket.local });
        }
        if self.defect != Defect::KeepsLeases {
            self.broker.close(now.mono_nanos, lease);
        }
    }

    pub(crate) fn add_socket(&mut self, shard: usize, local: SocketAddr, lease: u64) -> OpenedRelay {
        let sockets = &mut self.shards[shard].sockets;
        let at = sockets.iter().position(Option::is_none).unwrap_or(sockets.len());
        let opened = OpenedRelay { relay: RelayId(at as u32), local, lease };
        if at == sockets.len() {
            sockets.push(None);
        }
        sockets[at] = Some(opened);
        self.ports.insert(local, (shard, opened.relay));
        opened
    }

    fn local(&self, shard: usize, relay: RelayId) -> Option<SocketAddr> {
        self.shards[shard].sockets.get(relay.0 as usize)?.map(|opened| opened.local)
    }

    fn peer_clock(&self, now: Now) -> Now {
        let lag = if self.defect == Defect::SlowClock { MILLI } else { 0 };
        Now { mono_nanos: now.mono_nanos - lag, ..now }
    }

    fn spoil(&mut self, mut payload: Vec<u8>) -> Vec<u8> {
        self.damage.payloads += 1;
        if self.defect == Defect::SpoilsPayload
            && self.damage.payloads.is_multiple_of(100)
            && let Some(last) = payload.last_mut()
        {
            *last ^= 1;
        }
        payload
    }

    fn mix(&mut self, client: Client) -> Client {
        let before = self.damage.last_client.replace(client).unwrap_or(client);
        if self.defect == Defect::MixesClients { before } else { client }
    }

    fn answer_anew(&mut self, mut message: Vec<u8>) -> Vec<u8> {
        let signed = Message::decode(&message).is_ok_and(|message| message.integrity().is_some());
        if self.defect == Defect::AnswersAnew
            && signed
            && !self.damage.answered.insert(message.clone())
            && let Some(last) = message.last_mut()
        {
            *last ^= 1;
        }
        message
    }
}
