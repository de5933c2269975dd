//! The supervision's part in outgoing calls: they go to the active worker, and count as calls.

use std::time::Instant;

use crate::action::Action;
use crate::order::{Order, OrderId, OrderReport};
use crate::outcalls::{NotPlaced, Outcall};
use crate::slot::Slot;
use crate::slots::Slots;
use crate::wire::ToWorker;

impl Slots {
    /// Orders a call of the active worker. It counts from now on, as one that came does.
    ///
    /// # Errors
    /// Why it is not placed; nothing was counted.
    pub fn place(&mut self, order: Order, per_hour: u32, now: Instant) -> Result<(), NotPlaced> {
        self.settle(now);
        // Nothing is kept for a worker that hears nothing now.
        let hears = |slot: &Slot| self.seat(*slot).worker().is_some_and(|worker| worker.connected);
        let fits = !self.stopping && order.is_bounded();
        let slot = self.active.filter(|slot| fits && hears(slot)).ok_or(NotPlaced::Unavailable)?;
        self.outcalls.judge(&order.mailbox, per_hour)?;
        let key = order.id.call_key();
        self.ledger.reserve(&key, slot, self.options.calls_max, now).map_err(|_| NotPlaced::Unavailable)?;
        self.outcalls.placed(order.id, &order.mailbox, slot, now);
        self.act(Action::Send { slot, message: ToWorker::Place(Box::new(order)) });
        Ok(())
    }

    /// Has an outgoing call hung up by the worker that has it, draining or not. Whether it was under way.
    pub fn hang_up(&mut self, order: OrderId) -> bool {
        let Some(slot) = self.outcalls.hang_up(order) else { return false };
        self.act(Action::Send { slot, message: ToWorker::HangUp { order } });
        true
    }

    /// A worker says how an outgoing call is.
    pub(crate) fn on_order(&mut self, slot: Slot, report: OrderReport, now: Instant) {
        let order = report.order;
        if self.outcalls.handle_report(slot, report, now) {
            self.act(Action::Send { slot, message: ToWorker::HangUp { order } });
        }
    }

    /// An outgoing call: one under way, or one that ended within [`OUTCALL_MEMORY`](crate::limits::OUTCALL_MEMORY).
    pub fn outcall(&self, order: OrderId) -> Option<&Outcall> {
        self.outcalls.call(order)
    }

    /// Outgoing calls under way.
    pub fn outcalls(&self) -> usize {
        self.outcalls.running()
    }

    /// An outgoing call that is not as it was, in order. At most [`EVENTS_MAX`](crate::limits::EVENTS_MAX) wait, the
    /// oldest is lost beyond.
    pub fn poll_outcall(&mut self) -> Option<OrderId> {
        self.outcalls.poll_changed()
    }

    /// Gives up what no worker has taken.
    pub(crate) fn settle_outcalls(&mut self, now: Instant) {
        for (slot, order) in self.outcalls.expire(now) {
            self.act(Action::Send { slot, message: ToWorker::HangUp { order } });
        }
    }
}
