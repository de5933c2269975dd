//! Which channels the kernel may forward: those of which no packet needs a look.

use postern_token::{Claims, Issuer};

use crate::prelude::*;

/// Bind and Unbind since the last look, by channel number.
fn changes(world: &mut World) -> Vec<(bool, u16)> {
    let change = |action| match action {
        Action::Bind { channel, .. } => Some((true, channel)),
        Action::Unbind { channel, .. } => Some((false, channel)),
        _ => None,
    };
    world.take_actions().into_iter().filter_map(change).collect()
}

#[test]
fn a_bound_channel_takes_the_short_way_once() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    world.take_actions();
    bind(&mut world, &mut alice, 0x4000, peer());
    let actions = world.take_actions();
    let [Action::Bind { client, channel: 0x4000, relay, peer: to }] = &actions[..] else { panic!("one Bind") };
    assert_eq!((*client, Some(*relay), to.0), (alice.client, world.relay_id(relayed), peer()));
    bind(&mut world, &mut alice, 0x4000, peer());
    assert_eq!(changes(&mut world), [], "a refresh is silent");
}

#[test]
fn the_short_way_ends_with_the_permission_and_comes_back_with_it() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.allocate_with(&mut alice, &[Attribute::Lifetime(3_600)]);
    bind(&mut world, &mut alice, 0x4000, peer());
    changes(&mut world);
    world.pass_secs(301);
    assert_eq!(changes(&mut world), [(false, 0x4000)]);
    permit(&mut world, &mut alice, peer());
    assert_eq!(changes(&mut world), [(true, 0x4000)]);
}

#[test]
fn the_short_way_ends_with_the_channel_and_with_the_allocation() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.allocate_with(&mut alice, &[Attribute::Lifetime(3_600)]);
    bind(&mut world, &mut alice, 0x4000, peer());
    world.pass_secs(590);
    world.greet(&mut alice);
    bind(&mut world, &mut alice, 0x4001, other_peer());
    permit(&mut world, &mut alice, peer());
    changes(&mut world);
    world.pass_secs(11);
    assert_eq!(changes(&mut world), [(false, 0x4000)]);
    world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]);
    assert_eq!(changes(&mut world), [(false, 0x4001)]);
}

#[test]
fn a_limited_bitrate_and_a_relay_of_this_edge_never_take_the_short_way() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    let mut bob = Endpoint::named(&world, "bob", "198.51.100.2:4000");
    let of_bob = world.allocate(&mut bob);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, of_bob), None);
    let claims = Claims { bitrate_bps: Some(64_000), ..Claims::new("carol", 2_000_000_000) };
    let limited = Issuer::new(&world.setup.ring()).issue_extended(&claims).unwrap();
    let mut carol = Endpoint::with_token(&limited, "198.51.100.3:4000", Transport::Udp);
    world.allocate(&mut carol);
    assert_eq!(bind(&mut world, &mut carol, 0x4000, peer()), None);
    assert_eq!(changes(&mut world), []);
}

#[test]
fn a_denied_peer_loses_the_short_way_at_the_reload() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    bind(&mut world, &mut alice, 0x4000, peer());
    changes(&mut world);
    world.reload(|setup| setup.policy.deny_peers = vec!["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(changes(&mut world), [(false, 0x4000)]);
}

#[test]
fn a_client_that_moves_takes_its_short_way_along() {
    let mut world = World::with(|setup| setup.features.mobility = true);
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.greet(&mut alice);
    let ticket = world.ask(&mut alice, Method::Allocate, &[UDP, Attribute::MobilityTicket(&[])]).ticket().unwrap();
    bind(&mut world, &mut alice, 0x4000, peer());
    changes(&mut world);
    let mut elsewhere = Endpoint::new(&world, "192.0.2.200:7000");
    world.greet(&mut elsewhere);
    assert_eq!(world.ask(&mut elsewhere, Method::Refresh, &[Attribute::MobilityTicket(&ticket)]).code(), None);
    assert_eq!(changes(&mut world), [(false, 0x4000), (true, 0x4000)]);
}
