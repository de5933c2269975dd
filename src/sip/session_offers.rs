//! Offers and answers after a call's first: ours, our answers to the peer's, and session refreshes.

use std::time::Instant;

use crate::header_name::HeaderName;
use crate::io::{ClientTx, FailCause, ServerTx};
use crate::limits::SESSION_EXPIRES_SECS_MAX;
use crate::message::Response;
use crate::method::Method;
use crate::sdp_body::Body;
use crate::session::{AnswerBy, Exchange, Phase, Session};
use crate::session_timer::Agreed;
use crate::source::Source;
use crate::status::StatusCode;
use crate::user_agent_io::{CallEvent, CommandError, EndCause};
use crate::user_agent_wire::{Purpose, Wire};

impl Session {
    /// Answers the peer's re-offer, or makes the offer that it asked for.
    pub fn answer_offer(&mut self, wire: &mut Wire, sdp: &str, now: Instant) -> Result<(), CommandError> {
        let is_first = matches!(self.phase, Phase::Incoming(_));
        match self.exchange.clone() {
            Exchange::OfferWanted(tx) if !is_first => self.accept_reinvite(wire, tx, sdp, true, now),
            Exchange::TheirOffer(AnswerBy::Reinvite(tx)) => self.accept_reinvite(wire, tx, sdp, false, now),
            Exchange::TheirOffer(AnswerBy::Update(tx)) => {
                self.exchange = Exchange::Idle;
                self.accept_update(wire, tx, Some(sdp), now);
            }
            Exchange::TheirOffer(AnswerBy::Prack(tx)) => {
                self.exchange = Exchange::Idle;
                if let Some(mut response) = wire.response(tx, StatusCode::OK) {
                    response.set_body("application/sdp", sdp);
                    wire.send_response(tx, response, now);
                }
            }
            Exchange::TheirOffer(AnswerBy::Ack(tx, cseq)) => {
                self.exchange = Exchange::Idle;
                self.acknowledge(wire, tx, cseq, Some(sdp), now);
            }
            _ => return Err(CommandError::WrongState),
        }
        self.offer_until = None;
        Ok(())
    }

    fn accept_reinvite(&mut self, wire: &mut Wire, tx: ServerTx, sdp: &str, carries_offer: bool, now: Instant) {
        self.exchange = if carries_offer { Exchange::OurOfferInResponse } else { Exchange::Idle };
        self.refresh_from(wire, tx);
        let Some((mut response, request)) = wire.response(tx, StatusCode::OK).zip(wire.endpoint.request(tx)) else {
            self.exchange = Exchange::Idle;
            return;
        };
        let cseq = request.headers.cseq().map_or(0, |cseq| cseq.number);
        let judged = wire.options.timer.judge_request(&request.headers, self.timer.agreed());
        response.headers.push(HeaderName::Contact, &self.contact);
        wire.say_abilities(&mut response.headers);
        self.note_timer(&mut response, judged, now);
        response.set_body("application/sdp", sdp);
        self.send_final(wire, tx, response, cseq, carries_offer, false, now);
    }

    /// Refuses the peer's re-offer; the session stays as it was.
    pub fn refuse_offer(
        &mut self,
        wire: &mut Wire,
        status: StatusCode,
        headers: &[(HeaderName, String)],
        now: Instant,
    ) {
        self.offer_until = None;
        match self.exchange.clone() {
            Exchange::OfferWanted(tx)
            | Exchange::TheirOffer(AnswerBy::Reinvite(tx) | AnswerBy::Update(tx) | AnswerBy::Prack(tx)) => {
                self.exchange = Exchange::Idle;
                wire.answer(tx, status, headers, now);
            }
            // An offer in a 2xx can only be refused by ending the call.
            Exchange::TheirOffer(AnswerBy::Ack(..)) => self.leave(wire, EndCause::BadOffer, None, now),
            _ => {}
        }
    }

    /// Offers again by re-INVITE.
    pub fn reoffer(&mut self, wire: &mut Wire, sdp: &str, now: Instant) -> Result<(), CommandError> {
        if !self.is_active() {
            return Err(CommandError::WrongState);
        }
        if self.exchange != Exchange::Idle || self.unacknowledged.is_some() {
            return Err(CommandError::OfferUnderWay);
        }
        let dialog = self.dialog.as_mut().ok_or(CommandError::WrongState)?;
        let mut request = dialog.request(Method::Invite);
        request.headers.push(HeaderName::Contact, &self.contact);
        wire.say_abilities(&mut request.headers);
        if let Some(agreed) = self.timer.agreed() {
            request.headers.push(HeaderName::SessionExpires, agreed.as_uac());
            request.headers.push(HeaderName::MinSe, wire.options.timer.floor_secs());
        }
        request.set_body("application/sdp", sdp);
        wire.send_in(dialog, request, Purpose::Reinvite(self.call), now)?;
        self.exchange = Exchange::OurOffer;
        self.offer_again_at = None;
        Ok(())
    }

    pub fn on_reinvite_response(
        &mut self,
        wire: &mut Wire,
        tx: ClientTx,
        response: &Response,
        source: &Source,
        now: Instant,
    ) {
        if response.status.is_provisional() {
            return;
        }
        if self.last_ack.as_ref().is_some_and(|(known, _)| *known == tx) {
            return self.on_further_answer(wire, tx, response, source, now);
        }
        if !response.status.is_success() {
            return self.on_reoffer_refused(wire, response.status, now);
        }
        self.note_peer(&response.headers, source);
        let cseq = response.headers.cseq().map_or(0, |cseq| cseq.number);
        if let Some(dialog) = &mut self.dialog {
            dialog.refresh_target(&response.headers);
        }
        if let Some((old, _)) = &self.last_ack {
            wire.client.remove(old);
        }
        self.acknowledge(wire, tx, cseq, None, now);
        if !self.is_active() {
            return;
        }
        self.exchange = Exchange::Idle;
        let agreed = wire.options.timer.judge_response(&response.headers).or(self.timer.agreed());
        self.timer.restart(agreed, now);
        match Body::of(&response.headers, &response.body) {
            Body::Session(answer) => wire.emit(CallEvent::Answer { call: self.call, answer }),
            _ => self.leave(wire, EndCause::BadOffer, None, now),
        }
    }

    fn on_reoffer_refused(&mut self, wire: &mut Wire, status: StatusCode, now: Instant) {
        if !self.is_active() {
            return;
        }
        self.exchange = Exchange::Idle;
        match status {
            StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT => {
                return self.leave(wire, EndCause::Forgotten, None, now);
            }
            StatusCode::REQUEST_PENDING => {
                // RFC 3261 section 14.1: who owns the Call-ID waits longer.
                let (least, most) = if self.we_called { (2_100, 4_000) } else { (0, 2_000) };
                self.offer_again_at = Some(now + wire.millis_between(least, most));
            }
            _ => self.timer.retry(now),
        }
        wire.emit(CallEvent::OfferRefused { call: self.call, status });
    }

    /// A request within the call got no final response. RFC 3261 section 12.2.1.2: silence ends the dialog, a broken
    /// connection may be made anew.
    pub fn on_reoffer_failed(&mut self, wire: &mut Wire, cause: FailCause, now: Instant) {
        let status = match cause {
            FailCause::Timeout => StatusCode::REQUEST_TIMEOUT,
            FailCause::Transport | FailCause::Unresolved | FailCause::GivenUp => StatusCode::SERVICE_UNAVAILABLE,
        };
        self.on_reoffer_refused(wire, status, now);
    }

    /// Keeps the session alive: by UPDATE, else the role offers again.
    pub fn refresh(&mut self, wire: &mut Wire, now: Instant) {
        let agreed = self.timer.agreed();
        let quiet = self.exchange == Exchange::Idle && self.unacknowledged.is_none();
        let (Some(agreed), Some(dialog), true) = (agreed, &mut self.dialog, quiet) else {
            return self.timer.retry(now);
        };
        if !self.peer.says_it_allows(&Method::Update) {
            self.timer.retry(now);
            return wire.emit(CallEvent::OfferDue { call: self.call });
        }
        let mut update = dialog.request(Method::Update);
        update.headers.push(HeaderName::Contact, &self.contact);
        wire.say_abilities(&mut update.headers);
        update.headers.push(HeaderName::SessionExpires, agreed.as_uac());
        update.headers.push(HeaderName::MinSe, wire.options.timer.floor_secs());
        if wire.send_in(dialog, update, Purpose::Refresh(self.call), now).is_err() {
            self.timer.retry(now);
        }
    }

    pub fn on_refresh_response(&mut self, wire: &mut Wire, response: &Response, source: &Source, now: Instant) {
        if response.status.is_provisional() || !self.is_active() {
            return;
        }
        self.note_peer(&response.headers, source);
        match response.status {
            status if status.is_success() => {
                if let Some(dialog) = &mut self.dialog {
                    dialog.refresh_target(&response.headers);
                }
                let agreed = wire.options.timer.judge_response(&response.headers).or(self.timer.agreed());
                self.timer.restart(agreed, now);
            }
            StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT => {
                self.leave(wire, EndCause::Forgotten, None, now);
            }
            StatusCode::SESSION_INTERVAL_TOO_SMALL => {
                let floor = response.headers.min_se_secs().ok().flatten().unwrap_or(0);
                match self.timer.agreed() {
                    // Grows each time, so this ends.
                    Some(agreed) if agreed.secs < floor && floor <= SESSION_EXPIRES_SECS_MAX => {
                        self.timer.restart(Some(Agreed { secs: floor, ..agreed }), now);
                        self.refresh(wire, now);
                    }
                    _ => self.timer.retry(now),
                }
            }
            _ => self.timer.retry(now),
        }
    }

    pub fn on_refresh_failed(&mut self, wire: &mut Wire, cause: FailCause, now: Instant) {
        match cause {
            _ if !self.is_active() => {}
            FailCause::Timeout => self.leave(wire, EndCause::Forgotten, None, now),
            FailCause::Transport | FailCause::Unresolved | FailCause::GivenUp => self.timer.retry(now),
        }
    }
}
