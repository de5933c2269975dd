//! An outgoing call: redirections, forks, targets that fail.

use std::time::Duration;

use postern_sip::io::FailCause;
use postern_sip::user_agent_io::{EndCause, Invite};
use postern_sip::{CallEvent, CallHandle, HeaderName, Method, StatusCode, Uri};

use crate::room::{A, B, C, Room, SECOND, invite, name, room, sdp, uri};

/// The call that a party was asked for last.
fn incoming(room: &mut Room, party: usize) -> CallHandle {
    let heard = room.events(party);
    let mut calls = heard.iter().filter_map(|event| match event {
        CallEvent::Incoming { call, .. } => Some(*call),
        _ => None,
    });
    calls.next_back().unwrap_or_else(|| panic!("{heard:?}"))
}

fn redirect(room: &mut Room, party: usize, contacts: &[&str]) {
    let call = incoming(room, party);
    let contacts: Vec<_> = contacts.iter().map(|contact| name(contact)).collect();
    let now = room.net.now;
    room.agent(party).redirect(call, &contacts, now).unwrap();
    room.run(SECOND);
}

fn start(room: &mut Room, invite: Invite) -> CallHandle {
    let now = room.net.now;
    let call = room.agent(A).invite(invite, now).unwrap();
    room.run(SECOND);
    call
}

#[test]
fn redirections_are_followed_over_three_hops_in_one_call() {
    let mut room = room(4);
    let mut call = invite(uri(B, "tcp"));
    call.headers.push((HeaderName::Diversion, "<sip:1005@example.test>;reason=no-answer".into()));
    start(&mut room, call);
    redirect(&mut room, B, &["<sip:7000@10.0.0.3;transport=tcp;mailbox=signed>"]);
    redirect(&mut room, C, &["<sip:7000@10.0.0.4;transport=tcp>"]);
    let last = incoming(&mut room, 3);
    let now = room.net.now;
    room.agent(3).answer(last, &sdp("sendrecv"), now).unwrap();
    room.run(SECOND);
    assert!(room.events(A).iter().any(|event| matches!(event, CallEvent::Answered { .. })));
    let invites = room.requests(A, Method::Invite);
    assert_eq!(invites.len(), 3);
    assert_eq!(invites[1].uri.to_string(), "sip:7000@10.0.0.3;transport=tcp;mailbox=signed");
    for (invite, number) in invites.iter().zip(1..) {
        assert_eq!(invite.headers.call_id(), invites[0].headers.call_id());
        assert_eq!(invite.headers.from_tag(), invites[0].headers.from_tag());
        assert_eq!(invite.headers.cseq().unwrap().number, number);
        assert!(invite.headers.contains(HeaderName::Diversion));
        assert_eq!(invite.headers.to_tag(), None);
    }
}

#[test]
fn contacts_are_tried_by_their_q_and_the_next_one_when_one_fails() {
    let mut room = room(4);
    start(&mut room, invite(uri(B, "tcp")));
    redirect(
        &mut room,
        B,
        &[
            "<sip:7000@10.0.0.4;transport=tcp>;q=0.1",
            "<sip:7000@10.0.0.9;transport=tcp>;q=0.9",
            "<sip:7000@10.0.0.3;transport=tcp>;q=0.5",
        ],
    );
    room.run(SECOND * 10);
    let call = incoming(&mut room, C);
    let now = room.net.now;
    room.agent(C).reject(call, StatusCode::SERVICE_UNAVAILABLE, &[], now).unwrap();
    room.run(SECOND);
    let call = incoming(&mut room, 3);
    let now = room.net.now;
    room.agent(3).reject(call, StatusCode::NOT_FOUND, &[], now).unwrap();
    room.run(SECOND);
    let Some(EndCause::Refused(response)) = room.end(A) else { panic!() };
    assert_eq!(response.status, StatusCode::NOT_FOUND);
    room.assert_empty();
}

#[test]
fn a_redirection_in_a_circle_ends_the_call() {
    let mut room = room(3);
    start(&mut room, invite(uri(B, "tcp")));
    redirect(&mut room, B, &["<sip:7000@10.0.0.3;transport=tcp>"]);
    redirect(&mut room, C, &["<sip:7000@10.0.0.2;transport=tcp>"]);
    assert_eq!(room.end(A), Some(EndCause::Redirected));
    assert_eq!(room.requests(A, Method::Invite).len(), 2);
    room.assert_empty();
}

#[test]
fn redirections_without_end_are_given_up() {
    let mut room = room(2);
    start(&mut room, invite(uri(B, "tcp")));
    for hop in 0..5 {
        redirect(&mut room, B, &[&format!("<sip:hop{hop}@10.0.0.2;transport=tcp>")]);
        assert_eq!(room.end(A), None, "{hop}");
    }
    redirect(&mut room, B, &["<sip:last@10.0.0.2;transport=tcp>"]);
    assert_eq!(room.end(A), Some(EndCause::Redirected));
    assert_eq!(room.requests(A, Method::Invite).len(), 6);
}

#[test]
fn a_redirection_to_nothing_that_may_be_called_ends_the_call() {
    for contacts in [&[][..], &["<tel:+15550100>"][..]] {
        let mut room = room(2);
        start(&mut room, invite(uri(B, "tcp")));
        redirect(&mut room, B, contacts);
        assert_eq!(room.end(A), Some(EndCause::Redirected));
    }
}

#[test]
fn what_came_by_tls_is_never_redirected_to_tcp() {
    let mut room = room(3);
    let secure = Uri::parse("sip:7000@party1.example.test;transport=tls").unwrap();
    start(&mut room, invite(secure));
    redirect(&mut room, B, &["<sip:7000@10.0.0.3;transport=tcp>"]);
    assert!(room.events(C).is_empty());
    assert_eq!(room.end(A), Some(EndCause::Redirected));
}

#[test]
fn what_came_by_tls_is_redirected_to_tls_by_name() {
    let mut room = room(3);
    start(&mut room, invite(Uri::parse("sip:7000@party1.example.test;transport=tls").unwrap()));
    redirect(&mut room, B, &["<sip:7000@party2.example.test:5061;transport=tls>"]);
    let heard = room.events(C);
    let [CallEvent::Incoming { source, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    assert!(source.has_name("party0.example.test"));
}

#[test]
fn a_call_that_nobody_answers_is_cancelled_after_its_ring_time() {
    let mut room = room(2);
    let mut call = invite(uri(B, "tcp"));
    call.ring_time = SECOND * 20;
    start(&mut room, call);
    let ringing = incoming(&mut room, B);
    let now = room.net.now;
    room.agent(B).ring(ringing, now).unwrap();
    room.run(SECOND * 18);
    assert_eq!(room.end(A), None);
    room.run(SECOND * 2);
    assert_eq!(room.end(A), Some(EndCause::NoAnswer));
    let cancel = room.requests(A, Method::Cancel).pop().unwrap();
    assert_eq!(cancel.headers.reasons()[0].cause, Some(408));
    assert_eq!(room.end(B), Some(EndCause::Cancelled));
    room.assert_empty();
}

#[test]
fn a_target_that_is_not_there_is_told_by_its_cause() {
    let mut room = room(1);
    start(&mut room, invite(uri(6, "tcp")));
    assert_eq!(room.end(A), Some(EndCause::Unreachable(FailCause::Transport)));
    start(&mut room, invite(Uri::parse("sip:7000@nowhere.example.test").unwrap()));
    assert_eq!(room.end(A), Some(EndCause::Unreachable(FailCause::Unresolved)));
    start(&mut room, invite(uri(6, "udp")));
    room.run(SECOND * 40);
    assert_eq!(room.end(A), Some(EndCause::Unreachable(FailCause::Timeout)));
    room.assert_empty();
}

#[test]
fn giving_up_before_anything_was_answered_sends_no_cancel_too_early() {
    let mut room = room(2);
    let now = room.net.now;
    let call = room.agent(A).invite(invite(uri(B, "udp")), now).unwrap();
    room.net.dead.push(B);
    room.run(SECOND);
    let now = room.net.now;
    room.agent(A).hang_up(call, None, now).unwrap();
    assert_eq!(room.end(A), Some(EndCause::Ours));
    room.run(SECOND);
    assert!(room.requests(A, Method::Cancel).is_empty());
    room.assert_empty();
}

/// An answer of another fork to A's INVITE, as a proxy would let it through.
fn forked(room: &Room, tag: &str) -> String {
    let own = room.responses(B, StatusCode::OK).into_iter().find(|ok| !ok.body.is_empty()).unwrap();
    let text = String::from_utf8(own.encode()).unwrap();
    let before = own.headers.to_tag().unwrap();
    text.replace(&format!("tag={before}"), &format!("tag={tag}"))
}

#[test]
fn a_second_fork_s_answer_is_acknowledged_and_hung_up() {
    let mut room = room(2);
    room.talk("udp");
    let other = forked(&room, "other");
    room.throw_as(B, A, &other);
    room.throw_as(B, A, &other);
    room.run(SECOND);
    let to = |request: &postern_sip::Request| request.headers.to_tag().unwrap();
    assert_eq!(room.requests(A, Method::Bye).iter().map(to).collect::<Vec<_>>(), ["other"], "once");
    assert_eq!(room.requests(A, Method::Ack).iter().filter(|ack| to(ack) == "other").count(), 2, "each time");
    assert_eq!(room.end(A), None, "the first fork's call goes on");
    assert_eq!(room.agent(A).calls(), 1);
}

#[test]
fn a_repeated_200_is_acknowledged_again() {
    let mut room = room(2);
    room.talk("udp");
    let acks = room.requests(A, Method::Ack).len();
    let tag = room.responses(B, StatusCode::OK)[0].headers.to_tag().unwrap();
    let again = forked(&room, &tag);
    room.throw_as(B, A, &again);
    assert_eq!(room.requests(A, Method::Ack).len(), acks + 1);
    assert!(room.requests(A, Method::Bye).is_empty());
}

#[test]
fn a_422_is_met_with_a_longer_interval() {
    let mut room = crate::room::room_with(2, |party, options| {
        options.timer.session_expires_secs = Some(if party == A { 120 } else { 1800 });
        options.timer.min_se_secs = if party == A { 90 } else { 600 };
    });
    start(&mut room, invite(uri(B, "tcp")));
    assert_eq!(room.responses(B, StatusCode::SESSION_INTERVAL_TOO_SMALL).len(), 1);
    let invites = room.requests(A, Method::Invite);
    let expires = |at: usize| invites[at].headers.session_expires().unwrap().unwrap().secs;
    assert_eq!((expires(0), expires(1)), (120, 600));
    assert_eq!(invites[1].headers.min_se_secs().unwrap(), Some(600));
    let call = incoming(&mut room, B);
    let now = room.net.now;
    room.agent(B).answer(call, &sdp("sendrecv"), now).unwrap();
    room.run(Duration::from_millis(100));
    assert!(room.events(A).iter().any(|event| matches!(event, CallEvent::Answered { .. })));
}
