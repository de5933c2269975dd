//! Relay sockets of a shard: opened for an Allocate on ports that the broker leases, closed with the allocation.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use postern_net::tcp_peer::PeerListener;
use postern_net::{Interest, Reactor, UdpOptions, UdpSocket};
use postern_turn::broker::{Drawn, LeasedPort};
use postern_turn::io::{Family, OpenRelay, OpenedRelay, OpenedRelays, RelayFailure, RelayId};

use crate::descriptors::Descriptor;
use crate::quality::Quality;
use crate::shard::{Shard, Source, Turn};
use crate::shared::ReservedSocket;

/// One relayed transport address.
pub(crate) enum Relay {
    Udp(UdpRelay),
    Tcp(TcpRelay),
}

pub(crate) struct UdpRelay {
    pub(crate) socket: UdpSocket,
    _descriptor: Descriptor,
    pub(crate) quality: Quality,
    kernel_drops_seen: u64,
}

/// The listening side of a TCP allocation (RFC 6062).
pub(crate) struct TcpRelay {
    pub(crate) listener: PeerListener,
    _descriptor: Descriptor,
    pub(crate) local: SocketAddr,
}

impl UdpRelay {
    /// Datagrams that the kernel dropped since the last call.
    pub(crate) fn new_kernel_drops(&mut self) -> u64 {
        let drops = self.socket.kernel_drops();
        let new = drops - self.kernel_drops_seen;
        self.kernel_drops_seen = drops;
        new
    }
}

impl Relay {
    /// Under watch as relay number `index`. A listening socket tells of each new peer once: one that cannot be accepted for
    /// want of descriptors must not keep the loop awake.
    pub(crate) fn register(&self, reactor: &Reactor, index: u32) -> io::Result<()> {
        let token = Source::Relay(index).token();
        match self {
            Self::Udp(relay) => reactor.register(&relay.socket, token, Interest::READ),
            Self::Tcp(relay) => reactor.register(&relay.listener, token, Interest::EDGE),
        }
    }

    pub(crate) fn deregister(&self, reactor: &Reactor) -> io::Result<()> {
        match self {
            Self::Udp(relay) => reactor.deregister(&relay.socket),
            Self::Tcp(relay) => reactor.deregister(&relay.listener),
        }
    }
}

impl Shard {
    /// Leases, binds, and tells the server; or tells it why not. Nothing stays leased that was not opened.
    pub(crate) fn open_relay(&mut self, wish: &OpenRelay, turn: Turn) {
        let began = Instant::now();
        let drawn = self.shared.broker().draw(turn.now.mono_nanos, self.index as u8, wish);
        let opened = drawn.and_then(|drawn| match drawn.held_by {
            Some(_) => self.redeem(&drawn, turn),
            None => self.bind_drawn(drawn, turn),
        });
        match opened {
            Ok(opened) => self.server.handle_relay_opened(turn.now, wish.allocation, opened),
            Err(failure) => {
                if failure == RelayFailure::Quota {
                    self.meters.quota_refused(&wish.quota);
                }
                self.server.handle_relay_failed(turn.now, wish.allocation, failure);
            }
        }
        self.meters.allocate_took(began.elapsed());
        self.shared.publish_ports();
    }

    /// The socket that an EVEN-PORT of before reserved, whichever shard that was.
    fn redeem(&mut self, drawn: &Drawn, turn: Turn) -> Result<OpenedRelays, RelayFailure> {
        let Some(&port) = drawn.relays.first() else { return Err(RelayFailure::BadReservation) };
        let socket = self.shared.take_reserved(port.lease).ok_or(RelayFailure::BadReservation);
        let opened = socket.and_then(|reserved| {
            let relay = self.udp_relay(reserved.socket, reserved.descriptor);
            self.keep(port, relay)
        });
        if opened.is_err() {
            self.shared.broker().close(turn.now.mono_nanos, port.lease);
        }
        Ok(OpenedRelays { relays: vec![opened?], reservation: None, failed: Vec::new() })
    }

    fn bind_drawn(&mut self, drawn: Drawn, turn: Turn) -> Result<OpenedRelays, RelayFailure> {
        let Drawn { relays, reserved, mut failed, .. } = drawn;
        let mut opened = Vec::with_capacity(relays.len());
        for port in relays {
            match self.bind_leased(port, reserved.map(|reserved| reserved.port), turn) {
                Ok(relay) => opened.push(relay),
                Err(failure) => failed.push((family(port.local), failure)),
            }
        }
        match (opened.is_empty(), failed.first()) {
            (false, _) => {
                Ok(OpenedRelays { relays: opened, reservation: reserved.map(|reserved| reserved.token), failed })
            }
            (true, Some(&(_, failure))) => Err(failure),
            (true, None) => Err(RelayFailure::NoPort),
        }
    }

    /// Binds a leased port and, for EVEN-PORT's reservation, the one above it; others in their stead when some other program
    /// has one of them. The broker bounds the draws.
    fn bind_leased(
        &mut self,
        mut port: LeasedPort,
        mut above: Option<LeasedPort>,
        turn: Turn,
    ) -> Result<OpenedRelay, RelayFailure> {
        loop {
            let bound = self.bind(port, above);
            let failure = match bound {
                Ok((relay, reserved)) => match self.keep(port, relay) {
                    Ok(opened) => {
                        if let Some((lease, socket)) = reserved {
                            self.shared.keep_reserved(lease, socket);
                        }
                        return Ok(opened);
                    }
                    Err(failure) => failure,
                },
                Err(NotBound::NoDescriptor) => RelayFailure::Exhausted,
                Err(NotBound::System(error)) if error.kind() == io::ErrorKind::AddrInUse => {
                    // Without another port the lease is closed already.
                    let again = self.shared.broker().taken_by_others(turn.now.mono_nanos, port.lease)?;
                    port = *again.first().ok_or(RelayFailure::NoPort)?;
                    above = again.get(1).copied();
                    continue;
                }
                Err(NotBound::System(error)) => self.bind_failure(port.local, &error),
            };
            self.shared.broker().close(turn.now.mono_nanos, port.lease);
            return Err(failure);
        }
    }

    /// The relay, and the socket of the port above it with its lease; both or none.
    fn bind(
        &self,
        port: LeasedPort,
        above: Option<LeasedPort>,
    ) -> Result<(Relay, Option<(u64, ReservedSocket)>), NotBound> {
        let place = || self.shared.descriptors.take().ok_or(NotBound::NoDescriptor);
        let descriptor = place()?;
        let relay = match port.tcp {
            true => Relay::Tcp(TcpRelay {
                listener: PeerListener::bind(port.local)?,
                _descriptor: descriptor,
                local: port.local,
            }),
            false => self.udp_relay(self.bind_udp(port.local)?, descriptor),
        };
        let Some(above) = above else { return Ok((relay, None)) };
        let descriptor = place()?;
        let reserved = ReservedSocket { socket: self.bind_udp(above.local)?, descriptor };
        Ok((relay, Some((above.lease, reserved))))
    }

    fn bind_udp(&self, local: SocketAddr) -> io::Result<UdpSocket> {
        let options = UdpOptions {
            recv_buffer: self.relay_buffer_bytes,
            send_buffer: self.relay_buffer_bytes,
            reuse_port: false,
            transparent_errors: true,
            v6_only: true,
            arrival_times: false,
        };
        UdpSocket::bind(local, &options)
    }

    fn udp_relay(&self, socket: UdpSocket, descriptor: Descriptor) -> Relay {
        let quality = Quality::new(std::sync::Arc::clone(&self.media));
        Relay::Udp(UdpRelay { socket, _descriptor: descriptor, quality, kernel_drops_seen: 0 })
    }

    /// Puts the socket under watch and tells the broker that the port is live.
    fn keep(&mut self, port: LeasedPort, relay: Relay) -> Result<OpenedRelay, RelayFailure> {
        let index = self.relays.vacant_key() as u32;
        if let Err(error) = relay.register(&self.reactor, index) {
            return Err(self.bind_failure(port.local, &error));
        }
        if let Relay::Udp(udp) = &relay {
            self.meters.relay_buffers(udp.socket.effective_recv_buffer());
        }
        self.relays.insert(relay);
        self.shared.broker().open(port.lease);
        Ok(OpenedRelay { relay: RelayId(index), local: port.local, lease: port.lease })
    }

    pub(crate) fn close_relay(&mut self, relay: RelayId, lease: u64, turn: Turn) {
        // The socket closes with the drop, before anybody else can be given its port.
        drop(self.relays.try_remove(relay.0 as usize));
        self.shared.broker().close(turn.now.mono_nanos, lease);
        self.shared.publish_ports();
    }

    fn bind_failure(&mut self, local: SocketAddr, error: &io::Error) -> RelayFailure {
        self.meters.relay_not_opened(local, error);
        RelayFailure::Exhausted
    }
}

/// Why a relay socket could not be had.
enum NotBound {
    NoDescriptor,
    System(io::Error),
}

impl From<io::Error> for NotBound {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

fn family(local: SocketAddr) -> Family {
    if local.is_ipv4() { Family::V4 } else { Family::V6 }
}
