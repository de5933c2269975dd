//! Requests that are refused, or answered without a call.

use std::time::Duration;

use postern_sip::user_agent_options::Availability;
use postern_sip::{CallEvent, HeaderName, Method, StatusCode, Target, Uri};

use crate::room::{A, B, SECOND, invite, room, room_with, uri};

/// A request of a stranger; `lines` come before the end of its head.
fn request(method: &str, lines: &str, body: &str) -> String {
    format!(
        "{method} sip:7000@10.0.0.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{method}{}\nMax-Forwards: 70\n\
         From: <sip:x@example.test>;tag=1\nTo: <sip:7000@10.0.0.2>\nCall-ID: {method}@x\nCSeq: 1 {method}\n\
         Contact: <sip:x@192.0.2.9>\n{lines}Content-Length: {}\n\n{body}",
        lines.len(),
        body.len()
    )
}

#[test]
fn options_says_what_we_can_do_with_or_without_a_user_and_at_zero_hops() {
    let mut room = room(2);
    let asked = request("OPTIONS", "", "").replace("Max-Forwards: 70", "Max-Forwards: 0").replace("sip:7000@", "sip:");
    let answer = room.status_of(B, &asked);
    assert_eq!(answer.status, StatusCode::OK);
    let allowed = answer.headers.allowed().unwrap();
    for method in ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "UPDATE", "PRACK", "REFER", "NOTIFY"] {
        assert!(allowed.contains(&method), "{method}");
    }
    assert!(answer.headers.value("Accept").unwrap().contains("application/sdp"));
    assert!(answer.headers.supports("timer"));
}

#[test]
fn options_is_answered_503_with_retry_after_while_unavailable() {
    let mut room = room(2);
    let header = (HeaderName::from("X-Slot"), "B".to_string());
    room.agent(B).set_availability(Availability::Unavailable { retry_after_secs: 3 }, vec![header]);
    let answer = room.status_of(B, &request("OPTIONS", "", ""));
    assert_eq!((answer.status, answer.headers.retry_after_secs()), (StatusCode::SERVICE_UNAVAILABLE, Some(3)));
    assert_eq!(answer.headers.value("X-Slot"), Some("B"));
    room.agent(B).set_availability(Availability::Ready, Vec::new());
    assert_eq!(room.status_of(B, &request("OPTIONS", "X: 1\n", "")).status, StatusCode::OK);
}

#[test]
fn each_kind_of_request_that_no_call_knows_has_its_status() {
    let mut room = room(2);
    for (method, status) in [
        ("MESSAGE", 405),
        ("SUBSCRIBE", 405),
        ("PUBLISH", 405),
        ("REGISTER", 405),
        ("REFER", 403),
        ("BYE", 481),
        ("UPDATE", 481),
        ("INFO", 481),
        ("NOTIFY", 481),
        ("PRACK", 481),
        ("BREW", 501),
    ] {
        let answer = room.status_of(B, &request(method, "", ""));
        assert_eq!(answer.status.code(), status, "{method}");
        assert_eq!(answer.headers.contains("Allow"), status == 405);
    }
    for method in ["INVITE", "OPTIONS", "BYE"] {
        let stray =
            request(method, "X: tagged\n", "").replace("To: <sip:7000@10.0.0.2>", "To: <sip:7000@10.0.0.2>;tag=stray");
        assert_eq!(room.status_of(B, &stray).status, StatusCode::CALL_DOES_NOT_EXIST, "{method}");
    }
}

#[test]
fn an_extension_that_is_required_and_unknown_is_named_in_the_420() {
    let mut room = room(2);
    let answer = room.status_of(B, &request("INVITE", "Require: timer, replaces, 100rel, teapot\n", ""));
    assert_eq!(answer.status, StatusCode::BAD_EXTENSION);
    assert_eq!(answer.headers.value("Unsupported"), Some("replaces, teapot"));
}

#[test]
fn bodies_that_cannot_be_used_are_told_apart() {
    let mut room = room(2);
    let answer = room.status_of(B, &request("INVITE", "Content-Type: application/isup\n", "xx"));
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(answer.headers.value("Accept").unwrap().contains("application/sdp"));
    let answer = room.status_of(B, &request("INVITE", "Content-Type: application/sdp\nX: 1\n", "m=audio"));
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(room.events(B).is_empty());
}

#[test]
fn an_invite_without_contact_or_with_an_unknown_scheme_is_refused() {
    let mut room = room(2);
    let bare = request("INVITE", "", "").replace("Contact: <sip:x@192.0.2.9>\n", "");
    assert_eq!(room.status_of(B, &bare).status, StatusCode::BAD_REQUEST);
    let odd = request("INVITE", "X: 1\n", "").replace("INVITE sip:7000@10.0.0.2", "INVITE im:7000@10.0.0.2");
    assert_eq!(room.status_of(B, &odd).status, StatusCode::UNSUPPORTED_URI_SCHEME);
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

fn offered_by(lines: &str, body: &str) -> Option<u16> {
    let mut room = room(2);
    room.throw(B, &request("INVITE", lines, body));
    room.events(B).into_iter().find_map(|event| match event {
        CallEvent::Incoming { offer, .. } => Some(offer.map_or(0, |offer| offer.media[0].port)),
        _ => None,
    })
}

#[test]
fn an_offer_is_found_alone_among_parts_and_without_a_type() {
    assert_eq!(offered_by("Content-Type: application/sdp\n", SDP), Some(4000));
    assert_eq!(offered_by("c: Application/SDP;charset=utf-8\n", SDP), Some(4000));
    assert_eq!(offered_by("", SDP), Some(4000));
    assert_eq!(offered_by("", ""), Some(0));
    let mixed = format!(
        "--b1\r\nContent-Type: application/pidf+xml\r\n\r\n<p/>\r\n--b1\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--b1--\r\n"
    );
    assert_eq!(offered_by("Content-Type: multipart/mixed;boundary=b1\n", &mixed), Some(4000));
    let unusable = "--b1\r\nContent-Type: application/isup\r\n\r\nx\r\n--b1--\r\n";
    assert_eq!(offered_by("Content-Type: multipart/mixed;boundary=b1\n", unusable), None);
    assert_eq!(offered_by("Content-Type: x/y\nContent-Disposition: render;handling=optional\n", "z"), Some(0));
}

#[test]
fn of_lync_s_two_alternatives_the_one_not_made_for_its_elders_counts() {
    let part = |disposition: &str, port: u16| {
        let sdp = SDP.replace("4000", &port.to_string());
        format!("--b1\r\nContent-Type: application/sdp\r\n{disposition}\r\n{sdp}\r\n")
    };
    let old = part("Content-Disposition: session; handling=optional; ms-proxy-2007fallback\r\n", 1111);
    let new = part("", 2222);
    for body in [format!("{old}{new}--b1--"), format!("{new}{old}--b1--")] {
        assert_eq!(offered_by("Content-Type: multipart/alternative;boundary=b1\n", &body), Some(2222));
    }
}

#[test]
fn a_request_that_came_by_two_ways_is_answered_482() {
    let mut room = room(2);
    room.throw(B, &request("INVITE", "", ""));
    let other = request("INVITE", "", "").replace("branch=z9hG4bKINVITE", "branch=z9hG4bKother");
    assert_eq!(room.status_of(B, &other).status, StatusCode::LOOP_DETECTED);
}

#[test]
fn methods_that_the_role_wants_are_passed_up() {
    let mut room = room_with(2, |_, options| options.passed_up = vec![Method::Options, Method::Service]);
    assert!(room.throw(B, &request("OPTIONS", "", "")).is_empty());
    let heard = room.events(B);
    let [CallEvent::Request { tx, request: asked, source }] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((asked.method.clone(), source.remote.ip()), (Method::Options, "192.0.2.9".parse().unwrap()));
    let now = room.net.now;
    room.agent(B).respond(*tx, StatusCode::FORBIDDEN, &[(HeaderName::Warning, "399 x \"no\"".into())], None, now);
    room.run(SECOND);
    assert_eq!(room.responses(B, StatusCode::FORBIDDEN).len(), 1);
}

fn ping(room: &mut crate::room::Room, target: &str) -> Result<(u16, Duration), Duration> {
    let Some(Uri::Sip(uri)) = Uri::parse(target) else { panic!() };
    let now = room.net.now;
    let sent = room.agent(A).ping(Target::new(uri).answered_within(SECOND * 4), &[], now).unwrap();
    room.run(SECOND * 10);
    room.events(A)
        .into_iter()
        .find_map(|event| match event {
            CallEvent::Pong { ping, outcome } if ping == sent => {
                Some(outcome.map(|pong| (pong.response.status.code(), pong.round_trip)).map_err(|fault| fault.after))
            }
            _ => None,
        })
        .unwrap()
}

#[test]
fn a_ping_tells_status_and_time_or_why_not() {
    let mut room = room(2);
    room.net.weather.latency_ms = 20;
    // One way to connect, one for its answer, one each for request and response.
    assert_eq!(ping(&mut room, "sip:10.0.0.2;transport=tcp"), Ok((200, Duration::from_millis(80))));
    assert_eq!(ping(&mut room, "sip:10.0.0.2;transport=tcp"), Ok((200, Duration::from_millis(40))));
    room.agent(B).set_availability(Availability::Unavailable { retry_after_secs: 1 }, Vec::new());
    assert_eq!(ping(&mut room, "sip:10.0.0.2;transport=tcp").unwrap().0, 503);
    // Nobody listens there: known at once.
    assert!(ping(&mut room, "sip:10.0.0.7;transport=tcp").unwrap_err() < SECOND);
    // Hung: known after what was given.
    room.net.dead.push(B);
    let after = ping(&mut room, "sip:10.0.0.2;transport=udp").unwrap_err();
    assert!(after >= SECOND * 4 && after < SECOND * 5, "{after:?}");
}

#[test]
fn a_caller_beyond_the_limit_gets_503_and_may_come_again_in_seconds() {
    let mut room = room_with(2, |party, options| options.calls_max = if party == B { 1 } else { 9 });
    room.talk("tcp");
    let mut other = invite(uri(B, "tcp"));
    other.from = crate::room::name("<sip:1002@example.test>");
    let now = room.net.now;
    room.agent(A).invite(other, now).unwrap();
    room.run(SECOND);
    let answer = room.responses(B, StatusCode::SERVICE_UNAVAILABLE).pop().unwrap();
    assert!(answer.headers.retry_after_secs().unwrap() <= 5);
}
