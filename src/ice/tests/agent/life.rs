//! Pairs in use: consent, quiet pairs, keepalives, and the end of a call.

use postern_ice::candidate::Kind;
use postern_ice::io::{Event, HEADROOM, Role, TAILROOM, Transport};

use crate::edge::Wishes;
use crate::nat::{Dependence, Nat};
use crate::world::{Plan, RTCP, RTP, World, at, millis, secs};

fn direct() -> (World, [usize; 2]) {
    let mut world = World::new(1);
    let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1"));
    let worker = world.add(Plan::new(Role::Controlled, "10.0.0.2"));
    world.introduce(caller, worker);
    world.pass(secs(1));
    (world, [caller, worker])
}

fn lost(world: &World, host: usize) -> Vec<bool> {
    let lost = |event: &Event| match event {
        Event::ConsentLost { component, ever_answered } if *component == RTP => Some(*ever_answered),
        _ => None,
    };
    world.hosts[host].events.iter().filter_map(lost).collect()
}

#[test]
fn consent_lasts_as_long_as_the_peer_answers() {
    let (mut world, hosts) = direct();
    world.pass(secs(600));
    for host in hosts {
        assert_eq!(lost(&world, host), [] as [bool; 0]);
    }
    world.assert_media(hosts, &[RTP, RTCP]);
    // Two components, a check every five seconds or so, and answers to the other's.
    assert!(world.hosts[0].sent < 600, "{}", world.hosts[0].sent);
}

#[test]
fn a_peer_that_answered_and_fell_silent_ends_consent_after_thirty_seconds() {
    let (mut world, [caller, worker]) = direct();
    world.pass(secs(20));
    world.hosts[caller].blocked.push(at("10.0.0.2:0"));
    // Its last answer came at most six seconds ago.
    world.pass(secs(23));
    assert_eq!(lost(&world, worker), [] as [bool; 0]);
    assert!(world.say(worker, RTP));
    world.pass(secs(8));
    assert_eq!(lost(&world, worker), [true]);
    assert!(!world.say(worker, RTP), "nothing is sent without consent");
    world.pass(secs(100));
    assert_eq!(lost(&world, worker), [true], "told once");
}

#[test]
fn a_peer_that_never_answered_since_nomination_is_told_apart_and_still_sent_to() {
    let mut world = World::new(2);
    let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1"));
    let worker = world.add(Plan::new(Role::Controlled, "10.0.0.2"));
    world.introduce(caller, worker);
    while world.hosts[worker].agent.selected(RTP).is_none() {
        world.pass(millis(5));
    }
    // Its nominating check is on its way already.
    world.pass(millis(60));
    world.hosts[caller].blocked.push(at("10.0.0.2:0"));
    world.pass(secs(40));
    assert_eq!(lost(&world, worker), [false]);
    assert!(world.say(worker, RTP));
}

#[test]
fn consent_comes_back_with_an_answer() {
    let (mut world, [caller, worker]) = direct();
    world.pass(secs(10));
    world.hosts[caller].blocked.push(at("10.0.0.2:0"));
    world.pass(secs(40));
    assert!(!world.say(worker, RTP));
    world.hosts[caller].blocked.clear();
    world.pass(secs(10));
    assert!(world.say(worker, RTP));
}

#[test]
fn media_that_stops_together_with_the_peer_is_noticed_within_three_seconds() {
    let (mut world, [caller, worker]) = direct();
    world.talk(secs(5));
    world.hosts[caller].blocked.push(at("10.0.0.2:0"));
    let is_quiet = |event: &Event| matches!(event, Event::PairQuiet { .. });
    world.talk(millis(2_300));
    assert!(!world.has(worker, is_quiet));
    world.talk(millis(500));
    assert!(world.has(worker, is_quiet));
}

#[test]
fn a_peer_on_hold_that_answers_is_not_quiet() {
    let (mut world, [_, worker]) = direct();
    world.talk(secs(5));
    world.pass(secs(120));
    assert!(!world.has(worker, |event| matches!(event, Event::PairQuiet { .. })));
}

#[test]
fn direct_calls_give_their_allocations_back() {
    let mut world = World::new(4);
    let edge = world.add_edge("203.0.113.10:3478");
    let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1"));
    let worker = world.add(Plan::new(Role::Controlled, "10.0.0.2").edge(edge, Transport::Udp));
    world.introduce(caller, worker);
    assert_eq!(world.edges[edge].server.allocations(), 2);
    world.pass(secs(8));
    assert_eq!(world.kinds(worker, RTP), Some((Kind::Host, Kind::Host)));
    assert_eq!(world.edges[edge].server.allocations(), 0);
}

#[test]
fn a_relay_is_kept_while_the_peer_sends_by_it() {
    let mut world = World::new(4);
    let edges = [world.add_edge("203.0.113.10:3478"), world.add_edge("203.0.113.20:3478")];
    let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1").relay_only().edge(edges[1], Transport::Udp));
    let worker = world.add(Plan::new(Role::Controlled, "192.0.2.9").edge(edges[0], Transport::Udp));
    world.introduce(caller, worker);
    let [from, to] = [caller, worker].map(|host| world.hosts[host].agent.local_address(RTP, Kind::Relayed).unwrap());
    world.pass(secs(3));
    assert_eq!(world.kinds(worker, RTP), Some((Kind::Host, Kind::Relayed)));
    world.hosts[worker].heard.clear();
    // The peer uses the other pair, which worked as well.
    for _ in 0..500 {
        world.inject(from, to, vec![0x80; 172]);
        world.pass(millis(20));
    }
    world.pass(secs(6));
    assert_eq!(world.hosts[worker].heard.len(), 500);
    assert_eq!(world.edges[edges[0]].server.allocations(), 0);
}

#[test]
fn a_relayed_call_lasts_for_hours_under_tokens_of_minutes() {
    let mut world = World::new(4);
    let edge = world.add_edge("203.0.113.10:3478");
    let caller = world.add(Plan::new(Role::Controlling, "198.51.100.7"));
    let plan = Plan::new(Role::Controlled, "192.0.2.9").blocking("198.51.100.7:0");
    let worker = world.add(plan.edge(edge, Transport::Udp));
    world.introduce(caller, worker);
    world.pass(secs(5));
    let start = world.now;
    for minutes in 1..=12 {
        world.pass(secs(600));
        let newer = world.edges[edge].token(secs(36_000 + minutes));
        let id = postern_ice::io::EdgeId(edge as u16);
        world.hosts[worker].agent.set_edge_credentials(world.now, id, &newer);
        world.take_out(worker);
    }
    world.pass(secs(1));
    assert!(world.now - start > secs(7_000));
    assert!(!world.has(worker, |event| matches!(event, Event::EdgeCredentialsRefused { .. })));
    world.assert_media([caller, worker], &[RTP, RTCP]);
}

#[test]
fn relayed_media_goes_by_a_channel_with_four_bytes_more() {
    let mut world = World::new(4);
    let edge = world.add_edge("203.0.113.10:3478");
    let caller = world.add(Plan::new(Role::Controlling, "198.51.100.7"));
    let plan = Plan::new(Role::Controlled, "192.0.2.9").blocking("198.51.100.7:0");
    let worker = world.add(plan.edge(edge, Transport::Udp));
    world.introduce(caller, worker);
    world.pass(secs(5));
    for component in [RTP, RTCP] {
        let mut buffer = [0x80; HEADROOM + 172 + TAILROOM];
        let agent = &mut world.hosts[worker].agent;
        let out = agent.send(component, &mut buffer, HEADROOM..HEADROOM + 172).unwrap();
        assert_eq!(out.to, at("203.0.113.10:3478"));
        assert_eq!(out.frame, HEADROOM - 4..HEADROOM + 172);
    }
}

#[test]
fn closing_gives_everything_back() {
    let mut world = World::new(4);
    let edge = world.add_edge("203.0.113.10:3478");
    let worker =
        world.add(Plan::new(Role::Controlled, "192.0.2.9").edge(edge, Transport::Udp).edge(edge, Transport::Tcp));
    world.gather();
    assert_eq!(world.edges[edge].server.allocations(), 4);
    world.hosts[worker].agent.close(world.now);
    world.take_out(worker);
    world.pass(secs(1));
    assert!(world.hosts[worker].agent.is_closed());
    assert_eq!(world.hosts[worker].agent.next_timeout(), None);
    assert_eq!(world.edges[edge].server.allocations(), 0);
}

#[test]
fn a_long_silence_keeps_the_translator_open() {
    let mut world = World::new(4);
    world.nats.push(Nat::new(at("198.51.100.1:0").ip(), Dependence::Endpoint, Dependence::AddressAndPort));
    world.add_edge_with("203.0.113.10:3478", Wishes::default());
    let caller = world.add(Plan::new(Role::Controlling, "10.0.0.1").behind(0));
    let worker = world.add(Plan::new(Role::Controlled, "192.0.2.9"));
    world.introduce(caller, worker);
    world.pass(secs(5));
    let before = world.hosts[caller].sent;
    world.pass(secs(60));
    assert!(world.hosts[caller].sent - before >= 20, "a check at least every six seconds, for each component");
}
