//! The mailbox worker: answers calls, records and plays, with media through the edge.

pub mod agreement;
mod call;
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
mod playback;
pub mod ports;
pub mod prompts;
mod recording;
pub mod records;
mod recovery;
pub mod service_limits;
mod shared;
mod signalling;
mod start;
pub mod story;
mod tokens;

pub use signalling::{CallNews, Duty, Load};
pub use start::{StartError, Worker, pin_policy, start, store_options};
