//! What an operator watches of a worker: its metrics, whether it lives, and whether it takes calls.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use postern_net::system::Clock;
use postern_telemetry::labels::State;
use postern_telemetry::{Health, Heartbeat, Metrics, MetricsError, Readiness, WorkerCells};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The metrics and the health of one worker.
pub(crate) struct Monitor {
    metrics: Arc<Metrics<WorkerCells>>,
    health: Arc<Health>,
    readiness: Readiness,
    clock: Clock,
}

/// What a media thread counts into, and tells that it lives by.
#[derive(Clone)]
pub(crate) struct ThreadMeter {
    cells: Arc<WorkerCells>,
    heartbeat: Option<Heartbeat>,
    clock: Clock,
}

impl Monitor {
    /// For so many media threads. Not ready, until told.
    ///
    /// # Errors
    /// Never, unless two metrics of ours have one name.
    pub(crate) fn new(threads: usize) -> Result<Self, MetricsError> {
        let clock = Clock::new();
        let readiness = Readiness::default();
        let health = Health::new(threads, readiness.clone(), move || clock.read().mono_nanos / 1_000_000);
        let health = Arc::new(health);
        let metrics = Arc::new(Metrics::new(threads, Arc::clone(&health))?);
        Ok(Self { metrics, health, readiness, clock })
    }

    /// The cells of everything that is no media thread.
    pub(crate) fn cells(&self) -> Arc<WorkerCells> {
        self.metrics.control()
    }

    /// For media thread number `index`.
    pub(crate) fn thread(&self, index: usize) -> ThreadMeter {
        let cells = self.metrics.shard(index).unwrap_or_default();
        ThreadMeter { cells, heartbeat: self.health.heartbeat(index), clock: self.clock }
    }

    pub(crate) fn set_state(&self, state: State) {
        self.readiness.set(state);
    }

    /// Serves `/metrics`, `/healthz` and `/readyz` over plain HTTP for as long as the answer is kept.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn serve(&self, address: SocketAddr) -> io::Result<JoinSet<Infallible>> {
        let listener = TcpListener::bind(address).await?;
        let mut serving = JoinSet::new();
        serving.spawn(postern_telemetry::serve(listener, Arc::clone(&self.metrics), Arc::clone(&self.health)));
        Ok(serving)
    }
}

impl Default for ThreadMeter {
    /// For a thread that nobody watches.
    fn default() -> Self {
        Self { cells: Arc::default(), heartbeat: None, clock: Clock::new() }
    }
}

impl ThreadMeter {
    /// The thread has worked since `from`, and waits again.
    pub(crate) fn turned(&self, from: Instant) {
        let now = Instant::now();
        self.cells.media_turn_seconds.observe((), now.saturating_duration_since(from).as_secs_f64());
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat(self.clock.mono_nanos(now) / 1_000_000);
        }
    }

    /// The thread has so many calls.
    pub(crate) fn set_calls(&self, calls: usize) {
        self.cells.media_calls.set((), calls as u64);
    }
}
