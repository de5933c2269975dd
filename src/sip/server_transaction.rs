//! A server transaction's states and timers (RFC 3261 section 17.2, RFC 6026).

use std::time::{Duration, Instant};

use crate::limits::{INVITE_PENDING_TIME, TRYING_TIME};
use crate::options::TimerValues;
use crate::status::StatusCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Trying, Proceeding: no final answer yet.
    Proceeding,
    /// A final answer but no 2xx to an INVITE.
    Completed,
    /// A 2xx to an INVITE (RFC 6026 section 8.3).
    Accepted,
    /// The ACK for it has come.
    Confirmed,
    Terminated,
}

/// What a deadline asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnTimeout {
    /// Send 100 Trying.
    Try,
    /// Send the last answer again.
    Retransmit,
    /// The final answer was not acknowledged.
    Unacknowledged,
    /// No final answer was given.
    Unanswered,
    Nothing,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerTransaction {
    invite: bool,
    reliable: bool,
    timers: TimerValues,
    state: State,
    trying: Option<Instant>,
    /// Timer G.
    retransmit: Option<(Instant, Duration)>,
    /// Timers H, I, J, L, or the limit of an unanswered request.
    ends: Option<Instant>,
}

impl ServerTransaction {
    pub(crate) fn start(invite: bool, reliable: bool, timers: TimerValues, now: Instant) -> ServerTransaction {
        let pending = if invite { INVITE_PENDING_TIME } else { timers.transaction() };
        let trying = invite.then_some(now + TRYING_TIME);
        let (retransmit, ends) = (None, Some(now + pending));
        ServerTransaction { invite, reliable, timers, state: State::Proceeding, trying, retransmit, ends }
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.state == State::Proceeding
    }

    pub(crate) fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        [self.trying, self.retransmit.map(|(at, _)| at), self.ends].into_iter().flatten().min()
    }

    /// Whether a repeated request is answered by the last answer again: not after a 2xx to an INVITE, which its user
    /// repeats.
    pub(crate) fn repeats_answer(&self) -> bool {
        matches!(self.state, State::Proceeding | State::Completed)
    }

    /// Whether this answer may go out now; if so it is what stands.
    pub(crate) fn on_answer(&mut self, status: StatusCode, now: Instant) -> bool {
        match self.state {
            State::Proceeding => {}
            State::Accepted => return status.is_success(),
            _ => return false,
        }
        self.trying = None;
        if status.is_provisional() {
            return true;
        }
        if !self.invite {
            // Timer J.
            self.finish(State::Completed, self.timers.transaction(), now);
        } else if status.is_success() {
            self.state = State::Accepted;
            self.ends = Some(now + self.timers.transaction());
        } else {
            self.state = State::Completed;
            self.retransmit = (!self.reliable).then_some((now + self.timers.t1, self.timers.t1));
            self.ends = Some(now + self.timers.transaction());
        }
        true
    }

    /// An ACK with our branch. Whether it is the user's: for a 2xx.
    pub(crate) fn on_ack(&mut self, now: Instant) -> bool {
        if self.state == State::Completed && self.invite {
            self.retransmit = None;
            // Timer I.
            self.finish(State::Confirmed, self.timers.t4, now);
        }
        self.state == State::Accepted
    }

    /// Absorbs repetitions for a while; over reliable transports there are none.
    fn finish(&mut self, state: State, absorb: Duration, now: Instant) {
        (self.state, self.ends) = if self.reliable { (State::Terminated, None) } else { (state, Some(now + absorb)) };
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) -> OnTimeout {
        if self.ends.is_some_and(|ends| ends <= now) {
            let state = std::mem::replace(&mut self.state, State::Terminated);
            (self.trying, self.retransmit, self.ends) = (None, None, None);
            return match state {
                State::Proceeding => OnTimeout::Unanswered,
                State::Completed if self.invite => OnTimeout::Unacknowledged,
                _ => OnTimeout::Nothing,
            };
        }
        if self.trying.take_if(|at| *at <= now).is_some() {
            return OnTimeout::Try;
        }
        match self.retransmit.filter(|(at, _)| *at <= now) {
            Some((at, interval)) => {
                let doubled = (interval * 2).min(self.timers.t2);
                // Late by more than an interval: no burst.
                let next = if at + doubled > now { at + doubled } else { now + doubled };
                self.retransmit = Some((next, doubled));
                OnTimeout::Retransmit
            }
            None => OnTimeout::Nothing,
        }
    }
}
