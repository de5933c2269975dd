//! The two worker slots of a UM service: the machine that supervises them, and the messages between both sides.
//!
//! # What UM service and worker owe each other
//!
//! The UM service starts `postern worker --config FILE --slot A|B --socket PATH --generation N`, each in a process group
//! of its own. Whichever side dies, the other goes on. `PATH` lies in `um.runtime_directory`.
//!
//! **The worker**
//! 1. locks the [lock file](Slot::lock_name) beside its socket ([`std::fs::File::try_lock`]) before anything else, holds
//!    it until it ends, and writes its process id into it, in decimal. Held by another for a second: it exits. So no
//!    slot ever has two; the UM service looks whether a lock is free by taking it for a moment;
//! 2. removes what is left at `PATH`, listens there, and takes several connections at once: the UM service's, one of the
//!    next UM service, those of `postern call`;
//! 3. answers each [`ToWorker`] as said there. It says [`FromWorker::CallBegan`] and [`FromWorker::CallEnded`] with the
//!    Call-ID of the INVITE that it answered, and [`Status`] every [`HEARTBEAT`](limits::HEARTBEAT), to each connection
//!    that said hello, from the same task that handles calls: a worker that cannot handle calls must fall silent;
//! 4. closes a connection whose reader is too slow or writes what cannot be read; the UM service connects again and is
//!    told everything anew;
//! 5. ends with an error when it can never be ready, its ports taken for example: it is started again, ever later. What
//!    passes, such as a full disk, it reports as not ready;
//! 6. keeps its calls, and takes new ones, when no UM service is connected;
//! 7. places the outgoing calls that it is told to, and hangs them up, draining or not; those that are over it remembers
//!    for [`OUTCALL_MEMORY`](limits::OUTCALL_MEMORY), so that a UM service that comes later knows how they ended;
//! 8. on SIGTERM drains and ends by itself; SIGINT and SIGHUP are not for it.
//!
//! **The UM service** connects (again after 100 ms), says hello, and asks [`Slots`] for everything else. A worker that has ended leaves its lock free: that,
//! not the connection, tells the end of one that is not our child.
//!
//! Both write JSON, one object a line, at most [`LINE_BYTES_MAX`](limits::LINE_BYTES_MAX), through [`encode`] and
//! [`Lines`]. Unknown fields and types are passed over; another [`VERSION`](limits::VERSION) is not spoken with: such a
//! worker is told to drain by SIGTERM.

mod action;
mod call_key;
mod ledger;
pub mod limits;
mod order;
mod outcalls;
mod placing;
mod recycle;
mod seat;
mod slot;
mod slots;
mod wire;

pub use action::{Action, Cause, Door, Event, Options, Refused, State};
pub use call_key::CallKey;
pub use order::{NoOrderId, Order, OrderCause, OrderId, OrderPurpose, OrderReport, OrderState, OrderTarget, Progress};
pub use outcalls::{NotPlaced, Outcall};
pub use slot::{NoSuchSlot, Slot};
pub use slots::Slots;
pub use wire::{
    Contacts, FromWorker, Lines, NamedPort, Readiness, RecentCall, Status, ToWorker, WireError, encode,
    recent_calls_parts, story_parts,
};
