//! A byte-identical repeat from the same 5-tuple is a retransmission and gets the same answer (RFC 8489 section 6.3.1).

use postern_turn::limits::ANSWERS_KEPT_MAX;

use crate::prelude::*;

/// Sends the same bytes again and again and wants the same answer.
fn assert_repeats(world: &mut World, endpoint: &Endpoint, request: &[u8]) -> Answer {
    let first = world.ask_raw(endpoint.client, request).expect("an answer");
    for _ in 0..3 {
        world.pass_secs(1);
        assert_eq!(world.ask_raw(endpoint.client, request).as_ref(), Some(&first));
    }
    first
}

fn greeted(world: &mut World) -> Endpoint {
    let mut alice = Endpoint::new(world, "198.51.100.1:4000");
    world.greet(&mut alice);
    alice
}

#[test]
fn a_repeated_allocate_gets_the_first_answer_and_opens_nothing() {
    let mut world = World::new();
    let mut alice = greeted(&mut world);
    let request = alice.signed(Method::Allocate, &[UDP]);
    assert_eq!(assert_repeats(&mut world, &alice, &request).code(), None);
    assert_eq!(world.open_relays().len(), 1);
}

#[test]
fn an_allocate_repeated_while_its_socket_is_opened_opens_nothing_and_is_answered_once() {
    let mut world = World::new();
    let mut alice = greeted(&mut world);
    world.hold_relays = true;
    let request = alice.signed(Method::Allocate, &[UDP]);
    for _ in 0..3 {
        assert_eq!(world.send(alice.client, &request), Verdict::Control);
    }
    assert_eq!(world.held.len(), 1);
    world.release_relay();
    assert!(world.take_answer(&request).is_some());
    assert!(world.take_answer(&request).is_none());
}

#[test]
fn a_repeated_failed_allocate_fails_again_although_there_is_room_by_now() {
    let mut world = World::with(|setup| setup.quotas.allocations_per_identity = 1);
    let (mut first, _) = allocated(&mut world);
    let mut second = Endpoint::new(&world, "198.51.100.1:4001");
    world.greet(&mut second);
    let request = second.signed(Method::Allocate, &[UDP]);
    let refused = world.ask_raw(second.client, &request).unwrap();
    assert_eq!(refused.code(), Some(486));
    world.ask(&mut first, Method::Refresh, &[Attribute::Lifetime(0)]);
    assert_eq!(world.ask_raw(second.client, &request), Some(refused));
    assert_eq!(world.ask(&mut second, Method::Allocate, &[UDP]).code(), None, "a new request is served");
}

#[test]
fn a_repeated_refresh_0_succeeds_again() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    let request = alice.signed(Method::Refresh, &[Attribute::Lifetime(0)]);
    assert_eq!(assert_repeats(&mut world, &alice, &request).lifetime(), Some(0));
}

#[test]
fn a_repeated_permission_or_channel_gets_its_answer_and_extends_nothing() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    let request = alice.signed(Method::CreatePermission, &[Attribute::XorPeerAddress(peer())]);
    world.ask_raw(alice.client, &request).unwrap();
    world.pass_secs(30);
    assert_eq!(world.ask_raw(alice.client, &request).unwrap().code(), None);
    world.jump_nanos(270 * SECOND);
    assert_eq!(world.deliver(relayed, peer(), b"x"), Err(DropReason::NoPermission));
}

#[test]
fn a_repeated_mobile_refresh_gets_the_same_ticket() {
    let mut world = World::with(|setup| setup.features.mobility = true);
    let mut alice = greeted(&mut world);
    let ticket = world.ask(&mut alice, Method::Allocate, &[UDP, Attribute::MobilityTicket(&[])]).ticket().unwrap();
    let mut elsewhere = Endpoint::new(&world, "192.0.2.200:7000");
    world.greet(&mut elsewhere);
    let request = elsewhere.signed(Method::Refresh, &[Attribute::MobilityTicket(&ticket)]);
    assert!(assert_repeats(&mut world, &elsewhere, &request).ticket().is_some());
}

#[test]
fn the_same_transaction_id_with_other_bytes_is_another_request() {
    let mut world = World::new();
    let mut alice = greeted(&mut world);
    let mut twin = alice.clone();
    let first = alice.signed(Method::Allocate, &[UDP]);
    let second = twin.signed(Method::Allocate, &[UDP, Attribute::Lifetime(700)]);
    assert_eq!(first[4..20], second[4..20]);
    assert_eq!(world.ask_raw(alice.client, &first).unwrap().code(), None);
    assert_eq!(world.ask_raw(alice.client, &second).unwrap().code(), Some(437));
}

#[test]
fn the_same_bytes_from_another_5_tuple_are_no_repeat() {
    let mut world = World::new();
    let mut alice = greeted(&mut world);
    let request = alice.signed(Method::Allocate, &[UDP]);
    world.ask_raw(alice.client, &request).unwrap();
    let thief = Endpoint::new(&world, "198.51.100.1:4001");
    assert_eq!(world.ask_raw(thief.client, &request).unwrap().code(), Some(438));
}

#[test]
fn after_forty_seconds_the_bytes_are_a_request_again() {
    let mut world = World::new();
    let mut alice = greeted(&mut world);
    let request = alice.signed(Method::Allocate, &[UDP]);
    world.ask_raw(alice.client, &request).unwrap();
    world.pass_secs(40);
    assert_eq!(world.ask_raw(alice.client, &request).unwrap().code(), Some(437));
}

#[test]
fn answers_to_strangers_are_not_kept() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let request = alice.bare(Method::Allocate, &[UDP]);
    let first = world.ask_raw(alice.client, &request).unwrap();
    world.pass_secs(1);
    let second = world.ask_raw(alice.client, &request).unwrap();
    assert_ne!(first.nonce(), second.nonce(), "made anew, with the nonce of its time");
}

#[test]
fn a_flood_of_another_users_requests_drives_no_answer_out() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.greet(&mut alice);
    let request = alice.signed(Method::Allocate, &[UDP]);
    let first = world.ask_raw(alice.client, &request).unwrap();
    let mut mallory = Endpoint::named(&world, "mallory", "198.51.100.66:4000");
    world.greet(&mut mallory);
    for _ in 0..2 * ANSWERS_KEPT_MAX {
        assert_eq!(world.ask(&mut mallory, Method::Refresh, &[]).code(), Some(437));
    }
    assert_eq!(world.ask_raw(alice.client, &request), Some(first));
}
