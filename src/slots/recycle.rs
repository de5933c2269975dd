//! Recycling: a fresh worker is warmed in the slot that takes no calls, takes over, and the old one drains.

use std::time::{Duration, Instant};

use crate::action::{Action, Cause, Event};
use crate::limits::RETIRE_TIME;
use crate::seat::{Phase, Place};
use crate::slot::Slot;
use crate::slots::Slots;
use crate::wire::ToWorker;

/// A fresh worker is on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recycling {
    cause: Cause,
    /// Where it is to run.
    fresh: Slot,
    /// Generations up to this one are old.
    old: u64,
}

impl Slots {
    /// Asks for fresh workers. While a recycle runs, or another was too short a time ago, this one waits; several that
    /// wait are one.
    pub fn recycle(&mut self, cause: Cause, now: Instant) {
        self.want(cause);
        self.settle(now);
    }

    fn want(&mut self, cause: Cause) {
        if !self.stopping && self.wish.is_none() {
            self.wish = Some(cause);
            self.tell(Event::RecycleWanted { cause });
        }
    }

    /// Asks for a recycle when the active worker is too old or too large.
    pub(crate) fn watch_wear(&mut self, slot: Slot, now: Instant) {
        let busy = self.recycling.is_some() || self.seats.iter().any(|seat| seat.is_leaving());
        let Some(status) = self.status(slot).filter(|_| !busy && self.active == Some(slot)) else { return };
        let age = Duration::from_secs(status.age_secs);
        let cause = if self.options.recycle_age.is_some_and(|max| age >= max) {
            Cause::Age
        } else if self.options.recycle_memory_bytes.is_some_and(|max| status.memory_bytes > max) {
            Cause::Memory
        } else {
            return;
        };
        // Too soon after the last one it would only wait; the next status asks again.
        if self.earliest_recycle().is_none_or(|at| at <= now) {
            self.want(cause);
        }
    }

    fn earliest_recycle(&self) -> Option<Instant> {
        self.last_recycle.map(|(began, _)| began + self.options.recycle_interval)
    }

    /// When a waiting recycle may begin, if only time holds it up.
    pub(crate) fn recycle_due(&self) -> Option<Instant> {
        self.wish.filter(|_| self.may_recycle()).and(self.earliest_recycle())
    }

    fn may_recycle(&self) -> bool {
        let settled = |seat: &crate::seat::Seat| !seat.is_leaving() && !matches!(seat.place, Place::Unsearched { .. });
        !self.stopping && self.recycling.is_none() && self.active.is_some() && self.seats.iter().all(settled)
    }

    pub(crate) fn begin_recycle(&mut self, now: Instant) {
        let (Some(cause), Some(active)) = (self.wish, self.active) else { return };
        if !self.may_recycle() || self.earliest_recycle().is_some_and(|at| at > now) {
            return;
        }
        let fresh = active.other();
        self.wish = None;
        self.last_recycle = Some((now, cause));
        self.recycling = Some(Recycling { cause, fresh, old: self.last_generation });
        self.tell(Event::RecycleBegan { cause });
        match self.seat(fresh).worker().map(|worker| worker.phase) {
            Some(Phase::Serving) => self.drain(fresh, now),
            Some(Phase::Starting { .. }) => self.retire(fresh, now),
            _ => {}
        }
    }

    /// Hands over to the fresh worker once it takes calls.
    pub(crate) fn finish_recycle(&mut self, now: Instant) {
        let Some(Recycling { cause, fresh, old }) = self.recycling else { return };
        let is_fresh = |slot: Slot| self.seat(slot).worker().is_some_and(|worker| worker.generation > old);
        if !self.seat(fresh).takes_calls() || !is_fresh(fresh) {
            return;
        }
        let former = fresh.other();
        let former_is_old = !is_fresh(former);
        let generation = self.seat(fresh).worker().map_or(0, |worker| worker.generation);
        self.recycling = None;
        if self.active != Some(fresh) {
            self.active = Some(fresh);
            self.tell(Event::Active { slot: fresh, generation });
        }
        if former_is_old {
            self.drain(former, now);
        }
        self.tell(Event::RecycleDone { cause });
    }

    /// A serving worker gets no more calls and ends with its last one.
    pub(crate) fn drain(&mut self, slot: Slot, now: Instant) {
        let calls = self.ledger.running(slot);
        let until = now + self.options.longest_call;
        let Some(worker) = self.seat_mut(slot).worker_mut().filter(|worker| worker.phase == Phase::Serving) else {
            return;
        };
        worker.phase = Phase::Draining { until };
        worker.told = None;
        self.tell(Event::Draining { slot, calls });
    }

    /// Tells a draining worker where else calls go, and to end when it has none any more or its time is over.
    pub(crate) fn settle_drain(&mut self, slot: Slot, now: Instant) {
        let calls = self.ledger.running(slot);
        // Nobody takes the calls on their way to it when we stop.
        let awaited = self.ledger.reserved(slot) > 0 && !self.stopping;
        let elsewhere = self.active.filter(|active| *active != slot);
        let elsewhere = elsewhere.and_then(|active| self.contacts(active)).cloned().unwrap_or_default();
        let Some(worker) = self.seat_mut(slot).worker_mut() else { return };
        let Phase::Draining { until } = worker.phase else { return };
        let knows = worker.status.draining_secs.is_some();
        let done = knows && calls == 0 && worker.status.calls == 0 && !awaited;
        let tell = worker.connected && worker.told.as_ref() != Some(&elsewhere);
        if done || until <= now {
            if !done {
                self.tell(Event::CutOff { slot, calls });
            }
            self.retire(slot, now);
        } else if tell {
            worker.told = Some(elsewhere.clone());
            self.act(Action::Send { slot, message: ToWorker::Drain { elsewhere } });
        }
    }

    /// Tells a worker to end, by signal when it does not listen.
    pub(crate) fn retire(&mut self, slot: Slot, now: Instant) {
        let Some(worker) = self.seat_mut(slot).worker_mut() else { return };
        worker.phase = Phase::Retiring { until: now + RETIRE_TIME };
        let action = match worker.connected {
            true => Action::Send { slot, message: ToWorker::Retire },
            false => Action::Terminate { slot },
        };
        self.act(action);
    }

    /// What lives in the slot cannot be spoken with: it drains by signal, as long as the longest call.
    pub(crate) fn forgo(&mut self, slot: Slot, now: Instant) {
        let until = now + self.options.longest_call;
        let Some(worker) = self.seat_mut(slot).worker_mut() else { return };
        if matches!(worker.phase, Phase::Starting { .. } | Phase::Serving | Phase::Draining { .. }) {
            worker.phase = Phase::Foreign { until };
            self.act(Action::Terminate { slot });
            self.tell(Event::Unusable { slot });
        }
    }
}
