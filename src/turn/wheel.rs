//! A wheel of one-second slots that says which allocations to look at next.
//!
//! It only reclaims: what is over is judged by exact comparison where it is used. An entry may fire early (its deadline
//! lay beyond the wheel) or for nothing (the deadline has moved); whoever files it looks again and files anew.

use crate::io::AllocationId;

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Slots of the wheel, and so the seconds that it sees ahead. A power of two.
const SLOTS: usize = 1024;

/// Which allocation to look at; the serial tells an old tenant of the slot from the present one, and the second an
/// entry that still counts from one that an earlier entry has replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) allocation: AllocationId,
    pub(crate) serial: u64,
    pub(crate) second: u64,
}

#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<Entry>>,
    /// One bit per slot that holds entries.
    occupied: [u64; SLOTS / 64],
    /// All slots up to this second, this one included, were emptied.
    emptied_to_sec: u64,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], occupied: [0; SLOTS / 64], emptied_to_sec: 0 }
    }

    /// Files an entry to come out at the first full second at or after `deadline_nanos`, or earlier where that lies
    /// beyond the wheel. Returns the second.
    pub(crate) fn file(&mut self, now_nanos: u64, deadline_nanos: u64, allocation: AllocationId, serial: u64) -> u64 {
        if self.next_sec().is_none() {
            self.emptied_to_sec = now_nanos / SECOND;
        }
        let first = self.emptied_to_sec + 1;
        let last = self.emptied_to_sec + SLOTS as u64;
        let second = deadline_nanos.div_ceil(SECOND).clamp(first, last);
        let slot = slot_of(second);
        self.slots[slot].push(Entry { allocation, serial, second });
        self.occupied[slot / 64] |= 1 << (slot % 64);
        second
    }

    /// Takes out what is due at `now_nanos`.
    pub(crate) fn take_due(&mut self, now_nanos: u64, due: &mut Vec<Entry>) {
        let now_sec = now_nanos / SECOND;
        while let Some(second) = self.next_sec().filter(|second| *second <= now_sec) {
            let slot = slot_of(second);
            due.append(&mut self.slots[slot]);
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            self.emptied_to_sec = second;
        }
        self.emptied_to_sec = self.emptied_to_sec.max(now_sec);
    }

    /// When the next entry comes out. A look at sixteen words, whatever the number of entries.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.next_sec().map(|second| second * SECOND)
    }

    fn next_sec(&self) -> Option<u64> {
        let first = self.emptied_to_sec + 1;
        let start = slot_of(first);
        let words = self.occupied.len();
        // The first word is looked at twice: from `start` on, and at the end the part before it.
        for step in 0..=words {
            let at = (start / 64 + step) % words;
            let mut word = self.occupied[at];
            if step == 0 {
                word &= u64::MAX << (start % 64);
            }
            if step == words {
                word &= !(u64::MAX << (start % 64));
            }
            if word != 0 {
                let slot = at * 64 + word.trailing_zeros() as usize;
                return Some(first + ((slot + SLOTS - start) % SLOTS) as u64);
            }
        }
        None
    }
}

fn slot_of(second: u64) -> usize {
    second as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(wheel: &mut Wheel, now_nanos: u64, deadline_nanos: u64, serial: u64) -> u64 {
        wheel.file(now_nanos, deadline_nanos, AllocationId(0), serial)
    }

    fn due(wheel: &mut Wheel, now_nanos: u64) -> Vec<u64> {
        let mut due = Vec::new();
        wheel.take_due(now_nanos, &mut due);
        due.into_iter().map(|entry| entry.serial).collect()
    }

    #[test]
    fn an_entry_comes_out_at_the_second_after_its_deadline_and_not_before() {
        let mut wheel = Wheel::new();
        let now = 5_000 * SECOND + 1;
        file(&mut wheel, now, now + 300 * SECOND, 1);
        assert_eq!(wheel.next_deadline(), Some(5_301 * SECOND));
        assert!(due(&mut wheel, 5_301 * SECOND - 1).is_empty());
        assert_eq!(due(&mut wheel, 5_301 * SECOND), [1]);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_comes_out_early() {
        let mut wheel = Wheel::new();
        file(&mut wheel, 0, 3_600 * SECOND, 1);
        assert_eq!(wheel.next_deadline(), Some(1_024 * SECOND));
        assert_eq!(due(&mut wheel, 1_024 * SECOND), [1]);
    }

    #[test]
    fn entries_of_every_second_come_out_in_order() {
        let mut wheel = Wheel::new();
        for second in (1..=SLOTS as u64).rev() {
            file(&mut wheel, 0, second * SECOND, second);
        }
        for second in 1..=SLOTS as u64 {
            assert_eq!(wheel.next_deadline(), Some(second * SECOND));
            assert_eq!(due(&mut wheel, second * SECOND), [second]);
        }
    }

    #[test]
    fn a_wheel_that_stood_still_catches_up_at_once() {
        let mut wheel = Wheel::new();
        file(&mut wheel, 0, 10 * SECOND, 1);
        file(&mut wheel, 0, 900 * SECOND, 2);
        assert_eq!(due(&mut wheel, 1_000_000 * SECOND), [1, 2]);
        file(&mut wheel, 1_000_000 * SECOND, 1_000_005 * SECOND, 3);
        assert_eq!(wheel.next_deadline(), Some(1_000_005 * SECOND));
    }
}
