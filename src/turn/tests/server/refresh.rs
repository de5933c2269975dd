//! Refresh, RFC 8656 section 8.2, and how allocations end.

use crate::prelude::*;

#[test]
fn refresh_without_an_allocation_gets_437() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.greet(&mut alice);
    for method in [Method::Refresh, Method::CreatePermission, Method::ChannelBind, Method::Connect] {
        let answer =
            world.ask(&mut alice, method, &[Attribute::XorPeerAddress(peer()), Attribute::ChannelNumber(0x4000)]);
        assert_eq!(
            (answer.code(), answer.integrity_for(&alice)),
            (Some(437), Some(IntegrityAlgorithm::Sha1)),
            "{method:?}"
        );
    }
}

#[test]
fn refresh_by_another_user_gets_441() {
    let mut world = World::new();
    let (alice, _) = allocated(&mut world);
    let mut mallory =
        Endpoint { nonce: alice.nonce.clone(), ..Endpoint::named(&world, "mallory", "198.51.100.1:4000") };
    for method in [Method::Refresh, Method::CreatePermission, Method::ChannelBind] {
        let answer =
            world.ask(&mut mallory, method, &[Attribute::XorPeerAddress(peer()), Attribute::ChannelNumber(0x4000)]);
        assert_eq!(
            (answer.code(), answer.integrity_for(&mallory)),
            (Some(441), Some(IntegrityAlgorithm::Sha1)),
            "{method:?}"
        );
    }
    assert_eq!(world.ask(&mut mallory, Method::Refresh, &[Attribute::Lifetime(0)]).code(), Some(441));
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn refresh_extends_the_lifetime_from_now_on() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    world.pass_secs(500);
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(700)]).lifetime(), Some(700));
    world.pass_nanos(700 * SECOND - 1);
    world.greet(&mut alice);
    permit(&mut world, &mut alice, peer());
    assert!(world.deliver(relayed, peer(), b"x").is_ok());
    world.jump_nanos(1);
    assert_eq!(world.deliver(relayed, peer(), b"x"), Err(DropReason::Expired));
    assert_eq!(ends(&mut world), [EndReason::LifetimeOver]);
}

#[test]
fn the_lifetime_of_a_refresh_is_clamped_too() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    for (asked, granted) in [(1, 600), (5_000, 3_600)] {
        assert_eq!(world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(asked)]).lifetime(), Some(granted));
    }
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).lifetime(), Some(600));
}

#[test]
fn refresh_0_deletes_now_and_a_later_refresh_gets_437() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]).lifetime(), Some(0));
    assert_eq!(ends(&mut world), [EndReason::Released]);
    assert!(world.open_relays().is_empty());
    assert_eq!(world.deliver(relayed, peer(), b"x"), Err(DropReason::UnknownRelay));
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]).code(), Some(437));
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), Some(437));
}

#[test]
fn refresh_0_gives_the_quota_unit_back_at_once() {
    let mut world = World::with(|setup| setup.quotas.allocations_per_identity = 1);
    let (mut alice, _) = allocated(&mut world);
    let mut second = Endpoint::new(&world, "198.51.100.1:4001");
    world.greet(&mut second);
    assert_eq!(world.ask(&mut second, Method::Allocate, &[UDP]).code(), Some(486));
    world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]);
    assert_eq!(world.ask(&mut second, Method::Allocate, &[UDP]).code(), None);
}

#[test]
fn a_port_is_not_used_again_at_once() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let mut seen = Vec::new();
    for _ in 0..50 {
        let port = world.allocate(&mut alice).port();
        assert!(!seen.contains(&port));
        seen.push(port);
        world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]);
    }
}

#[test]
fn an_allocation_ends_at_its_lifetime_without_any_packet() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    world.pass_secs(601);
    assert_eq!(ends(&mut world), [EndReason::LifetimeOver]);
    assert!(world.open_relays().is_empty());
    assert_eq!(world.server.next_timeout(), None);
    world.greet(&mut alice);
    world.allocate(&mut alice);
}

#[test]
fn an_allocation_that_is_over_is_seen_by_the_next_request_even_before_any_timer() {
    let mut world = World::new();
    let (mut alice, _) = allocated(&mut world);
    let mut bob = Endpoint::named(&world, "bob", "198.51.100.2:4000");
    world.allocate(&mut bob);
    world.jump_nanos(600 * SECOND);
    world.greet(&mut alice);
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), Some(437));
    world.greet(&mut bob);
    assert_eq!(world.ask(&mut bob, Method::Allocate, &[UDP]).code(), None);
}

#[test]
fn the_end_record_holds_peers_and_flows() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let send = alice.send_indication(peer(), b"12345");
    world.relay(alice.client, &send).unwrap();
    world.relay(alice.client, &send).unwrap();
    world.deliver(relayed, peer(), b"123").unwrap();
    world.take_actions();
    world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]);
    let [Action::Ended(record, EndReason::Released)] = &world.take_actions()[..] else { panic!("one record") };
    assert_eq!(record.peers, [peer()]);
    assert_eq!((record.to_peer.packets, record.to_peer.bytes), (2, 10));
    assert_eq!((record.to_client.packets, record.to_client.bytes), (1, 3));
    assert_eq!(record.relay_ids.len(), 1);
}

#[test]
fn a_lost_relay_socket_and_a_shutdown_end_with_their_reason() {
    let mut world = World::new();
    let (_, relayed) = allocated(&mut world);
    let relay = world.relay_id(relayed).unwrap();
    world.server.handle_relay_lost(world.now, relay);
    world.pump();
    assert_eq!(ends(&mut world), [EndReason::RelayLost]);
    let mut bob = Endpoint::named(&world, "bob", "198.51.100.2:4000");
    world.allocate(&mut bob);
    world.server.shutdown(world.now);
    world.pump();
    assert_eq!(ends(&mut world), [EndReason::Shutdown]);
    assert!(world.open_relays().is_empty());
}

#[test]
fn a_clock_step_ends_no_allocation() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let stepped = postern_turn::io::Now { unix_secs: world.now.unix_secs + 1_000_000, ..world.now };
    world.server.handle_timeout(stepped);
    world.pump();
    assert!(world.deliver(relayed, peer(), b"x").is_ok());
}

#[test]
fn refreshed_permissions_leave_no_timers_behind() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    world.allocate_with(&mut alice, &[Attribute::Lifetime(3_600)]);
    for _ in 0..5 {
        permit(&mut world, &mut alice, peer());
        world.pass_secs(301);
        world.greet(&mut alice);
        assert_eq!(world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(3_600)]).code(), None);
    }
    world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]);
    world.pass_secs(2_000);
    assert_eq!(world.server.next_timeout(), None);
}
