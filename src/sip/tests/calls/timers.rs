//! Session timers (RFC 4028).

use postern_sip::fields::Refresher;
use postern_sip::user_agent_io::EndCause;
use postern_sip::{CallEvent, HeaderName, Method, Request, StatusCode};

use crate::room::{A, B, Room, SECOND, room, room_with, sdp};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// A stranger's INVITE with these header lines, answered and acknowledged; the 200.
fn answered(room: &mut Room, lines: &str) -> postern_sip::Response {
    let asked = format!(
        "INVITE sip:7000@10.0.0.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\nFrom: <sip:x@example.test>;tag=1\n\
         To: <sip:7000@10.0.0.2>\nCall-ID: 1@x\nCSeq: 1 INVITE\nContact: <sip:x@192.0.2.9>\n{lines}\
         Content-Type: application/sdp\nContent-Length: {}\n\n{SDP}",
        SDP.len()
    );
    room.throw(B, &asked);
    let Some(CallEvent::Incoming { call, .. }) = room.events(B).pop() else { panic!() };
    let now = room.net.now;
    room.agent(B).answer(call, &sdp("sendrecv"), now).unwrap();
    room.net.flush(B);
    let ok = room.responses(B, StatusCode::OK).pop().unwrap();
    let (head, _) = asked.split_once("Content-Type").unwrap();
    let ack = head.replace("1 INVITE", "1 ACK").replace("INVITE sip", "ACK sip").replace("bK1", "bK2");
    let ack = ack.replace("To: <sip:7000@10.0.0.2>", &format!("To: {}", ok.headers.value(HeaderName::To).unwrap()));
    room.throw(B, &format!("{ack}Content-Length: 0\n\n"));
    room.events(B);
    ok
}

fn agreed(ok: &postern_sip::Response) -> Option<(u32, Refresher)> {
    ok.headers.session_expires().unwrap().map(|expires| (expires.secs, expires.refresher.unwrap()))
}

#[test]
fn the_200_agrees_on_interval_and_refresher() {
    for (asked, secs, refresher, required) in [
        ("Supported: timer\nSession-Expires: 600;refresher=uac\n", 600, Refresher::Uac, true),
        ("Supported: timer\nSession-Expires: 600;refresher=uas\n", 600, Refresher::Uas, false),
        ("Supported: timer\nx: 600\n", 600, Refresher::Uac, true),
        ("Require: timer\nSession-Expires: 90;refresher=uac\n", 90, Refresher::Uac, true),
        ("Supported: timer\nSession-Expires: 7200;refresher=uac\n", 1800, Refresher::Uac, true),
        ("Supported: timer\nSession-Expires: 7200;refresher=uac\nMin-SE: 3600\n", 3600, Refresher::Uac, true),
        ("Supported: timer\n", 1800, Refresher::Uac, true),
        // Nobody there who would refresh: we do.
        ("", 1800, Refresher::Uas, false),
        ("Session-Expires: 600\n", 600, Refresher::Uas, false),
        ("Session-Expires: 60\n", 90, Refresher::Uas, false),
    ] {
        let ok = answered(&mut room(2), asked);
        assert_eq!(agreed(&ok), Some((secs, refresher)), "{asked}");
        assert_eq!(ok.headers.required().contains(&"timer"), required, "{asked}");
    }
}

#[test]
fn an_interval_below_ours_is_answered_422_with_min_se() {
    let mut room = room(2);
    let asked = "INVITE sip:7000@10.0.0.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\n\
        From: <sip:x@example.test>;tag=1\nTo: <sip:7000@10.0.0.2>\nCall-ID: 1@x\nCSeq: 1 INVITE\n\
        Contact: <sip:x@192.0.2.9>\nSupported: timer\nSession-Expires: 60\nContent-Length: 0\n\n";
    let answer = room.status_of(B, asked);
    assert_eq!(answer.status, StatusCode::SESSION_INTERVAL_TOO_SMALL);
    assert_eq!(answer.headers.min_se_secs().unwrap(), Some(90));
    assert!(room.events(B).is_empty());
}

#[test]
fn a_peer_that_does_not_refresh_is_hung_up_a_little_before_the_end() {
    let mut room = room(2);
    answered(&mut room, "Supported: timer\nSession-Expires: 90;refresher=uac\n");
    // A third of the interval early, at most 32 s.
    room.run(SECOND * 59);
    assert_eq!(room.end(B), None);
    room.run(SECOND * 2);
    assert_eq!(room.end(B), Some(EndCause::Expired));
    assert!(!room.requests(B, Method::Bye).is_empty());
}

#[test]
fn two_of_ours_keep_a_call_alive_by_update() {
    let mut room = room_with(2, |_, options| options.timer.session_expires_secs = Some(90));
    room.talk("tcp");
    room.run(SECOND * 1000);
    assert_eq!((room.end(A), room.end(B)), (None, None));
    let updates = room.requests(A, Method::Update).len();
    assert!((20..=23).contains(&updates), "every 45 s: {updates}");
    assert!(room.requests(B, Method::Update).is_empty());
}

#[test]
fn a_peer_without_update_is_refreshed_by_an_offer_of_the_role() {
    let mut room = room(2);
    answered(&mut room, "Session-Expires: 90\nAllow: INVITE, ACK, BYE\n");
    room.run(SECOND * 44);
    assert!(room.events(B).is_empty());
    room.run(SECOND * 2);
    let heard = room.events(B);
    let [CallEvent::OfferDue { call }] = heard.as_slice() else { panic!("{heard:?}") };
    let call = *call;
    let now = room.net.now;
    room.agent(B).reoffer(call, &sdp("sendrecv"), now).unwrap();
    room.net.flush(B);
    let reinvite: Request = room.requests(B, Method::Invite).pop().unwrap();
    let expires = reinvite.headers.session_expires().unwrap().unwrap();
    assert_eq!((expires.secs, expires.refresher), (90, Some(Refresher::Uac)));
    // The peer agrees: another interval begins.
    let mut ok = reinvite.response(StatusCode::OK, None);
    ok.headers.push(HeaderName::SessionExpires, "90;refresher=uac");
    ok.set_body("application/sdp", SDP);
    room.throw(B, &String::from_utf8(ok.encode()).unwrap());
    let heard = room.events(B);
    assert!(matches!(heard.as_slice(), [CallEvent::Answer { .. }]), "{heard:?}");
    room.run(SECOND * 44);
    assert_eq!(room.end(B), None);
    room.run(SECOND * 20);
    assert_eq!(room.end(B), Some(EndCause::Expired), "the role did nothing the second time");
}

#[test]
fn a_refresh_that_nobody_answers_ends_the_call() {
    let mut room = room_with(2, |_, options| options.timer.session_expires_secs = Some(90));
    room.talk("udp");
    room.net.dead.extend([A, B]);
    room.run(SECOND * 90);
    let end = room.end(A);
    assert!(matches!(end, Some(EndCause::Forgotten | EndCause::Expired)), "{end:?}");
    assert_eq!(room.end(B), Some(EndCause::Expired));
}
