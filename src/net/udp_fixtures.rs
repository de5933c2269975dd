//! What the tests of UDP sockets share.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::reactor::{Events, Interest, Reactor};
use crate::{Outgoing, RecvBatch, UdpOptions, UdpSocket};

pub(crate) const LOOPBACK: &str = "127.0.0.1:0";

pub(crate) fn bind(addr: &str, transparent_errors: bool) -> UdpSocket {
    let options = UdpOptions { transparent_errors, ..UdpOptions::default() };
    UdpSocket::bind(addr.parse().unwrap(), &options).unwrap()
}

pub(crate) fn to(socket: &UdpSocket, payload: &'static [u8]) -> Outgoing<'static> {
    Outgoing { payload, to: socket.local_addr(), from_ip: None, tos: 0, dont_fragment: false }
}

/// An address on which nobody listens.
pub(crate) fn dead_peer() -> SocketAddr {
    bind(LOOPBACK, false).local_addr()
}

pub(crate) fn wait_readable(fd: &impl AsFd, timeout: Duration) -> bool {
    let reactor = Reactor::new().unwrap();
    reactor.register(fd, 1, Interest::READ).unwrap();
    let mut events = Events::with_capacity(1);
    reactor.wait(&mut events, Some(timeout)).unwrap();
    events.iter().next().is_some()
}

/// Payloads of what waits; loopback delivers before the send returns.
pub(crate) fn received(socket: &UdpSocket, batch: &mut RecvBatch) -> Vec<Vec<u8>> {
    wait_readable(socket, Duration::from_millis(500));
    let mut payloads = Vec::new();
    while socket.recv_batch(batch).unwrap() > 0 {
        for i in 0..batch.len() {
            let datagram = batch.get_mut(i).unwrap();
            payloads.push(datagram.buffer[datagram.range].to_vec());
        }
    }
    payloads
}
