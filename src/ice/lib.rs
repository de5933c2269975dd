//! An ICE agent (RFC 8445) above the codec and the client of the turn room, without sockets or clocks.

pub mod candidate;
pub mod io;
pub mod limits;
pub mod sdp;
pub mod secret;
pub mod story;
