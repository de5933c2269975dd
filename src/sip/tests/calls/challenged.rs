//! Outgoing calls that are challenged (RFC 3261 section 22).

use std::sync::Arc;
use std::time::Duration;

use postern_sip::digest::{Challenge, Credentials};
use postern_sip::user_agent_io::{Alternative, EndCause, Invite};
use postern_sip::{CallEvent, CallHandle, HeaderName, Method, Request, StatusCode, Target, Uri};

use crate::room::{A, B, C, Room, SECOND, invite, name, room, sdp, uri};

const MD5: &str = "Digest realm=\"gw\", nonce=\"one\", algorithm=MD5, qop=\"auth\"";
const SHA: &str = "Digest realm=\"gw\", nonce=\"two\", algorithm=SHA-256, qop=\"auth\", opaque=\"o\"";
const STALE: &str = "Digest realm=\"gw\", nonce=\"three\", algorithm=SHA-256, qop=\"auth\", stale=true";

fn login() -> Option<Arc<Credentials>> {
    Credentials::new("postern", "open sesame").map(Arc::new)
}

fn to(party: usize, transport: &str) -> Invite {
    Invite { follow_redirects: false, credentials: login(), ..invite(uri(party, transport)) }
}

/// The INVITE that has come to a party.
fn asked(room: &mut Room, party: usize) -> (CallHandle, Request) {
    let heard = room.events(party);
    let came = heard.into_iter().find_map(|event| match event {
        CallEvent::Incoming { call, invite, .. } => Some((call, *invite)),
        _ => None,
    });
    came.expect("an INVITE")
}

fn refuse(room: &mut Room, party: usize, status: StatusCode, headers: &[(HeaderName, &str)]) -> Request {
    let (call, invite) = asked(room, party);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
    let now = room.net.now;
    room.agent(party).reject(call, status, &headers, now).unwrap();
    room.run(Duration::from_millis(100));
    invite
}

fn challenge(room: &mut Room, values: &[&str]) -> Request {
    let headers: Vec<_> = values.iter().map(|value| (HeaderName::WwwAuthenticate, *value)).collect();
    refuse(room, B, StatusCode::UNAUTHORIZED, &headers)
}

fn call(room: &mut Room, invite: Invite) {
    let now = room.net.now;
    room.agent(A).invite(invite, now).unwrap();
    room.run(Duration::from_millis(100));
}

fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    let at = answer.split(", ").find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    at.unwrap_or_else(|| panic!("no {name} in {answer}")).trim_matches('"')
}

fn ended_by(room: &mut Room, status: StatusCode) {
    match room.end(A) {
        Some(EndCause::Refused(response)) => assert_eq!(response.status, status),
        other => panic!("{other:?}"),
    }
    room.assert_empty();
}

#[test]
fn a_challenge_is_answered_in_the_same_call_by_the_strongest_hash() {
    for transport in ["udp", "tcp"] {
        let mut room = room(2);
        call(&mut room, to(B, transport));
        let first = challenge(&mut room, &[MD5, SHA]);
        assert!(!first.headers.contains(HeaderName::Authorization), "nothing is shown unasked");
        let (call, second) = asked(&mut room, B);
        assert_eq!(second.headers.call_id(), first.headers.call_id());
        assert_eq!(second.headers.from_tag(), first.headers.from_tag());
        assert_eq!(second.headers.cseq().unwrap().number, first.headers.cseq().unwrap().number + 1);
        let answer = second.headers.value(HeaderName::Authorization).unwrap().to_owned();
        assert_eq!((field(&answer, "nonce"), field(&answer, "nc")), ("two", "00000001"));
        assert_eq!(field(&answer, "uri"), second.uri.to_string());
        let cnonce = field(&answer, "cnonce");
        assert!(cnonce.len() >= 16, "{cnonce}");
        let wanted = Challenge::parse(SHA).unwrap();
        let wanted = wanted.answer(&login().unwrap(), "INVITE", &second.uri.to_string(), 1, cnonce);
        assert_eq!(answer, wanted);
        let now = room.net.now;
        room.agent(B).answer(call, &sdp("sendrecv"), now).unwrap();
        room.run(Duration::from_millis(100));
        assert!(room.events(A).iter().any(|event| matches!(event, CallEvent::Answered { .. })));
        let acks = room.requests(A, Method::Ack);
        let ack = acks.last().unwrap();
        assert_eq!(ack.headers.value(HeaderName::Authorization), Some(answer.as_str()));
        assert!(!format!("{:?}", room.requests(A, Method::Invite)).contains("sesame"));
    }
}

#[test]
fn a_wrong_password_is_tried_once() {
    let mut room = room(2);
    call(&mut room, to(B, "tcp"));
    challenge(&mut room, &[SHA]);
    challenge(&mut room, &["Digest realm=\"gw\", nonce=\"four\", algorithm=SHA-256, qop=\"auth\""]);
    assert_eq!(room.requests(A, Method::Invite).len(), 2);
    ended_by(&mut room, StatusCode::UNAUTHORIZED);
}

#[test]
fn a_stale_nonce_is_replaced_once() {
    let mut room = room(2);
    call(&mut room, to(B, "tcp"));
    challenge(&mut room, &[SHA]);
    challenge(&mut room, &[STALE]);
    let third = challenge(&mut room, &[&STALE.replace("three", "four")]);
    let answer = third.headers.value(HeaderName::Authorization).unwrap();
    assert_eq!((field(answer, "nonce"), field(answer, "nc")), ("three", "00000001"));
    assert_eq!(third.headers.values(HeaderName::Authorization).count(), 1);
    assert_eq!(room.requests(A, Method::Invite).len(), 3);
    ended_by(&mut room, StatusCode::UNAUTHORIZED);
}

#[test]
fn a_proxy_and_what_is_behind_it_are_both_answered_and_each_use_is_counted() {
    let mut room = room(2);
    call(&mut room, to(B, "tcp"));
    refuse(&mut room, B, StatusCode::PROXY_AUTHENTICATION_REQUIRED, &[(HeaderName::ProxyAuthenticate, MD5)]);
    let second = challenge(&mut room, &[SHA]);
    assert!(second.headers.contains(HeaderName::ProxyAuthorization));
    let (_, third) = asked(&mut room, B);
    let to_proxy = third.headers.value(HeaderName::ProxyAuthorization).unwrap();
    assert_eq!((field(to_proxy, "nonce"), field(to_proxy, "nc")), ("one", "00000002"));
    let before = second.headers.value(HeaderName::ProxyAuthorization).unwrap();
    assert_ne!(field(to_proxy, "response"), field(before, "response"));
    let behind = third.headers.value(HeaderName::Authorization).unwrap();
    assert_eq!((field(behind, "nonce"), field(behind, "nc")), ("two", "00000001"));
}

#[test]
fn a_call_without_credentials_or_with_a_challenge_of_another_kind_ends() {
    for (credentials, asked) in [(None, SHA), (login(), "Basic realm=\"gw\"")] {
        let mut room = room(2);
        call(&mut room, Invite { credentials, ..to(B, "tcp") });
        challenge(&mut room, &[asked]);
        assert_eq!(room.requests(A, Method::Invite).len(), 1);
        ended_by(&mut room, StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn a_callee_behind_the_next_hop_is_a_stranger_and_the_hop_itself_is_not() {
    let Uri::Sip(hop) = uri(B, "tcp") else { panic!("a SIP URI") };
    let elsewhere = Uri::parse("sip:7000@pbx.example.test").unwrap();
    let through = Invite { uri: elsewhere, target: Some(Target::new(hop)), ..to(B, "tcp") };
    let mut room = room(2);
    call(&mut room, through.clone());
    challenge(&mut room, &[SHA]);
    assert_eq!(room.requests(A, Method::Invite).len(), 1);
    ended_by(&mut room, StatusCode::UNAUTHORIZED);
    call(&mut room, through);
    refuse(&mut room, B, StatusCode::PROXY_AUTHENTICATION_REQUIRED, &[(HeaderName::ProxyAuthenticate, SHA)]);
    let (_, again) = asked(&mut room, B);
    assert_eq!(again.uri.to_string(), "sip:7000@pbx.example.test");
    assert!(again.headers.contains(HeaderName::ProxyAuthorization));
}

#[test]
fn the_next_way_sees_nothing_of_what_the_first_was_shown() {
    let mut room = room(3);
    let Uri::Sip(sip) = uri(C, "tcp") else { panic!("a SIP URI") };
    let other = Alternative { uri: uri(C, "tcp"), target: Target::new(sip), credentials: None };
    let now = room.net.now;
    let handle = room.agent(A).reserve();
    room.agent(A).invite_as(handle, None, to(B, "tcp"), vec![other], now).unwrap();
    room.run(Duration::from_millis(100));
    challenge(&mut room, &[SHA]);
    refuse(&mut room, B, StatusCode::SERVICE_UNAVAILABLE, &[]);
    let shown = refuse(&mut room, C, StatusCode::UNAUTHORIZED, &[(HeaderName::WwwAuthenticate, SHA)]);
    assert!(!shown.headers.contains(HeaderName::Authorization), "{shown:?}");
    assert_eq!(room.requests(A, Method::Invite).len(), 3);
    ended_by(&mut room, StatusCode::UNAUTHORIZED);
}

#[test]
fn whom_a_call_is_redirected_to_gets_no_answer() {
    let mut room = room(3);
    call(&mut room, Invite { follow_redirects: true, ..to(B, "tcp") });
    challenge(&mut room, &[SHA]);
    let (incoming, _) = asked(&mut room, B);
    let now = room.net.now;
    let contact = name("<sip:7000@10.0.0.3;transport=tcp>");
    room.agent(B).redirect(incoming, &[contact], now).unwrap();
    room.run(Duration::from_millis(100));
    let shown = refuse(&mut room, C, StatusCode::UNAUTHORIZED, &[(HeaderName::WwwAuthenticate, SHA)]);
    assert!(!shown.headers.contains(HeaderName::Authorization), "{shown:?}");
    room.run(SECOND);
    assert_eq!(room.requests(A, Method::Invite).len(), 3);
    ended_by(&mut room, StatusCode::UNAUTHORIZED);
}

#[test]
fn a_challenge_from_elsewhere_than_the_call_went_is_not_heard() {
    let mut room = room(2);
    call(&mut room, to(B, "udp"));
    let invites = room.requests(A, Method::Invite);
    let mut response = invites[0].response(StatusCode::UNAUTHORIZED, Some("stranger"));
    response.headers.push(HeaderName::WwwAuthenticate, SHA);
    response.headers.push(HeaderName::ProxyAuthenticate, SHA);
    let text = String::from_utf8(response.encode()).unwrap();
    assert_eq!(room.throw(A, &text), []);
    assert_eq!(room.requests(A, Method::Invite).len(), 1);
    assert_eq!(room.end(A), None);
    challenge(&mut room, &[SHA]);
    assert_eq!(room.requests(A, Method::Invite).len(), 2);
}

#[test]
fn an_acknowledgement_that_goes_another_way_than_the_call_shows_nothing_however_often() {
    let mut room = room(3);
    call(&mut room, to(B, "udp"));
    challenge(&mut room, &[SHA]);
    let (_, invite) = asked(&mut room, B);
    assert!(invite.headers.contains(HeaderName::Authorization));
    let mut answer = room.requests(A, Method::Invite)[1].response(StatusCode::OK, Some("callee"));
    answer.headers.push(HeaderName::Contact, "<sip:7000@10.0.0.3;transport=udp>");
    answer.set_body("application/sdp", sdp("sendrecv"));
    for _ in 0..2 {
        room.throw_as(B, A, &String::from_utf8(answer.encode()).unwrap());
    }
    let acks = room.requests(A, Method::Ack);
    let elsewhere: Vec<_> = acks.iter().filter(|ack| ack.uri.to_string().contains("10.0.0.3")).collect();
    assert_eq!(elsewhere.len(), 2);
    assert!(elsewhere.iter().all(|ack| !ack.headers.contains(HeaderName::Authorization)), "{elsewhere:?}");
}
