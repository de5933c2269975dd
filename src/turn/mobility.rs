//! Mobility (RFC 8016): an allocation follows its client to another 5-tuple, on another shard if need be.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use crate::allocation::{Allocation, Relay};
use crate::attribute::FamilyWish;
use crate::authenticate::Session;
use crate::error_code::ErrorCode;
use crate::five_tuple::FiveTuple;
use crate::io::{Action, Client, Family, Now, RelayId};
use crate::record::{EndReason, StartRecord};
use crate::reply::ReplyTo;
use crate::request::Request;
use crate::requests::{Handled, Outcome};
use crate::server::Server;
pub use crate::ticket::TicketKey;
use crate::ticket::{TICKET_BYTES, Ticket};

/// The mobile allocations of the process: on which shard each lives, and what decides about its next move. Only mobility
/// requests come here, never a packet.
#[derive(Debug, Default)]
pub struct MobilityHomes(Mutex<HashMap<u64, Arc<Home>>>);

/// What any shard must know of a mobile allocation to judge a Refresh with its ticket before anything moves.
#[derive(Debug)]
struct Home {
    shard: u8,
    /// Number of its newest ticket.
    ticket: u32,
    families: Vec<Family>,
    session: Session,
}

impl MobilityHomes {
    fn find(&self, serial: u64) -> Option<Arc<Home>> {
        self.lock().get(&serial).cloned()
    }

    fn settle(&self, serial: u64, home: Home) {
        self.lock().insert(serial, Arc::new(home));
    }

    pub(crate) fn forget(&self, serial: u64) {
        self.lock().remove(&serial);
    }

    /// A panic elsewhere leaves the map whole: each change is one call.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Home>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Home {
    /// Whether the holder of this ticket may take the allocation along: 441, 400, 443.
    fn judge(&self, ticket: Ticket, request: &Request<'_>, session: &Session) -> Result<(), ErrorCode> {
        if !session.may_act_for(&self.session) {
            return Err(ErrorCode::WRONG_CREDENTIALS);
        }
        if !self.honours(ticket) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        match request.requested_family {
            Some(FamilyWish::Known(family)) if self.families.contains(&family) => Ok(()),
            None => Ok(()),
            Some(_) => Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH),
        }
    }

    /// The newest ticket, or the one before: the answer with the newest may have been lost.
    fn honours(&self, ticket: Ticket) -> bool {
        ticket.number == self.ticket || ticket.number.checked_add(1) == Some(self.ticket)
    }
}

/// An allocation between two shards.
#[derive(Debug)]
pub struct ExportedAllocation {
    allocation: Allocation,
}

impl ExportedAllocation {
    /// The relay sockets to move, by the old shard's indices.
    pub fn relays(&self) -> impl Iterator<Item = RelayId> + '_ {
        self.allocation.relays.iter().map(|relay| relay.id)
    }

    /// The 5-tuple that it is still known by.
    pub fn client(&self) -> Client {
        self.allocation.client
    }

    /// What was recorded when it started.
    pub fn start(&self) -> &StartRecord {
        &self.allocation.start
    }
}

impl Server {
    /// The shard on which the allocation of this ticket lives; `None` when there is none (any more).
    pub fn shard_of_ticket(&self, ticket: &[u8]) -> Option<u8> {
        let serial = self.shared.ticket_key.ticket_of(ticket)?.serial;
        self.shared.homes.find(serial).map(|home| home.shard)
    }

    /// Takes the allocation out whose mobility ticket this is, to be adopted by another shard's server; its relay
    /// sockets go along (RFC 8016). `None`: no such ticket here, or it is outdated by now. Only for the ticket of an
    /// [`Action::Adopt`], whose request was judged.
    pub fn export(&mut self, now: Now, ticket: &[u8]) -> Option<Box<ExportedAllocation>> {
        let ticket = self.shared.ticket_key.ticket_of(ticket)?;
        let at = self.mobile_at(now, ticket.serial)?;
        self.shared.homes.find(ticket.serial).filter(|home| home.honours(ticket))?;
        self.withdraw_channels(at);
        let allocation = self.take_out(at)?;
        self.counters.allocations_exported += 1;
        Some(Box::new(ExportedAllocation { allocation }))
    }

    /// Takes over an allocation that [`export`](Self::export) gave away. `relays` are its relay sockets on this shard,
    /// in the order of [`ExportedAllocation::relays`]; with fewer of them the allocation ends, and the shell gives the
    /// leases of the others back.
    ///
    /// `client` is that of the [`Action::Adopt`], whose message is to be handed in again after this. The allocation is
    /// the client's from here on, whatever becomes of that message. `None` leaves the allocation with its old client, for
    /// the ticket to find: the new one's stream is gone, or the other shard had no room and the allocation is back home.
    pub fn handle_adopted(
        &mut self,
        now: Now,
        exported: Box<ExportedAllocation>,
        relays: &[RelayId],
        client: Option<Client>,
    ) {
        let mut allocation = exported.allocation;
        let whole = relays.len() == allocation.relays.len();
        allocation.relays.truncate(relays.len());
        let renamed: Vec<(RelayId, RelayId)> =
            allocation.relays.iter().map(|relay| relay.id).zip(relays.iter().copied()).collect();
        for relay in &mut allocation.relays {
            rename(&mut relay.id, &renamed);
        }
        for channel in allocation.channels.iter_mut() {
            rename(&mut channel.relay, &renamed);
        }
        allocation.wheel_sec = u64::MAX;
        // Another shard's count of reloads says nothing here.
        allocation.session.generation = u64::MAX;
        self.counters.allocations_adopted += 1;
        let new = client.filter(|client| self.takes_awaited(now, client, allocation.serial));
        if !whole {
            return self.bury(now, allocation, EndReason::RelayLost);
        }
        if let Some(client) = new {
            self.hand_to(&mut allocation, client);
        } else if self.live_at(now, &allocation.client).is_some() || self.serves(&allocation.client) {
            // Somebody else has come to the old address meanwhile, and nobody to the new one.
            return self.bury(now, allocation, EndReason::ClientClosed);
        }
        let at = self.install(now, allocation);
        self.settle(at);
        self.announce_channels(now, at);
    }

    /// RFC 8016 section 3.2.2.
    pub(crate) fn on_mobile_refresh(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &ReplyTo,
        session: Session,
    ) -> Outcome {
        if !self.options.features.mobility {
            return Err(ErrorCode::MOBILITY_FORBIDDEN);
        }
        let sealed = request.mobility_ticket.unwrap_or_default();
        let ticket = self.shared.ticket_key.open(sealed, session.holder()).ok_or(ErrorCode::BAD_REQUEST)?;
        let tuple = reply.key.tuple;
        if self.adoptions.awaited(now.mono_nanos, &tuple).is_some_and(|serial| serial != ticket.serial) {
            return Err(ErrorCode::ALLOCATION_MISMATCH);
        }
        // Asked for once more: it is here by now, is fetched again or has ended.
        self.adoptions.end(&tuple);
        let home = self.shared.homes.find(ticket.serial).ok_or(ErrorCode::BAD_REQUEST)?;
        home.judge(ticket, request, &session)?;
        let present = self.live_at(now, &reply.client);
        if home.shard != self.shared.shard {
            if present.is_some() || self.serves(&reply.client) {
                return Err(ErrorCode::ALLOCATION_MISMATCH);
            }
            let room = self.adoptions.begin(now.mono_nanos, tuple, ticket.serial);
            return Ok(if room { Handled::Elsewhere { ticket: sealed.to_vec() } } else { Handled::Later });
        }
        let at = self.mobile_at(now, ticket.serial).ok_or(ErrorCode::BAD_REQUEST)?;
        // Nothing that is judged after this can fail: who is refused has moved nothing.
        let at = match present {
            Some(other) if other != at => return Err(ErrorCode::ALLOCATION_MISMATCH),
            Some(same) => same,
            None if self.serves(&reply.client) => return Err(ErrorCode::ALLOCATION_MISMATCH),
            None => self.move_to(now, at, reply.client).ok_or(ErrorCode::BAD_REQUEST)?,
        };
        self.refresh(now, at, request, reply, session)
    }

    /// A fresh ticket for a mobile allocation; the one before it stays good until the next.
    pub(crate) fn new_ticket(&mut self, at: u32) -> Option<[u8; TICKET_BYTES]> {
        let allocation = self.allocations.live_mut(at)?;
        let number = allocation.ticket.map_or(0, |number| number.wrapping_add(1));
        allocation.ticket = Some(number);
        let ticket = Ticket { serial: allocation.serial, number };
        let sealed = self.shared.ticket_key.seal(ticket, allocation.session.holder());
        self.settle(at);
        Some(sealed)
    }

    /// Tells the other shards how a mobile allocation stands: whenever its shard, ticket, families or session change.
    pub(crate) fn settle(&self, at: u32) {
        let Some(allocation) = self.allocations.live(at) else { return };
        let Some(ticket) = allocation.ticket else { return };
        let home = Home {
            shard: self.shared.shard,
            ticket,
            families: allocation.relays.iter().map(Relay::family).collect(),
            session: allocation.session.clone(),
        };
        self.shared.homes.settle(allocation.serial, home);
    }

    fn mobile_at(&mut self, now: Now, serial: u64) -> Option<u32> {
        let at = self.mobile.get(&serial).copied()?;
        self.check_alive(now, at).then_some(at)
    }

    /// From here on the allocation belongs to another 5-tuple; peers notice nothing.
    fn move_to(&mut self, now: Now, at: u32, client: Client) -> Option<u32> {
        self.withdraw_channels(at);
        let mut allocation = self.take_out(at)?;
        self.hand_to(&mut allocation, client);
        allocation.wheel_sec = u64::MAX;
        let at = self.install(now, allocation);
        self.announce_channels(now, at);
        Some(at)
    }

    /// Another 5-tuple for an allocation that is in no table.
    fn hand_to(&mut self, allocation: &mut Allocation, client: Client) {
        let from = std::mem::replace(&mut allocation.client, client);
        if FiveTuple::of(&from) != FiveTuple::of(&client) {
            self.actions.push_back(Action::Moved { from, to: client });
        }
    }

    /// Whether this client still waits for the allocation that has come; it waits no longer.
    fn takes_awaited(&mut self, now: Now, client: &Client, serial: u64) -> bool {
        let tuple = FiveTuple::of(client);
        if self.adoptions.awaited(now.mono_nanos, &tuple) != Some(serial) {
            return false;
        }
        self.adoptions.end(&tuple);
        self.live_at(now, client).is_none() && !self.serves(client)
    }

    /// Takes the channels of an allocation out of the packet path; they stay bound.
    fn withdraw_channels(&mut self, at: u32) {
        let Some(allocation) = self.allocations.live_mut(at) else { return };
        let client = allocation.client;
        for channel in allocation.channels.iter_mut() {
            self.channels.remove(&(FiveTuple::of(&client), channel.number));
            if std::mem::take(&mut channel.short) {
                let (number, relay, peer) = (channel.number, channel.relay, channel.peer);
                self.actions.push_back(Action::Unbind { client, channel: number, relay, peer });
            }
        }
    }

    /// Puts them back in, under the present 5-tuple.
    fn announce_channels(&mut self, now: Now, at: u32) {
        let Some(allocation) = self.allocations.live(at) else { return };
        let tuple = FiveTuple::of(&allocation.client);
        for (slot, channel) in allocation.channels.slots() {
            self.channels.insert((tuple, channel.number), (at, slot));
        }
        self.update_short_ways(now, at);
    }
}

fn rename(id: &mut RelayId, renamed: &[(RelayId, RelayId)]) {
    if let Some((_, new)) = renamed.iter().find(|(old, _)| old == id) {
        *id = *new;
    }
}
