//! What a worker counts, and the mailbox in it.

use crate::call_labels::{
    AudioWay, CallEnd, CallKind, CallRefusal, Codec, EdgeFailure, IceOutcome, Keying, LocalCandidate, MailboxEvent,
    MailboxResult, MediaDrop, NoAudio, OfferResult, OutgoingResult, RecordFile, RecordingEnd, RemoteCandidate,
    RestartResult, SipMethod, SipResult, SipTransport, Slot, StoreFailure, StoreRequest, TokenResult,
};
use crate::catalogue::{Definition, Kind};
use crate::cell_set::cells;
use crate::labels::{LabelSet, State};

const CALL_SECONDS: &[f64] = &[1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];
const SETUP_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const TOKEN_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0];
const STORE_SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];
const TURN_SECONDS: &[f64] = &[0.00001, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1];
const ROUND_TRIP_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0];
const LOSS_RATIO: &[f64] = &[0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5];
const JITTER_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5];
const MOS: &[f64] = &[1.5, 2.0, 2.5, 3.0, 3.25, 3.5, 3.75, 4.0, 4.25, 4.5];

const HEALTH: &[Definition] = &[
    Definition {
        name: "postern_worker_state_info",
        help: "How far the process is: 1 for the state it is in.",
        kind: Kind::Gauge,
        labels: State::LABELS,
    },
    Definition {
        name: "postern_worker_media_threads",
        help: "Threads of this process that carry media.",
        kind: Kind::Gauge,
        labels: &[],
    },
    Definition {
        name: "postern_worker_media_threads_turning",
        help: "Media threads that turned their loop within the last second.",
        kind: Kind::Gauge,
        labels: &[],
    },
];

cells! {
    /// The cells of one media thread, or of the control plane.
    pub struct WorkerCells as HEALTH => {
        requests: Counter<(SipMethod, SipResult)> =
            "postern_worker_requests_total", "SIP requests by method and final answer.";
        offers: Counter<OfferResult> =
            "postern_worker_offers_total", "INVITEs that begin a call, by what became of them.";
        refusals: Counter<CallRefusal> =
            "postern_worker_refusals_total", "Calls not taken, by reason.";
        outgoing_calls: Counter<OutgoingResult> =
            "postern_worker_outgoing_calls_total", "Calls of ours that are over, by what became of them.";
        gateways: OptionalGauge<()> =
            "postern_worker_outgoing_gateways", "Gateways that calls may leave by.";
        gateways_healthy: OptionalGauge<()> =
            "postern_worker_outgoing_gateways_healthy", "Gateways that calls may leave by and that answer OPTIONS.";
        calls: Gauge<CallKind> =
            "postern_worker_calls", "Answered calls that have not ended, by what they are for.";
        calls_ended: Counter<(CallKind, CallEnd)> =
            "postern_worker_calls_ended_total", "Answered calls that ended, by what they were for and by who or what ended them.";
        call_seconds: Histogram<CallKind> =
            "postern_worker_call_seconds", "Length of answered calls.", CALL_SECONDS;
        setup_seconds: Histogram<LocalCandidate> =
            "postern_worker_setup_seconds",
            "Time from an INVITE to the first packet of audio sent, by the way it goes.", SETUP_SECONDS;
        no_audio: Counter<(AudioWay, NoAudio)> =
            "postern_worker_no_audio_total", "Calls without audio in one direction, by why.";
        media_sessions: Counter<(Keying, Codec)> =
            "postern_worker_media_sessions_total", "Calls with media, by its protection and the codec received.";
        media_drops: Counter<MediaDrop> =
            "postern_worker_media_drops_total", "Received packets of media that were not used, by why.";
        mos: Histogram<()> =
            "postern_worker_mos", "Mean opinion score of what each call received, from 1 to 4.5.", MOS;
        media_jitter_seconds: Histogram<()> =
            "postern_worker_media_jitter_seconds", "Largest interarrival jitter of each call.", JITTER_SECONDS;
        media_loss_ratio: Histogram<AudioWay> =
            "postern_worker_media_loss_ratio",
            "Share of packets lost in each call; of those sent, by the peer's own word.", LOSS_RATIO;
        media_round_trip_seconds: Histogram<()> =
            "postern_worker_media_round_trip_seconds", "Round trip of each call, from the peer's reports.", ROUND_TRIP_SECONDS;
        media_calls: Gauge<()> =
            "postern_worker_media_calls", "Calls on the media threads.";
        media_turn_seconds: Histogram<()> =
            "postern_worker_media_turn_seconds",
            "Time that media threads work between two waits; the sum is how long they were busy.", TURN_SECONDS;
        rtp_pairs: OptionalGauge<()> =
            "postern_worker_rtp_port_pairs", "Pairs of RTP and RTCP ports in the configured range.";
        rtp_pairs_free: OptionalGauge<()> =
            "postern_worker_rtp_port_pairs_free", "Pairs of ports that no call holds and that do not rest.";
        ice: Counter<IceOutcome> =
            "postern_worker_ice_total", "Calls by what became of ICE.";
        ice_pairs: Counter<(LocalCandidate, RemoteCandidate)> =
            "postern_worker_ice_pairs_total", "Calls by the kinds of the pair that their RTP went by.";
        ice_restarts: Counter<RestartResult> =
            "postern_worker_ice_restarts_total", "Restarts of ICE after the death of an edge, by result.";
        edges: OptionalGauge<()> =
            "postern_worker_edges", "Edges in the configuration.";
        edges_usable: OptionalGauge<()> =
            "postern_worker_edges_usable", "Edges that new calls take relays from.";
        edges_failing: Gauge<EdgeFailure> =
            "postern_worker_edges_failing", "Edges that fail now, by the way in which they do.";
        edge_failures: Counter<EdgeFailure> =
            "postern_worker_edge_failures_total", "Times that an edge began to fail, by the way in which it did.";
        tokens: Counter<TokenResult> =
            "postern_worker_tokens_total", "Tokens asked for at A/V authentication services, by result.";
        token_seconds: Histogram<()> =
            "postern_worker_token_seconds", "Time that asking for a token took, connecting included.", TOKEN_SECONDS;
        connections: Gauge<SipTransport> =
            "postern_worker_connections", "Open SIP connections.";
        connections_refused: Counter<SipTransport> =
            "postern_worker_connections_refused_total", "SIP connections refused by a limit or a failed handshake.";
        malformed: Counter<SipTransport> =
            "postern_worker_malformed_messages_total", "What came and is no SIP message.";
        certificate_expiry: OptionalGauge<()> =
            "postern_worker_certificate_expiry_timestamp_seconds", "When the certificate in use expires, in Unix time.";
        /// The number that the UM service gave, 1 where there is none.
        generation: OptionalGauge<Slot> =
            "postern_worker_generation", "Number of this worker, under the slot that it fills.";
        records_lost: Counter<RecordFile> =
            "postern_worker_records_to_log_total", "Call records that a file did not take and that went to the log.";
        mailbox_calls: Counter<MailboxResult> =
            "postern_mailbox_calls_total", "Calls that reached a mailbox or a pilot, by what they came to.";
        mailbox_events: Counter<MailboxEvent> =
            "postern_mailbox_events_total", "What happened in mailboxes: messages, logons, refusals.";
        recordings: Gauge<()> =
            "postern_mailbox_recordings", "Recordings that run now.";
        recordings_ended: Counter<RecordingEnd> =
            "postern_mailbox_recordings_ended_total", "Recordings that ended, by why.";
        recorded_seconds: Histogram<()> =
            "postern_mailbox_recorded_seconds", "Length of recordings.", CALL_SECONDS;
        recordings_recovered: Counter<()> =
            "postern_mailbox_recordings_recovered_total", "Recordings that a worker left unfinished and that were recovered at start.";
        store_seconds: Histogram<StoreRequest> =
            "postern_mailbox_store_seconds", "Time from a request to the store to its answer.", STORE_SECONDS;
        store_failures: Counter<(StoreRequest, StoreFailure)> =
            "postern_mailbox_store_failures_total", "Requests that the store did not carry out, by request and why.";
    }
}
