//! What a role asks of its user agent.

use std::time::Instant;

use crate::fields::{CSeq, Reason};
use crate::header_name::HeaderName;
use crate::io::ServerTx;
use crate::limits::PINGS_MAX;
use crate::message::Request;
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::session::{Phase, Session};
use crate::status::StatusCode;
use crate::target::Target;
use crate::user_agent::UserAgent;
use crate::user_agent_io::{Alternative, CallEvent, CallHandle, CommandError, EndCause, Invite, PingHandle};
use crate::user_agent_wire::Purpose;

/// Each fails with [`CommandError`] when the call is gone or not in the state for it; then nothing was changed.
impl UserAgent {
    /// 180.
    pub fn ring(&mut self, call: CallHandle, now: Instant) -> Result<(), CommandError> {
        self.progress(call, StatusCode::RINGING, None, now)
    }

    /// 1xx but 100; with a session description for early media. Sent reliably where the caller requires it.
    pub fn progress(
        &mut self,
        call: CallHandle,
        status: StatusCode,
        sdp: Option<&str>,
        now: Instant,
    ) -> Result<(), CommandError> {
        self.command(call, now, |session, wire| session.progress(wire, status, sdp, now))
    }

    /// 200 with our answer, or with our offer when the INVITE brought none.
    pub fn answer(&mut self, call: CallHandle, sdp: &str, now: Instant) -> Result<(), CommandError> {
        self.command(call, now, |session, wire| session.answer(wire, sdp, now))
    }

    /// A final answer but no 2xx, with these header lines (Retry-After, Warning, ...); ends the call.
    pub fn reject(
        &mut self,
        call: CallHandle,
        status: StatusCode,
        headers: &[(HeaderName, String)],
        now: Instant,
    ) -> Result<(), CommandError> {
        self.command(call, now, |session, wire| session.reject(wire, status, headers, now))
    }

    /// 302 to these contacts, best first; ends the call here.
    pub fn redirect(&mut self, call: CallHandle, contacts: &[NameAddr], now: Instant) -> Result<(), CommandError> {
        let headers: Vec<_> = contacts.iter().map(|contact| (HeaderName::Contact, contact.to_string())).collect();
        self.reject(call, StatusCode::MOVED_TEMPORARILY, &headers, now)
    }

    /// Calls out.
    ///
    /// # Errors
    /// Nothing was sent, and there is no call.
    pub fn invite(&mut self, invite: Invite, now: Instant) -> Result<CallHandle, CommandError> {
        let call = self.reserve();
        self.invite_as(call, None, invite, Vec::new(), now)?;
        Ok(call)
    }

    /// A handle for a call that will be made by [`invite_as`](Self::invite_as), or never.
    pub fn reserve(&mut self) -> CallHandle {
        CallHandle(self.next_handle())
    }

    /// Calls out under a reserved handle that no call has had, with a Call-ID of the role's if it gives one, and goes on
    /// by the `alternatives`, in order, when the way before leads nowhere. They are one call to the caller: one Call-ID,
    /// one time to ring.
    ///
    /// # Errors
    /// Nothing was sent, by no way, and there is no call.
    pub fn invite_as(
        &mut self,
        call: CallHandle,
        call_id: Option<&str>,
        invite: Invite,
        alternatives: Vec<Alternative>,
        now: Instant,
    ) -> Result<(), CommandError> {
        if self.sessions.len() >= self.wire.options.calls_max {
            return Err(CommandError::TooMany);
        }
        if self.sessions.contains_key(&call) {
            return Err(CommandError::WrongState);
        }
        let mut ways = alternatives.into_iter();
        let mut invite = invite;
        let mut failed = 0;
        let mut session = loop {
            match Session::outgoing(&mut self.wire, call, invite.clone(), call_id, now) {
                Ok(session) => break session,
                Err(error) => {
                    let Alternative { uri, target, credentials } = ways.next().ok_or(error)?;
                    invite = Invite { uri, to: None, target: Some(target), credentials, ..invite };
                    failed += 1;
                }
            }
        };
        session.set_alternatives(ways, failed);
        self.sessions.insert(call, session);
        if failed > 0 {
            self.wire.emit(CallEvent::Rerouted { call, at: failed });
        }
        self.settle(call, now);
        Ok(())
    }

    /// Ends the call, whatever its state: 480, CANCEL, BYE, or the confirmation of the peer's BYE.
    pub fn hang_up(&mut self, call: CallHandle, reason: Option<Reason>, now: Instant) -> Result<(), CommandError> {
        self.command(call, now, |session, wire| match &session.phase {
            Phase::Incoming(_) => session.reject(wire, StatusCode::TEMPORARILY_UNAVAILABLE, &[], now),
            Phase::Outgoing(_) => {
                session.cancel(wire, EndCause::Ours, reason, now);
                Ok(())
            }
            Phase::Active => {
                session.leave(wire, EndCause::Ours, reason, now);
                Ok(())
            }
            Phase::PeerBye { .. } => {
                session.confirm_bye(wire, now);
                Ok(())
            }
            Phase::Leaving { .. } | Phase::Over => Err(CommandError::WrongState),
        })
    }

    /// Answers the peer's BYE: what it left is safe.
    pub fn confirm_bye(&mut self, call: CallHandle, now: Instant) -> Result<(), CommandError> {
        self.command(call, now, |session, wire| {
            session.confirm_bye(wire, now);
            if session.is_over() { Ok(()) } else { Err(CommandError::WrongState) }
        })
    }

    /// Offers again by re-INVITE; `Answer` or `OfferRefused` follows.
    pub fn reoffer(&mut self, call: CallHandle, sdp: &str, now: Instant) -> Result<(), CommandError> {
        self.command(call, now, |session, wire| session.reoffer(wire, sdp, now))
    }

    /// Answers `Offer`, or makes the offer that `OfferWanted` asks for.
    pub fn answer_offer(&mut self, call: CallHandle, sdp: &str, now: Instant) -> Result<(), CommandError> {
        self.command(call, now, |session, wire| session.answer_offer(wire, sdp, now))
    }

    /// Refuses `Offer` or `OfferWanted` with 488 and these header lines.
    pub fn refuse_offer(
        &mut self,
        call: CallHandle,
        headers: &[(HeaderName, String)],
        now: Instant,
    ) -> Result<(), CommandError> {
        self.command(call, now, |session, wire| {
            session.refuse_offer(wire, StatusCode::NOT_ACCEPTABLE_HERE, headers, now);
            Ok(())
        })
    }

    /// Asks the peer to call somebody else; `Transfer` events follow, and after success the call's end.
    pub fn refer(
        &mut self,
        call: CallHandle,
        refer_to: &NameAddr,
        referred_by: Option<&NameAddr>,
        now: Instant,
    ) -> Result<(), CommandError> {
        self.command(call, now, |session, wire| session.refer(wire, refer_to, referred_by, now))
    }

    /// INFO within the call.
    pub fn info(&mut self, call: CallHandle, content_type: &str, body: &str, now: Instant) -> Result<(), CommandError> {
        self.command(call, now, |session, wire| {
            let (true, Some(dialog)) = (session.is_active(), &mut session.dialog) else {
                return Err(CommandError::WrongState);
            };
            let mut info = dialog.request(Method::Info);
            info.set_body(content_type, body);
            wire.send_in(dialog, info, Purpose::Notice(call), now)?;
            Ok(())
        })
    }

    /// OPTIONS, with these header lines besides; `Pong` follows. [`Target::answered_within`] says how long it may take.
    pub fn ping(
        &mut self,
        target: Target,
        headers: &[(HeaderName, String)],
        now: Instant,
    ) -> Result<PingHandle, CommandError> {
        if self.pings.len() >= PINGS_MAX {
            return Err(CommandError::TooMany);
        }
        let contact = self.wire.options.contact_towards(&target, None);
        let mut request = Request::new(Method::Options, target.uri.clone().for_request());
        let (tag, call_id) = (self.wire.endpoint.draw_token(), self.wire.endpoint.draw_token());
        let lines = &mut request.headers;
        lines.push(HeaderName::MaxForwards, 70);
        lines.push(HeaderName::From, NameAddr::new(contact.uri.clone()).with_param("tag", Some(&tag)));
        lines.push(HeaderName::To, NameAddr::new(request.uri.clone()));
        lines.push(HeaderName::CallId, call_id);
        lines.push(HeaderName::CSeq, CSeq { number: 1, method: Method::Options });
        lines.push(HeaderName::Contact, contact);
        lines.push(HeaderName::Accept, "application/sdp");
        for (name, value) in headers {
            lines.push(name.clone(), value);
        }
        let ping = PingHandle(self.next_handle());
        self.wire.send(request, target, Purpose::Ping(ping), now)?;
        self.pings.insert(ping, now);
        self.drain(now);
        Ok(ping)
    }

    /// Answers a request that was passed up.
    pub fn respond(
        &mut self,
        tx: ServerTx,
        status: StatusCode,
        headers: &[(HeaderName, String)],
        body: Option<(&str, &str)>,
        now: Instant,
    ) {
        let Some(mut response) = self.wire.response(tx, status) else { return };
        for (name, value) in headers {
            response.headers.push(name.clone(), value);
        }
        if let Some((content_type, body)) = body {
            response.set_body(content_type, body);
        }
        self.wire.send_response(tx, response, now);
        self.drain(now);
    }
}
