//! The books of the model: who has what, since when, until when.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use postern_turn::io::{AllocationId, Client, Family, Now, PortWish, QuotaKey, Transport};

use super::data::Bucket;
use super::policy::{self, Wish};
use super::violation::{Rule, Violation};
use crate::edge::Edge;
use crate::effect::{Effect, Input, ShortWay};
use crate::rules::{Issued, Rules};
use crate::tally::Tally;

pub struct Model {
    pub(super) rules: Rules,
    pub(super) draining: bool,
    pub(super) issued: Vec<Issued>,
    pub(super) nonces: HashMap<Vec<u8>, Nonce>,
    pub(super) live: HashMap<Client, Allocation>,
    /// Allocations on their way to a client from another shard: serial, and until when their place is kept.
    pub(super) awaited: HashMap<Client, (u64, u64)>,
    /// Streams whose client has left.
    pub(super) closed: BTreeSet<u32>,
    /// Allocates whose relay is not open yet.
    pub(super) waiting: HashMap<Client, Waiting>,
    /// Over, but not everything is given back yet.
    pub(super) leaving: Vec<Leaving>,
    /// Every open relay socket.
    pub(super) ports: BTreeMap<SocketAddr, Port>,
    pub(super) reservations: HashMap<[u8; 8], Reservation>,
    pub(super) tickets: HashMap<Vec<u8>, TicketSeen>,
    /// Signed answers by client and request.
    pub(super) answered: HashMap<(Client, Vec<u8>), Answered>,
    pub(super) short: HashMap<(Client, u16), ShortWay>,
    /// When strangers were answered, by source, connections apart.
    pub(super) strangers: HashMap<(IpAddr, bool), VecDeque<u64>>,
    pub(super) keys: Vec<QuotaKey>,
    pub tally: Tally,
}

#[derive(Clone, Debug)]
pub struct Nonce {
    pub transport: Transport,
    pub remote: SocketAddr,
    pub issued_unix_secs: u64,
    /// Value of the secret that made it.
    pub secret: String,
}

#[derive(Clone, Debug)]
pub struct Allocation {
    pub shard: usize,
    /// Its key in the books: who may use it.
    pub client: Client,
    /// Where its data go: the same client, or the last one when nobody may use it any more but by its ticket.
    pub reached: Client,
    /// The credential it is held by now.
    pub token: usize,
    pub key: QuotaKey,
    /// Local addresses.
    pub relays: Vec<SocketAddr>,
    pub ends: u64,
    pub credential_ends: u64,
    pub permissions: BTreeMap<IpAddr, u64>,
    /// Local peer address and end.
    pub channels: BTreeMap<u16, (SocketAddr, u64)>,
    pub bucket: Option<Bucket>,
    pub icmp_told: VecDeque<u64>,
    pub serial: u64,
    /// Number of the newest mobility ticket.
    pub ticket: Option<u32>,
    /// Packets and bytes.
    pub to_peer: (u64, u64),
    pub to_client: (u64, u64),
}

#[derive(Clone, Debug)]
pub struct Waiting {
    pub shard: usize,
    pub id: AllocationId,
    pub token: usize,
    pub key: QuotaKey,
    pub quota_max: u32,
    pub families: Vec<Family>,
    pub port: PortWish,
    pub lifetime_secs: u32,
    pub mobile: bool,
    pub request: Vec<u8>,
    /// The client closed its stream meanwhile.
    pub abandoned: bool,
}

/// What is left of an allocation, or of one of its two relays.
#[derive(Clone, Debug)]
pub struct Leaving {
    pub shard: usize,
    /// Whose quota unit goes with the last relay; none for one relay of two.
    pub key: Option<QuotaKey>,
    /// Still open.
    pub relays: Vec<SocketAddr>,
    /// `None` when the end needs no record (any more).
    pub unrecorded: Option<Allocation>,
    /// When it was over; `None` is to be given back in the step that ended it.
    pub ended: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Relay,
    Reserved([u8; 8]),
}

#[derive(Clone, Debug)]
pub struct Reservation {
    pub local: SocketAddr,
    pub key: QuotaKey,
    pub deadline: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct TicketSeen {
    pub serial: u64,
    /// A credential of whom it was given to.
    pub token: usize,
    pub number: u32,
}

#[derive(Clone, Debug)]
pub struct Answered {
    pub at: u64,
    pub message: Vec<u8>,
}

impl Leaving {
    pub fn is_done(&self) -> bool {
        self.relays.is_empty() && self.unrecorded.is_none()
    }
}

impl Allocation {
    pub fn relay_for(&self, ip: IpAddr) -> Option<SocketAddr> {
        self.relays.iter().copied().find(|relay| relay.is_ipv4() == ip.is_ipv4())
    }

    pub fn is_permitted(&self, now: u64, ip: IpAddr) -> bool {
        self.permissions.get(&ip).is_some_and(|end| now < *end)
    }
}

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            draining: false,
            issued: Vec::new(),
            nonces: HashMap::new(),
            live: HashMap::new(),
            awaited: HashMap::new(),
            closed: BTreeSet::new(),
            waiting: HashMap::new(),
            leaving: Vec::new(),
            ports: BTreeMap::new(),
            reservations: HashMap::new(),
            tickets: HashMap::new(),
            answered: HashMap::new(),
            short: HashMap::new(),
            strangers: HashMap::new(),
            keys: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// A credential that the token service gave out.
    pub fn learn(&mut self, issued: Issued) {
        self.issued.push(issued);
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn allocation(&self, client: &Client) -> Option<&Allocation> {
        self.live.get(client)
    }

    /// Local addresses of all relay sockets, reserved ones not included.
    pub fn relays(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ports.iter().filter(|(_, port)| **port == Port::Relay).map(|(local, _)| *local)
    }

    /// Judges one step: what came of `input`, and what the edge looks like after it.
    ///
    /// # Errors
    /// The first thing that is not as it should be.
    pub fn judge(&mut self, now: Now, input: &Input, effects: &[Effect], edge: &Edge) -> Result<(), Violation> {
        self.expire(now.mono_nanos);
        match input {
            Input::Client { client, bytes } => self.on_client(now, edge.shard_of(client), *client, bytes, effects)?,
            Input::ClientClosed { client } => self.on_client_closed(client),
            Input::Peer { relay, from, payload } => {
                self.on_peer(now.mono_nanos, *relay, *from, payload, effects)?;
            }
            Input::Icmp { relay, icmp } => self.on_icmp(now.mono_nanos, *relay, icmp, effects)?,
            Input::Open { shard, wish } => self.on_open(now, *shard, wish, effects)?,
            Input::Adopt { to, client, ticket, message } => {
                self.on_adopt(now, *to, *client, ticket, message, effects)?;
            }
            Input::LoseRelay { relay } => self.on_relay_lost(*relay),
            Input::Timeout { .. } | Input::BrokerTimeout => {}
            Input::Reload(rules) => self.on_reload(rules),
            Input::Drain => self.draining = true,
            Input::Shutdown => self.on_shutdown(),
        }
        self.settle_ends(now.mono_nanos, input, effects)?;
        self.settle_short_ways(now.mono_nanos, input, effects)?;
        self.survey(now.mono_nanos, input, edge)
    }

    /// At the very end nothing is left.
    ///
    /// # Errors
    /// What is left.
    pub fn check_empty(&self) -> Result<(), Violation> {
        let empty = self.ports.is_empty()
            && self.live.is_empty()
            && self.waiting.is_empty()
            && self.leaving.is_empty()
            && self.reservations.is_empty()
            && self.short.is_empty();
        Rule::Port.holds(empty, || format!("left at the end: {:?}, {:?}, {:?}", self.ports, self.waiting, self.short))
    }

    /// What the policy and this credential say about a peer.
    pub(super) fn allows(&self, token: usize, peer: SocketAddr, wish: Wish) -> bool {
        let claim = self.issued[token].peers.as_deref();
        policy::allows(&self.rules, claim, peer, wish, |local| self.ports.get(&local) == Some(&Port::Relay))
    }

    /// Allocations that count against a quota.
    pub(super) fn counted(&self, key: &QuotaKey) -> u32 {
        let living = self.live.values().filter(|allocation| allocation.key == *key).count();
        let leaving = self.leaving.iter().filter(|left| left.key.as_ref() == Some(key) && !left.relays.is_empty());
        (living + leaving.count()) as u32
    }

    /// A reload takes away at once what it forbids.
    fn on_reload(&mut self, rules: &Rules) {
        self.rules = rules.clone();
        for client in self.live.keys().copied().collect::<Vec<_>>() {
            self.remove_forbidden(&client);
        }
    }

    pub(super) fn remove_forbidden(&mut self, client: &Client) {
        let Some(mut allocation) = self.live.remove(client) else { return };
        let token = allocation.token;
        allocation.permissions.retain(|ip, _| self.allows(token, SocketAddr::new(*ip, 1), Wish::Permit));
        allocation.channels.retain(|_, (peer, _)| self.allows(token, *peer, Wish::Permit));
        self.live.insert(*client, allocation);
    }
}
