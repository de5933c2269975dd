//! What a credential allows: expiry, quota, peers, bitrate, and the newer token that takes an allocation over.

use postern_token::{Claims, Issuer, Token};

use crate::harness::{START_UNIX_SECS, channel_data};
use crate::prelude::*;

fn extended(world: &World, ttl_secs: u64, change: impl FnOnce(&mut Claims)) -> Token {
    let mut claims = Claims::new("alice", START_UNIX_SECS + ttl_secs);
    claims.call_id = Some("call-7".into());
    change(&mut claims);
    Issuer::new(&world.setup.ring()).issue_extended(&claims).unwrap()
}

fn endpoint(token: &Token, port: u16) -> Endpoint {
    Endpoint::with_token(token, &format!("198.51.100.1:{port}"), Transport::Udp)
}

#[test]
fn no_lifetime_reaches_beyond_the_credential() {
    let mut world = World::new();
    let mut alice = endpoint(&token(&world.setup, "alice", 100), 4000);
    world.greet(&mut alice);
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP, Attribute::Lifetime(3_600)]).lifetime(), Some(100));
    world.pass_secs(40);
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(3_600)]).lifetime(), Some(60));
}

#[test]
fn an_allocation_that_ends_with_its_credential_says_so() {
    let mut world = World::new();
    let mut alice = endpoint(&token(&world.setup, "alice", 100), 4000);
    world.allocate(&mut alice);
    world.take_actions();
    world.pass_secs(101);
    let actions = world.take_actions();
    assert!(matches!(&actions[..], [
        Action::Warn(postern_turn::io::Warning::ExpiredToken { identity }),
        Action::Ended(_, EndReason::CredentialExpired),
    ] if identity == "alice"));
    assert_eq!(world.server.counters.ended(EndReason::CredentialExpired), 1);
}

#[test]
fn a_token_issued_for_too_long_is_cut_at_allocate_and_not_refused() {
    let mut world = World::with(|setup| setup.lifetimes.token_max_secs = 900);
    let mut alice = endpoint(&token(&world.setup, "alice", 1_000_000), 4000);
    world.greet(&mut alice);
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP, Attribute::Lifetime(3_600)]).lifetime(), Some(900));
    world.pass_secs(500);
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).lifetime(), Some(400), "counted from its Allocate on");
    world.pass_secs(401);
    assert_eq!(ends(&mut world), [EndReason::CredentialExpired]);
}

#[test]
fn the_quota_goes_by_name_whatever_the_timestamp_or_address() {
    let mut world = World::with(|setup| setup.quotas.allocations_per_identity = 2);
    for (ttl_secs, port, code) in [(1_000, 4000, None), (2_000, 4001, None), (3_000, 4002, Some(486))] {
        let mut alice = endpoint(&token(&world.setup, "alice", ttl_secs), port);
        world.greet(&mut alice);
        assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP]).code(), code);
    }
    let mut bob = Endpoint::named(&world, "bob", "198.51.100.1:4003");
    world.allocate(&mut bob);
}

#[test]
fn a_full_quota_is_warned_of_once_a_minute() {
    let mut world = World::with(|setup| setup.quotas.allocations_per_identity = 1);
    allocated(&mut world);
    let mut warned = Vec::new();
    for second in 0..120 {
        let mut again = Endpoint::new(&world, &format!("198.51.100.1:{}", 5_000 + second));
        world.greet(&mut again);
        assert_eq!(world.ask(&mut again, Method::Allocate, &[UDP]).code(), Some(486));
        let warnings = world.take_actions().into_iter().filter(|action| matches!(action, Action::Warn(_))).count();
        warned.extend(std::iter::repeat_n(second, warnings));
        world.pass_secs(1);
    }
    assert_eq!(warned, [0, 61]);
}

#[test]
fn a_bare_expiry_counts_by_client_address() {
    let mut world = World::with(|setup| setup.quotas.allocations_per_identity = 1);
    let nameless = Issuer::new(&world.setup.ring()).issue_classic(None, START_UNIX_SECS + 5_000).unwrap();
    for (remote, code) in [
        ("198.51.100.1:4000", None),
        ("198.51.100.1:4001", Some(486)),
        ("198.51.100.2:4000", None),
        ("[2001:db8:1::1]:4000", None),
        ("[2001:db8:1::2]:4000", Some(486)),
        ("[2001:db8:1:1::1]:4000", None),
    ] {
        let mut nobody = Endpoint::with_token(&nameless, remote, Transport::Udp);
        world.greet(&mut nobody);
        assert_eq!(world.ask(&mut nobody, Method::Allocate, &[UDP]).code(), code, "{remote}");
    }
}

#[test]
fn a_token_may_raise_the_quota_up_to_the_maximum() {
    for (asked, maximum, allowed) in [(Some(3), 1_000, 3), (Some(9), 4, 4), (None, 1_000, 2)] {
        let mut world = World::with(|setup| {
            setup.quotas.allocations_per_identity = 2;
            setup.quotas.allocations_max = maximum;
        });
        let raised = extended(&world, 5_000, |claims| claims.allocations = asked);
        let mut given = 0;
        for port in 4_000..4_006 {
            let mut alice = endpoint(&raised, port);
            world.greet(&mut alice);
            given += u32::from(world.ask(&mut alice, Method::Allocate, &[UDP]).code().is_none());
        }
        assert_eq!(given, allowed, "{asked:?} of {maximum}");
    }
}

#[test]
fn the_peers_of_a_token_narrow_the_policy_and_never_widen_it() {
    let mut world = World::new();
    let narrow = extended(&world, 5_000, |claims| {
        claims.peers = Some(vec!["192.0.2.0/29".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
    });
    let mut alice = endpoint(&narrow, 4000);
    world.allocate(&mut alice);
    permit(&mut world, &mut alice, peer());
    for forbidden in ["192.0.2.8:1", "10.0.0.1:1"] {
        let peer = Attribute::XorPeerAddress(at(forbidden));
        assert_eq!(world.ask(&mut alice, Method::CreatePermission, &[peer]).code(), Some(403), "{forbidden}");
        assert_eq!(
            world.ask(&mut alice, Method::ChannelBind, &[Attribute::ChannelNumber(0x4000), peer]).code(),
            Some(403)
        );
    }
}

#[test]
fn the_bitrate_of_a_token_holds_for_both_directions_together() {
    let mut world = World::new();
    let slow = extended(&world, 5_000, |claims| claims.bitrate_bps = Some(80_000));
    let mut alice = endpoint(&slow, 4000);
    let relayed = world.allocate(&mut alice);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    let mut passed = 0;
    for _ in 0..100 {
        passed += usize::from(world.relay(alice.client, &channel_data(0x4000, &[0; 100])).is_ok());
        passed += usize::from(world.deliver(relayed, peer(), &[0; 100]).is_ok());
    }
    assert_eq!(passed, 100, "10,000 bytes are one second's worth");
    assert_eq!(world.relay(alice.client, &channel_data(0x4000, &[0; 100])), Err(DropReason::Bitrate));
    assert_eq!(world.server.counters.dropped(DropReason::Bitrate), 101);
    world.pass_secs(1);
    assert!(world.deliver(relayed, peer(), &[0; 100]).is_ok());
    world.take_actions();
    world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]);
    let [Action::Ended(record, _)] = &world.take_actions()[..] else { panic!("one record") };
    assert_eq!(record.to_peer.dropped_packets + record.to_client.dropped_packets, 101);
}

#[test]
fn a_newer_token_of_the_same_call_takes_the_allocation_over_and_lifts_its_end() {
    let mut world = World::new();
    let mut alice = endpoint(&extended(&world, 100, |_| {}), 4000);
    world.allocate(&mut alice);
    let old = alice.clone();
    alice.use_token(&extended(&world, 5_000, |_| {}));
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(2_000)]).lifetime(), Some(2_000));
    world.pass_secs(101);
    assert!(ends(&mut world).is_empty());
    permit(&mut world, &mut alice, peer());
    let mut old = old;
    assert_eq!(
        world.ask(&mut old, Method::CreatePermission, &[Attribute::XorPeerAddress(peer())]).code(),
        Some(401),
        "it has expired"
    );
}

#[test]
fn the_older_token_of_a_call_does_not_get_the_allocation_back() {
    let mut world = World::new();
    let mut alice = endpoint(&extended(&world, 5_000, |_| {}), 4000);
    world.allocate(&mut alice);
    alice.use_token(&extended(&world, 4_000, |_| {}));
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), Some(441));
}

#[test]
fn any_other_name_gets_441() {
    let mut world = World::new();
    let mut alice = endpoint(&extended(&world, 100, |_| {}), 4000);
    world.allocate(&mut alice);
    let others = [
        extended(&world, 5_000, |claims| claims.call_id = Some("call-8".into())),
        extended(&world, 5_000, |claims| claims.call_id = None),
        extended(&world, 5_000, |claims| claims.identity = "bob".into()),
        token(&world.setup, "alice", 5_000),
    ];
    for other in &others {
        alice.use_token(other);
        assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), Some(441), "{}", other.username);
    }
}

#[test]
fn a_newer_classic_token_of_the_same_name_gets_441() {
    let mut world = World::new();
    let mut alice = endpoint(&token(&world.setup, "alice", 100), 4000);
    world.allocate(&mut alice);
    alice.use_token(&token(&world.setup, "alice", 5_000));
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), Some(441));
}

#[test]
fn a_takeover_brings_the_limits_of_the_newer_token() {
    let mut world = World::new();
    let mut alice = endpoint(&extended(&world, 100, |_| {}), 4000);
    let relayed = world.allocate(&mut alice);
    permit(&mut world, &mut alice, peer());
    permit(&mut world, &mut alice, at("203.0.114.1:1"));
    alice.use_token(&extended(&world, 5_000, |claims| {
        claims.peers = Some(vec!["192.0.2.0/24".parse().unwrap()]);
        claims.bitrate_bps = Some(80_000);
    }));
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), None);
    assert_eq!(world.deliver(relayed, at("203.0.114.1:1"), b"x"), Err(DropReason::NoPermission));
    assert_eq!((0..200).filter(|_| world.deliver(relayed, peer(), &[0; 100]).is_ok()).count(), 100);
}

#[test]
fn the_call_id_reaches_the_record() {
    let mut world = World::new();
    let mut alice = endpoint(&extended(&world, 5_000, |_| {}), 4000);
    world.allocate(&mut alice);
    let [Action::Started(record)] = &world.take_actions()[..] else { panic!("one record") };
    assert_eq!((record.identity.as_str(), record.call_id.as_deref()), ("alice", Some("call-7")));
}
