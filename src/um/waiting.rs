//! Message waiting: who subscribes to a mailbox, and which gateways are told without (RFC 3842). It says what the store
//! says, and nothing while the store cannot be read: a lamp that is wrong is worse than one that is late.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_dialplan::{Purpose, Refusal, Rules, Seals};
use postern_mailbox::{Address, MailboxId, PlanName, StoreError};
use postern_sip::announcer::{AnnounceTarget, AnnouncerEvent, AnnouncerOptions};
use postern_sip::host::Host;
use postern_sip::io::FailCause;
use postern_sip::message_summary::{CONTENT_TYPE, MessageSummary, PACKAGE};
use postern_sip::notifier_io::{AskId, Heard, NotifierEvent, NotifierOptions, Resource, Subscribe};
use postern_sip::{
    Announcer, ClientTx, Endpoint, HeaderName, Notifier, Request, Response, ServerTx, SipUri, Source, StatusCode, Uri,
};
use postern_store::{Change, Counts};
use postern_telemetry::UmCells;
use postern_telemetry::call_labels::{NotifyKind, SipMethod, SipResult};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::changes::{Feed, Reading};
use crate::limits::{STORE_PAUSE, STORE_QUESTIONS_MAX};
use crate::meters::{ended_label, notified_label};
use crate::waiting_store::{Found, Loaded, Question, Which, serve};

/// What the configuration says of it; taken up by a reload.
#[derive(Clone, Debug)]
pub(crate) struct WaitingOptions {
    /// Gateways that are told without having subscribed.
    pub(crate) targets: Vec<AnnounceTarget>,
    pub(crate) announcer: AnnouncerOptions,
    /// Host of Message-Account for mailboxes that are numbers.
    pub(crate) host: Host,
    pub(crate) retry_after_secs: u32,
}

/// How far we are with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It cannot be read.
    Broken,
    /// What it holds is being asked for, or is to be asked for again then.
    Loading {
        again: Option<Instant>,
    },
    Works,
}

/// What [`Waiting::next`] waited for.
pub(crate) enum News {
    Found(Found),
    Changed(MailboxId),
    /// So much changed that it was not told one by one.
    ChangedAll,
    /// The store broke, or works again.
    Reading,
    /// A time has come.
    Due,
}

/// Message waiting of this process.
pub(crate) struct Waiting {
    options: WaitingOptions,
    notifier: Notifier,
    announcer: Announcer,
    changes: broadcast::Receiver<Change>,
    reading: watch::Receiver<Reading>,
    /// Questions that write, and that only read: a flood of SUBSCRIBEs does not make changes late.
    writes: mpsc::Sender<Question>,
    reads: mpsc::Sender<Question>,
    found: mpsc::Receiver<Found>,
    stage: Stage,
    /// Whether subscriptions of an earlier process were taken in: before, what they are is not known.
    is_restored: bool,
    /// Mailboxes to look at when the store has time.
    looks: BTreeSet<MailboxId>,
    /// Subscriptions to forget when the store has time.
    forgets: Vec<String>,
    cells: Arc<UmCells>,
    /// Ends with us.
    _task: JoinSet<()>,
}

impl Waiting {
    /// To be called inside a tokio runtime.
    pub(crate) fn start(feed: &Feed, options: WaitingOptions, cells: Arc<UmCells>) -> Self {
        let (writes, written) = mpsc::channel(STORE_QUESTIONS_MAX);
        let (reads, read) = mpsc::channel(STORE_QUESTIONS_MAX);
        let (tell, found) = mpsc::channel(STORE_QUESTIONS_MAX);
        let mut task = JoinSet::new();
        task.spawn(serve(feed.reading(), written, tell.clone()));
        task.spawn(serve(feed.reading(), read, tell));
        let mut reading = feed.reading();
        reading.mark_changed();
        Self {
            notifier: Notifier::new(NotifierOptions::new(PACKAGE, CONTENT_TYPE)),
            announcer: Announcer::new(options.announcer.clone()),
            options,
            changes: feed.changes(),
            reading,
            writes,
            reads,
            found,
            stage: Stage::Broken,
            is_restored: false,
            looks: BTreeSet::new(),
            forgets: Vec::new(),
            cells,
            _task: task,
        }
    }

    /// Takes up another configuration. Gateways that wanted no NOTIFY are asked again.
    pub(crate) fn set_options(&mut self, endpoint: &mut Endpoint, options: WaitingOptions) {
        let now = Instant::now();
        self.announcer.set_targets(endpoint, options.announcer.clone(), options.targets.clone(), now);
        self.options = options;
        self.settle();
    }

    /// Waits for what [`take`](Self::take) is to take in. Cancel-safe.
    pub(crate) async fn next(&mut self) -> News {
        let again = match self.stage {
            Stage::Loading { again } => again,
            Stage::Broken | Stage::Works => None,
        };
        let times = [again, self.notifier.next_timeout(), self.announcer.next_timeout()];
        let due = times.into_iter().flatten().min();
        tokio::select! {
            Some(found) = self.found.recv() => News::Found(found),
            changed = self.changes.recv() => match changed {
                Ok(change) => News::Changed(change.mailbox),
                Err(broadcast::error::RecvError::Lagged(_)) => News::ChangedAll,
                // The feed's task does not end before us.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            },
            Ok(()) = self.reading.changed() => News::Reading,
            () = until(due) => News::Due,
        }
    }

    pub(crate) fn take(&mut self, news: News, endpoint: &mut Endpoint) {
        let now = Instant::now();
        match news {
            News::Found(Found::Subscribed { ask, state }) => self.on_subscribed(endpoint, ask, state, now),
            News::Found(Found::Looked { mailbox, state }) => match state {
                Ok(Some(state)) => self.publish(endpoint, &state, now),
                Ok(None) => self.withdraw(endpoint, mailbox, now),
                Err(error) => self.on_fault(endpoint, error, now),
            },
            News::Found(Found::Loaded(Ok(loaded))) => self.on_loaded(endpoint, loaded, now),
            News::Found(Found::Loaded(Err(error))) => self.on_fault(endpoint, error, now),
            News::Changed(mailbox) => {
                self.looks.insert(mailbox);
            }
            News::ChangedAll => self.load(),
            News::Reading => {
                let works = matches!(*self.reading.borrow_and_update(), Reading::Works(_));
                if works {
                    self.load();
                } else {
                    self.hold(endpoint, true, now);
                    self.stage = Stage::Broken;
                }
            }
            News::Due => {
                if matches!(self.stage, Stage::Loading { again: Some(at) } if at <= now) {
                    self.load();
                }
                self.notifier.handle_timeout(endpoint, now);
                self.announcer.handle_timeout(endpoint, now);
            }
        }
        self.settle();
    }

    /// Asks for everything; when the store has no time, a little later.
    fn load(&mut self) {
        let asked = self.reads.try_send(Question::Load).is_ok();
        self.stage = Stage::Loading { again: (!asked).then(|| Instant::now() + STORE_PAUSE) };
    }

    /// Nothing is told from here on until everything could be read.
    fn on_fault(&mut self, endpoint: &mut Endpoint, error: StoreError, now: Instant) {
        tracing::debug!(%error, "the state of mailboxes could not be read");
        self.hold(endpoint, true, now);
        if self.stage != Stage::Broken {
            self.stage = Stage::Loading { again: Some(now + STORE_PAUSE) };
        }
    }

    fn hold(&mut self, endpoint: &mut Endpoint, is_held: bool, now: Instant) {
        self.notifier.hold(endpoint, is_held, now);
        self.announcer.hold(endpoint, is_held, now);
    }

    fn on_loaded(&mut self, endpoint: &mut Endpoint, loaded: Loaded, now: Instant) {
        if self.stage == Stage::Broken {
            return;
        }
        if !self.is_restored {
            self.is_restored = true;
            let targets = self.options.targets.clone();
            self.announcer.set_targets(endpoint, self.options.announcer.clone(), targets, now);
            for kept in loaded.subscriptions {
                let lasts = Duration::from_secs(kept.expires_unix_secs.saturating_sub(loaded.now_unix_secs));
                if !self.notifier.restore(&kept.dialog, resource_of(kept.mailbox), lasts, now) {
                    self.forgets.push(kept.id);
                }
            }
            tracing::info!(subscriptions = self.notifier.len(), "message waiting knows its subscribers");
        }
        self.stage = Stage::Works;
        // All that is known is put right first: what was held back is the past.
        let known: BTreeSet<Resource> = loaded.mailboxes.iter().map(|state| resource_of(state.mailbox)).collect();
        for resource in self.notifier.resources().into_iter().chain(self.announcer.resources()) {
            if !known.contains(&resource) {
                self.withdraw(endpoint, mailbox_of(resource), now);
            }
        }
        for state in &loaded.mailboxes {
            self.publish(endpoint, state, now);
        }
        self.hold(endpoint, false, now);
    }

    fn publish(&mut self, endpoint: &mut Endpoint, state: &postern_store::Waiting, now: Instant) {
        let resource = resource_of(state.mailbox);
        let body = self.body_of(state).into_bytes();
        self.notifier.publish(endpoint, resource, &body, now);
        if let Some(address) = &state.address {
            let user = user_of(address);
            self.announcer.publish(endpoint, resource, (&state.plan.0, &user), body, now);
        }
    }

    /// A mailbox is gone: nothing waits in it any more.
    fn withdraw(&mut self, endpoint: &mut Endpoint, mailbox: MailboxId, now: Instant) {
        let resource = resource_of(mailbox);
        self.notifier.withdraw(endpoint, resource, now);
        let nobody = SipUri::new(self.options.host.clone());
        let empty = MessageSummary { account: nobody, new: 0, old: 0 };
        self.announcer.withdraw(endpoint, resource, empty.to_string().into_bytes(), now);
    }

    fn body_of(&self, state: &postern_store::Waiting) -> String {
        let Counts { new, saved } = state.counts;
        let host = SipUri::new(self.options.host.clone());
        let account = match &state.address {
            Some(Address::Uri(uri)) => match Uri::parse(&format!("sip:{uri}")) {
                Some(Uri::Sip(uri)) => uri,
                _ => host,
            },
            Some(address) => host.with_user(&address.to_string()),
            None => host,
        };
        MessageSummary { account, new, old: saved }.to_string()
    }

    /// A SUBSCRIBE. Gateways and what they are trusted with are judged as with calls; of strangers nothing is kept.
    pub(crate) fn on_subscribe(
        &mut self,
        endpoint: &mut Endpoint,
        subscribe: (ServerTx, &Request, &Source),
        rules: (&Rules, &Seals),
        now_unix_secs: u64,
    ) {
        let now = Instant::now();
        let (tx, request, source) = subscribe;
        let judged = judge(request, source, rules, now_unix_secs);
        let ready = judged.and_then(|subscriber| match self.stage {
            Stage::Works => Ok(subscriber),
            Stage::Broken | Stage::Loading { .. } => Err(Refusal::Unavailable),
        });
        match ready {
            Err(refusal) => {
                tracing::debug!(remote = %source.remote, "a subscription is not taken: it {refusal}");
                self.refuse(endpoint, tx, refusal, now);
            }
            Ok((which, owner)) => {
                let subscribe = Subscribe { tx, request, source, owner: &owner };
                match self.notifier.handle_subscribe(endpoint, subscribe, now) {
                    Heard::Answered(status) => self.count(status),
                    Heard::Asked { ask, resource, kept } => {
                        let known = resource.map(|resource| Which::Known(mailbox_of(resource)));
                        let question = known.or(which).map(|which| Question::Subscribe { ask, which, kept });
                        let asked = question.is_some_and(|question| self.writes.try_send(question).is_ok());
                        if !asked {
                            self.refuse_ask(endpoint, ask, StatusCode::SERVICE_UNAVAILABLE, now);
                        }
                    }
                }
            }
        }
        self.settle();
    }

    fn on_subscribed(
        &mut self,
        endpoint: &mut Endpoint,
        ask: AskId,
        state: Result<Option<postern_store::Waiting>, StoreError>,
        now: Instant,
    ) {
        match state {
            Ok(Some(state)) => {
                let body = self.body_of(&state).into_bytes();
                if let Some(status) = self.notifier.admit(endpoint, ask, resource_of(state.mailbox), body, now) {
                    self.count(status);
                }
                // What has changed meanwhile may have been told before there was a subscription.
                self.looks.insert(state.mailbox);
            }
            Ok(None) => self.refuse_ask(endpoint, ask, StatusCode::NOT_FOUND, now),
            Err(_) => self.refuse_ask(endpoint, ask, StatusCode::SERVICE_UNAVAILABLE, now),
        }
    }

    fn refuse_ask(&mut self, endpoint: &mut Endpoint, ask: AskId, status: StatusCode, now: Instant) {
        self.notifier.refuse(endpoint, ask, status, now);
        self.count(status);
    }

    fn refuse(&self, endpoint: &mut Endpoint, tx: ServerTx, refusal: Refusal, now: Instant) {
        let status = refusal.status();
        if let Some(mut response) = endpoint.response(tx, status) {
            if refusal == Refusal::Unavailable {
                response.headers.push(HeaderName::RetryAfter, self.options.retry_after_secs);
            }
            endpoint.send_response(tx, response, now);
        }
        self.count(status);
    }

    fn count(&self, status: StatusCode) {
        self.cells.requests.add((SipMethod::Subscribe, SipResult::from_status(status.code())), 1);
    }

    /// The answer to a request of ours; false when it is for somebody else.
    pub(crate) fn on_response(&mut self, endpoint: &mut Endpoint, tx: ClientTx, response: &Response) -> bool {
        let now = Instant::now();
        let is_ours = self.notifier.handle_response(endpoint, tx, response, now)
            || self.announcer.handle_response(endpoint, tx, response, now);
        self.settle();
        is_ours
    }

    /// A request of ours has no answer; false when it is for somebody else.
    pub(crate) fn on_failed(&mut self, endpoint: &mut Endpoint, tx: ClientTx, cause: FailCause) -> bool {
        let now = Instant::now();
        let is_ours =
            self.notifier.handle_failed(endpoint, tx, now) || self.announcer.handle_failed(endpoint, tx, cause, now);
        self.settle();
        is_ours
    }

    /// Counts and tells what happened, and asks of the store what is to be asked.
    fn settle(&mut self) {
        while let Some(event) = self.notifier.poll_event() {
            match event {
                NotifierEvent::Keep { resource, kept } => {
                    let question = Question::Keep { mailbox: mailbox_of(resource), kept };
                    // Its reserve lasts for a while, and is renewed with the next NOTIFY again.
                    let _ = self.writes.try_send(question);
                }
                NotifierEvent::Ended { id, cause } => {
                    tracing::debug!(?cause, "a subscription is over");
                    self.cells.subscriptions_ended.add(ended_label(cause), 1);
                    self.forgets.push(id);
                }
                NotifierEvent::Notified(result) => {
                    self.cells.notifications.add((NotifyKind::Subscribed, notified_label(result)), 1);
                }
            }
        }
        while let Some(event) = self.announcer.poll_event() {
            match event {
                AnnouncerEvent::Notified(result) => {
                    self.cells.notifications.add((NotifyKind::Unsolicited, notified_label(result)), 1);
                }
                AnnouncerEvent::Stopped { target, status } => tracing::warn!(
                    gateway = %target,
                    %status,
                    "this gateway wants no message waiting and gets none until the next reload; set mwi = false"
                ),
                AnnouncerEvent::Failing { target } => {
                    tracing::warn!(gateway = %target, "message waiting does not reach this gateway; it is tried again");
                }
                AnnouncerEvent::Recovered { target } => {
                    tracing::info!(gateway = %target, "message waiting reaches this gateway again");
                }
            }
        }
        self.cells.subscriptions.set((), self.notifier.len() as u64);
        self.cells.notify_targets_stopped.set((), self.announcer.stopped() as u64);
        if self.stage == Stage::Works {
            self.ask();
        }
    }

    fn ask(&mut self) {
        if !self.forgets.is_empty()
            && let Ok(place) = self.writes.try_reserve()
        {
            place.send(Question::Forget { ids: std::mem::take(&mut self.forgets) });
        }
        while !self.looks.is_empty()
            && let Ok(place) = self.reads.try_reserve()
        {
            if let Some(mailbox) = self.looks.pop_first() {
                place.send(Question::Look { mailbox });
            }
        }
    }
}

/// Who subscribes to what: the mailbox that the Request-URI calls, and the address that the subscriber comes from. Within a
/// dialog the mailbox is known.
fn judge(
    request: &Request,
    source: &Source,
    (rules, seals): (&Rules, &Seals),
    now_unix_secs: u64,
) -> Result<(Option<Which>, String), Refusal> {
    if request.headers.to_tag().is_some() {
        let owner = source.remote.ip().to_canonical().to_string();
        return if rules.admits(source) { Ok((None, owner)) } else { Err(Refusal::UnknownGateway) };
    }
    let decision = rules.decide(request, source, seals, now_unix_secs)?;
    let number = match decision.purpose {
        Purpose::CallAnswering { mailbox } | Purpose::SubscriberAccess { mailbox: Some(mailbox) } => mailbox,
        Purpose::SubscriberAccess { mailbox: None } => return Err(Refusal::NoSuchAddress),
    };
    Ok((Some(Which::Called(PlanName(decision.plan), number)), decision.signalling.to_string()))
}

/// What a gateway knows a mailbox by.
fn user_of(address: &Address) -> String {
    match address {
        Address::Uri(uri) => uri.rsplit_once('@').map_or(uri.as_str(), |(user, _)| user).to_owned(),
        number => number.to_string(),
    }
}

fn resource_of(mailbox: MailboxId) -> Resource {
    Resource(u128::from_be_bytes(mailbox.to_bytes()))
}

fn mailbox_of(resource: Resource) -> MailboxId {
    MailboxId::from_bytes(resource.0.to_be_bytes())
}

/// Waits until then, for ever without a time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
