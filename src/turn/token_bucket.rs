//! Rate limits of one allocation: a bucket for relayed bits, and an exact window for rare events.

use crate::wheel::SECOND;

/// Least burst of a bucket in bytes, so that a slow one still passes whole datagrams.
const BURST_BYTES_MIN: u64 = 2_048;

/// A token bucket that holds what its rate brings in one second.
///
/// Kept as the time at which the bucket would be full again, so that a packet costs one comparison and nothing is
/// refilled.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    bits_per_sec: u64,
    full_at_nanos: u64,
}

impl TokenBucket {
    pub(crate) fn new(bits_per_sec: u64) -> Self {
        Self { bits_per_sec, full_at_nanos: 0 }
    }

    /// The same with another rate; what is spent stays spent.
    pub(crate) fn at_rate(self, bits_per_sec: u64) -> Self {
        Self { bits_per_sec, ..self }
    }

    /// Takes `bytes` out; false, and nothing taken, when the bucket does not hold as many.
    pub(crate) fn take(&mut self, now_nanos: u64, bytes: usize) -> bool {
        let burst_nanos = self.nanos_for(BURST_BYTES_MIN).max(SECOND);
        let full_at = self.full_at_nanos.max(now_nanos).saturating_add(self.nanos_for(bytes as u64));
        let fits = full_at - now_nanos <= burst_nanos;
        if fits {
            self.full_at_nanos = full_at;
        }
        fits && self.bits_per_sec > 0
    }

    fn nanos_for(&self, bytes: u64) -> u64 {
        let nanos = u128::from(bytes) * 8 * u128::from(SECOND) / u128::from(self.bits_per_sec.max(1));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// At most `N` events in any second.
#[derive(Clone, Debug)]
pub(crate) struct SecondLimit<const N: usize> {
    /// When each of the last `N` events leaves the window; the oldest at `next`.
    free_at_nanos: [u64; N],
    next: usize,
}

impl<const N: usize> SecondLimit<N> {
    pub(crate) fn new() -> Self {
        Self { free_at_nanos: [0; N], next: 0 }
    }

    pub(crate) fn allow(&mut self, now_nanos: u64) -> bool {
        if now_nanos < self.free_at_nanos[self.next] {
            return false;
        }
        self.free_at_nanos[self.next] = now_nanos + SECOND;
        self.next = (self.next + 1) % N;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_passes_one_second_at_once_and_its_rate_from_then_on() {
        let mut bucket = TokenBucket::new(80_000);
        let start = 7 * SECOND;
        assert_eq!((0..200).filter(|_| bucket.take(start, 100)).count(), 100);
        assert!(!bucket.take(start + SECOND / 100 - 1, 100));
        assert!(bucket.take(start + SECOND / 100, 100));
        let passed: usize = (0..10_000).filter(|tick| bucket.take(start + SECOND + tick * SECOND / 1_000, 100)).count();
        assert_eq!(passed, 100 + 1_099 - 101, "the burst, and what 10.999 s bring, less what had passed");
    }

    #[test]
    fn a_slow_bucket_still_passes_a_whole_datagram() {
        assert!(TokenBucket::new(8_000).take(0, 1_500));
        assert!(!TokenBucket::new(0).take(0, 0));
    }

    #[test]
    fn no_second_sees_more_events_than_the_limit() {
        let mut limit = SecondLimit::<10>::new();
        let step = SECOND / 100;
        let allowed: Vec<u64> = (0..1_000).map(|tick| tick * step).filter(|now| limit.allow(*now)).collect();
        for from in 0..1_000 {
            let window = from * step..from * step + SECOND;
            assert!(allowed.iter().filter(|at| window.contains(*at)).count() <= 10);
        }
        assert_eq!(allowed.len(), 100);
    }
}
