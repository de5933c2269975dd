//! NOTIFYs that nobody subscribed to, without sockets or clock: the state of each resource goes to each target of its
//! group, until the target says that it wants none.
//!
//! Such a NOTIFY stands outside of any dialog (RFC 3842 has none of it, gateways and PBXs in the field expect it). Its
//! Subscription-State is `active`: that is what they are documented to take, and `terminated` makes some of them forget
//! what the body says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::digest::{Challenge, Credentials};
use crate::endpoint::Endpoint;
use crate::fields::CSeq;
use crate::header_name::HeaderName;
use crate::io::{ClientTx, FailCause};
use crate::limits::{ANNOUNCE_PAUSE_MAX, ANNOUNCE_PAUSE_MIN, ANNOUNCED_MAX, ANNOUNCEMENTS_UNDER_WAY_MAX};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::notifier_io::{NotifyResult, Resource};
use crate::own_uri;
use crate::status::StatusCode;
use crate::target::Target;
use crate::timers::Timers;
use crate::uri::Uri;

/// One to whom states are announced.
#[derive(Clone, Debug)]
pub struct AnnounceTarget {
    /// Unique.
    pub name: String,
    /// It hears of the resources of this group.
    pub group: String,
    pub target: Target,
    /// What its challenges are answered with.
    pub credentials: Option<Arc<Credentials>>,
}

/// A challenge that answers are made for until another one comes.
#[derive(Debug)]
struct Answering {
    line: HeaderName,
    challenge: Challenge,
    /// How often it was answered.
    count: u32,
}

/// An announcement under way.
#[derive(Debug)]
struct Sent {
    resource: Resource,
    /// Whether it answers a challenge to the one before: another challenge says that the answer was wrong.
    is_again: bool,
}

/// What an announcer is told at birth.
#[derive(Clone, Debug)]
pub struct AnnouncerOptions {
    pub package: &'static str,
    /// Content-Type of the bodies.
    pub content_type: &'static str,
    /// Addresses of ours, for From and Contact.
    pub addresses: Vec<IpAddr>,
}

/// What the role must know, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnouncerEvent {
    /// A NOTIFY was answered, or failed.
    Notified(NotifyResult),
    /// A target wants none: it gets no more until it is given anew.
    Stopped { target: String, status: StatusCode },
    /// A target does not answer, or answers that something is broken; it is tried again.
    Failing { target: String },
    /// It takes them again; one that was away is told all.
    Recovered { target: String },
}

/// The state of a resource.
#[derive(Debug)]
struct State {
    group: String,
    /// Of the Request-URI.
    user: String,
    body: Vec<u8>,
    /// Whether it is to be forgotten once it was told.
    is_last: bool,
}

#[derive(Debug)]
struct Hearer {
    target: AnnounceTarget,
    /// Resources whose state is to be told.
    due: BTreeSet<Resource>,
    under_way: BTreeMap<ClientTx, Sent>,
    answering: Option<Answering>,
    /// Whose turn it was last.
    last: Option<Resource>,
    /// Failures in a row.
    failures: u32,
    not_before: Option<Instant>,
    /// Whether nobody was there: who comes back may have forgotten all. One that only did not answer has not.
    was_away: bool,
    is_stopped: bool,
}

impl Hearer {
    /// How many may be under way: a target that failed is tried with one.
    fn window(&self) -> usize {
        if self.failures > 0 { 1 } else { ANNOUNCEMENTS_UNDER_WAY_MAX }
    }

    /// The next one due that is not under way, after that of the last turn: one that fails does not keep others waiting.
    fn next(&self) -> Option<Resource> {
        let is_free = |resource: &&Resource| !self.under_way.values().any(|busy| busy.resource == **resource);
        let behind = self.last.and_then(|last| {
            let mut behind = self.due.range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded));
            behind.find(is_free)
        });
        behind.or_else(|| self.due.iter().find(is_free)).copied()
    }
}

/// All targets and the states that they hear. As with a [`Notifier`](crate::Notifier), the role hands it the endpoint's
/// responses, drains its events, and asks for the next timeout.
#[derive(Debug)]
pub struct Announcer {
    options: AnnouncerOptions,
    states: BTreeMap<Resource, State>,
    hearers: Vec<Hearer>,
    timers: Timers<usize>,
    events: VecDeque<AnnouncerEvent>,
    is_held: bool,
}

impl Announcer {
    pub fn new(options: AnnouncerOptions) -> Announcer {
        Announcer {
            options,
            states: BTreeMap::new(),
            hearers: Vec::new(),
            timers: Timers::new(),
            events: VecDeque::new(),
            is_held: false,
        }
    }

    pub fn poll_event(&mut self) -> Option<AnnouncerEvent> {
        self.events.pop_front()
    }

    /// What is announced, but for what is gone.
    pub fn resources(&self) -> Vec<Resource> {
        self.states.iter().filter(|(_, state)| !state.is_last).map(|(resource, _)| *resource).collect()
    }

    /// Targets that want none.
    pub fn stopped(&self) -> usize {
        self.hearers.iter().filter(|hearer| hearer.is_stopped).count()
    }

    /// Takes these targets in place of those before. Each is told all that there is, those that had said no too.
    pub fn set_targets(
        &mut self,
        endpoint: &mut Endpoint,
        options: AnnouncerOptions,
        targets: Vec<AnnounceTarget>,
        now: Instant,
    ) {
        for index in 0..self.hearers.len() {
            self.timers.set(index, None);
        }
        self.options = options;
        let hearer = |target: AnnounceTarget| Hearer {
            due: self.states.iter().filter(|(_, state)| state.group == target.group).map(|(id, _)| *id).collect(),
            target,
            under_way: BTreeMap::new(),
            answering: None,
            last: None,
            failures: 0,
            not_before: None,
            was_away: false,
            is_stopped: false,
        };
        self.hearers = targets.into_iter().map(hearer).collect();
        self.pump_all(endpoint, now);
    }

    /// The state of a resource; told where it is another than before. False when there is no room for one more.
    pub fn publish(
        &mut self,
        endpoint: &mut Endpoint,
        resource: Resource,
        (group, user): (&str, &str),
        body: Vec<u8>,
        now: Instant,
    ) -> bool {
        if let Some(known) = self.states.get(&resource) {
            if known.body == body && known.group == group && known.user == user {
                return true;
            }
        } else if self.states.len() >= ANNOUNCED_MAX {
            return false;
        }
        let state = State { group: group.to_owned(), user: user.to_owned(), body, is_last: false };
        self.states.insert(resource, state);
        self.tell(endpoint, resource, now);
        true
    }

    /// The last state of a resource that is gone; it is forgotten once it was told.
    pub fn withdraw(&mut self, endpoint: &mut Endpoint, resource: Resource, body: Vec<u8>, now: Instant) {
        let Some(state) = self.states.get_mut(&resource) else { return };
        (state.body, state.is_last) = (body, true);
        self.tell(endpoint, resource, now);
        self.forget_if_told(resource);
    }

    fn tell(&mut self, endpoint: &mut Endpoint, resource: Resource, now: Instant) {
        let Some(state) = self.states.get(&resource) else { return };
        for hearer in self.hearers.iter_mut().filter(|hearer| hearer.target.group == state.group && !hearer.is_stopped)
        {
            hearer.due.insert(resource);
        }
        self.pump_all(endpoint, now);
    }

    fn forget_if_told(&mut self, resource: Resource) {
        let is_last = self.states.get(&resource).is_some_and(|state| state.is_last);
        let is_wanted = |hearer: &Hearer| {
            hearer.due.contains(&resource) || hearer.under_way.values().any(|busy| busy.resource == resource)
        };
        if is_last && !self.hearers.iter().any(is_wanted) {
            self.states.remove(&resource);
        }
    }

    /// While held, nothing is sent, as nothing known may be true.
    pub fn hold(&mut self, endpoint: &mut Endpoint, is_held: bool, now: Instant) {
        self.is_held = is_held;
        self.pump_all(endpoint, now);
    }

    fn pump_all(&mut self, endpoint: &mut Endpoint, now: Instant) {
        for index in 0..self.hearers.len() {
            self.pump(endpoint, index, now);
        }
    }

    fn pump(&mut self, endpoint: &mut Endpoint, index: usize, now: Instant) {
        self.timers.set(index, None);
        while let Some(hearer) = self.hearers.get(index) {
            if self.is_held || hearer.is_stopped || hearer.under_way.len() >= hearer.window() {
                return;
            }
            let Some(resource) = hearer.next() else { return };
            if let Some(at) = hearer.not_before.filter(|at| *at > now) {
                return self.timers.set(index, Some(at));
            }
            self.hearers[index].last = Some(resource);
            self.send(endpoint, index, resource, false, now);
        }
    }

    fn send(&mut self, endpoint: &mut Endpoint, index: usize, resource: Resource, is_again: bool, now: Instant) {
        self.hearers[index].due.remove(&resource);
        let Some(mut request) = self.request(endpoint, index, resource) else { return };
        let hearer = &mut self.hearers[index];
        if let (Some(credentials), Some(answering)) = (&hearer.target.credentials, &mut hearer.answering) {
            answering.count += 1;
            let (uri, cnonce) = (request.uri.to_string(), endpoint.draw_token());
            let method = request.method.as_str();
            let answer = answering.challenge.answer(credentials, method, &uri, answering.count, &cnonce);
            request.headers.push(answering.line.clone(), answer);
        }
        match endpoint.send_request(request, hearer.target.target.clone(), now) {
            Ok(tx) => {
                hearer.under_way.insert(tx, Sent { resource, is_again });
            }
            Err(_) => {
                hearer.due.insert(resource);
                self.on_failure(index, None, now);
            }
        }
    }

    /// The NOTIFY of a state: to the resource's user at the target, from that user with us.
    fn request(&self, endpoint: &mut Endpoint, index: usize, resource: Resource) -> Option<Request> {
        let (state, target) = (self.states.get(&resource)?, &self.hearers.get(index)?.target.target);
        let uri = target.uri.clone().with_user(&state.user).for_request();
        let ours = own_uri::towards(endpoint.options(), &self.options.addresses, target).with_user(&state.user);
        let mut account = ours.clone().with_port(None);
        account.remove_param("transport");
        let (tag, call_id) = (endpoint.draw_token(), endpoint.draw_token());
        let mut request = Request::new(Method::Notify, Uri::Sip(uri.clone()));
        let headers = &mut request.headers;
        headers.push(HeaderName::From, NameAddr::new(account).with_param("tag", Some(&tag)));
        let mut to = uri;
        to.remove_param("transport");
        headers.push(HeaderName::To, NameAddr::new(to));
        headers.push(HeaderName::CallId, call_id);
        headers.push(HeaderName::CSeq, CSeq { number: 1, method: Method::Notify });
        headers.push(HeaderName::Contact, NameAddr::new(ours));
        headers.push(HeaderName::Event, self.options.package);
        headers.push(HeaderName::SubscriptionState, "active");
        request.set_body(self.options.content_type, state.body.clone());
        Some(request)
    }

    /// The final response to a request; false when it is none of ours.
    pub fn handle_response(
        &mut self,
        endpoint: &mut Endpoint,
        tx: ClientTx,
        response: &Response,
        now: Instant,
    ) -> bool {
        let Some(index) = self.hearers.iter().position(|hearer| hearer.under_way.contains_key(&tx)) else {
            return false;
        };
        let status = response.status;
        if !status.is_final() {
            return true;
        }
        let Some(Sent { resource, is_again }) = self.hearers[index].under_way.remove(&tx) else { return false };
        if !is_again && self.take_challenge(index, response) {
            self.send(endpoint, index, resource, true, now);
            return true;
        }
        let name = self.hearers[index].target.name.clone();
        let (result, is_failure) = match status {
            StatusCode::CALL_DOES_NOT_EXIST | StatusCode::BAD_EVENT => {
                let hearer = &mut self.hearers[index];
                hearer.is_stopped = true;
                hearer.due.clear();
                self.events.push_back(AnnouncerEvent::Stopped { target: name, status });
                (NotifyResult::Refused, false)
            }
            StatusCode::REQUEST_TIMEOUT => (NotifyResult::Failed, true),
            status if (500..600).contains(&status.code()) => (NotifyResult::Failed, true),
            status => {
                let result = if status.is_success() { NotifyResult::Delivered } else { NotifyResult::Refused };
                self.on_success(index);
                (result, false)
            }
        };
        self.events.push_back(AnnouncerEvent::Notified(result));
        if is_failure && !self.hearers[index].is_stopped {
            self.hearers[index].due.insert(resource);
            let retry_after = response.headers.retry_after_secs().map(|secs| Duration::from_secs(secs.into()));
            self.on_failure(index, retry_after, now);
        }
        self.forget_if_told(resource);
        self.pump(endpoint, index, now);
        true
    }

    /// Takes a challenge of a target that we have credentials for (RFC 3261 section 22). It comes from the host that the
    /// request was for: nobody else is asked.
    fn take_challenge(&mut self, index: usize, response: &Response) -> bool {
        let (asked, line) = match response.status {
            StatusCode::UNAUTHORIZED => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization)
            }
            _ => return false,
        };
        let hearer = &mut self.hearers[index];
        if hearer.target.credentials.is_none() || hearer.is_stopped {
            return false;
        }
        let Some(challenge) = Challenge::best_of(response.headers.values(asked)) else { return false };
        hearer.answering = Some(Answering { line, challenge, count: 0 });
        true
    }

    /// A request has no response; false when it is none of ours.
    pub fn handle_failed(&mut self, endpoint: &mut Endpoint, tx: ClientTx, cause: FailCause, now: Instant) -> bool {
        let Some(index) = self.hearers.iter().position(|hearer| hearer.under_way.contains_key(&tx)) else {
            return false;
        };
        let hearer = &mut self.hearers[index];
        if let Some(sent) = hearer.under_way.remove(&tx).filter(|_| !hearer.is_stopped) {
            hearer.due.insert(sent.resource);
        }
        hearer.was_away |= cause != FailCause::Timeout;
        self.events.push_back(AnnouncerEvent::Notified(NotifyResult::Failed));
        self.on_failure(index, None, now);
        self.pump(endpoint, index, now);
        true
    }

    fn on_failure(&mut self, index: usize, retry_after: Option<Duration>, now: Instant) {
        let hearer = &mut self.hearers[index];
        if hearer.is_stopped || hearer.not_before.is_some_and(|at| at > now) {
            // Others that were under way fail with the first; they count as one.
            return;
        }
        let doubled = ANNOUNCE_PAUSE_MIN * 2_u32.pow(hearer.failures.min(10));
        let pause = retry_after.unwrap_or(doubled).clamp(ANNOUNCE_PAUSE_MIN, ANNOUNCE_PAUSE_MAX);
        hearer.failures += 1;
        hearer.not_before = Some(now + pause);
        if hearer.failures == 1 {
            self.events.push_back(AnnouncerEvent::Failing { target: hearer.target.name.clone() });
        }
    }

    /// A target that was away is told all again.
    fn on_success(&mut self, index: usize) {
        let hearer = &mut self.hearers[index];
        if hearer.failures == 0 || hearer.is_stopped {
            return;
        }
        (hearer.failures, hearer.not_before) = (0, None);
        if std::mem::take(&mut hearer.was_away) {
            let of_group = self.states.iter().filter(|(_, state)| state.group == hearer.target.group);
            hearer.due.extend(of_group.map(|(resource, _)| *resource));
        }
        self.events.push_back(AnnouncerEvent::Recovered { target: hearer.target.name.clone() });
    }

    pub fn handle_timeout(&mut self, endpoint: &mut Endpoint, now: Instant) {
        while let Some(index) = self.timers.pop_due(now) {
            self.pump(endpoint, index, now);
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}
