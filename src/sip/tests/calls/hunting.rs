//! An outgoing call with several ways to go.

use std::time::Duration;

use postern_sip::user_agent_io::{Alternative, EndCause, Invite};
use postern_sip::{CallEvent, CallHandle, Method, StatusCode, Target, Uri};

use crate::room::{A, B, C, Room, SECOND, invite, room, sdp, uri};

fn way(party: usize) -> Alternative {
    let uri = uri(party, "tcp");
    let Uri::Sip(sip) = uri.clone() else { panic!("a SIP URI") };
    Alternative { uri, target: Target::new(sip).answered_within(SECOND * 4), credentials: None }
}

fn first(party: usize) -> Invite {
    let Alternative { uri, target, .. } = way(party);
    Invite { target: Some(target), follow_redirects: false, ..invite(uri) }
}

fn start(room: &mut Room, invite: Invite, alternatives: Vec<Alternative>) -> CallHandle {
    let now = room.net.now;
    let call = room.agent(A).reserve();
    room.agent(A).invite_as(call, Some("one-call-id"), invite, alternatives, now).unwrap();
    room.run(SECOND);
    call
}

fn refuse(room: &mut Room, party: usize, status: StatusCode) {
    let heard = room.events(party);
    let [CallEvent::Incoming { call, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    let now = room.net.now;
    room.agent(party).reject(*call, status, &[], now).unwrap();
    room.run(SECOND);
}

#[test]
fn the_next_way_is_tried_when_one_is_in_trouble_or_silent_and_it_is_one_call() {
    let mut room = room(5);
    // Nobody is at 10.0.0.10.
    let call = start(&mut room, first(B), vec![way(9), way(C), way(3), way(4)]);
    refuse(&mut room, B, StatusCode::SERVICE_UNAVAILABLE);
    room.run(SECOND * 10);
    refuse(&mut room, C, StatusCode::REQUEST_TIMEOUT);
    let heard = room.events(3);
    let [CallEvent::Incoming { call: incoming, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    let now = room.net.now;
    room.agent(3).answer(*incoming, &sdp("sendrecv"), now).unwrap();
    room.run(SECOND);
    let heard = room.events(A);
    let rerouted: Vec<_> = heard
        .iter()
        .filter_map(|event| match event {
            CallEvent::Rerouted { call: of, at } => Some((*of, *at)),
            _ => None,
        })
        .collect();
    assert_eq!(rerouted, [(call, 1), (call, 2), (call, 3)]);
    assert!(heard.iter().any(|event| matches!(event, CallEvent::Answered { .. })), "{heard:?}");
    assert!(room.events(4).is_empty(), "nobody else is called");
    let invites = room.requests(A, Method::Invite);
    for (invite, party) in invites.iter().zip([B, C, 3]) {
        assert_eq!(invite.headers.call_id(), Ok("one-call-id"));
        assert_eq!(invite.headers.from_tag(), invites[0].headers.from_tag());
        assert_eq!((&invite.uri, &invite.headers.to().unwrap().uri), (&uri(party, "tcp"), &uri(party, "tcp")));
    }
    let numbers: Vec<_> = invites.iter().map(|invite| invite.headers.cseq().unwrap().number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let now = room.net.now;
    room.agent(A).hang_up(call, None, now).unwrap();
    room.run(Duration::from_millis(100));
    assert_eq!(room.requests(A, Method::Bye).len(), 1);
    for event in room.events(3) {
        if let CallEvent::Bye { call, .. } = event {
            let now = room.net.now;
            room.agent(3).confirm_bye(call, now).unwrap();
        }
    }
    room.assert_empty();
}

#[test]
fn a_refusal_of_the_callee_ends_a_call_that_has_other_ways() {
    for status in [StatusCode::BUSY_HERE, StatusCode::NOT_FOUND, StatusCode::FORBIDDEN, StatusCode::MOVED_TEMPORARILY] {
        let mut room = room(3);
        start(&mut room, first(B), vec![way(C)]);
        refuse(&mut room, B, status);
        let Some(EndCause::Refused(response)) = room.end(A) else { panic!("{status}") };
        assert_eq!(response.status, status);
        assert!(room.events(C).is_empty(), "{status}");
        room.assert_empty();
    }
}

#[test]
fn a_call_rings_no_longer_by_several_ways_than_by_one() {
    let mut room = room(3);
    let invite = Invite { ring_time: Duration::from_secs(30), ..first(B) };
    start(&mut room, invite, vec![way(C)]);
    room.run(SECOND * 20);
    refuse(&mut room, B, StatusCode::SERVER_INTERNAL_ERROR);
    let heard = room.events(C);
    let [CallEvent::Incoming { call, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    let now = room.net.now;
    room.agent(C).ring(*call, now).unwrap();
    room.run(SECOND * 7);
    assert_eq!(room.end(A), None);
    room.run(SECOND * 2);
    assert_eq!(room.end(A), Some(EndCause::NoAnswer));
    assert_eq!(room.requests(A, Method::Cancel).len(), 1);
    assert_eq!(room.end(C), Some(EndCause::Cancelled));
    room.assert_empty();
}

#[test]
fn the_next_way_by_tls_is_taken_by_tls_to_its_own_name() {
    let mut room = room(3);
    let secure = |name: &str| {
        let uri = Uri::parse(&format!("sip:7000@{name};transport=tls")).unwrap();
        let Uri::Sip(sip) = uri.clone() else { panic!("a SIP URI") };
        Alternative { uri, target: Target::new(sip).secured(), credentials: None }
    };
    let Alternative { uri, target, .. } = secure("party1.example.test");
    let invite = Invite { target: Some(target), follow_redirects: false, ..invite(uri) };
    start(&mut room, invite, vec![secure("party2.example.test")]);
    refuse(&mut room, B, StatusCode::SERVICE_UNAVAILABLE);
    let heard = room.events(C);
    let [CallEvent::Incoming { source, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    assert!(source.has_name("party0.example.test"), "it came by mutual TLS");
}
