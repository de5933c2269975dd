//! What clients are like, and what they choose to do next.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use postern_turn::io::Family;
use postern_turn::message::Method;

use crate::client::{Ask, Client, Families, Odd};
use crate::clock::SECOND;
use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Refreshes in time, talks to peers that it may talk to.
    Caller,
    /// Lets things run out.
    Forgetful,
    /// Tries every forbidden peer in every form.
    Prober,
    /// Takes what it can get, from ever new ports.
    Hoarder,
    /// Has no password.
    Guesser,
    /// Has somebody else's nonce, or one that it made up.
    Forger,
    /// Changes its address and comes back with its ticket.
    Roamer,
    /// Wants pairs of ports, and both families.
    Collector,
    /// Asks well-signed nonsense.
    Odd,
}

pub const TEMPERS: [(u64, Temper); 9] = [
    (6, Temper::Caller),
    (3, Temper::Forgetful),
    (2, Temper::Prober),
    (2, Temper::Hoarder),
    (1, Temper::Guesser),
    (1, Temper::Forger),
    (3, Temper::Roamer),
    (2, Temper::Collector),
    (1, Temper::Odd),
];

/// Whom a client may think of writing to.
pub struct Surroundings<'a> {
    /// Peers as others know them, relayed addresses among them.
    pub peers: &'a [SocketAddr],
    /// Addresses that are nobody's business.
    pub forbidden: &'a [SocketAddr],
    /// Tokens of reservations that were seen on the way.
    pub overheard: &'a [[u8; 8]],
}

/// What a client decides on.
pub enum Act {
    Ask(Ask),
    /// By a Send indication.
    Send(SocketAddr),
    /// By channel.
    Channel(u16),
    /// From a new port, with all forgotten.
    Leave,
    /// From a new port, with the ticket.
    Roam,
    /// A new token, for the same identity.
    Renew,
    ForgeNonce,
    Rest,
}

impl Client {
    pub fn decide(&self, now: u64, random: &mut Random, around: &Surroundings<'_>) -> Act {
        if !self.has_allocation() {
            return self.begin_somehow(random, around);
        }
        if self.temper == Temper::Hoarder && random.once_in(3) {
            return Act::Leave;
        }
        if self.temper == Temper::Roamer && self.ticket.is_some() && random.once_in(12) {
            return Act::Roam;
        }
        if self.ends < now + 40 * SECOND && self.temper != Temper::Forgetful && !self.is_asking(Method::Refresh) {
            return Act::Ask(self.refresh(random));
        }
        if random.once_in(200) {
            return Act::Renew;
        }
        if random.once_in(150) {
            return Act::Ask(Ask::Refresh { lifetime: Some(0), family: None, ticket: None });
        }
        if self.temper == Temper::Odd && random.once_in(2) {
            return Act::Ask(Ask::Odd(*random.pick(&ODDS)));
        }
        self.talk(now, random, around)
    }

    fn begin_somehow(&self, random: &mut Random, around: &Surroundings<'_>) -> Act {
        if self.is_asking(Method::Allocate) {
            return Act::Rest;
        }
        let even = match self.temper {
            Temper::Collector => Some(random.once_in(2)),
            _ => random.once_in(20).then(|| random.once_in(2)),
        };
        let families = random.weighted(&[(6, Families::Default), (1, Families::V6), (2, Families::Both)]);
        let reservation = self.reservation.filter(|_| random.once_in(2));
        let overheard = around.overheard.last().copied().filter(|_| random.once_in(30));
        let lifetime = random.once_in(3).then(|| random.below(4_000) as u32);
        let mobile = self.temper == Temper::Roamer || random.once_in(20);
        match self.temper {
            Temper::Forger if random.once_in(2) => Act::ForgeNonce,
            Temper::Odd => Act::Ask(Ask::Odd(*random.pick(&ODDS))),
            _ if reservation.or(overheard).is_some() => Act::Ask(Ask::Allocate {
                families: Families::Default,
                even: None,
                reservation: reservation.or(overheard),
                lifetime,
                mobile,
            }),
            _ => {
                let even = even.filter(|reserve| !*reserve || families != Families::Both);
                Act::Ask(Ask::Allocate { families, even, reservation: None, lifetime, mobile })
            }
        }
    }

    fn refresh(&self, random: &mut Random) -> Ask {
        let family = random.once_in(30).then(|| *random.pick(&[Family::V4, Family::V6]));
        let lifetime = match family {
            Some(_) if random.once_in(2) => Some(0),
            _ => random.once_in(2).then(|| random.within(1..4_000) as u32),
        };
        Ask::Refresh { lifetime, family, ticket: None }
    }

    fn talk(&self, now: u64, random: &mut Random, around: &Surroundings<'_>) -> Act {
        let forbidden = self.temper == Temper::Prober || random.once_in(40);
        let known: Vec<SocketAddr> = self.permitted.keys().copied().collect();
        let stale = self.permitted.iter().find(|(_, at)| now > **at + 240 * SECOND).map(|(peer, _)| *peer);
        if let Some(peer) = stale.filter(|_| self.temper != Temper::Forgetful && random.once_in(2)) {
            return Act::Ask(Ask::Permit(vec![peer]));
        }
        let anybody = |random: &mut Random| {
            if forbidden && random.once_in(2) {
                let address = *random.pick(around.forbidden);
                return disguised(random, address);
            }
            match around.peers {
                [] => SocketAddr::from(([192, 0, 2, 1], 9)),
                peers => *random.pick(peers),
            }
        };
        match random.below(10) {
            0 => Act::Ask(Ask::Permit((0..random.within(1..4)).map(|_| anybody(random)).collect())),
            1 => Act::Ask(Ask::Bind(0x4000 + random.below(8) as u16, anybody(random))),
            2 => Act::Send(anybody(random)),
            3..=5 if !self.channels.is_empty() => {
                let numbers: Vec<u16> = self.channels.keys().copied().collect();
                Act::Channel(*random.pick(&numbers))
            }
            _ if !known.is_empty() => Act::Send(*random.pick(&known)),
            _ => Act::Ask(Ask::Permit(vec![anybody(random)])),
        }
    }
}

const ODDS: [Odd; 10] = [
    Odd::TransportTcp,
    Odd::NoTransport,
    Odd::UnknownAttribute,
    Odd::PermitNobody,
    Odd::PermitMany,
    Odd::ChannelOutOfRange,
    Odd::UnknownFamily,
    Odd::EvenAndBoth,
    Odd::Connect,
    Odd::MalformedLifetime,
];

/// An address as it is, or inside one of the IPv6 forms that may lead to it.
fn disguised(random: &mut Random, address: SocketAddr) -> SocketAddr {
    let IpAddr::V4(v4) = address.ip() else { return address };
    let low = u128::from(v4.to_bits());
    let bits = match random.below(16) {
        0 => low,
        1 => 0xFFFF << 32 | low,
        2 => 0xFFFF_0000 << 32 | low,
        3 => 0x0064_FF9B << 96 | low,
        4 => 0x2002 << 112 | low << 80 | 1,
        5 => 0x2001_0000 << 96 | u128::from(Ipv4Addr::new(8, 8, 8, 8).to_bits()) << 64 | (!low & 0xFFFF_FFFF),
        6 => 0x2001_0DB8 << 96 | 0x0200_5EFE << 32 | low,
        7 => 0x0064_FF9B_0001 << 80 | low,
        _ => return address,
    };
    SocketAddr::new(Ipv6Addr::from_bits(bits).into(), address.port())
}
