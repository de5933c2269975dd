//! How often strangers are answered: a fixed table that all shards share.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::five_tuple::{SeededHash, seeded_hash};
use crate::limits::{STRANGER_ANSWERS_PER_SEC, STRANGER_ANSWERS_PER_SEC_MAX, STRANGER_BUCKETS};

/// Low bits of a bucket that count; the rest is the millisecond at which its second began, plus one.
const COUNT_BITS: u32 = 20;

/// Counts unauthenticated answers by source: /32 of IPv4, /64 of IPv6.
///
/// Sources share a bucket by keyed hash, so that nobody can choose whose bucket to fill. Memory is fixed: half a megabyte.
#[derive(Debug)]
pub struct StrangerLimiter {
    buckets: Box<[AtomicU64]>,
    answers_per_sec: AtomicU32,
    state: SeededHash,
}

impl StrangerLimiter {
    /// `seed` comes from the operating system, or from the test.
    pub fn new(seed: u64) -> Self {
        Self {
            buckets: (0..STRANGER_BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            answers_per_sec: AtomicU32::new(STRANGER_ANSWERS_PER_SEC),
            state: seeded_hash(seed),
        }
    }

    /// Answers per second and source from now on, instead of [`STRANGER_ANSWERS_PER_SEC`]; cut to
    /// [`STRANGER_ANSWERS_PER_SEC_MAX`].
    pub fn set_answers_per_sec(&self, answers: u32) {
        self.answers_per_sec.store(answers.min(STRANGER_ANSWERS_PER_SEC_MAX), Ordering::Relaxed);
    }

    /// Counts one answer to `source`; false when it must not be sent. All callers share one monotonic clock.
    pub fn allow(&self, now_nanos: u64, source: IpAddr) -> bool {
        let bucket = &self.buckets[self.state.hash_one(prefix(source)) as usize % self.buckets.len()];
        let now_millis = now_nanos / 1_000_000 + 1;
        let most = u64::from(self.answers_per_sec.load(Ordering::Relaxed));
        let counted = bucket.try_update(Ordering::Relaxed, Ordering::Relaxed, |value| count_one(value, now_millis, most));
        counted.is_ok()
    }
}

/// The bucket's next value; `None` when its second has had its answers.
fn count_one(value: u64, now_millis: u64, most: u64) -> Option<u64> {
    let began_millis = value >> COUNT_BITS;
    let count = value & ((1 << COUNT_BITS) - 1);
    if now_millis.saturating_sub(began_millis) >= 1_000 {
        return Some(now_millis << COUNT_BITS | 1);
    }
    (count < most).then_some(value + 1)
}

fn prefix(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn allowed(limiter: &StrangerLimiter, now_nanos: u64, source: &str, tries: usize) -> usize {
        let source: IpAddr = source.parse().unwrap();
        (0..tries).filter(|_| limiter.allow(now_nanos, source)).count()
    }

    #[test]
    fn a_source_gets_twenty_answers_in_a_second_and_twenty_in_the_next() {
        let limiter = StrangerLimiter::new(1);
        assert_eq!(allowed(&limiter, 5 * SECOND, "192.0.2.1", 100), 20);
        assert_eq!(allowed(&limiter, 6 * SECOND - 1_000_000, "192.0.2.1", 100), 0);
        assert_eq!(allowed(&limiter, 6 * SECOND, "192.0.2.1", 100), 20);
    }

    #[test]
    fn the_first_second_of_the_clock_counts_too() {
        assert_eq!(allowed(&StrangerLimiter::new(1), 0, "192.0.2.1", 100), 20);
    }

    #[test]
    fn another_number_of_answers_holds_from_the_next_one_on() {
        let limiter = StrangerLimiter::new(1);
        limiter.set_answers_per_sec(500);
        assert_eq!(allowed(&limiter, 0, "192.0.2.1", 1_000), 500);
        limiter.set_answers_per_sec(3);
        assert_eq!(allowed(&limiter, SECOND, "192.0.2.1", 1_000), 3);
        limiter.set_answers_per_sec(u32::MAX);
        let most = STRANGER_ANSWERS_PER_SEC_MAX as usize;
        assert_eq!(allowed(&limiter, 2 * SECOND, "192.0.2.1", most + 10), most);
    }

    #[test]
    fn addresses_of_one_slash_64_are_one_source() {
        let limiter = StrangerLimiter::new(1);
        assert_eq!(allowed(&limiter, 0, "2001:db8:1:2::1", 15), 15);
        assert_eq!(allowed(&limiter, 0, "2001:db8:1:2:ffff::9", 15), 5);
        assert_eq!(allowed(&limiter, 0, "2001:db8:1:3::1", 15), 15);
    }
}
