//! Binding requests, RFC 8489 section 6.3.

use crate::harness::edge_v6;
use crate::prelude::*;

#[test]
fn binding_answers_the_mapped_address_and_nothing_else() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let request = alice.bare(Method::Binding, &[]);
    let answer = world.ask_raw(alice.client, &request).unwrap();
    assert_eq!(answer.mapped(), Some(at("198.51.100.1:4000")));
    assert_eq!(answer.types(), [AttributeType::XOR_MAPPED_ADDRESS]);
    assert_eq!(answer.to, alice.client.remote);
}

#[test]
fn binding_over_ipv6_answers_an_ipv6_address() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "[2001:db8:1::1]:4000");
    assert_eq!(alice.client.local, edge_v6());
    let request = alice.bare(Method::Binding, &[]);
    assert_eq!(world.ask_raw(alice.client, &request).unwrap().mapped(), Some(at("[2001:db8:1::1]:4000")));
}

#[test]
fn an_ipv4_client_of_a_dual_stack_listener_is_told_its_ipv4_address() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "[::ffff:198.51.100.1]:4000");
    let request = alice.bare(Method::Binding, &[]);
    assert_eq!(world.ask_raw(alice.client, &request).unwrap().mapped(), Some(at("198.51.100.1:4000")));
}

#[test]
fn binding_works_over_a_stream() {
    let mut world = World::new();
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4000", transport);
        let request = alice.bare(Method::Binding, &[]);
        assert_eq!(world.ask_raw(alice.client, &request).unwrap().mapped(), Some(at("198.51.100.1:4000")));
    }
}

#[test]
fn fingerprint_is_mirrored_in_the_answer() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    for fingerprint in [true, false] {
        alice.fingerprint = fingerprint;
        let request = alice.bare(Method::Binding, &[]);
        assert_eq!(world.ask_raw(alice.client, &request).unwrap().message().has_fingerprint(), fingerprint);
    }
}

#[test]
fn a_wrong_fingerprint_is_met_with_silence() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    alice.fingerprint = true;
    let mut request = alice.bare(Method::Binding, &[]);
    *request.last_mut().unwrap() ^= 1;
    assert_eq!(world.send(alice.client, &request), Verdict::Drop(DropReason::BadFingerprint));
    assert!(world.told.is_empty());
}

#[test]
fn a_binding_with_unknown_required_attributes_gets_420_with_all_of_them_and_no_optional_one() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let mut request = alice.bare(Method::Binding, &[]);
    for unknown in [0x7001_u16, 0x7002, 0x8FFF, 0x7001] {
        request.extend_from_slice(&unknown.to_be_bytes());
        request.extend_from_slice(&[0, 0]);
    }
    request[3] = 16;
    let answer = world.ask_raw(alice.client, &request).unwrap();
    assert_eq!(answer.code(), Some(420));
    let Some(Attribute::UnknownAttributes(list)) = answer.find(AttributeType::UNKNOWN_ATTRIBUTES) else {
        panic!("a list")
    };
    assert_eq!(list.iter().collect::<Vec<_>>(), [AttributeType(0x7001), AttributeType(0x7002)]);
}

#[test]
fn a_binding_indication_keeps_a_nat_binding_alive_and_gets_no_answer() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let indication = alice.indication(Method::Binding, &[]);
    assert_eq!(world.send(alice.client, &indication), Verdict::Control);
    assert!(world.told.is_empty());
}

#[test]
fn a_request_of_the_old_form_without_cookie_is_dropped() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let mut request = alice.bare(Method::Binding, &[]);
    request[4..8].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(world.send(alice.client, &request), Verdict::Drop(DropReason::NotStun));
    assert!(world.told.is_empty());
}
