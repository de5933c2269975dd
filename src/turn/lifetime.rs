//! How things end: the lifetime of allocations, what the wheel reclaims, and the record that is left.

use crate::allocation::{Allocation, Relay, Slot};
use crate::authenticate;
use crate::channel::Channel;
use crate::counters::RelayFamilies;
use crate::five_tuple::FiveTuple;
use crate::io::{Action, AllocationId, Client, Now, RelayId, Warning};
use crate::record::{EndReason, EndRecord};
use crate::server::Server;
use crate::wheel::{Entry, SECOND};

impl Server {
    /// Reclaims what is over; to be called when [`next_timeout`](Self::next_timeout) has come.
    pub fn handle_timeout(&mut self, now: Now) {
        let mut due = Vec::new();
        self.wheel.take_due(now.mono_nanos, &mut due);
        for Entry { allocation, serial, second } in due {
            let at = allocation.0;
            let counts = |allocation: &&Allocation| allocation.serial == serial && allocation.wheel_sec == second;
            let Some(allocation) = self.allocations.live(at).filter(counts) else { continue };
            if now.mono_nanos >= allocation.expires_nanos {
                self.end_expired(now, at);
                continue;
            }
            self.reclaim(now, at);
            if let Some(allocation) = self.allocations.live_mut(at) {
                allocation.wheel_sec = u64::MAX;
            }
            self.schedule(now, at);
        }
    }

    /// The client's connection is gone: its allocation, or the peer connection that it was spliced to, goes with it.
    pub fn handle_client_closed(&mut self, now: Now, client: Client) {
        let tuple = FiveTuple::of(&client);
        self.adoptions.end(&tuple);
        if let Some(connection) = self.data_streams.get(&tuple).copied() {
            return self.drop_connection(connection, false);
        }
        let Some(at) = self.clients.get(&tuple).copied() else { return };
        if let Some(pending) = self.allocations.pending_mut(at) {
            pending.abandoned = true;
            self.clients.remove(&tuple);
        } else {
            self.end(now, at, EndReason::ClientClosed);
        }
    }

    /// The relay socket broke: its allocation ends.
    pub fn handle_relay_lost(&mut self, now: Now, relay: RelayId) {
        if let Some(at) = self.relay_owner(relay) {
            self.end(now, at, EndReason::RelayLost);
        }
    }

    /// Ends every allocation, with its record.
    pub fn shutdown(&mut self, now: Now) {
        for at in self.allocations.live_ids() {
            self.end(now, at, EndReason::Shutdown);
        }
    }

    /// The client's allocation, if it lives at `now`; one whose time is over ends here.
    pub(crate) fn live_at(&mut self, now: Now, client: &Client) -> Option<u32> {
        let at = self.clients.get(&FiveTuple::of(client)).copied()?;
        self.check_alive(now, at).then_some(at)
    }

    /// Whether this allocation lives at `now`; one whose time is over ends here.
    #[inline]
    pub(crate) fn check_alive(&mut self, now: Now, at: u32) -> bool {
        match self.allocations.live(at) {
            Some(allocation) if now.mono_nanos < allocation.expires_nanos => true,
            Some(_) => {
                self.end_expired(now, at);
                false
            }
            None => false,
        }
    }

    pub(crate) fn relay_owner(&self, relay: RelayId) -> Option<u32> {
        self.relays.get(relay.0 as usize).copied().flatten()
    }

    /// Files the allocation with the wheel, unless the wheel will look at it early enough already.
    pub(crate) fn schedule(&mut self, now: Now, at: u32) {
        let Some(allocation) = self.allocations.live(at) else { return };
        let waits = allocation.connections.iter().filter_map(|id| self.connections.get(id)?.deadline_nanos());
        let deadline = waits.fold(allocation.next_expiry(), u64::min);
        if deadline.div_ceil(SECOND) >= allocation.wheel_sec {
            return;
        }
        let serial = allocation.serial;
        let wheel_sec = self.wheel.file(now.mono_nanos, deadline, AllocationId(at), serial);
        if let Some(allocation) = self.allocations.live_mut(at) {
            allocation.wheel_sec = wheel_sec;
        }
    }

    /// Takes out what is over inside a living allocation.
    pub(crate) fn reclaim(&mut self, now: Now, at: u32) {
        self.remove_channels(at, |channel| now.mono_nanos < channel.expires_nanos);
        self.end_overdue_connections(now, at);
        if let Some(allocation) = self.allocations.live_mut(at) {
            allocation.permissions.remove_expired(now.mono_nanos);
        }
        self.update_short_ways(now, at);
    }

    /// Removes the channels that are not to be kept.
    pub(crate) fn remove_channels(&mut self, at: u32, mut keep: impl FnMut(&Channel) -> bool) {
        while let Some(allocation) = self.allocations.live_mut(at) {
            let Some(channel) = allocation.channels.take_one(&mut keep) else { return };
            let client = allocation.client;
            self.channels.remove(&(FiveTuple::of(&client), channel.number));
            self.unbind(client, &channel);
        }
    }

    pub(crate) fn unbind(&mut self, client: Client, channel: &Channel) {
        if channel.short {
            let Channel { number, relay, peer, .. } = *channel;
            self.actions.push_back(Action::Unbind { client, channel: number, relay, peer });
        }
    }

    /// Lets the kernel forward exactly those channels whose peer holds a permission and of which no packet needs a
    /// look.
    pub(crate) fn update_short_ways(&mut self, now: Now, at: u32) {
        let Some(allocation) = self.allocations.live_mut(at) else { return };
        let (client, limited) = (allocation.client, allocation.bitrate.is_some());
        let permissions = &allocation.permissions;
        for channel in allocation.channels.iter_mut() {
            let may = !limited && !channel.own_relay && permissions.is_permitted(now.mono_nanos, channel.peer.0.ip());
            if may == channel.short {
                continue;
            }
            channel.short = may;
            let Channel { number, relay, peer, .. } = *channel;
            let change = match may {
                true => Action::Bind { client, channel: number, relay, peer },
                false => Action::Unbind { client, channel: number, relay, peer },
            };
            self.actions.push_back(change);
        }
    }

    fn end_expired(&mut self, now: Now, at: u32) {
        let Some(allocation) = self.allocations.live(at) else { return };
        let session = &allocation.session;
        let reason = if session.generation != self.generation && !authenticate::still_verifies(&self.options, session) {
            EndReason::KeyRemoved
        } else if allocation.expires_nanos >= allocation.credential_ends_nanos {
            EndReason::CredentialExpired
        } else {
            EndReason::LifetimeOver
        };
        if reason == EndReason::CredentialExpired {
            let identity = allocation.start.identity.clone();
            self.actions.push_back(Action::Warn(Warning::ExpiredToken { identity }));
        }
        self.end(now, at, reason);
    }

    /// Ends an allocation: channels, connections, record, relay sockets, in this order.
    pub(crate) fn end(&mut self, now: Now, at: u32, reason: EndReason) {
        self.remove_channels(at, |_| false);
        self.drop_connections(at);
        if let Some(allocation) = self.take_out(at) {
            self.bury(now, allocation, reason);
        }
    }

    /// What is left to do for an allocation that is in no table any more: record and relay sockets.
    pub(crate) fn bury(&mut self, now: Now, allocation: Allocation, reason: EndReason) {
        self.counters.allocations_ended[reason as usize] += 1;
        if allocation.ticket.is_some() {
            self.shared.homes.forget(allocation.serial);
        }
        let relays = allocation.relays.clone();
        self.actions.push_back(Action::Ended(Box::new(end_record(now, allocation)), reason));
        for Relay { id: relay, lease, .. } in relays {
            self.actions.push_back(Action::CloseRelay { relay, lease });
        }
    }

    /// Takes an allocation out of every table but those of its channels and connections.
    pub(crate) fn take_out(&mut self, at: u32) -> Option<Allocation> {
        let tuple = FiveTuple::of(&self.allocations.live(at)?.client);
        let Slot::Live(allocation) = self.allocations.remove(at) else { return None };
        self.clients.remove(&tuple);
        self.mobile.remove(&allocation.serial);
        for relay in &allocation.relays {
            if let Some(owner) = self.relays.get_mut(relay.id.0 as usize) {
                *owner = None;
            }
        }
        *self.counters.live_mut(allocation.client.transport, families_of(&allocation)) -= 1;
        Some(*allocation)
    }

    /// Closes one of two relayed addresses, with what hangs on it.
    pub(crate) fn close_one_relay(&mut self, at: u32, relay: Relay) {
        self.remove_channels(at, |channel| channel.relay != relay.id);
        let Some(allocation) = self.allocations.live_mut(at) else { return };
        let (transport, serial) = (allocation.client.transport, allocation.serial);
        let started_by = allocation.start.client.transport;
        let before = families_of(allocation);
        allocation.relays.retain(|other| other.id != relay.id);
        allocation.permissions.retain(|ip| crate::allocation::family_of(ip) != relay.family());
        let after = families_of(allocation);
        *self.counters.live_mut(transport, before) -= 1;
        *self.counters.live_mut(transport, after) += 1;
        if let Some(owner) = self.relays.get_mut(relay.id.0 as usize) {
            *owner = None;
        }
        self.actions.push_back(Action::Released {
            serial,
            transport: started_by,
            relay: relay.id,
            family: relay.family(),
        });
        self.actions.push_back(Action::CloseRelay { relay: relay.id, lease: relay.lease });
        self.settle(at);
    }
}

fn families_of(allocation: &Allocation) -> RelayFamilies {
    RelayFamilies::of(allocation.relays.iter().map(Relay::family))
}

fn end_record(now: Now, allocation: Allocation) -> EndRecord {
    EndRecord {
        relay_ids: allocation.relays.iter().map(|relay| relay.id).collect(),
        start: allocation.start,
        client: allocation.client,
        ended: now,
        peers: allocation.peers_recorded,
        to_peer: allocation.to_peer,
        to_client: allocation.to_client,
    }
}
