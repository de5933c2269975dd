//! Requests of ours: RFC 3261 section 17.1, RFC 6026, section 9.1.

use std::time::Duration;

use postern_sip::fields::Reason;
use postern_sip::io::{Answer, FailCause, Question, SendError};
use postern_sip::options::EndpointOptions;
use postern_sip::{ClientTx, Core, Event, Message, Method, Request, Target, Transport};

use crate::harness::*;

const BY_UDP: &str = "sip:192.0.2.9;transport=udp";
const BY_TCP: &str = "sip:192.0.2.9;transport=tcp";

fn methods(bed: &mut Bed) -> Vec<(u64, Method)> {
    let read = |(at, message)| match message {
        Message::Request(request) => (at, request.method),
        Message::Response(response) => panic!("a response: {response:?}"),
    };
    bed.timed_sent().into_iter().map(read).collect()
}

fn times(bed: &mut Bed) -> Vec<u64> {
    methods(bed).into_iter().map(|(at, _)| at).collect()
}

fn start(bed: &mut Bed, method: Method) -> (ClientTx, Request) {
    let tx = bed.send(outgoing(method), target(BY_UDP));
    (tx, bed.request())
}

fn got(bed: &mut Bed, expected: ClientTx) -> u16 {
    match bed.event() {
        Event::Response { tx, response, .. } if tx == expected => response.status.code(),
        other => panic!("no response: {other:?}"),
    }
}

#[test]
fn a_request_gets_a_via_of_ours_and_max_forwards() {
    let mut bed = Bed::new();
    let (_, request) = start(&mut bed, Method::Options);
    let via = request.headers.top_via().unwrap();
    assert_eq!((via.transport.as_str(), via.host.to_string(), via.port), ("UDP", "192.0.2.1".into(), Some(5060)));
    assert!(via.unique_branch().is_some() && via.params.contains("rport"));
    assert_eq!(request.headers.max_forwards(), Ok(Some(70)));
}

#[test]
fn an_invite_over_udp_is_repeated_with_timer_a_and_given_up_with_timer_b() {
    let mut bed = Bed::new();
    let (tx, _) = start(&mut bed, Method::Invite);
    bed.wait(31_999);
    assert_eq!(times(&mut bed), [500, 1500, 3500, 7500, 15500, 31500]);
    bed.wait(1);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Timeout });
    assert_eq!(bed.endpoint.transactions(), (0, 0));
}

#[test]
fn another_request_over_udp_is_repeated_with_timer_e_and_given_up_with_timer_f() {
    let mut bed = Bed::new();
    let (tx, _) = start(&mut bed, Method::Options);
    bed.wait(32_000);
    assert_eq!(times(&mut bed), [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Timeout });
}

#[test]
fn over_tcp_nothing_is_repeated() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Invite), target(BY_TCP));
    let (conn, ..) = bed.connecting();
    bed.connected(conn);
    assert_eq!(methods(&mut bed), [(0, Method::Invite)]);
    bed.wait(32_000);
    assert_eq!(methods(&mut bed), []);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Timeout });
}

#[test]
fn a_provisional_answer_ends_the_repetition_of_an_invite_and_slows_that_of_others() {
    let mut bed = Bed::new();
    let (tx, request) = start(&mut bed, Method::Invite);
    bed.datagram(&answer_to(&request, 180));
    assert_eq!(got(&mut bed, tx), 180);
    bed.wait(120_000);
    assert_eq!(times(&mut bed), []);

    let mut bed = Bed::new();
    let (tx, request) = start(&mut bed, Method::Options);
    bed.wait(100);
    bed.datagram(&answer_to(&request, 100));
    assert_eq!(got(&mut bed, tx), 100);
    bed.wait(9_000);
    assert_eq!(times(&mut bed), [500, 4500, 8500]);
}

#[test]
fn a_refusal_is_acknowledged_by_the_transaction_each_time_it_comes() {
    let mut bed = Bed::new();
    let mut invite = outgoing(Method::Invite);
    invite.headers.push("Route", "<sip:192.0.2.9;lr>");
    let tx = bed.send(invite, target(BY_UDP));
    let request = bed.request();
    bed.datagram(&answer_to(&request, 486));
    assert_eq!(got(&mut bed, tx), 486);
    let ack = bed.request();
    assert_eq!(ack.method, Method::Ack);
    assert_eq!(ack.headers.top_via(), request.headers.top_via());
    assert_eq!(ack.headers.cseq().unwrap().number, 7);
    assert_eq!(ack.headers.to_tag().as_deref(), Some("peer"));
    assert_eq!(ack.headers.value("Route"), Some("<sip:192.0.2.9;lr>"));
    assert_eq!(ack.uri, request.uri);
    bed.wait(10_000);
    bed.datagram(&answer_to(&request, 486));
    assert_eq!(methods(&mut bed), [(10_000, Method::Ack)]);
    assert_eq!(bed.events(), []);
    bed.wait(22_000);
    assert_eq!(bed.endpoint.transactions(), (0, 0));
}

#[test]
fn every_2xx_is_reported_and_none_is_acknowledged_by_the_transaction() {
    let mut bed = Bed::new();
    let (tx, request) = start(&mut bed, Method::Invite);
    for fork in ["one", "two", "one"] {
        bed.datagram(&answer_to(&request, 200).replace("tag=peer", &format!("tag={fork}")));
        assert_eq!(got(&mut bed, tx), 200);
    }
    bed.datagram(&answer_to(&request, 486));
    assert_eq!(bed.events(), []);
    assert_eq!(bed.actions(), []);
    bed.wait(32_000);
    assert_eq!(bed.endpoint.transactions(), (0, 0));
}

#[test]
fn the_ack_for_a_2xx_goes_out_once_with_a_branch_of_its_own() {
    let mut bed = Bed::new();
    let (_, request) = start(&mut bed, Method::Invite);
    bed.endpoint.send_ack(outgoing(Method::Ack), target(BY_UDP), bed.now).unwrap();
    let ack = bed.request();
    assert_ne!(ack.headers.top_via().unwrap().branch(), request.headers.top_via().unwrap().branch());
    assert_eq!(bed.endpoint.transactions(), (0, 1), "the INVITE's");
}

#[test]
fn a_cancel_waits_for_the_first_sign_of_life() {
    let mut bed = Bed::new();
    let (tx, request) = start(&mut bed, Method::Invite);
    let reason = Reason { protocol: "SIP".into(), cause: Some(200), text: Some("Call completed elsewhere".into()) };
    bed.endpoint.cancel(tx, Some(reason), bed.now);
    assert_eq!(bed.actions(), []);
    bed.datagram(&answer_to(&request, 100));
    assert_eq!(got(&mut bed, tx), 100);
    let cancel = bed.request();
    assert_eq!(cancel.method, Method::Cancel);
    assert_eq!(cancel.headers.top_via(), request.headers.top_via());
    assert_eq!(cancel.headers.value("Reason"), Some("SIP;cause=200;text=\"Call completed elsewhere\""));
    assert_eq!(cancel.headers.to_tag(), None);
    bed.datagram(&answer_to(&cancel, 200));
    assert_eq!(bed.events(), [], "the CANCEL's answer is ours");
    bed.datagram(&answer_to(&request, 487));
    assert_eq!(got(&mut bed, tx), 487);
    assert_eq!(bed.request().method, Method::Ack);
}

#[test]
fn an_invite_cancelled_in_vain_ends_after_64_t1() {
    let mut bed = Bed::new();
    let (tx, request) = start(&mut bed, Method::Invite);
    bed.datagram(&answer_to(&request, 180));
    bed.events();
    bed.endpoint.cancel(tx, None, bed.now);
    bed.wait(31_999);
    assert_eq!(bed.events(), []);
    bed.wait(1);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Timeout });
    assert_eq!(bed.endpoint.transactions(), (0, 0));
}

#[test]
fn a_cancel_that_crosses_a_2xx_leaves_the_2xx() {
    let mut bed = Bed::new();
    let (tx, request) = start(&mut bed, Method::Invite);
    bed.endpoint.cancel(tx, None, bed.now);
    bed.datagram(&answer_to(&request, 200));
    assert_eq!(got(&mut bed, tx), 200);
    assert_eq!(bed.actions(), []);
}

#[test]
fn an_invite_cancelled_before_it_was_sent_never_is() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Invite), target(BY_TCP));
    let (conn, ..) = bed.connecting();
    bed.endpoint.cancel(tx, None, bed.now);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::GivenUp });
    bed.connected(conn);
    assert_eq!(bed.actions(), []);
}

#[test]
fn a_response_must_match_branch_method_number_and_vias() {
    let mut bed = Bed::new();
    let (_, request) = start(&mut bed, Method::Options);
    let good = answer_to(&request, 200);
    let branch = request.headers.top_via().unwrap().branch().unwrap().to_owned();
    let strays = [
        good.replace(&branch, "z9hG4bKother"),
        good.replace("7 OPTIONS", "8 OPTIONS"),
        good.replace("7 OPTIONS", "7 BYE"),
        good.replace("From:", "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23\r\nFrom:"),
    ];
    for stray in &strays {
        bed.datagram(stray);
        assert_eq!(bed.events(), [], "{stray}");
    }
    assert_eq!(bed.endpoint.counters().stray_responses, strays.len() as u64);
}

#[test]
fn a_response_to_a_request_by_tls_is_not_taken_from_a_datagram() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target("sips:192.0.2.9"));
    let (conn, ..) = bed.connecting();
    bed.connected_as(conn, &["192.0.2.9"]);
    let request = bed.request();
    bed.datagram(&answer_to(&request, 200));
    assert_eq!(bed.events(), []);
    bed.bytes(conn, &answer_to(&request, 200));
    assert_eq!(got(&mut bed, tx), 200);
}

#[test]
fn a_response_is_taken_from_whom_the_request_went_to_alone() {
    let mut bed = Bed::new();
    let (tx, request) = start(&mut bed, Method::Options);
    let stranger = address("192.0.2.66:5060");
    bed.endpoint.handle_datagram(address(LOCAL), stranger, answer_to(&request, 200).as_bytes(), bed.now);
    assert_eq!(bed.events(), []);
    bed.datagram(&answer_to(&request, 200));
    assert_eq!(got(&mut bed, tx), 200);

    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Invite), target(BY_TCP));
    let (conn, ..) = bed.connecting();
    bed.connected(conn);
    let request = bed.request();
    let stranger = bed.accept(Transport::Tcp, "192.0.2.66:40000", &[]);
    for status in [180, 200, 486] {
        bed.bytes(stranger, &answer_to(&request, status));
    }
    assert_eq!(bed.events(), []);
    assert_eq!(bed.actions(), [], "nothing is acknowledged");
    bed.bytes(conn, &answer_to(&request, 180));
    assert_eq!(got(&mut bed, tx), 180);

    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target("sips:gw.example.test"));
    bed.resolve(Question::Srv("_sips._tcp.gw.example.test".into()), Answer::None);
    bed.resolve(Question::Addresses("gw.example.test".into()), Answer::Addresses(vec![address(PEER).ip()]));
    let (conn, ..) = bed.connecting();
    bed.connected_as(conn, &["gw.example.test"]);
    let request = bed.request();
    let neighbour = bed.accept(Transport::Tls, "192.0.2.9:40001", &["other.example.test"]);
    bed.bytes(neighbour, &answer_to(&request, 200));
    assert_eq!(bed.events(), [], "it has another name at the same address");
    let itself = bed.accept(Transport::Tls, "192.0.2.9:40002", &["gw.example.test"]);
    bed.bytes(itself, &answer_to(&request, 200));
    assert_eq!(got(&mut bed, tx), 200);
}

#[test]
fn a_cancel_whose_connection_is_gone_goes_by_a_fresh_one_with_the_via_of_its_invite() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Invite), target(BY_TCP));
    let (conn, ..) = bed.connecting();
    bed.connected(conn);
    let request = bed.request();
    bed.bytes(conn, &answer_to(&request, 180));
    bed.endpoint.handle_closed(conn, bed.now);
    bed.events();
    bed.endpoint.cancel(tx, None, bed.now);
    let (fresh, _, remote, _) = bed.connecting();
    assert_eq!(remote, address("192.0.2.9:5060"));
    bed.connected(fresh);
    let cancel = bed.request();
    assert_eq!((&cancel.method, cancel.headers.top_via()), (&Method::Cancel, request.headers.top_via()));
    bed.bytes(fresh, &answer_to(&cancel, 200));
    assert_eq!(bed.events(), []);
    bed.bytes(fresh, &answer_to(&request, 487));
    assert_eq!(got(&mut bed, tx), 487);
    assert_eq!(bed.request().method, Method::Ack);
    bed.wait(32_000);
    assert_eq!(bed.endpoint.transactions(), (0, 0));
}

#[test]
fn a_cancel_without_any_connection_to_go_by_leaves_the_invite_to_its_time() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Invite), target(BY_TCP));
    let (conn, ..) = bed.connecting();
    bed.connected(conn);
    let request = bed.request();
    bed.bytes(conn, &answer_to(&request, 180));
    bed.endpoint.handle_closed(conn, bed.now);
    bed.events();
    bed.endpoint.cancel(tx, None, bed.now);
    let (fresh, ..) = bed.connecting();
    bed.endpoint.handle_connect_failed(fresh, bed.now);
    assert_eq!(bed.actions(), []);
    bed.wait(32_000);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Timeout });
    assert_eq!(bed.endpoint.transactions(), (0, 0));
}

#[test]
fn a_shorter_time_for_an_answer_counts_until_the_first_one() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target(BY_UDP).answered_within(Duration::from_secs(1)));
    bed.actions();
    bed.wait(1000);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Timeout });
    bed.actions();
    let tx = bed.send(outgoing(Method::Invite), target(BY_UDP).answered_within(Duration::from_secs(1)));
    let request = bed.request();
    bed.datagram(&answer_to(&request, 180));
    assert_eq!(got(&mut bed, tx), 180);
    bed.wait(60_000);
    assert_eq!(bed.events(), []);
}

#[test]
fn a_request_that_cannot_be_sent_is_refused_and_changes_nothing() {
    let mut bed = Bed::with(EndpointOptions { client_transactions_max: 1, udp: Vec::new(), ..options() });
    let mut send = |request, target: Target| bed.endpoint.send_request(request, target, bed.now);
    let mut incomplete = outgoing(Method::Bye);
    incomplete.headers.remove("Call-ID");
    assert_eq!(send(incomplete, target(BY_TCP)), Err(SendError::Incomplete));
    assert_eq!(send(outgoing(Method::Bye), target(BY_UDP)), Err(SendError::NoTransport));
    assert_eq!(send(outgoing(Method::Bye), target("sip:192.0.2.9;transport=sctp")), Err(SendError::NoTransport));
    assert_eq!(send(outgoing(Method::Bye), target(BY_TCP).secured()), Err(SendError::NotSecure));
    assert_eq!(send(outgoing(Method::Bye), target("sips:192.0.2.9;transport=udp")), Err(SendError::NotSecure));
    assert!(send(outgoing(Method::Bye), target(BY_TCP)).is_ok());
    assert_eq!(send(outgoing(Method::Bye), target(BY_TCP)), Err(SendError::TooMany));
}

#[test]
fn a_request_too_long_for_a_datagram_goes_by_tcp_unless_udp_was_named() {
    let mut bed = Bed::new();
    bed.endpoint.set_options(EndpointOptions { transports: vec![postern_sip::Transport::Udp], ..options() });
    let mut long = outgoing(Method::Invite);
    long.set_body("application/sdp", vec![b'x'; 1300]);
    bed.send(long.clone(), target("sip:192.0.2.9"));
    assert_eq!(bed.connecting().1, postern_sip::Transport::Tcp);
    bed.send(long, target(BY_UDP));
    assert_eq!(bed.request().headers.top_via().unwrap().transport, "UDP");
}
