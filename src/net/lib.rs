//! Sockets, readiness and the machine: everything that touches the operating system on behalf of the relay.

mod address;
mod cmsg;
mod descriptor_shares;
pub mod dtls;
mod dtls_records;
mod dtls_session;
pub mod group;
mod half_open;
mod handshake;
pub mod icmp;
pub mod limits;
pub mod listener;
mod outbox;
pub mod pipe;
pub mod places;
mod proc;
pub mod reactor;
pub mod recv;
mod route;
pub mod send;
pub mod signal;
mod sockopt;
pub mod stream;
pub mod system;
pub mod tcp_peer;
pub mod terminal;
pub mod tls;
pub mod udp;

pub use group::{BindError, ReusePortGroup};
pub use icmp::IcmpError;
pub use places::{Cap, Place, Places, source_of};
pub use reactor::{Event, Events, Interest, Reactor, Waker};
pub use recv::{Received, RecvBatch};
pub use send::{Outgoing, SendBatch, SendReport};
pub use stream::{Flush, ReadOutcome, Stream};
pub use udp::{UdpOptions, UdpSocket};

#[cfg(test)]
mod dtls_tests;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod listener_tests;
#[cfg(test)]
mod pipe_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod udp_fixtures;
#[cfg(test)]
mod udp_tests;
