//! Reliable provisional responses (RFC 3262).

use std::time::Duration;

use postern_sip::user_agent_io::EndCause;
use postern_sip::{CallEvent, CallHandle, HeaderName, Method, StatusCode};

use crate::room::{A, B, Room, SECOND, invite, room, sdp, uri};

fn call_requiring_100rel(transport: &str, offer: bool) -> (Room, CallHandle, CallHandle) {
    let mut room = room(2);
    let mut call = invite(uri(B, transport));
    call.headers.push((HeaderName::Require, "100rel".into()));
    if !offer {
        call.offer = None;
    }
    let (out, incoming) = room.call_as(call);
    (room, out, incoming)
}

#[test]
fn a_caller_that_requires_it_gets_ringing_reliably_and_acknowledges_it() {
    let (mut room, _, incoming) = call_requiring_100rel("udp", true);
    let now = room.net.now;
    room.agent(B).ring(incoming, now).unwrap();
    room.run(SECOND * 3);
    let ringing = room.responses(B, StatusCode::RINGING);
    assert_eq!(ringing.len(), 1, "acknowledged, so not repeated");
    assert!(ringing[0].headers.required().contains(&"100rel") && ringing[0].headers.rseq().unwrap().is_some());
    let prack = room.requests(A, Method::Prack).pop().unwrap();
    let rack = prack.headers.rack().unwrap().unwrap();
    assert_eq!(Some(rack.rseq), ringing[0].headers.rseq().unwrap());
    assert_eq!((rack.cseq.number, rack.cseq.method), (1, Method::Invite));
}

#[test]
fn several_go_out_one_after_the_other_in_order() {
    let (mut room, _, incoming) = call_requiring_100rel("tcp", true);
    let now = room.net.now;
    room.agent(B).ring(incoming, now).unwrap();
    room.agent(B).progress(incoming, StatusCode::SESSION_PROGRESS, Some(&sdp("sendrecv")), now).unwrap();
    assert_eq!(room.responses(B, StatusCode::SESSION_PROGRESS).len(), 0, "the first is not acknowledged yet");
    room.run(SECOND);
    let first = room.responses(B, StatusCode::RINGING)[0].headers.rseq().unwrap().unwrap();
    let second = room.responses(B, StatusCode::SESSION_PROGRESS)[0].headers.rseq().unwrap().unwrap();
    assert_eq!(second, first + 1);
    assert_eq!(room.requests(A, Method::Prack).len(), 2);
}

#[test]
fn the_200_waits_for_the_acknowledgement_of_a_description_and_leaves_it_out() {
    let (mut room, out, incoming) = call_requiring_100rel("tcp", true);
    let now = room.net.now;
    room.agent(B).progress(incoming, StatusCode::SESSION_PROGRESS, Some(&sdp("sendrecv")), now).unwrap();
    room.agent(B).answer(incoming, &sdp("sendrecv"), now).unwrap();
    assert!(room.responses(B, StatusCode::OK).is_empty());
    room.run(SECOND);
    let ok = room.responses(B, StatusCode::OK);
    let ok = ok.iter().find(|ok| ok.headers.cseq().unwrap().method == Method::Invite).unwrap();
    assert!(ok.body.is_empty());
    let heard = room.events(A);
    assert!(
        matches!(heard.as_slice(), [
        CallEvent::Answer { .. },
        CallEvent::Progress { .. },
        CallEvent::Answered { call }
    ] if *call == out),
        "{heard:?}"
    );
}

#[test]
fn a_delayed_offer_may_go_by_a_reliable_183() {
    let (mut room, _, incoming) = call_requiring_100rel("tcp", false);
    let now = room.net.now;
    room.agent(B).progress(incoming, StatusCode::SESSION_PROGRESS, Some(&sdp("sendrecv")), now).unwrap();
    room.run(Duration::from_millis(100));
    assert!(!room.responses(B, StatusCode::SESSION_PROGRESS)[0].body.is_empty());
}

#[test]
fn an_offer_never_goes_by_a_183_that_nobody_acknowledges() {
    let mut room = room(2);
    room.throw(
        B,
        "INVITE sip:7000@10.0.0.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\nFrom: <sip:x@example.test>;tag=1\n\
         To: <sip:7000@10.0.0.2>\nCall-ID: 1@x\nCSeq: 1 INVITE\nContact: <sip:x@192.0.2.9>\nContent-Length: 0\n\n",
    );
    let heard = room.events(B);
    let [CallEvent::Incoming { call, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    let now = room.net.now;
    room.agent(B).progress(*call, StatusCode::SESSION_PROGRESS, Some(&sdp("sendrecv")), now).unwrap();
    room.run(SECOND);
    let progress = room.responses(B, StatusCode::SESSION_PROGRESS).pop().unwrap();
    assert!(progress.body.is_empty() && !progress.headers.contains(HeaderName::RSeq));
}

#[test]
fn it_is_repeated_until_acknowledged_and_after_32_seconds_the_call_is_refused() {
    let (mut room, _, incoming) = call_requiring_100rel("tcp", true);
    room.net.dead.push(A);
    let now = room.net.now;
    room.agent(B).ring(incoming, now).unwrap();
    room.run(Duration::from_secs(31));
    assert_eq!(room.responses(B, StatusCode::RINGING).len(), 6, "at 0, 0.5, 1.5, 3.5, 7.5 and 15.5 s");
    room.run(SECOND * 2);
    assert_eq!(room.end(B), Some(EndCause::NoPrack));
    assert!(!room.responses(B, StatusCode::SERVER_TIMEOUT).is_empty());
}

#[test]
fn a_prack_that_names_nothing_is_answered_481() {
    let (mut room, out, incoming) = call_requiring_100rel("tcp", true);
    let now = room.net.now;
    room.agent(B).ring(incoming, now).unwrap();
    room.run(SECOND);
    let prack = room.requests(A, Method::Prack).pop().unwrap();
    let text = String::from_utf8(prack.encode()).unwrap();
    let again = text.replace("2 PRACK", "3 PRACK").replace("branch=z9hG4bK", "branch=z9hG4bKx").replace("\r\n", "\n");
    assert_eq!(room.status_of(B, &again).status, StatusCode::CALL_DOES_NOT_EXIST);
    assert!(room.end(A).is_none(), "{out:?}");
}
