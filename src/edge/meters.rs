//! What one shard counts beside its server: the bridge from plain counters to the cells that a scrape sums.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_net::SendReport;
use postern_telemetry::labels::{self, BufferSide, CloseReason, QuotaSubject, SocketRole, Tier};
use postern_telemetry::{EdgeCells, Heartbeat, RepeatLimit};
use postern_turn::counters::{Counters, DROP_REASONS};
use postern_turn::io::{DropReason, Family, QuotaKey, Transport};
use postern_turn::record::{EndReason, EndRecord, StartRecord};

use crate::counters::{self, DROPS};
use crate::limits;
use crate::quality::Event;
use crate::shared::ReleasedRelay;

/// Only the shard's own thread writes here.
pub(crate) struct Meters {
    cells: Arc<EdgeCells>,
    heartbeat: Heartbeat,
    turns: u64,
    slow_turns: u64,
    drops: Drops,
    socket_errors: RepeatLimit,
    relays_not_opened: RepeatLimit,
    mono_millis: u64,
}

/// Drops that happen around the server, added to its own.
#[derive(Default)]
struct Drops {
    by_reason: [u64; DROP_REASONS],
    send_failed: u64,
    kernel_listener: u64,
    kernel_relay: u64,
}

impl Meters {
    pub(crate) fn new(cells: Arc<EdgeCells>, heartbeat: Heartbeat) -> Self {
        Self {
            cells,
            heartbeat,
            turns: 0,
            slow_turns: 0,
            drops: Drops::default(),
            socket_errors: RepeatLimit::default(),
            relays_not_opened: RepeatLimit::default(),
            mono_millis: 0,
        }
    }

    pub(crate) fn forwarder(&self, tier: Tier) {
        self.cells.forwarder.set(tier, 1);
    }

    pub(crate) fn quota_refused(&self, quota: &QuotaKey) {
        let subject = match quota {
            QuotaKey::Identity(_) => QuotaSubject::Identity,
            QuotaKey::Address(_) => QuotaSubject::ClientAddress,
        };
        self.cells.quota_refusals.add(subject, 1);
    }

    /// Publishes everything, once per turn of the loop.
    pub(crate) fn turn_over(&mut self, server: &Counters, mono_nanos: u64, took: Duration) {
        self.mono_millis = mono_nanos / 1_000_000;
        self.heartbeat.beat(self.mono_millis);
        self.turns += 1;
        self.slow_turns += u64::from(took > limits::SLOW_TURN);
        let cells = &self.cells;
        cells.loop_turns.store((), self.turns);
        cells.slow_loop_turns.store((), self.slow_turns);
        for (reason, label) in DROPS {
            cells.drops.store(label, server.dropped(reason) + self.drops.by_reason[reason as usize]);
        }
        cells.drops.store(labels::DropReason::SendFailed, self.drops.send_failed);
        cells.drops.store(labels::DropReason::KernelListener, self.drops.kernel_listener);
        cells.drops.store(labels::DropReason::KernelRelay, self.drops.kernel_relay);
        counters::publish(server, cells);
    }

    pub(crate) fn dropped(&mut self, reason: DropReason) {
        self.drops.by_reason[reason as usize] += 1;
    }

    pub(crate) fn queue_drops(&mut self, frames: usize) {
        self.drops.by_reason[DropReason::QueueFull as usize] += frames as u64;
    }

    pub(crate) fn sent_to_clients(&mut self, report: SendReport) {
        self.drops.send_failed += (report.failed + report.would_block) as u64;
    }

    pub(crate) fn send_failed(&mut self) {
        self.drops.send_failed += 1;
    }

    pub(crate) fn kernel_drops_listener(&mut self, count: u64) {
        self.drops.kernel_listener += count;
    }

    pub(crate) fn kernel_drops_relay(&mut self, count: u64) {
        self.drops.kernel_relay += count;
    }

    pub(crate) fn listener_failed(&mut self, local: SocketAddr, error: &io::Error) {
        if let Some(repeats) = self.socket_errors.admit(self.mono_millis) {
            tracing::error!(%local, %error, %repeats, "receiving on a listener failed");
        }
    }

    pub(crate) fn relay_failed(&mut self, local: SocketAddr, error: &io::Error) {
        if let Some(repeats) = self.socket_errors.admit(self.mono_millis) {
            tracing::warn!(%local, %error, %repeats, "receiving on a relay socket failed");
        }
    }

    pub(crate) fn relay_not_opened(&mut self, local: SocketAddr, error: &io::Error) {
        if let Some(repeats) = self.relays_not_opened.admit(self.mono_millis) {
            tracing::warn!(%local, %error, %repeats, "a relay socket could not be opened; raise the descriptor limit or mend edge.relay.addresses");
        }
    }

    pub(crate) fn relay_buffers(&mut self, receive_bytes: usize) {
        let gauge = &self.cells.socket_buffer_bytes;
        let smallest =
            gauge.value((SocketRole::Relay, BufferSide::Receive)).unwrap_or(u64::MAX).min(receive_bytes as u64);
        gauge.set((SocketRole::Relay, BufferSide::Receive), smallest);
    }

    pub(crate) fn allocation_started(&mut self, record: &StartRecord) {
        for relay in &record.relays {
            let series = (transport_label(record.client.transport), family_label(relay));
            self.cells.allocations_started.add(series, 1);
            self.cells.allocations.add(series, 1);
        }
    }

    /// One of an allocation's two relays; `transport` is that of its start.
    pub(crate) fn relay_released(&mut self, transport: Transport, family: Family) {
        let family = if family == Family::V4 { labels::Family::V4 } else { labels::Family::V6 };
        self.cells.allocations.sub((transport_label(transport), family), 1);
    }

    /// `released` are the relays that its client had given back before.
    pub(crate) fn allocation_ended(&mut self, record: &EndRecord, reason: EndReason, released: &[ReleasedRelay]) {
        let is_released = |relay: &SocketAddr| released.iter().any(|one| (one.family == Family::V4) == relay.is_ipv4());
        for relay in record.start.relays.iter().filter(|relay| !is_released(relay)) {
            self.cells.allocations.sub((transport_label(record.start.client.transport), family_label(relay)), 1);
        }
        self.cells.allocations_ended.add(end_label(reason), 1);
    }

    /// From the Allocate's verdict to its answer, the relay socket included.
    pub(crate) fn allocate_took(&mut self, took: Duration) {
        self.cells.allocate_seconds.observe((), took.as_secs_f64());
    }

    /// What the media of one allocation had to tell.
    pub(crate) fn media(&mut self, event: Event) {
        let cells = &self.cells;
        match event {
            Event::Stream(direction) => cells.media_streams.add(direction, 1),
            Event::Interval { direction, loss_ratio, jitter_seconds } => {
                cells.media_loss_ratio.observe(direction, loss_ratio);
                if let Some(jitter) = jitter_seconds {
                    cells.media_jitter_seconds.observe(direction, jitter);
                }
            }
            Event::Silence(direction) => cells.media_silences.add(direction, 1),
        }
    }

    /// A DTLS handshake, from its first message on.
    pub(crate) fn dtls_established(&mut self, took: Duration) {
        self.cells.handshake_seconds.observe(labels::Transport::Dtls, took.as_secs_f64());
    }

    /// DTLS handshakes that came to nothing, and first messages that a limit left unanswered.
    pub(crate) fn dtls_failed(&mut self, failed: u64, refused: u64) {
        if failed + refused > 0 {
            self.cells.streams_closed.add(CloseReason::HandshakeFailed, failed);
            self.cells.streams_closed.add(CloseReason::Limit, refused);
        }
    }

    pub(crate) fn stream_opened(&mut self, transport: Transport) {
        self.cells.streams_open.add(transport_label(transport), 1);
    }

    pub(crate) fn stream_closed(&mut self, transport: Transport, reason: CloseReason) {
        self.cells.streams_open.sub(transport_label(transport), 1);
        self.cells.streams_closed.add(reason, 1);
    }
}

pub(crate) fn transport_label(transport: Transport) -> labels::Transport {
    match transport {
        Transport::Udp => labels::Transport::Udp,
        Transport::Tcp => labels::Transport::Tcp,
        Transport::Tls => labels::Transport::Tls,
        Transport::Dtls => labels::Transport::Dtls,
    }
}

fn family_label(address: &SocketAddr) -> labels::Family {
    if address.is_ipv4() { labels::Family::V4 } else { labels::Family::V6 }
}

fn end_label(reason: EndReason) -> labels::EndReason {
    match reason {
        EndReason::Released => labels::EndReason::Released,
        EndReason::LifetimeOver => labels::EndReason::LifetimeOver,
        EndReason::CredentialExpired => labels::EndReason::CredentialExpired,
        EndReason::KeyRemoved => labels::EndReason::KeyRemoved,
        EndReason::ClientClosed => labels::EndReason::ClientClosed,
        EndReason::Shutdown => labels::EndReason::Shutdown,
        EndReason::RelayLost => labels::EndReason::RelayLost,
    }
}
