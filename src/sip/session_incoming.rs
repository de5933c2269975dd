//! An incoming call: from INVITE to the acknowledged answer (RFC 3261 section 13.3, RFC 3262).

use std::collections::VecDeque;
use std::time::Instant;

use crate::dialog::Dialog;
use crate::fields::RAck;
use crate::header_name::HeaderName;
use crate::io::ServerTx;
use crate::limits::PROVISIONALS_WAITING_MAX;
use crate::message::{Request, Response};
use crate::sdp_body::Body;
use crate::session::Unacknowledged;
use crate::session::{Again, AnswerBy, Exchange, Incoming, Outstanding, Phase, Provisionals, Repeat, Session};
use crate::session_timer::{TIMER, UasTimer};
use crate::source::Source;
use crate::status::StatusCode;
use crate::user_agent_io::{CallEvent, CallHandle, CommandError, EndCause};
use crate::user_agent_wire::Wire;

/// The option tag of reliable provisional responses.
pub(crate) const RELIABLE: &str = "100rel";

impl Session {
    /// A call that asks to be let in. `has_offer`: its INVITE brought one.
    pub fn incoming(
        wire: &mut Wire,
        call: CallHandle,
        tx: ServerTx,
        invite: &Request,
        has_offer: bool,
        source: &Source,
    ) -> Session {
        let user = invite.uri.as_sip().and_then(|uri| uri.user());
        let contact = wire.options.contact_for(source, user.as_deref());
        let reliable = Provisionals { next_rseq: wire.first_rseq(), outstanding: None, waiting: VecDeque::new() };
        let kept = Request { body: Vec::new(), ..invite.clone() };
        let incoming = Incoming { tx, invite: Box::new(kept), source: source.clone(), reliable, answer_waits: None };
        let mut session = Session::new(call, Phase::Incoming(Box::new(incoming)), contact);
        session.exchange =
            if has_offer { Exchange::TheirOffer(AnswerBy::Invite(tx)) } else { Exchange::OfferWanted(tx) };
        session.note_peer(&invite.headers, source);
        session
    }

    fn waiting_call(&mut self) -> Result<&mut Incoming, CommandError> {
        match &mut self.phase {
            Phase::Incoming(incoming) => Ok(incoming),
            _ => Err(CommandError::WrongState),
        }
    }

    /// A response to the first INVITE, with Contact; it makes the dialog.
    fn first_response(&mut self, wire: &mut Wire, status: StatusCode) -> Result<Response, CommandError> {
        let contact = self.contact.clone();
        let incoming = self.waiting_call()?;
        let mut response = wire.response(incoming.tx, status).ok_or(CommandError::WrongState)?;
        let made = Dialog::of_incoming(&incoming.invite, &response, &incoming.source);
        response.headers.push(HeaderName::Contact, contact);
        wire.say_abilities(&mut response.headers);
        if self.dialog.is_none() {
            let dialog = made.ok_or(CommandError::WrongState)?;
            wire.dialogs.insert(dialog.id().clone(), self.call);
            self.dialog = Some(dialog);
        }
        Ok(response)
    }

    /// 1xx but 100, with a session description for early media if given: reliably if the caller wants it so.
    pub fn progress(
        &mut self,
        wire: &mut Wire,
        status: StatusCode,
        sdp: Option<&str>,
        now: Instant,
    ) -> Result<(), CommandError> {
        if !status.is_provisional() || status == StatusCode::TRYING {
            return Err(CommandError::WrongState);
        }
        let owes_offer = matches!(self.exchange, Exchange::OfferWanted(_));
        let may_describe = owes_offer || matches!(self.exchange, Exchange::TheirOffer(AnswerBy::Invite(_)));
        let incoming = self.waiting_call()?;
        let headers = &incoming.invite.headers;
        let required = headers.required().iter().any(|tag| tag.eq_ignore_ascii_case(RELIABLE));
        // An offer may only go by what is acknowledged (RFC 3262 section 5).
        let reliable = required || (owes_offer && sdp.is_some() && headers.supports(RELIABLE));
        let describes = sdp.filter(|_| may_describe && (reliable || !owes_offer));
        let tx = incoming.tx;
        if reliable && incoming.reliable.waiting.len() >= PROVISIONALS_WAITING_MAX {
            return Err(CommandError::TooMany);
        }
        let mut response = self.first_response(wire, status)?;
        if let Some(sdp) = describes {
            response.set_body("application/sdp", sdp);
        }
        if !reliable {
            wire.send_response(tx, response, now);
            return Ok(());
        }
        if describes.is_some() {
            self.exchange = if owes_offer { Exchange::OurOfferInResponse } else { Exchange::Idle };
        }
        response.headers.push(HeaderName::Require, RELIABLE);
        self.waiting_call()?.reliable.waiting.push_back(response);
        self.send_waiting_provisional(wire, now);
        Ok(())
    }

    /// Sends the next reliable provisional response when none is under way (RFC 3262 section 3: one at a time).
    fn send_waiting_provisional(&mut self, wire: &mut Wire, now: Instant) {
        let Phase::Incoming(incoming) = &mut self.phase else { return };
        if incoming.reliable.outstanding.is_some() {
            return;
        }
        let Some(mut response) = incoming.reliable.waiting.pop_front() else { return };
        let rseq = incoming.reliable.next_rseq;
        incoming.reliable.next_rseq += 1;
        response.headers.push(HeaderName::RSeq, rseq);
        wire.send_response(incoming.tx, response.clone(), now);
        let repeat = Repeat::unbounded(wire.t1(), now);
        incoming.reliable.outstanding = Some(Outstanding { rseq, response, repeat });
    }

    pub fn repeat_provisional(&mut self, wire: &mut Wire, now: Instant) {
        let Phase::Incoming(incoming) = &mut self.phase else { return };
        let Some(outstanding) = &mut incoming.reliable.outstanding else { return };
        match outstanding.repeat.poll(now) {
            Again::NotYet => {}
            Again::Send => {
                let response = outstanding.response.clone();
                wire.send_response(incoming.tx, response, now);
            }
            Again::GiveUp => {
                wire.answer(incoming.tx, StatusCode::SERVER_TIMEOUT, &[], now);
                self.finish(wire, EndCause::NoPrack);
            }
        }
    }

    /// PRACK (RFC 3262 section 3): 481 unless it names the response under way.
    pub fn on_prack(&mut self, wire: &mut Wire, tx: ServerTx, prack: &Request, now: Instant) {
        let named = prack.headers.rack().ok().flatten();
        let Phase::Incoming(incoming) = &mut self.phase else {
            return wire.answer(tx, StatusCode::CALL_DOES_NOT_EXIST, &[], now);
        };
        let cseq = incoming.invite.headers.cseq().ok();
        let matches = |rack: &RAck, rseq: u32| rack.rseq == rseq && Some(&rack.cseq) == cseq.as_ref();
        let outstanding = incoming.reliable.outstanding.as_ref().map(|outstanding| outstanding.rseq);
        if !named.zip(outstanding).is_some_and(|(rack, rseq)| matches(&rack, rseq)) {
            return wire.answer(tx, StatusCode::CALL_DOES_NOT_EXIST, &[], now);
        }
        incoming.reliable.outstanding = None;
        match (Body::of(&prack.headers, &prack.body), &self.exchange) {
            (Body::Session(answer), Exchange::OurOfferInResponse) => {
                self.exchange = Exchange::Idle;
                wire.answer(tx, StatusCode::OK, &[], now);
                wire.emit(CallEvent::Answer { call: self.call, answer });
            }
            (Body::Session(offer), Exchange::Idle) => {
                self.await_role(Exchange::TheirOffer(AnswerBy::Prack(tx)), now);
                wire.emit(CallEvent::Offer { call: self.call, offer });
            }
            (Body::Session(_), _) => wire.answer(tx, StatusCode::REQUEST_PENDING, &[], now),
            (Body::Malformed(_), _) => wire.answer(tx, StatusCode::BAD_REQUEST, &[], now),
            (Body::Unsupported, _) => wire.answer(tx, StatusCode::UNSUPPORTED_MEDIA_TYPE, &[], now),
            (Body::Empty, _) => wire.answer(tx, StatusCode::OK, &[], now),
        }
        self.send_waiting_provisional(wire, now);
        self.answer_when_possible(wire, now);
    }

    /// Answers the call. `sdp` is our answer, or our offer if the INVITE brought none; it is left out when a reliable
    /// provisional response carried it.
    pub fn answer(&mut self, wire: &mut Wire, sdp: &str, now: Instant) -> Result<(), CommandError> {
        let incoming = self.waiting_call()?;
        if incoming.answer_waits.is_some() {
            return Err(CommandError::WrongState);
        }
        incoming.answer_waits = Some(sdp.to_owned());
        self.answer_when_possible(wire, now);
        Ok(())
    }

    fn answer_when_possible(&mut self, wire: &mut Wire, now: Instant) {
        let Phase::Incoming(incoming) = &mut self.phase else { return };
        let describes = |response: &Response| !response.body.is_empty();
        let reliable = &incoming.reliable;
        let outstanding = reliable.outstanding.as_ref().is_some_and(|outstanding| describes(&outstanding.response));
        if outstanding || reliable.waiting.iter().any(describes) || incoming.answer_waits.is_none() {
            return;
        }
        let (tx, sdp) = (incoming.tx, incoming.answer_waits.take().unwrap_or_default());
        let cseq = incoming.invite.headers.cseq().map_or(0, |cseq| cseq.number);
        let judged = wire.options.timer.judge_request(&incoming.invite.headers, None);
        let Ok(mut response) = self.first_response(wire, StatusCode::OK) else {
            return self.finish(wire, EndCause::Abandoned);
        };
        self.note_timer(&mut response, judged, now);
        let mut carries_offer = false;
        match &self.exchange {
            Exchange::TheirOffer(AnswerBy::Invite(_)) => {
                response.set_body("application/sdp", sdp);
                self.exchange = Exchange::Idle;
            }
            Exchange::OfferWanted(_) => {
                response.set_body("application/sdp", sdp);
                self.exchange = Exchange::OurOfferInResponse;
                carries_offer = true;
            }
            _ => {}
        }
        self.phase = Phase::Active;
        self.send_final(wire, tx, response, cseq, carries_offer, true, now);
    }

    /// Writes the agreed timer into a 2xx of ours and starts it.
    pub fn note_timer(&mut self, response: &mut Response, judged: UasTimer, now: Instant) {
        let UasTimer::On(agreed) = judged else {
            return self.timer.restart(None, now);
        };
        response.headers.push(HeaderName::SessionExpires, agreed.as_uas());
        if !agreed.we_refresh {
            response.headers.push(HeaderName::Require, TIMER);
        }
        self.timer.restart(Some(agreed), now);
    }

    /// Sends a 2xx to an INVITE and repeats it until its ACK comes, whatever the transport: there may be others on the
    /// way (RFC 3261 section 13.3.1.4).
    #[expect(clippy::too_many_arguments, reason = "each is a fact of the 2xx")]
    pub fn send_final(
        &mut self,
        wire: &mut Wire,
        tx: ServerTx,
        response: Response,
        cseq: u32,
        carries_offer: bool,
        initial: bool,
        now: Instant,
    ) {
        let repeat = Repeat::new(wire.t1(), wire.t2(), now);
        wire.send_response(tx, response.clone(), now);
        self.unacknowledged = Some(Unacknowledged { tx, response, cseq, carries_offer, initial, repeat });
    }

    pub fn repeat_final(&mut self, wire: &mut Wire, now: Instant) {
        let Some(unacknowledged) = &mut self.unacknowledged else { return };
        match unacknowledged.repeat.poll(now) {
            Again::NotYet => {}
            Again::Send => {
                let (tx, response) = (unacknowledged.tx, unacknowledged.response.clone());
                wire.send_response(tx, response, now);
            }
            Again::GiveUp => self.on_no_ack(wire, now),
        }
    }

    /// Nobody acknowledged: the session is ended by BYE all the same (RFC 3261 section 13.3.1.4).
    pub fn on_no_ack(&mut self, wire: &mut Wire, now: Instant) {
        self.unacknowledged = None;
        let reason = self.hang_up.take().flatten();
        self.leave(wire, EndCause::NoAck, reason, now);
    }

    pub fn on_ack(&mut self, wire: &mut Wire, ack: &Request, source: &Source, now: Instant) {
        let number = ack.headers.cseq().map(|cseq| cseq.number).ok();
        let Some(unacknowledged) = self.unacknowledged.take_if(|one| Some(one.cseq) == number) else { return };
        self.note_peer(&ack.headers, source);
        if let Some(reason) = self.hang_up.take() {
            return self.send_bye(wire, reason, now);
        }
        if unacknowledged.carries_offer {
            self.exchange = Exchange::Idle;
            match Body::of(&ack.headers, &ack.body) {
                Body::Session(answer) => wire.emit(CallEvent::Answer { call: self.call, answer }),
                // RFC 3261 section 13.2.2.4 leaves nothing else to do with a session that cannot begin.
                _ => return self.leave(wire, EndCause::BadOffer, None, now),
            }
        }
        if unacknowledged.initial {
            wire.emit(CallEvent::Established { call: self.call });
        }
    }

    /// Refuses the call with a final answer but no 2xx.
    pub fn reject(
        &mut self,
        wire: &mut Wire,
        status: StatusCode,
        headers: &[(HeaderName, String)],
        now: Instant,
    ) -> Result<(), CommandError> {
        if status.code() < 300 {
            return Err(CommandError::WrongState);
        }
        let tx = self.waiting_call()?.tx;
        wire.answer(tx, status, headers, now);
        self.finish(wire, EndCause::Ours);
        Ok(())
    }

    /// The caller gave up, or the transaction went.
    pub fn on_incoming_gone(&mut self, wire: &mut Wire, tx: ServerTx, cause: EndCause, now: Instant) {
        wire.answer(tx, StatusCode::REQUEST_TERMINATED, &[], now);
        self.withdraw_exchange(wire, now);
        self.finish(wire, cause);
    }
}
