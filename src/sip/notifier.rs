//! The notifier's side of an event package, without sockets or clock (RFC 6665): grants subscriptions, tells their
//! subscribers each change, and forgets those who do not listen.
//!
//! It works by an [`Endpoint`] of its role, which gives each SUBSCRIBE of whom it knows, and the endpoint's responses. Who
//! may subscribe to what, the role decides; what a subscription is to outlive, the role keeps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::dialog::{Dialog, DialogId, Order};
use crate::endpoint::Endpoint;
use crate::fields::EventPackage;
use crate::header_name::HeaderName;
use crate::io::{ClientTx, SendError, ServerTx};
use crate::limits::{
    NOTIFIES_UNDER_WAY_MAX, NOTIFY_RETRY_SECS_MAX, RETRY_AFTER_SECS, SUBSCRIBES_PENDING_MAX, SUBSCRIPTION_SECS,
    SUBSCRIPTION_SECS_MAX, SUBSCRIPTION_SECS_MIN, SUBSCRIPTIONS_PER_OWNER_AND_RESOURCE_MAX,
    SUBSCRIPTIONS_PER_RESOURCE_MAX,
};
use crate::message::{Request, Response};
use crate::name_addr::NameAddr;
use crate::notifier_io::{
    AskId, EndCause, Heard, Kept, NotifierEvent, NotifierOptions, NotifyResult, Resource, Subscribe,
};
use crate::own_uri;
use crate::status::StatusCode;
use crate::subscription::Subscription;
use crate::timers::Timers;

/// Our handle of a subscription.
type Id = u64;

/// A SUBSCRIBE whose answer is being looked for.
#[derive(Debug)]
struct Ask {
    tx: ServerTx,
    what: Asked,
    lasts: Duration,
}

#[derive(Debug)]
enum Asked {
    New(Box<Subscription>),
    /// The state, once.
    Once(Box<Subscription>),
    Refresh(Id),
}

/// All subscriptions of one event package. After each call: drain [`poll_event`](Notifier::poll_event), let the
/// endpoint's shell act, then ask for the next timeout.
#[derive(Debug)]
pub struct Notifier {
    options: NotifierOptions,
    asks: BTreeMap<AskId, Ask>,
    subscriptions: BTreeMap<Id, Subscription>,
    by_tag: BTreeMap<String, Id>,
    by_resource: BTreeMap<Resource, BTreeSet<Id>>,
    per_owner: BTreeMap<String, usize>,
    under_way: BTreeMap<ClientTx, Id>,
    /// Those whose time to be told has come when too many were under way.
    queued: BTreeSet<Id>,
    timers: Timers<Id>,
    events: VecDeque<NotifierEvent>,
    is_held: bool,
    last_id: u64,
}

impl Notifier {
    pub fn new(options: NotifierOptions) -> Notifier {
        Notifier {
            options,
            asks: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            by_tag: BTreeMap::new(),
            by_resource: BTreeMap::new(),
            per_owner: BTreeMap::new(),
            under_way: BTreeMap::new(),
            queued: BTreeSet::new(),
            timers: Timers::new(),
            events: VecDeque::new(),
            is_held: false,
            last_id: 0,
        }
    }

    pub fn poll_event(&mut self) -> Option<NotifierEvent> {
        self.events.pop_front()
    }

    /// Subscriptions that stand.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// What is subscribed to.
    pub fn resources(&self) -> Vec<Resource> {
        self.by_resource.keys().copied().collect()
    }

    /// Takes in a SUBSCRIBE. Nothing is kept of one that is answered here.
    pub fn handle_subscribe(&mut self, endpoint: &mut Endpoint, subscribe: Subscribe<'_>, now: Instant) -> Heard {
        let heard = self.wish_of(subscribe.request).and_then(|(event, secs)| {
            let lasts = Duration::from_secs(secs.into());
            match DialogId::of_incoming(subscribe.request) {
                Some(dialog) => self.hear_again(endpoint, subscribe, (dialog, event), lasts, now),
                None => self.hear(endpoint, subscribe, event, lasts, now),
            }
        });
        heard.unwrap_or_else(|(status, header)| {
            answer(endpoint, subscribe.tx, status, &Vec::from_iter(header), now);
            Heard::Answered(status)
        })
    }

    /// The package and the seconds that a SUBSCRIBE asks for.
    fn wish_of(&self, request: &Request) -> Result<(EventPackage, u32), Refusal> {
        let headers = &request.headers;
        let event = headers.event().map_err(|_| (StatusCode::BAD_REQUEST, None))?;
        let event = event.filter(|event| event.package == self.options.package);
        let allowed = (HeaderName::AllowEvents, self.options.package.to_owned());
        let event = event.ok_or((StatusCode::BAD_EVENT, Some(allowed)))?;
        let required = headers.required();
        if !required.is_empty() {
            let unsupported = (HeaderName::Unsupported, required.join(", "));
            return Err((StatusCode::BAD_EXTENSION, Some(unsupported)));
        }
        if headers.contains(HeaderName::Accept) && !accepts(request, self.options.content_type) {
            return Err((StatusCode::NOT_ACCEPTABLE, None));
        }
        match headers.expires_secs().unwrap_or(SUBSCRIPTION_SECS).min(SUBSCRIPTION_SECS_MAX) {
            secs if secs > 0 && secs < SUBSCRIPTION_SECS_MIN => {
                let least = (HeaderName::MinExpires, SUBSCRIPTION_SECS_MIN.to_string());
                Err((StatusCode::INTERVAL_TOO_BRIEF, Some(least)))
            }
            secs => Ok((event, secs)),
        }
    }

    fn hear(
        &mut self,
        endpoint: &Endpoint,
        Subscribe { tx, request, source, owner }: Subscribe<'_>,
        event: EventPackage,
        lasts: Duration,
        now: Instant,
    ) -> Result<Heard, Refusal> {
        let response = endpoint.response(tx, StatusCode::OK).ok_or((StatusCode::SERVER_INTERNAL_ERROR, None))?;
        let dialog = Dialog::of_incoming(request, &response, source).ok_or((StatusCode::BAD_REQUEST, None))?;
        let mut subscription = Subscription {
            resource: Resource(0),
            owner: owner.to_owned(),
            contact: dialog.target().to_string(),
            event,
            ours: NameAddr::new(own_uri::seen_by(endpoint.options(), source)).to_string(),
            dialog,
            expires: now + lasts,
            granted: now,
            body: None,
            is_due: true,
            is_urgent: true,
            ending: None,
            under_way: None,
            not_before: None,
            cseq_kept: 0,
        };
        let kept = subscription.keep(lasts).ok_or((StatusCode::MESSAGE_TOO_LARGE, None))?;
        let subscription = Box::new(subscription);
        if lasts.is_zero() {
            return self.ask(tx, Asked::Once(subscription), lasts, None, None);
        }
        self.ask(tx, Asked::New(subscription), lasts, None, Some(kept))
    }

    /// A SUBSCRIBE within a dialog: refreshes, or ends.
    fn hear_again(
        &mut self,
        endpoint: &mut Endpoint,
        Subscribe { tx, request, source, .. }: Subscribe<'_>,
        (dialog, event): (DialogId, EventPackage),
        lasts: Duration,
        now: Instant,
    ) -> Result<Heard, Refusal> {
        let unknown = (StatusCode::CALL_DOES_NOT_EXIST, None);
        let id = self.by_tag.get(&dialog.local_tag).copied().ok_or(unknown.clone())?;
        let known = self.subscriptions.get_mut(&id).ok_or(unknown.clone())?;
        if *known.dialog.id() != dialog || known.event != event || known.ending.is_some() {
            return Err(unknown);
        }
        let number = request.headers.cseq().map(|cseq| cseq.number).unwrap_or_default();
        if known.dialog.take_cseq(number) == Order::Late {
            return Err((StatusCode::SERVER_INTERNAL_ERROR, None));
        }
        known.dialog.note_source(source);
        known.dialog.refresh_target(&request.headers);
        known.contact = known.dialog.target().to_string();
        if lasts.is_zero() {
            known.ending = Some(EndCause::Unsubscribed);
            let headers = [(HeaderName::Expires, "0".to_owned()), (HeaderName::Contact, known.ours.clone())];
            answer(endpoint, tx, StatusCode::OK, &headers, now);
            self.pump(endpoint, id, now);
            return Ok(Heard::Answered(StatusCode::OK));
        }
        let resource = known.resource;
        let kept = known.keep(lasts).ok_or((StatusCode::MESSAGE_TOO_LARGE, None))?;
        self.ask(tx, Asked::Refresh(id), lasts, Some(resource), Some(kept))
    }

    fn ask(
        &mut self,
        tx: ServerTx,
        what: Asked,
        lasts: Duration,
        resource: Option<Resource>,
        kept: Option<Kept>,
    ) -> Result<Heard, Refusal> {
        if self.asks.len() >= SUBSCRIBES_PENDING_MAX {
            return Err(busy());
        }
        self.last_id += 1;
        let ask = AskId(self.last_id);
        self.asks.insert(ask, Ask { tx, what, lasts });
        Ok(Heard::Asked { ask, resource, kept })
    }

    /// Says no to a SUBSCRIBE.
    pub fn refuse(&mut self, endpoint: &mut Endpoint, ask: AskId, status: StatusCode, now: Instant) {
        let Some(ask) = self.asks.remove(&ask) else { return };
        let retry = (HeaderName::RetryAfter, RETRY_AFTER_SECS.to_string());
        let headers = Vec::from_iter((status == StatusCode::SERVICE_UNAVAILABLE).then_some(retry));
        answer(endpoint, ask.tx, status, &headers, now);
    }

    /// Grants a SUBSCRIBE, whose resource is in the state `body`, and tells its subscriber. The answer that it got.
    pub fn admit(
        &mut self,
        endpoint: &mut Endpoint,
        ask: AskId,
        resource: Resource,
        body: Vec<u8>,
        now: Instant,
    ) -> Option<StatusCode> {
        let Ask { tx, what, lasts } = self.asks.remove(&ask)?;
        let (id, ours) = match what {
            Asked::Refresh(id) => {
                let Some(known) = self.subscriptions.get_mut(&id).filter(|known| known.ending.is_none()) else {
                    return Some(answer(endpoint, tx, StatusCode::CALL_DOES_NOT_EXIST, &[], now));
                };
                (known.expires, known.granted, known.body) = (now + lasts, now, Some(body));
                (known.is_due, known.is_urgent, known.not_before) = (true, true, None);
                (Some(id), known.ours.clone())
            }
            Asked::Once(mut once) => {
                (once.body, once.ending, once.expires) = (Some(body), Some(EndCause::Expired), now);
                let headers = [(HeaderName::Expires, "0".to_owned()), (HeaderName::Contact, once.ours.clone())];
                answer(endpoint, tx, StatusCode::OK, &headers, now);
                let request = once.notify(self.options.content_type, !self.is_held, now);
                if let Some(hop) = once.dialog.next_hop(&request) {
                    // Nothing stands that a failure could end.
                    let _ = endpoint.send_request(request, hop, now);
                }
                return Some(StatusCode::OK);
            }
            Asked::New(new) => {
                let ours = new.ours.clone();
                let granted = Subscription { resource, body: Some(body), expires: now + lasts, granted: now, ..*new };
                (self.insert(granted), ours)
            }
        };
        let Some(id) = id else {
            let (status, header) = busy();
            return Some(answer(endpoint, tx, status, &Vec::from_iter(header), now));
        };
        let headers = [(HeaderName::Expires, lasts.as_secs().to_string()), (HeaderName::Contact, ours)];
        answer(endpoint, tx, StatusCode::OK, &headers, now);
        self.pump(endpoint, id, now);
        Some(StatusCode::OK)
    }

    /// Takes a subscription in, in place of those it replaces. `None`: there is no room.
    fn insert(&mut self, new: Subscription) -> Option<Id> {
        let resource = new.resource;
        let others = self.by_resource.get(&resource).cloned().unwrap_or_default();
        let mut of_owner = Vec::new();
        let mut of_resource = Vec::new();
        for id in others {
            let Some(other) = self.subscriptions.get(&id) else { continue };
            if other.contact == new.contact {
                // Its subscriber has given that dialog up: a NOTIFY there would only put the lamp of the new one out.
                self.remove(id, EndCause::Replaced);
                continue;
            }
            of_resource.push((other.granted, id));
            if other.owner == new.owner {
                of_owner.push((other.granted, id));
            }
        }
        let oldest = |list: &[(Instant, Id)], max| list.iter().min().filter(|_| list.len() >= max).map(|(_, id)| *id);
        let leaves = oldest(&of_owner, SUBSCRIPTIONS_PER_OWNER_AND_RESOURCE_MAX)
            .or_else(|| oldest(&of_resource, SUBSCRIPTIONS_PER_RESOURCE_MAX));
        if let Some(id) = leaves {
            self.remove(id, EndCause::Replaced);
        }
        let of_owner = self.per_owner.get(&new.owner).copied().unwrap_or(0);
        if self.subscriptions.len() >= self.options.subscriptions_max
            || of_owner >= self.options.subscriptions_per_owner_max
        {
            let id = new.dialog.id().local_tag.clone();
            self.events.push_back(NotifierEvent::Ended { id, cause: EndCause::NoRoom });
            return None;
        }
        self.last_id += 1;
        let id = self.last_id;
        *self.per_owner.entry(new.owner.clone()).or_default() += 1;
        self.by_tag.insert(new.dialog.id().local_tag.clone(), id);
        self.by_resource.entry(resource).or_default().insert(id);
        self.subscriptions.insert(id, new);
        Some(id)
    }

    fn remove(&mut self, id: Id, cause: EndCause) {
        let Some(gone) = self.subscriptions.remove(&id) else { return };
        self.timers.set(id, None);
        self.queued.remove(&id);
        if let Some(tx) = gone.under_way {
            self.under_way.remove(&tx);
        }
        let tag = gone.dialog.id().local_tag.clone();
        self.by_tag.remove(&tag);
        if let Some(others) = self.by_resource.get_mut(&gone.resource) {
            others.remove(&id);
            if others.is_empty() {
                self.by_resource.remove(&gone.resource);
            }
        }
        if let Some(count) = self.per_owner.get_mut(&gone.owner) {
            *count -= 1;
            if *count == 0 {
                self.per_owner.remove(&gone.owner);
            }
        }
        self.events.push_back(NotifierEvent::Ended { id: tag, cause });
    }

    /// Takes in a subscription that an earlier process kept. Its subscriber is told the state as soon as that is known.
    /// False when the words are none of ours, or there is no room.
    pub fn restore(&mut self, text: &str, resource: Resource, lasts: Duration, now: Instant) -> bool {
        let restored = Subscription::restore(text, resource, now + lasts, now);
        let is_new = |known: &Subscription| !self.by_tag.contains_key(&known.dialog.id().local_tag);
        let Some(id) = restored.filter(is_new).and_then(|restored| self.insert(restored)) else { return false };
        self.timers.set(id, Some(now + lasts));
        true
    }

    /// The state of a resource; told where it is another than before.
    pub fn publish(&mut self, endpoint: &mut Endpoint, resource: Resource, body: &[u8], now: Instant) {
        for id in self.by_resource.get(&resource).cloned().unwrap_or_default() {
            let Some(known) = self.subscriptions.get_mut(&id) else { continue };
            if known.body.as_deref() != Some(body) {
                (known.body, known.is_due) = (Some(body.to_vec()), true);
                self.pump(endpoint, id, now);
            }
        }
    }

    /// There is nothing to subscribe to any more: its subscriptions end.
    pub fn withdraw(&mut self, endpoint: &mut Endpoint, resource: Resource, now: Instant) {
        for id in self.by_resource.get(&resource).cloned().unwrap_or_default() {
            if let Some(known) = self.subscriptions.get_mut(&id) {
                (known.ending, known.body) = (Some(EndCause::Gone), None);
                self.pump(endpoint, id, now);
            }
        }
    }

    /// While held, no state is told, as none may be true.
    pub fn hold(&mut self, endpoint: &mut Endpoint, is_held: bool, now: Instant) {
        if self.is_held == is_held {
            return;
        }
        self.is_held = is_held;
        for id in self.subscriptions.keys().copied().collect::<Vec<_>>() {
            self.pump(endpoint, id, now);
        }
    }

    /// Sends what is to be sent now, and sets the time of the next look.
    fn pump(&mut self, endpoint: &mut Endpoint, id: Id, now: Instant) {
        let Some(known) = self.subscriptions.get_mut(&id) else { return };
        if known.under_way.is_none() {
            if known.ending.is_none() && known.expires <= now {
                known.ending = Some(EndCause::Expired);
            }
            if let Some(cause) = known.ending {
                let request = known.notify(self.options.content_type, !self.is_held, now);
                if let Some(hop) = known.dialog.next_hop(&request) {
                    // Whatever becomes of it, the subscription is over.
                    let _ = endpoint.send_request(request, hop, now);
                }
                return self.remove(id, cause);
            }
            let is_due = known.is_due && known.body.is_some() && !self.is_held;
            if is_due && known.may_tell_at() <= now {
                if self.under_way.len() >= NOTIFIES_UNDER_WAY_MAX {
                    let expires = known.expires;
                    self.queued.insert(id);
                    return self.timers.set(id, Some(expires));
                }
                return self.tell(endpoint, id, now);
            }
        }
        self.timers.set(id, known.deadline(self.is_held));
    }

    fn tell(&mut self, endpoint: &mut Endpoint, id: Id, now: Instant) {
        let Some(known) = self.subscriptions.get_mut(&id) else { return };
        let request = known.notify(self.options.content_type, true, now);
        let hop = known.dialog.next_hop(&request).ok_or(SendError::NoTransport);
        match hop.and_then(|hop| endpoint.send_request(request, hop, now)) {
            Ok(tx) => {
                (known.is_due, known.is_urgent, known.under_way) = (false, false, Some(tx));
                known.not_before = Some(now + self.options.interval_min);
                self.under_way.insert(tx, id);
                if known.needs_keeping()
                    && let Some(kept) = known.keep(known.expires.saturating_duration_since(now))
                {
                    self.events.push_back(NotifierEvent::Keep { resource: known.resource, kept });
                }
                self.timers.set(id, None);
            }
            Err(SendError::TooMany) => {
                let later = now + Duration::from_secs(RETRY_AFTER_SECS.into());
                (known.is_urgent, known.not_before) = (false, Some(later));
                self.timers.set(id, known.deadline(self.is_held));
            }
            Err(SendError::NotSecure | SendError::NoTransport | SendError::Incomplete) => {
                self.events.push_back(NotifierEvent::Notified(NotifyResult::Failed));
                self.remove(id, EndCause::Unreachable);
            }
        }
    }

    /// The final response to a request; false when it is none of ours.
    pub fn handle_response(
        &mut self,
        endpoint: &mut Endpoint,
        tx: ClientTx,
        response: &Response,
        now: Instant,
    ) -> bool {
        if !self.under_way.contains_key(&tx) {
            return false;
        }
        if !response.status.is_final() {
            return true;
        }
        let Some(id) = self.under_way.remove(&tx) else { return false };
        let Some(known) = self.subscriptions.get_mut(&id) else { return true };
        known.under_way = None;
        let (result, cause) = match response.status {
            status if status.is_success() => {
                known.dialog.refresh_target(&response.headers);
                (NotifyResult::Delivered, None)
            }
            // RFC 6665 section 4.2.2: whatever else it says, the subscription is not known there.
            StatusCode::CALL_DOES_NOT_EXIST | StatusCode::BAD_EVENT => (NotifyResult::Refused, Some(EndCause::Refused)),
            status => match response.headers.retry_after_secs() {
                Some(secs) => {
                    let later = now + Duration::from_secs(secs.clamp(1, NOTIFY_RETRY_SECS_MAX).into());
                    (known.is_due, known.not_before) = (true, Some(later));
                    (NotifyResult::Failed, None)
                }
                None if status == StatusCode::REQUEST_TIMEOUT || status.code() >= 500 => {
                    (NotifyResult::Failed, Some(EndCause::Unreachable))
                }
                None => (NotifyResult::Refused, Some(EndCause::Refused)),
            },
        };
        self.settle(endpoint, id, result, cause, now);
        true
    }

    /// A request has no response; false when it is none of ours.
    pub fn handle_failed(&mut self, endpoint: &mut Endpoint, tx: ClientTx, now: Instant) -> bool {
        let Some(id) = self.under_way.remove(&tx) else { return false };
        if let Some(known) = self.subscriptions.get_mut(&id) {
            known.under_way = None;
        }
        self.settle(endpoint, id, NotifyResult::Failed, Some(EndCause::Unreachable), now);
        true
    }

    fn settle(&mut self, endpoint: &mut Endpoint, id: Id, result: NotifyResult, end: Option<EndCause>, now: Instant) {
        self.events.push_back(NotifierEvent::Notified(result));
        match end {
            Some(cause) => self.remove(id, cause),
            None => self.pump(endpoint, id, now),
        }
        // One that turns out to have nothing to send leaves its place to the next.
        while self.under_way.len() < NOTIFIES_UNDER_WAY_MAX
            && let Some(next) = self.queued.pop_first()
        {
            self.pump(endpoint, next, now);
        }
    }

    pub fn handle_timeout(&mut self, endpoint: &mut Endpoint, now: Instant) {
        while let Some(id) = self.timers.pop_due(now) {
            self.pump(endpoint, id, now);
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

/// A status, and the header line that belongs to it.
type Refusal = (StatusCode, Option<(HeaderName, String)>);

fn busy() -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, Some((HeaderName::RetryAfter, RETRY_AFTER_SECS.to_string())))
}

fn answer(
    endpoint: &mut Endpoint,
    tx: ServerTx,
    status: StatusCode,
    headers: &[(HeaderName, String)],
    now: Instant,
) -> StatusCode {
    if let Some(mut response) = endpoint.response(tx, status) {
        for (name, value) in headers {
            response.headers.push(name.clone(), value);
        }
        endpoint.send_response(tx, response, now);
    }
    status
}

/// Whether Accept names the type, all of its kind, or all.
fn accepts(request: &Request, content_type: &str) -> bool {
    let kind = content_type.split('/').next().unwrap_or_default();
    let ranges = request.headers.list(HeaderName::Accept).unwrap_or_default();
    ranges.into_iter().any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        range == "*/*"
            || range.eq_ignore_ascii_case(content_type)
            || range.strip_suffix("/*").is_some_and(|known| known.eq_ignore_ascii_case(kind))
    })
}
