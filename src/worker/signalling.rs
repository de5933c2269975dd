//! The signalling loop of a worker: one task that owns transport and user agent, and hands each call to its own task.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use postern_dialplan::{Decision, DialTarget, Listeners, Refusal, Rules, Seals, keeps_to_tls, towards};
use postern_sip::io::FailCause;
use postern_sip::sdp::SessionDescription;
use postern_sip::user_agent_io::{CallHandle, EndCause};
use postern_sip::user_agent_options::Availability;
use postern_sip::{CallEvent, HeaderName, NameAddr, Request, SipUri, Source, StatusCode, UserAgent};
use postern_slots::{CallKey, Order, OrderCause, OrderId, Progress, RecentCall};
use postern_telemetry::call_labels::OfferResult;
use postern_telemetry::labels::State;
use postern_transport::Transport;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::call::{Arrival, Call};
use crate::call_io::{FromCall, Placing, ToCall};
use crate::limits;
use crate::monitor::Monitor;
use crate::outgoing::{self, Departure};
use crate::records::CallRecord;
use crate::shared::Shared;
use crate::slot::{self, Desk, Wanted};
use crate::story::Listed;
use crate::trunks::Trunks;

/// Whether a worker takes calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Duty {
    /// It does.
    Serving,
    /// Calls that are there go on. New ones are sent to these listeners, of the other slot; without any, they are 503.
    Draining { elsewhere: Listeners },
    /// All calls are hung up.
    Leaving,
}

impl Duty {
    /// Makes this the duty of whoever watches `to`, unless that one leaves already: who leaves does not come back.
    pub(crate) fn set(self, to: &watch::Sender<Duty>) {
        to.send_if_modified(|now| {
            let is_new = *now != Duty::Leaving && *now != self;
            if is_new {
                *now = self;
            }
            is_new
        });
    }
}

struct Running {
    inbox: mpsc::Sender<ToCall>,
    call_id: String,
    /// Where the peer is, for a transfer to a bare number; not known of one that we called.
    peer: Option<std::net::IpAddr>,
    /// The dial plan that says where it may be transferred.
    plan: String,
    /// What it was placed for; `None`: it came.
    order: Option<OrderId>,
    /// It was told that it rings.
    rings: bool,
    /// Signalling has ended it.
    is_over: bool,
}

impl Running {
    /// Whether this response is the first that says that it rings: however many come, they leave room for what matters.
    /// 181 and 182 are on their way still.
    fn begins_to_ring(&mut self, status: StatusCode) -> bool {
        let alerts = matches!(status, StatusCode::RINGING | StatusCode::SESSION_PROGRESS);
        alerts && !std::mem::replace(&mut self.rings, true)
    }
}

/// Everything that signalling needs.
pub(crate) struct Signalling {
    pub(crate) transport: Transport,
    pub(crate) agent: UserAgent,
    pub(crate) rules: Arc<Rules>,
    pub(crate) seals: Seals,
    /// Gateways that calls may leave by.
    pub(crate) trunks: Trunks,
    pub(crate) shared: Arc<Shared>,
    pub(crate) monitor: Monitor,
    pub(crate) calls_max: usize,
    pub(crate) duty: watch::Receiver<Duty>,
    /// How many calls there are.
    pub(crate) load: watch::Sender<usize>,
    /// Where the UM service is told of us; `None`: standing alone.
    pub(crate) desk: Option<Desk>,
}

impl Signalling {
    /// Runs until the duty is to leave, or its sender is gone, and the last call has ended.
    pub(crate) async fn run(mut self) {
        let (commands, mut asked) = mpsc::channel(limits::CALL_COMMANDS_MAX);
        let mut calls: HashMap<CallHandle, Running> = HashMap::new();
        let mut leaving: Option<Instant> = None;
        let mut look = interval(limits::LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.agent.set_tracing(true);
        loop {
            tokio::select! {
                () = self.transport.drive(&mut self.agent) => {}
                Some((handle, command)) = asked.recv() => self.carry_out(handle, command, &mut calls),
                changed = self.duty.changed(), if leaving.is_none() => {
                    let leaves = changed.is_err() || *self.duty.borrow() == Duty::Leaving;
                    leaving = leaves.then(Instant::now);
                    self.on_duty(leaves, &mut calls);
                }
                turn = turn(&mut self.desk) => self.on_turn(turn, &commands, &mut calls),
                _ = look.tick() => self.look(),
            }
            while let Some(event) = self.agent.poll_event() {
                self.on_event(event, &commands, &mut calls);
            }
            // After the events: they begin the stories that these belong to.
            while let Some(traced) = self.agent.poll_traced() {
                self.shared.meters.on_message(&traced);
                self.shared.stories.note_sip(&traced);
            }
            // A BYE may still wait for the caller's ACK, or for its answer.
            let are_gone = |since: Instant| self.agent.calls() == 0 || since.elapsed() >= limits::FAREWELL;
            if leaving.is_some_and(are_gone) && calls.is_empty() {
                self.transport.close(&mut self.agent).await;
                let shared = self.shared;
                // Only a panic of the writer's could fail it.
                let _ = tokio::task::spawn_blocking(move || shared.records.close()).await;
                return;
            }
        }
    }

    /// What is done about once a second.
    fn look(&mut self) {
        self.shared.meters.read(&self.agent, &self.shared.ports);
        self.shared.meters.read_gateways(self.trunks.count());
        // Who takes no more orders need not know.
        if *self.duty.borrow() == Duty::Serving {
            self.trunks.ask(&mut self.agent, Instant::now());
        }
    }

    fn on_duty(&mut self, leaving: bool, calls: &mut HashMap<CallHandle, Running>) {
        let availability = match *self.duty.borrow() {
            Duty::Serving if !leaving => Availability::Ready,
            _ => Availability::Unavailable { retry_after_secs: limits::RETRY_AFTER_SECS },
        };
        self.agent.set_availability(availability, Vec::new());
        let ready = availability == Availability::Ready;
        self.monitor.set_state(if ready { State::Ready } else { State::Draining });
        if let Some(desk) = &mut self.desk {
            desk.on_duty();
        }
        if leaving {
            for running in calls.values() {
                // A call whose inbox is full ends by itself.
                let _ = running.inbox.try_send(ToCall::Leave);
            }
        }
    }

    fn on_turn(
        &mut self,
        turn: slot::Turn,
        commands: &mpsc::Sender<(CallHandle, FromCall)>,
        calls: &mut HashMap<CallHandle, Running>,
    ) {
        let Some(desk) = &mut self.desk else { return };
        match desk.on_turn(turn) {
            Some(Wanted::CallsMax(calls_max)) => self.calls_max = calls_max,
            Some(Wanted::Story { peer, question, call }) => {
                let story = self.shared.stories.render(call.as_str()).unwrap_or_default();
                desk.tell_story(peer, question, &story);
            }
            Some(Wanted::RecentCalls { peer, question }) => {
                let recent = |call: Listed| RecentCall {
                    call: CallKey::of(&call.call_id),
                    began_unix_millis: call.began.as_millisecond(),
                    ended_unix_millis: call.ended.map(|at| at.as_millisecond()),
                };
                let calls: Vec<_> = self.shared.stories.list().into_iter().map(recent).collect();
                desk.tell_recent_calls(peer, question, &calls);
            }
            Some(Wanted::Place(order)) => self.place(order, commands, calls),
            Some(Wanted::HangUp(order)) => {
                if let Some(running) = calls.values().find(|running| running.order == Some(order)) {
                    // A call whose inbox is full ends by itself.
                    let _ = running.inbox.try_send(ToCall::HangUp);
                }
            }
            None => {}
        }
    }

    /// Places a call as ordered, or says at once that it comes to nothing.
    fn place(
        &mut self,
        order: Box<Order>,
        commands: &mpsc::Sender<(CallHandle, FromCall)>,
        calls: &mut HashMap<CallHandle, Running>,
    ) {
        let (id, call_id) = (order.id, order.id.to_string());
        let serving = *self.duty.borrow() == Duty::Serving
            && calls.len() < self.calls_max
            && outgoing::conversation(&order).is_some();
        let plan = self.shared.plans.get(&order.plan).filter(|_| serving).cloned();
        let ways = plan.as_ref().map_or(Vec::new(), |plan| self.trunks.choose(&order, plan.security.needs_tls()));
        let Some(plan) = plan.filter(|_| !ways.is_empty()) else {
            tracing::warn!(call = %id, plan = %order.plan, serving, "an outgoing call has no gateway to leave by");
            self.shared.meters.outgoing_ended(OrderCause::Unavailable, false);
            if let Some(desk) = &mut self.desk {
                desk.on_progress(id, Progress::over(OrderCause::Unavailable, None));
                desk.on_ended(&call_id);
            }
            return;
        };
        let handle = self.agent.reserve();
        let (inbox, messages) = mpsc::channel(limits::CALL_MESSAGES_MAX);
        let running = Running {
            inbox,
            call_id,
            peer: None,
            plan: order.plan.clone(),
            order: Some(id),
            rings: false,
            is_over: false,
        };
        calls.insert(handle, running);
        self.load.send_replace(calls.len());
        let departure = Departure { handle, order, plan, ways };
        tokio::spawn(outgoing::run(Arc::clone(&self.shared), departure, commands.clone(), messages));
    }

    fn on_event(
        &mut self,
        event: CallEvent,
        commands: &mpsc::Sender<(CallHandle, FromCall)>,
        calls: &mut HashMap<CallHandle, Running>,
    ) {
        let (call, message) = match event {
            CallEvent::Incoming { call, invite, offer, source } => {
                return self.on_incoming(call, &invite, offer, &source, commands, calls);
            }
            CallEvent::Established { call } => (call, ToCall::Established),
            CallEvent::Offer { call, offer } => (call, ToCall::Offer(Box::new(offer))),
            CallEvent::OfferWanted { call } => (call, ToCall::OfferWanted),
            CallEvent::OfferWithdrawn { call } => (call, ToCall::OfferWithdrawn),
            CallEvent::Answer { call, answer } => (call, ToCall::Answer(Box::new(answer))),
            CallEvent::OfferRefused { call, .. } => (call, ToCall::OfferRefused),
            CallEvent::OfferDue { call } => (call, ToCall::OfferDue),
            CallEvent::Digit { call, digit, .. } => (call, ToCall::Digit(digit)),
            CallEvent::Transfer { call, progress } => (call, ToCall::Transfer(progress)),
            CallEvent::Bye { call, .. } => (call, ToCall::Bye),
            CallEvent::Ended { call, cause } => {
                if let Some(running) = calls.get_mut(&call) {
                    running.is_over = true;
                }
                (call, ToCall::Ended(cause))
            }
            CallEvent::Progress { call, status } => {
                if !calls.get_mut(&call).is_some_and(|running| running.begins_to_ring(status)) {
                    return;
                }
                (call, ToCall::Alerted)
            }
            CallEvent::Rerouted { call, at } => (call, ToCall::Rerouted(at)),
            CallEvent::Answered { call } => (call, ToCall::Answered),
            CallEvent::TransferDeclined { .. } | CallEvent::ConnectionLost { .. } | CallEvent::Request { .. } => return,
            CallEvent::Pong { ping, outcome } => return self.trunks.on_pong(ping, &outcome),
        };
        let Some(running) = calls.get(&call) else { return };
        if running.inbox.try_send(message).is_err() {
            // It is over, or so far behind that it is as good as over.
            let _ = self.agent.hang_up(call, None, Instant::now());
        }
    }

    fn on_incoming(
        &mut self,
        call: CallHandle,
        invite: &Request,
        offer: Option<SessionDescription>,
        source: &Source,
        commands: &mpsc::Sender<(CallHandle, FromCall)>,
        calls: &mut HashMap<CallHandle, Running>,
    ) {
        let now_unix_secs = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
        let decision = match self.rules.decide(invite, source, &self.seals, now_unix_secs) {
            Ok(decision) => decision,
            Err(refusal) => return self.refuse_unfit(call, invite, source, refusal),
        };
        let Decision { gateway, plan, belief, unreadable, .. } = &decision;
        tracing::debug!(remote = %source.remote, %gateway, %plan, ?belief, unreadable, "a call comes");
        let arrived = Instant::now();
        let call_id = invite.headers.call_id().unwrap_or_default().to_owned();
        let record = self.shared.open_record(&call_id, Some(&decision));
        let duty = self.duty.borrow().clone();
        match duty {
            Duty::Serving => {}
            Duty::Draining { elsewhere } => {
                let over_tls = keeps_to_tls(source, &invite.uri);
                return match elsewhere.for_caller(over_tls, source.remote.ip()) {
                    Some(listener) => {
                        let uri =
                            self.rules.seal(towards(listener, &invite.uri), &decision, &self.seals, now_unix_secs);
                        self.redirect(call, uri, record);
                    }
                    None => self.refuse_for_now(call, record),
                };
            }
            Duty::Leaving => return self.refuse_for_now(call, record),
        }
        if calls.len() >= self.calls_max {
            return self.refuse(call, Refusal::Full, &[], record);
        }
        let Some(plan) = self.shared.plans.get(&decision.plan).cloned() else {
            return self.refuse(call, Refusal::NoSuchAddress, &[], record);
        };
        let symmetric = self.rules.gateway(&decision.gateway).is_some_and(|gateway| gateway.symmetric_rtp);
        let arrival = Arrival {
            handle: call,
            decision,
            plan,
            offer,
            over_tls: source.transport == postern_sip::Transport::Tls,
            symmetric,
            local: source.local.ip(),
            call_id: call_id.clone(),
            arrived,
            record: Box::new(record),
            order: None,
        };
        let (inbox, messages) = mpsc::channel(limits::CALL_MESSAGES_MAX);
        let running = Running {
            inbox,
            call_id: call_id.clone(),
            peer: Some(source.remote.ip()),
            plan: arrival.decision.plan.clone(),
            order: None,
            rings: false,
            is_over: false,
        };
        calls.insert(call, running);
        self.load.send_replace(calls.len());
        if let Some(desk) = &mut self.desk {
            desk.on_began(&call_id);
        }
        tokio::spawn(run_call(Arc::clone(&self.shared), arrival, commands.clone(), messages));
    }

    fn redirect(&mut self, call: CallHandle, uri: SipUri, record: CallRecord) {
        match self.agent.redirect(call, &[NameAddr::new(uri)], Instant::now()) {
            Ok(()) => self.shared.tell_refused(record, OfferResult::Redirected, StatusCode::MOVED_TEMPORARILY),
            Err(_) => self.refuse_for_now(call, record),
        }
    }

    fn refuse_for_now(&mut self, call: CallHandle, record: CallRecord) {
        let headers = [(HeaderName::RetryAfter, limits::RETRY_AFTER_SECS.to_string())];
        self.refuse(call, Refusal::Unavailable, &headers, record);
    }

    /// Refuses a call that the rules do not let in. Strangers leave no more than a count behind: their calls are not
    /// worth a disk.
    fn refuse_unfit(&mut self, call: CallHandle, invite: &Request, source: &Source, refusal: Refusal) {
        tracing::debug!(remote = %source.remote, status = refusal.status().code(), "a call is not taken: it {refusal}");
        if matches!(refusal, Refusal::UnknownGateway | Refusal::Disabled) {
            self.shared.meters.refused(refusal);
            self.shared.meters.offered(OfferResult::Rejected);
            return self.reject(call, refusal.status(), &[]);
        }
        let mut record = self.shared.open_record(invite.headers.call_id().unwrap_or_default(), None);
        record.dialled = invite.uri.user().map(|user| user.into()).unwrap_or_default();
        record.called.clone_from(&record.dialled);
        self.refuse(call, refusal, &[], record);
    }

    fn refuse(&mut self, call: CallHandle, why: Refusal, headers: &[(HeaderName, String)], record: CallRecord) {
        self.shared.meters.refused(why);
        self.shared.tell_refused(record, OfferResult::Rejected, why.status());
        self.reject(call, why.status(), headers);
    }

    fn reject(&mut self, call: CallHandle, status: StatusCode, headers: &[(HeaderName, String)]) {
        // A caller who has gone meanwhile needs no answer.
        let _ = self.agent.reject(call, status, headers, Instant::now());
    }

    /// Commands to a call that has ended meanwhile change nothing.
    fn carry_out(&mut self, call: CallHandle, command: FromCall, calls: &mut HashMap<CallHandle, Running>) {
        let now = Instant::now();
        let agent = &mut self.agent;
        // The call's own events tell it what became of a command.
        let _ = match command {
            FromCall::Invite(placing) => {
                let Placing { call_id, invite, alternatives } = *placing;
                let placed = agent.invite_as(call, Some(&call_id), invite, alternatives, now);
                if let (Err(error), Some(running)) = (&placed, calls.get(&call)) {
                    tracing::warn!(call = %call_id, %error, "an outgoing call cannot be placed");
                    let _ = running.inbox.try_send(ToCall::Ended(EndCause::Unreachable(FailCause::Transport)));
                }
                placed
            }
            FromCall::Progress(progress) => {
                let order = calls.get(&call).and_then(|running| running.order);
                if let (Some(order), Some(desk)) = (order, &mut self.desk) {
                    desk.on_progress(order, progress);
                }
                Ok(())
            }
            FromCall::Answer(sdp) => agent.answer(call, &sdp, now),
            FromCall::Reject { status, warning, retry_after_secs } => {
                let warning = warning.map(|text| (HeaderName::Warning, text));
                let retry_after = retry_after_secs.map(|secs| (HeaderName::RetryAfter, secs.to_string()));
                let headers: Vec<_> = warning.into_iter().chain(retry_after).collect();
                self.reject(call, status, &headers);
                Ok(())
            }
            FromCall::AnswerOffer(sdp) => agent.answer_offer(call, &sdp, now),
            FromCall::RefuseOffer => agent.refuse_offer(call, &[], now),
            FromCall::Reoffer(sdp) => agent.reoffer(call, &sdp, now),
            FromCall::Refer(target) => {
                let asked = calls
                    .get(&call)
                    .and_then(|running| transfer_target(&self.rules, running, &target))
                    .map(|target| agent.refer(call, &target, None, now));
                if !matches!(asked, Some(Ok(())))
                    && let Some(running) = calls.get(&call)
                {
                    let failed = postern_sip::user_agent_io::TransferProgress::Unknown;
                    let _ = running.inbox.try_send(ToCall::Transfer(failed));
                }
                Ok(())
            }
            FromCall::HangUp => agent.hang_up(call, None, now),
            FromCall::ConfirmBye => agent.confirm_bye(call, now),
            FromCall::Done => {
                if let Some(running) = calls.remove(&call) {
                    if !running.is_over {
                        let _ = agent.hang_up(call, None, now);
                    }
                    if let Some(desk) = &mut self.desk {
                        desk.on_ended(&running.call_id);
                    }
                }
                self.load.send_replace(calls.len());
                Ok(())
            }
        };
    }
}

/// What happens at the desk; nothing, without one. Cancel-safe.
async fn turn(desk: &mut Option<Desk>) -> slot::Turn {
    match desk {
        Some(desk) => desk.turn().await,
        None => std::future::pending().await,
    }
}

/// Where a call may be transferred: a SIP URI, or a number at the peer's own host.
fn transfer_target(rules: &Rules, running: &Running, operator: &str) -> Option<NameAddr> {
    let host = running.peer.map(postern_sip::host::Host::from);
    match rules.transfer(&running.plan, operator) {
        Ok(DialTarget::Number(number)) => Some(NameAddr::new(SipUri::new(host?).with_user(&number))),
        Ok(DialTarget::User { secure, user, host }) => {
            let uri = SipUri::new(host).with_user(&user);
            Some(NameAddr::new(if secure { uri.secured() } else { uri }))
        }
        Err(refusal) => {
            // What stands in the way is the operator's to mend: the mailbox was given this target.
            let plan = &running.plan;
            tracing::warn!(%plan, "a caller is not transferred to the operator: {refusal}; see dial_plan.allow");
            None
        }
    }
}

/// One call from its INVITE to its record.
async fn run_call(
    shared: Arc<Shared>,
    arrival: Arrival,
    commands: mpsc::Sender<(CallHandle, FromCall)>,
    mut inbox: mpsc::Receiver<ToCall>,
) {
    let (handle, record) = (arrival.handle, arrival.record.clone());
    match Call::accept(Arc::clone(&shared), arrival, commands.clone()).await {
        Ok(mut call) => call.run(&mut inbox).await,
        Err(refused) => {
            let (status, warning) = (refused.status, refused.warning);
            // A caller who hung up before has been answered.
            match inbox.try_recv() {
                Ok(ToCall::Ended(_)) => {
                    shared.tell_refused(*record, OfferResult::Cancelled, StatusCode::REQUEST_TERMINATED);
                }
                _ => shared.tell_refused(*record, OfferResult::Failed, status),
            }
            let reject = FromCall::Reject { status, warning, retry_after_secs: refused.retry_after_secs };
            // Signalling that is gone takes no commands; the process is ending then.
            let _ = commands.send((handle, reject)).await;
            let _ = commands.send((handle, FromCall::Done)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_config::{Source, load_source};

    use super::*;

    const FILE: &str = "[mailbox]\n[[gateway]]\naddress = \"203.0.113.7\"\ndial_plan = \"office\"\n[[dial_plan]]\n\
                        name = \"office\"\npilots = [\"7000\"]\noperator = \"reception\"\nallow = [\"9*\", \"sip:*@pbx.test\"]\n";

    #[test]
    fn a_call_that_rings_says_so_once() {
        let (inbox, _) = mpsc::channel(1);
        let (call_id, plan) = (String::new(), String::new());
        let mut call = Running { inbox, call_id, peer: None, plan, order: None, rings: false, is_over: false };
        let said = |code: u16| call.begins_to_ring(StatusCode::new(code).unwrap());
        assert_eq!([181, 183, 180, 182, 183].map(said), [false, true, false, false, false]);
    }

    #[test]
    fn a_caller_is_transferred_where_the_plan_allows_and_nowhere_else() {
        let source = Source::text("worker.toml", FILE, std::path::Path::new("/etc/postern"));
        let config = load_source(&source, &[]).unwrap().config;
        let rules = config.call_rules(&[], &[], None).unwrap();
        let (inbox, _) = mpsc::channel(1);
        let peer = Some("203.0.113.7".parse().unwrap());
        let call = Running {
            inbox,
            call_id: "1".into(),
            peer,
            plan: "office".into(),
            order: None,
            rings: false,
            is_over: false,
        };
        let sent = |operator: &str| transfer_target(&rules, &call, operator).map(|target| target.uri.to_string());
        assert_eq!(sent("9000").as_deref(), Some("sip:9000@203.0.113.7"));
        assert_eq!(sent("reception").as_deref(), Some("sip:reception@203.0.113.7"));
        assert_eq!(sent("sip:bob@pbx.test").as_deref(), Some("sip:bob@pbx.test"));
        for refused in ["+19005550100", "sip:bob@evil.test", "sip:bob@pbx.test?Replaces=x", "9000@evil.test", "bob", ""]
        {
            assert_eq!(sent(refused), None, "{refused}");
        }
        let elsewhere = Running { plan: "elsewhere".into(), ..call };
        assert!(transfer_target(&rules, &elsewhere, "9000").is_none());
    }
}
