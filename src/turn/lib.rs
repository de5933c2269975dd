//! STUN and TURN without sockets: the wire codec, the server's state machine, the broker and the peer policy.

pub mod address;
pub mod advertise;
pub mod attribute;
pub mod broker;
pub mod channel_data;
pub mod counters;
pub mod data_indication;
mod embedded;
pub mod error_code;
pub mod fingerprint;
pub mod framer;
pub mod integrity;
pub mod io;
pub mod limits;
pub mod live_ports;
pub mod message;
pub mod mobility;
pub mod nonce;
pub mod opaque_string;
pub mod options;
pub mod policy;
mod port_pool;
mod quota;
pub mod record;
pub mod request;
mod server;

pub use server::Server;
