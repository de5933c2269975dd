//! Which connection carries what, and how long it lives.

use postern_sip::io::FailCause;
use postern_sip::options::EndpointOptions;
use postern_sip::{Action, Core, Event, Message, Method, Transport};

use crate::harness::*;

const BY_TCP: &str = "sip:192.0.2.9;transport=tcp";

#[test]
fn an_answer_goes_by_the_connection_its_request_came_by() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    bed.bytes(conn, &incoming_by("TCP", "OPTIONS", "z9hG4bKa", "1"));
    let tx = bed.incoming();
    bed.answer(tx, 200);
    assert!(matches!(bed.actions().as_slice(), [Action::Send { conn: used, .. }] if *used == conn));
}

#[test]
fn an_answer_whose_connection_is_gone_goes_by_a_new_one_to_the_port_of_via() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    bed.bytes(conn, &incoming_by("TCP", "INVITE", "z9hG4bKa", "1"));
    let tx = bed.incoming();
    bed.endpoint.handle_closed(conn, bed.now);
    assert_eq!(bed.event(), Event::Closed { conn });
    bed.answer(tx, 486);
    let (fresh, transport, remote, _) = bed.connecting();
    assert_eq!((transport, remote), (Transport::Tcp, address("192.0.2.9:5070")));
    bed.connected(fresh);
    assert_eq!(bed.status(), 486);
}

#[test]
fn an_answer_by_tls_goes_back_to_a_peer_that_proves_the_name_in_via() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tls, PEER, &["gw.example.test"]);
    bed.bytes(conn, &incoming_by("TLS", "INVITE", "z9hG4bKa", "1").replace("192.0.2.9:5070;b", "gw.example.test;b"));
    let tx = bed.incoming();
    bed.endpoint.handle_closed(conn, bed.now);
    bed.answer(tx, 486);
    let (_, transport, remote, name) = bed.connecting();
    assert_eq!((transport, remote), (Transport::Tls, address("192.0.2.9:5061")));
    assert_eq!(name.as_deref(), Some("gw.example.test"));
}

#[test]
fn a_second_request_to_the_same_place_uses_the_same_connection() {
    let mut bed = Bed::new();
    bed.send(outgoing(Method::Options), target(BY_TCP));
    let (conn, ..) = bed.connecting();
    bed.send(outgoing(Method::Options), target(BY_TCP));
    assert_eq!(bed.actions(), []);
    bed.connected(conn);
    assert_eq!(bed.sent().len(), 2);
    bed.send(outgoing(Method::Options), target(BY_TCP));
    assert!(matches!(bed.actions().as_slice(), [Action::Send { conn: used, .. }] if *used == conn));
}

#[test]
fn a_tls_connection_is_used_again_for_the_same_name_only() {
    let mut bed = Bed::new();
    let first = target("sips:192.0.2.9");
    bed.send(outgoing(Method::Options), first.clone());
    let (conn, ..) = bed.connecting();
    bed.connected_as(conn, &["192.0.2.9"]);
    bed.actions();
    bed.send(outgoing(Method::Options), first);
    assert!(matches!(bed.actions().as_slice(), [Action::Send { conn: used, .. }] if *used == conn));
    bed.send(outgoing(Method::Options), target("sips:other.example.test:5061"));
    let question = postern_sip::io::Question::Addresses("other.example.test".into());
    bed.resolve(question, postern_sip::io::Answer::Addresses(vec!["192.0.2.9".parse().unwrap()]));
    let (other, _, _, name) = bed.connecting();
    assert_ne!(other, conn);
    assert_eq!(name.as_deref(), Some("other.example.test"));
}

#[test]
fn a_peers_connection_serves_requests_to_the_address_it_comes_from() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    bed.send(outgoing(Method::Options), target("sip:192.0.2.9:40000;transport=tcp"));
    assert!(matches!(bed.actions().as_slice(), [Action::Send { conn: used, .. }] if *used == conn));
}

#[test]
fn a_tls_peer_that_asks_for_an_alias_is_reached_by_its_own_connection_if_it_proved_the_name() {
    let request = |host: &str| {
        incoming_by("TLS", "OPTIONS", "z9hG4bKa", "1").replace("192.0.2.9:5070;b", &format!("{host};alias;b"))
    };
    for (host, reused) in [("gw.example.test", true), ("other.example.test", false)] {
        let mut bed = Bed::new();
        let conn = bed.accept(Transport::Tls, PEER, &["gw.example.test"]);
        bed.bytes(conn, &request(host));
        bed.incoming();
        bed.send(outgoing(Method::Options), target(&format!("sips:{host}:5061")));
        let question = postern_sip::io::Question::Addresses(host.into());
        bed.resolve(question, postern_sip::io::Answer::Addresses(vec!["192.0.2.9".parse().unwrap()]));
        match bed.actions().as_slice() {
            [Action::Send { conn: used, .. }] => assert!(reused && *used == conn),
            [Action::Connect { .. }] => assert!(!reused),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_request_in_a_dialog_goes_by_the_dialogs_connection_while_it_stands() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    bed.send(outgoing(Method::Bye), target(BY_TCP).over(Some(conn)));
    assert!(matches!(bed.actions().as_slice(), [Action::Send { conn: used, .. }] if *used == conn));
    bed.endpoint.handle_closed(conn, bed.now);
    // The first BYE may have been lost with it: both go to where the target says.
    bed.send(outgoing(Method::Bye), target(BY_TCP).over(Some(conn)));
    let (fresh, _, remote, _) = bed.connecting();
    assert_eq!(remote, address("192.0.2.9:5060"));
    bed.connected(fresh);
    assert_eq!(bed.sent().len(), 2);
}

#[test]
fn a_plain_connection_is_not_used_where_tls_is_asked_for() {
    let mut bed = Bed::new();
    let plain = bed.accept(Transport::Tcp, PEER, &[]);
    bed.send(outgoing(Method::Bye), target("sip:192.0.2.9").secured().over(Some(plain)));
    let (_, transport, remote, _) = bed.connecting();
    assert_eq!((transport, remote), (Transport::Tls, address("192.0.2.9:5061")));
}

#[test]
fn a_connection_that_was_stale_is_replaced_once() {
    let mut bed = Bed::new();
    let first = bed.send(outgoing(Method::Options), target(BY_TCP));
    let (conn, ..) = bed.connecting();
    bed.connected(conn);
    let request = bed.request();
    bed.bytes(conn, &answer_to(&request, 200));
    assert!(matches!(bed.event(), Event::Response { tx, .. } if tx == first));
    let tx = bed.send(outgoing(Method::Bye), target(BY_TCP));
    bed.actions();
    bed.endpoint.handle_closed(conn, bed.now);
    let (fresh, ..) = bed.connecting();
    bed.connected(fresh);
    assert_eq!(bed.request().method, Method::Bye);
    bed.endpoint.handle_closed(fresh, bed.now);
    assert_eq!(bed.actions(), []);
    assert!(bed.events().contains(&Event::Failed { tx, cause: FailCause::Transport }));
}

#[test]
fn an_answered_request_waits_on_when_its_connection_goes_and_takes_the_answer_by_another() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Invite), target(BY_TCP));
    let (conn, ..) = bed.connecting();
    bed.connected(conn);
    let request = bed.request();
    bed.bytes(conn, &answer_to(&request, 180));
    bed.endpoint.handle_closed(conn, bed.now);
    bed.events();
    let other = bed.accept(Transport::Tcp, "192.0.2.9:40001", &[]);
    bed.bytes(other, &answer_to(&request, 486));
    assert!(matches!(bed.event(), Event::Response { tx: answered, .. } if answered == tx));
    assert!(matches!(bed.actions().as_slice(), [Action::Send { conn: used, .. }] if *used == other), "the ACK");
}

#[test]
fn a_connection_that_cannot_be_made_in_time_is_given_up() {
    let mut bed = Bed::new();
    let tx = bed.send(outgoing(Method::Options), target(BY_TCP));
    let (conn, ..) = bed.connecting();
    bed.wait(4_000);
    assert_eq!(bed.actions(), [Action::Close { conn }]);
    assert_eq!(bed.event(), Event::Failed { tx, cause: FailCause::Transport });
    bed.connected(conn);
    assert_eq!(bed.actions(), [], "too late");
}

#[test]
fn a_ping_gets_a_pong_however_it_is_cut() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    bed.bytes(conn, "\r\n");
    assert_eq!(bed.actions(), []);
    bed.bytes(conn, "\r\n");
    assert_eq!(bed.actions(), [Action::Send { conn, bytes: b"\r\n".to_vec() }]);
    bed.bytes(conn, &format!("\r\n{}", incoming_by("TCP", "OPTIONS", "z9hG4bKa", "1")));
    bed.incoming();
}

#[test]
fn messages_are_found_in_a_stream_however_it_is_cut() {
    let one = incoming_by("TCP", "OPTIONS", "z9hG4bKa", "1");
    let two = incoming_by("TCP", "INFO", "z9hG4bKb", "2").replace("Content-Length: 0\r\n\r\n", "l: 5\r\n\r\nhello");
    let stream = format!("{one}{two}{one}");
    for size in [1, 2, 3, 7, 64, stream.len()] {
        let mut bed = Bed::new();
        let conn = bed.accept(Transport::Tcp, PEER, &[]);
        for chunk in stream.as_bytes().chunks(size) {
            bed.endpoint.handle_bytes(conn, chunk, bed.now);
        }
        let requests: Vec<_> = bed
            .events()
            .into_iter()
            .map(|event| match event {
                Event::Request { request, .. } => (request.method, request.body),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(requests, [(Method::Options, Vec::new()), (Method::Info, b"hello".to_vec())], "chunks of {size}");
        assert_eq!(bed.endpoint.counters().repeated_requests, 1);
    }
}

#[test]
fn a_message_within_bounds_that_cannot_be_read_is_answered_and_the_stream_goes_on() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    let bad = incoming_by("TCP", "OPTIONS", "z9hG4bKa", "1").replace("tag=theirs", "tag=1;tag=2");
    bed.bytes(conn, &format!("{bad}{}", incoming_by("TCP", "OPTIONS", "z9hG4bKb", "2")));
    let actions = bed.actions();
    let [Action::Send { bytes, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(bytes.starts_with(b"SIP/2.0 400 "));
    bed.incoming();
}

#[test]
fn a_stream_without_lengths_is_answered_and_closed() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    let bad = incoming_by("TCP", "OPTIONS", "z9hG4bKa", "1").replace("Content-Length: 0\r\n", "");
    bed.bytes(conn, &format!("{bad}{}", incoming_by("TCP", "OPTIONS", "z9hG4bKb", "2")));
    let actions = bed.actions();
    let [Action::Send { bytes, .. }, Action::Close { conn: closed }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert!(matches!(Message::parse(bytes), Ok(Message::Response(response)) if response.status.code() == 400));
    assert_eq!(*closed, conn);
    assert_eq!(bed.event(), Event::Closed { conn });
}

#[test]
fn a_message_too_long_gets_513_before_it_is_there_and_the_stream_is_closed() {
    for (headers, length) in [(0, 70_000), (40_000, 0)] {
        let mut bed = Bed::new();
        let conn = bed.accept(Transport::Tcp, PEER, &[]);
        let padding = format!("X-Long: {}\r\nContent-Length: {length}\r\n", "x".repeat(headers));
        let long = incoming_by("TCP", "INVITE", "z9hG4bKa", "1").replace("Content-Length: 0\r\n", &padding);
        bed.bytes(conn, &long);
        let actions = bed.actions();
        let [Action::Send { bytes, .. }, Action::Close { .. }] = actions.as_slice() else { panic!("{actions:?}") };
        assert!(bytes.starts_with(b"SIP/2.0 513 "), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_body_beyond_8_kb_is_taken() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    let body = "a".repeat(20_000);
    let large = incoming_by("TCP", "INVITE", "z9hG4bKa", "1")
        .replace("Content-Length: 0\r\n\r\n", &format!("Content-Length: 20000\r\n\r\n{body}"));
    for chunk in large.as_bytes().chunks(1400) {
        bed.endpoint.handle_bytes(conn, chunk, bed.now);
    }
    assert!(matches!(bed.event(), Event::Request { request, .. } if request.body.len() == 20_000));
}

#[test]
fn a_sender_that_does_not_finish_its_message_is_closed_after_10_s() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    bed.bytes(conn, &incoming_by("TCP", "OPTIONS", "z9hG4bKa", "1"));
    let tx = bed.incoming();
    bed.answer(tx, 200);
    bed.actions();
    for _ in 0..9 {
        bed.bytes(conn, "X");
        bed.wait(1_000);
    }
    assert_eq!(bed.actions(), []);
    bed.wait(1_000);
    assert_eq!(bed.actions(), [Action::Close { conn }]);
}

#[test]
fn a_peer_that_says_nothing_is_closed_after_30_s_and_one_that_spoke_is_kept_for_40_min() {
    let mut bed = Bed::new();
    let silent = bed.accept(Transport::Tcp, PEER, &[]);
    let spoke = bed.accept(Transport::Tcp, PEER, &[]);
    bed.bytes(spoke, &incoming_by("TCP", "OPTIONS", "z9hG4bKa", "1"));
    let tx = bed.incoming();
    bed.answer(tx, 200);
    bed.actions();
    bed.wait(30_000);
    assert_eq!(bed.actions(), [Action::Close { conn: silent }]);
    bed.wait(40 * 60_000 - 30_001);
    assert_eq!(bed.actions(), []);
    bed.wait(1);
    assert_eq!(bed.actions(), [Action::Close { conn: spoke }]);
}

#[test]
fn a_silent_connection_in_use_is_kept() {
    let mut bed = Bed::with(EndpointOptions { idle_time: std::time::Duration::from_secs(5), ..options() });
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    bed.bytes(conn, &incoming_by("TCP", "INVITE", "z9hG4bKa", "1"));
    let tx = bed.incoming();
    bed.wait(60_000);
    assert_eq!(bed.status(), 100);
    bed.answer(tx, 486);
    bed.bytes(conn, &incoming_by("TCP", "ACK", "z9hG4bKa", "1"));
    bed.actions();
    bed.wait(5_000);
    assert_eq!(bed.actions(), [Action::Close { conn }]);
}

#[test]
fn one_source_has_a_cap_and_ipv6_sources_count_by_64() {
    let mut bed = Bed::with(EndpointOptions { connections_per_source_max: 2, ..options() });
    bed.accept(Transport::Tcp, "192.0.2.9:1", &[]);
    let second = bed.accept(Transport::Tcp, "192.0.2.9:2", &[]);
    assert_eq!(bed.try_accept(Transport::Tcp, "[::ffff:192.0.2.9]:3", &[]), None);
    bed.endpoint.handle_closed(second, bed.now);
    bed.accept(Transport::Tcp, "192.0.2.9:3", &[]);
    bed.accept(Transport::Tcp, "[2001:db8:0:1::1]:1", &[]);
    bed.accept(Transport::Tcp, "[2001:db8:0:1::2]:1", &[]);
    assert_eq!(bed.try_accept(Transport::Tcp, "[2001:db8:0:1:ffff::3]:1", &[]), None);
    bed.accept(Transport::Tcp, "[2001:db8:0:2::1]:1", &[]);
    assert_eq!(bed.endpoint.counters().refused_connections, 2);
}

#[test]
fn when_all_are_taken_the_idlest_gives_way_but_not_one_in_use_or_just_heard() {
    let mut bed = Bed::with(EndpointOptions { connections_max: 2, ..options() });
    let busy = bed.accept(Transport::Tcp, "192.0.2.1:1", &[]);
    bed.bytes(busy, &incoming_by("TCP", "INVITE", "z9hG4bKa", "1"));
    let idle = bed.accept(Transport::Tcp, "192.0.2.2:1", &[]);
    bed.bytes(idle, &incoming_by("TCP", "BYE", "z9hG4bKb", "1"));
    bed.wait(32_000);
    bed.actions();
    assert_eq!(bed.try_accept(Transport::Tcp, "192.0.2.3:1", &[]), None);
    bed.wait(30_000);
    bed.actions();
    assert!(bed.try_accept(Transport::Tcp, "192.0.2.3:1", &[]).is_some());
    assert_eq!(bed.actions(), [Action::Close { conn: idle }]);
}

#[test]
fn what_waits_for_a_connection_is_bounded() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    let mut pending = Vec::new();
    for index in 0..10 {
        bed.bytes(conn, &incoming_by("TCP", "INVITE", &format!("z9hG4bK{index}"), &index.to_string()));
        pending.push(bed.incoming());
    }
    bed.endpoint.handle_closed(conn, bed.now);
    bed.events();
    for tx in pending {
        let status = postern_sip::StatusCode::OK;
        let mut response = bed.endpoint.response(tx, status).unwrap();
        response.set_body("text/plain", vec![b'x'; 60_000]);
        bed.endpoint.send_response(tx, response, bed.now);
    }
    let abandoned = bed.events().into_iter().filter(|event| matches!(event, Event::Abandoned { .. })).count();
    assert_eq!(abandoned, 6, "four of 60 KB fit into 256 KB");
}
