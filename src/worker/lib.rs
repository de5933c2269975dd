//! The mailbox worker: answers calls, records and plays, with media through the edge.

pub mod limits;
pub mod media;
mod media_call;
mod media_thread;
mod playback;
pub mod ports;
mod recording;
