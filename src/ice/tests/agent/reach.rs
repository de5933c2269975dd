//! Who reaches whom, and by what kind of pair.

use postern_ice::candidate::Kind;
use postern_ice::io::{Event, Role, Transport};

use crate::nat::{Dependence, KINDS, Nat};
use crate::world::{Plan, RTCP, RTP, World, at, millis, secs};

#[test]
fn two_hosts_on_one_network_meet_directly() {
    let mut world = World::new(1);
    let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1"));
    let worker = world.add(Plan::new(Role::Controlled, "10.0.0.2"));
    world.introduce(caller, worker);
    world.pass(millis(1_000));
    for host in [caller, worker] {
        for component in [RTP, RTCP] {
            assert_eq!(world.kinds(host, component), Some((Kind::Host, Kind::Host)));
        }
        assert!(world.has(host, |event| *event == Event::Completed));
    }
    world.assert_media([caller, worker], &[RTP, RTCP]);
}

#[test]
fn direct_media_flows_within_a_quarter_of_a_second() {
    let mut world = World::new(1);
    world.latency = millis(1);
    let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1"));
    let worker = world.add(Plan::new(Role::Controlled, "10.0.0.2"));
    world.introduce(caller, worker);
    world.pass(millis(60));
    assert!(world.say(caller, RTP) && world.say(worker, RTP), "{}", world.hosts[worker].agent.story());
}

/// Both behind translators of some kind; the caller knows no relay, the worker has one.
fn through(mapping: Dependence, filtering: Dependence, worker: (Dependence, Dependence)) -> (World, [usize; 2]) {
    let mut world = World::new(3);
    world.nats.push(Nat::new(at("198.51.100.1:0").ip(), mapping, filtering));
    world.nats.push(Nat::new(at("198.51.100.2:0").ip(), worker.0, worker.1));
    let edge = world.add_edge("203.0.113.10:3478");
    let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1").behind(0));
    let worker = world.add(Plan::new(Role::Controlled, "10.0.1.1").behind(1).edge(edge, Transport::Udp));
    world.introduce(caller, worker);
    world.pass(secs(5));
    (world, [caller, worker])
}

#[test]
fn every_kind_of_translator_is_crossed_with_one_relay() {
    for mapping in KINDS {
        for filtering in KINDS {
            for worker in KINDS.into_iter().flat_map(|mapping| KINDS.map(|filtering| (mapping, filtering))) {
                let (mut world, hosts) = through(mapping, filtering, worker);
                assert!(
                    world.has(hosts[1], |event| *event == Event::Completed),
                    "{mapping:?} {filtering:?} {worker:?}\n{}",
                    world.hosts[hosts[1]].agent.story()
                );
                world.assert_media(hosts, &[RTP, RTCP]);
            }
        }
    }
}

#[test]
fn mild_translators_are_crossed_without_a_relay() {
    let mild = Dependence::Endpoint;
    for filtering in KINDS {
        let (world, [caller, worker]) = through(mild, filtering, (mild, Dependence::AddressAndPort));
        for host in [caller, worker] {
            let (local, remote) = world.kinds(host, RTP).unwrap();
            assert!(local != Kind::Relayed && remote != Kind::Relayed, "{filtering:?}");
        }
    }
}

#[test]
fn two_symmetric_translators_leave_only_the_relay() {
    let symmetric = Dependence::AddressAndPort;
    let (world, [caller, worker]) = through(symmetric, symmetric, (symmetric, symmetric));
    assert_eq!(world.kinds(worker, RTP).map(|(local, _)| local), Some(Kind::Relayed));
    assert_eq!(world.kinds(caller, RTP).map(|(_, remote)| remote), Some(Kind::Relayed));
}

#[test]
fn relayed_to_relayed_works_on_one_edge_and_across_two() {
    for edges in [1, 2] {
        let mut world = World::new(5);
        for number in 0..edges {
            world.add_edge(&format!("203.0.113.{}:3478", 10 + number));
        }
        let plan = |role, ip| Plan::new(role, ip).relay_only();
        let caller = world.add(plan(Role::Controlling, "198.51.100.7").edge(0, Transport::Udp));
        let worker = world.add(plan(Role::Controlled, "192.0.2.9").edge(edges - 1, Transport::Udp));
        world.introduce(caller, worker);
        world.pass(secs(3));
        for host in [caller, worker] {
            assert_eq!(world.kinds(host, RTP), Some((Kind::Relayed, Kind::Relayed)), "{edges}");
            assert_eq!(world.kinds(host, RTCP), Some((Kind::Relayed, Kind::Relayed)), "{edges}");
        }
        world.assert_media([caller, worker], &[RTP, RTCP]);
    }
}

#[test]
fn the_relayed_ports_of_rtp_and_rtcp_are_neighbours() {
    let mut world = World::new(5);
    let edge = world.add_edge("203.0.113.10:3478");
    let worker = world.add(Plan::new(Role::Controlled, "192.0.2.9").relay_only().edge(edge, Transport::Udp));
    world.gather();
    let candidates = world.hosts[worker].agent.description().candidates;
    let ports: Vec<u16> = candidates.iter().map(|candidate| candidate.address.port()).collect();
    assert_eq!(ports.len(), 2);
    assert_eq!((ports[0] % 2, ports[1]), (0, ports[0] + 1));
}

#[test]
fn udp_that_is_blocked_is_gone_around_by_tcp() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut world = World::new(6);
        let edge = world.add_edge("203.0.113.10:3478");
        let caller = world.add(Plan::new(Role::Controlling, "198.51.100.7"));
        let plan = Plan::new(Role::Controlled, "192.0.2.9").blocking("203.0.113.10:0").blocking("198.51.100.7:0");
        let worker = world.add(plan.edge(edge, Transport::Udp).edge(edge, transport));
        world.introduce(caller, worker);
        world.pass(secs(5));
        assert_eq!(world.kinds(worker, RTP).map(|(local, _)| local), Some(Kind::Relayed));
        world.assert_media([caller, worker], &[RTP, RTCP]);
    }
}

#[test]
fn one_component_is_enough_when_rtcp_shares_the_flow() {
    let mut world = World::new(7);
    let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1").mux());
    let worker = world.add(Plan::new(Role::Controlled, "10.0.0.2").mux());
    world.introduce(caller, worker);
    world.pass(secs(1));
    assert!(world.has(worker, |event| *event == Event::Completed));
    assert_eq!(world.kinds(worker, RTCP), None);
    world.assert_media([caller, worker], &[RTP]);
}

#[test]
fn a_peer_that_answers_with_one_component_completes_an_offer_of_two() {
    let mut world = World::new(7);
    let worker = world.add(Plan::new(Role::Controlling, "10.0.0.2"));
    let phone = world.add(Plan::new(Role::Controlled, "10.0.0.1").mux());
    world.introduce(worker, phone);
    world.pass(secs(1));
    assert!(world.has(worker, |event| *event == Event::Completed), "{}", world.hosts[worker].agent.story());
    world.assert_media([worker, phone], &[RTP]);
}

#[test]
fn both_families_meet_in_each_of_their_own() {
    let mut world = World::new(8);
    let mut plan = Plan::new(Role::Controlling, "2001:db8::1");
    plan.sockets.push("10.0.0.1");
    let caller = world.add(plan);
    let mut plan = Plan::new(Role::Controlled, "2001:db8::2");
    plan.sockets.push("10.0.0.2");
    let worker = world.add(plan);
    world.introduce(caller, worker);
    world.pass(secs(1));
    let story = world.hosts[worker].agent.story();
    assert!(story.pairs.iter().all(|pair| pair.local.address.is_ipv4() == pair.remote.address.is_ipv4()));
    assert!(world.hosts[worker].agent.selected(RTP).unwrap().local.address.is_ipv6(), "{story}");
    world.assert_media([caller, worker], &[RTP, RTCP]);
}

#[test]
fn loss_and_reordering_only_delay() {
    for seed in 0..12 {
        let mut world = World::new(seed);
        let edge = world.add_edge("203.0.113.10:3478");
        let symmetric = Dependence::AddressAndPort;
        world.nats.push(Nat::new(at("198.51.100.1:0").ip(), symmetric, symmetric));
        let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1").behind(0));
        let worker = world.add(Plan::new(Role::Controlled, "192.0.2.9").edge(edge, Transport::Udp));
        world.gather();
        world.loss_per_mille = 150;
        world.jitter = millis(60);
        world.introduce(caller, worker);
        world.pass(secs(15));
        world.loss_per_mille = 0;
        assert!(
            world.kinds(worker, RTP).is_some() && world.kinds(caller, RTP).is_some(),
            "seed {seed}\n{}",
            world.hosts[worker].agent.story()
        );
        world.assert_media([caller, worker], &[RTP]);
    }
}

#[test]
fn checks_begin_50_ms_apart() {
    let mut world = World::new(9);
    let mut plan = Plan::new(Role::Controlling, "10.0.0.1");
    plan.sockets.extend(["10.0.1.1", "10.0.2.1", "10.0.3.1"]);
    let caller = world.add(plan);
    let mut plan = Plan::new(Role::Controlled, "10.9.0.1");
    plan.sockets.extend(["10.9.1.1", "10.9.2.1", "10.9.3.1"]);
    let worker = world.add(plan);
    world.gather();
    world.tell(worker, caller);
    let before = world.hosts[caller].sent;
    // The worker knows nothing yet: it answers, and does not check.
    world.latency = secs(60);
    world.pass(millis(499));
    assert_eq!(world.hosts[caller].sent - before, 10);
}

#[test]
fn without_any_way_the_story_says_what_was_tried() {
    let mut world = World::new(10);
    let symmetric = Dependence::AddressAndPort;
    for number in 1..=2 {
        world.nats.push(Nat::new(at(&format!("198.51.100.{number}:0")).ip(), symmetric, symmetric));
    }
    world.add_edge("203.0.113.10:3478");
    let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1").behind(0));
    let worker = world.add(Plan::new(Role::Controlled, "10.0.1.1").behind(1));
    world.introduce(caller, worker);
    world.pass(secs(40));
    for host in [caller, worker] {
        assert!(world.has(host, |event| *event == Event::Failed { keeps_former: false }));
        let story = world.hosts[host].agent.story();
        assert!(story.pairs.iter().all(|pair| pair.state.to_string() == "failed: no answer"), "{story}");
        assert!(story.pairs.iter().all(|pair| pair.checks_sent > 1), "{story}");
    }
}
