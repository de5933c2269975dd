//! What the UM service counts.

use crate::call_labels::{
    CallRefusal, LetterKind, LetterResult, LetterState, NotifyKind, NotifyResult, RecycleCause, SipMethod, SipResult,
    SipTransport, Slot, SlotState, SubscriptionEnd, WebRoute, WebSignIn, WebStatus, WorkerEnd,
};
use crate::catalogue::{Definition, Kind};
use crate::cell_set::cells;
use crate::labels::{LabelSet, ReloadResult, State};

const ANSWER_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 4.0];

const HEALTH: &[Definition] = &[Definition {
    name: "postern_um_state_info",
    help: "How far the process is: 1 for the state it is in.",
    kind: Kind::Gauge,
    labels: State::LABELS,
}];

cells! {
    /// The cells of a UM service.
    pub struct UmCells as HEALTH => {
        requests: Counter<(SipMethod, SipResult)> =
            "postern_um_requests_total", "SIP requests by method and final answer.";
        refusals: Counter<CallRefusal> =
            "postern_um_refusals_total", "Calls not taken, by reason.";
        answer_seconds: Histogram<()> =
            "postern_um_answer_seconds", "Time from an INVITE to its redirect or its refusal.", ANSWER_SECONDS;
        calls: Gauge<Slot> =
            "postern_um_calls", "Calls of each slot, those redirected and not yet there included.";
        outgoing_calls: Gauge<()> =
            "postern_um_outgoing_calls", "Calls placed for mailbox owners that are not over.";
        calls_max: OptionalGauge<()> =
            "postern_um_calls_max", "Calls that both slots may have together.";
        /// 1 for the state that it is in, the others 0.
        slot_state: Gauge<(Slot, SlotState)> =
            "postern_um_slot_state_info", "What each slot does: 1 for its state.";
        worker_generation: OptionalGauge<Slot> =
            "postern_um_worker_generation", "Number of the worker in each slot; each start is one more.";
        worker_memory: OptionalGauge<Slot> =
            "postern_um_worker_memory_bytes", "Resident memory of the worker in each slot.";
        worker_started: OptionalGauge<Slot> =
            "postern_um_worker_start_timestamp_seconds", "When the worker in each slot started, in Unix time.";
        recycles: Counter<RecycleCause> =
            "postern_um_recycles_total", "Workers replaced by a fresh one, by cause.";
        workers_ended: Counter<WorkerEnd> =
            "postern_um_workers_ended_total", "Workers that ended, by how.";
        notifications: Counter<(NotifyKind, NotifyResult)> =
            "postern_um_notifications_total", "Receivers told of messages that wait, by what came back.";
        notify_targets_stopped: Gauge<()> =
            "postern_um_notify_targets_stopped", "Gateways that want no message waiting, though mwi says so.";
        subscriptions: Gauge<()> =
            "postern_um_subscriptions", "Subscriptions to message waiting that stand.";
        subscriptions_ended: Counter<SubscriptionEnd> =
            "postern_um_subscriptions_ended_total", "Subscriptions to message waiting that are over, by why.";
        connections: Gauge<SipTransport> =
            "postern_um_connections", "Open SIP connections.";
        connections_refused: Counter<SipTransport> =
            "postern_um_connections_refused_total", "SIP connections refused by a limit or a failed handshake.";
        malformed: Counter<SipTransport> =
            "postern_um_malformed_messages_total", "What came and is no SIP message.";
        letters: Gauge<LetterState> =
            "postern_um_letters", "Mail to owners of mailboxes that waits, and that was given up and is still listed.";
        letter_age: Gauge<()> =
            "postern_um_letter_age_seconds", "Age of the oldest mail that waits; 0 when none does.";
        letter_attempts: Counter<(LetterKind, LetterResult)> =
            "postern_um_letter_attempts_total", "Attempts to send mail, by what it is about and what came of it.";
        letters_refused: Counter<()> =
            "postern_um_letters_refused_total", "Mail that a limit kept from being queued.";
        certificate_expiry: OptionalGauge<()> =
            "postern_um_certificate_expiry_timestamp_seconds", "When the certificate in use expires, in Unix time.";
        web_requests: Counter<(WebRoute, WebStatus)> =
            "postern_um_web_requests_total", "Requests to the web services, by subject and class of the answer.";
        web_sign_ins: Counter<WebSignIn> =
            "postern_um_web_sign_ins_total", "Attempts to sign in on the web, by result.";
        web_sessions: OptionalGauge<()> =
            "postern_um_web_sessions", "Sessions of the web that live.";
        web_streams: Gauge<()> =
            "postern_um_web_event_streams", "Browsers that are told of changes now.";
        web_connections_refused: Counter<()> =
            "postern_um_web_connections_refused_total", "Connections to the web refused by a limit or a failed handshake.";
        reloads: Counter<ReloadResult> =
            "postern_um_configuration_reloads_total", "Attempts to reload the configuration, by result.";
    }
}
