//! An allocation (RFC 8656 section 3.2), and the one that is still waiting for its relay socket.

use std::net::{IpAddr, SocketAddr};

use crate::authenticate::Session;
use crate::channel::ChannelTable;
use crate::io::{Client, ConnectionId, Family, RelayId};
use crate::limits::ICMP_PER_SEC_MAX;
use crate::permission::PermissionTable;
use crate::record::{Flow, PEERS_RECORDED_MAX, StartRecord};
use crate::reply::ReplyTo;
use crate::token_bucket::{SecondLimit, TokenBucket};

/// A relay socket of an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relay {
    pub(crate) id: RelayId,
    pub(crate) lease: u64,
    pub(crate) local: SocketAddr,
    /// What the client is told.
    pub(crate) outside: SocketAddr,
}

impl Relay {
    pub(crate) fn family(&self) -> Family {
        family_of(self.local.ip())
    }
}

/// The family of an address; an IPv4-mapped one is IPv6, as it stands on the wire.
pub(crate) fn family_of(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// An authenticated Allocate whose relay socket is being opened.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) serial: u64,
    pub(crate) reply: ReplyTo,
    pub(crate) session: Session,
    pub(crate) tcp: bool,
    pub(crate) mobile: bool,
    pub(crate) lifetime_secs: u32,
    /// The client went away meanwhile.
    pub(crate) abandoned: bool,
}

/// A living allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) serial: u64,
    pub(crate) client: Client,
    pub(crate) session: Session,
    pub(crate) tcp: bool,
    /// One, or one of each family.
    pub(crate) relays: Vec<Relay>,
    pub(crate) expires_nanos: u64,
    /// When the credential ends, at most so far reaches `expires_nanos`.
    pub(crate) credential_ends_nanos: u64,
    /// Second at which the wheel will look at this allocation.
    pub(crate) wheel_sec: u64,
    pub(crate) permissions: PermissionTable,
    pub(crate) channels: ChannelTable,
    /// Peer connections of a TCP allocation.
    pub(crate) connections: Vec<ConnectionId>,
    pub(crate) bitrate: Option<TokenBucket>,
    pub(crate) icmp: SecondLimit<ICMP_PER_SEC_MAX>,
    pub(crate) to_peer: Flow,
    pub(crate) to_client: Flow,
    pub(crate) peers_recorded: Vec<SocketAddr>,
    pub(crate) start: StartRecord,
    /// Number of the newest mobility ticket; `None` without mobility.
    pub(crate) ticket: Option<u32>,
}

impl Allocation {
    /// The relay of an address's family.
    pub(crate) fn relay_for(&self, ip: IpAddr) -> Option<&Relay> {
        let family = family_of(ip);
        self.relays.iter().find(|relay| relay.family() == family)
    }

    /// Takes `bytes` of the credential's bitrate, when it has one.
    pub(crate) fn spend(&mut self, now_nanos: u64, bytes: usize) -> bool {
        self.bitrate.as_mut().is_none_or(|bucket| bucket.take(now_nanos, bytes))
    }

    /// The earliest moment at which something of this allocation is over, but its connections.
    pub(crate) fn next_expiry(&self) -> u64 {
        let inner = [self.permissions.next_expiry(), self.channels.next_expiry()];
        inner.into_iter().flatten().fold(self.expires_nanos, u64::min)
    }

    /// Remembers a peer for the end record; the first ones stay.
    pub(crate) fn record_peer(&mut self, peer: SocketAddr) {
        if self.peers_recorded.len() < PEERS_RECORDED_MAX && !self.peers_recorded.contains(&peer) {
            self.peers_recorded.push(peer);
        }
    }
}

/// What a place in the table of allocations holds.
#[derive(Debug)]
pub(crate) enum Slot {
    Free,
    Pending(Box<Pending>),
    Live(Box<Allocation>),
}

/// Allocations by dense index.
#[derive(Debug, Default)]
pub(crate) struct AllocationTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl AllocationTable {
    pub(crate) fn insert(&mut self, slot: Slot) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        }
    }

    pub(crate) fn remove(&mut self, at: u32) -> Slot {
        match self.slots.get_mut(at as usize) {
            Some(slot) if !matches!(slot, Slot::Free) => {
                self.free.push(at);
                std::mem::replace(slot, Slot::Free)
            }
            _ => Slot::Free,
        }
    }

    pub(crate) fn live(&self, at: u32) -> Option<&Allocation> {
        match self.slots.get(at as usize)? {
            Slot::Live(allocation) => Some(allocation),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn live_mut(&mut self, at: u32) -> Option<&mut Allocation> {
        match self.slots.get_mut(at as usize)? {
            Slot::Live(allocation) => Some(allocation),
            _ => None,
        }
    }

    pub(crate) fn pending_mut(&mut self, at: u32) -> Option<&mut Pending> {
        match self.slots.get_mut(at as usize)? {
            Slot::Pending(pending) => Some(pending),
            _ => None,
        }
    }

    /// Indices of living allocations.
    pub(crate) fn live_ids(&self) -> Vec<u32> {
        let live = |(slot, at): (&Slot, u32)| matches!(slot, Slot::Live(_)).then_some(at);
        self.slots.iter().zip(0..).filter_map(live).collect()
    }

    /// Those that live and those that wait.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
