//! ICMP from peers, RFC 8656 section 11.5.

use postern_turn::io::{Peer, PeerIcmp};

use crate::prelude::*;

fn icmp(peer: SocketAddr, icmp_type: u8, code: u8, info: u32) -> PeerIcmp {
    PeerIcmp { peer: Peer(peer), icmp_type, code, info }
}

/// What the client is told when this arrives at its relay.
fn told(world: &mut World, endpoint: &Endpoint, relayed: SocketAddr, icmp: PeerIcmp) -> Vec<Answer> {
    let relay = world.relay_id(relayed).unwrap();
    world.server.handle_peer_icmp(world.now, relay, icmp);
    world.pump();
    world.take_indications(endpoint.client)
}

#[test]
fn an_icmp_error_of_a_permitted_peer_becomes_a_data_indication_without_data() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let told = told(&mut world, &alice, relayed, icmp(peer(), 3, 4, 1_400));
    let [indication] = &told[..] else { panic!("one indication") };
    assert_eq!(
        (indication.method(), indication.types()),
        (Method::Data, vec![AttributeType::XOR_PEER_ADDRESS, AttributeType::ICMP])
    );
    assert_eq!(indication.peer(), Some(peer()));
    let Some(Attribute::Icmp(icmp)) = indication.find(AttributeType::ICMP) else { panic!("an ICMP attribute") };
    assert_eq!((icmp.icmp_type, icmp.icmp_code, u32::from_be_bytes(icmp.data)), (3, 4, 1_400));
    assert_eq!(world.server.counters.icmp_told, 1);
}

#[test]
fn only_the_errors_about_size_tell_a_number() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    for (icmp_type, code, told_data) in [(3, 4, 1_400), (3, 3, 0), (3, 1, 0), (11, 0, 0)] {
        let told = told(&mut world, &alice, relayed, icmp(peer(), icmp_type, code, 1_400));
        let Some(Attribute::Icmp(icmp)) = told[0].find(AttributeType::ICMP) else { panic!("an ICMP attribute") };
        assert_eq!(u32::from_be_bytes(icmp.data), told_data, "type {icmp_type} code {code}");
    }
}

#[test]
fn icmp_about_a_peer_without_permission_is_not_told() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    assert!(told(&mut world, &alice, relayed, icmp(other_peer(), 3, 3, 0)).is_empty());
    world.jump_nanos(300 * SECOND);
    assert!(told(&mut world, &alice, relayed, icmp(peer(), 3, 3, 0)).is_empty());
}

#[test]
fn only_the_types_of_the_standard_are_told() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.allocate_with(&mut alice, &[Attribute::AdditionalAddressFamily(V6)]);
    let relays = world.open_relays();
    for (relayed, peer, types) in
        [(relays[0], peer(), &[3, 11][..]), (relays[1], at("[2001:db8:2::7]:5000"), &[1, 2, 3])]
    {
        permit(&mut world, &mut alice, peer);
        for icmp_type in 0..=255 {
            let heard = !told(&mut world, &alice, relayed, icmp(peer, icmp_type, 0, 0)).is_empty();
            assert_eq!(heard, types.contains(&icmp_type), "type {icmp_type} about {peer}");
        }
        world.pass_secs(1);
    }
}

#[test]
fn an_allocation_is_told_of_at_most_ten_in_a_second() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let mut heard = 0;
    for _ in 0..100 {
        heard += told(&mut world, &alice, relayed, icmp(peer(), 3, 3, 0)).len();
        world.jump_nanos(SECOND / 100 - 1);
    }
    assert_eq!(heard, 10);
    world.pass_secs(1);
    assert_eq!(told(&mut world, &alice, relayed, icmp(peer(), 3, 3, 0)).len(), 1);
}

#[test]
fn behind_a_one_to_one_nat_the_peer_is_named_by_its_public_address() {
    let mut world = World::with(|setup| {
        setup.policy.relay_addresses = vec![at("10.0.0.5:0").ip()];
        setup.policy.advertise = vec![(at("10.0.0.5:0").ip(), at("203.0.113.10:0").ip())];
    });
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, at("203.0.113.10:50999"));
    let own = SocketAddr::new(at("10.0.0.5:0").ip(), relayed.port());
    let told = told(&mut world, &alice, own, icmp(at("10.0.0.5:50999"), 3, 3, 0));
    assert_eq!(told[0].peer(), Some(at("203.0.113.10:50999")));
}
