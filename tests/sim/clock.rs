//! Virtual time: two clocks, and what is to happen when.

use std::collections::BTreeMap;

use postern_turn::io::Now;

pub const SECOND: u64 = 1_000_000_000;
pub const MILLI: u64 = 1_000_000;

/// Where the monotonic clock stands at the start, off the full second.
const START_NANOS: u64 = 1_000 * SECOND + 123_456_789;
/// Where the wall clock stands then.
pub const START_UNIX_SECS: u64 = 1_900_000_000;

/// Both clocks, moved by hand.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    mono_nanos: u64,
    /// What somebody has put the wall clock forward or back by.
    stepped_secs: i64,
}

impl Clock {
    pub fn new() -> Self {
        Self { mono_nanos: START_NANOS, stepped_secs: 0 }
    }

    pub fn now(&self) -> Now {
        let passed = (self.mono_nanos - START_NANOS) / SECOND;
        Now {
            mono_nanos: self.mono_nanos,
            unix_secs: (START_UNIX_SECS + passed).saturating_add_signed(self.stepped_secs),
        }
    }

    pub fn nanos(&self) -> u64 {
        self.mono_nanos
    }

    /// Nanoseconds since the start.
    pub fn passed_nanos(&self) -> u64 {
        self.mono_nanos - START_NANOS
    }

    pub fn jump_to(&mut self, mono_nanos: u64) {
        self.mono_nanos = self.mono_nanos.max(mono_nanos);
    }

    pub fn step_wall(&mut self, secs: i64) {
        self.stepped_secs += secs;
    }
}

/// What is to happen, by time; at the same time in the order of filing.
pub struct Schedule<E> {
    events: BTreeMap<(u64, u64), E>,
    filed: u64,
}

impl<E> Schedule<E> {
    pub fn new() -> Self {
        Self { events: BTreeMap::new(), filed: 0 }
    }

    pub fn at(&mut self, nanos: u64, event: E) {
        self.filed += 1;
        self.events.insert((nanos, self.filed), event);
    }

    pub fn next_at(&self) -> Option<u64> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    pub fn pop(&mut self) -> Option<E> {
        self.events.pop_first().map(|(_, event)| event)
    }
}
