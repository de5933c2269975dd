//! Mobility (RFC 8016): who comes back with a ticket finds the allocation, on whatever shard.

use postern_turn::attribute::FamilyWish;
use postern_turn::io::{Client, Family, Now};
use postern_turn::request::Request;

use super::answers::{answers, at_most_one};
use super::ledger::{Allocation, Model, TicketSeen};
use super::requests::Due;
use super::violation::{Rule, Violation};
use crate::effect::Effect;

impl Model {
    pub(super) fn note_ticket(&mut self, client: &Client, ticket: Vec<u8>) {
        let Some(allocation) = self.live.get_mut(client) else { return };
        let number = allocation.ticket.map_or(0, |number| number + 1);
        allocation.ticket = Some(number);
        self.tickets.insert(ticket, TicketSeen { serial: allocation.serial, number });
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
        let Some(ticket) = ticket else { return Due::Refused(&[400]) };
        let living = self.live.values().find(|allocation| allocation.serial == ticket.serial);
        // Its shard may not have noticed yet that it is over.
        let found = living.or_else(|| self.left_unnoticed(ticket.serial));
        let Some(allocation) = found else { return Due::Refused(&[400]) };
        if let Some(code) = self.ticket_refusal(ticket, allocation, request, token) {
            return Due::Refused(code);
        }
        let serves = self.live.contains_key(client) || self.waiting.get(client).is_some_and(|at| !at.abandoned);
        if allocation.shard != shard {
            return if serves { Due::Refused(&[437]) } else { Due::Elsewhere };
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
        if !self.same_holder(token, allocation.token) {
            return Some(&[400]);
        }
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
            allocation.client = client;
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
        let home = self.live.values_mut().find(|allocation| {
            ticket.is_some_and(|ticket| ticket.serial == allocation.serial && honours(allocation, ticket))
        });
        let due = home.as_ref().map(|allocation| (&allocation.relays, to));
        Rule::Kept.holds(moved == due, || format!("{moved:?} moved instead of {due:?}"))?;
        let Some(allocation) = home else {
            let silent = at_most_one(answers(effects, &client, message)?)?.is_none();
            return Rule::Answer.holds(silent, || "a ticket of nothing was answered".into());
        };
        allocation.shard = to;
        self.tally.handovers += 1;
        self.on_client(now, to, client, message, effects)
    }
}

/// The newest ticket, or the one before it: the answer with the newest may be lost.
fn honours(allocation: &Allocation, ticket: TicketSeen) -> bool {
    let newest = allocation.ticket.unwrap_or(0);
    ticket.number == newest || ticket.number + 1 == newest
}
