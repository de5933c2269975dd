//! A reload bites on the living.

use postern_turn::io::Peer;

use crate::harness::channel_data;
use crate::prelude::*;

fn rotate(world: &mut World) {
    world.reload(|setup| setup.secrets = vec![("k2".into(), "the second of our secrets".into())]);
}

#[test]
fn permissions_and_channels_to_peers_no_longer_allowed_are_gone_at_once() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    permit(&mut world, &mut alice, other_peer());
    world.reload(|setup| setup.policy.deny_peers = vec!["192.0.2.7/32".parse().unwrap()]);
    assert_eq!(world.deliver(relayed, peer(), b"x"), Err(DropReason::NoPermission));
    assert_eq!(world.relay(alice.client, &channel_data(0x4000, b"x")), Err(DropReason::NoChannel));
    assert!(world.deliver(relayed, other_peer(), b"x").is_ok(), "the others stay");
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), Some(403));
}

#[test]
fn a_reload_that_changes_nothing_disturbs_nothing() {
    let mut world = World::with(|setup| setup.policy.allow_peers = vec!["10.20.0.0/24".parse().unwrap()]);
    let (mut alice, relayed) = allocated(&mut world);
    let inside = at("10.20.0.9:5000");
    assert_eq!(bind(&mut world, &mut alice, 0x4000, inside), None);
    world.reload(|_| {});
    assert_eq!(world.deliver(relayed, inside, b"x").unwrap().frame, channel_data(0x4000, b"x"));
    assert!(world.relay(alice.client, &channel_data(0x4000, b"x")).is_ok());
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), None);
}

#[test]
fn a_channel_to_another_relay_of_this_edge_survives_a_reload() {
    let mut world = World::new();
    let (mut alice, of_alice) = allocated(&mut world);
    let mut bob = Endpoint::named(&world, "bob", "198.51.100.2:4000");
    let of_bob = world.allocate(&mut bob);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, of_bob), None);
    world.reload(|_| {});
    assert_eq!(
        world.relay(alice.client, &channel_data(0x4000, b"x")).map(|sent| (sent.from, sent.to)),
        Ok((of_alice, of_bob))
    );
}

#[test]
fn tcp_connections_to_peers_no_longer_allowed_are_closed() {
    let mut world = World::with(|setup| setup.features.tcp_allocations = true);
    let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4000", Transport::Tcp);
    world.greet(&mut alice);
    let relayed = world.ask(&mut alice, Method::Allocate, &[TCP]).relayed()[0];
    permit(&mut world, &mut alice, peer());
    permit(&mut world, &mut alice, other_peer());
    let relay = world.relay_id(relayed).unwrap();
    let [closed, kept] =
        [peer(), other_peer()].map(|peer| world.server.handle_peer_accepted(world.now, relay, Peer(peer)).unwrap());
    world.pump();
    world.take_actions();
    world.reload(|setup| setup.policy.deny_peers = vec!["192.0.2.7/32".parse().unwrap()]);
    let actions = world.take_actions();
    assert!(matches!(&actions[..], [Action::ClosePeer { connection }] if *connection == closed && *connection != kept));
}

#[test]
fn a_connect_that_waits_gets_403_when_its_peer_is_no_longer_allowed() {
    let mut world = World::with(|setup| setup.features.tcp_allocations = true);
    let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4000", Transport::Tcp);
    world.greet(&mut alice);
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[TCP]).code(), None);
    let request = alice.signed(Method::Connect, &[Attribute::XorPeerAddress(peer())]);
    assert_eq!(world.ask_raw(alice.client, &request), None, "the answer waits for the connection");
    let asked = world.asked_connection().unwrap();
    world.take_actions();
    world.reload(|setup| setup.policy.deny_peers = vec!["192.0.2.7/32".parse().unwrap()]);
    assert_eq!(world.take_answer(&request).and_then(|answer| answer.code()), Some(403));
    let actions = world.take_actions();
    assert!(matches!(&actions[..], [Action::ClosePeer { connection }] if *connection == asked));
}

#[test]
fn an_allocation_whose_key_was_removed_gets_401_relays_on_and_ends_at_its_lifetime() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    rotate(&mut world);
    for method in [Method::Refresh, Method::CreatePermission, Method::ChannelBind] {
        let answer =
            world.ask(&mut alice, method, &[Attribute::XorPeerAddress(peer()), Attribute::ChannelNumber(0x4000)]);
        assert_eq!(answer.code(), Some(401), "{method:?}");
    }
    world.pass_secs(299);
    assert!(world.deliver(relayed, peer(), b"x").is_ok());
    world.pass_secs(302);
    assert_eq!(ends(&mut world), [EndReason::KeyRemoved]);
}

#[test]
fn a_key_that_only_moved_back_in_the_list_goes_on_verifying() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    world.reload(|setup| setup.secrets.insert(0, ("k2".into(), "the second of our secrets".into())));
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), None);
    world.pass_secs(601);
    assert_eq!(ends(&mut world), [EndReason::LifetimeOver]);
}

#[test]
fn a_key_that_was_kept_without_any_request_since_is_no_reason() {
    let mut world = World::new();
    allocated(&mut world);
    world.reload(|setup| setup.secrets.push(("k2".into(), "the second of our secrets".into())));
    world.pass_secs(601);
    assert_eq!(ends(&mut world), [EndReason::LifetimeOver]);
}

#[test]
fn a_lowered_quota_stops_new_allocations_only() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    world.reload(|setup| setup.quotas.allocations_per_identity = 1);
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), None);
    let mut second = Endpoint::new(&world, "198.51.100.1:4001");
    world.greet(&mut second);
    assert_eq!(world.ask(&mut second, Method::Allocate, &[UDP]).code(), Some(486));
}
