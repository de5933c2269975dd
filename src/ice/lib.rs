//! An ICE agent (RFC 8445) above the codec and the client of the turn room.
