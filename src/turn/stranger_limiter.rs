//! How often strangers are answered: a fixed table that all shards share.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::five_tuple::{SeededHash, seeded_hash};
use crate::io::Transport;
use crate::limits::{STRANGER_ANSWERS_PER_SEC, STRANGER_ANSWERS_PER_SEC_MAX, STRANGER_BUCKETS};
use crate::wheel::SECOND;

/// Counts unauthenticated answers by source: /32 of IPv4, /64 of IPv6. Connections count apart from datagrams: who forges
/// datagrams of a source spends nothing that its connections need.
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
    pub fn allow(&self, now_nanos: u64, transport: Transport, source: IpAddr) -> bool {
        let key = (prefix(source), transport.is_stream());
        let bucket = &self.buckets[self.state.hash_one(key) as usize % self.buckets.len()];
        let most = self.answers_per_sec.load(Ordering::Relaxed);
        let count = |bits| Bucket::from_bits(bits).count_one(now_nanos, most).map(Bucket::to_bits);
        bucket.try_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }
}

/// Answers of a second of the clock and of the second before, and when each had its last one.
///
/// What the second before had counts too until the moment at which its last answer is a second old. So no span of one
/// second holds more answers than allowed, wherever it begins, and still all of them may come at once.
///
/// ```text
/// second, 16 bits | count, 20 | last, 4 | count before, 20 | last before, 4
/// ```
/// A bucket that was not used for 2^16 seconds may look fresh: then it is at worst silent for a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    second: u16,
    now: Counted,
    before: Counted,
}

/// Answers in one second of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    count: u32,
    /// The sixteenth of the second in which the last one went.
    last: u8,
}

impl Bucket {
    /// The bucket after one more answer; `None` when it has had its answers.
    fn count_one(self, now_nanos: u64, most: u32) -> Option<Self> {
        let second = (now_nanos / SECOND) as u16;
        let sixteenth = (now_nanos % SECOND * 16 / SECOND) as u8;
        let mut bucket = match second.wrapping_sub(self.second) {
            // The clock of another shard's loop may be a little ahead.
            0 | u16::MAX => self,
            1 => Self { second, now: Counted::default(), before: self.now },
            _ => Self { second, ..Self::default() },
        };
        let still_counts = sixteenth <= bucket.before.last || second != bucket.second;
        let counted = bucket.now.count + if still_counts { bucket.before.count } else { 0 };
        if counted >= most {
            return None;
        }
        bucket.now.count += 1;
        bucket.now.last = if second == bucket.second { bucket.now.last.max(sixteenth) } else { bucket.now.last };
        Some(bucket)
    }

    fn from_bits(bits: u64) -> Self {
        Self { second: (bits >> 48) as u16, now: Counted::from_bits(bits >> 24), before: Counted::from_bits(bits) }
    }

    fn to_bits(self) -> u64 {
        u64::from(self.second) << 48 | self.now.to_bits() << 24 | self.before.to_bits()
    }
}

impl Counted {
    fn from_bits(bits: u64) -> Self {
        Self { count: bits as u32 >> 4 & 0xF_FFFF, last: bits as u8 & 0xF }
    }

    /// In 24 bits: [`STRANGER_ANSWERS_PER_SEC_MAX`] fits in 20.
    fn to_bits(self) -> u64 {
        u64::from(self.count) << 4 | u64::from(self.last)
    }
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

    /// After this long everything is forgotten that was answered before.
    const FORGOTTEN: u64 = SECOND + SECOND / 16;

    fn allowed(limiter: &StrangerLimiter, now_nanos: u64, source: &str, tries: usize) -> usize {
        let source: IpAddr = source.parse().unwrap();
        (0..tries).filter(|_| limiter.allow(now_nanos, Transport::Udp, source)).count()
    }

    #[test]
    fn a_source_gets_twenty_answers_at_once_and_twenty_a_second_later() {
        let limiter = StrangerLimiter::new(1);
        assert_eq!(allowed(&limiter, 5 * SECOND, "192.0.2.1", 100), 20);
        assert_eq!(allowed(&limiter, 6 * SECOND - 1_000_000, "192.0.2.1", 100), 0);
        assert_eq!(allowed(&limiter, 5 * SECOND + FORGOTTEN, "192.0.2.1", 100), 20);
    }

    #[test]
    fn no_second_holds_more_answers_than_allowed_wherever_it_begins() {
        // Gaps in hundredths of a second: steady, in bursts, and across the boundaries of the clock's seconds.
        for gaps in [&[1][..], &[5], &[7], &[0, 0, 0, 97], &[95, 0, 0, 5, 0, 0], &[0, 0, 0, 0, 0, 33, 66], &[3, 101]] {
            let limiter = StrangerLimiter::new(1);
            let source: IpAddr = "192.0.2.1".parse().unwrap();
            let mut now = 7 * SECOND;
            let mut answered = Vec::new();
            for gap in gaps.iter().cycle().take(5_000) {
                now += gap * SECOND / 100;
                if limiter.allow(now, Transport::Udp, source) {
                    answered.push(now);
                }
            }
            for (at, begin) in answered.iter().enumerate() {
                let within = answered[at..].iter().take_while(|when| **when < begin + SECOND).count();
                assert!(within <= 20, "{within} in the second from {begin} with {gaps:?}");
            }
            assert!(answered.len() >= 20, "{gaps:?}");
        }
    }

    #[test]
    fn nineteen_answers_late_in_one_second_leave_one_for_the_next() {
        let limiter = StrangerLimiter::new(1);
        assert_eq!(allowed(&limiter, 0, "192.0.2.1", 1), 1);
        assert_eq!(allowed(&limiter, SECOND - 1, "192.0.2.1", 100), 19);
        assert_eq!(allowed(&limiter, SECOND, "192.0.2.1", 100), 0);
        assert_eq!(allowed(&limiter, 2 * SECOND, "192.0.2.1", 100), 20);
    }

    #[test]
    fn a_shard_whose_clock_lags_counts_into_the_same_second() {
        let limiter = StrangerLimiter::new(1);
        assert_eq!(allowed(&limiter, 3 * SECOND, "192.0.2.1", 15), 15);
        assert_eq!(allowed(&limiter, 3 * SECOND - 1, "192.0.2.1", 15), 5);
    }

    #[test]
    fn a_bucket_survives_its_bits() {
        let most = STRANGER_ANSWERS_PER_SEC_MAX;
        let bucket = Bucket {
            second: 0xABCD,
            now: Counted { count: most, last: 15 },
            before: Counted { count: most - 1, last: 7 },
        };
        assert_eq!(Bucket::from_bits(bucket.to_bits()), bucket);
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
        assert_eq!(allowed(&limiter, FORGOTTEN, "192.0.2.1", 1_000), 3);
        limiter.set_answers_per_sec(u32::MAX);
        let most = STRANGER_ANSWERS_PER_SEC_MAX as usize;
        assert_eq!(allowed(&limiter, 2 * FORGOTTEN, "192.0.2.1", most + 10), most);
    }

    #[test]
    fn connections_are_counted_apart_from_datagrams() {
        let limiter = StrangerLimiter::new(1);
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let allowed = |transport| (0..100).filter(|_| limiter.allow(0, transport, source)).count();
        let transports = [Transport::Udp, Transport::Dtls, Transport::Tcp, Transport::Tls];
        assert_eq!(transports.map(allowed), [20, 0, 20, 0]);
    }

    #[test]
    fn addresses_of_one_slash_64_are_one_source() {
        let limiter = StrangerLimiter::new(1);
        assert_eq!(allowed(&limiter, 0, "2001:db8:1:2::1", 15), 15);
        assert_eq!(allowed(&limiter, 0, "2001:db8:1:2:ffff::9", 15), 5);
        assert_eq!(allowed(&limiter, 0, "2001:db8:1:3::1", 15), 15);
    }
}
