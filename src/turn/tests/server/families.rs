//! Address families: one, the other, both, and what does not go together (RFC 8656 section 7.2, RFC 6156).

use postern_turn::io::{OpenedRelay, OpenedRelays, RelayFailure, RelayId};
use postern_turn::message::{MessageWriter, TransactionId};

use crate::harness::{edge_v4, edge_v6};
use crate::prelude::*;

fn ask(world: &mut World, remote: &str, attributes: &[Attribute<'_>]) -> (Endpoint, Answer) {
    let mut alice = Endpoint::new(world, remote);
    world.greet(&mut alice);
    let mut all = vec![UDP];
    all.extend_from_slice(attributes);
    let answer = world.ask(&mut alice, Method::Allocate, &all);
    (alice, answer)
}

const CLIENTS: [&str; 2] = ["198.51.100.1:4000", "[2001:db8:1::1]:4000"];

#[test]
fn every_mix_of_client_and_relay_family_works() {
    for remote in CLIENTS {
        for (attributes, edge) in [
            (vec![], edge_v4()),
            (vec![Attribute::RequestedAddressFamily(V4)], edge_v4()),
            (vec![Attribute::RequestedAddressFamily(V6)], edge_v6()),
        ] {
            let mut world = World::new();
            let (_, answer) = ask(&mut world, remote, &attributes);
            let relayed = answer.relayed();
            assert_eq!(relayed.iter().map(SocketAddr::ip).collect::<Vec<_>>(), [edge.ip()], "{remote} {attributes:?}");
        }
    }
}

#[test]
fn an_additional_family_gives_both_addresses() {
    let mut world = World::new();
    let (mut alice, answer) = ask(&mut world, CLIENTS[0], &[Attribute::AdditionalAddressFamily(V6)]);
    let ips: Vec<_> = answer.relayed().iter().map(SocketAddr::ip).collect();
    assert_eq!(ips, [edge_v4().ip(), edge_v6().ip()]);
    assert!(!answer.has(AttributeType::ADDRESS_ERROR_CODE));
    for (peer, relayed) in [(peer(), answer.relayed()[0]), (at("[2001:db8:2::7]:5000"), answer.relayed()[1])] {
        permit(&mut world, &mut alice, peer);
        let send = alice.send_indication(peer, b"hello");
        assert_eq!(world.relay(alice.client, &send).map(|relayed| relayed.from), Ok(relayed));
        assert_eq!(world.deliver(relayed, peer, b"hello").unwrap().indication().0, peer);
    }
}

#[test]
fn a_family_given_back_is_told_before_its_socket_closes_and_the_record_names_the_other() {
    let mut world = World::new();
    let (mut alice, _) = ask(&mut world, CLIENTS[0], &[Attribute::AdditionalAddressFamily(V6)]);
    let [Action::Started(start)] = &world.take_actions()[..] else { panic!("one start") };
    let serial = start.serial;
    let one = [Attribute::Lifetime(0), Attribute::RequestedAddressFamily(V4)];
    assert_eq!(world.ask(&mut alice, Method::Refresh, &one).lifetime(), Some(0));
    let actions = world.take_actions();
    let [Action::Released { serial: of, family: Family::V4, relay: gone, .. }] = actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(of, serial);
    assert_eq!(world.open_relays().len(), 1);
    world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]);
    let [Action::Ended(record, _)] = &world.take_actions()[..] else { panic!("one record") };
    assert!(record.start.serial == serial && record.relay_ids.len() == 1 && !record.relay_ids.contains(&gone));
}

/// An Allocate with these raw attributes behind REQUESTED-TRANSPORT.
fn ask_raw(world: &mut World, raw: &[(AttributeType, &[u8])]) -> Answer {
    let mut alice = Endpoint::new(world, CLIENTS[0]);
    world.greet(&mut alice);
    let mut request = Vec::new();
    let mut writer = MessageWriter::new(&mut request, Class::Request, Method::Allocate, TransactionId::new([9; 12]));
    writer.attribute(&UDP);
    for (attribute_type, value) in raw {
        writer.raw_attribute(*attribute_type, value);
    }
    writer.attribute(&Attribute::Username(&alice.username)).attribute(&Attribute::Realm(&alice.realm));
    writer.attribute(&Attribute::Nonce(&alice.nonce)).integrity(alice.integrity, &alice.key());
    writer.finish().unwrap();
    world.ask_raw(alice.client, &request).expect("an answer")
}

#[test]
fn an_additional_family_under_the_number_of_its_draft_gives_both_addresses() {
    const DRAFT: AttributeType = AttributeType::ADDITIONAL_ADDRESS_FAMILY_OF_DRAFT;
    const REGISTERED: AttributeType = AttributeType::ADDITIONAL_ADDRESS_FAMILY;
    const REQUESTED: AttributeType = AttributeType::REQUESTED_ADDRESS_FAMILY;
    let (v4, v6) = ([1, 0, 0, 0], [2, 0, 0, 0]);
    let outcome = |raw: &[(AttributeType, &[u8])]| {
        let answer = ask_raw(&mut World::new(), raw);
        (answer.code(), answer.relayed().len())
    };
    assert_eq!(outcome(&[(DRAFT, &v6)]), (None, 2));
    assert_eq!(outcome(&[(DRAFT, &v4)]), (Some(400), 0), "the rules are those of the registered one");
    assert_eq!(outcome(&[(REQUESTED, &v6), (DRAFT, &v6)]), (Some(400), 0));
    assert_eq!(outcome(&[(DRAFT, &v6), (REGISTERED, &v4)]), (None, 2), "of the two the first counts");
    assert_eq!(outcome(&[(REGISTERED, &v4), (DRAFT, &v6)]), (Some(400), 0));
    assert_eq!(outcome(&[(DRAFT, &[2; 8])]), (None, 1), "of another length it is another's, and optional");
}

#[test]
fn one_quota_unit_holds_both_families() {
    let mut world = World::with(|setup| setup.quotas.allocations_per_identity = 1);
    let (_, answer) = ask(&mut world, CLIENTS[0], &[Attribute::AdditionalAddressFamily(V6)]);
    assert_eq!(answer.code(), None);
}

#[test]
fn a_family_that_we_have_not_gets_440() {
    let mut world = World::with(|setup| setup.policy.relay_addresses = vec![edge_v4().ip()]);
    assert_eq!(ask(&mut world, CLIENTS[0], &[Attribute::RequestedAddressFamily(V6)]).1.code(), Some(440));
    let unknown = FamilyWish::Unknown(9);
    assert_eq!(ask(&mut world, CLIENTS[0], &[Attribute::RequestedAddressFamily(unknown)]).1.code(), Some(440));
    assert_eq!(ask(&mut world, CLIENTS[0], &[Attribute::AdditionalAddressFamily(unknown)]).1.code(), Some(440));
}

#[test]
fn when_one_family_of_two_fails_the_other_is_given_with_address_error_code() {
    let mut world = World::with(|setup| setup.policy.relay_addresses = vec![edge_v4().ip()]);
    let (_, answer) = ask(&mut world, CLIENTS[0], &[Attribute::AdditionalAddressFamily(V6)]);
    assert_eq!((answer.code(), answer.relayed().len()), (None, 1));
    let Some(Attribute::AddressErrorCode(family, code, _)) = answer.find(AttributeType::ADDRESS_ERROR_CODE) else {
        panic!("an ADDRESS-ERROR-CODE")
    };
    assert_eq!((family, code.number()), (V6, 440));
}

#[test]
fn when_a_family_of_two_has_no_port_left_address_error_code_says_508() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, CLIENTS[0]);
    world.greet(&mut alice);
    world.hold_relays = true;
    let request = alice.signed(Method::Allocate, &[UDP, Attribute::AdditionalAddressFamily(V6)]);
    world.send(alice.client, &request);
    let wish = world.held.remove(0);
    let relays = vec![OpenedRelay { relay: RelayId(0), local: at("[2001:db8:10::10]:50000"), lease: 1 }];
    let opened = OpenedRelays { relays, reservation: None, failed: vec![(Family::V4, RelayFailure::NoPort)] };
    world.server.handle_relay_opened(world.now, wish.allocation, opened);
    world.pump();
    let answer = world.take_answer(&request).unwrap();
    let Some(Attribute::AddressErrorCode(family, code, _)) = answer.find(AttributeType::ADDRESS_ERROR_CODE) else {
        panic!("an ADDRESS-ERROR-CODE")
    };
    assert_eq!((answer.relayed().len(), family, code.number()), (1, V4, 508));
}

#[test]
fn requested_and_additional_family_together_get_400() {
    let mut world = World::new();
    for family in [V4, V6] {
        let both = [Attribute::RequestedAddressFamily(family), Attribute::AdditionalAddressFamily(V6)];
        assert_eq!(ask(&mut world, CLIENTS[0], &both).1.code(), Some(400));
    }
}

#[test]
fn ipv4_as_additional_family_gets_400() {
    let mut world = World::new();
    assert_eq!(ask(&mut world, CLIENTS[0], &[Attribute::AdditionalAddressFamily(V4)]).1.code(), Some(400));
}

#[test]
fn even_port_with_the_r_bit_and_an_additional_family_gets_400() {
    let mut world = World::new();
    let even = |reserve_next| Attribute::EvenPort(EvenPort { reserve_next });
    let with = |reserve_next| [even(reserve_next), Attribute::AdditionalAddressFamily(V6)];
    assert_eq!(ask(&mut world, CLIENTS[0], &with(true)).1.code(), Some(400));
    let (_, both_even) = ask(&mut world, CLIENTS[0], &with(false));
    assert!(both_even.relayed().iter().all(|relayed| relayed.port() % 2 == 0));
}

#[test]
fn a_peer_of_a_family_that_the_allocation_has_not_gets_443() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    let v6 = Attribute::XorPeerAddress(at("[2001:db8:2::7]:5000"));
    assert_eq!(world.ask(&mut alice, Method::CreatePermission, &[v6]).code(), Some(443));
    assert_eq!(
        world.ask(&mut alice, Method::CreatePermission, &[Attribute::XorPeerAddress(peer()), v6]).code(),
        Some(443)
    );
    assert_eq!(world.ask(&mut alice, Method::ChannelBind, &[Attribute::ChannelNumber(0x4000), v6]).code(), Some(443));
    let send = alice.send_indication(at("[2001:db8:2::7]:5000"), b"x");
    assert_eq!(world.relay(alice.client, &send), Err(DropReason::FamilyMismatch));
    let send = alice.send_indication(peer(), b"x");
    assert_eq!(world.relay(alice.client, &send), Err(DropReason::NoPermission), "all or nothing");
}

#[test]
fn refresh_of_a_family_that_the_allocation_has_not_gets_443() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[Attribute::RequestedAddressFamily(V6)]).code(), Some(443));
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[Attribute::RequestedAddressFamily(V4)]).code(), None);
}

#[test]
fn lifetime_0_for_one_family_of_two_closes_that_one() {
    let mut world = World::new();
    let (mut alice, answer) = ask(&mut world, CLIENTS[0], &[Attribute::AdditionalAddressFamily(V6)]);
    permit(&mut world, &mut alice, peer());
    permit(&mut world, &mut alice, at("[2001:db8:2::7]:5000"));
    let close = [Attribute::Lifetime(0), Attribute::RequestedAddressFamily(V6)];
    assert_eq!(world.ask(&mut alice, Method::Refresh, &close).lifetime(), Some(0));
    assert_eq!(world.open_relays(), answer.relayed()[..1]);
    let send = alice.send_indication(peer(), b"x");
    assert!(world.relay(alice.client, &send).is_ok());
    assert_eq!(world.ask(&mut alice, Method::Refresh, &close).code(), Some(443), "it is gone");
    let rest = [Attribute::Lifetime(0), Attribute::RequestedAddressFamily(V4)];
    assert_eq!(world.ask(&mut alice, Method::Refresh, &rest).lifetime(), Some(0));
    assert_eq!(world.server.allocations(), 0);
}
