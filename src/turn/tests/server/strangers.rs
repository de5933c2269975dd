//! What strangers get: little, seldom, and nothing of theirs is kept.

use crate::harness::channel_data;
use crate::prelude::*;

/// Answers that one source gets to `count` requests at one moment.
fn answers(world: &mut World, remote: &str, count: usize, method: Method) -> usize {
    let mut endpoint = Endpoint::new(world, remote);
    let asked = (0..count).filter(|_| {
        let request = endpoint.bare(method, &[UDP]);
        world.ask_raw(endpoint.client, &request).is_some()
    });
    asked.count()
}

#[test]
fn beyond_twenty_answers_per_second_and_source_there_is_silence_and_a_counter() {
    let mut world = World::new();
    assert_eq!(answers(&mut world, "198.51.100.1:4000", 30, Method::Allocate), 20);
    assert_eq!(answers(&mut world, "198.51.100.1:5000", 10, Method::Binding), 0, "another port is the same source");
    assert_eq!(world.server.counters.strangers_limited, 20);
    assert_eq!(world.server.counters.dropped(DropReason::RateLimited), 20);
    assert_eq!(answers(&mut world, "198.51.100.2:4000", 10, Method::Binding), 10, "another source is not disturbed");
    world.pass_nanos(SECOND + SECOND / 16);
    assert_eq!(answers(&mut world, "198.51.100.1:4000", 30, Method::Allocate), 20);
}

#[test]
fn workers_are_answered_however_often_they_ask() {
    let mut world = World::with(|setup| setup.worker_networks = vec!["10.20.0.0/24".parse().unwrap()]);
    assert_eq!(answers(&mut world, "10.20.0.20:4000", 30, Method::Allocate), 30);
    assert_eq!(answers(&mut world, "10.20.1.20:4000", 30, Method::Allocate), 20);
}

#[test]
fn no_span_of_one_second_sees_more_than_twenty_answers() {
    let mut world = World::new();
    let mut answered = Vec::new();
    for _ in 0..500 {
        world.pass_nanos(SECOND / 150);
        if answers(&mut world, "198.51.100.1:4000", 1, Method::Binding) == 1 {
            answered.push(world.now.mono_nanos);
        }
    }
    let spans = answered.iter().map(|begin| answered.iter().filter(|at| (*begin..begin + SECOND).contains(at)).count());
    assert_eq!(spans.max(), Some(20));
}

#[test]
fn ipv6_sources_are_counted_by_64_bit_prefix() {
    let mut world = World::new();
    assert_eq!(answers(&mut world, "[2001:db8:1::1]:4000", 30, Method::Binding), 20);
    assert_eq!(answers(&mut world, "[2001:db8:1::2]:4000", 30, Method::Binding), 0);
    assert_eq!(answers(&mut world, "[2001:db8:1:1::1]:4000", 30, Method::Binding), 20);
}

/// A stranger's connection.
fn connection(world: &World, port: u16) -> Endpoint {
    Endpoint::over(world, "mallory", &format!("198.51.100.1:{port}"), Transport::Tcp)
}

#[test]
fn a_connection_whose_source_has_had_its_answers_is_closed_at_once_and_counted() {
    for method in [Method::Allocate, Method::Binding] {
        let mut world = World::new();
        let mut stranger = connection(&world, 4_000);
        let request = stranger.bare(method, &[UDP]);
        for _ in 0..20 {
            assert!(world.ask_raw(stranger.client, &request).is_some());
        }
        assert!(world.take_actions().is_empty());
        assert_eq!(world.ask_raw(stranger.client, &request), None);
        assert_eq!(closings(&world.take_actions()), [(stranger.client, CloseCause::Stranger)]);
        assert_eq!(world.server.counters.strangers_limited, 1);
        assert_eq!(world.server.counters.dropped(DropReason::RateLimited), 1);
        let mut next = connection(&world, 4_001);
        let request = next.bare(method, &[UDP]);
        assert_eq!(world.ask_raw(next.client, &request), None, "another connection of that source does not help");
        assert_eq!(closings(&world.take_actions()), [(next.client, CloseCause::Stranger)]);
        world.pass_nanos(SECOND + SECOND / 16);
        let mut later = connection(&world, 4_002);
        let request = later.bare(method, &[UDP]);
        assert!(world.ask_raw(later.client, &request).is_some());
    }
}

#[test]
fn forged_datagrams_close_no_connection_of_their_source() {
    let mut world = World::new();
    answers(&mut world, "198.51.100.1:9", 100, Method::Binding);
    let mut stranger = connection(&world, 4_000);
    world.greet(&mut stranger);
    assert!(world.take_actions().is_empty());
}

#[test]
fn a_connection_with_an_allocation_is_not_closed_for_wrong_credentials() {
    let mut world = World::new();
    let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4000", Transport::Tls);
    world.allocate(&mut alice);
    world.take_actions();
    let mut mistaken = alice.clone();
    mistaken.password = b"wrong".to_vec();
    let answered = (0..30).filter(|_| world.try_ask(&mut mistaken, Method::Refresh, &[]).is_some()).count();
    assert_eq!(answered, 19, "the challenge was the first");
    assert!(closings(&world.take_actions()).is_empty());
    let mut again = mistaken.clone();
    again.password = alice.password.clone();
    assert_eq!(world.ask(&mut again, Method::Refresh, &[]).code(), None);
}

#[test]
fn wrong_passwords_count_as_strangers() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.greet(&mut alice);
    alice.password = b"wrong".to_vec();
    let answered = (0..30).filter(|_| world.try_ask(&mut alice, Method::Allocate, &[UDP]).is_some()).count();
    assert_eq!(answered, 19, "the challenge was the first");
}

#[test]
fn a_client_that_authenticates_is_served_while_its_source_is_limited() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    answers(&mut world, "198.51.100.1:5000", 100, Method::Allocate);
    permit(&mut world, &mut alice, peer());
    let request = alice.bare(Method::Binding, &[]);
    assert!(world.ask_raw(alice.client, &request).is_some(), "its keep-alive too");
}

#[test]
fn an_old_nonce_of_a_known_client_is_renewed_while_its_source_is_limited() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.allocate_with(&mut alice, &[Attribute::Lifetime(3_600)]);
    world.pass_secs(600);
    answers(&mut world, "198.51.100.1:5000", 100, Method::Allocate);
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), Some(438));
}

#[test]
fn thirty_thousand_strangers_leave_nothing_behind() {
    let mut world = World::new();
    for index in 0..30_000_u32 {
        let [_, a, b, c] = index.to_be_bytes();
        let mut endpoint = Endpoint::new(&world, &format!("100.{a}.{b}.{c}:4000"));
        let bytes = match index % 4 {
            0 => endpoint.bare(Method::Allocate, &[UDP]),
            1 => endpoint.bare(Method::Binding, &[]),
            2 => {
                (endpoint.nonce, endpoint.password) = (b"garbage".to_vec(), b"garbage".to_vec());
                endpoint.signed(Method::Allocate, &[UDP])
            }
            _ => channel_data(0x4000, b"stray"),
        };
        world.send(endpoint.client, &bytes);
        world.told.clear();
    }
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(world.server.next_timeout(), None, "no timer waits");
    assert!(world.open_relays().is_empty() && world.actions.is_empty());
}
