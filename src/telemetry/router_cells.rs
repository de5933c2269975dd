//! What the call router counts.

use crate::call_labels::{CallRefusal, ServiceHealth, SipMethod, SipResult, SipTransport};
use crate::catalogue::{Definition, Kind};
use crate::cell_set::cells;
use crate::labels::{LabelSet, ReloadResult, State};

const ANSWER_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 4.0];

const HEALTH: &[Definition] = &[Definition {
    name: "postern_router_state_info",
    help: "How far the process is: 1 for the state it is in.",
    kind: Kind::Gauge,
    labels: State::LABELS,
}];

cells! {
    /// The cells of a router.
    pub struct RouterCells as HEALTH => {
        requests: Counter<(SipMethod, SipResult)> =
            "postern_router_requests_total", "SIP requests by method and final answer, without those of a dialog of others.";
        refusals: Counter<CallRefusal> =
            "postern_router_refusals_total", "Calls not taken, by reason.";
        /// From the whole INVITE to the bytes of its 302.
        answer_seconds: Histogram<()> =
            "postern_router_answer_seconds", "Time from an INVITE to its redirect or its refusal.", ANSWER_SECONDS;
        um_services: Gauge<ServiceHealth> =
            "postern_router_um_services", "UM services by health.";
        um_check_seconds: Histogram<()> =
            "postern_router_um_check_seconds", "Time from an OPTIONS to a UM service to its answer.", ANSWER_SECONDS;
        forwarded_requests: Gauge<()> =
            "postern_router_forwarded_requests", "Requests that this router has not finished.";
        connections: Gauge<SipTransport> =
            "postern_router_connections", "Open SIP connections.";
        connections_refused: Counter<SipTransport> =
            "postern_router_connections_refused_total", "SIP connections refused by a limit or a failed handshake.";
        malformed: Counter<SipTransport> =
            "postern_router_malformed_messages_total", "What came and is no SIP message.";
        certificate_expiry: OptionalGauge<()> =
            "postern_router_certificate_expiry_timestamp_seconds", "When the certificate in use expires, in Unix time.";
        reloads: Counter<ReloadResult> =
            "postern_router_configuration_reloads_total", "Attempts to reload the configuration, by result.";
    }
}
