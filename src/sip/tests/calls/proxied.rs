//! Calls through a stateful proxy.

use std::time::Duration;

use postern_sip::host::Host;
use postern_sip::options::EndpointOptions;
use postern_sip::proxy_io::{Forward, ForwardHandle, ProxyEvent, ProxyOptions, ProxyTarget, TargetFault};
use postern_sip::sdp_media::Direction;
use postern_sip::user_agent_io::{EndCause, Invite, TransferProgress};
use postern_sip::{CallEvent, CallHandle, HeaderName, Message, Method, Proxy, StatusCode, Uri};

use crate::network::{Network, Node};
use crate::room::{A, B, Room, SECOND, address, invite, local, name, negotiation, options, room, sdp};
use crate::weather::{Roles, STORM, with_seed};

/// A proxy at 10.0.0.4 beside three user agents.
const P: usize = 3;

/// What the proxy's role does with each request outside of dialogs.
#[derive(Clone)]
struct Plan {
    targets: Vec<&'static str>,
    follow_redirects: bool,
    secured: bool,
}

impl Plan {
    fn to(targets: &[&'static str]) -> Plan {
        Plan { targets: targets.to_vec(), follow_redirects: true, secured: false }
    }

    fn forward(&self) -> Forward {
        let uri = |text: &&str| match Uri::parse(text) {
            Some(Uri::Sip(uri)) => ProxyTarget { uri, hop: None },
            _ => panic!("{text}"),
        };
        Forward {
            targets: self.targets.iter().map(uri).collect(),
            headers: vec![(HeaderName::from("X-Gateway"), Some("east".into())), (HeaderName::from("X-Spoofed"), None)],
            follow_redirects: self.follow_redirects,
            secured: self.secured,
            answer_time: Some(SECOND * 4),
        }
    }

    fn act(&self, net: &mut Network, party: usize) -> Vec<ProxyEvent> {
        let mut told = Vec::new();
        if party == P {
            for event in std::mem::take(&mut net.parties[P].proxied) {
                match event {
                    ProxyEvent::Incoming { handle, .. } => {
                        let now = net.now;
                        assert!(net.parties[P].proxy().forward(handle, self.forward(), now));
                    }
                    other => told.push(other),
                }
            }
        }
        told
    }
}

fn proxied() -> Room {
    let mut room = room(3);
    let options = ProxyOptions {
        endpoint: EndpointOptions { host: Host::parse("proxy.example.test"), ..options(P).endpoint },
        addresses: vec![address(P)],
        route_keys: vec![[9; 32]],
        ..ProxyOptions::default()
    };
    let proxy = Proxy::new(options, [42; 32]);
    room.net.join(Node::Proxy(Box::new(proxy)), address(P), "proxy.example.test");
    room
}

/// Lets time pass with the proxy's role at work; what the proxy told besides.
fn run(room: &mut Room, plan: &Plan, time: Duration) -> Vec<ProxyEvent> {
    let mut told = Vec::new();
    room.net.run_with(time, |net, party| told.extend(plan.act(net, party)));
    told
}

fn through_proxy(transport: &str) -> Invite {
    let host = if transport == "tls" { "proxy.example.test" } else { "10.0.0.4" };
    invite(Uri::parse(&format!("sip:7000@{host};transport={transport}")).unwrap())
}

fn incoming(room: &mut Room, party: usize) -> Option<CallHandle> {
    room.events(party).into_iter().find_map(|event| match event {
        CallEvent::Incoming { call, .. } => Some(call),
        _ => None,
    })
}

/// A calls B through the proxy.
fn call(room: &mut Room, plan: &Plan, transport: &str) -> (CallHandle, CallHandle) {
    let now = room.net.now;
    let out = room.agent(A).invite(through_proxy(transport), now).unwrap();
    run(room, plan, SECOND);
    (out, incoming(room, B).expect("a call"))
}

/// The same, and B rings.
fn ring(room: &mut Room, plan: &Plan) -> (CallHandle, CallHandle) {
    let (out, called) = call(room, plan, "tcp");
    let now = room.net.now;
    room.agent(B).ring(called, now).unwrap();
    run(room, plan, SECOND);
    (out, called)
}

/// The same, and B answers at once.
fn talk(room: &mut Room, plan: &Plan, transport: &str) -> (CallHandle, CallHandle) {
    let (out, called) = call(room, plan, transport);
    let now = room.net.now;
    room.agent(B).answer(called, &sdp("sendrecv"), now).unwrap();
    run(room, plan, SECOND);
    assert!(room.events(A).iter().any(|event| matches!(event, CallEvent::Answered { .. })));
    assert!(room.events(B).iter().any(|event| matches!(event, CallEvent::Established { .. })));
    (out, called)
}

const TO_B: &str = "sip:7000@10.0.0.2;transport=tcp";

#[test]
fn a_call_passes_in_both_directions_and_ends_from_either_side() {
    for (transport, target) in [("tcp", TO_B), ("udp", "sip:7000@10.0.0.2;transport=udp"), ("tls", TO_B), ("udp", TO_B)]
    {
        for ending in [A, B] {
            let mut room = proxied();
            let plan = Plan::to(&[target]);
            let (out, called) = talk(&mut room, &plan, transport);
            let now = room.net.now;
            let handle = if ending == A { out } else { called };
            room.agent(ending).hang_up(handle, None, now).unwrap();
            run(&mut room, &plan, SECOND);
            let other = if ending == A { B } else { A };
            assert_eq!(room.end(ending), Some(EndCause::Ours), "{transport}");
            assert_eq!(room.end(other), Some(EndCause::Peer), "{transport} {target} {ending}");
            assert!(room.requests(ending, Method::Bye)[0].headers.contains(HeaderName::Route));
            assert!(!room.requests(P, Method::Bye).is_empty());
            room.assert_empty();
        }
    }
}

#[test]
fn what_is_forwarded_counts_its_hops_and_carries_what_the_role_sets() {
    let mut room = proxied();
    let plan = Plan::to(&[TO_B]);
    let mut call = through_proxy("tcp");
    call.headers.push((HeaderName::from("X-Spoofed"), "1".into()));
    let now = room.net.now;
    room.agent(A).invite(call, now).unwrap();
    run(&mut room, &plan, SECOND);
    let heard = room.events(B);
    let [CallEvent::Incoming { invite, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(invite.uri.to_string(), TO_B);
    assert_eq!(invite.headers.max_forwards().unwrap(), Some(69));
    assert_eq!(invite.headers.vias().unwrap().len(), 2);
    assert_eq!(invite.headers.value("X-Gateway"), Some("east"));
    assert!(!invite.headers.contains("X-Spoofed"));
}

#[test]
fn each_side_sees_its_own_transport_in_two_record_routes() {
    let mut room = proxied();
    let plan = Plan::to(&[TO_B]);
    talk(&mut room, &plan, "tls");
    let ok = room.responses(B, StatusCode::OK).into_iter().find(|ok| !ok.body.is_empty()).unwrap();
    let routes = ok.headers.record_routes().unwrap();
    let transports: Vec<_> =
        routes.iter().map(|route| route.uri.as_sip().unwrap().param("transport").unwrap().into_owned()).collect();
    assert_eq!(transports, ["tcp", "tls"], "nearest to the called side first");
    assert!(routes.iter().all(|route| route.uri.as_sip().unwrap().is_loose_router()));
}

#[test]
fn requests_of_the_called_side_reach_a_caller_behind_nat_over_its_own_connection() {
    let mut room = proxied();
    let plan = Plan::to(&[TO_B]);
    let (_, called) = talk(&mut room, &plan, "tcp");
    assert_eq!(room.net.connections(A), 1);
    let now = room.net.now;
    room.agent(B).reoffer(called, &sdp("sendonly"), now).unwrap();
    run(&mut room, &plan, SECOND);
    assert!(room.events(A).iter().any(|event| matches!(event, CallEvent::Offer { .. })));
    assert_eq!(room.net.connections(A), 1, "nobody connected to the caller");
}

#[test]
fn reinvites_info_and_transfers_pass_both_ways() {
    let mut room = proxied();
    let plan = Plan::to(&[TO_B]);
    let (out, called) = talk(&mut room, &plan, "tcp");
    for (from, to, sender, receiver) in [(A, B, out, called), (B, A, called, out)] {
        let now = room.net.now;
        room.agent(from).reoffer(sender, &sdp("sendonly"), now).unwrap();
        run(&mut room, &plan, SECOND);
        assert!(room.events(to).iter().any(|event| matches!(event, CallEvent::Offer { .. })));
        let now = room.net.now;
        room.agent(to).answer_offer(receiver, &sdp("recvonly"), now).unwrap();
        run(&mut room, &plan, SECOND);
        assert!(room.events(from).iter().any(|event| matches!(event, CallEvent::Answer { .. })));
        let now = room.net.now;
        room.agent(from).info(sender, "application/dtmf", "5", now).unwrap();
        run(&mut room, &plan, SECOND);
        assert!(room.events(to).iter().any(|event| matches!(event, CallEvent::Digit { .. })));
    }
    let now = room.net.now;
    room.agent(B).refer(called, &name("<sip:1003@example.test>"), None, now).unwrap();
    run(&mut room, &plan, SECOND);
    assert!(room.events(A).iter().any(|event| matches!(event, CallEvent::TransferDeclined { .. })));
    let declined = TransferProgress::Failed(StatusCode::DECLINE);
    assert!(room.events(B).contains(&CallEvent::Transfer { call: called, progress: declined }));
    run(&mut room, &plan, SECOND * 60);
    assert_eq!(room.requests(A, Method::Ack).len() + room.requests(B, Method::Ack).len(), 3, "no 200 was repeated");
}

#[test]
fn sessions_are_refreshed_through_the_proxy() {
    let mut room = proxied();
    let plan = Plan::to(&[TO_B]);
    talk(&mut room, &plan, "tcp");
    run(&mut room, &plan, SECOND * 2000);
    assert!(!room.requests(P, Method::Update).is_empty());
    assert_eq!((room.end(A), room.end(B)), (None, None));
}

#[test]
fn a_cancel_goes_on_to_the_called_side() {
    let mut room = proxied();
    let plan = Plan::to(&[TO_B, "sip:7000@10.0.0.3;transport=tcp"]);
    let (out, _) = ring(&mut room, &plan);
    let now = room.net.now;
    room.agent(A).hang_up(out, None, now).unwrap();
    let told = run(&mut room, &plan, SECOND);
    assert_eq!(room.end(B), Some(EndCause::Cancelled));
    assert_eq!(room.responses(P, StatusCode::REQUEST_TERMINATED).len(), 1);
    assert!(
        matches!(told.last(), Some(ProxyEvent::Finished { status: StatusCode::REQUEST_TERMINATED, .. })),
        "{told:?}"
    );
    assert!(incoming(&mut room, 2).is_none(), "the second target is left alone");
    room.assert_empty();
}

#[test]
fn a_redirection_is_followed_by_the_proxy_and_the_caller_sees_none() {
    let mut room = proxied();
    let plan = Plan::to(&[TO_B]);
    let (_, called) = call(&mut room, &plan, "tcp");
    let now = room.net.now;
    let contact = name("<sip:7000@10.0.0.3;transport=tcp;mailbox=signed>");
    room.agent(B).redirect(called, &[contact], now).unwrap();
    run(&mut room, &plan, SECOND);
    let heard = room.events(2);
    let [CallEvent::Incoming { call, invite, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(invite.uri.to_string(), "sip:7000@10.0.0.3;transport=tcp;mailbox=signed");
    assert_eq!(invite.headers.value("X-Gateway"), Some("east"));
    let now = room.net.now;
    room.agent(2).answer(*call, &sdp("sendrecv"), now).unwrap();
    let told = run(&mut room, &plan, SECOND);
    assert!(room.events(A).iter().any(|event| matches!(event, CallEvent::Answered { .. })));
    assert!(room.responses(P, StatusCode::MOVED_TEMPORARILY).is_empty());
    let [ProxyEvent::Finished { status: StatusCode::OK, uri: Some(uri), .. }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(uri.host.to_string(), "10.0.0.3");
}

#[test]
fn a_redirection_that_crosses_a_cancel_is_not_shown_to_the_caller() {
    let mut room = proxied();
    let plan = Plan::to(&[TO_B]);
    let (out, called) = ring(&mut room, &plan);
    let now = room.net.now;
    room.agent(A).hang_up(out, None, now).unwrap();
    room.agent(B).redirect(called, &[name("<sip:7000@10.0.0.3;transport=tcp>")], now).unwrap();
    run(&mut room, &plan, SECOND);
    assert!(room.responses(P, StatusCode::MOVED_TEMPORARILY).is_empty());
    assert_eq!(room.responses(P, StatusCode::REQUEST_TERMINATED).len(), 1);
    assert!(room.events(2).is_empty(), "nobody else is called");
}

#[test]
fn a_redirection_goes_back_when_it_is_not_to_be_followed() {
    let mut room = proxied();
    let plan = Plan { follow_redirects: false, ..Plan::to(&[TO_B]) };
    let mut call = through_proxy("tcp");
    call.follow_redirects = false;
    let now = room.net.now;
    room.agent(A).invite(call, now).unwrap();
    run(&mut room, &plan, SECOND);
    let called = incoming(&mut room, B).unwrap();
    let now = room.net.now;
    room.agent(B).redirect(called, &[name("<sip:7000@10.0.0.3>")], now).unwrap();
    run(&mut room, &plan, SECOND);
    assert!(
        matches!(room.end(A), Some(EndCause::Refused(response)) if response.status == StatusCode::MOVED_TEMPORARILY)
    );
}

#[test]
fn a_secured_call_is_not_redirected_to_tcp() {
    let mut room = proxied();
    let plan = Plan { secured: true, ..Plan::to(&["sip:7000@party1.example.test;transport=tls"]) };
    let now = room.net.now;
    room.agent(A).invite(through_proxy("tls"), now).unwrap();
    run(&mut room, &plan, SECOND);
    let called = incoming(&mut room, B).unwrap();
    let now = room.net.now;
    room.agent(B).redirect(called, &[name("<sip:7000@10.0.0.3;transport=tcp>")], now).unwrap();
    let told = run(&mut room, &plan, SECOND);
    assert!(incoming(&mut room, 2).is_none());
    assert!(
        matches!(
            told.as_slice(),
            [ProxyEvent::TargetFailed { fault: TargetFault::NotSent, .. }, ProxyEvent::Finished { .. }]
        ),
        "{told:?}"
    );
    assert!(matches!(room.end(A), Some(EndCause::Refused(_))));
}

#[test]
fn a_target_that_is_dead_or_hung_or_refuses_is_left_for_the_next() {
    let mut room = proxied();
    // Nobody there, then one that hears nothing, then B.
    room.net.dead.push(2);
    let plan = Plan::to(&["sip:7000@10.0.0.9;transport=tcp", "sip:7000@10.0.0.3;transport=udp", TO_B]);
    let now = room.net.now;
    room.agent(A).invite(through_proxy("tcp"), now).unwrap();
    let told = run(&mut room, &plan, SECOND * 6);
    let hosts: Vec<_> = told
        .iter()
        .map(|event| match event {
            ProxyEvent::TargetFailed { uri, fault: TargetFault::NoAnswer(_), .. } => uri.host.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(hosts, ["10.0.0.9", "10.0.0.3"]);
    assert!(incoming(&mut room, B).is_some());
}

#[test]
fn the_best_answer_goes_back_and_a_503_as_500() {
    for (statuses, best) in
        [([486, 404], 486), ([503, 486], 486), ([503, 503], 500), ([404, 600], 600), ([600, 404], 600)]
    {
        let mut room = proxied();
        let plan = Plan::to(&[TO_B, "sip:7000@10.0.0.3;transport=tcp"]);
        let now = room.net.now;
        room.agent(A).invite(through_proxy("tcp"), now).unwrap();
        for (party, status) in [(B, statuses[0]), (2, statuses[1])] {
            run(&mut room, &plan, SECOND);
            if let Some(called) = incoming(&mut room, party) {
                let now = room.net.now;
                room.agent(party).reject(called, StatusCode::new(status).unwrap(), &[], now).unwrap();
            }
        }
        run(&mut room, &plan, SECOND);
        let Some(EndCause::Refused(response)) = room.end(A) else { panic!("{statuses:?}") };
        assert_eq!(response.status.code(), best, "{statuses:?}");
    }
}

#[test]
fn a_call_without_news_for_three_minutes_is_given_up_by_timer_c() {
    let mut room = proxied();
    let plan = Plan::to(&[TO_B]);
    let mut call = through_proxy("tcp");
    call.ring_time = SECOND * 1000;
    let now = room.net.now;
    room.agent(A).invite(call, now).unwrap();
    run(&mut room, &plan, SECOND);
    let called = incoming(&mut room, B).unwrap();
    run(&mut room, &plan, SECOND * 170);
    let now = room.net.now;
    room.agent(B).ring(called, now).unwrap();
    run(&mut room, &plan, SECOND * 170);
    assert_eq!(room.end(A), None, "news begin it anew");
    run(&mut room, &plan, SECOND * 20);
    assert_eq!(room.end(B), Some(EndCause::Cancelled));
    assert!(matches!(room.end(A), Some(EndCause::Refused(response)) if response.status == StatusCode::REQUEST_TIMEOUT));
    room.assert_empty();
}

fn thrown(room: &mut Room, head: &str) -> u16 {
    let text = format!(
        "{head}\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKa\nFrom: <sip:x@example.test>;tag=1\nCall-ID: 1@x\n\
         Contact: <sip:x@192.0.2.9>\nContent-Length: 0\n\n"
    );
    let sent = room.throw(P, &text);
    sent.iter()
        .find_map(|message| match message {
            Message::Response(response) => Some(response.status.code()),
            _ => None,
        })
        .unwrap_or(0)
}

#[test]
fn requests_that_may_not_pass_are_refused() {
    for (head, status) in [
        ("INVITE sip:1@10.0.0.4 SIP/2.0\nTo: <sip:1@x>\nCSeq: 1 INVITE\nMax-Forwards: 0", 483),
        ("INVITE sip:1@10.0.0.4 SIP/2.0\nTo: <sip:1@x>\nCSeq: 1 INVITE\nProxy-Require: teapot", 420),
        ("INVITE im:1@10.0.0.4 SIP/2.0\nTo: <sip:1@x>\nCSeq: 1 INVITE", 416),
        ("BYE sip:1@10.0.0.2 SIP/2.0\nTo: <sip:1@x>;tag=2\nCSeq: 2 BYE", 481),
        // A route to us that we never wrote for this call leads nowhere.
        ("BYE sip:1@10.0.0.2 SIP/2.0\nTo: <sip:1@x>;tag=2\nCSeq: 2 BYE\nRoute: <sip:10.0.0.4;transport=tcp;lr>", 481),
        (
            "BYE sip:1@10.0.0.2 SIP/2.0\nTo: <sip:1@x>;tag=2\nCSeq: 2 BYE\n\
             Route: <sip:1-2-0123456789abcdef01234567@10.0.0.4;transport=tcp;lr>",
            403,
        ),
    ] {
        let mut room = proxied();
        assert_eq!(thrown(&mut room, head), status, "{head}");
        assert!(room.net.parties[P].proxied.is_empty());
    }
}

#[test]
fn a_signed_route_of_one_call_does_not_serve_another() {
    let mut room = proxied();
    let plan = Plan::to(&[TO_B]);
    talk(&mut room, &plan, "tcp");
    let ok = room.responses(B, StatusCode::OK).into_iter().find(|ok| !ok.body.is_empty()).unwrap();
    let route = ok.headers.value(HeaderName::RecordRoute).unwrap().to_owned();
    let head = format!("BYE sip:1@10.0.0.2 SIP/2.0\nTo: <sip:1@x>;tag=2\nCSeq: 2 BYE\nRoute: {route}");
    assert_eq!(thrown(&mut room, &head), 403);
}

#[test]
fn a_request_that_comes_back_unchanged_is_a_loop() {
    let mut room = proxied();
    let plan = Plan::to(&["sip:7000@10.0.0.4;transport=tcp"]);
    let now = room.net.now;
    room.agent(A).invite(through_proxy("tcp"), now).unwrap();
    run(&mut room, &plan, SECOND);
    assert!(!room.responses(P, StatusCode::LOOP_DETECTED).is_empty());
    let Some(EndCause::Refused(response)) = room.end(A) else { panic!() };
    assert_eq!(response.status, StatusCode::LOOP_DETECTED);
    assert!(room.requests(P, Method::Invite).len() <= 2);
}

#[test]
fn a_request_that_changes_each_time_ends_by_its_hops() {
    let mut room = proxied();
    let mut number = 0;
    let now = room.net.now;
    room.agent(A).invite(through_proxy("tcp"), now).unwrap();
    room.net.run_with(SECOND * 5, |net, party| {
        if party != P {
            return;
        }
        for event in std::mem::take(&mut net.parties[P].proxied) {
            if let ProxyEvent::Incoming { handle, .. } = event {
                number += 1;
                let Some(Uri::Sip(uri)) = Uri::parse(&format!("sip:{number}@10.0.0.4;transport=tcp")) else { panic!() };
                let mut forward = Forward { targets: vec![ProxyTarget { uri, hop: None }], ..Plan::to(&[]).forward() };
                if number == 1 {
                    forward.headers.push((HeaderName::MaxForwards, Some("20".into())));
                }
                let now = net.now;
                net.parties[P].proxy().forward(handle, forward, now);
            }
        }
    });
    assert_eq!(number, 21);
    assert!(matches!(room.end(A), Some(EndCause::Refused(response)) if response.status == StatusCode::TOO_MANY_HOPS));
}

#[test]
fn the_role_may_answer_itself_once() {
    let mut room = proxied();
    let now = room.net.now;
    room.agent(A).invite(through_proxy("tcp"), now).unwrap();
    room.run(SECOND);
    let Some(ProxyEvent::Incoming { handle, .. }) = room.net.parties[P].proxied.pop() else { panic!() };
    let now = room.net.now;
    let headers = [(HeaderName::RetryAfter, "5".to_string())];
    assert!(room.net.parties[P].proxy().respond(handle, StatusCode::SERVICE_UNAVAILABLE, &headers, now));
    assert!(!room.net.parties[P].proxy().respond(handle, StatusCode::OK, &[], now));
    assert!(!room.net.parties[P].proxy().forward(ForwardHandle(99), Plan::to(&[]).forward(), now));
    room.run(SECOND);
    assert!(matches!(room.end(A), Some(EndCause::Refused(response)) if response.headers.retry_after_secs() == Some(5)));
}

#[test]
fn a_caller_that_gives_up_before_the_role_decides_is_told() {
    let mut room = proxied();
    let now = room.net.now;
    let out = room.agent(A).invite(through_proxy("tcp"), now).unwrap();
    room.run(SECOND);
    let now = room.net.now;
    room.agent(A).hang_up(out, None, now).unwrap();
    room.run(SECOND);
    assert!(matches!(room.net.parties[P].proxied.last(), Some(ProxyEvent::Withdrawn { .. })));
    assert_eq!(room.responses(P, StatusCode::REQUEST_TERMINATED).len(), 1);
    room.assert_empty();
}

#[test]
fn calls_through_the_proxy_survive_a_storm() {
    let mut answered = 0;
    for seed in 0..30 {
        let mut room = proxied();
        room.net = with_seed(room.net, seed);
        room.net.weather = STORM;
        let plan = Plan::to(&["sip:7000@10.0.0.2;transport=udp"]);
        let mut roles = Roles::default();
        let mut own = negotiation(A);
        let mut call = through_proxy("udp");
        call.offer = Some(own.offer(&local(A, Direction::SendRecv)));
        let now = room.net.now;
        let out = room.agent(A).invite(call, now).unwrap();
        roles.negotiations.insert((A, out), own);
        let mut both = |room: &mut Room, time: Duration| {
            room.net.run_with(time, |net, party| {
                plan.act(net, party);
                if party != P {
                    roles.act(net, party);
                }
            });
        };
        both(&mut room, SECOND * 40);
        let now = room.net.now;
        let _ = room.agent(A).hang_up(out, None, now);
        both(&mut room, SECOND * 150);
        answered += roles.established;
        for party in [A, B, P] {
            assert!(room.net.parties[party].is_idle(), "seed {seed}, party {party}");
        }
    }
    assert!(answered >= 26, "{answered} of 30");
}
