//! What the edge looks like from outside after a step: counts, ports, quotas, timers, short ways.

use postern_turn::io::Client;

use super::ledger::{Allocation, Leaving, Model, Port};
use super::violation::{Rule, Violation};
use crate::clock::SECOND;
use crate::edge::Edge;
use crate::effect::{Effect, Input, ShortWay};

impl Model {
    pub(super) fn survey(&self, now: u64, input: &Input, edge: &Edge) -> Result<(), Violation> {
        self.survey_counts(edge)?;
        self.survey_ports(edge)?;
        for shard in 0..edge.shards() {
            let rung = matches!(input, Input::Timeout { shard: rung } if *rung == shard);
            self.survey_timer(now, shard, rung, edge)?;
        }
        let soonest = self.reservations.values().map(|kept| kept.deadline).min();
        Rule::Timer.holds(edge.broker_timeout() == soonest, || {
            format!("the broker's timer is {:?}, the soonest reservation ends {soonest:?}", edge.broker_timeout())
        })
    }

    /// Nothing is kept but for those who have or had an allocation, and for those who wait for one.
    fn survey_counts(&self, edge: &Edge) -> Result<(), Violation> {
        let unrecorded = |shard: usize| move |left: &&Leaving| left.shard == shard && left.unrecorded.is_some();
        for shard in 0..edge.shards() {
            let live = self.live.values().filter(|allocation| allocation.shard == shard).count();
            let waiting = self.waiting.values().filter(|waiting| waiting.shard == shard).count();
            let expected = live + waiting + self.leaving.iter().filter(unrecorded(shard)).count();
            Rule::Kept.holds(edge.allocations(shard) == expected, || {
                format!("shard {shard} keeps {} allocations instead of {expected}", edge.allocations(shard))
            })?;
        }
        let living = self.live.len() + self.leaving.iter().filter(|left| left.unrecorded.is_some()).count();
        Rule::Kept.holds(edge.counted_live() == living as u64, || {
            format!("the gauge says {} instead of {living}", edge.counted_live())
        })
    }

    fn survey_ports(&self, edge: &Edge) -> Result<(), Violation> {
        for pool in edge.port_use() {
            let open = self.ports.keys().filter(|local| local.ip() == pool.address && !pool.tcp).count() as u32;
            let taken = pool.total - pool.available;
            Rule::Port.holds(taken == open, || format!("{taken} ports of {} are leased, {open} open", pool.address))?;
        }
        for (local, port) in &self.ports {
            let open = *port != Port::Relay || edge.is_open(*local);
            Rule::Port.holds(open, || format!("{local} is closed and its allocation lives"))?;
        }
        for key in &self.keys {
            let (used, held) = (edge.quota_used(key), self.counted(key));
            Rule::Quota.holds(used == held, || format!("{used} count against {key:?} that holds {held}"))?;
        }
        Ok(())
    }

    /// The timer rings in time for the next thing that is over, and never for the past.
    fn survey_timer(&self, now: u64, shard: usize, rung: bool, edge: &Edge) -> Result<(), Violation> {
        let next = edge.next_timeout(shard);
        if rung {
            Rule::Timer.holds(next.is_none_or(|next| next > now), || format!("at {now} the next timer is {next:?}"))?;
        }
        let here = |allocation: &&Allocation| allocation.shard == shard;
        let ends = self.live.values().filter(here).flat_map(|allocation| {
            let inner = allocation.permissions.values().chain(allocation.channels.values().map(|(_, end)| end));
            inner.copied().filter(move |end| *end > now).chain([allocation.ends])
        });
        let left = self.leaving.iter().filter(|left| left.shard == shard).filter_map(|left| left.ended);
        let Some(soonest) = ends.chain(left).min() else { return Ok(()) };
        let due = soonest.div_ceil(SECOND) * SECOND;
        Rule::Timer.holds(next.is_some_and(|next| next <= due), || {
            format!("{soonest} ends something on shard {shard}, the next timer is {next:?}")
        })
    }

    /// The kernel may forward a channel exactly while its permission holds and nobody has to look at the packets.
    pub(super) fn settle_short_ways(&mut self, now: u64, input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        for effect in effects {
            match effect {
                Effect::Bound(way) => {
                    let before = self.short.insert((way.client, way.channel), *way);
                    Rule::ShortWay.holds(before.is_none(), || format!("{way:?} was bound twice"))?;
                }
                Effect::Unbound(way) => {
                    let before = self.short.remove(&(way.client, way.channel));
                    Rule::ShortWay
                        .holds(before == Some(*way), || format!("{way:?} was unbound, and was {before:?}"))?;
                }
                _ => {}
            }
        }
        let rung = match input {
            Input::Timeout { shard } => Some(*shard),
            _ => None,
        };
        for ((client, number), way) in &self.short {
            self.check_short(now, rung, client, *number, way)?;
        }
        for allocation in self.live.values().filter(|allocation| allocation.bucket.is_none()) {
            for (number, (peer, end)) in &allocation.channels {
                let plain = now < *end && !self.rules.relays.contains(&peer.ip());
                let must = plain && allocation.is_permitted(now, peer.ip());
                let is = self.short.contains_key(&(allocation.reached, *number));
                Rule::ShortWay.holds(is || !must, || format!("channel {number:x} to {peer} has no short way"))?;
            }
        }
        Ok(())
    }

    fn check_short(
        &self,
        now: u64,
        rung: Option<usize>,
        client: &Client,
        number: u16,
        way: &ShortWay,
    ) -> Result<(), Violation> {
        let left = self.leaving.iter().filter_map(|left| left.unrecorded.as_ref());
        let is = |allocation: &&Allocation| allocation.reached == *client && allocation.relays.contains(&way.relay);
        let owner = self.live.values().chain(left).find(is);
        let Some(allocation) = owner else {
            return Err(Rule::ShortWay.broken(format!("{way:?} outlives its allocation")));
        };
        let channel = allocation.channels.get(&number).filter(|(peer, _)| *peer == way.peer);
        let permission = allocation.permissions.get(&way.peer.ip());
        let (Some((_, end)), Some(permitted)) = (channel, permission) else {
            return Err(Rule::ShortWay.broken(format!("{way:?} has no channel or no permission")));
        };
        let late = rung == Some(allocation.shard) && (*end).min(*permitted).div_ceil(SECOND) * SECOND <= now;
        let plain = allocation.bucket.is_none() && !self.rules.relays.contains(&way.peer.ip());
        let right = plain && !late;
        Rule::ShortWay.holds(right, || format!("{way:?} may not be: permitted until {permitted}, bound until {end}"))
    }
}
