//! Permissions, RFC 8656 sections 9 and 10.

use crate::prelude::*;

fn create(world: &mut World, endpoint: &mut Endpoint, peers: &[&str]) -> Option<u16> {
    let peers: Vec<_> = peers.iter().map(|peer| Attribute::XorPeerAddress(at(peer))).collect();
    world.ask(endpoint, Method::CreatePermission, &peers).code()
}

fn sends(world: &mut World, endpoint: &mut Endpoint, peer: &str) -> Result<(), DropReason> {
    let send = endpoint.send_indication(at(peer), b"x");
    world.relay(endpoint.client, &send).map(|_| ())
}

#[test]
fn a_datagram_of_a_peer_without_permission_is_dropped() {
    let mut world = World::new();
    let (_, relayed) = allocated(&mut world);
    assert_eq!(world.deliver(relayed, peer(), b"x"), Err(DropReason::NoPermission));
    assert_eq!(world.server.counters.dropped(DropReason::NoPermission), 1);
}

#[test]
fn a_permission_is_for_an_address_whatever_the_port() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    for port in [1, 5_000, 65_535] {
        let peer = SocketAddr::new(peer().ip(), port);
        assert_eq!(world.deliver(relayed, peer, b"x").unwrap().indication(), (peer, b"x".to_vec()));
        assert_eq!(sends(&mut world, &mut alice, &peer.to_string()), Ok(()));
    }
    assert_eq!(world.deliver(relayed, other_peer(), b"x"), Err(DropReason::NoPermission));
}

#[test]
fn a_permission_lasts_300_seconds_and_traffic_does_not_extend_it() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    for _ in 0..299 {
        world.pass_secs(1);
        assert!(world.deliver(relayed, peer(), b"x").is_ok());
        assert_eq!(sends(&mut world, &mut alice, "192.0.2.7:5000"), Ok(()));
    }
    world.jump_nanos(SECOND - 1);
    assert!(world.deliver(relayed, peer(), b"x").is_ok());
    world.jump_nanos(1);
    assert_eq!(world.deliver(relayed, peer(), b"x"), Err(DropReason::NoPermission));
    assert_eq!(sends(&mut world, &mut alice, "192.0.2.7:5000"), Err(DropReason::NoPermission));
}

#[test]
fn create_permission_again_starts_the_300_seconds_anew() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    world.pass_secs(299);
    permit(&mut world, &mut alice, peer());
    world.pass_secs(299);
    assert!(world.deliver(relayed, peer(), b"x").is_ok());
}

#[test]
fn create_permission_answers_nothing_but_its_integrity() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    let answer = world.ask(&mut alice, Method::CreatePermission, &[Attribute::XorPeerAddress(peer())]);
    assert_eq!((answer.types(), answer.integrity_for(&alice)), (vec![], Some(IntegrityAlgorithm::Sha1)));
}

#[test]
fn create_permission_without_a_peer_gets_400() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    assert_eq!(create(&mut world, &mut alice, &[]), Some(400));
}

#[test]
fn several_peers_get_their_permission_together() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    assert_eq!(create(&mut world, &mut alice, &["192.0.2.7:1", "192.0.2.8:1", "192.0.2.7:2"]), None);
    for peer in [peer(), other_peer()] {
        assert!(world.deliver(relayed, peer, b"x").is_ok());
    }
}

#[test]
fn a_forbidden_peer_among_several_gets_403_and_none_has_a_permission() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    assert_eq!(create(&mut world, &mut alice, &["192.0.2.7:1", "127.0.0.1:1", "192.0.2.8:1"]), Some(403));
    for peer in [peer(), other_peer()] {
        assert_eq!(world.deliver(relayed, peer, b"x"), Err(DropReason::NoPermission));
    }
}

#[test]
fn an_old_permission_survives_a_failed_request_unextended() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    world.pass_secs(200);
    assert_eq!(create(&mut world, &mut alice, &["192.0.2.7:1", "127.0.0.1:1"]), Some(403));
    world.pass_secs(99);
    assert!(world.deliver(relayed, peer(), b"x").is_ok());
    world.pass_secs(1);
    assert_eq!(world.deliver(relayed, peer(), b"x"), Err(DropReason::NoPermission));
}

#[test]
fn more_peers_than_a_request_or_an_allocation_can_hold_get_508_and_none_of_them() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    let peers: Vec<String> = (1..=17).map(|last| format!("192.0.2.{last}:1")).collect();
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    assert_eq!(create(&mut world, &mut alice, &peers), Some(508));
    assert_eq!(world.deliver(relayed, peer(), b"x"), Err(DropReason::NoPermission));
    for third in 0..16 {
        let peers: Vec<String> = (0..16).map(|last| format!("198.51.{third}.{last}:1")).collect();
        let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
        assert_eq!(create(&mut world, &mut alice, &peers), None);
    }
    assert_eq!(create(&mut world, &mut alice, &["192.0.2.7:1"]), Some(508));
    assert_eq!(create(&mut world, &mut alice, &["198.51.0.0:1"]), None, "an old one is refreshed all the same");
    world.pass_secs(300);
    assert_eq!(create(&mut world, &mut alice, &["192.0.2.7:1"]), None);
}

/// Loopback, link-local, metadata, private ranges, our own address, and all that in IPv6's clothes.
const FORBIDDEN_V4: [&str; 13] = [
    "127.0.0.1:80",
    "0.0.0.0:80",
    "169.254.169.254:80",
    "169.254.1.1:80",
    "10.0.0.1:80",
    "172.16.0.1:80",
    "192.168.0.1:80",
    "100.64.0.1:80",
    "198.18.0.1:80",
    "192.0.0.1:80",
    "224.0.0.1:80",
    "240.0.0.1:80",
    "255.255.255.255:80",
];
const FORBIDDEN_V6: [&str; 12] = [
    "[::1]:80",
    "[::]:80",
    "[fe80::1]:80",
    "[fec0::1]:80",
    "[fc00::1]:80",
    "[ff02::1]:80",
    "[::ffff:127.0.0.1]:80",
    "[::10.0.0.1]:80",
    "[2002:a00:1::1]:80",
    "[64:ff9b::10.0.0.1]:80",
    "[64:ff9b:1::1]:80",
    "[2001:0:4136:e378:8000:63bf:f5fe:fdfc]:80",
];

#[test]
fn forbidden_peers_get_403_on_every_way_and_nothing_is_sent() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.allocate_with(&mut alice, &[Attribute::AdditionalAddressFamily(V6)]);
    for peer in FORBIDDEN_V4.into_iter().chain(FORBIDDEN_V6) {
        assert_eq!(create(&mut world, &mut alice, &[peer]), Some(403), "{peer}");
        assert_eq!(bind(&mut world, &mut alice, 0x4000, at(peer)), Some(403), "{peer}");
        assert_eq!(sends(&mut world, &mut alice, peer), Err(DropReason::NoPermission), "{peer}");
    }
}

#[test]
fn our_own_listener_is_out_of_reach_on_every_way() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    let listener = "203.0.113.10:3478";
    assert_eq!(bind(&mut world, &mut alice, 0x4000, at(listener)), Some(403));
    // The address is that of relays too: a permission tells nothing of ports.
    assert_eq!(create(&mut world, &mut alice, &[listener]), None);
    assert_eq!(sends(&mut world, &mut alice, listener), Err(DropReason::PeerForbidden));
}

#[test]
fn allow_peers_opens_a_private_network_and_deny_peers_closes_a_part_of_it() {
    let mut world = World::with(|setup| {
        setup.policy.allow_peers = vec!["10.20.0.0/16".parse().unwrap()];
        setup.policy.deny_peers = vec!["10.20.3.77/25".parse().unwrap()];
    });
    let (mut alice, _) = allocated(&mut world);
    for (peer, code) in
        [("10.20.0.1:1", None), ("10.20.3.127:1", Some(403)), ("10.20.3.128:1", None), ("10.21.0.1:1", Some(403))]
    {
        assert_eq!(create(&mut world, &mut alice, &[peer]), code, "{peer}");
    }
}
