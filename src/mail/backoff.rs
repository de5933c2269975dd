//! When a letter is tried again.

use std::time::Duration;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, PAUSE_MAX, PAUSE_MIN};

/// The time until the next attempt after `attempts` of them: [`BACKOFF_MIN`], doubled each time up to [`BACKOFF_MAX`],
/// and by `random` up to a fifth more or less, so that letters that failed together do not come together again.
pub(crate) fn backoff(attempts: u32, random: u32) -> Duration {
    let middle = doubled(BACKOFF_MIN, attempts.saturating_sub(1), BACKOFF_MAX);
    middle.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX))
}

/// The time for which no letter is tried after the server failed `failures` times in a row.
pub(crate) fn pause(failures: u32) -> Duration {
    doubled(PAUSE_MIN, failures.saturating_sub(1), PAUSE_MAX)
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_attempts_doubles_from_a_minute_to_an_hour() {
        let middle = |attempts| backoff(attempts, u32::MAX / 2).as_secs_f64().round();
        let times: Vec<f64> = (0..9).map(middle).collect();
        assert_eq!(times, [60.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]);
        assert_eq!(middle(u32::MAX), 3600.0);
    }

    #[test]
    fn jitter_is_a_fifth_either_way() {
        assert_eq!(backoff(1, 0), Duration::from_secs(48));
        assert_eq!(backoff(1, u32::MAX), Duration::from_secs(72));
    }

    #[test]
    fn a_server_that_fails_is_left_alone_for_a_second_to_a_minute() {
        let times: Vec<u64> = (1..9).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
