//! Allocate, RFC 8656 section 7.2.

use postern_turn::io::{PortWish, RelayFailure};

use crate::prelude::*;

fn greeted(world: &mut World) -> Endpoint {
    let mut alice = Endpoint::new(world, "198.51.100.1:4000");
    world.greet(&mut alice);
    alice
}

fn code(attributes: &[Attribute<'_>]) -> Option<u16> {
    let mut world = World::new();
    let mut alice = greeted(&mut world);
    let code = world.ask(&mut alice, Method::Allocate, attributes).code();
    assert_eq!(world.open_relays().is_empty(), code.is_some());
    code
}

#[test]
fn allocate_answers_relayed_address_lifetime_and_mapped_address() {
    let mut world = World::new();
    let mut alice = greeted(&mut world);
    let answer = world.ask(&mut alice, Method::Allocate, &[UDP]);
    assert_eq!(
        answer.types(),
        [AttributeType::XOR_RELAYED_ADDRESS, AttributeType::LIFETIME, AttributeType::XOR_MAPPED_ADDRESS]
    );
    assert_eq!(answer.relayed(), world.open_relays());
    assert_eq!((answer.lifetime(), answer.mapped()), (Some(600), Some(alice.client.remote)));
    assert!((50_000..=50_999).contains(&answer.relayed()[0].port()));
}

#[test]
fn a_started_record_says_who_and_where() {
    let mut world = World::new();
    let (alice, relayed) = allocated(&mut world);
    let [Action::Started(record)] = &world.take_actions()[..] else { panic!("one record") };
    assert_eq!((record.client, record.relays.clone(), record.tcp), (alice.client, vec![relayed], false));
    assert_eq!((record.identity.as_str(), record.key_id.as_str(), record.lifetime_secs), ("alice", "k1", 600));
}

#[test]
fn a_second_allocate_on_a_5_tuple_gets_437() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP]).code(), Some(437));
    assert_eq!(world.open_relays().len(), 1);
}

#[test]
fn a_second_allocate_gets_437_while_the_first_waits_for_its_socket() {
    let mut world = World::new();
    let mut alice = greeted(&mut world);
    world.hold_relays = true;
    assert!(world.try_ask(&mut alice, Method::Allocate, &[UDP]).is_none());
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP]).code(), Some(437));
    assert_eq!(world.held.len(), 1);
}

#[test]
fn the_same_client_address_to_another_address_of_ours_is_another_5_tuple() {
    let mut world = World::new();
    let (alice, _) = allocated(&mut world);
    let mut other = alice.clone();
    other.client.local = at("203.0.113.10:3479");
    world.allocate(&mut other);
    assert_eq!(world.server.allocations(), 2);
}

#[test]
fn allocate_without_a_transport_gets_400() {
    assert_eq!(code(&[]), Some(400));
}

#[test]
fn allocate_for_another_transport_gets_442() {
    for protocol in [0, 6, 33, 132, 255] {
        assert_eq!(code(&[Attribute::RequestedTransport(protocol)]), Some(442), "{protocol}");
    }
}

#[test]
fn even_port_gives_an_even_port_and_reserves_nothing_without_the_r_bit() {
    let mut world = World::with(|setup| {
        setup.ports = 50_000..=50_049;
        setup.quotas.allocations_per_identity = 0;
    });
    for index in 0..25 {
        let mut alice = Endpoint::new(&world, &format!("198.51.100.1:{}", 4000 + index));
        world.greet(&mut alice);
        world.pass_secs(1);
        let answer =
            world.ask(&mut alice, Method::Allocate, &[UDP, Attribute::EvenPort(EvenPort { reserve_next: false })]);
        assert_eq!((answer.code(), answer.reservation()), (None, None));
        assert_eq!(answer.relayed()[0].port() % 2, 0);
    }
    for index in 0..25 {
        let mut bob = Endpoint::named(&world, "bob", &format!("198.51.100.2:{}", 4000 + index));
        world.pass_secs(1);
        world.allocate(&mut bob);
    }
}

#[test]
fn even_port_with_the_r_bit_gives_a_token_for_the_next_port() {
    let mut world = World::new();
    let mut alice = greeted(&mut world);
    let first = world.ask(&mut alice, Method::Allocate, &[UDP, Attribute::EvenPort(EvenPort { reserve_next: true })]);
    let token = first.reservation().unwrap();
    let mut second = Endpoint::new(&world, "198.51.100.1:4001");
    let relayed = world.allocate_with(&mut second, &[Attribute::ReservationToken(token)]);
    assert_eq!(relayed.port(), first.relayed()[0].port() + 1);
    let mut third = Endpoint::new(&world, "198.51.100.1:4002");
    world.greet(&mut third);
    let reused = world.ask(&mut third, Method::Allocate, &[UDP, Attribute::ReservationToken(token)]);
    assert_eq!(reused.code(), Some(508), "a token is good once");
}

#[test]
fn a_token_lives_for_thirty_seconds() {
    for (nanos, code) in [(30 * SECOND - 1, None), (30 * SECOND, Some(508))] {
        let mut world = World::new();
        let mut alice = greeted(&mut world);
        let first =
            world.ask(&mut alice, Method::Allocate, &[UDP, Attribute::EvenPort(EvenPort { reserve_next: true })]);
        let mut second = Endpoint::new(&world, "198.51.100.1:4001");
        world.greet(&mut second);
        world.jump_nanos(nanos);
        let token = Attribute::ReservationToken(first.reservation().unwrap());
        assert_eq!(world.ask(&mut second, Method::Allocate, &[UDP, token]).code(), code);
    }
}

#[test]
fn a_made_up_token_gets_508() {
    assert_eq!(code(&[UDP, Attribute::ReservationToken([7; 8])]), Some(508));
}

#[test]
fn a_token_with_even_port_or_a_family_gets_400() {
    let token = Attribute::ReservationToken([7; 8]);
    assert_eq!(code(&[UDP, token, Attribute::EvenPort(EvenPort { reserve_next: false })]), Some(400));
    assert_eq!(code(&[UDP, token, Attribute::RequestedAddressFamily(V4)]), Some(400));
    assert_eq!(code(&[UDP, token, Attribute::AdditionalAddressFamily(V6)]), Some(400));
}

#[test]
fn the_reservation_wish_reaches_the_broker() {
    let mut world = World::new();
    let mut alice = greeted(&mut world);
    world.hold_relays = true;
    world.try_ask(&mut alice, Method::Allocate, &[UDP, Attribute::ReservationToken([7; 8])]);
    assert_eq!(world.held[0].port, PortWish::Reserved([7; 8]));
}

#[test]
fn dont_fragment_is_honoured() {
    assert_eq!(code(&[UDP, Attribute::DontFragment]), None);
}

#[test]
fn the_lifetime_is_at_least_the_default_and_at_most_the_maximum() {
    for (asked, granted) in
        [(None, 600), (Some(0), 600), (Some(60), 600), (Some(1_000), 1_000), (Some(u32::MAX), 3_600)]
    {
        let mut world = World::new();
        let mut alice = greeted(&mut world);
        let mut attributes = vec![UDP];
        attributes.extend(asked.map(Attribute::Lifetime));
        assert_eq!(world.ask(&mut alice, Method::Allocate, &attributes).lifetime(), Some(granted), "{asked:?}");
    }
}

#[test]
fn what_the_broker_cannot_give_becomes_its_error() {
    for (failure, code) in [
        (RelayFailure::Quota, 486),
        (RelayFailure::NoPort, 508),
        (RelayFailure::BadReservation, 508),
        (RelayFailure::Family, 440),
        (RelayFailure::Exhausted, 508),
    ] {
        let mut world = World::new();
        let mut alice = greeted(&mut world);
        world.fail_relays = Some(failure);
        let answer = world.ask(&mut alice, Method::Allocate, &[UDP]);
        assert_eq!((answer.code(), answer.integrity_for(&alice)), (Some(code), Some(IntegrityAlgorithm::Sha1)));
        assert_eq!(world.server.allocations(), 0);
        world.fail_relays = None;
        assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP]).code(), None, "the 5-tuple is free again");
    }
}

#[test]
fn a_socket_for_a_client_that_went_away_meanwhile_is_closed_at_once() {
    let mut world = World::new();
    let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4000", Transport::Tcp);
    world.greet(&mut alice);
    world.hold_relays = true;
    assert!(world.try_ask(&mut alice, Method::Allocate, &[UDP]).is_none());
    world.server.handle_client_closed(world.now, alice.client);
    world.release_relay();
    assert!(world.open_relays().is_empty() && world.told.is_empty());
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn an_allocation_works_over_every_transport() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Dtls] {
        let mut world = World::new();
        let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4000", transport);
        let relayed = world.allocate(&mut alice);
        permit(&mut world, &mut alice, peer());
        assert_eq!(world.deliver(relayed, peer(), b"hello").unwrap().indication(), (peer(), b"hello".to_vec()));
    }
}

#[test]
fn the_pool_is_whole_again_after_everything_has_ended() {
    let mut world = World::with(|setup| setup.quotas.allocations_per_identity = 0);
    for round in 0..40_u16 {
        let mut alice = Endpoint::new(&world, &format!("198.51.100.1:{}", 4_000 + round));
        world.greet(&mut alice);
        let even = Attribute::EvenPort(EvenPort { reserve_next: round % 2 == 0 });
        assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP, even]).code(), None);
        world.pass_secs(1);
    }
    world.pass_secs(700);
    assert!(world.open_relays().is_empty());
    assert!(world.broker.port_use().all(|ports| ports.available == ports.total));
}
