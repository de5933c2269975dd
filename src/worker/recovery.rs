//! When the way of a call's media is lost: a new one is offered, and given some time.

use std::time::{Duration, Instant};

/// How long a restarted ICE session may take before the call ends.
pub(crate) const RECOVERY_TIME: Duration = Duration::from_secs(10);

/// Restarts of one call; a peer whose way is lost again and again is not worth more.
pub(crate) const RECOVERIES_MAX: u32 = 16;

/// Whether, and since when, a call looks for another way.
#[derive(Default)]
pub(crate) struct Recovery {
    until: Option<Instant>,
    begun: u32,
}

impl Recovery {
    /// Begins one; false when one is under way or there were too many.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        if self.until.is_some() || self.begun >= RECOVERIES_MAX {
            return false;
        }
        self.begun += 1;
        self.until = Some(now + RECOVERY_TIME);
        true
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.until.is_some()
    }

    /// Media has its way.
    pub(crate) fn end(&mut self) {
        self.until = None;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// The time is over; told once.
    pub(crate) fn is_given_up(&mut self, now: Instant) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_is_given_up_after_its_time_and_begins_only_so_often() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        assert!(recovery.begin(now) && !recovery.begin(now));
        assert!(!recovery.is_given_up(now + RECOVERY_TIME - Duration::from_millis(1)));
        assert!(recovery.is_given_up(now + RECOVERY_TIME));
        assert!(!recovery.is_given_up(now + RECOVERY_TIME), "told once");
        for _ in 1..RECOVERIES_MAX {
            assert!(recovery.begin(now));
            recovery.end();
        }
        assert!(!recovery.begin(now));
    }
}
