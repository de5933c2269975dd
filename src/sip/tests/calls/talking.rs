//! Within a call: re-INVITE, UPDATE, hold, glare, INFO, REFER.

use std::time::Duration;

use postern_sip::sdp_media::Direction;
use postern_sip::user_agent_io::{CommandError, Digit, EndCause, TransferProgress};
use postern_sip::{CallEvent, CallHandle, HeaderName, Method, Request, StatusCode};

use crate::room::{A, B, Room, SECOND, local, name, negotiation, parsed, room, sdp};

/// A datagram's text of a request that A might send in the call it made by UDP.
fn within(room: &Room, method: &str, cseq: u32, lines: &str, body: &str) -> String {
    let invite = &room.requests(A, Method::Invite)[0];
    let ok = room.responses(B, StatusCode::OK).into_iter().find(|ok| !ok.body.is_empty()).unwrap();
    let of = |headers: &postern_sip::Headers, name: HeaderName| headers.value(name).unwrap().to_string();
    format!(
        "{method} sip:7000@10.0.0.2;transport=udp SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{method}{cseq}\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: {}\nCSeq: {cseq} {method}\nContact: <sip:new@192.0.2.9:5070>\n\
         {lines}Content-Length: {}\n\n{body}",
        of(&invite.headers, HeaderName::From),
        of(&ok.headers, HeaderName::To),
        of(&invite.headers, HeaderName::CallId),
        body.len()
    )
}

fn offers(room: &mut Room, party: usize) -> usize {
    room.events(party).iter().filter(|event| matches!(event, CallEvent::Offer { .. })).count()
}

#[test]
fn a_reoffer_is_answered_and_acknowledged() {
    let mut room = room(2);
    let (out, incoming) = room.talk("tcp");
    let now = room.net.now;
    room.agent(A).reoffer(out, &sdp("sendonly"), now).unwrap();
    assert_eq!(room.agent(A).reoffer(out, &sdp("sendonly"), now), Err(CommandError::OfferUnderWay));
    room.run(SECOND);
    let heard = room.events(B);
    let [CallEvent::Offer { offer, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    let mut ours = negotiation(B);
    let (media, answer) = ours.answer(offer, &local(B, Direction::SendRecv)).unwrap();
    assert!(media.is_on_hold());
    let now = room.net.now;
    room.agent(B).answer_offer(incoming, &answer, now).unwrap();
    room.run(SECOND);
    let heard = room.events(A);
    let [CallEvent::Answer { answer, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(answer.media[0].direction, Some(Direction::RecvOnly));
    assert_eq!(room.requests(A, Method::Ack).len(), 2);
    assert!(room.events(B).is_empty(), "Established is told once");
    room.run(SECOND * 40);
    assert_eq!(room.end(B), None);
}

#[test]
fn a_reoffer_refused_leaves_the_call_as_it_was() {
    let mut room = room(2);
    let (out, incoming) = room.talk("tcp");
    let now = room.net.now;
    room.agent(A).reoffer(out, &sdp("sendrecv"), now).unwrap();
    room.run(SECOND);
    let now = room.net.now;
    room.agent(B).refuse_offer(incoming, &[(HeaderName::Warning, "305 x \"no codec\"".into())], now).unwrap();
    room.run(SECOND);
    let heard = room.events(A);
    assert!(
        matches!(heard.as_slice(), [CallEvent::OfferRefused { status: StatusCode::NOT_ACCEPTABLE_HERE, .. }]),
        "{heard:?}"
    );
    let now = room.net.now;
    room.agent(A).reoffer(out, &sdp("sendrecv"), now).unwrap();
}

#[test]
fn a_reoffer_that_the_role_leaves_lying_is_refused_after_ten_seconds() {
    let mut room = room(2);
    let (out, _) = room.talk("tcp");
    let now = room.net.now;
    room.agent(A).reoffer(out, &sdp("sendrecv"), now).unwrap();
    room.run(SECOND * 11);
    assert!(room.events(A).iter().any(|event| matches!(event, CallEvent::OfferRefused { .. })));
    assert_eq!(room.agent(B).calls(), 1);
}

#[test]
fn a_reinvite_without_a_description_gets_our_offer_and_brings_the_answer_in_its_ack() {
    let mut room = room(2);
    let (_, incoming) = room.talk("udp");
    let reinvite = within(&room, "INVITE", 2, "", "");
    room.throw(B, &reinvite);
    let heard = room.events(B);
    assert!(matches!(heard.as_slice(), [CallEvent::OfferWanted { call }] if *call == incoming), "{heard:?}");
    let now = room.net.now;
    room.agent(B).answer_offer(incoming, &sdp("sendrecv"), now).unwrap();
    let now = room.net.now;
    assert_eq!(room.agent(B).reoffer(incoming, &sdp("sendrecv"), now), Err(CommandError::OfferUnderWay));
    room.run(Duration::from_millis(10));
    let ack = within(&room, "ACK", 2, "Content-Type: application/sdp\n", &sdp("inactive"));
    room.throw(B, &ack);
    let heard = room.events(B);
    let [CallEvent::Answer { answer, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(answer.media[0].direction, Some(Direction::Inactive));
}

#[test]
fn offers_of_both_sides_at_once_are_refused_491_and_repeated_at_different_times() {
    let mut room = room(2);
    let (out, incoming) = room.talk("tcp");
    let now = room.net.now;
    room.agent(A).reoffer(out, &sdp("sendonly"), now).unwrap();
    room.agent(B).reoffer(incoming, &sdp("sendonly"), now).unwrap();
    room.run(Duration::from_millis(50));
    for party in [A, B] {
        assert_eq!(room.responses(party, StatusCode::REQUEST_PENDING).len(), 1);
        let heard = room.events(party);
        assert!(
            matches!(heard.as_slice(), [CallEvent::OfferRefused { status: StatusCode::REQUEST_PENDING, .. }]),
            "{heard:?}"
        );
    }
    room.run(Duration::from_millis(2_010));
    assert!(matches!(room.events(B).as_slice(), [CallEvent::OfferDue { .. }]), "the called side within 2 s");
    assert!(room.events(A).is_empty(), "the caller after 2.1 s");
    room.run(Duration::from_millis(2_000));
    assert!(matches!(room.events(A).as_slice(), [CallEvent::OfferDue { .. }]), "and within 4 s");
}

#[test]
fn a_second_offer_before_the_first_is_answered_gets_500_with_retry_after() {
    let mut room = room(2);
    room.talk("udp");
    let first = within(&room, "INVITE", 2, "Content-Type: application/sdp\n", &sdp("sendonly"));
    room.throw(B, &first);
    let second = within(&room, "UPDATE", 3, "Content-Type: application/sdp\n", &sdp("sendrecv"));
    let answer = room.status_of(B, &second);
    assert_eq!(answer.status, StatusCode::SERVER_INTERNAL_ERROR);
    assert!(answer.headers.retry_after_secs().unwrap() <= 10);
    assert_eq!(offers(&mut room, B), 1);
}

#[test]
fn an_update_offers_like_a_reinvite_and_needs_no_ack() {
    let mut room = room(2);
    let (_, incoming) = room.talk("udp");
    let update = within(&room, "UPDATE", 2, "Content-Type: application/sdp\n", &sdp("inactive"));
    room.throw(B, &update);
    assert_eq!(offers(&mut room, B), 1);
    let now = room.net.now;
    room.agent(B).answer_offer(incoming, &sdp("inactive"), now).unwrap();
    room.net.flush(B);
    let answer = room.responses(B, StatusCode::OK).pop().unwrap();
    assert_eq!(answer.headers.cseq().unwrap().method, Method::Update);
    assert!(!answer.body.is_empty());
    room.run(SECOND * 40);
    assert_eq!(room.end(B), None);
}

#[test]
fn an_update_without_a_description_moves_the_target() {
    let mut room = room(2);
    let (_, incoming) = room.talk("udp");
    let update = within(&room, "UPDATE", 2, "", "");
    assert_eq!(room.status_of(B, &update).status, StatusCode::OK);
    let now = room.net.now;
    room.agent(B).hang_up(incoming, None, now).unwrap();
    room.run(Duration::from_millis(10));
    assert_eq!(room.requests(B, Method::Bye)[0].uri.to_string(), "sip:new@192.0.2.9:5070");
}

#[test]
fn a_request_out_of_order_gets_500() {
    let mut room = room(2);
    room.talk("udp");
    let info = within(&room, "INFO", 5, "", "");
    assert_eq!(room.status_of(B, &info).status, StatusCode::OK);
    let late = within(&room, "INFO", 4, "", "");
    assert_eq!(room.status_of(B, &late).status, StatusCode::SERVER_INTERNAL_ERROR);
}

#[test]
fn a_cancelled_reinvite_withdraws_its_offer_and_the_call_goes_on() {
    let mut room = room(2);
    let (_, incoming) = room.talk("udp");
    let reinvite = within(&room, "INVITE", 2, "Content-Type: application/sdp\n", &sdp("sendonly"));
    room.throw(B, &reinvite);
    room.events(B);
    let cancel = within(&room, "CANCEL", 2, "", "").replace("branch=z9hG4bKCANCEL2", "branch=z9hG4bKINVITE2");
    room.throw(B, &cancel);
    assert_eq!(room.responses(B, StatusCode::REQUEST_TERMINATED).len(), 1);
    assert!(matches!(room.events(B).as_slice(), [CallEvent::OfferWithdrawn { .. }]));
    let now = room.net.now;
    assert_eq!(room.agent(B).answer_offer(incoming, &sdp("sendrecv"), now), Err(CommandError::WrongState));
    assert_eq!(room.agent(B).calls(), 1);
}

#[test]
fn a_bye_answers_what_else_is_pending_with_487() {
    let mut room = room(2);
    room.talk("udp");
    let reinvite = within(&room, "INVITE", 2, "Content-Type: application/sdp\n", &sdp("sendonly"));
    room.throw(B, &reinvite);
    let bye = within(&room, "BYE", 3, "", "");
    room.throw(B, &bye);
    assert_eq!(room.responses(B, StatusCode::REQUEST_TERMINATED).len(), 1);
    room.run(SECOND);
    assert_eq!(room.end(B), Some(EndCause::Peer));
}

#[test]
fn both_sides_hanging_up_at_once_end_cleanly() {
    let mut room = room(2);
    let (out, incoming) = room.talk("tcp");
    let now = room.net.now;
    room.agent(A).hang_up(out, None, now).unwrap();
    room.agent(B).hang_up(incoming, None, now).unwrap();
    room.run(SECOND);
    assert_eq!((room.end(A), room.end(B)), (Some(EndCause::Ours), Some(EndCause::Ours)));
    room.assert_empty();
}

fn digit_of(room: &mut Room, cseq: u32, kind: &str, body: &str) -> (u16, Option<(char, Option<u64>)>) {
    let info = within(room, "INFO", cseq, &format!("Content-Type: {kind}\n"), body);
    let status = room.status_of(B, &info).status.code();
    let digit = room.events(B).into_iter().find_map(|event| match event {
        CallEvent::Digit { digit: Digit(key), duration, .. } => {
            Some((key, duration.map(|duration| duration.as_millis() as u64)))
        }
        _ => None,
    });
    (status, digit)
}

#[test]
fn keys_come_by_info_in_both_forms() {
    let mut room = room(2);
    room.talk("udp");
    let relay = "application/dtmf-relay";
    assert_eq!(digit_of(&mut room, 2, relay, "Signal=5\r\nDuration=160\r\n"), (200, Some(('5', Some(160)))));
    assert_eq!(digit_of(&mut room, 3, relay, "Signal= #\nDuration= 250\n"), (200, Some(('#', Some(250)))));
    assert_eq!(digit_of(&mut room, 4, relay, "Signal=10\r\n"), (200, Some(('*', None))));
    assert_eq!(digit_of(&mut room, 5, "application/dtmf", "d"), (200, Some(('D', None))));
    assert_eq!(digit_of(&mut room, 6, "application/dtmf", "7\r\n"), (200, Some(('7', None))));
    assert_eq!(digit_of(&mut room, 7, relay, "Signal=16\r\n"), (200, None));
    assert_eq!(digit_of(&mut room, 8, relay, "Duration=160\r\n"), (400, None));
    assert_eq!(digit_of(&mut room, 9, relay, "Signal=55\r\n"), (400, None));
    assert_eq!(digit_of(&mut room, 10, "application/media_control+xml", "<x/>"), (415, None));
    assert_eq!(digit_of(&mut room, 11, "text/plain", ""), (200, None));
}

#[test]
fn a_digit_is_not_shown_by_debug() {
    assert!(!format!("{:?}", Digit('7')).contains('7'));
}

#[test]
fn info_travels_within_the_call() {
    let mut room = room(2);
    let (out, _) = room.talk("tcp");
    let now = room.net.now;
    room.agent(A).info(out, "application/dtmf-relay", "Signal=9\r\nDuration=100\r\n", now).unwrap();
    room.run(SECOND);
    assert!(matches!(room.events(B).as_slice(), [CallEvent::Digit { digit: Digit('9'), .. }]));
}

#[test]
fn a_refer_of_the_peer_is_declined_and_told() {
    let mut room = room(2);
    room.talk("udp");
    let refer = within(&room, "REFER", 2, "Refer-To: <sip:1003@example.test>\n", "");
    assert_eq!(room.status_of(B, &refer).status, StatusCode::DECLINE);
    let heard = room.events(B);
    let [CallEvent::TransferDeclined { refer_to, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(refer_to.uri.user().unwrap(), "1003");
    let bare = within(&room, "REFER", 3, "", "");
    assert_eq!(room.status_of(B, &bare).status, StatusCode::BAD_REQUEST);
}

/// B asks A's side, played by hand, to call 1003: the REFER that went out.
fn referred(room: &mut Room, incoming: CallHandle) -> Request {
    // Where A's user agent does not hear it.
    let update = within(room, "UPDATE", 2, "", "");
    room.throw(B, &update);
    let now = room.net.now;
    room.agent(B).refer(incoming, &name("<sip:1003@example.test>"), None, now).unwrap();
    room.net.flush(B);
    room.requests(B, Method::Refer).pop().unwrap()
}

fn answer_refer(room: &mut Room, refer: &Request, status: StatusCode) {
    let response = refer.response(status, None);
    let text = String::from_utf8(response.encode()).unwrap();
    room.throw(B, &text);
}

fn notify(room: &mut Room, cseq: u32, state: &str, fragment: &str) -> u16 {
    let lines = format!("Event: refer\nSubscription-State: {state}\nContent-Type: message/sipfrag;version=2.0\n");
    let notify = within(room, "NOTIFY", cseq, &lines, fragment);
    let sent = room.throw(B, &notify);
    sent.iter()
        .find_map(|message| match message {
            postern_sip::Message::Response(response) => Some(response.status.code()),
            _ => None,
        })
        .unwrap()
}

fn progress(room: &mut Room) -> Vec<TransferProgress> {
    let of = |event| match event {
        CallEvent::Transfer { progress, .. } => Some(progress),
        _ => None,
    };
    room.events(B).into_iter().filter_map(of).collect()
}

#[test]
fn a_transfer_is_followed_to_its_success_and_then_hung_up() {
    let mut room = room(2);
    let (_, incoming) = room.talk("udp");
    let refer = referred(&mut room, incoming);
    assert_eq!(refer.headers.refer_to().unwrap().unwrap().uri.user().unwrap(), "1003");
    assert!(refer.headers.referred_by().unwrap().is_some());
    // The first NOTIFY may overtake the 202.
    assert_eq!(notify(&mut room, 3, "active;expires=60", "SIP/2.0 100 Trying\r\n"), 200);
    answer_refer(&mut room, &refer, StatusCode::ACCEPTED);
    assert_eq!(notify(&mut room, 4, "active", "SIP/2.0 180 Ringing"), 200);
    assert_eq!(
        progress(&mut room),
        [
            TransferProgress::Provisional(StatusCode::TRYING),
            TransferProgress::Accepted,
            TransferProgress::Provisional(StatusCode::RINGING)
        ]
    );
    assert!(room.requests(B, Method::Bye).is_empty());
    assert_eq!(notify(&mut room, 5, "terminated;reason=noresource", "SIP/2.0 200 OK\r\n"), 200);
    let heard = room.events(B);
    assert!(
        matches!(
            heard.as_slice(),
            [
                CallEvent::Transfer { progress: TransferProgress::Succeeded, .. },
                CallEvent::Ended { cause: EndCause::Transferred, .. }
            ]
        ),
        "{heard:?}"
    );
    assert_eq!(room.requests(B, Method::Bye).len(), 1);
}

#[test]
fn a_transfer_that_fails_leaves_the_call_and_may_be_tried_again() {
    let mut room = room(2);
    let (_, incoming) = room.talk("udp");
    let refer = referred(&mut room, incoming);
    let now = room.net.now;
    let again = room.agent(B).refer(incoming, &name("<sip:1004@example.test>"), None, now);
    assert_eq!(again, Err(CommandError::WrongState));
    answer_refer(&mut room, &refer, StatusCode::OK);
    notify(&mut room, 3, "terminated", "SIP/2.0 486 Busy Here\r\n");
    assert_eq!(progress(&mut room), [TransferProgress::Accepted, TransferProgress::Failed(StatusCode::BUSY_HERE)]);
    assert_eq!(notify(&mut room, 4, "active", "SIP/2.0 100 Trying\r\n"), 489, "no subscription any more");
    let now = room.net.now;
    room.agent(B).refer(incoming, &name("<sip:1004@example.test>"), None, now).unwrap();
}

#[test]
fn a_refused_refer_is_told_with_its_status() {
    let mut room = room(2);
    let (_, incoming) = room.talk("udp");
    let refer = referred(&mut room, incoming);
    answer_refer(&mut room, &refer, StatusCode::DECLINE);
    assert_eq!(progress(&mut room), [TransferProgress::Failed(StatusCode::DECLINE)]);
    assert_eq!(room.agent(B).calls(), 1);
}

#[test]
fn a_peer_that_tells_nothing_of_its_transfer_is_given_up_on() {
    let mut room = room(2);
    let (_, incoming) = room.talk("udp");
    let refer = referred(&mut room, incoming);
    answer_refer(&mut room, &refer, StatusCode::ACCEPTED);
    room.run(SECOND * 181);
    assert_eq!(progress(&mut room), [TransferProgress::Accepted, TransferProgress::Unknown]);
}

#[test]
fn a_peer_whose_allow_lacks_refer_is_not_asked() {
    let mut room = room(2);
    let (_, incoming) = room.talk("udp");
    let info = within(&room, "INFO", 2, "Allow: INVITE, ACK, BYE\n", "");
    room.throw(B, &info);
    let now = room.net.now;
    let asked = room.agent(B).refer(incoming, &name("<sip:1003@example.test>"), None, now);
    assert_eq!(asked, Err(CommandError::NotAllowedByPeer));
}

#[test]
fn a_notify_for_no_transfer_of_ours_is_answered_489() {
    let mut room = room(2);
    room.talk("udp");
    assert_eq!(notify(&mut room, 2, "active", "SIP/2.0 100 Trying\r\n"), 489);
}

#[test]
fn a_call_that_the_peer_forgot_ends() {
    let mut room = room(2);
    let (_, incoming) = room.talk("udp");
    let update = within(&room, "UPDATE", 2, "", "");
    room.throw(B, &update);
    let now = room.net.now;
    room.agent(B).reoffer(incoming, &sdp("sendrecv"), now).unwrap();
    room.net.flush(B);
    let reinvite = room.requests(B, Method::Invite).pop().unwrap();
    answer_refer(&mut room, &reinvite, StatusCode::CALL_DOES_NOT_EXIST);
    assert_eq!(room.end(B), Some(EndCause::Forgotten));
}

#[test]
fn routes_recorded_on_the_way_are_used_and_strict_ones_as_they_want() {
    for (recorded, uri, routes) in [
        (
            "<sip:p2.example.test;lr>, <sip:p1.example.test;lr>",
            "sip:x@192.0.2.9",
            vec!["<sip:p2.example.test;lr>", "<sip:p1.example.test;lr>"],
        ),
        (
            "<sip:p2.example.test>, <sip:p1.example.test;lr>",
            "sip:p2.example.test",
            vec!["<sip:p1.example.test;lr>", "<sip:x@192.0.2.9>"],
        ),
    ] {
        let mut room = room(2);
        room.net.names.insert("p2.example.test".into(), "192.0.2.1".parse().unwrap());
        let asked = format!(
            "INVITE sip:7000@10.0.0.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\nFrom: <sip:x@example.test>;tag=1\n\
             To: <sip:7000@10.0.0.2>\nCall-ID: 1@x\nCSeq: 1 INVITE\nContact: <sip:x@192.0.2.9>\nRecord-Route: {recorded}\n\
             Content-Type: application/sdp\nContent-Length: {}\n\n{}",
            sdp("sendrecv").len(),
            sdp("sendrecv")
        );
        room.throw(B, &asked);
        let Some(CallEvent::Incoming { call, .. }) = room.events(B).pop() else { panic!() };
        let now = room.net.now;
        room.agent(B).answer(call, &sdp("sendrecv"), now).unwrap();
        room.run(Duration::from_millis(10));
        let ok = room.responses(B, StatusCode::OK).pop().unwrap();
        assert_eq!(ok.headers.value(HeaderName::RecordRoute), Some(recorded));
        let ack = asked.replace("1 INVITE", "1 ACK").replace("INVITE sip", "ACK sip").replace("bK1", "bK2");
        let ack = ack.replace("To: <sip:7000@10.0.0.2>", &format!("To: {}", ok.headers.value(HeaderName::To).unwrap()));
        room.throw(B, &ack);
        let now = room.net.now;
        room.agent(B).hang_up(call, None, now).unwrap();
        room.run(SECOND);
        let bye = room.requests(B, Method::Bye).pop().unwrap_or_else(|| panic!("{recorded}"));
        assert_eq!(bye.uri.to_string(), uri);
        assert_eq!(bye.headers.values(HeaderName::Route).collect::<Vec<_>>(), routes);
    }
}

#[test]
fn an_answer_is_read_as_it_was_written() {
    assert_eq!(parsed(&sdp("sendonly")).media[0].direction, Some(Direction::SendOnly));
}
