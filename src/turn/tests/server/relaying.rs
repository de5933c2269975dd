//! Send and Data indications, DSCP and ECN, relay to relay on one edge (RFC 8656 sections 11 to 16).

use postern_turn::counters::{Direction, Path, Relayed};

use crate::harness::channel_data;
use crate::prelude::*;

#[test]
fn send_and_data_indications_carry_both_ways() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let send = alice.send_indication(peer(), b"there");
    let sent = world.relay(alice.client, &send).unwrap();
    assert_eq!((sent.from, sent.to, sent.payload, sent.dont_fragment), (relayed, peer(), b"there".to_vec(), false));
    let back = world.deliver(relayed, peer(), b"and back").unwrap();
    assert_eq!((back.client, back.indication()), (alice.client, (peer(), b"and back".to_vec())));
}

#[test]
fn payloads_of_every_small_length_survive_the_framing() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.allocate_with(&mut alice, &[Attribute::AdditionalAddressFamily(V6)]);
    let relays = world.open_relays();
    for (relay, peer) in [(relays[0], peer()), (relays[1], at("[2001:db8:2::7]:5000"))] {
        permit(&mut world, &mut alice, peer);
        for len in 0..64 {
            let payload: Vec<u8> = (0..len).collect();
            let send = alice.send_indication(peer, &payload);
            assert_eq!(world.relay(alice.client, &send).unwrap().payload, payload);
            assert_eq!(world.deliver(relay, peer, &payload).unwrap().indication(), (peer, payload));
        }
    }
}

#[test]
fn every_data_indication_has_its_own_transaction_id() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let ids: std::collections::HashSet<_> =
        (0..100).map(|_| world.deliver(relayed, peer(), b"x").unwrap().frame[8..20].to_vec()).collect();
    assert_eq!(ids.len(), 100);
}

#[test]
fn send_without_data_peer_or_permission_is_met_with_silence() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let cases: [(&[Attribute<'_>], DropReason); 4] = [
        (&[Attribute::XorPeerAddress(peer())], DropReason::Malformed),
        (&[Attribute::Data(b"x")], DropReason::Malformed),
        (&[], DropReason::Malformed),
        (&[Attribute::XorPeerAddress(other_peer()), Attribute::Data(b"x")], DropReason::NoPermission),
    ];
    for (attributes, reason) in cases {
        let send = alice.indication(Method::Send, attributes);
        assert_eq!(world.relay(alice.client, &send), Err(reason));
    }
    let mut stranger = Endpoint::new(&world, "198.51.100.9:4000");
    let send = stranger.send_indication(peer(), b"x");
    assert_eq!(world.relay(stranger.client, &send), Err(DropReason::NoAllocation));
    assert!(world.told.is_empty());
}

#[test]
fn send_with_dont_fragment_asks_for_it_on_this_datagram_alone() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let with = alice
        .indication(Method::Send, &[Attribute::XorPeerAddress(peer()), Attribute::DontFragment, Attribute::Data(b"x")]);
    assert!(world.relay(alice.client, &with).unwrap().dont_fragment);
    let without = alice.send_indication(peer(), b"x");
    assert!(!world.relay(alice.client, &without).unwrap().dont_fragment);
}

#[test]
fn dscp_and_ecn_pass_both_ways() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let send = alice.send_indication(peer(), b"x");
    for tos in [0, 0xB8, 0xB8 | 0b10, 0b11, 0xFF] {
        assert_eq!(world.relay_with_tos(alice.client, tos, &send).unwrap().tos, tos);
        assert_eq!(world.deliver_with_tos(relayed, peer(), tos, b"x").unwrap().tos, tos);
    }
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    assert_eq!(world.relay_with_tos(alice.client, 0xB8, &channel_data(0x4000, b"x")).unwrap().tos, 0xB8);
    assert_eq!(world.deliver_with_tos(relayed, peer(), 0xB8, b"x").unwrap().tos, 0xB8);
}

#[test]
fn a_payload_that_no_datagram_to_the_client_can_carry_is_dropped() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    assert!(world.deliver(relayed, peer(), &vec![1; 65_507 - 36 - 3]).is_ok());
    assert_eq!(world.deliver(relayed, peer(), &vec![1; 65_507]), Err(DropReason::Oversize));
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    assert!(world.deliver(relayed, peer(), &vec![1; 65_503]).is_ok());
    assert_eq!(world.deliver(relayed, peer(), &vec![1; 65_504]), Err(DropReason::Oversize));
}

#[test]
fn relayed_payload_is_counted_by_direction_and_path() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let send = alice.send_indication(peer(), b"123");
    world.relay(alice.client, &send).unwrap();
    world.deliver(relayed, peer(), b"12345").unwrap();
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    world.relay(alice.client, &channel_data(0x4000, b"1")).unwrap();
    world.deliver(relayed, peer(), b"12").unwrap();
    let counters = &world.server.counters;
    for (direction, path, bytes) in [
        (Direction::ToPeer, Path::Indication, 3),
        (Direction::ToClient, Path::Indication, 5),
        (Direction::ToPeer, Path::Channel, 1),
        (Direction::ToClient, Path::Channel, 2),
    ] {
        assert_eq!(counters.relayed(direction, path), Relayed { packets: 1, bytes }, "{direction:?} {path:?}");
    }
}

/// Two clients of one edge, each with an allocation, and what the other's relayed address is called.
fn two(world: &mut World) -> [(Endpoint, SocketAddr); 2] {
    let mut alice = Endpoint::new(world, "198.51.100.1:4000");
    let mut bob = Endpoint::named(world, "bob", "198.51.100.2:4000");
    let relayed = [world.allocate(&mut alice), world.allocate(&mut bob)];
    [(alice, relayed[0]), (bob, relayed[1])]
}

#[test]
fn two_relays_of_one_edge_reach_each_other_when_both_permit() {
    let mut world = World::new();
    let [(mut alice, of_alice), (mut bob, of_bob)] = two(&mut world);
    permit(&mut world, &mut alice, of_bob);
    let send = alice.send_indication(of_bob, b"hello bob");
    let sent = world.relay(alice.client, &send).unwrap();
    assert_eq!((sent.from, sent.to), (of_alice, of_bob));
    // Bob's relay socket receives it from Alice's; without his permission he sees nothing.
    assert_eq!(world.deliver(sent.to, sent.from, &sent.payload), Err(DropReason::NoPermission));
    permit(&mut world, &mut bob, of_alice);
    let seen = world.deliver(sent.to, sent.from, &sent.payload).unwrap();
    assert_eq!((seen.client, seen.indication()), (bob.client, (of_alice, b"hello bob".to_vec())));
}

#[test]
fn behind_a_one_to_one_nat_relays_are_told_by_their_public_address_and_sent_to_by_their_local_one() {
    let mut world = World::with(|setup| {
        setup.policy.relay_addresses = vec![at("10.0.0.5:0").ip()];
        setup.policy.advertise = vec![(at("10.0.0.5:0").ip(), at("203.0.113.10:0").ip())];
    });
    let [(mut alice, of_alice), (mut bob, of_bob)] = two(&mut world);
    assert_eq!([of_alice.ip(), of_bob.ip()], [at("203.0.113.10:0").ip(); 2]);
    let local = |public: SocketAddr| SocketAddr::new(at("10.0.0.5:0").ip(), public.port());
    permit(&mut world, &mut alice, of_bob);
    assert_eq!(bind(&mut world, &mut bob, 0x4000, of_alice), None);
    let send = alice.send_indication(of_bob, b"hello");
    let sent = world.relay(alice.client, &send).unwrap();
    assert_eq!((sent.from, sent.to), (local(of_alice), local(of_bob)));
    assert_eq!(world.deliver(sent.to, sent.from, b"hello").unwrap().frame, channel_data(0x4000, b"hello"));
    let back = world.relay(bob.client, &channel_data(0x4000, b"back")).unwrap();
    assert_eq!((back.from, back.to), (local(of_bob), local(of_alice)));
    assert_eq!(world.deliver(back.to, back.from, b"back").unwrap().indication(), (of_bob, b"back".to_vec()));
}

#[test]
fn a_port_of_ours_that_is_no_live_relay_is_out_of_reach() {
    let mut world = World::new();
    let [(mut alice, _), (mut bob, of_bob)] = two(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, of_bob), None);
    let live = world.open_relays();
    let dead = (50_000..=50_999)
        .map(|port| SocketAddr::new(of_bob.ip(), port))
        .find(|address| !live.contains(address))
        .unwrap();
    assert_eq!(bind(&mut world, &mut alice, 0x4001, dead), Some(403));
    let send = alice.send_indication(dead, b"x");
    assert_eq!(world.relay(alice.client, &send), Err(DropReason::PeerForbidden));
    assert!(world.relay(alice.client, &channel_data(0x4000, b"x")).is_ok());
    world.ask(&mut bob, Method::Refresh, &[Attribute::Lifetime(0)]);
    assert_eq!(world.relay(alice.client, &channel_data(0x4000, b"x")), Err(DropReason::PeerForbidden), "it died since");
    let send = alice.send_indication(of_bob, b"x");
    assert_eq!(world.relay(alice.client, &send), Err(DropReason::PeerForbidden));
}

#[test]
fn a_datagram_to_port_zero_is_not_sent() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let send = alice.send_indication(SocketAddr::new(peer().ip(), 0), b"x");
    assert_eq!(world.relay(alice.client, &send), Err(DropReason::PeerForbidden));
}
