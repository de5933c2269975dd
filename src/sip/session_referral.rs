//! Transferring the peer: REFER, and what it tells of it (RFC 3515).

use std::time::Instant;

use crate::header_name::HeaderName;
use crate::io::ServerTx;
use crate::limits::REFER_NEWS_TIME;
use crate::message::{Request, Response};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::session::{Referral, Session};
use crate::status::StatusCode;
use crate::user_agent_io::{CallEvent, CommandError, EndCause, TransferProgress};
use crate::user_agent_wire::{Purpose, Wire};

impl Session {
    /// Asks the peer to call `refer_to` in our place.
    pub fn refer(
        &mut self,
        wire: &mut Wire,
        refer_to: &NameAddr,
        referred_by: Option<&NameAddr>,
        now: Instant,
    ) -> Result<(), CommandError> {
        if !self.is_active() || self.referral.is_some() {
            return Err(CommandError::WrongState);
        }
        if self.peer.forbids(&Method::Refer) {
            return Err(CommandError::NotAllowedByPeer);
        }
        let dialog = self.dialog.as_mut().ok_or(CommandError::WrongState)?;
        let mut refer = dialog.request(Method::Refer);
        refer.headers.push(HeaderName::Contact, &self.contact);
        refer.headers.push(HeaderName::ReferTo, refer_to);
        refer.headers.push(HeaderName::ReferredBy, referred_by.unwrap_or(&self.contact));
        wire.say_abilities(&mut refer.headers);
        wire.send_in(dialog, refer, Purpose::Refer(self.call), now)?;
        self.referral = Some(Referral { until: now + REFER_NEWS_TIME });
        Ok(())
    }

    pub fn on_refer_response(&mut self, wire: &mut Wire, response: &Response, now: Instant) {
        if response.status.is_provisional() || self.referral.is_none() {
            return;
        }
        match response.status {
            status if status.is_success() => {
                wire.emit(CallEvent::Transfer { call: self.call, progress: TransferProgress::Accepted });
                // RFC 4488: the peer will tell nothing.
                let silent = response.headers.value(HeaderName::ReferSub).is_some_and(|value| value.trim() == "false");
                if silent {
                    self.end_referral(wire, TransferProgress::Unknown, now);
                }
            }
            StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT => {
                self.referral = None;
                self.leave(wire, EndCause::Forgotten, None, now);
            }
            status => self.end_referral(wire, TransferProgress::Failed(status), now),
        }
    }

    /// The transfer is over, one way or another; after its success our call is, too.
    pub fn end_referral(&mut self, wire: &mut Wire, progress: TransferProgress, now: Instant) {
        if self.referral.take().is_none() || !self.is_active() {
            return;
        }
        wire.emit(CallEvent::Transfer { call: self.call, progress });
        if progress == TransferProgress::Succeeded {
            self.leave(wire, EndCause::Transferred, None, now);
        }
    }

    pub fn on_notify(&mut self, wire: &mut Wire, tx: ServerTx, notify: &Request, now: Instant) {
        let of_refer = notify.headers.event().ok().flatten().is_some_and(|event| event.package == "refer");
        if !of_refer || self.referral.is_none() {
            return wire.answer(tx, StatusCode::BAD_EVENT, &[], now);
        }
        wire.answer(tx, StatusCode::OK, &[], now);
        let state = notify.headers.value(HeaderName::SubscriptionState).unwrap_or_default();
        let terminated = state.trim_start().to_ascii_lowercase().starts_with("terminated");
        match status_of(&notify.body) {
            Some(status) if status.is_success() => self.end_referral(wire, TransferProgress::Succeeded, now),
            Some(status) if status.is_final() => self.end_referral(wire, TransferProgress::Failed(status), now),
            _ if terminated => self.end_referral(wire, TransferProgress::Unknown, now),
            Some(status) => {
                self.referral = Some(Referral { until: now + REFER_NEWS_TIME });
                wire.emit(CallEvent::Transfer { call: self.call, progress: TransferProgress::Provisional(status) });
            }
            None => {}
        }
    }
}

/// The status of a `message/sipfrag` that begins with a status line (RFC 3420).
fn status_of(body: &[u8]) -> Option<StatusCode> {
    let text = std::str::from_utf8(body.get(..body.len().min(64))?).ok()?;
    let code = text.trim_start().strip_prefix("SIP/2.0 ")?.get(..3)?;
    StatusCode::new(code.parse().ok()?)
}
