//! The one answer to each request: a redirect to the active worker, or why not.

use std::time::Instant;

use postern_dialplan::{Refusal, Rules, Seals, ServiceStatus, towards};
use postern_sip::{HeaderName, Method, NameAddr, Request, SipUri, Source, StatusCode};
use postern_slots::{CallKey, Door, Refused, Slots};

use crate::contact::{door_of, listeners};

/// Methods that have an answer here.
const ALLOW: &str = "INVITE, ACK, CANCEL, OPTIONS, SUBSCRIBE";

/// Rules and words that may change while the service runs.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) rules: Rules,
    pub(crate) seals: Seals,
    pub(crate) retry_after_secs: u32,
}

/// A final answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// Why a call is not taken.
    pub(crate) refusal: Option<Refusal>,
}

impl Answer {
    fn of(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), refusal: None }
    }

    fn with(mut self, name: HeaderName, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

impl Desk {
    /// Answers a request; a call that is redirected is counted from now on.
    pub(crate) fn answer(
        &self,
        request: &Request,
        source: &Source,
        slots: &mut Slots,
        now: Instant,
        now_unix_secs: u64,
    ) -> Answer {
        let in_dialog = request.headers.to().is_ok_and(|to| to.tag().is_some());
        match request.method {
            Method::Options => self.answer_options(source, slots),
            // Whatever dialog that was, it is not ours.
            _ if in_dialog => Answer::of(StatusCode::CALL_DOES_NOT_EXIST),
            Method::Invite => match self.place(request, source, slots, now, now_unix_secs) {
                Ok(uri) => Answer::of(StatusCode::MOVED_TEMPORARILY).with(HeaderName::Contact, NameAddr::new(uri)),
                Err(refusal) => self.refuse(refusal),
            },
            Method::Bye | Method::Update | Method::Prack | Method::Info => Answer::of(StatusCode::CALL_DOES_NOT_EXIST),
            _ => Answer::of(StatusCode::METHOD_NOT_ALLOWED).with(HeaderName::Allow, ALLOW),
        }
    }

    fn place(
        &self,
        request: &Request,
        source: &Source,
        slots: &mut Slots,
        now: Instant,
        now_unix_secs: u64,
    ) -> Result<SipUri, Refusal> {
        let decision = self.rules.decide(request, source, &self.seals, now_unix_secs)?;
        let door = door_of(source, &request.uri);
        let call = CallKey::of(request.headers.value(HeaderName::CallId).unwrap_or_default());
        let slot = slots.reserve(&call, door, now).map_err(|refused| match refused {
            Refused::Unavailable => Refusal::Unavailable,
            Refused::Full => Refusal::Full,
        })?;
        let contacts = slots.contacts(slot).ok_or(Refusal::Unavailable)?;
        let listener =
            listeners(contacts).for_caller(door == Door::Tls, source.remote.ip()).ok_or(Refusal::Unavailable)?;
        Ok(self.rules.seal(towards(listener, &request.uri), &decision, &self.seals, now_unix_secs))
    }

    fn refuse(&self, refusal: Refusal) -> Answer {
        let answer = Answer { refusal: Some(refusal), ..Answer::of(refusal.status()) };
        match refusal {
            Refusal::Unavailable => answer.with(HeaderName::RetryAfter, self.retry_after_secs),
            _ => answer,
        }
    }

    /// Routers ask whether calls may come, how many, and who takes them.
    fn answer_options(&self, source: &Source, slots: &Slots) -> Answer {
        if !self.rules.admits(source) {
            return Answer::of(StatusCode::FORBIDDEN);
        }
        let workers = slots.active().and_then(|slot| slots.contacts(slot)).map(|contacts| listeners(contacts).all());
        let workers = workers.unwrap_or_default();
        let status = ServiceStatus { free_calls: slots.free_calls(), workers };
        let mut answer = match slots.active() {
            Some(_) => Answer::of(StatusCode::OK).with(HeaderName::Accept, "application/sdp"),
            None => Answer::of(StatusCode::SERVICE_UNAVAILABLE).with(HeaderName::RetryAfter, self.retry_after_secs),
        };
        answer.headers.push((HeaderName::Allow, ALLOW.into()));
        answer.headers.extend(status.headers());
        answer
    }
}
