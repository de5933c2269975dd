//! STUN and TURN without sockets: the wire codec, the server's state machine, the broker and the peer policy.

pub mod counters;
pub mod io;
pub mod mobility;
pub mod options;
pub mod record;
mod server;

pub use server::Server;
