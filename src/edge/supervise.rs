//! The life of an edge process: ready, reload, drain, end.

use std::time::Duration;

use postern_config::Loaded;
use postern_telemetry::service_manager;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::error::EdgeError;
use crate::limits;
use crate::process::{Edge, Listening, Origin};

/// What SIGTERM means. SIGINT ends at once in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Let allocations end first, until the drain's deadline; a second signal ends at once.
    Drain,
    AtOnce,
}

/// Starts an edge, says when it is `ready`, and serves until a signal ends it. Needs a multi-threaded tokio runtime.
///
/// # Errors
/// See [`EdgeError`]: only starting can fail, a refused reload does not.
pub async fn run(loaded: Loaded, origin: Origin, stop: Stop, ready: impl FnOnce(&Listening)) -> Result<(), EdgeError> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut edge = Edge::start(loaded.config, origin).await?;
    ready(&edge.listening());
    service_manager::ready();

    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = interval(limits::WATCH_INTERVAL);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut deadline: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => {
                if stop == Stop::AtOnce || deadline.is_some() {
                    break;
                }
                edge.drain();
                service_manager::stopping();
                deadline = Some(Instant::now() + edge.config.edge.drain.deadline());
                tracing::info!(allocations = edge.shared.allocations(), deadline_secs = edge.config.edge.drain.deadline_secs, "draining");
            }
            _ = hangup.recv() => match deadline {
                None => reload(&mut edge),
                Some(_) => tracing::warn!("SIGHUP changes nothing while the edge drains: the configuration is read at the next start"),
            },
            _ = watch.tick(), if deadline.is_none() => {
                if edge.files_changed() {
                    reload(&mut edge);
                }
            }
            _ = tick.tick() => {
                edge.tick();
                if deadline.is_some() {
                    edge.drain_shards();
                    if edge.shared.allocations() <= 0 {
                        tracing::info!("drained: the last allocation has ended");
                        break;
                    }
                }
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                tracing::warn!(allocations = edge.shared.allocations(), "the drain's deadline has passed; ending what is left");
                break;
            }
        }
    }
    edge.end().await;
    Ok(())
}

fn reload(edge: &mut Edge) {
    service_manager::reloading();
    edge.reload();
    service_manager::ready();
}
