//! Requests of others: RFC 3261 section 17.2, RFC 6026, RFC 3581, section 9.2.

use postern_sip::io::FailCause;
use postern_sip::options::EndpointOptions;
use postern_sip::{Action, Core, Event, HeaderName, Message, Method, StatusCode, Transport};

use crate::harness::*;

fn statuses(bed: &mut Bed) -> Vec<(u64, u16)> {
    let read = |(at, message)| match message {
        Message::Response(response) => (at, response.status.code()),
        Message::Request(request) => panic!("a request: {request:?}"),
    };
    bed.timed_sent().into_iter().map(read).collect()
}

#[test]
fn an_invite_without_an_answer_gets_100_after_200_ms() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    bed.wait(1000);
    assert_eq!(statuses(&mut bed), [(200, 100)]);
}

#[test]
fn an_invite_answered_at_once_gets_no_100() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    let tx = bed.incoming();
    bed.answer(tx, 180);
    bed.wait(1000);
    assert_eq!(statuses(&mut bed), [(0, 180)]);
}

#[test]
fn a_non_invite_gets_no_100() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("OPTIONS", "z9hG4bKa"));
    bed.wait(1000);
    assert_eq!(statuses(&mut bed), []);
}

#[test]
fn an_answer_goes_to_where_the_datagram_came_from_if_rport_is_asked_for() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("OPTIONS", "z9hG4bKa"));
    let tx = bed.incoming();
    bed.answer(tx, 200);
    let actions = bed.actions();
    let [Action::SendDatagram { local, remote, bytes }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((*local, *remote), (address(LOCAL), address(PEER)));
    let via = Message::parse(bytes).unwrap().headers().top_via().unwrap();
    assert_eq!((via.received(), via.rport()), (Some(address(PEER).ip()), Some(40000)));
}

#[test]
fn an_answer_goes_to_the_port_of_via_if_rport_is_not_asked_for() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("OPTIONS", "z9hG4bKa").replace(";rport", "").replace("192.0.2.9:5070;", "gw.test:5070;"));
    let tx = bed.incoming();
    bed.answer(tx, 200);
    let actions = bed.actions();
    let [Action::SendDatagram { remote, bytes, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(*remote, address("192.0.2.9:5070"));
    let via = Message::parse(bytes).unwrap().headers().top_via().unwrap();
    assert_eq!((via.received(), via.rport()), (Some(address(PEER).ip()), None));
}

#[test]
fn a_repeated_request_gets_the_last_answer_again_and_no_second_event() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    let tx = bed.incoming();
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    assert_eq!(statuses(&mut bed), []);
    bed.answer(tx, 180);
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    assert_eq!(statuses(&mut bed), [(0, 180), (0, 180)]);
    assert_eq!(bed.events(), []);
}

#[test]
fn a_final_answer_is_repeated_with_timer_g_until_its_ack_and_reported_without() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    let tx = bed.incoming();
    bed.answer(tx, 302);
    bed.wait(40_000);
    let times: Vec<_> = statuses(&mut bed).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert_eq!(bed.event(), Event::Abandoned { tx, cause: FailCause::Timeout });
    assert_eq!(bed.endpoint.transactions(), (0, 0));
}

#[test]
fn the_ack_for_a_refusal_ends_its_repetition_and_is_not_reported() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    let tx = bed.incoming();
    bed.answer(tx, 486);
    bed.datagram(&incoming("ACK", "z9hG4bKa"));
    bed.wait(4_999);
    assert_eq!(statuses(&mut bed), [(0, 486)]);
    assert_eq!(bed.endpoint.transactions(), (1, 0), "repetitions are absorbed for T4");
    bed.wait(1);
    assert_eq!(bed.endpoint.transactions(), (0, 0));
    assert_eq!(bed.events(), []);
}

#[test]
fn over_tcp_a_refusal_is_sent_once_and_forgotten_with_its_ack() {
    let mut bed = Bed::new();
    let conn = bed.accept(Transport::Tcp, PEER, &[]);
    bed.bytes(conn, &incoming_by("TCP", "INVITE", "z9hG4bKa", "1"));
    let tx = bed.incoming();
    bed.answer(tx, 302);
    bed.wait(10_000);
    assert_eq!(statuses(&mut bed), [(0, 302)]);
    bed.bytes(conn, &incoming_by("TCP", "ACK", "z9hG4bKa", "1"));
    assert_eq!(bed.endpoint.transactions(), (0, 0));
}

#[test]
fn after_a_2xx_the_user_repeats_it_and_repeated_invites_are_absorbed() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    let tx = bed.incoming();
    bed.answer(tx, 200);
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    bed.wait(1000);
    assert_eq!(statuses(&mut bed), [(0, 200)]);
    bed.answer(tx, 200);
    assert_eq!(statuses(&mut bed), [(1000, 200)]);
    bed.answer(tx, 486);
    assert_eq!(statuses(&mut bed), []);
    bed.wait(31_000);
    assert_eq!(bed.endpoint.transactions(), (0, 0));
    assert_eq!(bed.events(), []);
}

#[test]
fn the_ack_for_a_2xx_is_reported_whatever_its_branch() {
    for branch in ["z9hG4bKa", "z9hG4bKother"] {
        let mut bed = Bed::new();
        bed.datagram(&incoming("INVITE", "z9hG4bKa"));
        let tx = bed.incoming();
        bed.answer(tx, 200);
        bed.datagram(&incoming("ACK", branch));
        assert!(matches!(bed.event(), Event::Ack { request, .. } if request.method == Method::Ack));
    }
}

#[test]
fn a_cancel_gets_200_with_the_invites_tag_and_the_user_answers_487() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    let tx = bed.incoming();
    bed.answer(tx, 180);
    let tag = bed.response().headers.to_tag();
    assert!(tag.is_some());
    bed.datagram(&incoming("CANCEL", "z9hG4bKa"));
    let ok = bed.response();
    assert_eq!((ok.status.code(), ok.headers.cseq().unwrap().method), (200, Method::Cancel));
    assert_eq!(ok.headers.to_tag(), tag);
    assert!(matches!(bed.event(), Event::Cancelled { tx: cancelled, .. } if cancelled == tx));
    bed.datagram(&incoming("CANCEL", "z9hG4bKa"));
    assert_eq!(bed.status(), 200, "the repeated CANCEL gets its answer again");
    assert_eq!(bed.events(), []);
    bed.answer(tx, 487);
    assert_eq!(bed.status(), 487);
}

#[test]
fn a_cancel_after_the_final_answer_changes_nothing() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    let tx = bed.incoming();
    // As a proxy forwards it, with the tag of who answered.
    let mut forwarded = bed.endpoint.response(tx, StatusCode::OK).unwrap();
    forwarded.headers.set(HeaderName::To, "<sip:7000@10.0.0.1>;tag=theirs");
    bed.endpoint.send_response(tx, forwarded, bed.now);
    bed.actions();
    bed.datagram(&incoming("CANCEL", "z9hG4bKa"));
    let ok = bed.response();
    assert_eq!((ok.status.code(), ok.headers.to_tag().as_deref()), (200, Some("theirs")));
    assert_eq!(bed.events(), []);
}

#[test]
fn a_cancel_for_nothing_gets_481() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("CANCEL", "z9hG4bKa"));
    assert_eq!(bed.status(), 481);
    assert_eq!(bed.events(), []);
}

#[test]
fn a_cancel_by_tcp_does_not_touch_an_invite_that_came_by_tls() {
    let mut bed = Bed::new();
    let tls = bed.accept(Transport::Tls, PEER, &["gw.example.test"]);
    bed.bytes(tls, &incoming_by("TLS", "INVITE", "z9hG4bKa", "1"));
    bed.incoming();
    let tcp = bed.accept(Transport::Tcp, "192.0.2.66:1", &[]);
    bed.bytes(tcp, &incoming_by("TLS", "CANCEL", "z9hG4bKa", "1"));
    assert_eq!(bed.status(), 481);
    assert_eq!(bed.events(), []);
}

#[test]
fn the_same_request_by_two_ways_gets_482_but_not_at_a_proxy() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("INVITE", "z9hG4bKa"));
    let first = bed.incoming();
    bed.datagram(&incoming("INVITE", "z9hG4bKb"));
    assert_eq!(bed.status(), 482);
    assert_eq!(bed.events(), []);
    bed.answer(first, 302);
    bed.actions();
    bed.datagram(&incoming("INVITE", "z9hG4bKc"));
    bed.incoming();

    let mut proxy = Bed::with(EndpointOptions { refuse_merged: false, ..options() });
    proxy.datagram(&incoming("INVITE", "z9hG4bKa"));
    proxy.incoming();
    proxy.datagram(&incoming("INVITE", "z9hG4bKb"));
    proxy.incoming();
}

#[test]
fn requests_of_rfc_2543_are_told_apart_without_a_branch() {
    let mut bed = Bed::new();
    let old = |method: &str, call_id: &str| incoming_by("UDP", method, "x", call_id).replace("branch=x;", "");
    bed.datagram(&old("INVITE", "1"));
    let tx = bed.incoming();
    bed.datagram(&old("INVITE", "1"));
    assert_eq!(bed.events(), []);
    bed.datagram(&old("INVITE", "2"));
    bed.incoming();
    bed.answer(tx, 404);
    let tagged = bed.response().headers.value("To").unwrap().to_owned();
    bed.datagram(&old("ACK", "1").replace("<sip:7000@192.0.2.1>", &tagged));
    assert_eq!(bed.events(), []);
    bed.wait(199);
    assert_eq!(bed.sent(), []);
}

#[test]
fn a_branch_of_nothing_but_the_cookie_does_not_identify_a_request() {
    let mut bed = Bed::new();
    bed.datagram(&incoming_by("UDP", "OPTIONS", "z9hG4bK", "1"));
    bed.incoming();
    bed.datagram(&incoming_by("UDP", "OPTIONS", "z9hG4bK", "2"));
    bed.incoming();
}

#[test]
fn a_request_that_cannot_be_read_is_answered_and_leaves_nothing_behind() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("OPTIONS", "z9hG4bKa").replace("CSeq: 1 OPTIONS", "CSeq: 1 BYE"));
    let answer = bed.response();
    assert_eq!(answer.status.code(), 400);
    assert!(answer.headers.to_tag().is_some());
    assert_eq!(answer.headers.top_via().unwrap().rport(), Some(40000));
    assert_eq!(bed.endpoint.transactions(), (0, 0));
    assert_eq!(bed.endpoint.counters().malformed, 1);
}

#[test]
fn an_ack_that_cannot_be_read_is_never_answered() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("ACK", "z9hG4bKa").replace("CSeq: 1 ACK", "CSeq: x"));
    assert_eq!(bed.actions(), []);
}

#[test]
fn without_room_a_request_gets_503_with_a_time_to_come_again() {
    let mut bed = Bed::with(EndpointOptions { server_transactions_max: 1, ..options() });
    bed.datagram(&incoming_by("UDP", "INVITE", "z9hG4bKa", "1"));
    bed.incoming();
    bed.datagram(&incoming_by("UDP", "INVITE", "z9hG4bKb", "2"));
    let answer = bed.response();
    assert_eq!((answer.status.code(), answer.headers.retry_after_secs()), (503, Some(5)));
    bed.datagram(&incoming_by("UDP", "ACK", "z9hG4bKb", "2"));
    assert_eq!(bed.endpoint.transactions(), (1, 0));
}

#[test]
fn one_source_cannot_take_all_the_room() {
    let mut bed = Bed::with(EndpointOptions { server_transactions_per_source_max: 1, ..options() });
    bed.datagram(&incoming_by("UDP", "INVITE", "z9hG4bKa", "1"));
    bed.incoming();
    bed.datagram(&incoming_by("UDP", "INVITE", "z9hG4bKb", "2"));
    assert_eq!(bed.status(), 503);
    let other = incoming_by("UDP", "INVITE", "z9hG4bKc", "3");
    bed.endpoint.handle_datagram(address(LOCAL), address("192.0.2.10:5060"), other.as_bytes(), bed.now);
    bed.incoming();
}

#[test]
fn a_request_nobody_answers_does_not_stay() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("OPTIONS", "z9hG4bKa"));
    let tx = bed.incoming();
    bed.wait(32_000);
    assert_eq!(bed.status(), 500);
    assert_eq!(bed.event(), Event::Abandoned { tx, cause: FailCause::Timeout });
    assert_eq!(bed.endpoint.transactions(), (0, 0));
}

#[test]
fn a_response_copies_what_it_must_and_the_tag_is_one_for_all() {
    let mut bed = Bed::new();
    bed.datagram(
        &incoming("INVITE", "z9hG4bKa")
            .replace("Max-Forwards", "Record-Route: <sip:p.example.test;lr>\r\nTimestamp: 3\r\nMax-Forwards"),
    );
    let tx = bed.incoming();
    bed.wait(200);
    let trying = bed.response();
    assert_eq!((trying.headers.to_tag(), trying.headers.value("Timestamp")), (None, Some("3")));
    bed.answer(tx, 180);
    let ringing = bed.response();
    bed.answer(tx, 200);
    let ok = bed.response();
    assert_eq!(ringing.headers.to_tag(), ok.headers.to_tag());
    assert!(ok.headers.to_tag().is_some());
    assert_eq!(ok.headers.value("Record-Route"), Some("<sip:p.example.test;lr>"));
    assert_eq!(ok.headers.call_id(), Ok("1"));
}
