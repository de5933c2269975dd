//! NOTIFYs that nobody subscribed to, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use postern_sip::announcer::{AnnounceTarget, AnnouncerEvent, AnnouncerOptions};
use postern_sip::digest::Credentials;
use postern_sip::limits::ANNOUNCEMENTS_UNDER_WAY_MAX;
use postern_sip::message_summary::{CONTENT_TYPE, PACKAGE};
use postern_sip::notifier_io::{NotifyResult, Resource};
use postern_sip::{Action, Announcer, ConnId, Core, Event, HeaderName, Message, Request, StatusCode, Target, Uri};

use crate::harness::Bed;

struct Desk {
    bed: Bed,
    announcer: Announcer,
}

fn options() -> AnnouncerOptions {
    AnnouncerOptions { package: PACKAGE, content_type: CONTENT_TYPE, addresses: vec!["192.0.2.1".parse().unwrap()] }
}

fn target(name: &str, group: &str) -> AnnounceTarget {
    let Some(Uri::Sip(uri)) = Uri::parse("sip:192.0.2.7:5080;transport=tcp") else { panic!("no URI") };
    AnnounceTarget { name: name.into(), group: group.into(), target: Target::new(uri), credentials: None }
}

impl Desk {
    fn new() -> Desk {
        let mut desk = Desk { bed: Bed::new(), announcer: Announcer::new(options()) };
        desk.give();
        desk
    }

    fn give(&mut self) {
        let now = self.bed.now;
        self.announcer.set_targets(&mut self.bed.endpoint, options(), vec![target("gw", "office")], now);
    }

    fn publish(&mut self, number: u32, body: &str) {
        let (now, user) = (self.bed.now, number.to_string());
        let resource = Resource(number.into());
        let owner = ("office", user.as_str());
        assert!(self.announcer.publish(&mut self.bed.endpoint, resource, owner, body.into(), now));
    }

    fn connect(&mut self) -> ConnId {
        let (conn, ..) = self.bed.connecting();
        self.bed.connected(conn);
        conn
    }

    fn answer(&mut self, conn: ConnId, notify: &Request, status: u16) {
        let response = notify.response(StatusCode::new(status).expect("a status"), Some("theirs"));
        self.bed.bytes(conn, &String::from_utf8(response.encode()).expect("text"));
        self.hear();
    }

    fn hear(&mut self) {
        let now = self.bed.now;
        for event in self.bed.events() {
            match event {
                Event::Response { tx, response, .. } => {
                    assert!(self.announcer.handle_response(&mut self.bed.endpoint, tx, &response, now));
                }
                Event::Failed { tx, cause } => {
                    assert!(self.announcer.handle_failed(&mut self.bed.endpoint, tx, cause, now));
                }
                _ => {}
            }
        }
    }

    fn wait(&mut self, millis: u64) {
        let until = self.bed.now + Duration::from_millis(millis);
        while let Some(at) = self.announcer.next_timeout().filter(|at| *at <= until) {
            let left = at.saturating_duration_since(self.bed.now);
            self.bed.wait(left.as_millis() as u64);
            self.bed.now = self.bed.now.max(at);
            self.announcer.handle_timeout(&mut self.bed.endpoint, self.bed.now);
        }
        self.bed.wait(until.saturating_duration_since(self.bed.now).as_millis() as u64);
        self.hear();
    }

    fn requests(&mut self) -> Vec<Request> {
        let request = |message| match message {
            Message::Request(request) => Some(request),
            Message::Response(_) => None,
        };
        self.bed.sent().into_iter().filter_map(request).collect()
    }

    fn events(&mut self) -> Vec<AnnouncerEvent> {
        std::iter::from_fn(|| self.announcer.poll_event()).collect()
    }
}

#[test]
fn a_state_goes_to_each_target_of_its_group_once() {
    let mut desk = Desk::new();
    desk.publish(1001, "one");
    let conn = desk.connect();
    let notify = desk.bed.request();
    assert_eq!(notify.uri.to_string(), "sip:1001@192.0.2.7:5080;transport=tcp");
    let value = |name| notify.headers.value(name);
    assert_eq!(value(HeaderName::SubscriptionState), Some("active"));
    assert_eq!((value(HeaderName::Event), value(HeaderName::ContentType)), (Some(PACKAGE), Some(CONTENT_TYPE)));
    assert_eq!(notify.headers.from().expect("a From").uri.to_string(), "sip:1001@192.0.2.1");
    assert_eq!((notify.headers.to_tag(), &notify.body[..]), (None, &b"one"[..]));
    desk.answer(conn, &notify, 200);
    assert_eq!(desk.events(), [AnnouncerEvent::Notified(NotifyResult::Delivered)]);
    desk.publish(1001, "one");
    let (resource, owner, now) = (Resource(7), ("factory", "2001"), desk.bed.now);
    desk.announcer.publish(&mut desk.bed.endpoint, resource, owner, b"other".to_vec(), now);
    assert!(desk.requests().is_empty(), "nothing that it is to hear has changed");
    desk.publish(1001, "two");
    assert_eq!(desk.requests().len(), 1);
}

#[test]
fn only_so_many_are_under_way_and_of_each_resource_one() {
    let mut desk = Desk::new();
    for number in 1001..1101 {
        desk.publish(number, "one");
        desk.publish(number, "two");
    }
    let conn = desk.connect();
    let mut told = Vec::new();
    loop {
        let notifies = desk.requests();
        if notifies.is_empty() {
            break;
        }
        assert!(notifies.len() <= ANNOUNCEMENTS_UNDER_WAY_MAX);
        for notify in notifies {
            desk.answer(conn, &notify, 200);
            told.push((notify.uri.user().expect("a user").into_owned(), String::from_utf8(notify.body).expect("text")));
        }
    }
    let last: std::collections::BTreeMap<_, _> = told.iter().cloned().collect();
    assert!(last.len() == 100 && last.values().all(|body| body == "two"), "{last:?}");
    assert!(told.len() <= 100 + ANNOUNCEMENTS_UNDER_WAY_MAX);
}

#[test]
fn a_target_that_says_481_or_489_hears_no_more_until_it_is_given_anew() {
    for status in [481, 489] {
        let mut desk = Desk::new();
        desk.publish(1001, "one");
        let conn = desk.connect();
        let notify = desk.bed.request();
        desk.answer(conn, &notify, status);
        let stopped = AnnouncerEvent::Stopped { target: "gw".into(), status: StatusCode::new(status).unwrap() };
        assert_eq!(desk.events(), [stopped, AnnouncerEvent::Notified(NotifyResult::Refused)]);
        desk.publish(1001, "two");
        desk.publish(1002, "two");
        desk.wait(100_000);
        assert_eq!((desk.requests().len(), desk.announcer.stopped()), (0, 1));
        desk.give();
        assert_eq!((desk.requests().len(), desk.announcer.stopped()), (2, 0));
    }
}

#[test]
fn a_challenge_is_answered_once_and_only_with_credentials() {
    let mut desk = Desk::new();
    let challenge = |desk: &mut Desk, conn, notify: &Request, nonce: &str| {
        let asked = format!("Digest realm=\"gw\", nonce=\"{nonce}\", algorithm=SHA-256, qop=\"auth\"");
        let response = notify.response(StatusCode::UNAUTHORIZED, Some("theirs"));
        let response = response.with(HeaderName::WwwAuthenticate, asked);
        desk.bed.bytes(conn, &String::from_utf8(response.encode()).expect("text"));
        desk.hear();
    };
    let refused = AnnouncerEvent::Notified(NotifyResult::Refused);
    desk.publish(1001, "one");
    let conn = desk.connect();
    let notify = desk.bed.request();
    challenge(&mut desk, conn, &notify, "a");
    assert_eq!((desk.requests().len(), desk.events()), (0, vec![refused.clone()]), "without credentials");

    let credentials = Credentials::new("postern", "secret").map(Arc::new);
    let (now, target) = (desk.bed.now, AnnounceTarget { credentials, ..target("gw", "office") });
    desk.announcer.set_targets(&mut desk.bed.endpoint, options(), vec![target], now);
    let notify = desk.bed.request();
    challenge(&mut desk, conn, &notify, "b");
    let answer = |notify: &Request| notify.headers.value(HeaderName::Authorization).map(str::to_owned);
    let again = desk.bed.request();
    let signed = answer(&again).expect("an answer");
    assert!(answer(&notify).is_none() && signed.contains("nonce=\"b\"") && signed.contains("nc=00000001"), "{signed}");
    desk.answer(conn, &again, 200);
    desk.publish(1001, "two");
    let next = desk.bed.request();
    assert!(answer(&next).is_some_and(|signed| signed.contains("nc=00000002")), "it is not asked again");
    challenge(&mut desk, conn, &next, "c");
    let again = desk.bed.request();
    desk.events();
    challenge(&mut desk, conn, &again, "d");
    assert_eq!((desk.requests().len(), desk.events()), (0, vec![refused]), "the answer was wrong");
}

#[test]
fn a_state_that_is_refused_is_not_told_again_until_it_changes() {
    let mut desk = Desk::new();
    desk.publish(1001, "one");
    let conn = desk.connect();
    let notify = desk.bed.request();
    desk.answer(conn, &notify, 404);
    desk.wait(100_000);
    assert!(desk.requests().is_empty());
    desk.publish(1001, "two");
    assert_eq!(desk.requests().len(), 1);
}

#[test]
fn a_broken_target_is_tried_ever_less_often_with_the_last_state_alone() {
    let mut desk = Desk::new();
    desk.publish(1001, "0");
    let conn = desk.connect();
    let mut tries = Vec::new();
    let began = desk.bed.now;
    for state in 1..400 {
        for notify in desk.requests() {
            tries.push((desk.bed.now - began).as_secs());
            assert_eq!(notify.body, (state - 1).to_string().as_bytes());
            desk.answer(conn, &notify, 500);
        }
        desk.publish(1001, &state.to_string());
        desk.wait(1_000);
    }
    assert_eq!(tries, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]);
    assert_eq!(desk.events().iter().filter(|event| matches!(event, AnnouncerEvent::Failing { .. })).count(), 1);
}

#[test]
fn a_target_that_comes_back_is_told_all_again() {
    let mut desk = Desk::new();
    desk.publish(1001, "one");
    desk.publish(1002, "one");
    let conn = desk.connect();
    for notify in desk.requests() {
        desk.answer(conn, &notify, 200);
    }
    desk.bed.endpoint.handle_closed(conn, desk.bed.now);
    desk.publish(1001, "two");
    for pause in [1_000, 2_000, 4_000] {
        let (conn, ..) = desk.bed.connecting();
        desk.bed.endpoint.handle_connect_failed(conn, desk.bed.now);
        desk.hear();
        desk.wait(pause);
    }
    let conn = desk.connect();
    let [probe] = &desk.requests()[..] else { panic!("one is tried") };
    desk.answer(conn, probe, 200);
    let recovered = AnnouncerEvent::Recovered { target: "gw".into() };
    assert!(desk.events().contains(&recovered));
    let again = desk.requests();
    assert_eq!(again.iter().filter_map(|notify| notify.uri.user()).collect::<Vec<_>>(), ["1002", "1001"]);
}

#[test]
fn one_that_is_gone_is_told_once_more_and_nothing_is_sent_while_held() {
    let mut desk = Desk::new();
    let now = desk.bed.now;
    desk.announcer.hold(&mut desk.bed.endpoint, true, now);
    desk.publish(1001, "one");
    desk.wait(60_000);
    assert!(desk.bed.actions().iter().all(|action| !matches!(action, Action::Connect { .. })));
    let now = desk.bed.now;
    desk.announcer.hold(&mut desk.bed.endpoint, false, now);
    let conn = desk.connect();
    let notify = desk.bed.request();
    desk.answer(conn, &notify, 200);
    desk.announcer.withdraw(&mut desk.bed.endpoint, Resource(1001), b"none".to_vec(), desk.bed.now);
    let notify = desk.bed.request();
    assert_eq!(notify.body, b"none");
    desk.answer(conn, &notify, 200);
    desk.give();
    assert!(desk.requests().is_empty(), "it is forgotten");
}
