//! From a target to addresses (RFC 3263), and to the next one on failure.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_sip::io::{Answer, FailCause, Question, SrvRecord};
use postern_sip::options::{EndpointOptions, Families};
use postern_sip::{Action, Core, Event, Method, Transport};

use crate::harness::*;

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> SrvRecord {
    SrvRecord { priority, weight, port, target: target.into() }
}

fn addresses(list: &[&str]) -> Answer {
    Answer::Addresses(list.iter().map(|address| address.parse().unwrap()).collect())
}

fn srv_of(name: &str) -> Question {
    Question::Srv(name.into())
}

fn addresses_of(name: &str) -> Question {
    Question::Addresses(name.into())
}

#[test]
fn a_numeric_host_needs_no_dns() {
    let mut bed = Bed::new();
    bed.send(outgoing(Method::Options), target("sip:192.0.2.9:5080;transport=tcp"));
    assert_eq!(bed.connecting().2, address("192.0.2.9:5080"));
    bed.send(outgoing(Method::Options), target("sip:[2001:db8::9];transport=tcp"));
    assert_eq!(bed.connecting().2, address("[2001:db8::9]:5060"));
}

#[test]
fn a_port_in_the_uri_leaves_out_srv() {
    let mut bed = Bed::new();
    bed.send(outgoing(Method::Options), target("sip:gw.example.test:5080;transport=tcp"));
    bed.resolve(addresses_of("gw.example.test"), addresses(&["192.0.2.9"]));
    assert_eq!(bed.connecting().2, address("192.0.2.9:5080"));
}

#[test]
fn srv_records_are_tried_by_priority_and_then_addresses_in_order() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target("sip:example.test;transport=tcp"));
    let records = vec![srv(20, 0, 5070, "second.example.test"), srv(10, 0, 5062, "first.example.test")];
    bed.resolve(srv_of("_sip._tcp.example.test"), Answer::Srv(records));
    bed.resolve(addresses_of("first.example.test"), addresses(&["2001:db8::1", "192.0.2.11"]));
    let mut tried = Vec::new();
    for _ in 0..2 {
        let (conn, _, remote, _) = bed.connecting();
        tried.push(remote.to_string());
        bed.endpoint.handle_connect_failed(conn, bed.now);
    }
    bed.resolve(addresses_of("second.example.test"), addresses(&["192.0.2.12"]));
    let (conn, _, remote, _) = bed.connecting();
    tried.push(remote.to_string());
    assert_eq!(tried, ["[2001:db8::1]:5062", "192.0.2.11:5062", "192.0.2.12:5070"]);
    bed.endpoint.handle_connect_failed(conn, bed.now);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Transport });
}

#[test]
fn without_srv_records_the_name_itself_is_used_with_the_default_port() {
    let mut bed = Bed::new();
    bed.send(outgoing(Method::Options), target("sips:gw.example.test"));
    bed.resolve(srv_of("_sips._tcp.gw.example.test"), Answer::None);
    bed.resolve(addresses_of("gw.example.test"), addresses(&["192.0.2.9"]));
    let (_, transport, remote, name) = bed.connecting();
    assert_eq!((transport, remote), (Transport::Tls, address("192.0.2.9:5061")));
    assert_eq!(name.as_deref(), Some("gw.example.test"));
}

#[test]
fn the_name_to_be_proved_is_the_uris_and_not_what_dns_says() {
    let mut bed = Bed::new();
    bed.send(outgoing(Method::Options), target("sip:example.test").secured());
    let records = vec![srv(0, 0, 5061, "evil.example.net")];
    bed.resolve(srv_of("_sips._tcp.example.test"), Answer::Srv(records));
    bed.resolve(addresses_of("evil.example.net"), addresses(&["192.0.2.66"]));
    assert_eq!(bed.connecting().3.as_deref(), Some("example.test"));
}

#[test]
fn a_secured_target_is_never_tried_but_by_tls() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Invite), target("sip:gw.example.test").secured());
    bed.resolve(srv_of("_sips._tcp.gw.example.test"), Answer::None);
    bed.resolve(addresses_of("gw.example.test"), addresses(&["192.0.2.9", "192.0.2.10"]));
    for remote in ["192.0.2.9:5061", "192.0.2.10:5061"] {
        let (conn, transport, tried, _) = bed.connecting();
        assert_eq!((transport, tried), (Transport::Tls, address(remote)));
        bed.endpoint.handle_connect_failed(conn, bed.now);
    }
    assert_eq!(bed.actions(), []);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Transport });
}

#[test]
fn a_target_without_a_transport_is_tried_by_those_we_prefer() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target("sip:gw.example.test"));
    bed.resolve(srv_of("_sip._tcp.gw.example.test"), Answer::None);
    bed.resolve(srv_of("_sip._udp.gw.example.test"), Answer::None);
    bed.resolve(addresses_of("gw.example.test"), addresses(&["192.0.2.9"]));
    let (conn, ..) = bed.connecting();
    bed.endpoint.handle_connect_failed(conn, bed.now);
    bed.resolve(addresses_of("gw.example.test"), addresses(&["192.0.2.9"]));
    assert_eq!(bed.request().headers.top_via().unwrap().transport, "UDP");
    bed.wait(32_000);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Timeout });
}

#[test]
fn a_name_without_addresses_fails_as_such() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target("sip:gw.example.test:5060;transport=tcp"));
    bed.resolve(addresses_of("gw.example.test"), Answer::None);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Unresolved });
}

#[test]
fn a_question_without_an_answer_is_given_up_after_5_s() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target("sip:gw.example.test:5060;transport=tcp"));
    bed.wait(5_000);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Unresolved });
    assert_eq!(bed.endpoint.next_timeout(), None);
}

#[test]
fn one_question_serves_all_who_ask_it() {
    let mut bed = Bed::new();
    for _ in 0..3 {
        bed.send(outgoing(Method::Options), target("sip:gw.example.test:5060;transport=tcp"));
    }
    bed.resolve(addresses_of("gw.example.test"), addresses(&["192.0.2.9"]));
    let (conn, ..) = bed.connecting();
    bed.connected(conn);
    assert_eq!(bed.sent().len(), 3);
}

#[test]
fn addresses_of_a_family_we_do_not_use_are_passed_over() {
    let mut bed = Bed::with(EndpointOptions { families: Families::V4, ..options() });
    bed.send(outgoing(Method::Options), target("sip:gw.example.test:5060;transport=tcp"));
    bed.resolve(addresses_of("gw.example.test"), addresses(&["2001:db8::1", "192.0.2.9"]));
    assert_eq!(bed.connecting().2, address("192.0.2.9:5060"));
}

#[test]
fn a_503_goes_to_the_next_address_with_a_new_branch_and_is_reported_by_the_last() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Invite), target("sip:gw.example.test:5060;transport=tcp"));
    bed.resolve(addresses_of("gw.example.test"), addresses(&["192.0.2.9", "192.0.2.10"]));
    let (first, ..) = bed.connecting();
    bed.connected(first);
    let one = bed.request();
    bed.bytes(first, &answer_to(&one, 503));
    let actions = bed.actions();
    let [Action::Send { bytes, .. }, Action::Connect { conn: second, remote, .. }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert!(bytes.starts_with(b"ACK "));
    assert_eq!(*remote, address("192.0.2.10:5060"));
    bed.connected(*second);
    let two = bed.request();
    assert_ne!(one.headers.top_via(), two.headers.top_via());
    assert_eq!(bed.events(), []);
    bed.bytes(*second, &answer_to(&two, 503));
    assert!(matches!(bed.event(), Event::Response { tx: done, response, .. }
        if done == tx && response.status.code() == 503));
    assert_eq!(bed.request().method, Method::Ack);
}

#[test]
fn a_503_is_the_answer_if_the_other_addresses_give_none() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target("sip:gw.example.test:5060;transport=tcp"));
    bed.resolve(addresses_of("gw.example.test"), addresses(&["192.0.2.9", "192.0.2.10"]));
    let (first, ..) = bed.connecting();
    bed.connected(first);
    let request = bed.request();
    bed.bytes(first, &answer_to(&request, 503));
    let (second, ..) = bed.connecting();
    bed.endpoint.handle_connect_failed(second, bed.now);
    assert!(matches!(bed.event(), Event::Response { tx: done, .. } if done == tx));
}

#[test]
fn an_address_that_does_not_answer_gives_way_to_the_next() {
    let mut bed = Bed::new();
    let udp = target("sip:gw.example.test:5060;transport=udp").answered_within(Duration::from_secs(2));
    let tx = bed.send(outgoing(Method::Invite), udp);
    bed.resolve(addresses_of("gw.example.test"), addresses(&["192.0.2.8", "192.0.2.9"]));
    bed.wait(2_000);
    let mut first_times = BTreeMap::new();
    for (at, action) in bed.timed_actions() {
        let Action::SendDatagram { remote, .. } = action else { panic!("{action:?}") };
        first_times.entry(remote).or_insert(at);
    }
    let expected = [("192.0.2.8:5060", 0), ("192.0.2.9:5060", 2_000)];
    assert_eq!(first_times, expected.map(|(remote, at)| (address(remote), at)).into());
    bed.wait(2_000);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Timeout });
}

#[test]
fn within_a_priority_the_weights_decide_how_often_a_record_is_first() {
    let mut bed = Bed::new();
    let mut first = BTreeMap::new();
    for _ in 0..1000 {
        bed.send(outgoing(Method::Options), target("sip:example.test;transport=tcp"));
        let records =
            vec![srv(0, 30, 5060, "heavy.test"), srv(0, 10, 5060, "light.test"), srv(0, 0, 5060, "zero.test")];
        bed.resolve(srv_of("_sip._tcp.example.test"), Answer::Srv(records));
        let actions = bed.actions();
        let [Action::Resolve { question, what: Question::Addresses(name) }] = actions.as_slice() else {
            panic!("{actions:?}")
        };
        *first.entry(name.clone()).or_insert(0) += 1;
        // No addresses at all: the request ends.
        let mut question = *question;
        loop {
            bed.endpoint.handle_resolved(question, Answer::None, bed.now);
            match bed.actions().as_slice() {
                [Action::Resolve { question: next, .. }] => question = *next,
                _ => break,
            }
        }
    }
    assert!((680..=800).contains(&first["heavy.test"]), "{first:?}");
    assert!((190..=310).contains(&first["light.test"]), "{first:?}");
    assert!(first.get("zero.test").copied().unwrap_or(0) < 60, "{first:?}");
}

#[test]
fn a_service_that_is_declared_absent_is_not_looked_for_elsewhere() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target("sip:example.test;transport=tcp"));
    bed.resolve(srv_of("_sip._tcp.example.test"), Answer::Srv(vec![srv(0, 0, 5060, ".")]));
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Unresolved });
}

#[test]
fn a_request_is_tried_at_16_addresses_at_most() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target("sip:gw.example.test:5060;transport=tcp"));
    let many = (1..=100).map(|last| format!("192.0.2.{last}").parse().unwrap()).collect();
    bed.resolve(addresses_of("gw.example.test"), Answer::Addresses(many));
    for _ in 0..16 {
        let (conn, ..) = bed.connecting();
        bed.endpoint.handle_connect_failed(conn, bed.now);
    }
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Transport });
}
