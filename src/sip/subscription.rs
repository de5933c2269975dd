//! One subscription: its dialog, the state that its subscriber knows, and what is still to be told (RFC 6665 section 4.2).

use std::time::{Duration, Instant};

use crate::dialog::Dialog;
use crate::fields::EventPackage;
use crate::header_name::HeaderName;
use crate::io::ClientTx;
use crate::limits::{CSEQ_RESERVED, SUBSCRIPTION_BYTES_MAX};
use crate::message::{Message, Request};
use crate::method::Method;
use crate::notifier_io::{EndCause, Kept, Resource};

/// Names the subscriber's address in a subscription that is kept.
const OWNER: &str = "Subscription-Owner";

/// A subscription that was granted.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub resource: Resource,
    /// The subscriber's address.
    pub owner: String,
    /// The subscriber's Contact, by which it is known again.
    pub contact: String,
    pub event: EventPackage,
    /// Our Contact in it.
    pub ours: String,
    pub dialog: Dialog,
    pub expires: Instant,
    pub granted: Instant,
    /// The state as it is now; `None` until it is known.
    pub body: Option<Vec<u8>>,
    /// Whether the state is to be told.
    pub is_due: bool,
    /// It is told at once, however short ago the last was.
    pub is_urgent: bool,
    pub ending: Option<EndCause>,
    pub under_way: Option<ClientTx>,
    pub not_before: Option<Instant>,
    /// The highest CSeq that what is kept allows for.
    pub cseq_kept: u32,
}

impl Subscription {
    /// What is to be kept of it, which reserves further CSeq numbers; `None` when that is too long.
    pub fn keep(&mut self, lasts: Duration) -> Option<Kept> {
        self.cseq_kept = self.cseq_kept.max(self.dialog.local_cseq().saturating_add(CSEQ_RESERVED));
        let mut request = self.dialog.keep(Method::Notify, self.cseq_kept);
        request.headers.push(HeaderName::Contact, &self.ours);
        request.headers.push(HeaderName::Event, &self.event);
        request.headers.push(OWNER, &self.owner);
        let text = String::from_utf8(request.encode()).ok().filter(|text| text.len() <= SUBSCRIPTION_BYTES_MAX)?;
        Some(Kept { id: self.dialog.id().local_tag.clone(), text, lasts })
    }

    /// The subscription that [`keep`](Self::keep) wrote. Its state is to be told.
    pub fn restore(text: &str, resource: Resource, expires: Instant, now: Instant) -> Option<Subscription> {
        if text.len() > SUBSCRIPTION_BYTES_MAX {
            return None;
        }
        let Ok(Message::Request(kept)) = Message::parse(text.as_bytes()) else { return None };
        let dialog = Dialog::of_kept(&kept)?;
        Some(Subscription {
            resource,
            owner: kept.headers.value(OWNER)?.to_owned(),
            contact: kept.uri.to_string(),
            event: kept.headers.event().ok()??,
            ours: kept.headers.value(HeaderName::Contact)?.to_owned(),
            expires,
            granted: now,
            body: None,
            is_due: true,
            is_urgent: false,
            ending: None,
            under_way: None,
            not_before: None,
            cseq_kept: dialog.local_cseq(),
            dialog,
        })
    }

    /// Whether so few CSeq numbers are left of those reserved that more had better be.
    pub fn needs_keeping(&self) -> bool {
        self.cseq_kept.saturating_sub(self.dialog.local_cseq()) <= CSEQ_RESERVED / 4
    }

    /// When it is to be looked at again; `is_held`: no state may be told.
    pub fn deadline(&self, is_held: bool) -> Option<Instant> {
        if self.under_way.is_some() {
            return None;
        }
        let due = (self.is_due && self.body.is_some() && !is_held).then(|| self.may_tell_at());
        Some(due.map_or(self.expires, |due| due.min(self.expires)))
    }

    /// When its state may be told.
    pub fn may_tell_at(&self) -> Instant {
        self.not_before.filter(|_| !self.is_urgent).unwrap_or(self.granted)
    }

    /// The next NOTIFY (RFC 6665 section 4.2.2). The last one of all says why.
    pub fn notify(&mut self, content_type: &str, with_body: bool, now: Instant) -> Request {
        let mut request = self.dialog.request(Method::Notify);
        let state = match self.ending {
            None => format!("active;expires={}", self.expires.saturating_duration_since(now).as_secs()),
            Some(EndCause::Gone) => "terminated;reason=noresource".to_owned(),
            Some(_) => "terminated;reason=timeout".to_owned(),
        };
        request.headers.push(HeaderName::Contact, &self.ours);
        request.headers.push(HeaderName::Event, &self.event);
        request.headers.push(HeaderName::SubscriptionState, state);
        if let Some(body) = self.body.as_ref().filter(|_| with_body) {
            request.set_body(content_type, body.clone());
        }
        request
    }
}
