//! An outgoing call: from INVITE over redirections and forks to the acknowledged answer (RFC 3261 sections 8.1.3 and 13.2).

use std::collections::VecDeque;
use std::time::Instant;

use crate::dialog::Dialog;
use crate::fields::{CSeq, RAck, Reason, SessionExpires};
use crate::header_name::HeaderName;
use crate::io::{ClientTx, FailCause, SendError};
use crate::limits::{
    CALL_TARGETS_MAX, EARLY_DIALOGS_MAX, END_TIME, FORKS_ENDED_MAX, REDIRECTIONS_MAX, SESSION_EXPIRES_SECS_MAX,
};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::sdp_body::Body;
use crate::session::{AnswerBy, Exchange, Phase, Session};
use crate::session_challenge::{Proof, Shown};
use crate::session_hunting::Failed;
use crate::session_incoming::RELIABLE;
use crate::source::{Source, Transport};
use crate::status::StatusCode;
use crate::target::{Security, Target};
use crate::uri::Uri;
use crate::user_agent_io::{Alternative, CallEvent, CallHandle, CommandError, EndCause, Invite};
use crate::user_agent_wire::{Purpose, Wire};

/// An outgoing call before its answer.
pub(crate) struct Outgoing {
    /// The INVITE of the target under way.
    pub request: Request,
    pub tx: Option<ClientTx>,
    /// Dialogs that its provisional responses made, with the last RSeq of each.
    pub early: Vec<Dialog>,
    rseqs: Vec<Option<u32>>,
    /// Until when it may ring, or be cancelled.
    pub until: Instant,
    follow_redirects: bool,
    redirections: usize,
    /// What may be tried next.
    targets: VecDeque<Uri>,
    pub(crate) tried: Vec<Uri>,
    pub(crate) secured: bool,
    /// Other ways, should this one lead nowhere, and how many were tried.
    pub(crate) alternatives: VecDeque<Alternative>,
    pub(crate) alternatives_tried: usize,
    /// Towards the next hop of the way under way.
    pub(crate) proof: Proof,
    /// Why it was cancelled.
    cancelled: Option<EndCause>,
    last_refusal: Option<Box<Response>>,
}

impl Session {
    /// Calls out, under this Call-ID if there is one.
    ///
    /// # Errors
    /// The target cannot be sent to; no call was made.
    pub fn outgoing(
        wire: &mut Wire,
        call: CallHandle,
        invite: Invite,
        call_id: Option<&str>,
        now: Instant,
    ) -> Result<Session, CommandError> {
        let mut request = Request::new(Method::Invite, invite.uri.clone());
        let user = invite.from.uri.user().map(|user| user.into_owned());
        let from_tag = wire.endpoint.draw_token();
        let call_id = call_id.map_or_else(|| wire.endpoint.draw_token(), String::from);
        let headers = &mut request.headers;
        headers.push(HeaderName::MaxForwards, 70);
        headers.push(HeaderName::From, invite.from.with_param("tag", Some(&from_tag)));
        headers.push(HeaderName::To, invite.to.unwrap_or(crate::name_addr::NameAddr::new(invite.uri.clone())));
        headers.push(HeaderName::CallId, call_id);
        headers.push(HeaderName::CSeq, CSeq { number: 1, method: Method::Invite });
        wire.say_abilities(headers);
        if let Some(name) = &wire.options.name {
            headers.push(HeaderName::UserAgent, name);
        }
        if let Some(secs) = wire.options.timer.session_expires_secs {
            let floor = wire.options.timer.floor_secs();
            headers.push(HeaderName::SessionExpires, SessionExpires { secs: secs.max(floor), refresher: None });
            headers.push(HeaderName::MinSe, floor);
        }
        for (name, value) in invite.headers {
            headers.push(name, value);
        }
        if let Some(offer) = &invite.offer {
            request.set_body("application/sdp", offer.as_str());
        }
        let target = invite.target.or_else(|| Target::of(&request));
        let target = target.ok_or(CommandError::Send(SendError::NoTransport))?;
        let contact = wire.options.contact_towards(&target, user.as_deref());
        request.headers.push(HeaderName::Contact, &contact);
        let secured = target.security == Security::Tls;
        let hop = target.clone();
        let tx = wire.send(request.clone(), target, Purpose::Invite(call), now)?;
        let outgoing = Outgoing {
            tried: vec![request.uri.clone()],
            request,
            tx: Some(tx),
            early: Vec::new(),
            rseqs: Vec::new(),
            until: now + invite.ring_time,
            follow_redirects: invite.follow_redirects,
            redirections: 0,
            targets: VecDeque::new(),
            secured,
            alternatives: VecDeque::new(),
            alternatives_tried: 0,
            proof: Proof::new(invite.credentials, hop),
            cancelled: None,
            last_refusal: None,
        };
        let mut session = Session::new(call, Phase::Outgoing(Box::new(outgoing)), contact);
        session.exchange = if invite.offer.is_some() { Exchange::OurOffer } else { Exchange::Idle };
        Ok(session)
    }

    pub(crate) fn calling(&mut self) -> Option<&mut Outgoing> {
        match &mut self.phase {
            Phase::Outgoing(outgoing) => Some(outgoing),
            _ => None,
        }
    }

    pub fn on_invite_response(
        &mut self,
        wire: &mut Wire,
        tx: ClientTx,
        response: Response,
        source: &Source,
        now: Instant,
    ) {
        if !matches!(self.phase, Phase::Outgoing(_)) {
            if response.status.is_success() {
                self.on_further_answer(wire, tx, &response, source, now);
            }
            return;
        }
        match response.status {
            StatusCode::TRYING => {}
            status if status.is_provisional() => self.on_ringing(wire, &response, source, now),
            status if status.is_success() => self.on_answered(wire, tx, &response, source, now),
            _ => self.on_refused(wire, response, source, now),
        }
    }

    /// 1xx: an early dialog, perhaps to be acknowledged, perhaps with early media.
    fn on_ringing(&mut self, wire: &mut Wire, response: &Response, source: &Source, now: Instant) {
        let call = self.call;
        let Some(outgoing) = self.calling() else { return };
        if outgoing.cancelled.is_some() {
            return;
        }
        let dialog = Dialog::of_outgoing(&outgoing.request, response, source);
        let mut at = None;
        if let Some(dialog) = dialog {
            at = outgoing.early.iter().position(|known| known.id() == dialog.id());
            if at.is_none() && outgoing.early.len() < EARLY_DIALOGS_MAX {
                wire.dialogs.insert(dialog.id().clone(), call);
                outgoing.early.push(dialog);
                outgoing.rseqs.push(None);
                at = Some(outgoing.early.len() - 1);
            }
        }
        let required = response.headers.required().iter().any(|tag| tag.eq_ignore_ascii_case(RELIABLE));
        let rseq = response.headers.rseq().ok().flatten().filter(|_| required);
        if let (Some(rseq), Some(at)) = (rseq, at) {
            // RFC 3262 section 4: in order, each once.
            if outgoing.rseqs[at].is_some_and(|last| rseq != last.wrapping_add(1)) {
                return;
            }
            outgoing.rseqs[at] = Some(rseq);
            let cseq = outgoing.request.headers.cseq().map_or(1, |cseq| cseq.number);
            let dialog = &mut outgoing.early[at];
            let mut prack = dialog.request(Method::Prack);
            let rack = RAck { rseq, cseq: CSeq { number: cseq, method: Method::Invite } };
            prack.headers.push(HeaderName::RAck, rack);
            let _ = wire.send_in(&outgoing.early[at], prack, Purpose::Notice(call), now);
        }
        self.take_answer(wire, response);
        wire.emit(CallEvent::Progress { call, status: response.status });
    }

    /// Reports the answer to our offer, unless it was seen in an earlier response. Whether one stands.
    fn take_answer(&mut self, wire: &mut Wire, response: &Response) -> bool {
        match (Body::of(&response.headers, &response.body), &self.exchange) {
            (Body::Session(answer), Exchange::OurOffer) => {
                if self.peer.last_answer.as_ref() != Some(&answer) {
                    self.peer.last_answer = Some(answer.clone());
                    wire.emit(CallEvent::Answer { call: self.call, answer });
                }
                true
            }
            _ => self.peer.last_answer.is_some(),
        }
    }

    fn on_answered(&mut self, wire: &mut Wire, tx: ClientTx, response: &Response, source: &Source, now: Instant) {
        let Some(outgoing) = self.calling() else { return };
        let cancelled = outgoing.cancelled.take();
        let cseq = outgoing.request.headers.cseq().map_or(1, |cseq| cseq.number);
        let Some(mut dialog) = Dialog::of_outgoing(&outgoing.request, response, source) else {
            return self.finish(wire, EndCause::BadOffer);
        };
        // The early dialog has counted PRACKs.
        if let Some(early) = outgoing.early.iter().find(|early| early.id() == dialog.id()) {
            dialog.raise_local_cseq(early.local_cseq());
        }
        for early in &outgoing.early {
            wire.dialogs.remove(early.id());
        }
        self.shown = outgoing.proof.shown_in(&outgoing.request, tx, wire);
        wire.dialogs.insert(dialog.id().clone(), self.call);
        self.dialog = Some(dialog);
        self.phase = Phase::Active;
        self.note_peer(&response.headers, source);
        if let Some(cause) = cancelled {
            // The CANCEL crossed the answer.
            self.acknowledge(wire, tx, cseq, None, now);
            return self.leave(wire, cause, None, now);
        }
        let agreed = wire.options.timer.judge_response(&response.headers);
        self.timer.restart(agreed, now);
        let we_offered = self.exchange == Exchange::OurOffer;
        if we_offered {
            self.acknowledge(wire, tx, cseq, None, now);
            let agreed = self.take_answer(wire, response);
            self.exchange = Exchange::Idle;
            if !agreed {
                return self.leave(wire, EndCause::BadOffer, None, now);
            }
            wire.emit(CallEvent::Answered { call: self.call });
            return;
        }
        match Body::of(&response.headers, &response.body) {
            Body::Session(offer) => {
                self.await_role(Exchange::TheirOffer(AnswerBy::Ack(tx, cseq)), now);
                wire.emit(CallEvent::Answered { call: self.call });
                wire.emit(CallEvent::Offer { call: self.call, offer });
            }
            _ => {
                self.acknowledge(wire, tx, cseq, None, now);
                self.leave(wire, EndCause::BadOffer, None, now);
            }
        }
    }

    /// Sends the ACK for a 2xx, and keeps it for the repetitions of the 2xx.
    pub fn acknowledge(&mut self, wire: &mut Wire, tx: ClientTx, cseq: u32, sdp: Option<&str>, now: Instant) {
        let Some(dialog) = &self.dialog else { return };
        let mut ack = dialog.ack(cseq);
        if let Some(sdp) = sdp {
            ack.set_body("application/sdp", sdp);
        }
        wire.acknowledge(dialog, &ack, &self.shown, now);
        self.last_ack = Some((tx, ack));
    }

    /// A 2xx after the first: the same again, or another fork's, which is acknowledged and hung up (RFC 3261 section
    /// 13.2.2.4).
    pub fn on_further_answer(
        &mut self,
        wire: &mut Wire,
        tx: ClientTx,
        response: &Response,
        source: &Source,
        now: Instant,
    ) {
        let Some(own) = &self.dialog else { return };
        if response.headers.to_tag().unwrap_or_default() == own.id().remote_tag {
            if let Some((_, ack)) = self.last_ack.as_ref().filter(|(known, _)| *known == tx) {
                wire.acknowledge(own, ack, &self.shown, now);
            }
            return;
        }
        let Some((_, ack)) = self.last_ack.as_ref().filter(|(known, _)| *known == tx) else { return };
        let Ok(cseq) = response.headers.cseq() else { return };
        let Some(mut fork) = Dialog::of_outgoing(ack, response, source) else { return };
        let acknowledgement = fork.ack(cseq.number);
        wire.acknowledge(&fork, &acknowledgement, &Shown::default(), now);
        if self.peer.take_fork(fork.id(), FORKS_ENDED_MAX) {
            let bye = fork.request(Method::Bye);
            let _ = wire.send_in(&fork, bye, Purpose::Notice(CallHandle(0)), now);
        }
    }

    fn on_refused(&mut self, wire: &mut Wire, response: Response, source: &Source, now: Instant) {
        let Some(outgoing) = self.calling() else { return };
        outgoing.tx = None;
        if let Some(cause) = outgoing.cancelled.take() {
            return self.finish(wire, cause);
        }
        let status = response.status;
        if source.transport == Transport::Tls {
            outgoing.secured = true;
        }
        if status == StatusCode::SESSION_INTERVAL_TOO_SMALL && self.retry_with_longer_timer(wire, &response, now) {
            return;
        }
        if self.answer_challenge(wire, &response, now) || self.try_next_alternative(wire, Failed::Refused(status), now)
        {
            return;
        }
        let Some(outgoing) = self.calling() else { return };
        let mut stop = !outgoing.follow_redirects || status.code() >= 600;
        if status.is_redirection() && outgoing.follow_redirects {
            outgoing.redirections += 1;
            stop = outgoing.redirections > REDIRECTIONS_MAX;
            // The newest redirection knows best: its targets come first.
            for contact in response.headers.contacts_by_preference().into_iter().rev() {
                outgoing.targets.push_front(contact.uri);
            }
            outgoing.targets.truncate(CALL_TARGETS_MAX);
        } else {
            outgoing.last_refusal = Some(Box::new(response));
        }
        if !stop && self.try_next_target(wire, now) {
            return;
        }
        let refusal = self.calling().and_then(|outgoing| outgoing.last_refusal.take());
        let cause = refusal.map_or(EndCause::Redirected, EndCause::Refused);
        self.finish(wire, cause);
    }

    pub fn on_invite_failed(&mut self, wire: &mut Wire, cause: FailCause, now: Instant) {
        let Some(outgoing) = self.calling() else { return };
        outgoing.tx = None;
        if let Some(cause) = outgoing.cancelled.take() {
            return self.finish(wire, cause);
        }
        if self.try_next_target(wire, now) || self.try_next_alternative(wire, Failed::Unreachable(cause), now) {
            return;
        }
        let refusal = self.calling().and_then(|outgoing| outgoing.last_refusal.take());
        self.finish(wire, refusal.map_or(EndCause::Unreachable(cause), EndCause::Refused));
    }

    /// Calls the next redirection target that was not tried and can be sent to. What came by TLS goes on by TLS.
    fn try_next_target(&mut self, wire: &mut Wire, now: Instant) -> bool {
        loop {
            let Some(outgoing) = self.calling() else { return false };
            let Some(uri) = outgoing.targets.pop_front() else { return false };
            let known = outgoing.tried.iter().any(|tried| tried.is_equivalent(&uri));
            let Uri::Sip(sip) = &uri else { continue };
            if known || outgoing.tried.len() >= CALL_TARGETS_MAX {
                continue;
            }
            outgoing.tried.push(uri.clone());
            // Whoever is there now was not meant to have them.
            outgoing.proof = Proof::default();
            let mut target = Target::new(sip.clone().for_request());
            if outgoing.secured {
                target = target.secured();
            }
            let request_uri = Uri::Sip(sip.clone().for_request());
            if self.invite_again(wire, Some(request_uri), target, now) {
                return true;
            }
        }
    }

    /// Sends the INVITE anew: same call, next CSeq (RFC 3261 section 8.1.3.4).
    pub(crate) fn invite_again(&mut self, wire: &mut Wire, uri: Option<Uri>, target: Target, now: Instant) -> bool {
        let call = self.call;
        let Some(outgoing) = self.calling() else { return false };
        for early in outgoing.early.drain(..) {
            wire.dialogs.remove(early.id());
        }
        outgoing.rseqs.clear();
        let mut request = outgoing.request.clone();
        let number = request.headers.cseq().map_or(1, |cseq| cseq.number) + 1;
        request.headers.set(HeaderName::CSeq, CSeq { number, method: Method::Invite });
        if let Some(uri) = uri {
            request.uri = uri;
        }
        let user = request.headers.from().ok().and_then(|from| from.uri.user().map(|user| user.into_owned()));
        let contact = wire.options.contact_towards(&target, user.as_deref());
        request.headers.set(HeaderName::Contact, &contact);
        outgoing.proof.sign(&mut request, wire);
        let Ok(tx) = wire.send(request.clone(), target, Purpose::Invite(call), now) else { return false };
        outgoing.request = request;
        outgoing.tx = Some(tx);
        self.contact = contact;
        self.peer.last_answer = None;
        true
    }

    /// 422 (RFC 4028 section 7.4): once more with what the peer wants.
    fn retry_with_longer_timer(&mut self, wire: &mut Wire, response: &Response, now: Instant) -> bool {
        let floor = response.headers.min_se_secs().ok().flatten().filter(|floor| *floor <= SESSION_EXPIRES_SECS_MAX);
        let Some((floor, outgoing)) = floor.zip(self.calling()) else { return false };
        let before = outgoing.request.headers.min_se_secs().ok().flatten().unwrap_or(0);
        if floor <= before {
            return false;
        }
        let asked = outgoing.request.headers.session_expires().ok().flatten().map_or(floor, |asked| asked.secs);
        outgoing.request.headers.set(HeaderName::MinSe, floor);
        let expires = SessionExpires { secs: asked.max(floor), refresher: None };
        outgoing.request.headers.set(HeaderName::SessionExpires, expires);
        let secured = outgoing.secured;
        let hop = outgoing.proof.hop().or_else(|| Target::of(&outgoing.request));
        let Some(target) = hop else { return false };
        self.invite_again(wire, None, if secured { target.secured() } else { target }, now)
    }

    /// Gives the call up: by CANCEL, and by BYE if the answer crosses it. The role learns of the end at once.
    pub fn cancel(&mut self, wire: &mut Wire, cause: EndCause, reason: Option<Reason>, now: Instant) {
        let Some(outgoing) = self.calling() else { return };
        if outgoing.cancelled.is_some() {
            return;
        }
        outgoing.until = now + END_TIME;
        outgoing.cancelled = Some(cause.clone());
        let tx = outgoing.tx;
        self.tell_end(wire, cause.clone());
        match tx {
            Some(tx) => wire.cancel(tx, reason, now),
            None => self.finish(wire, cause),
        }
    }

    /// It rang too long, or its CANCEL had no effect.
    pub fn stop_ringing(&mut self, wire: &mut Wire, now: Instant) {
        if self.calling().is_some_and(|outgoing| outgoing.cancelled.is_some()) {
            return self.finish(wire, EndCause::NoAnswer);
        }
        let reason = Reason { protocol: "SIP".into(), cause: Some(408), text: Some("No answer".into()) };
        self.cancel(wire, EndCause::NoAnswer, Some(reason), now);
    }
}
