//! The same error again and again becomes one line now and then, with a count.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Lets one of many repeats through per interval, and says how many were held back since the last one.
///
/// Lock-free, usable as a `static`. Racing threads may let two through; none is forgotten in the count.
pub struct RepeatLimit {
    interval_millis: u64,
    /// 0: nothing was let through yet.
    next_millis: AtomicU64,
    held_back: AtomicU64,
}

/// How often it happened without being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    pub held_back: u64,
}

impl RepeatLimit {
    /// What suits an operator's log.
    pub const MINUTE_MILLIS: u64 = 60_000;

    /// One per `interval_millis`.
    pub const fn new(interval_millis: u64) -> Self {
        Self { interval_millis, next_millis: AtomicU64::new(0), held_back: AtomicU64::new(0) }
    }

    /// Whether this occurrence at `now_millis` (any monotonic clock, always the same) is to be told.
    pub fn admit(&self, now_millis: u64) -> Option<Repeats> {
        let next = self.next_millis.load(Relaxed);
        let following = now_millis.saturating_add(self.interval_millis).max(1);
        if now_millis < next || self.next_millis.compare_exchange(next, following, Relaxed, Relaxed).is_err() {
            self.held_back.fetch_add(1, Relaxed);
            return None;
        }
        Some(Repeats { held_back: self.held_back.swap(0, Relaxed) })
    }
}

impl Default for RepeatLimit {
    /// One per minute.
    fn default() -> Self {
        Self::new(Self::MINUTE_MILLIS)
    }
}

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_errors_in_a_minute_are_six_lines_that_add_up() {
        let limit = RepeatLimit::new(10_000);
        let told: Vec<_> = (0..1000).filter_map(|index| limit.admit(index * 60)).collect();
        assert_eq!(told.len(), 6);
        let last = limit.admit(60_100).expect("the next interval");
        assert_eq!(told.iter().map(|repeats| repeats.held_back + 1).sum::<u64>() + last.held_back, 1000);
    }

    #[test]
    fn the_first_is_always_told() {
        assert_eq!(RepeatLimit::new(1000).admit(0), Some(Repeats { held_back: 0 }));
    }
}
