//! ICE restarts, by either side, and the death of an edge in the middle of a call.

use std::time::Duration;

use postern_ice::candidate::Kind;
use postern_ice::io::{EdgeId, Event, RemoteChange, Role, Transport};
use postern_turn::client::{EdgeFailure, Failure};
use postern_turn::io::RelayFailure;

use crate::edge::Wishes;
use crate::world::{Plan, RTCP, RTP, World, at, millis, secs};

/// A caller that reaches the worker through an edge alone; two edges, the worker uses the first.
fn relayed(transport: Transport) -> (World, [usize; 2]) {
    let mut world = World::new(11);
    world.add_edge("203.0.113.10:3478");
    world.add_edge("203.0.113.20:3478");
    let caller = world.add(Plan::new(Role::Controlling, "198.51.100.7"));
    let plan = Plan::new(Role::Controlled, "192.0.2.9").blocking("198.51.100.7:0");
    let worker = world.add(plan.edge(0, transport));
    world.introduce(caller, worker);
    world.pass(secs(3));
    assert_eq!(world.kinds(worker, RTP).map(|(local, _)| local), Some(Kind::Relayed));
    (world, [caller, worker])
}

fn edge_failed(event: &Event) -> bool {
    matches!(event, Event::EdgeFailed { edge: EdgeId(0), why: EdgeFailure::Unreachable, in_use: true, .. })
}

/// The worker restarts through these edges; the caller answers by its own restart.
fn restart(world: &mut World, [caller, worker]: [usize; 2], edges: &[(usize, Transport)]) {
    let edges = edges.iter().map(|(edge, transport)| world.server(*edge, *transport)).collect();
    world.hosts[worker].events.clear();
    world.hosts[worker].agent.restart(world.now, edges);
    world.take_out(worker);
    while !world.has(worker, |event| *event == Event::Gathered) {
        world.talk(millis(20));
    }
    let offer = world.told_by(worker);
    assert_eq!(world.hear(caller, &offer), RemoteChange::Restarted);
    world.gather();
    let answer = world.told_by(caller);
    assert_eq!(world.hear(worker, &answer), RemoteChange::Taken);
}

#[test]
fn a_dead_edge_is_noticed_and_another_one_carries_media_within_three_seconds() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut world, hosts) = relayed(transport);
        let [_, worker] = hosts;
        world.talk(secs(2));
        let died = world.now;
        world.edges[0].is_dead = true;
        while !world.has(worker, edge_failed) {
            world.talk(millis(20));
            assert!(world.now - died < secs(3), "not noticed");
        }
        restart(&mut world, hosts, &[(1, Transport::Udp)]);
        let edge = |world: &World| world.hosts[worker].agent.selected(RTP).and_then(|pair| pair.edge);
        while edge(&world) != Some(EdgeId(1)) {
            world.talk(millis(20));
            assert!(world.now - died < secs(3), "{}", world.hosts[worker].agent.story());
        }
        world.pass(millis(100));
        world.assert_media(hosts, &[RTP]);
        world.pass(secs(2));
        world.assert_media(hosts, &[RTP, RTCP]);
        let story = world.hosts[worker].agent.story();
        assert_eq!(story.edge_failures, [EdgeFailure::Unreachable]);
    }
}

#[test]
fn an_edge_that_died_unnoticed_holds_nobody_up_while_another_one_answers() {
    let mut world = World::new(11);
    world.add_edge("203.0.113.10:3478");
    world.add_edge("203.0.113.20:3478");
    world.edges[0].is_dead = true;
    let edges = [0, 1].map(|edge| world.server(edge, Transport::Udp)).to_vec();
    let began = world.now;
    let worker = world.add_with(Plan::new(Role::Controlled, "192.0.2.9"), edges);
    world.gather();
    assert!(world.now - began < millis(700), "{:?}", world.now - began);
    let candidates = world.hosts[worker].agent.description().candidates;
    assert_eq!(candidates.iter().filter(|candidate| candidate.kind == Kind::Relayed).count(), 2);
    assert!(!world.has(worker, |event| matches!(event, Event::EdgeFailed { .. })), "it may be slow only");
}

#[test]
fn a_dead_edge_is_noticed_in_a_call_that_is_silent() {
    let (mut world, [_, worker]) = relayed(Transport::Udp);
    world.pass(secs(30));
    world.edges[0].is_dead = true;
    world.pass(millis(2_600));
    assert!(world.has(worker, edge_failed));
}

#[test]
fn the_pair_of_before_carries_media_until_the_new_one_is_chosen() {
    let (mut world, hosts) = relayed(Transport::Udp);
    let [_, worker] = hosts;
    world.talk(secs(1));
    let former = world.hosts[worker].agent.selected(RTP).cloned();
    for host in hosts {
        world.hosts[host].heard.clear();
    }
    let started = world.now;
    restart(&mut world, hosts, &[(1, Transport::Udp)]);
    world.talk(secs(3));
    let sent = (world.now - started).as_millis() as usize / 20;
    for host in hosts {
        let heard = world.hosts[host].heard.iter().filter(|(component, _)| *component == RTP).count();
        assert!(heard + 10 > sent, "host {host} heard {heard} of {sent}");
    }
    assert!(world.has(worker, |event| matches!(event, Event::PairSelected { component, former: before, .. }
        if *component == RTP && *before == former)));
    // And then it is given back.
    world.pass(secs(6));
    assert_eq!(world.edges[0].server.allocations(), 0);
    assert_eq!(world.edges[1].server.allocations(), 2);
}

#[test]
fn an_edge_named_again_keeps_its_allocations() {
    let (mut world, hosts) = relayed(Transport::Udp);
    let [_, worker] = hosts;
    let before = world.hosts[worker].agent.selected(RTP).unwrap().local.address;
    restart(&mut world, hosts, &[(0, Transport::Udp)]);
    world.talk(secs(10));
    assert_eq!(world.hosts[worker].agent.selected(RTP).unwrap().local.address, before);
    world.assert_media(hosts, &[RTP, RTCP]);
}

#[test]
fn the_peer_may_restart() {
    let (mut world, [caller, worker]) = relayed(Transport::Udp);
    let before = world.told_by(worker);
    world.hosts[caller].agent.restart(world.now, Vec::new());
    world.take_out(caller);
    world.gather();
    let offer = world.told_by(caller);
    world.hosts[worker].events.clear();
    assert_eq!(world.hear(worker, &offer), RemoteChange::Restarted);
    world.gather();
    assert!(world.has(worker, |event| *event == Event::Gathered));
    let answer = world.told_by(worker);
    assert_ne!((&answer.ufrag, &answer.password), (&before.ufrag, &before.password));
    world.hear(caller, &answer);
    world.talk(secs(3));
    assert!(world.has(worker, |event| *event == Event::Completed));
    world.assert_media([caller, worker], &[RTP, RTCP]);
}

#[test]
fn a_description_heard_again_changes_nothing() {
    let (mut world, [caller, worker]) = relayed(Transport::Udp);
    // As after ICE completed: the chosen address is the default one.
    let repeated = world.told_by(caller);
    assert_eq!(repeated.candidates.len(), 2);
    assert_eq!(repeated.default_of(RTP), Some(at("198.51.100.7:10000")));
    let told = world.hosts[caller].agent.description().attributes();
    let (name, chosen) = told.last().unwrap();
    let relayed = world.hosts[worker].agent.selected(RTP).unwrap().local.address;
    assert_eq!(*name, "remote-candidates");
    assert!(chosen.starts_with(&format!("1 {} {} 2 ", relayed.ip(), relayed.port())), "{chosen}");
    let events = world.hosts[worker].events.len();
    assert_eq!(world.hear(worker, &repeated), RemoteChange::Same);
    world.talk(secs(2));
    assert_eq!(world.hosts[worker].events.len(), events);
    world.assert_media([caller, worker], &[RTP, RTCP]);
}

#[test]
fn a_peer_that_knows_no_restart_goes_on_with_what_it_said_before() {
    let (mut world, [caller, worker]) = relayed(Transport::Udp);
    let same = world.told_by(caller);
    let edges = vec![world.server(1, Transport::Udp)];
    world.hosts[worker].agent.restart(world.now, edges);
    world.take_out(worker);
    world.gather();
    assert_eq!(world.hear(worker, &same), RemoteChange::RestartIgnored);
    world.talk(secs(5));
    world.assert_media([caller, worker], &[RTP]);
}

#[test]
fn a_restart_that_finds_no_way_keeps_the_former_pair() {
    let (mut world, [caller, worker]) = relayed(Transport::Udp);
    world.edges[1].is_dead = true;
    world.hosts[worker].events.clear();
    let edges = vec![world.server(1, Transport::Udp)];
    world.hosts[worker].agent.restart(world.now, edges);
    world.take_out(worker);
    world.talk(secs(4));
    assert!(world.has(worker, |event| *event == Event::Gathered));
    let offer = world.told_by(worker);
    world.hear(caller, &offer);
    world.gather();
    let answer = world.told_by(caller);
    world.hear(worker, &answer);
    world.talk(secs(41));
    assert!(
        world.has(worker, |event| *event == Event::Failed { keeps_former: true }),
        "{}",
        world.hosts[worker].agent.story()
    );
    world.assert_media([caller, worker], &[RTP, RTCP]);
}

#[test]
fn each_edge_failure_is_told_by_its_name_and_gathering_goes_on() {
    let table: [(&str, Option<RelayFailure>, bool, EdgeFailure, Failure); 4] = [
        ("down", None, true, EdgeFailure::Unreachable, Failure::NoAnswer),
        ("no port", Some(RelayFailure::NoPort), false, EdgeFailure::OutOfPorts, Failure::Capacity),
        ("quota", Some(RelayFailure::Quota), false, EdgeFailure::OutOfPorts, Failure::Quota),
        (
            "expired token",
            None,
            false,
            EdgeFailure::NoCredentials,
            Failure::Credentials(postern_turn::error_code::ErrorCode::UNAUTHENTICATED),
        ),
    ];
    for (name, relay, dead, why, detail) in table {
        let mut world = World::new(12);
        let edge = world.add_edge_with("203.0.113.10:3478", Wishes::default());
        world.edges[edge].fail_relays(relay);
        world.edges[edge].is_dead = dead;
        let mut server = world.server(edge, Transport::Udp);
        if why == EdgeFailure::NoCredentials {
            server.credentials = world.edges[edge].classic_token(Duration::ZERO);
        }
        let worker = world.add_with(Plan::new(Role::Controlled, "192.0.2.9"), vec![server]);
        world.gather();
        let expected = Event::EdgeFailed { edge: EdgeId(0), component: RTP, why, detail, in_use: false };
        assert!(world.hosts[worker].events.contains(&expected), "{name}: {:?}", world.hosts[worker].events);
        assert_eq!(world.hosts[worker].agent.story().edge_failures, [why], "{name}");
        assert_eq!(world.hosts[worker].agent.description().candidates.len(), 2, "{name}: the inside is served");
    }
}

#[test]
fn a_draining_edge_sends_to_another_over_udp_and_tcp() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut world = World::new(13);
        let wishes = Wishes { alternate: Some(at("203.0.113.20:3478")), ..Wishes::default() };
        world.add_edge_with("203.0.113.10:3478", wishes);
        world.add_edge("203.0.113.20:3478");
        let now = world.now;
        world.edges[0].drain(now);
        let worker = world.add(Plan::new(Role::Controlled, "192.0.2.9").relay_only().edge(0, transport));
        world.gather();
        let candidates = world.hosts[worker].agent.description().candidates;
        assert_eq!(candidates.len(), 2, "{transport:?} {:?}", world.hosts[worker].events);
        assert!(candidates.iter().all(|candidate| candidate.address.ip() == at("203.0.113.20:0").ip()));
    }
}
