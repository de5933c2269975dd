//! Whether the process lives (every shard turns its loop) and whether new clients may come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use prometheus::proto::MetricFamily;

use crate::catalogue::Definition;
use crate::cells::gauge_sample;
use crate::labels::{Label, State};
use crate::metrics::family;

/// Oldest sign of life with which a shard still counts as alive.
pub const HEARTBEAT_AGE_MAX_MILLIS: u64 = 1000;

/// A shard's sign of life. One writer; its own cache line.
#[derive(Clone)]
pub struct Heartbeat(Arc<Beat>);

#[repr(align(64))]
struct Beat(AtomicU64);

impl Heartbeat {
    fn new() -> Self {
        Self(Arc::new(Beat(AtomicU64::new(0))))
    }

    /// Called once per turn of the loop, at least every half second, on the clock that [`Health`] was given.
    pub fn beat(&self, mono_millis: u64) {
        self.0.0.store(mono_millis.max(1), Relaxed);
    }

    fn is_recent(&self, now_millis: u64) -> bool {
        let last = self.0.0.load(Relaxed);
        last != 0 && now_millis.saturating_sub(last) <= HEARTBEAT_AGE_MAX_MILLIS
    }
}

/// Whether new clients may come; shared by whoever starts and drains the process. Starts as [`State::Starting`].
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    pub fn set(&self, state: State) {
        self.0.store(state.index() as u8, Relaxed);
    }

    pub fn state(&self) -> State {
        let index = usize::from(self.0.load(Relaxed));
        State::ALL.get(index).copied().unwrap_or(State::Starting)
    }
}

/// What `/healthz` and `/readyz` answer from.
pub struct Health {
    shards: Vec<Heartbeat>,
    readiness: Readiness,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Health {
    /// `clock` reads the milliseconds of the monotonic clock on which the shards beat.
    pub fn new(shards: usize, readiness: Readiness, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { shards: (0..shards).map(|_| Heartbeat::new()).collect(), readiness, clock: Box::new(clock) }
    }

    /// The heartbeat that shard number `index` keeps, `None` when there are fewer.
    pub fn heartbeat(&self, index: usize) -> Option<Heartbeat> {
        self.shards.get(index).cloned()
    }

    /// How many shards turned their loop within the last second.
    pub fn turning(&self) -> usize {
        let now_millis = (self.clock)();
        self.shards.iter().filter(|shard| shard.is_recent(now_millis)).count()
    }

    /// Whether every shard lives. A process without shards lives.
    pub fn is_healthy(&self) -> bool {
        self.turning() == self.shards.len()
    }

    /// Whether new clients may come.
    pub fn is_ready(&self) -> bool {
        self.readiness.state() == State::Ready
    }

    pub fn state(&self) -> State {
        self.readiness.state()
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The families of [`CellSet::HEALTH`](crate::CellSet::HEALTH).
    pub(crate) fn families(&self, definitions: &[Definition]) -> Vec<MetricFamily> {
        let state = self.state();
        let values: [&dyn Fn(usize) -> f64; 3] =
            [&|series| f64::from(u8::from(series == state.index())), &|_| self.shards.len() as f64, &|_| {
                self.turning() as f64
            }];
        let families = definitions.iter().zip(values);
        families.map(|(definition, value)| family(definition, |series| Some(gauge_sample(value(series))))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(now: &Arc<AtomicU64>) -> Health {
        let now = Arc::clone(now);
        Health::new(2, Readiness::default(), move || now.load(Relaxed))
    }

    #[test]
    fn one_shard_that_stands_still_for_over_a_second_is_unhealthy() {
        let now = Arc::new(AtomicU64::new(5000));
        let health = health(&now);
        assert!(!health.is_healthy(), "no shard has turned yet");
        let shards = [health.heartbeat(0), health.heartbeat(1)].map(|shard| shard.expect("two shards"));
        shards.iter().for_each(|shard| shard.beat(5000));
        now.store(6000, Relaxed);
        assert!(health.is_healthy());
        shards[0].beat(6000);
        now.store(6001, Relaxed);
        assert!(!health.is_healthy());
        assert_eq!(health.turning(), 1);
    }

    #[test]
    fn a_beat_at_the_clocks_origin_counts() {
        let now = Arc::new(AtomicU64::new(0));
        let health = health(&now);
        for index in 0..2 {
            health.heartbeat(index).expect("two shards").beat(0);
        }
        assert!(health.is_healthy());
        assert!(health.heartbeat(2).is_none());
    }

    #[test]
    fn only_the_state_between_start_and_drain_is_ready() {
        let readiness = Readiness::default();
        let health = Health::new(0, readiness.clone(), || 0);
        assert_eq!((health.is_ready(), health.state()), (false, State::Starting));
        readiness.set(State::Ready);
        assert!(health.is_ready());
        readiness.set(State::Draining);
        assert!(!health.is_ready());
    }
}
