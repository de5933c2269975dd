//! One slot: which process it holds, and until when that may stay as it is.

use std::time::{Duration, Instant};

use crate::action::State;
use crate::limits::{BACK_OFF, BACK_OFF_MAX, HUNG_MAX, SILENCE_MAX, START_TIME};
use crate::wire::{Contacts, Status};

/// A slot and what it holds.
pub(crate) struct Seat {
    pub(crate) place: Place,
    /// Workers in a row that ended without having been told to.
    pub(crate) failures: u32,
}

pub(crate) enum Place {
    /// Nobody has looked yet whether a worker lives here.
    Unsearched {
        until: Instant,
    },
    Empty {
        start_at: Instant,
    },
    Held(Worker),
}

/// A process.
pub(crate) struct Worker {
    pub(crate) phase: Phase,
    /// 0 until an adopted one has said it.
    pub(crate) generation: u64,
    pub(crate) adopted: bool,
    pub(crate) connected: bool,
    /// When it last said something; its birth, before.
    pub(crate) heard: Instant,
    pub(crate) silent: bool,
    /// When it first said how it is.
    pub(crate) known_since: Option<Instant>,
    pub(crate) status: Status,
    /// What it was told with `Drain` on this connection.
    pub(crate) told: Option<Contacts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has not said yet how it is.
    Starting {
        until: Instant,
    },
    Serving,
    Draining {
        until: Instant,
    },
    /// It speaks no version of ours and drains on a signal.
    Foreign {
        until: Instant,
    },
    Retiring {
        until: Instant,
    },
    /// Killed, and not gone yet.
    Killed,
}

impl Worker {
    pub(crate) fn new(phase: Phase, generation: u64, adopted: bool, now: Instant) -> Self {
        Self {
            phase,
            generation,
            adopted,
            connected: false,
            heard: now,
            silent: false,
            known_since: None,
            status: Status::default(),
            told: None,
        }
    }

    /// Whether calls may be sent to it.
    pub(crate) fn takes_calls(&self) -> bool {
        self.phase == Phase::Serving && self.is_sound() && self.status.draining_secs.is_none()
    }

    /// Whether it could take calls if it were let.
    pub(crate) fn is_sound(&self) -> bool {
        self.known_since.is_some() && !self.silent && self.status.ready.is_ready()
    }

    /// When it must be looked at although nothing is heard of it.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Starting { until } | Phase::Foreign { until } | Phase::Retiring { until } => Some(until),
            Phase::Serving => Some(self.speech_due()),
            Phase::Draining { until } => Some(until.min(self.speech_due())),
            Phase::Killed => None,
        }
    }

    fn speech_due(&self) -> Instant {
        self.heard + if self.silent { HUNG_MAX } else { SILENCE_MAX }
    }
}

impl Seat {
    pub(crate) fn worker(&self) -> Option<&Worker> {
        match &self.place {
            Place::Held(worker) => Some(worker),
            _ => None,
        }
    }

    pub(crate) fn worker_mut(&mut self) -> Option<&mut Worker> {
        match &mut self.place {
            Place::Held(worker) => Some(worker),
            _ => None,
        }
    }

    pub(crate) fn takes_calls(&self) -> bool {
        self.worker().is_some_and(Worker::takes_calls)
    }

    /// Whether a worker may have been taking calls since before our start, and has had no time to say so.
    pub(crate) fn is_unheard(&self, now: Instant) -> bool {
        match &self.place {
            Place::Unsearched { until } => now + START_TIME < *until + SILENCE_MAX,
            Place::Empty { .. } => false,
            Place::Held(worker) => worker.adopted && worker.known_since.is_none() && now < worker.heard + SILENCE_MAX,
        }
    }

    /// Whether a process was told to leave, and has not yet.
    pub(crate) fn is_leaving(&self) -> bool {
        self.worker().is_some_and(|worker| !matches!(worker.phase, Phase::Starting { .. } | Phase::Serving))
    }

    pub(crate) fn state(&self, active: bool) -> State {
        let Place::Held(worker) = &self.place else { return State::Empty };
        match worker.phase {
            Phase::Starting { .. } => State::Starting,
            Phase::Serving if worker.silent => State::Silent,
            Phase::Serving if !worker.takes_calls() => State::Unready,
            Phase::Serving if active => State::Active,
            Phase::Serving => State::Standby,
            Phase::Draining { .. } | Phase::Foreign { .. } => State::Draining,
            Phase::Retiring { .. } | Phase::Killed => State::Ending,
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match &self.place {
            Place::Unsearched { until } => Some(*until),
            Place::Empty { start_at } => Some(*start_at),
            Place::Held(worker) => worker.next_timeout(),
        }
    }

    /// The wait before the next start, after one more failure.
    pub(crate) fn back_off(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        match self.failures {
            1 => Duration::ZERO,
            failures => BACK_OFF.saturating_mul(1 << (failures - 2).min(16)).min(BACK_OFF_MAX),
        }
    }
}
