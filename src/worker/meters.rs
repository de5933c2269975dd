//! What happens in calls, as metrics: each enum of the other rooms in its label, and a call's end in all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_dialplan::Refusal;
use postern_ice::candidate::Kind as CandidateKind;
use postern_ice::story::{Happening, Story};
use postern_mailbox::{CallResult, EndOfCall, Event, StoreError, StoreRequest};
use postern_media::codec::Codec;
use postern_media::report::{DropReason, NoAudio, Report};
use postern_sip::trace::{Gist, Traced};
use postern_sip::{Transport, UserAgent};
use postern_slots::OrderCause;
use postern_telemetry::WorkerCells;
use postern_telemetry::call_labels::{
    self as labels, AudioWay, CallEnd, CallKind, IceOutcome, OfferResult, OutgoingResult, RestartResult,
};
use postern_transport::Report as TransportReport;

use crate::media::{Closed, RecordingEnd};
use crate::ports::PortPool;
use crate::records::CallRecord;

/// Counts for the control plane of a worker. A media thread has cells of its own.
#[derive(Clone, Default)]
pub struct Meters(Arc<WorkerCells>);

impl Meters {
    /// Counts into these cells.
    pub fn new(cells: Arc<WorkerCells>) -> Self {
        Self(cells)
    }

    /// For what has no method here.
    pub fn cells(&self) -> &Arc<WorkerCells> {
        &self.0
    }

    /// A message went by. A request counts with its final answer, from us or from the peer.
    pub fn on_message(&self, traced: &Traced) {
        if let Gist::Response(status) = &traced.gist
            && status.is_final()
        {
            let method = labels::SipMethod::from_name(traced.cseq.method.as_str());
            self.0.requests.add((method, labels::SipResult::from_status(status.code())), 1);
        }
    }

    /// Reads the levels; about once a second.
    pub fn read(&self, agent: &UserAgent, ports: &PortPool) {
        let (cells, endpoint) = (&self.0, agent.endpoint());
        for (protocol, label) in
            [(Transport::Tcp, labels::SipTransport::Tcp), (Transport::Tls, labels::SipTransport::Tls)]
        {
            cells.connections.set(label, endpoint.connections_over(protocol) as u64);
            cells.malformed.store(label, endpoint.counters().malformed_over(protocol));
        }
        let pairs = ports.count(Instant::now());
        cells.rtp_pairs.set((), pairs.all.into());
        cells.rtp_pairs_free.set((), pairs.free.into());
    }

    /// A call is not taken.
    pub fn refused(&self, why: Refusal) {
        if let Some(label) = labels::CallRefusal::named(why.name()) {
            self.0.refusals.add(label, 1);
        }
    }

    /// What became of an INVITE that would begin a call.
    pub fn offered(&self, result: OfferResult) {
        self.0.offers.add(result, 1);
    }

    /// A call that was ordered of us is over.
    pub fn outgoing_ended(&self, cause: OrderCause, answered: bool) {
        let result = match cause {
            _ if answered => OutgoingResult::Answered,
            OrderCause::None => OutgoingResult::HungUp,
            OrderCause::Busy => OutgoingResult::Busy,
            OrderCause::NoAnswer => OutgoingResult::NoAnswer,
            OrderCause::Unavailable => OutgoingResult::Unavailable,
            OrderCause::Other => OutgoingResult::Other,
        };
        self.0.outgoing_calls.add(result, 1);
    }

    /// Gateways that calls may leave by: those that answer, and all.
    pub fn read_gateways(&self, (healthy, all): (usize, usize)) {
        self.0.gateways.set((), all as u64);
        self.0.gateways_healthy.set((), healthy as u64);
    }

    /// A call was answered.
    pub fn call_began(&self, kind: CallKind) {
        self.0.calls.add(kind, 1);
    }

    /// The first audio left: `took` since the INVITE came, by this candidate of ours (host without ICE).
    pub fn first_audio(&self, took: Duration, way: CandidateKind) {
        self.0.setup_seconds.observe(local_label(way), took.as_secs_f64());
    }

    /// A call that [`call_began`](Self::call_began) as `kind` is over.
    pub fn call_ended(&self, kind: CallKind, record: &CallRecord, media: Option<&Closed>) {
        let cells = &self.0;
        cells.calls.sub(kind, 1);
        cells.calls_ended.add((kind, record.drop_cause.unwrap_or(CallEnd::Internal)), 1);
        cells.call_seconds.observe(kind, record.duration.as_secs_f64());
        if let Some(result) = record.kind {
            cells.mailbox_calls.add(result, 1);
        }
        for (way, reason) in [(AudioWay::Received, record.no_audio_received), (AudioWay::Sent, record.no_audio_sent)] {
            if let Some(reason) = reason {
                cells.no_audio.add((way, no_audio_label(reason)), 1);
            }
        }
        if let Some(closed) = media {
            if let Some(report) = &closed.report {
                self.media(report);
            }
            cells.media_drops.add(labels::MediaDrop::Ignored, closed.ignored);
        }
        self.ice(media.and_then(|closed| closed.story.as_ref()));
    }

    /// A restart of ICE that we asked for came to this.
    pub fn restarted(&self, result: RestartResult) {
        self.0.ice_restarts.add(result, 1);
    }

    fn media(&self, report: &Report) {
        let cells = &self.0;
        if let (Some(codec), Some(keying)) = (report.codec, keying_label(report.keying)) {
            cells.media_sessions.add((keying, codec_label(codec)), 1);
        }
        for (reason, packets) in report.drops.iter() {
            cells.media_drops.add(drop_label(reason), packets);
        }
        if let Some(score) = report.mos {
            cells.mos.observe((), score.into());
        }
        let expected = report.packets_received + report.packets_lost;
        if report.packets_received > 0 {
            cells.media_jitter_seconds.observe((), report.jitter_max.as_secs_f64());
            cells.media_loss_ratio.observe(AudioWay::Received, report.packets_lost as f64 / expected as f64);
        }
        if let Some(loss) = report.remote_loss {
            cells.media_loss_ratio.observe(AudioWay::Sent, loss.into());
        }
        if let Some(round_trip) = report.round_trip {
            cells.media_round_trip_seconds.observe((), round_trip.as_secs_f64());
        }
    }

    fn ice(&self, story: Option<&Story>) {
        let Some(story) = story else { return self.0.ice.add(IceOutcome::NotUsed, 1) };
        let selected = story.pairs.iter().filter(|pair| pair.selected).min_by_key(|pair| pair.component);
        if let Some(pair) = selected {
            self.0.ice_pairs.add((local_label(pair.local.kind), remote_label(pair.remote.kind)), 1);
        }
        // A silent peer matters only if it ever answered after nomination.
        let lost = |entry: &postern_ice::story::Entry| {
            matches!(entry.what, Happening::ConsentLost { ever_answered: true, .. })
        };
        let outcome = if story.entries.iter().any(lost) {
            IceOutcome::ConsentLost
        } else if selected.is_some() {
            IceOutcome::Completed
        } else {
            IceOutcome::Failed
        };
        self.0.ice.add(outcome, 1);
    }

    /// Something happened in a mailbox.
    pub fn mailbox(&self, event: Event) {
        self.0.mailbox_events.add(event_label(event), 1);
    }

    /// A recording runs.
    pub fn recording_began(&self) {
        self.0.recordings.add((), 1);
    }

    /// A recording that [`began`](Self::recording_began) is over, kept or not.
    pub fn recording_ended(&self, why: RecordingEnd, stored: Result<(), StoreError>, length: Duration) {
        let label = match (why, stored) {
            (_, Err(_)) => labels::RecordingEnd::StoreFailed,
            (RecordingEnd::Stopped, Ok(())) => labels::RecordingEnd::Stopped,
            (RecordingEnd::Silence, Ok(())) => labels::RecordingEnd::Silence,
            (RecordingEnd::Limit, Ok(())) => labels::RecordingEnd::Limit,
            (RecordingEnd::Overrun, Ok(())) => labels::RecordingEnd::Overrun,
        };
        self.0.recordings.sub((), 1);
        self.0.recordings_ended.add(label, 1);
        self.0.recorded_seconds.observe((), length.as_secs_f64());
    }

    /// The store answered, or gave up.
    pub fn stored(&self, request: labels::StoreRequest, took: Duration, failure: Option<StoreError>) {
        self.0.store_seconds.observe(request, took.as_secs_f64());
        if let Some(failure) = failure {
            self.0.store_failures.add((request, store_label(failure)), 1);
        }
    }
}

/// What happens below SIP: counted where it is a refusal, and logged.
pub fn on_report(cells: &WorkerCells, report: &TransportReport) {
    if let Some(label) = report.refused().and_then(|protocol| labels::SipTransport::named(protocol.param())) {
        cells.connections_refused.add(label, 1);
    }
    match report {
        TransportReport::Accepted { .. } | TransportReport::ConnectFailed { .. } => tracing::debug!("{report}"),
        _ => tracing::info!("{report}"),
    }
}

/// Who ended a call, by the word of the voice mail logic.
pub fn end_label(end: EndOfCall) -> CallEnd {
    match end {
        EndOfCall::CallerHungUp => CallEnd::CallerHungUp,
        EndOfCall::MediaLost => CallEnd::MediaLost,
        EndOfCall::Finished => CallEnd::Finished,
        EndOfCall::Transferred => CallEnd::Transferred,
        EndOfCall::InputsFailed => CallEnd::InputsFailed,
        EndOfCall::LogonFailed => CallEnd::LogonFailed,
        EndOfCall::Refused => CallEnd::Refused,
        EndOfCall::StoreFailed => CallEnd::StoreFailed,
        EndOfCall::CallTooLong => CallEnd::CallTooLong,
    }
}

/// The label of a request, to be taken before the request is carried out.
pub fn request_label(request: &StoreRequest) -> labels::StoreRequest {
    match request {
        StoreRequest::FindMailbox { .. } => labels::StoreRequest::FindMailbox,
        StoreRequest::VerifyPin(_) => labels::StoreRequest::VerifyPin,
        StoreRequest::ChangePin(_) => labels::StoreRequest::ChangePin,
        StoreRequest::BeginRecording(_) => labels::StoreRequest::BeginRecording,
        StoreRequest::FinishRecording(_) => labels::StoreRequest::FinishRecording,
        StoreRequest::DiscardRecording(_) => labels::StoreRequest::DiscardRecording,
        StoreRequest::ListMessages(_) => labels::StoreRequest::ListMessages,
        StoreRequest::SetMessageState { .. } => labels::StoreRequest::SetMessageState,
        StoreRequest::UseGreeting { .. } => labels::StoreRequest::UseGreeting,
    }
}

/// The call type of a record.
pub fn result_label(result: &CallResult) -> labels::MailboxResult {
    match result {
        CallResult::VoiceMessage { .. } => labels::MailboxResult::VoiceMessage,
        CallResult::VoiceMessageUnconfirmed => labels::MailboxResult::VoiceMessageUnconfirmed,
        CallResult::MissedCall => labels::MailboxResult::MissedCall,
        CallResult::SubscriberAccess => labels::MailboxResult::SubscriberAccess,
        CallResult::UnauthenticatedPilot => labels::MailboxResult::UnauthenticatedPilot,
        CallResult::PlayOnPhone => labels::MailboxResult::PlayOnPhone,
        CallResult::GreetingsRecording => labels::MailboxResult::GreetingsRecording,
    }
}

fn event_label(event: Event) -> labels::MailboxEvent {
    match event {
        Event::MailboxUnknown => labels::MailboxEvent::MailboxUnknown,
        Event::MailboxFull => labels::MailboxEvent::MailboxFull,
        Event::TooManyDeposits => labels::MailboxEvent::TooManyDeposits,
        Event::DiskFull => labels::MailboxEvent::DiskFull,
        Event::StoreFailed => labels::MailboxEvent::StoreFailed,
        Event::MessageLeft => labels::MailboxEvent::MessageLeft,
        Event::CallMissed => labels::MailboxEvent::CallMissed,
        Event::LoggedOn => labels::MailboxEvent::LoggedOn,
        Event::LogonFailed => labels::MailboxEvent::LogonFailed,
        Event::LockedOut => labels::MailboxEvent::LockedOut,
        Event::PinChanged => labels::MailboxEvent::PinChanged,
        Event::MessageHeard => labels::MailboxEvent::MessageHeard,
        Event::MessageSaved => labels::MailboxEvent::MessageSaved,
        Event::MessageDeleted => labels::MailboxEvent::MessageDeleted,
        Event::GreetingRecorded => labels::MailboxEvent::GreetingRecorded,
        Event::OperatorAsked => labels::MailboxEvent::OperatorAsked,
        Event::TransferFailed => labels::MailboxEvent::TransferFailed,
        Event::InputsFailed => labels::MailboxEvent::InputsFailed,
        Event::CallTooLong => labels::MailboxEvent::CallTooLong,
    }
}

fn no_audio_label(reason: NoAudio) -> labels::NoAudio {
    match reason {
        NoAudio::NothingReceived => labels::NoAudio::NothingReceived,
        NoAudio::WrongSource => labels::NoAudio::WrongSource,
        NoAudio::Payload => labels::NoAudio::Payload,
        NoAudio::SrtpAuthentication => labels::NoAudio::SrtpAuthentication,
        NoAudio::Dtls => labels::NoAudio::Dtls,
        NoAudio::Hold => labels::NoAudio::Hold,
        NoAudio::Silence => labels::NoAudio::Silence,
        NoAudio::Ice => labels::NoAudio::Ice,
        NoAudio::EdgeUnreachable => labels::NoAudio::EdgeUnreachable,
        NoAudio::EdgeCredentials => labels::NoAudio::EdgeCredentials,
        NoAudio::EdgePorts => labels::NoAudio::EdgePorts,
    }
}

fn drop_label(reason: DropReason) -> labels::MediaDrop {
    match reason {
        DropReason::Malformed => labels::MediaDrop::Malformed,
        DropReason::WrongSource => labels::MediaDrop::WrongSource,
        DropReason::PayloadType => labels::MediaDrop::PayloadType,
        DropReason::SrtpAuthentication => labels::MediaDrop::SrtpAuthentication,
        DropReason::SrtpReplay => labels::MediaDrop::SrtpReplay,
        DropReason::Srtcp => labels::MediaDrop::Srtcp,
        DropReason::Dtls => labels::MediaDrop::Dtls,
        DropReason::NotReceiving => labels::MediaDrop::NotReceiving,
        DropReason::Duplicate => labels::MediaDrop::Duplicate,
        DropReason::Late => labels::MediaDrop::Late,
        DropReason::Overflow => labels::MediaDrop::Overflow,
    }
}

/// The words of [`Report::keying`].
fn keying_label(keying: &str) -> Option<labels::Keying> {
    match keying {
        "rtp" => Some(labels::Keying::Rtp),
        "sdes" => Some(labels::Keying::Sdes),
        "dtls" => Some(labels::Keying::Dtls),
        _ => None,
    }
}

fn codec_label(codec: Codec) -> labels::Codec {
    match codec {
        Codec::Pcmu => labels::Codec::Pcmu,
        Codec::Pcma => labels::Codec::Pcma,
        Codec::G722 => labels::Codec::G722,
    }
}

fn local_label(kind: CandidateKind) -> labels::LocalCandidate {
    match kind {
        CandidateKind::Host => labels::LocalCandidate::Host,
        CandidateKind::PeerReflexive => labels::LocalCandidate::PeerReflexive,
        CandidateKind::ServerReflexive => labels::LocalCandidate::ServerReflexive,
        CandidateKind::Relayed => labels::LocalCandidate::Relayed,
    }
}

fn remote_label(kind: CandidateKind) -> labels::RemoteCandidate {
    match kind {
        CandidateKind::Host => labels::RemoteCandidate::Host,
        CandidateKind::PeerReflexive => labels::RemoteCandidate::PeerReflexive,
        CandidateKind::ServerReflexive => labels::RemoteCandidate::ServerReflexive,
        CandidateKind::Relayed => labels::RemoteCandidate::Relayed,
    }
}

fn store_label(failure: StoreError) -> labels::StoreFailure {
    match failure {
        StoreError::DiskFull => labels::StoreFailure::DiskFull,
        StoreError::Busy => labels::StoreFailure::Busy,
        StoreError::Unavailable => labels::StoreFailure::Unavailable,
        StoreError::Gone => labels::StoreFailure::Gone,
        StoreError::Damaged => labels::StoreFailure::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use postern_media::report::Drops;
    use postern_telemetry::labels::Label;

    use super::*;

    #[test]
    fn labels_are_the_words_that_records_use() {
        for reason in DropReason::ALL {
            assert_eq!(labels::MediaDrop::VALUES[drop_label(*reason).index()], reason.name());
        }
        for refusal in Refusal::ALL {
            assert!(labels::CallRefusal::named(refusal.name()).is_some(), "{refusal}");
        }
        for kind in
            [CandidateKind::Host, CandidateKind::PeerReflexive, CandidateKind::ServerReflexive, CandidateKind::Relayed]
        {
            assert_eq!(labels::LocalCandidate::VALUES[local_label(kind).index()], kind.name());
            assert_eq!(labels::RemoteCandidate::VALUES[remote_label(kind).index()], kind.name());
        }
        let reasons = [
            NoAudio::NothingReceived,
            NoAudio::WrongSource,
            NoAudio::Payload,
            NoAudio::SrtpAuthentication,
            NoAudio::Dtls,
            NoAudio::Hold,
            NoAudio::Silence,
            NoAudio::Ice,
            NoAudio::EdgeUnreachable,
            NoAudio::EdgeCredentials,
            NoAudio::EdgePorts,
        ];
        assert_eq!(reasons.len(), labels::NoAudio::ALL.len());
        for reason in reasons {
            assert_eq!(labels::NoAudio::VALUES[no_audio_label(reason).index()], reason.name());
        }
    }

    #[test]
    fn refused_connections_are_counted_by_how_they_came() {
        let meters = Meters::default();
        let remote = ([192, 0, 2, 7], 5060).into();
        on_report(meters.cells(), &TransportReport::Refused { remote, protocol: Transport::Tcp });
        on_report(meters.cells(), &TransportReport::CappedTotal);
        on_report(meters.cells(), &TransportReport::Accepted { remote });
        let refused = &meters.cells().connections_refused;
        let counted = [labels::SipTransport::Tcp, labels::SipTransport::Tls].map(|label| refused.value(label));
        assert_eq!(counted, [1, 1]);
    }

    #[test]
    fn a_call_is_counted_from_its_beginning_to_all_of_its_end() {
        let meters = Meters::default();
        let cells = Arc::clone(meters.cells());
        meters.call_began(CallKind::Answering);
        assert_eq!(cells.calls.value(CallKind::Answering), 1);
        let record = CallRecord {
            kind: Some(result_label(&CallResult::MissedCall)),
            drop_cause: Some(end_label(EndOfCall::CallerHungUp)),
            no_audio_sent: Some(NoAudio::Hold),
            duration: Duration::from_secs(7),
            ..CallRecord::default()
        };
        let mut drops = Drops::default();
        drops.count(DropReason::Late);
        let report = Report {
            codec: Some(Codec::Pcma),
            keying: "dtls",
            packets_received: 99,
            packets_lost: 1,
            mos: Some(4.2),
            drops,
            ..Report::default()
        };
        let closed = Closed { report: Some(report), story: None, ignored: 5 };
        meters.call_ended(CallKind::Answering, &record, Some(&closed));
        assert_eq!(cells.calls.value(CallKind::Answering), 0);
        assert_eq!(cells.calls_ended.value((CallKind::Answering, CallEnd::CallerHungUp)), 1);
        assert_eq!(cells.no_audio.value((AudioWay::Sent, labels::NoAudio::Hold)), 1);
        assert_eq!(cells.media_sessions.value((labels::Keying::Dtls, labels::Codec::Pcma)), 1);
        assert_eq!(cells.media_drops.value(labels::MediaDrop::Late), 1);
        assert_eq!(cells.media_drops.value(labels::MediaDrop::Ignored), 5);
        assert_eq!(cells.mailbox_calls.value(labels::MailboxResult::MissedCall), 1);
        assert_eq!(cells.ice.value(IceOutcome::NotUsed), 1);
        assert_eq!((cells.mos.count(()), cells.media_loss_ratio.count(AudioWay::Received)), (1, 1));
    }

    #[test]
    fn a_recording_that_the_store_refused_counts_as_that() {
        let meters = Meters::default();
        for stored in [Ok(()), Err(StoreError::DiskFull)] {
            meters.recording_began();
            meters.recording_ended(RecordingEnd::Stopped, stored, Duration::from_secs(2));
        }
        let ended = &meters.cells().recordings_ended;
        assert_eq!(ended.value(labels::RecordingEnd::Stopped), 1);
        assert_eq!(ended.value(labels::RecordingEnd::StoreFailed), 1);
        assert_eq!(meters.cells().recordings.value(()), 0);
    }
}
