//! What a call came to: gathered while it runs, and told once, at its end, to its record, its story and the metrics.

use std::time::Instant;

use jiff::Timestamp;
use postern_dialplan::{Decision, Purpose};
use postern_ice::candidate::{Component, Kind};
use postern_ice::io::EdgeId;
use postern_mailbox::{CallResult, Caller, EndOfCall, Outcome};
use postern_media::report::NoAudio;
use postern_sip::StatusCode;
use postern_sip::user_agent_io::EndCause;
use postern_telemetry::call_labels::{CallEnd as DropCause, CallKind, OfferResult};
use postern_turn::client::EdgeFailure;

use crate::call::Call;
use crate::media::Closed;
use crate::meters::{Meters, end_label, result_label};
use crate::records::CallRecord;
use crate::shared::Shared;

/// What is known of a call's end, and of what led to it.
pub(crate) struct CallEnd {
    /// The last word of the voice mail logic.
    pub(crate) outcome: Option<Outcome>,
    /// The last word of the media.
    pub(crate) closed: Option<Box<Closed>>,
    /// Why signalling ended.
    pub(crate) cause: Option<EndCause>,
    /// The last failure of an edge that concerned this call.
    pub(crate) edge_failure: Option<EdgeFailure>,
    /// The edge whose relay is ours, and the kind of our candidate, as RTP went last.
    pub(crate) edge: Option<EdgeId>,
    pub(crate) way: Kind,
    pub(crate) answered_at: Option<Instant>,
    /// What it counts as; `None` until the answer was acknowledged.
    pub(crate) kind: Option<CallKind>,
    /// A restart of ICE found no pair.
    pub(crate) restart_failed: bool,
    /// The edge that media went through failed.
    pub(crate) edge_died: bool,
    /// The way of media was lost, and no other was found in time.
    pub(crate) way_lost: bool,
    /// The worker ends.
    pub(crate) leaving: bool,
    /// The final response to an INVITE of ours.
    pub(crate) sip_status: Option<u16>,
}

impl Default for CallEnd {
    fn default() -> Self {
        Self {
            outcome: None,
            closed: None,
            cause: None,
            edge_failure: None,
            edge: None,
            way: Kind::Host,
            answered_at: None,
            kind: None,
            restart_failed: false,
            edge_died: false,
            way_lost: false,
            leaving: false,
            sip_status: None,
        }
    }
}

impl CallEnd {
    /// The answer was acknowledged.
    pub(crate) fn began(&mut self, meters: &Meters, kind: CallKind) {
        if self.kind.replace(kind).is_none() {
            meters.call_began(kind);
            meters.offered(OfferResult::Answered);
        }
    }

    /// `placed`: we called.
    fn offer_result(&self, placed: bool) -> OfferResult {
        match (&self.kind, &self.cause) {
            (Some(_), _) => OfferResult::Answered,
            (None, Some(EndCause::Cancelled | EndCause::NoAnswer)) => OfferResult::Cancelled,
            (None, Some(EndCause::Ours)) if placed => OfferResult::Cancelled,
            (None, Some(EndCause::Refused(_))) => OfferResult::Rejected,
            (None, _) => OfferResult::Failed,
        }
    }

    /// `placed`: we called.
    fn drop_cause(&self, placed: bool) -> DropCause {
        match (&self.cause, &self.outcome) {
            _ if self.leaving => DropCause::Shutdown,
            _ if self.way_lost && self.edge_died => DropCause::EdgeLost,
            _ if self.way_lost => DropCause::MediaLost,
            (
                Some(
                    EndCause::NoAck
                    | EndCause::BadOffer
                    | EndCause::NoPrack
                    | EndCause::Expired
                    | EndCause::Forgotten
                    | EndCause::Abandoned,
                ),
                _,
            ) => DropCause::SignallingLost,
            (_, Some(outcome)) => end_label(outcome.end),
            (Some(EndCause::Refused(_)), None) => DropCause::Refused,
            (Some(EndCause::NoAnswer), None) => DropCause::NotAnswered,
            (Some(EndCause::Unreachable(_)), None) => DropCause::SignallingLost,
            (Some(EndCause::Ours), None) if placed && self.kind.is_none() => DropCause::Finished,
            (Some(EndCause::Peer | EndCause::Cancelled), None) => DropCause::CallerHungUp,
            // Without media the voice mail logic never begins, and the call is hung up.
            (Some(EndCause::Ours), None) => DropCause::MediaLost,
            (_, None) => DropCause::Internal,
        }
    }

    /// Why there is no audio, where ICE found no way and an edge is to blame for it.
    fn edge_reason(&self) -> Option<NoAudio> {
        let story = self.closed.as_ref()?.story.as_ref()?;
        if story.pairs.iter().any(|pair| pair.selected && pair.component == Component::RTP) {
            return None;
        }
        self.edge_failure.or(story.edge_failures.last().copied()).map(|failure| match failure {
            EdgeFailure::Unreachable => NoAudio::EdgeUnreachable,
            EdgeFailure::NoCredentials => NoAudio::EdgeCredentials,
            EdgeFailure::OutOfPorts => NoAudio::EdgePorts,
        })
    }
}

impl Call {
    /// Has the owner told, who may want to know by mail that somebody called and left nothing. One whom the operator
    /// took over was not missed.
    pub(crate) async fn note_missed_call(&self) {
        let Some(Outcome { mailbox: Some(mailbox), result: CallResult::MissedCall, end }) = self.end.outcome else {
            return;
        };
        if end == EndOfCall::Transferred {
            return;
        }
        let caller = &self.arrival.decision.caller;
        let caller = Caller { address: caller.shown.clone(), name: caller.display_name.clone() };
        let at = self.arrival.record.started;
        if let Err(error) = self.shared.store.note_missed_call(mailbox, caller, at).await {
            tracing::warn!(%mailbox, %error, "nobody will be told by mail of a missed call");
        }
    }

    /// Tells of the call's end, once everything has said its last word.
    pub(crate) fn tell_end(&mut self) {
        let (shared, end) = (&self.shared, &self.end);
        let placed = self.arrival.order.is_some();
        let mut record = std::mem::take(&mut *self.arrival.record);
        record.shared_id = shared.edges.shared_id(&self.arrival.seat());
        // From here on nobody renews its tokens.
        self.credentials = None;
        let answered_at = end.answered_at.unwrap_or_else(Instant::now);
        record.setup = answered_at.saturating_duration_since(self.arrival.arrived);
        record.offer_result = Some(end.offer_result(placed));
        record.status = match &end.cause {
            Some(EndCause::Cancelled) => Some(StatusCode::REQUEST_TERMINATED.code()),
            Some(EndCause::Refused(response)) => Some(response.status.code()),
            _ if end.kind.is_none() && placed => None,
            _ => Some(StatusCode::OK.code()),
        };
        record.drop_cause = Some(end.drop_cause(placed));
        if let Some(outcome) = &end.outcome {
            record.kind = Some(result_label(&outcome.result));
            record.mailbox = outcome.mailbox.map(|mailbox| mailbox.to_string());
            if let CallResult::VoiceMessage { message, .. } = &outcome.result {
                record.message = Some(message.to_string());
            }
        }
        record.edge = end.edge.and_then(|edge| shared.edges.host(edge));
        if end.kind.is_some() {
            record.duration = answered_at.elapsed();
            let reason = end.edge_reason();
            (record.no_audio_received, record.no_audio_sent) = (reason, reason);
        }
        if let Some(closed) = &end.closed {
            record.set_media(closed);
        }
        if end.kind.is_none() {
            // Nobody was there to be heard.
            (record.no_audio_received, record.no_audio_sent) = (None, None);
        }
        match end.kind {
            Some(kind) => shared.meters.call_ended(kind, &record, end.closed.as_deref()),
            None if !placed => shared.meters.offered(end.offer_result(placed)),
            None => {}
        }
        shared.records.write(&record);
        shared.stories.end(&record, end.closed.as_deref());
    }
}

impl Shared {
    /// The record of a call that comes; `decision` is absent where none was taken. Its story begins.
    pub(crate) fn open_record(&self, call_id: &str, decision: Option<&Decision>) -> CallRecord {
        self.stories.begin(call_id);
        let mut record = CallRecord {
            started: Timestamp::now(),
            call_id: call_id.to_owned(),
            server: self.server.clone(),
            slot: self.slot,
            ..CallRecord::default()
        };
        if let Some(decision) = decision {
            record.dial_plan.clone_from(&decision.plan);
            record.gateway.clone_from(&decision.gateway);
            record.dialled.clone_from(&decision.dialled);
            record.caller = decision.caller.shown.clone().unwrap_or_default();
            record.reason = Some(decision.reason.name());
            record.called = match &decision.purpose {
                Purpose::CallAnswering { mailbox } | Purpose::SubscriberAccess { mailbox: Some(mailbox) } => {
                    mailbox.clone()
                }
                Purpose::SubscriberAccess { mailbox: None } => decision.dialled.clone(),
            };
        }
        record
    }

    /// A call was not taken, and this is its last word.
    pub(crate) fn tell_refused(&self, mut record: CallRecord, result: OfferResult, status: StatusCode) {
        record.setup = Timestamp::now().duration_since(record.started).try_into().unwrap_or_default();
        (record.offer_result, record.status) = (Some(result), Some(status.code()));
        self.meters.offered(result);
        self.records.write(&record);
        self.stories.end(&record, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_we_end_before_it_began_has_failed_if_it_came_and_was_cancelled_if_we_called() {
        let end = CallEnd { cause: Some(EndCause::Ours), ..CallEnd::default() };
        assert_eq!((end.offer_result(false), end.drop_cause(false)), (OfferResult::Failed, DropCause::MediaLost));
        assert_eq!((end.offer_result(true), end.drop_cause(true)), (OfferResult::Cancelled, DropCause::Finished));
    }
}
