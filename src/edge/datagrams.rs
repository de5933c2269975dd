//! The packet path: client datagrams in by a listener and out by a relay socket, peer datagrams the other way.

use std::net::SocketAddr;
use std::ops::Range;

use postern_net::dtls::{DtlsOutput, DtlsPath};
use postern_net::{Event, IcmpError, Outgoing, Received};
use postern_telemetry::labels::Direction;
use postern_turn::io::{Client, DropReason, Peer, PeerIcmp, PeerVerdict, RelayId, Transport, Verdict};
use slab::Slab;

use crate::limits;
use crate::meters::Meters;
use crate::relays::Relay;
use crate::shard::{Shard, Turn};
use crate::streams::{is_stream, queue_media};

impl Shard {
    pub(crate) fn on_listener(&mut self, index: u16, event: Event, turn: Turn) {
        for _ in 0..limits::LISTENER_BATCHES_PER_TURN {
            let Some(Some(listener)) = self.listeners.get(usize::from(index)) else { return };
            if event.error {
                // Nothing of interest: clients that left, and every error must be taken or epoll reports it for ever.
                let _ = listener.socket().drain_errors(limits::ICMP_ERRORS_PER_TURN, |_| {});
            }
            let received = match listener.socket().recv_batch(&mut self.batch) {
                Ok(received) => received,
                Err(error) => return self.meters.listener_failed(listener.local_addr(), &error),
            };
            for place in 0..received {
                self.on_client_datagram(index, place, turn);
            }
            if received < limits::LISTENER_BATCH {
                return;
            }
        }
        // What is left raises readiness again: listeners are watched by level.
    }

    /// Datagram number `place` of the batch, of listener `index`.
    fn on_client_datagram(&mut self, index: u16, place: usize, turn: Turn) {
        let Some(Some(listener)) = self.listeners.get_mut(usize::from(index)) else { return };
        let Some(received) = self.batch.get_mut(place) else { return };
        if received.truncated {
            return self.meters.dropped(DropReason::Oversize);
        }
        let bound = listener.local_addr();
        let (range, tos) = (received.range.clone(), received.tos);
        let client = Client {
            transport: listener.transport_of(&received.buffer[range.clone()]),
            listener: index,
            stream: 0,
            local: SocketAddr::new(received.local_ip.unwrap_or(bound.ip()), bound.port()),
            remote: received.from,
        };
        if !listener.takes(client.transport) && !self.server.serves(&client) {
            return self.meters.dropped(DropReason::NoAllocation);
        }
        if client.transport == Transport::Dtls {
            return self.on_dtls_datagram(place, range, client, tos, turn);
        }
        let datagram = &received.buffer[range];
        let verdict = self.server.handle_datagram(turn.now, client, tos, datagram);
        match verdict {
            Verdict::ToPeer { relay, peer, payload, tos, dont_fragment } => {
                let outgoing = Outgoing { payload: &datagram[payload], to: peer.0, from_ip: None, tos, dont_fragment };
                send_to_peer(&mut self.relays, &mut self.meters, relay, &outgoing, turn);
            }
            Verdict::Drop(_) => {}
            Verdict::Control => self.carry_out(turn),
        }
    }

    /// DTLS records of a client: handshake messages are answered here, what they protect is a datagram like any other.
    fn on_dtls_datagram(&mut self, place: usize, range: Range<usize>, client: Client, tos: u8, turn: Turn) {
        let Some(Some(listener)) = self.listeners.get_mut(usize::from(client.listener)) else { return };
        let Some(received) = self.batch.get_mut(place) else { return };
        let Some(mut sessions) = listener.dtls.take() else { return };
        let mut control = false;
        let path = DtlsPath { remote: client.remote, local: client.local.ip() };
        let Self { listeners, server, relays, meters, .. } = self;
        sessions.handle_datagram(turn.instant, path, &mut received.buffer[range], &mut |output| match output {
            DtlsOutput::Send { path, datagram } => {
                if let Some(Some(listener)) = listeners.get_mut(usize::from(client.listener)) {
                    listener.push_record(path, datagram, meters);
                }
            }
            DtlsOutput::Plaintext { data, .. } => match server.handle_datagram(turn.now, client, tos, data) {
                Verdict::ToPeer { relay, peer, payload, tos, dont_fragment } => {
                    let outgoing = Outgoing { payload: &data[payload], to: peer.0, from_ip: None, tos, dont_fragment };
                    send_to_peer(relays, meters, relay, &outgoing, turn);
                }
                Verdict::Control => control = true,
                Verdict::Drop(_) => {}
            },
            DtlsOutput::Established { took, .. } => meters.dtls_established(took),
            DtlsOutput::Closed { .. } => {
                server.handle_client_closed(turn.now, client);
                control = true;
            }
        });
        if let Some(Some(listener)) = self.listeners.get_mut(usize::from(client.listener)) {
            listener.dtls = Some(sessions);
        }
        if control {
            self.carry_out(turn);
        }
    }

    pub(crate) fn dtls_timers(&mut self, turn: Turn) {
        for index in 0..self.listeners.len() {
            let Some(listener) = &mut self.listeners[index] else { continue };
            if listener.next_timeout().is_none_or(|at| at > turn.instant) {
                continue;
            }
            let Some(mut sessions) = listener.dtls.take() else { continue };
            let mut closed = Vec::new();
            sessions.handle_timeout(turn.instant, &mut |output| match output {
                DtlsOutput::Send { path, datagram } => listener.push_record(path, datagram, &mut self.meters),
                DtlsOutput::Closed { path } => closed.push(path),
                DtlsOutput::Plaintext { .. } | DtlsOutput::Established { .. } => {}
            });
            listener.dtls = Some(sessions);
            for path in closed {
                self.server.handle_client_closed(turn.now, listener.dtls_client(index as u16, path));
            }
            self.carry_out(turn);
        }
    }

    pub(crate) fn on_relay(&mut self, index: u32, event: Event, turn: Turn) {
        match self.relays.get(index as usize) {
            Some(Relay::Udp(_)) => {}
            Some(Relay::Tcp(_)) => return self.accept_peers(RelayId(index), turn),
            None => return,
        }
        if event.error {
            self.on_relay_errors(index, turn);
        }
        let Some(Relay::Udp(relay)) = self.relays.get_mut(index as usize) else { return };
        let received = match relay.socket.recv_up_to(&mut self.batch, limits::RELAY_DATAGRAMS_PER_TURN) {
            Ok(received) => received,
            Err(error) => return self.meters.relay_failed(relay.socket.local_addr(), &error),
        };
        self.meters.kernel_drops_relay(relay.new_kernel_drops());
        for place in 0..received {
            self.on_peer_datagram(RelayId(index), place, turn);
        }
    }

    fn on_peer_datagram(&mut self, relay: RelayId, place: usize, turn: Turn) {
        let Some(Received { buffer, range, from, tos, truncated, .. }) = self.batch.get_mut(place) else { return };
        if truncated {
            return self.meters.dropped(DropReason::Oversize);
        }
        let verdict = self.server.handle_peer_datagram(turn.now, relay, Peer(from), tos, buffer, range.clone());
        let PeerVerdict::ToClient { client, frame, tos } = verdict else { return };
        // The header went into the headroom: the payload still stands where it came in.
        observe(&mut self.relays, &mut self.meters, relay, Direction::ToClient, &buffer[range], turn);
        let frame = &buffer[frame];
        if is_stream(client.transport) {
            queue_media(&mut self.streams, &mut self.dirty_streams, &mut self.meters, &client, frame, turn);
        } else if let Some(Some(listener)) = self.listeners.get_mut(usize::from(client.listener)) {
            let outgoing = Outgoing {
                payload: frame,
                to: client.remote,
                from_ip: Some(client.local.ip()),
                tos,
                dont_fragment: false,
            };
            listener.push_to_client(&client, &outgoing, turn.instant, &mut self.meters);
        }
    }

    /// What the network said about datagrams that this relay sent.
    fn on_relay_errors(&mut self, index: u32, turn: Turn) {
        let mut errors: [Option<IcmpError>; limits::ICMP_ERRORS_PER_TURN] = [None; limits::ICMP_ERRORS_PER_TURN];
        let Some(Relay::Udp(relay)) = self.relays.get(index as usize) else { return };
        let mut free = errors.iter_mut();
        let drained = relay.socket.drain_errors(limits::ICMP_ERRORS_PER_TURN, |error| {
            if let Some(place) = free.next() {
                *place = Some(error);
            }
        });
        if let Err(error) = drained {
            self.meters.relay_failed(relay.socket.local_addr(), &error);
        }
        for IcmpError { peer, icmp_type, code, info, .. } in errors.into_iter().flatten() {
            self.server.handle_peer_icmp(
                turn.now,
                RelayId(index),
                PeerIcmp { peer: Peer(peer), icmp_type, code, info },
            );
        }
        self.carry_out(turn);
    }
}

/// Sends by a relay socket. A refusal of the kernel is the network's loss, not the allocation's end; what ICMP has to say
/// comes by the error queue.
pub(crate) fn send_to_peer(
    relays: &mut Slab<Relay>,
    meters: &mut Meters,
    relay: RelayId,
    outgoing: &Outgoing<'_>,
    turn: Turn,
) {
    observe(relays, meters, relay, Direction::ToPeer, outgoing.payload, turn);
    if let Some(Relay::Udp(relay)) = relays.get_mut(relay.0 as usize)
        && relay.socket.send(outgoing).is_err()
    {
        meters.send_failed();
    }
}

/// Shows a relayed payload to the judge of its allocation's media.
fn observe(
    relays: &mut Slab<Relay>,
    meters: &mut Meters,
    relay: RelayId,
    direction: Direction,
    payload: &[u8],
    turn: Turn,
) {
    if let Some(Relay::Udp(relay)) = relays.get_mut(relay.0 as usize)
        && relay.quality.observe(direction, payload, turn.now.mono_nanos)
    {
        while let Some(event) = relay.quality.poll() {
            meters.media(event);
        }
    }
}
