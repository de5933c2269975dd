//! What one shard of the edge counts.

use crate::catalogue::{Definition, Kind};
use crate::cell_set::cells;
use crate::labels::{
    BufferSide, CertificateRole, CloseReason, Direction, DropReason, EndReason, Family, LabelSet, Location, Method,
    Path, QuotaSubject, ReloadResult, RequestResult, SocketRole, State, Tier, TokenRefusal, Transport,
};

const HANDSHAKE_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const ALLOCATE_SECONDS: &[f64] =
    &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
const LOSS_RATIO: &[f64] = &[0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5];
const JITTER_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5];

const HEALTH: &[Definition] = &[
    Definition {
        name: "postern_edge_state_info",
        help: "How far the process is: 1 for the state it is in.",
        kind: Kind::Gauge,
        labels: State::LABELS,
    },
    Definition { name: "postern_edge_shards", help: "Shards that this process runs.", kind: Kind::Gauge, labels: &[] },
    Definition {
        name: "postern_edge_shards_turning",
        help: "Shards that turned their loop within the last second.",
        kind: Kind::Gauge,
        labels: &[],
    },
];

cells! {
    /// The cells of one shard, or of the control plane. The same set for both: a scrape sums them all, so that work may
    /// be counted where it happens.
    pub struct EdgeCells as HEALTH => {
        allocations: Gauge<(Transport, Family)> =
            "postern_edge_allocations", "Live allocations by client transport and relay family.";
        allocations_started: Counter<(Transport, Family)> =
            "postern_edge_allocations_started_total", "Allocations made, by client transport and relay family.";
        allocations_ended: Counter<EndReason> =
            "postern_edge_allocations_ended_total", "Allocations that ended, by reason.";
        relayed_bytes: Counter<(Direction, Path)> =
            "postern_edge_relayed_bytes_total", "Relayed payload bytes, without framing, by direction and path.";
        relayed_packets: Counter<(Direction, Path)> =
            "postern_edge_relayed_packets_total", "Relayed packets by direction and path.";
        drops: Counter<DropReason> =
            "postern_edge_drops_total", "Packets that went nowhere, by reason, the kernel's own drops included.";
        requests: Counter<(Method, RequestResult)> =
            "postern_edge_requests_total", "STUN and TURN requests by method and result.";
        allocate_seconds: Histogram<()> =
            "postern_edge_allocate_seconds",
            "Time from an authenticated Allocate to its answer, relay socket included.", ALLOCATE_SECONDS;
        handshake_seconds: Histogram<Transport> =
            "postern_edge_handshake_seconds",
            "Time from an accepted connection to the end of its TLS or DTLS handshake.", HANDSHAKE_SECONDS;
        loop_turns: Counter<()> =
            "postern_edge_loop_turns_total", "Turns of the shards' loops.";
        slow_loop_turns: Counter<()> =
            "postern_edge_slow_loop_turns_total", "Turns of the shards' loops that took more than 50 ms.";
        quota_refusals: Counter<QuotaSubject> =
            "postern_edge_quota_refusals_total", "Allocate requests answered with 486, by what the quota counts.";
        ports_free: OptionalGauge<Family> =
            "postern_edge_relay_ports_free", "Relay ports that no allocation holds, over all relay addresses of a family.";
        ports: OptionalGauge<Family> =
            "postern_edge_relay_ports", "Relay ports in the configured range, over all relay addresses of a family.";
        streams_half_open: Gauge<()> =
            "postern_edge_streams_half_open", "Client connections that have not sent a whole STUN message yet.";
        streams_open: Gauge<Transport> =
            "postern_edge_streams_open", "Client connections that a shard serves, RFC 6062 data connections included.";
        streams_closed: Counter<CloseReason> =
            "postern_edge_streams_closed_total", "Client connections closed, by reason.";
        tokens_issued: Counter<Location> =
            "postern_edge_tokens_issued_total", "Tokens issued by the A/V authentication service, by location.";
        tokens_refused: Counter<TokenRefusal> =
            "postern_edge_tokens_refused_total", "Token requests that got none, by reason.";
        certificate_expiry: OptionalGauge<CertificateRole> =
            "postern_edge_certificate_expiry_timestamp_seconds", "When the certificate in use expires, in Unix time.";
        configuration_generation: OptionalGauge<()> =
            "postern_edge_configuration_generation", "Number of the configuration in force; 1 is the one at start.";
        reloads: Counter<ReloadResult> =
            "postern_edge_configuration_reloads_total", "Attempts to reload the configuration or a certificate, by result.";
        /// 1 or 0.
        last_reload_successful: OptionalGauge<()> =
            "postern_edge_configuration_last_reload_successful", "Whether the last reload was applied.";
        last_reload: OptionalGauge<()> =
            "postern_edge_configuration_last_reload_timestamp_seconds", "When the last reload was attempted, in Unix time.";
        /// 1 for the active tier; set the former one to 0.
        forwarder: OptionalGauge<Tier> =
            "postern_edge_forwarder_info", "The forwarder that carries media.";
        socket_buffer_bytes: OptionalGauge<(SocketRole, BufferSide)> =
            "postern_edge_socket_buffer_bytes", "The smallest buffer that the kernel granted, by socket and side.";
        media_streams: Counter<Direction> =
            "postern_edge_media_streams_total", "RTP streams recognised in relayed payload, by direction.";
        media_loss_ratio: Histogram<Direction> =
            "postern_edge_media_loss_ratio",
            "Share of RTP packets lost before the edge, per stream and observation interval.", LOSS_RATIO;
        media_jitter_seconds: Histogram<Direction> =
            "postern_edge_media_jitter_seconds",
            "Interarrival jitter of RTP streams at the edge, per stream and observation interval.", JITTER_SECONDS;
        media_silences: Counter<Direction> =
            "postern_edge_media_one_way_silences_total",
            "Times that media stopped in this direction while the other went on.";
    }
}
