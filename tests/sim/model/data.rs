//! Data: which payload goes where, and which goes nowhere.

use std::net::SocketAddr;

use postern_turn::attribute::{Attribute, AttributeType};
use postern_turn::io::{Client, PeerIcmp, Transport};
use postern_turn::message::{Class, Message, Method};
use postern_turn::request::Request;

use super::ledger::{Allocation, Model};
use super::policy::Wish;
use super::violation::{Rule, Violation};
use crate::clock::SECOND;
use crate::effect::Effect;

const ICMP_PER_SECOND: usize = 10;
/// Error of the bucket's arithmetic that is let pass, in nanoseconds.
const BUCKET_SLACK: f64 = 2_000.0;

/// A bucket of one second's bits, at least one of 2048 bytes; kept as the time until it is empty again.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    pub bits_per_sec: u64,
    pub full_until: f64,
}

impl Bucket {
    pub fn new(bits_per_sec: u64) -> Self {
        Self { bits_per_sec, full_until: 0.0 }
    }

    /// Whether `bytes` fit at `now`; `None` too close to say.
    fn fits(&self, now: u64, bytes: usize) -> Option<bool> {
        let after = self.full_until.max(now as f64) - now as f64 + self.nanos(bytes);
        let over = after - self.nanos(2_048).max(SECOND as f64);
        (over.abs() > BUCKET_SLACK).then_some(over < 0.0)
    }

    fn take(&mut self, now: u64, bytes: usize) {
        self.full_until = self.full_until.max(now as f64) + self.nanos(bytes);
    }

    fn nanos(&self, bytes: usize) -> f64 {
        bytes as f64 * 8e9 / self.bits_per_sec as f64
    }
}

/// A payload that may go from a relay to a peer.
struct Passage {
    from: SocketAddr,
    to: SocketAddr,
}

impl Model {
    /// ChannelData or a Send indication of a client.
    pub(super) fn on_client_data(
        &mut self,
        now: u64,
        client: &Client,
        passage: Option<(SocketAddr, SocketAddr, Vec<u8>)>,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let sent: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::ToPeer { from, to, payload } => Some((*from, *to, payload)),
                _ => None,
            })
            .collect();
        let Some((from, to, payload)) = passage else {
            self.tally.dropped += 1;
            return match sent.first() {
                None => Ok(()),
                Some((from, to, _)) => Err(self.objection(now, client, *from, *to)),
            };
        };
        let fits = self.live.get(client).and_then(|allocation| Some(allocation.bucket?.fits(now, payload.len())));
        let fits = fits.unwrap_or(Some(true));
        match sent.as_slice() {
            [] if fits != Some(true) => self.tally.bitrate_drops += 1,
            [] => return Err(Rule::Permission.broken(format!("nothing was sent from {from} to permitted {to}"))),
            [(sent_from, sent_to, sent_payload)] => {
                Rule::Bitrate.holds(fits != Some(false), || format!("{} bytes beyond the bit rate", payload.len()))?;
                let same = (*sent_from, *sent_to) == (from, to) && **sent_payload == payload;
                Rule::Media
                    .holds(same, || format!("{from} -> {to} became {sent_from} -> {sent_to}, or other bytes"))?;
                self.tally.to_peer += 1;
                if let Some(allocation) = self.live.get_mut(client) {
                    allocation.to_peer = added(allocation.to_peer, payload.len());
                    if let Some(bucket) = &mut allocation.bucket {
                        bucket.take(now, payload.len());
                    }
                }
            }
            more => return Err(Rule::Media.broken(format!("one payload became {}", more.len()))),
        }
        Ok(())
    }

    /// Why something must not have been sent.
    fn objection(&self, now: u64, client: &Client, from: SocketAddr, to: SocketAddr) -> Violation {
        let Some(allocation) = self.live.get(client) else {
            return Rule::Lifetime.broken(format!("{client:?} has no allocation and reached {to} from {from}"));
        };
        if !self.allows(allocation.token, to, Wish::Reach) {
            return Rule::Policy.broken(format!("{to} is forbidden and was reached from {from}"));
        }
        let permission = allocation.permissions.get(&to.ip());
        Rule::Permission.broken(format!("{to} was reached from {from} at {now}, permission until {permission:?}"))
    }

    /// What a Send indication leads to: relay, peer and payload; all local.
    pub(super) fn send(
        &self,
        now: u64,
        client: &Client,
        request: &Request<'_>,
        bytes: &[u8],
    ) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let allocation = self.live.get(client)?;
        let payload = request.data.clone()?;
        let named = request.peers.first()?;
        if !request.unknown.is_empty() || request.malformed.is_some() || named.port() == 0 {
            return None;
        }
        let Passage { from, to } = self.passage(allocation, named)?;
        allocation.is_permitted(now, to.ip()).then(|| (from, to, bytes[payload].to_vec()))
    }

    /// What ChannelData leads to. A channel suffices, whatever became of its permission.
    pub(super) fn channel_data(
        &self,
        now: u64,
        client: &Client,
        bytes: &[u8],
    ) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        let number = u16::from_be_bytes([head[0], head[1]]);
        let payload = rest.get(..usize::from(u16::from_be_bytes([head[2], head[3]])))?;
        let allocation = self.live.get(client)?;
        let &(peer, end) = allocation.channels.get(&number)?;
        let Passage { from, to } = self.passage(allocation, peer)?;
        (now < end).then(|| (from, to, payload.to_vec()))
    }

    /// The relay that reaches a peer, if there is one and the peer is more than an address now.
    fn passage(&self, allocation: &Allocation, named: SocketAddr) -> Option<Passage> {
        let to = self.rules.inside(named);
        let from = allocation.relay_for(to.ip())?;
        // A relay address of ours: its port may have died since.
        let dead = self.rules.relays.contains(&to.ip()) && !self.allows(allocation.token, named, Wish::Reach);
        (!dead).then_some(Passage { from, to })
    }

    /// A datagram that arrived at a relay.
    pub(super) fn on_peer(
        &mut self,
        now: u64,
        relay: SocketAddr,
        from: SocketAddr,
        payload: &[u8],
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let told: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::ToClient { client, frame } => Some((client, frame)),
                _ => None,
            })
            .collect();
        let owner = self.live.values().find(|allocation| allocation.relays.contains(&relay));
        let permitted = owner.filter(|allocation| allocation.is_permitted(now, from.ip()));
        let Some(allocation) = permitted else {
            self.tally.dropped += 1;
            return Rule::Permission
                .holds(told.is_empty(), || format!("{from} reached a client by {relay} without permission"));
        };
        let (client, key) = (allocation.reached, allocation.client);
        let fits = allocation.bucket.map_or(Some(true), |bucket| bucket.fits(now, payload.len()));
        let channel = allocation.channels.iter().find(|(_, (peer, end))| *peer == from && now < *end);
        let channel = channel.map(|(number, _)| *number);
        match told.as_slice() {
            [] if fits != Some(true) => {
                self.tally.bitrate_drops += 1;
                return Ok(());
            }
            [] => return Err(Rule::Permission.broken(format!("permitted {from} did not reach {relay}'s client"))),
            [(to, frame)] => {
                Rule::Bitrate.holds(fits != Some(false), || format!("{} bytes beyond the bit rate", payload.len()))?;
                let right = **to == client && self.is_frame(&client, channel, from, payload, frame);
                Rule::Media.holds(right, || format!("{from} -> {relay} became {frame:x?} for {}", to.remote))?;
            }
            more => return Err(Rule::Media.broken(format!("one payload became {}", more.len()))),
        }
        self.tally.to_client += 1;
        if let Some(allocation) = self.live.get_mut(&key) {
            allocation.to_client = added(allocation.to_client, payload.len());
            if let Some(bucket) = &mut allocation.bucket {
                bucket.take(now, payload.len());
            }
        }
        Ok(())
    }

    /// Whether `frame` is this payload of this peer, by this channel or as a Data indication.
    fn is_frame(&self, client: &Client, channel: Option<u16>, from: SocketAddr, payload: &[u8], frame: &[u8]) -> bool {
        let Some(number) = channel else {
            let Ok(message) = Message::decode(frame) else { return false };
            let peer = message.find(AttributeType::XOR_PEER_ADDRESS).ok().flatten();
            let data = message.find(AttributeType::DATA).ok().flatten();
            return (message.class(), message.method()) == (Class::Indication, Method::Data)
                && peer == Some(Attribute::XorPeerAddress(self.rules.outside(from)))
                && data == Some(Attribute::Data(payload));
        };
        let mut expected = number.to_be_bytes().to_vec();
        expected.extend((payload.len() as u16).to_be_bytes());
        expected.extend(payload);
        if matches!(client.transport, Transport::Tcp | Transport::Tls) {
            expected.resize(expected.len().next_multiple_of(4), 0);
        }
        expected == frame
    }

    /// An ICMP error about what a relay sent: told to clients that have a permission, not too often.
    pub(super) fn on_icmp(
        &mut self,
        now: u64,
        relay: SocketAddr,
        icmp: &PeerIcmp,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let told: Vec<&Client> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Answer { client, .. } => Some(client),
                _ => None,
            })
            .collect();
        let kinds: &[u8] = if icmp.peer.0.is_ipv4() { &[3, 11] } else { &[1, 2, 3] };
        let owner = self.live.values_mut().find(|allocation| allocation.relays.contains(&relay));
        let owner = owner.filter(|allocation| allocation.is_permitted(now, icmp.peer.0.ip()));
        let Some(allocation) = owner.filter(|_| kinds.contains(&icmp.icmp_type)) else {
            return Rule::Permission.holds(told.is_empty(), || format!("{icmp:?} was told to {told:?}"));
        };
        while allocation.icmp_told.front().is_some_and(|at| at + SECOND <= now) {
            allocation.icmp_told.pop_front();
        }
        let room = allocation.icmp_told.len() < ICMP_PER_SECOND;
        Rule::Limit.holds(told.len() == usize::from(room), || {
            format!("{} ICMP errors told in a second, and then {}", allocation.icmp_told.len(), told.len())
        })?;
        if room {
            let client = allocation.reached;
            allocation.icmp_told.push_back(now);
            Rule::Media.holds(*told[0] == client, || format!("{icmp:?} was told to {told:?}"))?;
            self.tally.icmp_told += 1;
        }
        Ok(())
    }
}

fn added((packets, bytes): (u64, u64), len: usize) -> (u64, u64) {
    (packets + 1, bytes + len as u64)
}
