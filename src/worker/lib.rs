//! The mailbox worker: answers calls, records and plays, with media through the edge.

pub mod agreement;
mod call;
mod call_end;
mod call_io;
mod call_setup;
mod clips;
mod edge_relays;
mod edge_state;
pub mod edges;
pub mod limits;
pub mod media;
mod media_call;
mod media_thread;
pub mod meters;
mod monitor;
mod orders;
mod outgoing;
mod playback;
pub mod ports;
mod process;
pub mod prompts;
mod recording;
pub mod records;
mod recovery;
pub mod service_limits;
mod shared;
mod signalling;
mod slot;
mod start;
pub mod story;
mod tokens;
mod trunks;

pub use process::{RunError, run};
pub use signalling::Duty;
pub use slot::{Seat, SeatError};
pub use start::{StartError, Worker, pin_policy, start, start_in, store_options};
