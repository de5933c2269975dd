//! The worker as a process: its place taken, started, and ended by signals or by its UM service.

use jiff::Timestamp;
use postern_config::Loaded;
use postern_net::system;
use postern_slots::Slot;
use postern_transport::Listening;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::limits;
use crate::signalling::Duty;
use crate::slot::{Seat, SeatError};
use crate::start::{StartError, Worker, start_in};

/// Why a worker does not start; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Seat(#[from] SeatError),
    #[error("worker: {0}")]
    Start(#[from] StartError),
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}

/// Runs the worker of a slot, says when it is `ready`, and returns when it has ended: told so over the socket of its
/// `seat`, or by SIGTERM, which drains; a second one hangs up. SIGINT hangs up too, if there is no seat: one that has a
/// UM service is not for a terminal. Needs a tokio runtime with time and I/O.
///
/// # Errors
/// See [`RunError`]: only starting can fail.
pub async fn run(
    loaded: Loaded,
    slot: Slot,
    seat: Option<Seat>,
    ready: impl FnOnce(&Listening),
) -> Result<(), RunError> {
    // Handlers first: a signal no longer kills.
    let mut signals = Signals::new()?;
    let _lock = match &seat {
        Some(seat) => Some(seat.take().await?),
        None => None,
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    system::raise_descriptor_limit()?;
    let stands_alone = seat.is_none();
    let mut worker = start_in(&loaded.config, slot.index(), seat).await?;
    tell_recovered(&worker);
    ready(&worker.listening);
    let mut forget = interval(limits::FORGET_INTERVAL);
    forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut terminated = false;
    loop {
        tokio::select! {
            ended = &mut worker.task => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the signalling ended unasked");
                }
                return Ok(());
            }
            _ = signals.terminate.recv() => {
                let duty = if terminated { Duty::Leaving } else { Duty::Draining { elsewhere: Default::default() } };
                tracing::info!(calls = *worker.load.borrow(), again = terminated, "told to end");
                terminated = true;
                duty.set(&worker.duty);
            }
            _ = signals.interrupt.recv() => if stands_alone {
                Duty::Leaving.set(&worker.duty);
            },
            _ = signals.hangup.recv() => worker.reopen_records(),
            Ok(()) = worker.load.changed() => {}
            _ = forget.tick() => forget_deleted(&worker).await,
        }
        if terminated && *worker.load.borrow() == 0 {
            Duty::Leaving.set(&worker.duty);
        }
    }
}

fn tell_recovered(worker: &Worker) {
    let recovered = &worker.recovered;
    let (messages, removed, set_aside) = (recovered.messages.len(), recovered.removed, recovered.set_aside);
    if messages + removed + set_aside > 0 {
        tracing::warn!(messages, removed, set_aside, "recordings of a worker that ended unasked were recovered");
    }
}

async fn forget_deleted(worker: &Worker) {
    if let Err(error) = worker.store.forget_deleted(Timestamp::now()).await {
        tracing::warn!(%error, "deleted messages were not forgotten; tried again later");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}
