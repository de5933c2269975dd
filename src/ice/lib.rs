//! An ICE agent (RFC 8445) above the codec and the client of the turn room, without sockets or clocks.

mod agent;
pub mod candidate;
mod checks;
mod consent;
mod gathering;
mod incoming;
pub mod io;
pub mod limits;
mod pairing;
mod relays;
pub mod sdp;
pub mod secret;
mod selection;
mod session;
pub mod story;
mod stun;

pub use agent::Agent;
