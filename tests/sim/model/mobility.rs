//! Mobility (RFC 8016): who comes back with a ticket finds the allocation, on whatever shard.

use std::net::SocketAddr;

use postern_turn::attribute::FamilyWish;
use postern_turn::io::{Client, Family, Now, Transport};
use postern_turn::request::Request;

use super::answers::{answers, at_most_one};
use super::ledger::{Allocation, Model, TicketSeen};
use super::requests::Due;
use super::violation::{Rule, Violation};
use crate::clock::SECOND;
use crate::effect::Effect;

/// How long a 5-tuple is kept free for an allocation that comes from another shard.
const PLACE_KEPT_NANOS: u64 = SECOND;

impl Model {
    pub(super) fn note_ticket(&mut self, client: &Client, ticket: Vec<u8>) {
        let Some(allocation) = self.live.get_mut(client) else { return };
        let number = allocation.ticket.map_or(0, |number| number + 1);
        allocation.ticket = Some(number);
        self.tickets.insert(ticket, TicketSeen { serial: allocation.serial, token: allocation.token, number });
    }

    /// A Refresh with a ticket moves the allocation to the client's present address first.
    pub(super) fn due_mobile_refresh(
        &mut self,
        now: Now,
        shard: usize,
        client: &Client,
        request: &Request<'_>,
        token: usize,
    ) -> Due {
        if !self.rules.mobility {
            return Due::Refused(&[405]);
        }
        let ticket = request.mobility_ticket.and_then(|ticket| self.tickets.get(ticket)).copied();
        let Some(ticket) = ticket.filter(|ticket| self.same_holder(token, ticket.token)) else {
            return Due::Refused(&[400]);
        };
        if self.awaits(now.mono_nanos, client).is_some_and(|serial| serial != ticket.serial) {
            return Due::Refused(&[437]);
        }
        self.awaited.remove(client);
        let living = self.live.values().find(|allocation| allocation.serial == ticket.serial);
        // Its shard may not have noticed yet that it is over.
        let found = living.or_else(|| self.left_unnoticed(ticket.serial));
        let Some(allocation) = found else { return Due::Refused(&[400]) };
        if let Some(code) = self.ticket_refusal(ticket, allocation, request, token) {
            return Due::Refused(code);
        }
        let serves = self.serves(client);
        if allocation.shard != shard {
            if serves {
                return Due::Refused(&[437]);
            }
            self.awaited.insert(*client, (ticket.serial, now.mono_nanos + PLACE_KEPT_NANOS));
            return Due::Elsewhere;
        }
        let old = allocation.client;
        if living.is_none() {
            return Due::Refused(&[400]);
        }
        if old != *client {
            if serves {
                return Due::Refused(&[437]);
            }
            self.move_to(&old, *client);
        }
        self.due_refresh(now, client, request, token)
    }

    /// Whether the client has an allocation, or waits for its relay.
    pub(super) fn serves(&self, client: &Client) -> bool {
        self.live.contains_key(client) || self.waiting.get(client).is_some_and(|waiting| !waiting.abandoned)
    }

    /// The allocation that is on its way to the client, and for which its 5-tuple is kept.
    pub(super) fn awaits(&self, now: u64, client: &Client) -> Option<u64> {
        self.awaited.get(client).filter(|(_, until)| now < *until).map(|(serial, _)| *serial)
    }

    fn left_unnoticed(&self, serial: u64) -> Option<&Allocation> {
        let mut unnoticed = self.leaving.iter().filter_map(|left| left.unrecorded.as_ref());
        unnoticed.find(|allocation| allocation.serial == serial)
    }

    /// Why this ticket, held by this token, is worth nothing.
    fn ticket_refusal(
        &self,
        ticket: TicketSeen,
        allocation: &Allocation,
        request: &Request<'_>,
        token: usize,
    ) -> Option<&'static [u16]> {
        let has = |family| allocation.relays.iter().any(|relay| relay.is_ipv4() == (family == Family::V4));
        if !self.may_act(token, allocation.token) {
            return Some(&[441]);
        }
        if !honours(allocation, ticket) {
            return Some(&[400]);
        }
        match request.requested_family {
            None => None,
            Some(FamilyWish::Known(family)) if has(family) => None,
            Some(_) => Some(&[443]),
        }
    }

    fn same_holder(&self, token: usize, owner: usize) -> bool {
        let holder = |token: usize| {
            let issued = &self.issued[token];
            issued.identity.clone().map_or(issued.username.clone(), String::into_bytes)
        };
        holder(token) == holder(owner)
    }

    fn move_to(&mut self, old: &Client, client: Client) {
        if let Some(mut allocation) = self.live.remove(old) {
            (allocation.client, allocation.reached) = (client, client);
            self.live.insert(client, allocation);
            self.tally.moves += 1;
        }
    }

    /// The shell fetches an allocation from its home, and hands the request in once more.
    pub(super) fn on_adopt(
        &mut self,
        now: Now,
        to: usize,
        client: Client,
        ticket: &[u8],
        message: &[u8],
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let moved = effects.iter().find_map(|effect| match effect {
            Effect::Moved { relays, to: shard } => Some((relays, *shard)),
            _ => None,
        });
        let ticket = self.tickets.get(ticket).copied();
        let home = self.live.values().find(|allocation| {
            ticket.is_some_and(|ticket| ticket.serial == allocation.serial && honours(allocation, ticket))
        });
        let due = home.map(|allocation| (&allocation.relays, to));
        Rule::Kept.holds(moved == due, || format!("{moved:?} moved instead of {due:?}"))?;
        let is_here = !self.closed.contains(&client.stream);
        if let Some(allocation) = home {
            let (key, serial) = (allocation.client, allocation.serial);
            let awaited = is_here && self.awaits(now.mono_nanos, &client) == Some(serial);
            self.hand_over(&key, to, awaited.then_some(client));
            if is_here {
                return self.on_client(now, to, client, message, effects);
            }
        }
        let silent = at_most_one(answers(effects, &client, message)?)?.is_none();
        Rule::Answer.holds(silent, || "a ticket of nothing, or of somebody who has left, was answered".into())
    }

    /// The allocation lives on another shard from here on: with the client that waited for it, or where only its ticket
    /// finds it.
    fn hand_over(&mut self, key: &Client, to: usize, awaited: Option<Client>) {
        let Some(mut allocation) = self.live.remove(key) else { return };
        self.tally.handovers += 1;
        match awaited {
            Some(client) => {
                self.awaited.remove(&client);
                (allocation.client, allocation.reached) = (client, client);
            }
            None if allocation.shard == to => {}
            None => allocation.client = nowhere(allocation.serial),
        }
        allocation.shard = to;
        self.live.insert(allocation.client, allocation);
    }
}

/// A key for an allocation whose packets arrive at another shard than its own.
fn nowhere(serial: u64) -> Client {
    let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
    let listener = u16::MAX - (serial >> 48) as u16;
    Client { transport: Transport::Udp, listener, stream: serial as u32, local: nobody, remote: nobody }
}

/// The newest ticket, or the one before it: the answer with the newest may be lost.
fn honours(allocation: &Allocation, ticket: TicketSeen) -> bool {
    let newest = allocation.ticket.unwrap_or(0);
    ticket.number == newest || ticket.number + 1 == newest
}
