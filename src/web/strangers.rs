//! How often one address may try to prove something: a bucket per address, for as many addresses as are remembered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use postern_net::source_of;

use crate::limits::{ATTEMPT_EVERY, ATTEMPTS_AT_ONCE, SOURCES_MAX};

/// Attempts by address. Full buckets are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<HashMap<IpAddr, i64>>);

impl Strangers {
    /// Takes an attempt of `source`.
    ///
    /// # Errors
    /// How long until it has another.
    pub(crate) fn admit(&self, source: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.ask(source, now, true)
    }

    /// Whether `source` has an attempt, which is not taken.
    ///
    /// # Errors
    /// How long until it has one.
    pub(crate) fn look(&self, source: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.ask(source, now, false)
    }

    fn ask(&self, source: IpAddr, now: Timestamp, is_taken: bool) -> Result<(), Duration> {
        let now = now.as_millisecond();
        let every = ATTEMPT_EVERY.as_millis() as i64;
        let span = every * i64::from(ATTEMPTS_AT_ONCE);
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = source_of(source);
        if owed.len() >= SOURCES_MAX && !owed.contains_key(&source) {
            make_room(&mut owed, now);
        }
        // The time at which the bucket is full again; a clock that was set back owes no more than a bucket.
        let full_at = owed.entry(source).or_insert(now);
        *full_at = (*full_at).clamp(now, now + span);
        let wait = *full_at + every - (now + span);
        if wait > 0 {
            return Err(Duration::from_millis(wait as u64));
        }
        if is_taken {
            *full_at += every;
        }
        Ok(())
    }
}

/// Half of them go: those that owe least.
fn make_room(owed: &mut HashMap<IpAddr, i64>, now: i64) {
    owed.retain(|_, full_at| *full_at > now);
    if owed.len() >= SOURCES_MAX {
        let mut times: Vec<i64> = owed.values().copied().collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        owed.retain(|_, full_at| *full_at > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_760_000_000_000 + millis).unwrap()
    }

    #[test]
    fn an_address_has_its_attempts_at_once_and_then_one_at_a_time() {
        let strangers = Strangers::default();
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..ATTEMPTS_AT_ONCE {
            assert_eq!(strangers.admit(one, at(0)), Ok(()));
        }
        assert_eq!(strangers.admit(one, at(0)), Err(ATTEMPT_EVERY));
        assert_eq!(strangers.admit(other, at(0)), Ok(()));
        assert_eq!(strangers.admit(one, at(1000)), Err(ATTEMPT_EVERY - Duration::from_secs(1)));
        let every = ATTEMPT_EVERY.as_millis() as i64;
        assert_eq!(strangers.admit(one, at(every)), Ok(()));
        assert!(strangers.admit(one, at(every)).is_err());
    }

    #[test]
    fn addresses_of_one_network_share_a_bucket_and_all_are_bounded() {
        let strangers = Strangers::default();
        for host in 0..ATTEMPTS_AT_ONCE {
            assert_eq!(strangers.admit(format!("2001:db8::{host:x}").parse().unwrap(), at(0)), Ok(()));
        }
        assert!(strangers.admit("2001:db8::ffff".parse().unwrap(), at(0)).is_err());
        for number in 0..3 * SOURCES_MAX as u32 {
            assert_eq!(strangers.admit(IpAddr::V4(number.into()), at(0)), Ok(()));
        }
        assert!(strangers.0.lock().unwrap().len() <= SOURCES_MAX);
    }
}
