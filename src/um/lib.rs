//! The UM service: starts two worker slots, redirects each call to the active one, and replaces workers without
//! dropping a call.
//!
//! One task owns the SIP transport and [`postern_slots::Slots`], which decides everything about workers; one task per
//! slot keeps its process and the connection to it. Nothing here is kept that a next UM service could not find again:
//! workers outlive this one, and are adopted.
//!
//! SIGHUP loads the configuration again and recycles the workers, as changed certificates and a new binary do. SIGTERM
//! ends all: no new calls, workers drain, a second SIGTERM ends them at once. SIGINT ends the UM service alone and leaves
//! the workers at work for the next one, which is how it is upgraded; so does its death.

mod contact;
mod desk;
mod dialling;
mod error;
mod generation;
mod keeper;
mod launch;
mod limits;
mod meters;
mod outcalls;
mod owner_calls;
mod place;
mod service;
mod stop;
mod story;

pub use error::UmError;
pub use launch::Launch;
pub use outcalls::{Changed, Denied, Outcalls, Wish};
pub use owner_calls::{OwnerCalls, tell_changes};
pub use service::{Origin, run};
pub use stop::{Stop, stops_by_signal};
pub use story::{StoryError, ask_recent_calls, ask_story};
