//! Requests that wait for their answers, and when they are sent again (RFC 8489 section 6.2).

use std::time::{Duration, Instant};

use crate::client_limits::{LAST_WAIT_RTOS, RTO, SENDS_MAX, STREAM_WAIT};

/// What is due for a request at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// The same bytes once more.
    Repeat,
    GiveUp,
}

/// When a request is sent again, and when it is given up.
#[derive(Clone, Copy, Debug)]
pub struct Repeats {
    at: Instant,
    rto: Duration,
    sends: u32,
    sends_max: u32,
    last_wait: Duration,
}

impl Repeats {
    /// Of a request sent now over UDP: after 0.5, 1.5, 3.5 ... s, given up after 39.5 s.
    pub fn datagram(now: Instant) -> Self {
        Self::with(now, RTO, SENDS_MAX, RTO * LAST_WAIT_RTOS)
    }

    /// Of a request sent now, `sends_max` times in all, the first wait being `rto` and each next one twice as long, but
    /// the last one `last_wait`.
    pub fn with(now: Instant, rto: Duration, sends_max: u32, last_wait: Duration) -> Self {
        let wait = if sends_max > 1 { rto } else { last_wait };
        Self { at: now + wait, rto, sends: 1, sends_max, last_wait }
    }

    /// Of a request on a stream, which is sent once.
    pub fn stream(now: Instant) -> Self {
        Self::with(now, STREAM_WAIT, 1, STREAM_WAIT)
    }

    /// The next moment at which [`due`](Self::due) says something.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// How often it was sent so far.
    pub fn sends(&self) -> u32 {
        self.sends
    }

    /// What is due now; a repeat counts as sent.
    pub fn due(&mut self, now: Instant) -> Due {
        if now < self.at {
            return Due::Nothing;
        }
        if self.sends >= self.sends_max {
            return Due::GiveUp;
        }
        self.rto *= 2;
        self.sends += 1;
        self.at = now + if self.sends == self.sends_max { self.last_wait } else { self.rto };
        Due::Repeat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_seven_times_and_given_up_after_39_5_seconds() {
        let start = Instant::now();
        let mut repeats = Repeats::datagram(start);
        let mut moments = vec![0];
        loop {
            let at = repeats.at();
            match repeats.due(at) {
                Due::Nothing => panic!("nothing due at its own moment"),
                Due::Repeat => moments.push((at - start).as_millis()),
                Due::GiveUp => {
                    moments.push((at - start).as_millis());
                    break;
                }
            }
        }
        assert_eq!(moments, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500, 39_500]);
    }

    #[test]
    fn a_request_on_a_stream_is_never_repeated() {
        let start = Instant::now();
        let mut repeats = Repeats::stream(start);
        assert_eq!(repeats.due(start + STREAM_WAIT - Duration::from_millis(1)), Due::Nothing);
        assert_eq!(repeats.due(start + STREAM_WAIT), Due::GiveUp);
    }
}
