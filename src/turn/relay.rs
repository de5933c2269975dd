//! The packet path: between clients and peers, without allocating, locking or logging.

use std::ops::Range;

use crate::channel_data::{self, Padding};
use crate::counters::{Direction, Path};
use crate::data_indication;
use crate::five_tuple::FiveTuple;
use crate::io::{Client, DropReason, Now, Peer, PeerVerdict, RelayId, Verdict};
use crate::policy::{Purpose, Ruling};
use crate::request::Request;
use crate::server::Server;

/// Longest UDP payload that a datagram can carry over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;

impl Server {
    /// ChannelData of a client (RFC 8656 section 12.6). A channel suffices: its permission is what lets the peer
    /// answer.
    pub(crate) fn on_channel_data(&mut self, now: Now, client: &Client, tos: u8, bytes: &[u8]) -> Verdict {
        let Some(data) = channel_data::decode(bytes) else { return Verdict::Drop(DropReason::Malformed) };
        let Some(&(at, slot)) = self.channels.get(&(FiveTuple::of(client), data.channel)) else {
            return Verdict::Drop(DropReason::NoChannel);
        };
        if !self.check_alive(now, at) {
            return Verdict::Drop(DropReason::Expired);
        }
        let channel = self.allocations.live(at).and_then(|allocation| allocation.channels.at(slot));
        let Some(&channel) = channel.filter(|channel| now.mono_nanos < channel.expires_nanos) else {
            return Verdict::Drop(DropReason::Expired);
        };
        if channel.own_relay && !self.is_sendable(at, channel.peer) {
            return Verdict::Drop(DropReason::PeerForbidden);
        }
        let bytes = data.payload.len();
        if !self.account(now, at, Direction::ToPeer, Path::Channel, bytes) {
            return Verdict::Drop(DropReason::Bitrate);
        }
        Verdict::ToPeer { relay: channel.relay, peer: channel.peer, payload: data.payload, tos, dont_fragment: false }
    }

    /// A Send indication (RFC 8656 section 11.2): whatever is wrong with it, silence.
    pub(crate) fn on_send(&mut self, now: Now, client: &Client, tos: u8, request: &Request<'_>) -> Verdict {
        if !request.unknown.is_empty() {
            return Verdict::Drop(DropReason::UnknownAttribute);
        }
        let Some(at) = self.live_at(now, client) else { return Verdict::Drop(DropReason::NoAllocation) };
        let (Some(named), Some(payload), None) = (request.peers.first(), request.data.clone(), request.malformed)
        else {
            return Verdict::Drop(DropReason::Malformed);
        };
        let policy = &self.options.policy;
        let own_relay = policy.is_relay_address(named.ip());
        let peer = Peer(policy.advertise().inside(named));
        let Some(allocation) = self.allocations.live(at) else { return Verdict::Drop(DropReason::NoAllocation) };
        if allocation.tcp {
            return Verdict::Drop(DropReason::Malformed);
        }
        let Some(relay) = allocation.relay_for(peer.0.ip()).map(|relay| relay.id) else {
            return Verdict::Drop(DropReason::FamilyMismatch);
        };
        if !allocation.permissions.is_permitted(now.mono_nanos, peer.0.ip()) {
            return Verdict::Drop(DropReason::NoPermission);
        }
        // The permission was judged when it was given; the port was not.
        if peer.0.port() == 0 || own_relay && !self.is_sendable(at, peer) {
            return Verdict::Drop(DropReason::PeerForbidden);
        }
        if !self.account(now, at, Direction::ToPeer, Path::Indication, payload.len()) {
            return Verdict::Drop(DropReason::Bitrate);
        }
        Verdict::ToPeer { relay, peer, payload, tos, dont_fragment: request.dont_fragment }
    }

    /// A peer's datagram (RFC 8656 sections 11.3 and 12.7).
    pub(crate) fn on_peer_datagram(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: Peer,
        tos: u8,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> PeerVerdict {
        let Some(at) = self.relay_owner(relay) else { return PeerVerdict::Drop(DropReason::UnknownRelay) };
        if !self.check_alive(now, at) {
            return PeerVerdict::Drop(DropReason::Expired);
        }
        let Some(allocation) = self.allocations.live(at) else { return PeerVerdict::Drop(DropReason::UnknownRelay) };
        if !allocation.permissions.is_permitted(now.mono_nanos, peer.0.ip()) {
            return PeerVerdict::Drop(DropReason::NoPermission);
        }
        let client = allocation.client;
        let channel = allocation.channels.of_peer(peer).filter(|channel| now.mono_nanos < channel.expires_nanos);
        let channel = channel.map(|channel| channel.number);
        let bytes = payload.len();
        let path = if channel.is_some() { Path::Channel } else { Path::Indication };
        let stream = client.transport.is_stream();
        let frame = match channel {
            Some(number) => {
                let padding = if stream { Padding::ToFour } else { Padding::None };
                channel_data::encode_in_place(buffer, payload, number, padding)
            }
            None => {
                let id = self.draw_transaction_id();
                let outside = self.options.policy.advertise().outside(peer.0);
                data_indication::encode_in_place(buffer, payload, outside, id)
            }
        };
        let Some(frame) = frame.filter(|frame| stream || frame.len() <= DATAGRAM_BYTES_MAX) else {
            return PeerVerdict::Drop(DropReason::Oversize);
        };
        if !self.account(now, at, Direction::ToClient, path, bytes) {
            return PeerVerdict::Drop(DropReason::Bitrate);
        }
        PeerVerdict::ToClient { client, frame, tos }
    }

    /// Whether a relay address of ours may be sent to now: its port may have died since.
    fn is_sendable(&self, at: u32, peer: Peer) -> bool {
        let claim = self.allocations.live(at).and_then(|allocation| allocation.session.grant.peers.as_deref());
        self.options.policy.judge(peer.0, claim, Purpose::Send) == Ruling::Allowed
    }

    /// Counts a payload, if the credential's bitrate has room for it.
    fn account(&mut self, now: Now, at: u32, direction: Direction, path: Path, bytes: usize) -> bool {
        let Some(allocation) = self.allocations.live_mut(at) else { return false };
        let fits = allocation.spend(now.mono_nanos, bytes);
        let flow = match direction {
            Direction::ToPeer => &mut allocation.to_peer,
            Direction::ToClient => &mut allocation.to_client,
        };
        if !fits {
            flow.dropped_packets += 1;
            return false;
        }
        flow.packets += 1;
        flow.bytes += bytes as u64;
        self.counters.count_relayed(direction, path, bytes);
        true
    }
}
