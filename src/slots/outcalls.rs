//! Outgoing calls as the UM service knows them: who may place one, which worker has it, and how it goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::limits::{EVENTS_MAX, ORDER_TAKEN_TIME, OUTCALL_HOUR, OUTCALL_MEMORY, OUTCALLS_MAX, PLACINGS_MAX};
use crate::order::{OrderCause, OrderId, OrderReport, OrderState, Progress};
use crate::slot::Slot;

/// Why an outgoing call is not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPlaced {
    #[error("the mailbox has an outgoing call already")]
    Busy,
    #[error("the mailbox has placed as many calls within an hour as it may")]
    TooMany,
    #[error("no worker takes calls, or as many calls as may be are there already")]
    Unavailable,
}

/// An outgoing call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcall {
    /// The mailbox's id in the store.
    pub mailbox: String,
    pub progress: Progress,
    /// The slot whose worker has it.
    pub slot: Slot,
    placed: Instant,
    ended: Option<Instant>,
    hung_up: bool,
}

/// Outgoing calls of both slots.
#[derive(Default)]
pub(crate) struct Outcalls {
    calls: BTreeMap<OrderId, Outcall>,
    /// Mailboxes with a call that is not over.
    busy: BTreeMap<String, OrderId>,
    /// Who placed calls within the last hour, the oldest first.
    placings: VecDeque<(Instant, String)>,
    /// Calls that are over, the oldest first.
    over: VecDeque<OrderId>,
    /// Orders that no worker has confirmed, the oldest first.
    untaken: VecDeque<(Instant, OrderId)>,
    /// What a worker has named since it said hello; `None` once it has named all.
    named: [Option<BTreeSet<OrderId>>; 2],
    changed: VecDeque<OrderId>,
}

impl Outcalls {
    /// Whether a mailbox may place a call now.
    ///
    /// # Errors
    /// Why not. Cost: linear in the calls of the last hour.
    pub(crate) fn judge(&self, mailbox: &str, per_hour: u32) -> Result<(), NotPlaced> {
        if self.busy.contains_key(mailbox) {
            return Err(NotPlaced::Busy);
        }
        let placed = self.placings.iter().filter(|(_, by)| by == mailbox).count();
        if placed >= per_hour as usize {
            return Err(NotPlaced::TooMany);
        }
        let is_full = self.calls.len() >= OUTCALLS_MAX && self.over.is_empty();
        if is_full || self.placings.len() >= PLACINGS_MAX {
            return Err(NotPlaced::Unavailable);
        }
        Ok(())
    }

    /// A call was ordered of the slot's worker.
    pub(crate) fn placed(&mut self, id: OrderId, mailbox: &str, slot: Slot, now: Instant) {
        self.make_room();
        self.placings.push_back((now, mailbox.to_owned()));
        self.untaken.push_back((now + ORDER_TAKEN_TIME, id));
        self.busy.insert(mailbox.to_owned(), id);
        let progress = Progress::default();
        let call = Outcall { mailbox: mailbox.to_owned(), progress, slot, placed: now, ended: None, hung_up: false };
        self.calls.insert(id, call);
        self.tell(id);
    }

    /// The worker that is to hang up; `None`: there is no such call under way.
    pub(crate) fn hang_up(&mut self, id: OrderId) -> Option<Slot> {
        let call = self.calls.get_mut(&id).filter(|call| !call.progress.is_over())?;
        call.hung_up = true;
        Some(call.slot)
    }

    /// What a worker says. Calls that nobody here has ordered were ordered by an earlier UM service. Whether it is to hang
    /// up, as it may have been told before and not have heard.
    pub(crate) fn handle_report(&mut self, slot: Slot, report: OrderReport, now: Instant) -> bool {
        let OrderReport { order, mailbox, age_secs, over_secs, progress } = report;
        if let Some(named) = &mut self.named[slot.index()]
            && named.len() < OUTCALLS_MAX
        {
            named.insert(order);
        }
        let ago = |secs: u64| now.checked_sub(Duration::from_secs(secs)).unwrap_or(now);
        let is_done = |call: &Outcall| call.slot == slot && (call.progress.is_over() || call.hung_up);
        let must_end = !progress.is_over() && self.calls.get(&order).is_some_and(is_done);
        match self.calls.get(&order) {
            Some(call) if call.progress.is_over() || call.slot != slot || progress.state < call.progress.state => {}
            Some(call) if call.progress == progress => {}
            Some(_) => self.advance(order, progress, now),
            None if progress.is_over() && Duration::from_secs(over_secs) >= OUTCALL_MEMORY => {}
            None if self.calls.len() >= OUTCALLS_MAX && self.over.is_empty() => {}
            None => {
                self.make_room();
                self.remember_placing(&mailbox, ago(age_secs), now);
                self.busy.entry(mailbox.clone()).or_insert(order);
                let idle = Progress::default();
                let call =
                    Outcall { mailbox, progress: idle, slot, placed: ago(age_secs), ended: None, hung_up: false };
                self.calls.insert(order, call);
                self.advance(order, progress, ago(over_secs));
            }
        }
        must_end
    }

    /// The worker will name all its calls anew.
    pub(crate) fn begin_naming(&mut self, slot: Slot) {
        self.named[slot.index()] = Some(BTreeSet::new());
    }

    /// It has named them: those that it had taken and no longer has are lost.
    pub(crate) fn end_naming(&mut self, slot: Slot, now: Instant) {
        let Some(named) = self.named[slot.index()].take() else { return };
        self.lose(slot, now, |id, call| call.progress.state > OrderState::Idle && !named.contains(id));
    }

    /// The worker of the slot is gone, and its calls with it.
    pub(crate) fn clear(&mut self, slot: Slot, now: Instant) {
        self.named[slot.index()] = None;
        self.lose(slot, now, |_, _| true);
    }

    fn lose(&mut self, slot: Slot, now: Instant, is_lost: impl Fn(&OrderId, &Outcall) -> bool) {
        let lost =
            self.calls.iter().filter(|(id, call)| call.slot == slot && !call.progress.is_over() && is_lost(id, call));
        for id in lost.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.give_up(id, now);
        }
    }

    /// What time alone does. Gives the orders that no worker has taken: they are to be hung up, should one come late.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(Slot, OrderId)> {
        while self.placings.front().is_some_and(|(at, _)| *at + OUTCALL_HOUR <= now) {
            self.placings.pop_front();
        }
        while let Some(id) = self.over.front()
            && self.calls.get(id).and_then(|call| call.ended).is_none_or(|ended| ended + OUTCALL_MEMORY <= now)
        {
            self.make_room_of_oldest();
        }
        let mut given_up = Vec::new();
        while let Some((_, id)) = self.untaken.front().copied().filter(|(at, _)| *at <= now) {
            self.untaken.pop_front();
            if let Some(call) = self.calls.get(&id).filter(|call| call.progress.state == OrderState::Idle) {
                given_up.push((call.slot, id));
                self.give_up(id, now);
            }
        }
        given_up
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let forgotten = self.over.front().and_then(|id| self.calls.get(id)?.ended).map(|ended| ended + OUTCALL_MEMORY);
        let untaken = self.untaken.front().map(|(at, _)| *at);
        forgotten.into_iter().chain(untaken).min()
    }

    pub(crate) fn call(&self, id: OrderId) -> Option<&Outcall> {
        self.calls.get(&id)
    }

    /// Calls that are not over.
    pub(crate) fn running(&self) -> usize {
        self.busy.len()
    }

    pub(crate) fn poll_changed(&mut self) -> Option<OrderId> {
        self.changed.pop_front()
    }

    fn give_up(&mut self, id: OrderId, now: Instant) {
        let status = self.calls.get(&id).and_then(|call| call.progress.sip_status);
        self.advance(id, Progress::over(OrderCause::Unavailable, status), now);
    }

    fn advance(&mut self, id: OrderId, progress: Progress, at: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.progress = progress;
        if progress.is_over() {
            // Whoever hung up is owed no other reason.
            if call.hung_up {
                call.progress.cause = Some(OrderCause::None);
            }
            call.progress.cause.get_or_insert(OrderCause::Other);
            call.ended = Some(at);
            self.over.push_back(id);
            if self.busy.get(&call.mailbox) == Some(&id) {
                self.busy.remove(&call.mailbox);
            }
        }
        self.tell(id);
    }

    fn remember_placing(&mut self, mailbox: &str, at: Instant, now: Instant) {
        if at + OUTCALL_HOUR <= now || self.placings.len() >= PLACINGS_MAX {
            return;
        }
        let place = self.placings.partition_point(|(placed, _)| *placed <= at);
        self.placings.insert(place, (at, mailbox.to_owned()));
    }

    /// Forgets the oldest call that is over, when there is no room for another.
    fn make_room(&mut self) {
        if self.calls.len() >= OUTCALLS_MAX {
            self.make_room_of_oldest();
        }
    }

    fn make_room_of_oldest(&mut self) {
        if let Some(id) = self.over.pop_front() {
            self.calls.remove(&id);
        }
    }

    fn tell(&mut self, id: OrderId) {
        if self.changed.len() >= EVENTS_MAX {
            self.changed.pop_front();
        }
        self.changed.push_back(id);
    }
}

impl Outcall {
    /// When it was ordered.
    pub fn placed(&self) -> Instant {
        self.placed
    }
}
