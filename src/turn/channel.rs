//! The channels of one allocation (RFC 8656 section 12): numbers that stand for peers.

use std::net::SocketAddr;

use crate::io::{Peer, RelayId};
use crate::limits::{CHANNEL_LIFETIME_SECS, CHANNELS_PER_ALLOCATION_MAX};
use crate::wheel::SECOND;

/// A bound channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    pub(crate) number: u16,
    /// As the relay's socket sees it: one of our own relay addresses before `advertise`.
    pub(crate) peer: Peer,
    /// The relay socket of the peer's family.
    pub(crate) relay: RelayId,
    /// The peer is a relay address of this edge: each packet asks whether its port is still a live relay port.
    pub(crate) own_relay: bool,
    /// Bound in the kernel: `Bind` was said, `Unbind` not yet.
    pub(crate) short: bool,
    pub(crate) expires_nanos: u64,
}

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BindError {
    /// 400: number or peer is bound to another.
    Taken,
    /// 508.
    Full,
}

/// What a ChannelBind did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    New { slot: u16 },
    Refreshed,
}

/// Channels by slot, which stays while the channel lives, and by peer.
#[derive(Debug, Default)]
pub(crate) struct ChannelTable {
    slots: Vec<Option<Channel>>,
    /// Peer and slot, sorted by peer.
    by_peer: Vec<(SocketAddr, u16)>,
}

impl ChannelTable {
    /// Binds, or refreshes when number and peer are bound to each other already. Expired channels must be gone.
    ///
    /// # Errors
    /// [`BindError`]: nothing has changed.
    pub(crate) fn bind(
        &mut self,
        now_nanos: u64,
        number: u16,
        peer: Peer,
        relay: RelayId,
        own_relay: bool,
    ) -> Result<Bound, BindError> {
        let expires_nanos = now_nanos + CHANNEL_LIFETIME_SECS * SECOND;
        match (self.slot_of_peer(peer), self.slot_of_number(number)) {
            (Some(slot), Some(same)) if slot == same => {
                if let Some(channel) = &mut self.slots[usize::from(slot)] {
                    channel.expires_nanos = expires_nanos;
                }
                Ok(Bound::Refreshed)
            }
            (None, None) => {
                let slot = self.free_slot()?;
                self.slots[usize::from(slot)] =
                    Some(Channel { number, peer, relay, own_relay, short: false, expires_nanos });
                let at = self.by_peer.partition_point(|(address, _)| *address < peer.0);
                self.by_peer.insert(at, (peer.0, slot));
                Ok(Bound::New { slot })
            }
            _ => Err(BindError::Taken),
        }
    }

    /// The channel in a slot, expired or not.
    pub(crate) fn at(&self, slot: u16) -> Option<&Channel> {
        self.slots.get(usize::from(slot))?.as_ref()
    }

    /// The channel that is bound to `peer`, expired or not.
    pub(crate) fn of_peer(&self, peer: Peer) -> Option<&Channel> {
        self.at(self.slot_of_peer(peer)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.slots.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.slots.iter_mut().flatten()
    }

    /// Channels with the slots that they hold.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u16, &Channel)> {
        self.slots.iter().zip(0..).filter_map(|(channel, slot)| Some((slot, channel.as_ref()?)))
    }

    /// Takes out one channel that is not to be kept; `None` when there is no more.
    pub(crate) fn take_one(&mut self, mut keep: impl FnMut(&Channel) -> bool) -> Option<Channel> {
        let slot = self.slots.iter().position(|channel| channel.as_ref().is_some_and(|channel| !keep(channel)))?;
        self.by_peer.retain(|(_, of)| usize::from(*of) != slot);
        self.slots[slot].take()
    }

    /// The earliest end of a channel.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.iter().map(|channel| channel.expires_nanos).min()
    }

    fn slot_of_peer(&self, peer: Peer) -> Option<u16> {
        let at = self.by_peer.binary_search_by(|(address, _)| address.cmp(&peer.0)).ok()?;
        Some(self.by_peer[at].1)
    }

    fn slot_of_number(&self, number: u16) -> Option<u16> {
        self.slots().find(|(_, channel)| channel.number == number).map(|(slot, _)| slot)
    }

    fn free_slot(&mut self) -> Result<u16, BindError> {
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if slot >= CHANNELS_PER_ALLOCATION_MAX {
            return Err(BindError::Full);
        }
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        Ok(slot as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        Peer(SocketAddr::from(([198, 51, 100, 1], port)))
    }

    fn bind(table: &mut ChannelTable, number: u16, port: u16) -> Result<Bound, BindError> {
        table.bind(0, number, peer(port), RelayId(0), false)
    }

    #[test]
    fn a_number_and_a_peer_are_bound_to_each_other_only() {
        let mut table = ChannelTable::default();
        assert_eq!(bind(&mut table, 0x4000, 1), Ok(Bound::New { slot: 0 }));
        assert_eq!(bind(&mut table, 0x4000, 1), Ok(Bound::Refreshed));
        assert_eq!(bind(&mut table, 0x4000, 2), Err(BindError::Taken));
        assert_eq!(bind(&mut table, 0x4001, 1), Err(BindError::Taken));
        assert_eq!(bind(&mut table, 0x4001, 2), Ok(Bound::New { slot: 1 }));
        assert_eq!(table.of_peer(peer(2)).map(|channel| channel.number), Some(0x4001));
    }

    #[test]
    fn a_slot_is_used_again_when_its_channel_is_gone() {
        let mut table = ChannelTable::default();
        for port in 0..5 {
            bind(&mut table, 0x4000 + port, port).unwrap();
        }
        assert_eq!(table.take_one(|channel| channel.number != 0x4002).map(|channel| channel.peer), Some(peer(2)));
        assert!(table.take_one(|channel| channel.number != 0x4002).is_none());
        assert!(table.of_peer(peer(2)).is_none());
        assert_eq!(bind(&mut table, 0x4009, 2), Ok(Bound::New { slot: 2 }));
    }

    #[test]
    fn a_full_table_says_so() {
        let mut table = ChannelTable::default();
        for port in 0..CHANNELS_PER_ALLOCATION_MAX as u16 {
            bind(&mut table, 0x4000 + port, port).unwrap();
        }
        assert_eq!(bind(&mut table, 0x4FFF, 9_999), Err(BindError::Full));
    }
}
