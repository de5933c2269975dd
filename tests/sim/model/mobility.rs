//! Mobility (RFC 8016): who comes back with a ticket finds the allocation, on whatever shard.

use postern_turn::io::{Client, Now};
use postern_turn::message::Message;
use postern_turn::request::Request;

use super::answers::{answers, at_most_one};
use super::ledger::{Model, TicketSeen};
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
        let found = self.live.values().find(|allocation| allocation.serial == ticket.serial);
        let Some(allocation) = found else { return self.due_late_ticket(shard, client, ticket.serial, token) };
        // A ticket is worth nothing to anybody else.
        if !self.same_holder(token, allocation.token) {
            return Due::Refused(&[400]);
        }
        let serves = self.live.contains_key(client) || self.waiting.get(client).is_some_and(|at| !at.abandoned);
        if allocation.shard != shard {
            return if serves { Due::Refused(&[437]) } else { Due::Elsewhere };
        }
        if !self.may_act(token, allocation.token) {
            return Due::Refused(&[441]);
        }
        let newest = allocation.ticket.unwrap_or(0);
        if ticket.number != newest && ticket.number + 1 != newest {
            return Due::Refused(&[400]);
        }
        let old = allocation.client;
        if old != *client {
            if serves {
                return Due::Refused(&[437]);
            }
            self.move_to(&old, *client);
        }
        self.due_refresh(now, client, request, token)
    }

    /// The allocation is over, but its shard may not have noticed yet and still be asked.
    fn due_late_ticket(&self, shard: usize, client: &Client, serial: u64, token: usize) -> Due {
        let left = self.leaving.iter().find_map(|left| {
            let allocation = left.unrecorded.as_ref().filter(|allocation| allocation.serial == serial)?;
            Some((left.shard, allocation))
        });
        match left {
            Some((home, allocation)) if home != shard && self.same_holder(token, allocation.token) => {
                if self.live.contains_key(client) || self.waiting.get(client).is_some_and(|at| !at.abandoned) {
                    return Due::Refused(&[437]);
                }
                Due::Elsewhere
            }
            _ => Due::Refused(&[400]),
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
        let moved = effects.iter().any(|effect| matches!(effect, Effect::Moved { .. }));
        let serial = self.tickets.get(ticket).map(|ticket| ticket.serial);
        let home = self.live.values_mut().find(|allocation| Some(allocation.serial) == serial);
        Rule::Kept.holds(moved == home.is_some(), || format!("moved: {moved}, and the ticket's allocation: {home:?}"))?;
        let Some(allocation) = home else {
            let silent = at_most_one(answers(effects, &client, message)?)?.is_none();
            return Rule::Answer.holds(silent, || "a ticket of nothing was answered".into());
        };
        allocation.shard = to;
        self.tally.handovers += 1;
        self.on_client(now, to, client, message, effects)?;
        Message::decode(message).map(|_| ()).map_err(|error| Rule::Answer.broken(error.to_string()))
    }
}
