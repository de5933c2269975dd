//! A call of ours, from the order to its answer; from there on it is a call as any other.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use postern_dialplan::{CallReason, Caller, Decision, Purpose};
use postern_mailbox::{Errand, GreetingKind, Kind};
use postern_sip::host::Host;
use postern_sip::offer_answer::OfferAnswer;
use postern_sip::sdp::SessionDescription;
use postern_sip::sdp_media::Direction;
use postern_sip::user_agent_io::{Alternative, CallHandle, EndCause, Invite};
use postern_sip::{NameAddr, SipUri, StatusCode, Uri};
use postern_slots::{Order, OrderCause, OrderPurpose, OrderState, OrderTarget, Progress};
use postern_telemetry::call_labels::{CallKind, OfferResult};
use tokio::sync::mpsc;

use crate::agreement;
use crate::call::{Arrival, Call};
use crate::call_end::CallEnd;
use crate::call_io::{FromCall, Placing, ToCall};
use crate::call_setup::{Ground, Refused};
use crate::limits;
use crate::shared::{PlanSettings, Shared};
use crate::trunks::Trunk;

/// What an outgoing call begins with.
pub(crate) struct Departure {
    pub(crate) handle: CallHandle,
    pub(crate) order: Box<Order>,
    pub(crate) plan: Arc<PlanSettings>,
    /// Ways out, the best first; one at least.
    pub(crate) ways: Vec<Trunk>,
}

/// Places a call, and goes on with it when it is answered, to its end.
pub(crate) async fn run(
    shared: Arc<Shared>,
    departure: Departure,
    commands: mpsc::Sender<(CallHandle, FromCall)>,
    mut inbox: mpsc::Receiver<ToCall>,
) {
    let Departure { handle, order, plan, ways } = departure;
    let arrival = arrival_of(&shared, handle, order, plan, &ways);
    let record = arrival.record.clone();
    match Call::prepare(Arc::clone(&shared), arrival, &ways, commands.clone()).await {
        Ok(mut call) => match call.dial(&ways, &mut inbox).await {
            true => call.run(&mut inbox).await,
            false => call.close().await,
        },
        Err(refused) => {
            shared.tell_refused(*record, OfferResult::Failed, refused.status);
            shared.meters.outgoing_ended(OrderCause::Unavailable, false);
            let over = Progress::over(OrderCause::Unavailable, None);
            // Signalling that is gone takes no commands; the process is ending then.
            let _ = commands.send((handle, FromCall::Progress(over))).await;
            let _ = commands.send((handle, FromCall::Done)).await;
        }
    }
}

impl Call {
    /// Makes everything ready for an outgoing call.
    async fn prepare(
        shared: Arc<Shared>,
        arrival: Arrival,
        ways: &[Trunk],
        commands: mpsc::Sender<(CallHandle, FromCall)>,
    ) -> Result<Self, Refused> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| Refused::busy())?;
        let capabilities =
            agreement::capabilities(&shared.codecs, arrival.plan.security, arrival.over_tls, &shared.identity);
        let wants_ipv6 = ways.first().and_then(|way| way.uri.host.address()).map(|address| address.is_ipv6());
        let address = shared.address_for(arrival.local, wants_ipv6).ok_or_else(Refused::busy)?;
        let ground = Ground { address, with_ice: shared.edges.is_configured(), mux: false };
        Self::open(shared, arrival, OfferAnswer::new(capabilities, seed), ground, commands).await
    }

    /// Calls, by one way after the other. Whether the call was answered; if not, everything was said of why.
    async fn dial(&mut self, ways: &[Trunk], inbox: &mut mpsc::Receiver<ToCall>) -> bool {
        let Some(order) = self.arrival.order.clone() else { return false };
        let offer = self.negotiation.offer(&self.local(Direction::SendRecv, false));
        let Some(placing) = placing(&self.shared, &order, ways, offer) else {
            self.end.cause = Some(EndCause::Redirected);
            self.sip_over = true;
            return false;
        };
        self.waits_for_answer = true;
        self.say(FromCall::Invite(Box::new(placing))).await;
        let given_up = tokio::time::Instant::now() + self.shared.ring_time + limits::DIAL_END_TIME;
        let mut answer: Option<Box<SessionDescription>> = None;
        loop {
            match next(inbox, given_up).await {
                Some(ToCall::Alerted) => self.tell_progress(OrderState::Alerted).await,
                Some(ToCall::Rerouted(at)) => {
                    answer = None;
                    if let Some(way) = ways.get(at) {
                        self.note(&format!("the call goes by the gateway {} now", way.label));
                        take_way(&mut self.arrival, way);
                    }
                }
                // Of early media it may be; it holds when the call is answered.
                Some(ToCall::Answer(latest)) => answer = Some(latest),
                Some(ToCall::Answered) => break,
                Some(ToCall::Ended(cause)) => {
                    if let EndCause::Refused(response) = &cause {
                        self.end.sip_status = Some(response.status.code());
                    }
                    self.end.cause = Some(cause);
                    self.sip_over = true;
                    return false;
                }
                Some(ToCall::HangUp) => self.say(FromCall::HangUp).await,
                Some(ToCall::Leave) => {
                    self.end.leaving = true;
                    self.say(FromCall::HangUp).await;
                }
                Some(_) => {}
                None => return false,
            }
        }
        self.end.answered_at = Some(Instant::now());
        self.end.sip_status = Some(StatusCode::OK.code());
        self.established = true;
        self.end.began(&self.shared.meters, kind_label(&order.purpose));
        self.tell_progress(OrderState::Connected).await;
        if let Some(answer) = answer {
            self.on_answer(&answer).await;
        }
        self.begin();
        self.act().await;
        true
    }

    /// Tells who ordered the call how far it is; nothing of a call that came.
    pub(crate) async fn tell_progress(&self, state: OrderState) {
        if self.arrival.order.is_some() {
            if state == OrderState::Disconnected {
                self.shared.meters.outgoing_ended(cause_of(&self.end), self.end.kind.is_some());
            }
            let sip_status = self.end.sip_status;
            let cause = (state == OrderState::Disconnected).then(|| cause_of(&self.end));
            self.say(FromCall::Progress(Progress { state, cause, sip_status })).await;
        }
    }
}

/// What signalling says next. An end that found no room in the inbox is never said: at `given_up` nobody has answered.
async fn next(inbox: &mut mpsc::Receiver<ToCall>, given_up: tokio::time::Instant) -> Option<ToCall> {
    tokio::time::timeout_at(given_up, inbox.recv()).await.unwrap_or(Some(ToCall::Ended(EndCause::NoAnswer)))
}

/// What the voice mail logic is to do in the call. `None`: the order names no mailbox, message or greeting.
pub(crate) fn conversation(order: &Order) -> Option<Kind> {
    let greeting = |name: &str| GreetingKind::ALL.into_iter().find(|kind| kind.name() == name);
    let errand = match &order.purpose {
        OrderPurpose::PlayMessage { message } => Errand::PlayMessage(message.parse().ok()?),
        OrderPurpose::PlayGreeting { greeting: name } => Errand::PlayGreeting(greeting(name)?),
        OrderPurpose::RecordGreeting { greeting: name } => Errand::RecordGreeting(greeting(name)?),
    };
    Some(Kind::Placed { mailbox: order.number.parse().ok()?, errand })
}

/// What the call counts as.
pub(crate) fn kind_label(purpose: &OrderPurpose) -> CallKind {
    match purpose {
        OrderPurpose::PlayMessage { .. } | OrderPurpose::PlayGreeting { .. } => CallKind::PlayOnPhone,
        OrderPurpose::RecordGreeting { .. } => CallKind::GreetingsRecording,
    }
}

/// A call of ours as the rest of the worker knows calls.
fn arrival_of(
    shared: &Shared,
    handle: CallHandle,
    order: Box<Order>,
    plan: Arc<PlanSettings>,
    ways: &[Trunk],
) -> Arrival {
    let decision = Decision {
        gateway: String::new(),
        plan: order.plan.clone(),
        purpose: Purpose::SubscriberAccess { mailbox: Some(order.number.clone()) },
        reason: CallReason::Direct,
        caller: Caller { address: None, shown: Some(order.number.clone()), display_name: None },
        dialled: order.dialled.clone(),
        signalling: IpAddr::from([0, 0, 0, 0]),
        belief: postern_dialplan::Belief::Message,
        unreadable: 0,
    };
    let call_id = order.id.to_string();
    let mut record = shared.open_record(&call_id, Some(&decision));
    record.called = match &order.target {
        OrderTarget::Number(text) | OrderTarget::Uri(text) => text.clone(),
    };
    record.reason = Some("outbound");
    record.mailbox = Some(order.mailbox.clone());
    let local = shared.addresses.first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let mut arrival = Arrival {
        handle,
        decision,
        plan,
        offer: None,
        over_tls: ways.iter().all(|way| way.secured),
        symmetric: false,
        local,
        call_id,
        arrived: Instant::now(),
        record: Box::new(record),
        order: Some(order),
    };
    if let Some(way) = ways.first() {
        take_way(&mut arrival, way);
    }
    arrival
}

/// The call goes by this gateway now.
fn take_way(arrival: &mut Arrival, way: &Trunk) {
    arrival.record.gateway.clone_from(&way.label);
    arrival.decision.gateway.clone_from(&way.label);
    // Where the signalling of a name comes from is not known here; then media comes from where it says.
    let address = way.uri.host.address();
    arrival.symmetric = way.symmetric && address.is_some();
    arrival.decision.signalling = address.unwrap_or(arrival.decision.signalling);
}

/// The INVITE of an order, by all its ways. `None`: the target or the mailbox's number makes no URI.
fn placing(shared: &Shared, order: &Order, ways: &[Trunk], offer: String) -> Option<Placing> {
    let mut alternatives = ways.iter().filter_map(|way| way.way_to(&order.target));
    let Alternative { uri, target, credentials } = alternatives.next()?;
    let invite = Invite {
        uri,
        target: Some(target),
        from: NameAddr::new(own_uri(&order.number, &shared.server)?),
        to: None,
        offer: Some(offer),
        headers: Vec::new(),
        ring_time: shared.ring_time,
        // Whom to call was judged once, and no gateway has a say in it.
        follow_redirects: false,
        credentials,
    };
    Some(Placing { call_id: order.id.to_string(), invite, alternatives: alternatives.collect() })
}

/// A mailbox's number at our host, or its own URI.
fn own_uri(number: &str, server: &str) -> Option<Uri> {
    if number.starts_with("sip:") {
        return Uri::parse(number);
    }
    let host = match server.parse::<IpAddr>() {
        Ok(address) => Host::from(address),
        Err(_) => Host::parse(server)?,
    };
    Some(Uri::Sip(SipUri::new(host).with_user(number)))
}

/// Why an outgoing call is over, as whoever ordered it is told.
fn cause_of(end: &CallEnd) -> OrderCause {
    match &end.cause {
        _ if end.kind.is_some() => OrderCause::None,
        Some(EndCause::Ours) => OrderCause::None,
        Some(EndCause::NoAnswer) => OrderCause::NoAnswer,
        Some(EndCause::Unreachable(_)) => OrderCause::Unavailable,
        Some(EndCause::Refused(response)) => match response.status.code() {
            486 | 600 => OrderCause::Busy,
            408 | 480 | 487 => OrderCause::NoAnswer,
            404 | 410 | 484 | 500..=599 | 604 => OrderCause::Unavailable,
            _ => OrderCause::Other,
        },
        _ => OrderCause::Other,
    }
}

#[cfg(test)]
mod tests {
    use postern_sip::{Method, Request};

    use super::*;

    #[test]
    fn a_call_is_made_as_the_mailboxs_number_at_our_host() {
        let of = |number: &str, server: &str| own_uri(number, server).map(|uri| uri.to_string());
        assert_eq!(of("1001", "um.example.test").as_deref(), Some("sip:1001@um.example.test"));
        assert_eq!(of("+4930123", "10.20.0.20").as_deref(), Some("sip:+4930123@10.20.0.20"));
        assert_eq!(of("1001", "2001:db8::20").as_deref(), Some("sip:1001@[2001:db8::20]"));
        assert_eq!(of("sip:alice@example.test", "um").as_deref(), Some("sip:alice@example.test"));
    }

    #[test]
    fn what_would_begin_another_header_line_is_escaped_or_no_number() {
        let uri = own_uri("1001>\r\nX-Evil: yes", "um.example.test").unwrap().to_string();
        assert!(!uri.contains(['\r', '\n', '>', ' ']), "{uri}");
        assert_eq!(own_uri("sip:a@b\r\nX-Evil: yes", "um.example.test"), None);
    }

    #[tokio::test]
    async fn a_call_whose_end_is_never_told_is_given_up_as_not_answered() {
        let (signalling, mut inbox) = mpsc::channel(1);
        let given_up = tokio::time::Instant::now();
        signalling.try_send(ToCall::Alerted).unwrap();
        signalling.try_send(ToCall::Ended(EndCause::Peer)).unwrap_err();
        assert!(matches!(next(&mut inbox, given_up).await, Some(ToCall::Alerted)));
        assert!(matches!(next(&mut inbox, given_up).await, Some(ToCall::Ended(EndCause::NoAnswer))));
    }

    #[test]
    fn an_order_is_an_errand_or_nothing() {
        let order = |number: &str, purpose: OrderPurpose| Order {
            id: postern_slots::OrderId::new([1; 16]),
            mailbox: "m".into(),
            plan: "office".into(),
            number: number.into(),
            purpose,
            target: OrderTarget::Number("2002".into()),
            dialled: "2002".into(),
            gateways: Vec::new(),
        };
        let greeting = |name: &str| OrderPurpose::PlayGreeting { greeting: name.into() };
        let mailbox = "1001".parse().unwrap();
        let errand = Errand::PlayGreeting(GreetingKind::OutOfOffice);
        assert_eq!(conversation(&order("1001", greeting("out-of-office"))), Some(Kind::Placed { mailbox, errand }));
        assert_eq!(conversation(&order("1001", greeting("loud"))), None);
        assert_eq!(conversation(&order("nobody", greeting("own"))), None);
        assert_eq!(conversation(&order("1001", OrderPurpose::PlayMessage { message: "../1".into() })), None);
    }

    #[test]
    fn each_refusal_has_its_cause() {
        let refused = |code: u16| {
            let request = Request::new(Method::Invite, Uri::parse("sip:2@gw").unwrap());
            let status = StatusCode::new(code).unwrap();
            let cause = EndCause::Refused(Box::new(request.response(status, None)));
            cause_of(&CallEnd { cause: Some(cause), ..CallEnd::default() })
        };
        for (code, cause) in [
            (486, OrderCause::Busy),
            (600, OrderCause::Busy),
            (480, OrderCause::NoAnswer),
            (408, OrderCause::NoAnswer),
            (404, OrderCause::Unavailable),
            (503, OrderCause::Unavailable),
            (302, OrderCause::Other),
            (401, OrderCause::Other),
            (603, OrderCause::Other),
        ] {
            assert_eq!(refused(code), cause, "{code}");
        }
        let answered = CallEnd { kind: Some(CallKind::PlayOnPhone), cause: Some(EndCause::Peer), ..CallEnd::default() };
        assert_eq!(cause_of(&answered), OrderCause::None);
    }
}
