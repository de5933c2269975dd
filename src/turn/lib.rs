//! STUN and TURN without sockets: the wire codec, the server's state machine, the broker and the peer policy.

pub mod io;
pub mod record;
