//! What happens to connections before a shard has them: counted, and told at the right level.

use std::sync::Arc;
use std::time::Instant;

use postern_net::listener::{Accepted, ListenerEvent};
use postern_telemetry::labels::{CloseReason, Transport};
use postern_telemetry::{EdgeCells, RepeatLimit};

use crate::accept::TurnedAway;

pub(crate) struct Door {
    cells: Arc<EdgeCells>,
    full: RepeatLimit,
    paused: RepeatLimit,
    started: Instant,
}

impl Door {
    pub(crate) fn new(cells: Arc<EdgeCells>) -> Self {
        Self { cells, full: RepeatLimit::default(), paused: RepeatLimit::default(), started: Instant::now() }
    }

    /// A connection with its first whole message is on its way to a shard.
    pub(crate) fn on_accepted(&self, accepted: &Accepted) {
        if accepted.tls.is_some() {
            self.cells.handshake_seconds.observe(Transport::Tls, accepted.handshake.as_secs_f64());
        }
    }

    /// It never got there.
    pub(crate) fn on_turned_away(&self, why: TurnedAway) {
        self.cells.streams_closed.add(CloseReason::Limit, 1);
        self.warn_full(match why {
            TurnedAway::NoDescriptor => {
                "no descriptor is left for a client's connection; raise the descriptor limit (LimitNOFILE)"
            }
            TurnedAway::InboxFull => "a shard has more new connections than it can take; some are closed",
        });
    }

    pub(crate) fn on_event(&self, event: &ListenerEvent) {
        let closed = |reason| self.cells.streams_closed.add(reason, 1);
        match event {
            ListenerEvent::Accepted => {}
            ListenerEvent::HandshakeFailed { peer, reason } => {
                closed(CloseReason::HandshakeFailed);
                tracing::debug!(%peer, %reason, "a TLS handshake failed");
            }
            ListenerEvent::TimedOut { peer, tls } => {
                closed(CloseReason::HandshakeTimeout);
                tracing::debug!(%peer, tls, "a client sent no whole message in time");
            }
            ListenerEvent::Invalid { peer } => {
                closed(CloseReason::Protocol);
                tracing::debug!(%peer, "a client's first bytes were no STUN message");
            }
            ListenerEvent::Closed { .. } => closed(CloseReason::Client),
            ListenerEvent::CappedSource { peer } => {
                closed(CloseReason::Limit);
                self.warn_full(&format!("half-open connections of {peer} reached edge.limits.handshakes_per_source"));
            }
            ListenerEvent::CappedTotal => {
                closed(CloseReason::Limit);
                self.warn_full("too many half-open connections; new ones are closed until others finish");
            }
            ListenerEvent::AcceptPaused { error } => {
                if let Some(repeats) = self.paused.admit(self.millis()) {
                    tracing::error!(%error, %repeats, "connections cannot be accepted; raise the descriptor limit (LimitNOFILE)");
                }
            }
        }
    }

    fn warn_full(&self, what: &str) {
        if let Some(repeats) = self.full.admit(self.millis()) {
            tracing::warn!(%repeats, "{what}");
        }
    }

    fn millis(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}
