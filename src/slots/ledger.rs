//! Which calls count: those on their way to a worker, and those that workers have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::action::Refused;
use crate::call_key::CallKey;
use crate::limits::{CALLS_PER_SLOT_MAX, RESERVATION};
use crate::slot::Slot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Reserved { slot: Slot, serial: u64 },
    Running { slot: Slot },
}

/// A reservation's end, unless another serial shows that it became something else.
struct Expiry {
    at: Instant,
    call: CallKey,
    serial: u64,
}

/// Calls of both slots, each counted once.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<CallKey, Entry>,
    /// Oldest first.
    expiries: VecDeque<Expiry>,
    reserved: [u32; 2],
    running: [u32; 2],
    /// What a worker has named since it said hello; `None` once it has named all.
    named: [Option<BTreeSet<CallKey>>; 2],
    last_serial: u64,
}

impl Ledger {
    /// Counts a call from its 302 on. One that is redirected again counts once.
    pub(crate) fn reserve(&mut self, call: &CallKey, slot: Slot, calls_max: u32, now: Instant) -> Result<(), Refused> {
        match self.entries.get(call) {
            Some(Entry::Running { .. }) => return Ok(()),
            Some(Entry::Reserved { .. }) => self.remove(call),
            None if self.total() >= calls_max => return Err(Refused::Full),
            None => {}
        }
        self.last_serial += 1;
        let serial = self.last_serial;
        self.entries.insert(call.clone(), Entry::Reserved { slot, serial });
        self.reserved[slot.index()] += 1;
        self.expiries.push_back(Expiry { at: now + RESERVATION, call: call.clone(), serial });
        // Reservations that were used leave their expiries behind.
        if self.expiries.len() > 2 * self.entries.len() + 1024 {
            let entries = &self.entries;
            self.expiries.retain(|expiry| is_current(entries, expiry));
        }
        Ok(())
    }

    /// A worker has the call, reserved or not, and wherever it was reserved.
    pub(crate) fn began(&mut self, call: CallKey, slot: Slot) {
        if self.running[slot.index()] as usize >= CALLS_PER_SLOT_MAX {
            return;
        }
        if let Some(named) = &mut self.named[slot.index()] {
            named.insert(call.clone());
        }
        self.remove(&call);
        self.running[slot.index()] += 1;
        self.entries.insert(call, Entry::Running { slot });
    }

    /// A worker is done with the call.
    pub(crate) fn ended(&mut self, call: &CallKey, slot: Slot) {
        if let Some(named) = &mut self.named[slot.index()] {
            named.remove(call);
        }
        if self.entries.get(call) == Some(&Entry::Running { slot }) {
            self.remove(call);
        }
    }

    /// The worker will name all its calls anew.
    pub(crate) fn begin_naming(&mut self, slot: Slot) {
        self.named[slot.index()] = Some(BTreeSet::new());
    }

    /// It has named them: calls that it no longer has are over.
    pub(crate) fn end_naming(&mut self, slot: Slot) {
        let Some(named) = self.named[slot.index()].take() else { return };
        let gone = |(call, entry): (&CallKey, &Entry)| {
            (*entry == Entry::Running { slot } && !named.contains(call)).then(|| call.clone())
        };
        let gone: Vec<CallKey> = self.entries.iter().filter_map(gone).collect();
        gone.iter().for_each(|call| self.remove(call));
    }

    /// The worker of the slot is gone, and what was on its way to it fails.
    pub(crate) fn clear(&mut self, slot: Slot) {
        self.entries.retain(|_, entry| match entry {
            Entry::Reserved { slot: of, .. } | Entry::Running { slot: of } => *of != slot,
        });
        self.reserved[slot.index()] = 0;
        self.running[slot.index()] = 0;
        self.named[slot.index()] = None;
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(expiry) = self.expiries.front() {
            let current = is_current(&self.entries, expiry);
            if current && expiry.at > now {
                return;
            }
            let Some(expiry) = self.expiries.pop_front() else { return };
            if current {
                self.remove(&expiry.call);
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.expiries.front().map(|expiry| expiry.at)
    }

    /// Calls that the slot's worker has.
    pub(crate) fn running(&self, slot: Slot) -> u32 {
        self.running[slot.index()]
    }

    /// Calls on their way to it.
    pub(crate) fn reserved(&self, slot: Slot) -> u32 {
        self.reserved[slot.index()]
    }

    /// All of both slots.
    pub(crate) fn total(&self) -> u32 {
        self.reserved.iter().chain(&self.running).sum()
    }

    fn remove(&mut self, call: &CallKey) {
        match self.entries.remove(call) {
            Some(Entry::Reserved { slot, .. }) => self.reserved[slot.index()] -= 1,
            Some(Entry::Running { slot }) => self.running[slot.index()] -= 1,
            None => {}
        }
    }
}

fn is_current(entries: &BTreeMap<CallKey, Entry>, expiry: &Expiry) -> bool {
    matches!(entries.get(&expiry.call), Some(Entry::Reserved { serial, .. }) if *serial == expiry.serial)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn call(number: u32) -> CallKey {
        CallKey::of(&number.to_string())
    }

    #[test]
    fn a_call_counts_once_from_its_redirect_to_its_end() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.reserve(&call(1), Slot::A, 2, now).unwrap();
        ledger.reserve(&call(1), Slot::B, 2, now).unwrap();
        assert_eq!((ledger.total(), ledger.reserved(Slot::A), ledger.reserved(Slot::B)), (1, 0, 1));
        ledger.began(call(1), Slot::A);
        ledger.began(call(1), Slot::A);
        assert_eq!((ledger.total(), ledger.running(Slot::A)), (1, 1));
        ledger.ended(&call(1), Slot::B);
        assert_eq!(ledger.total(), 1);
        ledger.ended(&call(1), Slot::A);
        ledger.ended(&call(1), Slot::A);
        assert_eq!(ledger.total(), 0);
    }

    #[test]
    fn a_reservation_lapses_but_a_call_does_not() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.reserve(&call(1), Slot::A, 9, now).unwrap();
        ledger.reserve(&call(2), Slot::A, 9, now).unwrap();
        ledger.began(call(2), Slot::A);
        ledger.expire(now + RESERVATION - Duration::from_millis(1));
        assert_eq!(ledger.total(), 2);
        ledger.expire(now + RESERVATION);
        assert_eq!((ledger.total(), ledger.running(Slot::A), ledger.next_timeout()), (1, 1, None));
    }

    #[test]
    fn a_reservation_made_anew_lapses_later() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.reserve(&call(1), Slot::A, 9, now).unwrap();
        let later = now + RESERVATION / 2;
        ledger.reserve(&call(1), Slot::A, 9, later).unwrap();
        ledger.expire(now + RESERVATION);
        assert_eq!(ledger.total(), 1);
        ledger.expire(later + RESERVATION);
        assert_eq!(ledger.total(), 0);
    }

    #[test]
    fn no_more_than_may_be_are_reserved() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.began(call(1), Slot::B);
        ledger.reserve(&call(2), Slot::A, 2, now).unwrap();
        assert_eq!(ledger.reserve(&call(3), Slot::A, 2, now), Err(Refused::Full));
        ledger.reserve(&call(2), Slot::A, 2, now).unwrap();
        ledger.clear(Slot::B);
        ledger.reserve(&call(3), Slot::A, 2, now).unwrap();
        assert_eq!(ledger.total(), 2);
    }

    #[test]
    fn what_a_worker_no_longer_names_is_over() {
        let mut ledger = Ledger::default();
        (1..=3).for_each(|number| ledger.began(call(number), Slot::A));
        ledger.began(call(9), Slot::B);
        ledger.begin_naming(Slot::A);
        ledger.began(call(2), Slot::A);
        ledger.began(call(3), Slot::A);
        ledger.began(call(4), Slot::A);
        ledger.ended(&call(3), Slot::A);
        assert_eq!(ledger.running(Slot::A), 3);
        ledger.end_naming(Slot::A);
        assert_eq!((ledger.running(Slot::A), ledger.running(Slot::B)), (2, 1));
        ledger.end_naming(Slot::A);
        assert_eq!(ledger.running(Slot::A), 2);
    }

    #[test]
    fn used_reservations_take_no_memory_for_long() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for number in 0..100_000 {
            ledger.reserve(&call(number), Slot::A, 9, now).unwrap();
            ledger.began(call(number), Slot::A);
            ledger.ended(&call(number), Slot::A);
        }
        assert!(ledger.expiries.len() < 2_000);
    }
}
