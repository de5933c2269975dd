//! Ends: what is over, and that all of it is given back and told.

use std::net::SocketAddr;

use postern_turn::io::{Client, Family};
use postern_turn::record::{EndReason, EndRecord};

use super::answers::Answer;
use super::ledger::{Leaving, Model, Port, Waiting};
use super::violation::{Rule, Violation};
use crate::clock::SECOND;
use crate::effect::{Effect, Input};

impl Model {
    /// Allocations whose time is over live no longer, whether or not the server has noticed.
    pub(super) fn expire(&mut self, now: u64) {
        let over: Vec<Client> =
            self.live.values().filter(|allocation| now >= allocation.ends).map(|at| at.client).collect();
        for client in over {
            let ended = self.live.get(&client).map(|allocation| allocation.ends);
            self.tally.expiries += 1;
            self.end(&client, ended);
        }
    }

    /// `ended`: when its time was over; `None` ends it in this step.
    pub(super) fn end(&mut self, client: &Client, ended: Option<u64>) {
        let Some(allocation) = self.live.remove(client) else { return };
        self.leaving.push(Leaving {
            shard: allocation.shard,
            key: Some(allocation.key.clone()),
            relays: allocation.relays.clone(),
            unrecorded: Some(allocation),
            ended,
        });
    }

    /// One of two families goes, with all that hangs on it.
    pub(super) fn end_family(&mut self, client: &Client, family: Family) {
        let Some(allocation) = self.live.get_mut(client) else { return };
        let is_v4 = family == Family::V4;
        let (gone, kept): (Vec<_>, Vec<_>) = allocation.relays.iter().partition(|relay| relay.is_ipv4() == is_v4);
        allocation.relays = kept;
        allocation.permissions.retain(|ip, _| ip.is_ipv4() != is_v4);
        allocation.channels.retain(|_, (peer, _)| peer.is_ipv4() != is_v4);
        let shard = allocation.shard;
        self.leaving.push(Leaving { shard, key: None, relays: gone, unrecorded: None, ended: None });
    }

    pub(super) fn on_client_closed(&mut self, client: &Client) {
        self.closed.insert(client.stream);
        self.awaited.remove(client);
        self.end(client, None);
        if let Some(waiting) = self.waiting.get_mut(client) {
            waiting.abandoned = true;
        }
    }

    pub(super) fn on_relay_lost(&mut self, relay: SocketAddr) {
        let owner = self.live.values().find(|allocation| allocation.relays.contains(&relay));
        if let Some(client) = owner.map(|allocation| allocation.client) {
            self.end(&client, None);
        }
    }

    pub(super) fn on_shutdown(&mut self) {
        for client in self.live.keys().copied().collect::<Vec<_>>() {
            self.end(&client, None);
        }
        for left in &mut self.leaving {
            left.ended = None;
        }
    }

    /// Nobody waits any more for what was opened: it is closed at once.
    pub(super) fn check_abandoned(
        &mut self,
        waiting: &Waiting,
        opened: Vec<SocketAddr>,
        answer: Option<Answer<'_>>,
    ) -> Result<(), Violation> {
        let key = Some(waiting.key.clone());
        self.leaving.push(Leaving { shard: waiting.shard, key, relays: opened, unrecorded: None, ended: None });
        Rule::Answer.holds(answer.is_none(), || "a closed stream got an answer".into())
    }

    /// Compares what the edge gave back in this step with what is over.
    pub(super) fn settle_ends(&mut self, now: u64, input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        for effect in effects {
            match effect {
                Effect::Closed { local } => self.on_closed(*local)?,
                Effect::Ended(record, reason) => self.on_ended(record, *reason)?,
                Effect::ReservationOver { local } => self.on_reservation_over(now, *local)?,
                _ => {}
            }
        }
        let rung = match input {
            Input::Timeout { shard } => Some(*shard),
            _ => None,
        };
        let overdue = |left: &&Leaving| match left.ended {
            _ if left.is_done() => false,
            None => true,
            Some(ended) => rung == Some(left.shard) && ended.div_ceil(SECOND) * SECOND <= now,
        };
        if let Some(left) = self.leaving.iter().find(overdue) {
            let rule = if left.ended.is_some() { Rule::Lifetime } else { Rule::Port };
            return Err(rule.broken(format!("over and not given back at {now}: {left:?}")));
        }
        self.leaving.retain(|left| !left.is_done());
        if matches!(input, Input::BrokerTimeout)
            && let Some(late) = self.reservations.values().find(|kept| kept.deadline <= now)
        {
            return Err(Rule::Timer.broken(format!("{late:?} is over and still kept")));
        }
        Ok(())
    }

    fn on_closed(&mut self, local: SocketAddr) -> Result<(), Violation> {
        let port = self.ports.remove(&local);
        Rule::Port.holds(port == Some(Port::Relay), || format!("{local} was closed and was {port:?}"))?;
        let Some(left) = self.leaving.iter_mut().find(|left| left.relays.contains(&local)) else {
            return Err(Rule::Lifetime.broken(format!("{local} was closed before its time")));
        };
        left.relays.retain(|relay| *relay != local);
        Ok(())
    }

    fn on_ended(&mut self, record: &EndRecord, reason: EndReason) -> Result<(), Violation> {
        let is = |left: &&mut Leaving| {
            left.unrecorded.as_ref().is_some_and(|allocation| allocation.serial == record.start.serial)
        };
        let left = self.leaving.iter_mut().find(is);
        let Some((allocation, ran_out)) = left.and_then(|left| Some((left.unrecorded.take()?, left.ended.is_some())))
        else {
            return Err(Rule::Lifetime.broken(format!("{record:?} ended before its time, or twice")));
        };
        let told = [record.to_peer, record.to_client].map(|flow| (flow.packets, flow.bytes));
        let seen = [allocation.to_peer, allocation.to_client];
        Rule::Record.holds(told == seen, || format!("the record tells {told:?}, and {seen:?} passed"))?;
        let key = &self.issued[allocation.token].key_id;
        let right = match reason {
            EndReason::KeyRemoved => ran_out && !self.rules.secrets.iter().any(|(id, _)| id == key),
            EndReason::CredentialExpired => ran_out && allocation.ends == allocation.credential_ends,
            EndReason::LifetimeOver => ran_out && allocation.ends < allocation.credential_ends,
            _ => !ran_out,
        };
        Rule::Record.holds(right, || format!("{allocation:?} ended for {reason:?}"))
    }

    fn on_reservation_over(&mut self, now: u64, local: SocketAddr) -> Result<(), Violation> {
        let Some(Port::Reserved(token)) = self.ports.remove(&local) else {
            return Err(Rule::Port.broken(format!("{local} was not reserved")));
        };
        let deadline = self.reservations.remove(&token).map(|kept| kept.deadline);
        Rule::Timer.holds(deadline.is_some_and(|deadline| deadline <= now), || {
            format!("{local} was reserved until {deadline:?}, not {now}")
        })
    }
}
