//! What goes into [`Slots`](crate::Slots) beside messages, and what comes out.

use std::time::Duration;

use crate::slot::Slot;
use crate::wire::ToWorker;

/// Settings; a reload brings new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Calls of both slots together, those on their way among them.
    pub calls_max: u32,
    /// What a draining worker is given at most.
    pub longest_call: Duration,
    /// Age at which the active worker is recycled; `None` is never.
    pub recycle_age: Option<Duration>,
    /// Resident memory above which it is recycled; `None` is never.
    pub recycle_memory_bytes: Option<u64>,
    /// Shortest time between the beginnings of two recycles.
    pub recycle_interval: Duration,
}

/// Work for the shell, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a worker process in this slot and connect to it; `handle_ended` when that fails.
    Start { slot: Slot, generation: u64 },
    /// Say this to the slot's worker; lost without a connection.
    Send { slot: Slot, message: ToWorker },
    /// SIGTERM to the slot's process.
    Terminate { slot: Slot },
    /// SIGKILL to the slot's process, child of ours or not.
    Kill { slot: Slot },
}

/// Why a worker is recycled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    Age,
    Memory,
    /// Another binary lies at the service's path.
    Binary,
    Certificate,
    /// The operator asked, by SIGHUP.
    Asked,
}

impl Cause {
    /// Every one, for tables of metrics.
    pub const ALL: [Cause; 5] = [Cause::Age, Cause::Memory, Cause::Binary, Cause::Certificate, Cause::Asked];

    /// Its word in logs and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Age => "age",
            Cause::Memory => "memory",
            Cause::Binary => "binary",
            Cause::Certificate => "certificate",
            Cause::Asked => "asked",
        }
    }
}

/// Which of a worker's listeners a call is sent to; it keeps the security that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Tcp,
    Tls,
}

/// Why a call is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Answered 503.
    #[error("no worker takes calls")]
    Unavailable,
    /// Answered 486.
    #[error("as many calls as may be are there already")]
    Full,
}

/// What runs in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing, or nobody has looked yet.
    Empty,
    /// A worker that has not said yet how it is.
    Starting,
    /// A worker that could take calls, but for what it lacks.
    Unready,
    /// A worker that was not heard of for [`SILENCE_MAX`](crate::limits::SILENCE_MAX).
    Silent,
    /// A worker that could take calls, if the other one failed.
    Standby,
    /// The worker that takes calls.
    Active,
    /// A worker that serves the calls it has.
    Draining,
    /// A worker that was told to end.
    Ending,
}

/// What people and metrics are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A worker was found alive, with so many calls.
    Adopted { slot: Slot, generation: u64, calls: u32 },
    /// New calls go to this slot from now on.
    Active { slot: Slot, generation: u64 },
    /// No worker takes calls.
    NoneActive,
    /// A worker has fallen silent.
    Silent { slot: Slot },
    /// It is heard again.
    Heard { slot: Slot },
    /// It did not come back, or did not end when told to; it is killed.
    Killed { slot: Slot, calls: u32 },
    /// A worker ended without having been told to; its calls are lost. The next one is started after the wait.
    Died { slot: Slot, calls: u32, wait: Duration },
    /// A worker ended as it was told to.
    Ended { slot: Slot },
    /// A worker serves what it has, and no more.
    Draining { slot: Slot, calls: u32 },
    /// A draining worker has had the time of the longest call; what it still has is ended.
    CutOff { slot: Slot, calls: u32 },
    /// A draining worker takes calls again, since no other does; the recycle is made up for later.
    Resumed { slot: Slot },
    /// What lives in the slot speaks another version, or rubbish: told to drain by signal.
    Unusable { slot: Slot },
    /// A recycle is wanted; it may have to wait.
    RecycleWanted { cause: Cause },
    /// A fresh worker is started for it.
    RecycleBegan { cause: Cause },
    /// The fresh worker takes the calls now; the old one drains.
    RecycleDone { cause: Cause },
}
