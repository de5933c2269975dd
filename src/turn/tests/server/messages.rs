//! What is no message, or none for a server; and that no message brings the server down.

use proptest::prelude::*;

use crate::harness::channel_data;
use crate::prelude::*;

#[test]
fn bytes_that_are_no_stun_message_are_dropped() {
    let mut world = World::new();
    let alice = Endpoint::new(&world, "198.51.100.1:4000");
    for bytes in
        [&b""[..], b"\0", b"POST / HTTP/1.1\r\n\r\n", &[0x80; 40], &[0xC0; 40], &[0x16, 3, 1, 0, 200], &[0; 20]]
    {
        assert_eq!(world.send(alice.client, bytes), Verdict::Drop(DropReason::NotStun), "{bytes:?}");
    }
    assert!(world.told.is_empty());
}

#[test]
fn a_length_that_differs_from_the_datagram_is_dropped() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let mut request = alice.bare(Method::Binding, &[]);
    request.extend_from_slice(&[0; 4]);
    assert!(matches!(world.send(alice.client, &request), Verdict::Drop(_)));
    request.truncate(20);
    request[3] = 2;
    assert!(matches!(world.send(alice.client, &request), Verdict::Drop(_)));
    assert!(world.told.is_empty());
}

#[test]
fn answers_and_unknown_methods_are_dropped() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let cases = [
        (Class::Success, Method::Binding),
        (Class::Error, Method::Allocate),
        (Class::Request, Method::Unknown(0x0FF)),
        (Class::Request, Method::Send),
        (Class::Request, Method::Data),
        (Class::Indication, Method::Data),
        (Class::Indication, Method::Allocate),
        (Class::Indication, Method::ConnectionAttempt),
    ];
    for (class, method) in cases {
        let message = alice.write(class, method, &[], false);
        assert_eq!(world.send(alice.client, &message), Verdict::Drop(DropReason::Malformed), "{class:?} {method:?}");
    }
    assert!(world.told.is_empty());
}

#[test]
fn an_indication_with_an_unknown_required_attribute_is_dropped_silently() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let mut indication = alice.send_indication(peer(), b"abcd");
    indication.extend_from_slice(&[0x70, 1, 0, 0]);
    indication[3] += 4;
    assert_eq!(world.relay(alice.client, &indication), Err(DropReason::UnknownAttribute));
    assert!(world.told.is_empty());
}

#[test]
fn an_unknown_optional_attribute_is_ignored() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let mut indication = alice.send_indication(peer(), b"abcd");
    indication.extend_from_slice(&[0xF0, 1, 0, 0]);
    indication[3] += 4;
    assert_eq!(world.relay(alice.client, &indication).unwrap().payload, b"abcd");
}

#[test]
fn after_authentication_unknown_required_attributes_get_420_with_integrity() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.greet(&mut alice);
    // CHANGE-REQUEST is unknown where discovery is not spoken.
    let change = postern_turn::attribute::ChangeRequest { address: true, port: false };
    let answer = world.ask(&mut alice, Method::Allocate, &[UDP, Attribute::ChangeRequest(change)]);
    assert_eq!(answer.code(), Some(420));
    assert!(answer.integrity_for(&alice).is_some());
}

#[test]
fn a_malformed_attribute_in_an_authenticated_request_gets_400() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.greet(&mut alice);
    // Found by its type alone: a LIFETIME of ICMP's length. The codec cannot write one, so it is cut from DATA.
    let mut request = alice.signed(Method::Allocate, &[UDP, Attribute::Data(&[0; 8])]);
    let at = 20 + 8;
    assert_eq!(request[at..at + 2], AttributeType::DATA.0.to_be_bytes());
    request[at..at + 2].copy_from_slice(&AttributeType::LIFETIME.0.to_be_bytes());
    let covered = request.len() - 24;
    request.truncate(covered);
    let mut signed = request.clone();
    sign(&alice, &mut signed);
    let answer = world.ask_raw(alice.client, &signed).unwrap();
    assert_eq!(answer.code(), Some(400));
    assert!(answer.integrity_for(&alice).is_some());
}

/// Appends MESSAGE-INTEGRITY to finished attributes, independently of the codec's writer.
fn sign(endpoint: &Endpoint, message: &mut Vec<u8>) {
    let length = (message.len() - 20 + 24) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let mac = hmac_sha1(endpoint.key().as_bytes(), message);
    message.extend_from_slice(&[0, 8, 0, 20]);
    message.extend_from_slice(&mac);
}

fn hmac_sha1(key: &[u8], message: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = <Hmac<sha1::Sha1> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[test]
fn of_duplicate_attributes_the_first_counts() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.greet(&mut alice);
    let answer = world.ask(&mut alice, Method::Allocate, &[UDP, Attribute::Lifetime(700), Attribute::Lifetime(900)]);
    assert_eq!(answer.lifetime(), Some(700));
}

#[test]
fn what_follows_message_integrity_is_ignored() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    let mut refresh = alice.signed(Method::Refresh, &[]);
    // LIFETIME 0 behind the integrity: obeying it would delete the allocation.
    refresh.extend_from_slice(&[0, 0x0D, 0, 4, 0, 0, 0, 0]);
    refresh[3] += 8;
    assert_eq!(world.ask_raw(alice.client, &refresh).unwrap().lifetime(), Some(600));

    let mut permission = alice.signed(Method::CreatePermission, &[Attribute::XorPeerAddress(peer())]);
    let smuggled = alice.bare(Method::CreatePermission, &[Attribute::XorPeerAddress(other_peer())]);
    permission.extend_from_slice(&smuggled[20..]);
    permission[3] += 12;
    assert_eq!(world.ask_raw(alice.client, &permission).unwrap().code(), None);
    let send = alice.send_indication(other_peer(), b"x");
    assert_eq!(world.relay(alice.client, &send), Err(DropReason::NoPermission));
}

#[test]
fn message_integrity_sha256_behind_message_integrity_counts() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    let sha1 = alice.signed(Method::Refresh, &[]);
    alice.integrity = IntegrityAlgorithm::Sha256;
    let right = append_sha256(&alice, &sha1, 0);
    let answer = world.ask_raw(alice.client, &right).unwrap();
    assert_eq!((answer.code(), answer.integrity_for(&alice)), (None, Some(IntegrityAlgorithm::Sha256)));
    let mut other = alice.clone();
    other.integrity = IntegrityAlgorithm::Sha1;
    let wrong = append_sha256(&alice, &other.signed(Method::Binding, &[]), 1);
    assert_ne!(wrong, right);
    let sha1 = other.signed(Method::Refresh, &[Attribute::Lifetime(601)]);
    let wrong = append_sha256(&alice, &sha1, 1);
    assert_eq!(world.ask_raw(alice.client, &wrong).unwrap().code(), Some(401));
}

/// Puts MESSAGE-INTEGRITY-SHA256 behind what is signed already; `spoil` is XOR-ed into its last byte.
fn append_sha256(endpoint: &Endpoint, signed: &[u8], spoil: u8) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let mut message = signed.to_vec();
    let length = (message.len() - 20 + 36) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let mut mac = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(endpoint.key().as_bytes()).unwrap();
    mac.update(&message);
    message.extend_from_slice(&[0, 0x1C, 0, 32]);
    message.extend_from_slice(&mac.finalize().into_bytes());
    *message.last_mut().unwrap() ^= spoil;
    message
}

/// One of everything that a client sends, for an allocation with a permission and a channel.
fn samples(alice: &mut Endpoint) -> Vec<Vec<u8>> {
    let peers = [Attribute::XorPeerAddress(peer()), Attribute::XorPeerAddress(other_peer())];
    vec![
        alice.bare(Method::Binding, &[]),
        alice.bare(Method::Allocate, &[UDP]),
        alice.signed(Method::Allocate, &[UDP, Attribute::EvenPort(EvenPort { reserve_next: true })]),
        alice.signed(Method::Allocate, &[UDP, Attribute::AdditionalAddressFamily(V6)]),
        alice.signed(Method::Refresh, &[Attribute::Lifetime(600)]),
        alice.signed(Method::Refresh, &[Attribute::Lifetime(0), Attribute::MobilityTicket(&[1; 28])]),
        alice.signed(Method::CreatePermission, &peers),
        alice.signed(Method::ChannelBind, &[Attribute::ChannelNumber(0x4001), peers[0]]),
        alice.signed(Method::Connect, &peers[..1]),
        alice.signed(Method::ConnectionBind, &[Attribute::ConnectionId(postern_turn::io::ConnectionId(7))]),
        alice.send_indication(peer(), b"payload"),
        channel_data(0x4001, b"payload"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutated_message_brings_the_server_down(
        which in 0_usize..12,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
        stream in any::<bool>(),
    ) {
        let mut world = World::with(|setup| {
            setup.features.mobility = true;
            setup.features.tcp_allocations = true;
        });
        let transport = if stream { Transport::Tcp } else { Transport::Udp };
        let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4000", transport);
        world.allocate(&mut alice);
        prop_assert_eq!(bind(&mut world, &mut alice, 0x4001, peer()), None);
        let mut bytes = samples(&mut alice).swap_remove(which);
        for (index, value) in edits {
            let at = index.index(bytes.len());
            bytes[at] ^= value;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        if stream {
            let progress = world.server.handle_stream(world.now, alice.client, &bytes);
            prop_assert!(progress.consumed <= bytes.len());
            if let Some(Verdict::ToPeer { payload, .. }) = progress.verdict {
                prop_assert!(payload.end <= bytes.len());
            }
        } else if let Verdict::ToPeer { payload, peer: to, .. } = world.server.handle_datagram(world.now, alice.client, 0, &bytes) {
            prop_assert!(payload.end <= bytes.len());
            prop_assert_eq!(to.0.ip(), peer().ip());
        }
        world.pump();
        world.pass_secs(7_200);
        prop_assert!(world.open_relays().is_empty());
    }
}
