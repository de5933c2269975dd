//! How a UM service is told to end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What becomes of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No new calls; workers serve those they have, then end.
    Drain,
    /// Workers end now, their recordings kept.
    AtOnce,
    /// Workers go on, to be adopted by the next UM service.
    LeaveWorkers,
}

/// SIGTERM drains, a second one ends at once; SIGINT leaves the workers. To be called inside a tokio runtime.
///
/// # Errors
/// Signals cannot be handled.
pub fn stops_by_signal() -> io::Result<mpsc::Receiver<Stop>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tell, stops) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut next = Stop::Drain;
        loop {
            let stop = tokio::select! {
                _ = terminate.recv() => std::mem::replace(&mut next, Stop::AtOnce),
                _ = interrupt.recv() => Stop::LeaveWorkers,
            };
            if tell.send(stop).await.is_err() {
                return;
            }
        }
    });
    Ok(stops)
}
