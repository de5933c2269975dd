//! A client transaction's states and timers (RFC 3261 section 17.1, RFC 6026).

use std::time::{Duration, Instant};

use crate::limits::INVITE_PENDING_TIME;
use crate::options::TimerValues;
use crate::status::StatusCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Calling, Trying: nothing was answered.
    Trying,
    Proceeding,
    /// A final answer but no 2xx to an INVITE: its repetitions are absorbed.
    Completed,
    /// A 2xx to an INVITE: more of them may follow (RFC 6026 section 8.4).
    Accepted,
    Terminated,
}

/// What to do with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnResponse {
    Deliver,
    /// Send an ACK and deliver.
    AckAndDeliver,
    /// Send an ACK again.
    Ack,
    Ignore,
}

/// What a deadline asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnTimeout {
    Retransmit,
    /// No final answer in time.
    TimedOut,
    Nothing,
}

#[derive(Clone, Debug)]
pub(crate) struct ClientTransaction {
    invite: bool,
    reliable: bool,
    timers: TimerValues,
    state: State,
    /// Timers A and E.
    retransmit: Option<(Instant, Duration)>,
    /// Timers B, D, F, K, M.
    ends: Option<Instant>,
}

impl ClientTransaction {
    /// Begins when the request goes out; `answer_time` takes the place of 64 T1.
    pub(crate) fn start(
        invite: bool,
        reliable: bool,
        timers: TimerValues,
        answer_time: Option<Duration>,
        now: Instant,
    ) -> ClientTransaction {
        let retransmit = (!reliable).then_some((now + timers.t1, timers.t1));
        let ends = Some(now + answer_time.unwrap_or(timers.transaction()));
        ClientTransaction { invite, reliable, timers, state: State::Trying, retransmit, ends }
    }

    pub(crate) fn is_unanswered(&self) -> bool {
        self.state == State::Trying
    }

    /// Whether a CANCEL makes sense now: something but no final answer has come (RFC 3261 section 9.1).
    pub(crate) fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    pub(crate) fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match (self.retransmit, self.ends) {
            (Some((at, _)), Some(ends)) => Some(at.min(ends)),
            (at, ends) => at.map(|(at, _)| at).or(ends),
        }
    }

    pub(crate) fn on_response(&mut self, status: StatusCode, now: Instant) -> OnResponse {
        match self.state {
            State::Trying | State::Proceeding if status.is_provisional() => {
                self.on_provisional(now);
                OnResponse::Deliver
            }
            State::Trying | State::Proceeding => {
                self.retransmit = None;
                if self.invite && status.is_success() {
                    self.state = State::Accepted;
                    self.ends = Some(now + self.timers.transaction());
                    OnResponse::Deliver
                } else {
                    // Timer D (INVITE) or K; zero over reliable transports.
                    let absorb = if self.invite { self.timers.transaction() } else { self.timers.t4 };
                    self.complete(absorb, now);
                    if self.invite { OnResponse::AckAndDeliver } else { OnResponse::Deliver }
                }
            }
            State::Accepted if status.is_success() => OnResponse::Deliver,
            State::Completed if self.invite && status.code() >= 300 => OnResponse::Ack,
            State::Completed | State::Accepted | State::Terminated => OnResponse::Ignore,
        }
    }

    fn on_provisional(&mut self, now: Instant) {
        if self.invite {
            self.retransmit = None;
            if self.state == State::Trying {
                self.ends = Some(now + INVITE_PENDING_TIME);
            }
        } else {
            if let Some((_, interval)) = &mut self.retransmit {
                *interval = self.timers.t2;
            }
            if self.state == State::Trying {
                // Whatever the time for a first sign was, Timer F bounds the whole.
                self.ends = self.ends.max(Some(now + self.timers.transaction()));
            }
        }
        self.state = State::Proceeding;
    }

    fn complete(&mut self, absorb: Duration, now: Instant) {
        if self.reliable {
            self.state = State::Terminated;
            self.ends = None;
        } else {
            self.state = State::Completed;
            self.ends = Some(now + absorb);
        }
    }

    /// A final answer must come within 64 T1 from here: after a CANCEL (RFC 3261 section 9.1), or when the connection is
    /// lost and the server must make another to answer.
    pub(crate) fn expect_end(&mut self, now: Instant) {
        if self.state == State::Proceeding {
            self.ends = Some(now + self.timers.transaction());
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) -> OnTimeout {
        if self.ends.is_some_and(|ends| ends <= now) {
            let unfinished = matches!(self.state, State::Trying | State::Proceeding);
            self.state = State::Terminated;
            (self.retransmit, self.ends) = (None, None);
            return if unfinished { OnTimeout::TimedOut } else { OnTimeout::Nothing };
        }
        let Some((at, interval)) = self.retransmit.filter(|(at, _)| *at <= now) else {
            return OnTimeout::Nothing;
        };
        // Timer A doubles on, Timer E up to T2.
        let doubled = if self.invite { interval * 2 } else { (interval * 2).min(self.timers.t2) };
        // Late by more than an interval: no burst.
        let next = if at + doubled > now { at + doubled } else { now + doubled };
        self.retransmit = Some((next, doubled));
        OnTimeout::Retransmit
    }
}
