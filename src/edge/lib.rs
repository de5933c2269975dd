//! The edge role: relay shards, listeners and the A/V authentication service, bound to one configuration that can be reloaded.

mod accept;
mod actions;
mod connections;
mod counters;
mod datagrams;
mod descriptors;
mod door;
mod error;
mod forwarder;
mod generation;
mod limits;
mod listener;
mod listeners;
mod meters;
mod mobility;
mod ports;
mod process;
mod quality;
mod records;
mod relays;
mod rtp;
mod shard;
mod shared;
mod startup_checks;
mod streams;
mod supervise;
pub mod token_service;
mod token_service_api;
mod token_service_caller;
mod token_service_request;
mod token_service_state;
mod tokens;

pub use error::EdgeError;
pub use process::{Listening, Origin};
pub use supervise::{Stop, run};

#[cfg(test)]
mod leaving_tests;
