//! An incoming call, from INVITE to BYE.

use std::time::Duration;

use postern_sip::sdp_media::Direction;
use postern_sip::user_agent_io::{CommandError, EndCause};
use postern_sip::{CallEvent, HeaderName, Method, StatusCode};

use crate::room::{A, B, SECOND, invite, local, name, negotiation, parsed, room, sdp, uri};

#[test]
fn a_call_is_answered_talked_and_hung_up_over_each_transport() {
    for transport in ["tcp", "udp", "tls"] {
        let mut room = room(2);
        let target = if transport == "tls" {
            postern_sip::Uri::parse("sip:7000@party1.example.test;transport=tls").unwrap()
        } else {
            uri(B, transport)
        };
        let (out, incoming) = room.call_as(invite(target));
        room.answer(incoming);
        let now = room.net.now;
        room.agent(A).hang_up(out, None, now).unwrap();
        room.run(Duration::from_millis(100));
        assert_eq!(room.end(A), Some(EndCause::Ours));
        let heard = room.events(B);
        assert!(matches!(heard.as_slice(), [CallEvent::Bye { call, .. }] if *call == incoming), "{heard:?}");
        let now = room.net.now;
        room.agent(B).confirm_bye(incoming, now).unwrap();
        assert_eq!(room.end(B), Some(EndCause::Peer));
        room.assert_empty();
    }
}

#[test]
fn a_bye_waits_half_a_second_for_the_role_and_no_longer() {
    let mut room = room(2);
    let (out, incoming) = room.talk("tcp");
    let now = room.net.now;
    room.agent(A).hang_up(out, None, now).unwrap();
    room.run(Duration::from_millis(450));
    assert!(room.responses(B, StatusCode::OK).iter().all(|ok| ok.headers.cseq().unwrap().method != Method::Bye));
    assert_eq!(room.end(B), None);
    room.run(Duration::from_millis(100));
    assert_eq!(room.responses(B, StatusCode::OK).last().unwrap().headers.cseq().unwrap().method, Method::Bye);
    assert_eq!(room.end(B), Some(EndCause::Peer));
    let now = room.net.now;
    assert_eq!(room.agent(B).confirm_bye(incoming, now), Err(CommandError::NoSuchCall));
}

#[test]
fn the_called_side_hangs_up_too() {
    let mut room = room(2);
    let (_, incoming) = room.talk("tcp");
    let now = room.net.now;
    room.agent(B).hang_up(incoming, None, now).unwrap();
    room.run(SECOND);
    assert_eq!(room.end(A), Some(EndCause::Peer));
    assert_eq!(room.end(B), Some(EndCause::Ours));
    room.assert_empty();
}

#[test]
fn trying_comes_quickly_while_the_role_thinks() {
    let mut room = room(2);
    room.call("tcp");
    room.run(Duration::from_millis(300));
    assert_eq!(room.responses(B, StatusCode::TRYING).len(), 1);
}

#[test]
fn ringing_and_progress_reach_the_caller() {
    let mut room = room(2);
    let (_, incoming) = room.call("tcp");
    let now = room.net.now;
    room.agent(B).ring(incoming, now).unwrap();
    room.agent(B).progress(incoming, StatusCode::SESSION_PROGRESS, Some(&sdp("sendonly")), now).unwrap();
    room.run(SECOND);
    let heard = room.events(A);
    let heard: Vec<_> = heard.iter().filter(|event| !matches!(event, CallEvent::Answer { .. })).collect();
    assert!(
        matches!(
            heard.as_slice(),
            [
                CallEvent::Progress { status: StatusCode::RINGING, .. },
                CallEvent::Progress { status: StatusCode::SESSION_PROGRESS, .. }
            ]
        ),
        "{heard:?}"
    );
}

#[test]
fn early_media_s_answer_is_reported_once_though_the_200_repeats_it() {
    let mut room = room(2);
    let (_, incoming) = room.call("tcp");
    let now = room.net.now;
    room.agent(B).progress(incoming, StatusCode::SESSION_PROGRESS, Some(&sdp("sendrecv")), now).unwrap();
    room.run(SECOND);
    let early = room.events(A);
    assert!(early.iter().any(|event| matches!(event, CallEvent::Answer { .. })));
    let now = room.net.now;
    room.agent(B).answer(incoming, &sdp("sendrecv"), now).unwrap();
    room.run(SECOND);
    let heard = room.events(A);
    assert!(matches!(heard.as_slice(), [CallEvent::Answered { .. }]), "{heard:?}");
}

#[test]
fn a_delayed_offer_goes_out_in_the_200_and_is_answered_in_the_ack() {
    let mut room = room(2);
    let now = room.net.now;
    let mut call = invite(uri(B, "tcp"));
    call.offer = None;
    let out = room.agent(A).invite(call, now).unwrap();
    room.run(SECOND);
    let heard = room.events(B);
    let [CallEvent::Incoming { call: incoming, offer: None, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    let (mut ours, mut theirs) = (negotiation(B), negotiation(A));
    let offer = ours.offer(&local(B, Direction::SendRecv));
    let now = room.net.now;
    room.agent(B).answer(*incoming, &offer, now).unwrap();
    room.run(SECOND);
    let heard = room.events(A);
    let [CallEvent::Answered { .. }, CallEvent::Offer { offer, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    let (_, answer) = theirs.answer(offer, &local(A, Direction::SendRecv)).unwrap();
    let now = room.net.now;
    room.agent(A).answer_offer(out, &answer, now).unwrap();
    room.run(SECOND);
    let heard = room.events(B);
    let [CallEvent::Answer { answer, .. }, CallEvent::Established { .. }] = heard.as_slice() else {
        panic!("{heard:?}")
    };
    assert_eq!(ours.on_answer(answer).unwrap().codec, theirs.media().unwrap().codec);
}

#[test]
fn an_ack_without_the_answer_that_it_owes_ends_the_call() {
    let mut room = room(2);
    let mut call = invite(uri(B, "tcp"));
    call.offer = None;
    let (out, incoming) = room.call_as(call);
    let now = room.net.now;
    room.agent(B).answer(incoming, &sdp("sendrecv"), now).unwrap();
    room.run(Duration::from_millis(20));
    let now = room.net.now;
    room.agent(A).refuse_offer(out, &[], now).unwrap();
    room.run(SECOND);
    assert_eq!(room.end(A), Some(EndCause::BadOffer));
    assert_eq!(room.end(B), Some(EndCause::BadOffer));
    room.assert_empty();
}

#[test]
fn a_rejection_carries_its_headers() {
    let mut room = room(2);
    let (_, incoming) = room.call("tcp");
    let now = room.net.now;
    let headers = [(HeaderName::RetryAfter, "5".to_string())];
    room.agent(B).reject(incoming, StatusCode::SERVICE_UNAVAILABLE, &headers, now).unwrap();
    room.run(SECOND);
    let Some(EndCause::Refused(response)) = room.end(A) else { panic!() };
    assert_eq!((response.status, response.headers.retry_after_secs()), (StatusCode::SERVICE_UNAVAILABLE, Some(5)));
    assert_eq!(room.end(B), Some(EndCause::Ours));
    room.assert_empty();
}

#[test]
fn a_cancelled_call_is_answered_487_and_ends_on_both_sides() {
    for transport in ["tcp", "udp"] {
        let mut room = room(2);
        let (out, incoming) = room.call(transport);
        let now = room.net.now;
        room.agent(B).ring(incoming, now).unwrap();
        room.run(SECOND);
        let now = room.net.now;
        room.agent(A).hang_up(out, None, now).unwrap();
        room.run(SECOND);
        assert_eq!(room.responses(B, StatusCode::REQUEST_TERMINATED).len(), 1);
        assert_eq!(room.end(B), Some(EndCause::Cancelled));
        assert_eq!(room.end(A), Some(EndCause::Ours));
        let now = room.net.now;
        assert_eq!(room.agent(B).answer(incoming, &sdp("sendrecv"), now), Err(CommandError::NoSuchCall));
        room.assert_empty();
    }
}

#[test]
fn a_cancel_that_crosses_the_answer_ends_in_bye() {
    let mut room = room(2);
    let (out, incoming) = room.call("tcp");
    let now = room.net.now;
    room.agent(B).ring(incoming, now).unwrap();
    room.run(SECOND);
    let now = room.net.now;
    room.agent(B).answer(incoming, &sdp("sendrecv"), now).unwrap();
    room.agent(A).hang_up(out, None, now).unwrap();
    room.run(SECOND);
    assert_eq!(room.requests(A, Method::Cancel).len(), 1);
    assert_eq!(room.requests(A, Method::Bye).len(), 1);
    assert_eq!(room.end(A), Some(EndCause::Ours));
    assert_eq!(room.end(B), Some(EndCause::Peer));
    room.assert_empty();
}

#[test]
fn a_200_without_ack_is_repeated_for_32_seconds_then_the_call_is_hung_up() {
    let mut room = room(2);
    let (_, incoming) = room.call("tcp");
    room.net.dead.push(A);
    let now = room.net.now;
    room.agent(B).answer(incoming, &sdp("sendrecv"), now).unwrap();
    room.run(Duration::from_secs(31));
    let repeated = room.responses(B, StatusCode::OK).len();
    assert!((9..=12).contains(&repeated), "{repeated}");
    assert_eq!(room.end(B), None);
    room.run(Duration::from_secs(2));
    assert_eq!(room.end(B), Some(EndCause::NoAck));
    assert_eq!(room.requests(B, Method::Bye).len(), 1);
}

#[test]
fn hanging_up_before_the_ack_waits_for_it() {
    let mut room = room(2);
    let (_, incoming) = room.call("tcp");
    let now = room.net.now;
    room.agent(B).answer(incoming, &sdp("sendrecv"), now).unwrap();
    room.agent(B).hang_up(incoming, None, now).unwrap();
    assert_eq!(room.requests(B, Method::Bye).len(), 0);
    room.run(SECOND);
    assert_eq!(room.requests(B, Method::Bye).len(), 1);
    assert_eq!(room.end(A), Some(EndCause::Peer));
    room.assert_empty();
}

#[test]
fn a_redirect_lists_its_contacts_and_ends_the_call_here() {
    let mut room = room(2);
    let mut call = invite(uri(B, "tcp"));
    call.follow_redirects = false;
    let (_, incoming) = room.call_as(call);
    let contacts = [name("<sip:7000@10.0.0.3:5062;transport=tcp>;q=1.0"), name("<sip:7000@10.0.0.4:5062>;q=0.5")];
    let now = room.net.now;
    room.agent(B).redirect(incoming, &contacts, now).unwrap();
    room.run(SECOND);
    let Some(EndCause::Refused(response)) = room.end(A) else { panic!() };
    assert_eq!(response.status, StatusCode::MOVED_TEMPORARILY);
    assert_eq!(
        response.headers.values("Contact").collect::<Vec<_>>(),
        ["<sip:7000@10.0.0.3:5062;transport=tcp>;q=1.0", "<sip:7000@10.0.0.4:5062>;q=0.5"]
    );
    room.assert_empty();
}

#[test]
fn a_user_agent_with_all_calls_taken_answers_503_with_retry_after() {
    let mut room = crate::room::room_with(2, |_, options| options.calls_max = 1);
    room.talk("tcp");
    let mut other = invite(uri(B, "tcp"));
    other.from = name("<sip:1002@example.test>");
    // A's own limit is met first; a third party would meet B's.
    let now = room.net.now;
    assert_eq!(room.agent(A).invite(other, now).unwrap_err(), CommandError::TooMany);
}

#[test]
fn our_answer_offers_what_we_can_do_and_a_contact_of_the_right_kind() {
    let mut room = room(2);
    room.talk("tcp");
    let answer = room.responses(B, StatusCode::OK).pop().unwrap();
    let contact = answer.headers.contact().unwrap().unwrap();
    assert_eq!(contact.uri.to_string(), "sip:7000@10.0.0.2;transport=tcp");
    assert!(answer.headers.allowed().unwrap().contains(&"UPDATE"));
    assert!(answer.headers.supports("timer") && answer.headers.supports("100rel"));
    assert_eq!(parsed(&String::from_utf8(answer.body).unwrap()).media.len(), 1);
}
