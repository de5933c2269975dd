//! Channels, RFC 8656 section 12.

use crate::harness::channel_data;
use crate::prelude::*;

#[test]
fn a_channel_carries_both_ways() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    let sent = world.relay(alice.client, &channel_data(0x4000, b"there")).unwrap();
    assert_eq!((sent.from, sent.to, sent.payload), (relayed, peer(), b"there".to_vec()));
    let back = world.deliver(relayed, peer(), b"and back").unwrap();
    assert_eq!((back.client, back.frame), (alice.client, channel_data(0x4000, b"and back")));
}

#[test]
fn only_numbers_from_4000_to_4fff_can_be_bound() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    for number in [0, 0x3FFF, 0x5000, 0x7FFF, 0x8000, 0xFFFF] {
        assert_eq!(bind(&mut world, &mut alice, number, peer()), Some(400), "{number:#x}");
    }
    assert_eq!(bind(&mut world, &mut alice, 0x4FFF, peer()), None);
}

#[test]
fn channel_bind_without_number_or_peer_gets_400() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    assert_eq!(world.ask(&mut alice, Method::ChannelBind, &[Attribute::XorPeerAddress(peer())]).code(), Some(400));
    assert_eq!(world.ask(&mut alice, Method::ChannelBind, &[Attribute::ChannelNumber(0x4000)]).code(), Some(400));
}

#[test]
fn rebinding_either_way_gets_400_and_changes_nothing() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, other_peer()), Some(400));
    assert_eq!(bind(&mut world, &mut alice, 0x4001, peer()), Some(400));
    assert_eq!(world.relay(alice.client, &channel_data(0x4000, b"x")).map(|sent| sent.to), Ok(peer()));
    assert_eq!(world.deliver(relayed, other_peer(), b"x"), Err(DropReason::NoPermission), "no permission by the way");
}

#[test]
fn another_port_of_the_same_peer_is_another_channel() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    let second = SocketAddr::new(peer().ip(), 5_001);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    assert_eq!(bind(&mut world, &mut alice, 0x4001, second), None);
    assert_eq!(world.deliver(relayed, second, b"x").unwrap().frame, channel_data(0x4001, b"x"));
}

#[test]
fn a_channel_lasts_600_seconds_and_traffic_does_not_extend_it() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.allocate_with(&mut alice, &[Attribute::Lifetime(3_600)]);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    for _ in 0..599 {
        world.pass_secs(1);
        assert!(world.relay(alice.client, &channel_data(0x4000, b"x")).is_ok());
    }
    world.jump_nanos(SECOND - 1);
    assert!(world.relay(alice.client, &channel_data(0x4000, b"x")).is_ok());
    world.jump_nanos(1);
    assert_eq!(world.relay(alice.client, &channel_data(0x4000, b"x")), Err(DropReason::Expired));
}

#[test]
fn a_channel_brings_a_permission_of_300_seconds() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    world.jump_nanos(300 * SECOND - 1);
    assert!(world.deliver(relayed, peer(), b"x").is_ok());
    world.jump_nanos(1);
    assert_eq!(world.deliver(relayed, peer(), b"x"), Err(DropReason::NoPermission));
    assert!(world.relay(alice.client, &channel_data(0x4000, b"x")).is_ok(), "the channel itself lives on");
}

#[test]
fn binding_again_refreshes_channel_and_permission() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let relayed = world.allocate_with(&mut alice, &[Attribute::Lifetime(3_600)]);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    world.pass_secs(590);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    world.pass_secs(299);
    assert_eq!(world.deliver(relayed, peer(), b"x").unwrap().frame, channel_data(0x4000, b"x"));
    world.pass_secs(300);
    assert!(world.relay(alice.client, &channel_data(0x4000, b"x")).is_ok());
}

#[test]
fn an_expired_channel_can_be_bound_to_another_peer_before_any_timer() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.allocate_with(&mut alice, &[Attribute::Lifetime(3_600)]);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    world.jump_nanos(600 * SECOND);
    world.greet(&mut alice);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, other_peer()), None);
    assert_eq!(world.relay(alice.client, &channel_data(0x4000, b"x")).map(|sent| sent.to), Ok(other_peer()));
}

#[test]
fn when_the_channel_is_over_the_peer_comes_by_data_indication() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let relayed = world.allocate_with(&mut alice, &[Attribute::Lifetime(3_600)]);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    world.pass_secs(500);
    permit(&mut world, &mut alice, peer());
    world.jump_nanos(100 * SECOND);
    assert_eq!(world.deliver(relayed, peer(), b"x").unwrap().indication(), (peer(), b"x".to_vec()));
}

#[test]
fn channel_data_on_an_unbound_channel_or_without_an_allocation_is_dropped() {
    let mut world = World::new();
    let (alice, _) = allocated(&mut world);
    assert_eq!(world.relay(alice.client, &channel_data(0x4000, b"x")), Err(DropReason::NoChannel));
    let stranger = Endpoint::new(&world, "198.51.100.9:4000");
    assert_eq!(world.relay(stranger.client, &channel_data(0x4000, b"x")), Err(DropReason::NoChannel));
    assert!(world.told.is_empty());
}

#[test]
fn channel_data_of_another_client_does_not_use_the_channel() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    let mut bob = Endpoint::named(&world, "bob", "198.51.100.2:4000");
    world.allocate(&mut bob);
    assert_eq!(world.relay(bob.client, &channel_data(0x4000, b"x")), Err(DropReason::NoChannel));
}

#[test]
fn a_length_beyond_the_datagram_is_dropped() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    let whole = channel_data(0x4000, b"12345678");
    for len in 1..whole.len() {
        assert_eq!(world.relay(alice.client, &whole[..len]), Err(DropReason::Malformed), "{len}");
    }
}

#[test]
fn empty_and_padded_channel_data_are_fine_over_udp() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    assert_eq!(world.relay(alice.client, &channel_data(0x4000, b"")).unwrap().payload, b"");
    let mut padded = channel_data(0x4000, b"abcde");
    padded.extend_from_slice(&[0; 3]);
    assert_eq!(world.relay(alice.client, &padded).unwrap().payload, b"abcde");
}

#[test]
fn channels_are_gone_with_their_allocation() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]);
    world.allocate(&mut alice);
    assert_eq!(world.relay(alice.client, &channel_data(0x4000, b"x")), Err(DropReason::NoChannel));
}

#[test]
fn more_channels_than_an_allocation_can_hold_get_508() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    for number in 0..1_024 {
        assert_eq!(bind(&mut world, &mut alice, 0x4000 + number, SocketAddr::new(peer().ip(), 1 + number)), None);
    }
    assert_eq!(bind(&mut world, &mut alice, 0x4FFF, SocketAddr::new(peer().ip(), 9_999)), Some(508));
    assert_eq!(bind(&mut world, &mut alice, 0x4000, SocketAddr::new(peer().ip(), 1)), None);
}
