//! Subscriptions and their NOTIFYs (RFC 6665, RFC 3842) in virtual time, against a subscriber by TCP.

use std::time::Duration;

use postern_sip::limits::{
    CSEQ_RESERVED, SUBSCRIBES_PENDING_MAX, SUBSCRIPTIONS_PER_OWNER_AND_RESOURCE_MAX, SUBSCRIPTIONS_PER_RESOURCE_MAX,
};
use postern_sip::message_summary::{CONTENT_TYPE, PACKAGE};
use postern_sip::notifier_io::{
    AskId, EndCause, Heard, Kept, NotifierEvent, NotifierOptions, NotifyResult, Resource, Subscribe,
};
use postern_sip::{ConnId, Event, HeaderName, Message, Notifier, Request, StatusCode, Transport};

use crate::harness::Bed;

const BOX: Resource = Resource(1001);

struct Desk {
    bed: Bed,
    notifier: Notifier,
    conn: ConnId,
    calls: u32,
}

/// What a subscriber says.
struct Wish {
    call_id: String,
    cseq: u32,
    to_tag: Option<String>,
    contact: String,
    lines: String,
}

impl Wish {
    fn new(call_id: impl ToString) -> Wish {
        Wish {
            call_id: call_id.to_string(),
            cseq: 1,
            to_tag: None,
            contact: "sip:1001@192.0.2.9:5070;transport=tcp".into(),
            lines: "Event: message-summary\r\nExpires: 600\r\n".into(),
        }
    }

    fn at(self, contact: impl ToString) -> Wish {
        Wish { contact: contact.to_string(), ..self }
    }

    fn saying(self, lines: &str) -> Wish {
        Wish { lines: lines.into(), ..self }
    }
}

impl Desk {
    fn new() -> Desk {
        Desk::with(NotifierOptions::new(PACKAGE, CONTENT_TYPE))
    }

    fn with(options: NotifierOptions) -> Desk {
        let mut bed = Bed::new();
        let conn = bed.accept(Transport::Tcp, "192.0.2.9:40000", &[]);
        Desk { bed, notifier: Notifier::new(options), conn, calls: 0 }
    }

    fn hear(&mut self, wish: &Wish, owner: &str) -> Heard {
        self.calls += 1;
        let tag = wish.to_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let text = format!(
            "SUBSCRIBE sip:1001@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bK{}\r\nMax-Forwards: 70\r\n\
             From: <sip:1001@192.0.2.9>;tag=theirs\r\nTo: <sip:1001@192.0.2.1>{tag}\r\nCall-ID: {}\r\n\
             CSeq: {} SUBSCRIBE\r\nContact: <{}>\r\n{}Content-Length: 0\r\n\r\n",
            self.calls, wish.call_id, wish.cseq, wish.contact, wish.lines
        );
        self.bed.bytes(self.conn, &text);
        let Event::Request { tx, request, source } = self.bed.event() else { panic!("no request") };
        let subscribe = Subscribe { tx, request: &request, source: &source, owner };
        self.notifier.handle_subscribe(&mut self.bed.endpoint, subscribe, self.bed.now)
    }

    fn asked(&mut self, wish: &Wish) -> (AskId, Option<Kept>) {
        match self.hear(wish, "192.0.2.9") {
            Heard::Asked { ask, kept, .. } => (ask, kept),
            other => panic!("{other:?}"),
        }
    }

    fn admit(&mut self, ask: AskId, body: &str) {
        let now = self.bed.now;
        self.notifier.admit(&mut self.bed.endpoint, ask, BOX, body.into(), now);
    }

    /// Subscribes; our tag.
    fn subscribe(&mut self, wish: &Wish, body: &str) -> String {
        let (ask, _) = self.asked(wish);
        self.admit(ask, body);
        let sent = self.bed.sent();
        let [Message::Response(response), Message::Request(notify)] = &sent[..] else { panic!("{sent:#?}") };
        assert_eq!((response.status, body_of(notify)), (StatusCode::OK, body));
        let tag = response.headers.to_tag().expect("a tag");
        let notify = notify.clone();
        self.answer(&notify, 200, "");
        tag
    }

    fn publish(&mut self, body: &str) {
        let now = self.bed.now;
        self.notifier.publish(&mut self.bed.endpoint, BOX, body.as_bytes(), now);
    }

    fn answer(&mut self, notify: &Request, status: u16, lines: &str) {
        let response = notify.response(StatusCode::new(status).expect("a status"), None);
        let text = String::from_utf8(response.encode()).expect("text");
        let text = text.replacen("\r\n\r\n", &format!("\r\n{lines}\r\n"), 1);
        self.bed.bytes(self.conn, &text);
        let Event::Response { tx, response, .. } = self.bed.event() else { panic!("no response") };
        self.notifier.handle_response(&mut self.bed.endpoint, tx, &response, self.bed.now);
    }

    fn wait(&mut self, millis: u64) {
        let until = self.bed.now + Duration::from_millis(millis);
        while let Some(at) = self.notifier.next_timeout().filter(|at| *at <= until) {
            let left = at.saturating_duration_since(self.bed.now);
            self.bed.wait(left.as_millis() as u64);
            self.bed.now = self.bed.now.max(at);
            self.notifier.handle_timeout(&mut self.bed.endpoint, self.bed.now);
        }
        self.bed.wait(until.saturating_duration_since(self.bed.now).as_millis() as u64);
    }

    fn ends(&mut self) -> Vec<EndCause> {
        std::iter::from_fn(|| self.notifier.poll_event())
            .filter_map(|event| match event {
                NotifierEvent::Ended { cause, .. } => Some(cause),
                _ => None,
            })
            .collect()
    }

    fn status(&mut self, wish: &Wish) -> (u16, postern_sip::Response) {
        let Heard::Answered(status) = self.hear(wish, "192.0.2.9") else { panic!("it is not answered") };
        let response = self.bed.response();
        assert_eq!(response.status, status);
        (status.code(), response)
    }
}

fn body_of(notify: &Request) -> &str {
    assert_eq!(notify.headers.value(HeaderName::ContentType), Some(CONTENT_TYPE));
    std::str::from_utf8(&notify.body).expect("text")
}

fn state_of(notify: &Request) -> &str {
    notify.headers.value(HeaderName::SubscriptionState).expect("a state")
}

#[test]
fn a_subscription_is_granted_told_at_once_and_on_each_change() {
    let mut desk = Desk::new();
    let (ask, kept) = desk.asked(&Wish::new("a"));
    assert_eq!(kept.expect("it is to last").lasts, Duration::from_secs(600));
    assert!(desk.bed.sent().is_empty(), "the answer waits for the state");
    desk.admit(ask, "none");
    let sent = desk.bed.sent();
    let [Message::Response(response), Message::Request(notify)] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!(response.headers.value(HeaderName::Expires), Some("600"));
    assert!(response.headers.contact().expect("readable").is_some());
    assert_eq!((state_of(notify), body_of(notify)), ("active;expires=600", "none"));
    assert_eq!(notify.uri.to_string(), "sip:1001@192.0.2.9:5070;transport=tcp");
    assert_eq!(notify.headers.value(HeaderName::Event), Some("message-summary"));
    assert_eq!(notify.headers.from_tag(), response.headers.to_tag());
    assert_eq!(notify.headers.to_tag().as_deref(), Some("theirs"));
    desk.answer(&notify.clone(), 200, "");
    desk.wait(10_000);
    desk.publish("none");
    assert!(desk.bed.sent().is_empty(), "nothing changed");
    desk.publish("one");
    let notify = desk.bed.request();
    assert_eq!((state_of(&notify), body_of(&notify)), ("active;expires=590", "one"));
}

#[test]
fn changes_while_a_notify_is_under_way_are_told_together_and_not_too_often() {
    let mut desk = Desk::new();
    desk.subscribe(&Wish::new("a"), "none");
    desk.wait(1_000);
    desk.publish("one");
    let first = desk.bed.request();
    desk.publish("two");
    desk.publish("three");
    desk.wait(5_000);
    assert!(desk.bed.sent().is_empty(), "one is under way");
    desk.answer(&first, 200, "");
    let last = desk.bed.request();
    assert_eq!(body_of(&last), "three");
    desk.answer(&last, 200, "");
    desk.publish("four");
    assert!(desk.bed.sent().is_empty(), "the last was just now");
    desk.publish("five");
    desk.wait(500);
    assert_eq!(body_of(&desk.bed.request()), "five");
}

#[test]
fn a_subscribe_that_asks_for_what_we_have_not_is_refused_and_nothing_is_kept() {
    let mut desk = Desk::new();
    let event = "Event: message-summary\r\n";
    for (lines, status, header, value) in [
        ("Event: presence\r\n", 489, HeaderName::AllowEvents, Some(PACKAGE)),
        ("", 489, HeaderName::AllowEvents, Some(PACKAGE)),
        (&format!("{event}Expires: 30\r\n"), 423, HeaderName::MinExpires, Some("60")),
        (&format!("{event}Accept: text/plain\r\n"), 406, HeaderName::Accept, None),
        (&format!("{event}Require: eventlist\r\n"), 420, HeaderName::Unsupported, Some("eventlist")),
    ] {
        let (answered, response) = desk.status(&Wish::new("a").saying(lines));
        assert_eq!((answered, response.headers.value(header)), (status, value), "{lines}");
    }
    let stranger = Wish { to_tag: Some("nobody".into()), ..Wish::new("a") };
    assert_eq!(desk.status(&stranger).0, 481);
    assert!(desk.notifier.is_empty() && desk.notifier.next_timeout().is_none());
    for accept in ["application/simple-message-summary", "*/*", "text/plain, application/*;q=0.5"] {
        desk.asked(&Wish::new(accept.len()).saying(&format!("{event}Accept: {accept}\r\n")));
    }
}

#[test]
fn a_refresh_prolongs_an_unsubscribe_ends_and_an_old_cseq_is_refused() {
    let mut desk = Desk::new();
    let tag = desk.subscribe(&Wish::new("a"), "none");
    desk.wait(500_000);
    let again = |cseq, expires: u32| Wish {
        cseq,
        to_tag: Some(tag.clone()),
        ..Wish::new("a").saying(&format!("Event: message-summary\r\nExpires: {expires}\r\n"))
    };
    desk.subscribe(&again(2, 600), "one");
    assert_eq!(desk.status(&again(2, 600)).0, 500);
    desk.wait(500_000);
    assert_eq!(desk.notifier.len(), 1);
    assert_eq!(desk.hear(&again(3, 0), "192.0.2.9"), Heard::Answered(StatusCode::OK));
    let sent = desk.bed.sent();
    let [Message::Response(_), Message::Request(last)] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!((state_of(last), body_of(last)), ("terminated;reason=timeout", "one"));
    assert_eq!((desk.ends(), desk.notifier.len()), (vec![EndCause::Unsubscribed], 0));
    assert_eq!(desk.status(&again(4, 600)).0, 481);
}

#[test]
fn a_subscription_that_nobody_refreshes_ends_with_a_last_notify() {
    let mut desk = Desk::new();
    desk.subscribe(&Wish::new("a"), "none");
    desk.wait(600_000);
    assert_eq!(state_of(&desk.bed.request()), "terminated;reason=timeout");
    assert_eq!(desk.ends(), [EndCause::Expired]);
    assert_eq!(desk.notifier.next_timeout(), None);
}

#[test]
fn the_state_may_be_asked_for_once() {
    let mut desk = Desk::new();
    let (ask, kept) = desk.asked(&Wish::new("a").saying("Event: message-summary\r\nExpires: 0\r\n"));
    assert_eq!(kept, None);
    desk.admit(ask, "two");
    let sent = desk.bed.sent();
    let [Message::Response(_), Message::Request(notify)] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!((state_of(notify), body_of(notify)), ("terminated;reason=timeout", "two"));
    assert!(desk.notifier.is_empty());
}

#[test]
fn a_subscriber_that_does_not_know_it_or_does_not_answer_is_forgotten() {
    for (status, lines, cause) in [
        (481, "", EndCause::Refused),
        (481, "Retry-After: 5\r\n", EndCause::Refused),
        (489, "", EndCause::Refused),
        (403, "", EndCause::Refused),
        (408, "", EndCause::Unreachable),
        (500, "", EndCause::Unreachable),
    ] {
        let mut desk = Desk::new();
        desk.subscribe(&Wish::new("a"), "none");
        desk.wait(1_000);
        desk.publish("one");
        let notify = desk.bed.request();
        desk.answer(&notify, status, lines);
        assert_eq!((desk.ends(), desk.notifier.len()), (vec![cause], 0), "{status}");
    }
    let mut desk = Desk::new();
    desk.subscribe(&Wish::new("a"), "none");
    desk.wait(1_000);
    desk.publish("one");
    // One more connection is tried.
    desk.bed.wait(60_000);
    let Event::Failed { tx, .. } = desk.bed.event() else { panic!("it was answered") };
    let now = desk.bed.now;
    assert!(desk.notifier.handle_failed(&mut desk.bed.endpoint, tx, now));
    assert_eq!((desk.ends(), desk.notifier.len()), (vec![EndCause::Unreachable], 0));
}

#[test]
fn a_subscriber_that_asks_to_wait_is_told_the_last_state_later() {
    let mut desk = Desk::new();
    desk.subscribe(&Wish::new("a"), "none");
    desk.wait(1_000);
    desk.publish("one");
    let notify = desk.bed.request();
    desk.answer(&notify, 480, "Retry-After: 20\r\n");
    desk.publish("two");
    desk.wait(19_000);
    assert!(desk.bed.sent().is_empty());
    desk.wait(1_000);
    assert_eq!(body_of(&desk.bed.request()), "two");
    let results = std::iter::from_fn(|| desk.notifier.poll_event());
    let failed = NotifierEvent::Notified(NotifyResult::Failed);
    assert_eq!(results.filter(|event| *event == failed).count(), 1);
}

#[test]
fn a_subscriber_that_asks_not_to_wait_is_still_not_told_at_line_speed() {
    let mut desk = Desk::new();
    desk.subscribe(&Wish::new("a"), "none");
    desk.wait(1_000);
    desk.publish("one");
    let notify = desk.bed.request();
    desk.answer(&notify, 480, "Retry-After: 0\r\n");
    assert!(desk.bed.sent().is_empty());
    desk.wait(1_000);
    assert_eq!(body_of(&desk.bed.request()), "one");
}

#[test]
fn a_subscriber_that_comes_again_is_replaced_not_piled_up() {
    let mut desk = Desk::new();
    for call in 0..5 {
        desk.subscribe(&Wish::new(call), "none");
    }
    assert_eq!((desk.notifier.len(), desk.ends()), (1, vec![EndCause::Replaced; 4]));
    for port in 6000..6020 {
        desk.subscribe(&Wish::new(port).at(format!("sip:1001@192.0.2.9:{port};transport=tcp")), "none");
    }
    assert_eq!(desk.notifier.len(), SUBSCRIPTIONS_PER_OWNER_AND_RESOURCE_MAX);
    desk.publish("one");
    desk.wait(1_000);
    let told: Vec<_> = desk.bed.sent();
    assert_eq!(told.len(), SUBSCRIPTIONS_PER_OWNER_AND_RESOURCE_MAX, "the last ones, once each");
}

#[test]
fn ten_thousand_subscribes_leave_as_many_subscriptions_as_may_be() {
    let options = NotifierOptions { subscriptions_max: 300, ..NotifierOptions::new(PACKAGE, CONTENT_TYPE) };
    let mut desk = Desk::with(options);
    let mut refused = 0;
    for number in 0..10_000_u32 {
        let (resource, owner) = (Resource(u128::from(number % 50)), format!("203.0.113.{}", number % 100));
        let wish = Wish::new(number).at(format!("sip:{number}@192.0.2.9:5070;transport=tcp"));
        let Heard::Asked { ask, .. } = desk.hear(&wish, &owner) else { panic!("refused at once") };
        let now = desk.bed.now;
        let answer = desk.notifier.admit(&mut desk.bed.endpoint, ask, resource, b"none".to_vec(), now);
        refused += u32::from(answer == Some(StatusCode::SERVICE_UNAVAILABLE));
        for message in desk.bed.sent() {
            if let Message::Request(notify) = message {
                desk.answer(&notify, 200, "");
            }
        }
        while desk.notifier.poll_event().is_some() {}
        assert!(desk.notifier.len() <= 300);
    }
    assert!(desk.notifier.len() <= 50 * SUBSCRIPTIONS_PER_RESOURCE_MAX && refused > 0, "{refused}");
    assert_eq!(desk.bed.endpoint.transactions().1, 0);
    for call in 0..SUBSCRIBES_PENDING_MAX {
        desk.asked(&Wish::new(format!("pending-{call}")));
    }
    let (status, response) = desk.status(&Wish::new("one-too-many"));
    assert_eq!((status, response.headers.retry_after_secs()), (503, Some(5)));
}

#[test]
fn a_subscription_goes_on_in_a_later_process_in_the_same_dialog() {
    let mut desk = Desk::new();
    let route = "Record-Route: <sip:192.0.2.9:5060;transport=tcp;lr>\r\n";
    let (ask, kept) = desk.asked(&Wish::new("a").saying(&format!("Event: message-summary;id=7\r\n{route}")));
    desk.admit(ask, "none");
    let sent = desk.bed.sent();
    let [_, Message::Request(before)] = &sent[..] else { panic!("{sent:#?}") };
    let kept = kept.expect("it is to last");

    let mut later = Desk::new();
    let now = later.bed.now;
    assert!(later.notifier.restore(&kept.text, BOX, Duration::from_secs(500), now));
    assert!(!later.notifier.restore(&kept.text, BOX, Duration::from_secs(500), now), "it is there");
    assert!(!later.notifier.restore("INVITE nobody", BOX, Duration::from_secs(500), now));
    later.wait(1_000);
    assert!(later.bed.sent().is_empty(), "its state is not known yet");
    later.publish("one");
    let (conn, ..) = later.bed.connecting();
    later.bed.connected(conn);
    let after = later.bed.request();
    for name in [HeaderName::CallId, HeaderName::From, HeaderName::To, HeaderName::Route, HeaderName::Event] {
        assert_eq!(after.headers.value(name.clone()), before.headers.value(name));
    }
    assert_eq!((after.uri.clone(), state_of(&after)), (before.uri.clone(), "active;expires=499"));
    let cseq = |request: &Request| request.headers.cseq().expect("a CSeq").number;
    assert!(cseq(&after) > cseq(before) && cseq(&after) <= cseq(before) + CSEQ_RESERVED);
    // The subscriber refreshes what it knows from before.
    let tag = after.headers.from_tag();
    let refresh = Wish { cseq: 2, to_tag: tag, ..Wish::new("a").saying("Event: message-summary;id=7\r\n") };
    let Heard::Asked { resource, .. } = later.hear(&refresh, "192.0.2.9") else { panic!("it is not known") };
    assert_eq!(resource, Some(BOX));
}

#[test]
fn what_is_kept_is_renewed_before_its_cseq_numbers_are_used_up() {
    let mut desk = Desk::new();
    let (ask, kept) = desk.asked(&Wish::new("a"));
    let mut kept = kept.expect("it is to last").text;
    desk.admit(ask, "0");
    let reserved = |kept: &str| match Message::parse(kept.as_bytes()) {
        Ok(Message::Request(kept)) => kept.headers.cseq().expect("a CSeq").number,
        other => panic!("{other:?}"),
    };
    for state in 1..200 {
        for message in desk.bed.sent() {
            let Message::Request(notify) = message else { continue };
            assert!(notify.headers.cseq().expect("a CSeq").number <= reserved(&kept));
            desk.answer(&notify, 200, "");
        }
        while let Some(event) = desk.notifier.poll_event() {
            if let NotifierEvent::Keep { kept: renewed, .. } = event {
                kept = renewed.text;
            }
        }
        desk.publish(&state.to_string());
        desk.wait(1_000);
    }
}

#[test]
fn nothing_is_told_while_held_and_the_last_state_after() {
    let mut desk = Desk::new();
    desk.subscribe(&Wish::new("a"), "none");
    desk.wait(1_000);
    let now = desk.bed.now;
    desk.notifier.hold(&mut desk.bed.endpoint, true, now);
    desk.publish("one");
    desk.wait(60_000);
    assert!(desk.bed.sent().is_empty());
    let now = desk.bed.now;
    desk.notifier.hold(&mut desk.bed.endpoint, false, now);
    assert_eq!(body_of(&desk.bed.request()), "one");
}

#[test]
fn what_is_gone_ends_its_subscriptions() {
    let mut desk = Desk::new();
    desk.subscribe(&Wish::new("a"), "none");
    let now = desk.bed.now;
    desk.notifier.withdraw(&mut desk.bed.endpoint, BOX, now);
    assert_eq!(state_of(&desk.bed.request()), "terminated;reason=noresource");
    assert_eq!((desk.ends(), desk.notifier.resources()), (vec![EndCause::Gone], vec![]));
}
