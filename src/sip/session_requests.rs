//! Requests of the peer within a call (RFC 3261 sections 12.2.2, 14.2 and 15.1.2, RFC 3311, RFC 4028).

use std::time::Instant;

use crate::dialog::{DialogId, Order};
use crate::header_name::HeaderName;
use crate::io::ServerTx;
use crate::limits::BYE_ANSWER_TIME;
use crate::message::Request;
use crate::method::Method;
use crate::sdp_body::Body;
use crate::session::{AnswerBy, Exchange, Phase, Session};
use crate::session_digit::Info;
use crate::session_timer::UasTimer;
use crate::source::Source;
use crate::status::StatusCode;
use crate::user_agent_io::{CallEvent, EndCause};
use crate::user_agent_wire::Wire;

impl Session {
    pub fn on_request(&mut self, wire: &mut Wire, tx: ServerTx, request: Request, source: &Source, now: Instant) {
        wire.server.insert(tx, self.call);
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        if !self.take_cseq(&request, number) {
            return wire.answer(tx, StatusCode::SERVER_INTERNAL_ERROR, &[], now);
        }
        self.note_peer(&request.headers, source);
        match (&self.phase, &request.method) {
            (Phase::Leaving { .. } | Phase::PeerBye { .. }, Method::Bye) => self.on_second_bye(wire, tx, now),
            (Phase::Leaving { .. } | Phase::PeerBye { .. } | Phase::Over, _) => {
                wire.answer(tx, StatusCode::CALL_DOES_NOT_EXIST, &[], now);
            }
            (_, Method::Invite) => self.on_reinvite(wire, tx, &request, now),
            (_, Method::Update) => self.on_update(wire, tx, &request, now),
            (_, Method::Bye) => self.on_bye(wire, tx, request, now),
            (_, Method::Prack) => self.on_prack(wire, tx, &request, now),
            (_, Method::Info) => self.on_info(wire, tx, &request, now),
            (_, Method::Refer) => self.on_refer(wire, tx, &request, now),
            (_, Method::Notify) => self.on_notify(wire, tx, &request, now),
            (_, Method::Options) => wire.answer_options(tx, now),
            (_, Method::Other(_)) => wire.answer(tx, StatusCode::NOT_IMPLEMENTED, &[], now),
            _ => wire.answer(tx, StatusCode::METHOD_NOT_ALLOWED, &[], now),
        }
    }

    /// Notes a CSeq in the dialog that the request names; false when it comes out of order.
    fn take_cseq(&mut self, request: &Request, number: u32) -> bool {
        let id = DialogId::of_incoming(request);
        let early = match &mut self.phase {
            Phase::Outgoing(outgoing) => outgoing.early.as_mut_slice(),
            _ => &mut [],
        };
        let mut all = self.dialog.iter_mut().chain(early);
        all.find(|dialog| Some(dialog.id()) == id.as_ref())
            .is_some_and(|dialog| dialog.take_cseq(number) == Order::Next)
    }

    fn on_reinvite(&mut self, wire: &mut Wire, tx: ServerTx, request: &Request, now: Instant) {
        if !self.is_active() {
            return self.answer_later(wire, tx, now);
        }
        // Whoever sends a new INVITE has seen the 2xx to the one before; its ACK was lost or is late.
        if self.unacknowledged.as_ref().is_some_and(|one| !one.carries_offer)
            && let Some(one) = self.unacknowledged.take()
            && one.initial
        {
            wire.emit(CallEvent::Established { call: self.call });
        }
        if !self.may_begin_exchange(wire, tx, now) || !self.takes_timer(wire, tx, request, now) {
            return;
        }
        match Body::of(&request.headers, &request.body) {
            Body::Session(offer) => {
                self.await_role(Exchange::TheirOffer(AnswerBy::Reinvite(tx)), now);
                wire.emit(CallEvent::Offer { call: self.call, offer });
            }
            Body::Empty => {
                self.await_role(Exchange::OfferWanted(tx), now);
                wire.emit(CallEvent::OfferWanted { call: self.call });
            }
            Body::Unsupported => wire.answer(tx, StatusCode::UNSUPPORTED_MEDIA_TYPE, &[], now),
            Body::Malformed(_) => wire.answer(tx, StatusCode::BAD_REQUEST, &[], now),
        }
    }

    fn on_update(&mut self, wire: &mut Wire, tx: ServerTx, request: &Request, now: Instant) {
        match Body::of(&request.headers, &request.body) {
            Body::Session(offer) => {
                if self.may_begin_exchange(wire, tx, now) && self.takes_timer(wire, tx, request, now) {
                    self.await_role(Exchange::TheirOffer(AnswerBy::Update(tx)), now);
                    wire.emit(CallEvent::Offer { call: self.call, offer });
                }
            }
            Body::Empty if self.takes_timer(wire, tx, request, now) => self.accept_update(wire, tx, None, now),
            Body::Empty => {}
            Body::Unsupported => wire.answer(tx, StatusCode::UNSUPPORTED_MEDIA_TYPE, &[], now),
            Body::Malformed(_) => wire.answer(tx, StatusCode::BAD_REQUEST, &[], now),
        }
    }

    /// The 200 to an UPDATE, with our answer if it brought an offer.
    pub fn accept_update(&mut self, wire: &mut Wire, tx: ServerTx, sdp: Option<&str>, now: Instant) {
        let Some(mut response) = wire.response(tx, StatusCode::OK) else { return };
        self.refresh_from(wire, tx);
        response.headers.push(HeaderName::Contact, &self.contact);
        wire.say_abilities(&mut response.headers);
        // Session timers belong to answered calls.
        if self.is_active()
            && let Some(request) = wire.endpoint.request(tx)
        {
            let judged = wire.options.timer.judge_request(&request.headers, self.timer.agreed());
            self.note_timer(&mut response, judged, now);
        }
        if let Some(sdp) = sdp {
            response.set_body("application/sdp", sdp);
        }
        wire.send_response(tx, response, now);
    }

    /// Takes the Contact of a request that we accept as the new target.
    pub fn refresh_from(&mut self, wire: &Wire, tx: ServerTx) {
        if let (Some(dialog), Some(request)) = (&mut self.dialog, wire.endpoint.request(tx)) {
            dialog.refresh_target(&request.headers);
        }
    }

    /// Whether the peer may offer now; answers the request if not (RFC 3261 section 14.2, RFC 3311 section 5.2).
    fn may_begin_exchange(&mut self, wire: &mut Wire, tx: ServerTx, now: Instant) -> bool {
        match self.exchange {
            Exchange::Idle => return true,
            Exchange::OurOffer | Exchange::OurOfferInResponse => {
                wire.answer(tx, StatusCode::REQUEST_PENDING, &[], now);
            }
            Exchange::TheirOffer(_) | Exchange::OfferWanted(_) => self.answer_later(wire, tx, now),
        }
        false
    }

    /// 500 with a Retry-After between 0 and 10 seconds.
    fn answer_later(&mut self, wire: &mut Wire, tx: ServerTx, now: Instant) {
        let seconds = wire.millis_between(0, 10_000).as_secs();
        wire.answer(tx, StatusCode::SERVER_INTERNAL_ERROR, &[(HeaderName::RetryAfter, seconds.to_string())], now);
    }

    /// Whether the request's session timer is acceptable; answers 422 if not.
    fn takes_timer(&mut self, wire: &mut Wire, tx: ServerTx, request: &Request, now: Instant) -> bool {
        let judged = wire.options.timer.judge_request(&request.headers, self.timer.agreed());
        if judged == UasTimer::TooSmall {
            wire.answer_too_small(tx, now);
        }
        judged != UasTimer::TooSmall
    }

    fn on_bye(&mut self, wire: &mut Wire, tx: ServerTx, bye: Request, now: Instant) {
        match &self.phase {
            Phase::Incoming(incoming) => {
                let invite = incoming.tx;
                wire.answer(tx, StatusCode::OK, &[], now);
                self.on_incoming_gone(wire, invite, EndCause::Cancelled, now);
            }
            Phase::Active => {
                self.unacknowledged = None;
                self.withdraw_exchange(wire, now);
                self.phase = Phase::PeerBye { tx, until: now + BYE_ANSWER_TIME };
                wire.emit(CallEvent::Bye { call: self.call, bye: Box::new(bye) });
            }
            _ => wire.answer(tx, StatusCode::CALL_DOES_NOT_EXIST, &[], now),
        }
    }

    /// Both sides hung up at once, or the peer does so again.
    fn on_second_bye(&mut self, wire: &mut Wire, tx: ServerTx, now: Instant) {
        wire.answer(tx, StatusCode::OK, &[], now);
    }

    fn on_info(&mut self, wire: &mut Wire, tx: ServerTx, info: &Request, now: Instant) {
        match Info::of(&info.headers, &info.body) {
            Info::Digit(digit, duration) => {
                wire.answer(tx, StatusCode::OK, &[], now);
                wire.emit(CallEvent::Digit { call: self.call, digit, duration });
            }
            Info::Nothing => wire.answer(tx, StatusCode::OK, &[], now),
            Info::Unsupported => wire.answer(tx, StatusCode::UNSUPPORTED_MEDIA_TYPE, &[], now),
            Info::Malformed => wire.answer(tx, StatusCode::BAD_REQUEST, &[], now),
        }
    }

    /// We are nobody's to transfer.
    fn on_refer(&mut self, wire: &mut Wire, tx: ServerTx, refer: &Request, now: Instant) {
        match refer.headers.refer_to() {
            Ok(Some(refer_to)) => {
                wire.answer(tx, StatusCode::DECLINE, &[], now);
                wire.emit(CallEvent::TransferDeclined { call: self.call, refer_to });
            }
            _ => wire.answer(tx, StatusCode::BAD_REQUEST, &[], now),
        }
    }

    /// The INVITE or UPDATE that this exchange waits with was cancelled, or its transaction went.
    pub fn on_exchange_gone(&mut self, wire: &mut Wire, tx: ServerTx, now: Instant) {
        wire.answer(tx, StatusCode::REQUEST_TERMINATED, &[], now);
        let waits = match self.exchange {
            Exchange::OfferWanted(waiting) => waiting == tx,
            Exchange::TheirOffer(
                AnswerBy::Reinvite(waiting) | AnswerBy::Update(waiting) | AnswerBy::Prack(waiting),
            ) => waiting == tx,
            _ => false,
        };
        if waits {
            self.exchange = Exchange::Idle;
            self.offer_until = None;
            wire.emit(CallEvent::OfferWithdrawn { call: self.call });
        }
    }
}
