//! Mobility, RFC 8016: an allocation that follows its client.

use postern_turn::io::Client;

use crate::harness::{Setup, channel_data};
use crate::prelude::*;

const WANTED: Attribute<'static> = Attribute::MobilityTicket(&[]);

fn mobile(setup: &mut Setup) {
    setup.features.mobility = true;
}

/// A client with a mobile allocation, a permission, a channel and its first ticket.
fn roaming(world: &mut World) -> (Endpoint, SocketAddr, Vec<u8>) {
    let mut alice = Endpoint::new(world, "198.51.100.1:4000");
    world.greet(&mut alice);
    let answer = world.ask(&mut alice, Method::Allocate, &[UDP, WANTED]);
    assert_eq!(answer.code(), None);
    assert_eq!(bind(world, &mut alice, 0x4000, peer()), None);
    (alice, answer.relayed()[0], answer.ticket().expect("a ticket"))
}

/// The same user at another address.
fn moved(world: &mut World, remote: &str) -> Endpoint {
    let mut alice = Endpoint::new(world, remote);
    world.greet(&mut alice);
    alice
}

fn come_back(world: &mut World, endpoint: &mut Endpoint, ticket: &[u8]) -> Answer {
    world.ask(endpoint, Method::Refresh, &[Attribute::MobilityTicket(ticket)])
}

#[test]
fn a_ticket_is_given_to_who_asks_for_one_and_to_nobody_else() {
    let mut world = World::with(mobile);
    let (_, _, ticket) = roaming(&mut world);
    assert!(!ticket.is_empty());
    let mut bob = moved(&mut world, "198.51.100.2:4000");
    assert_eq!(world.ask(&mut bob, Method::Allocate, &[UDP]).ticket(), None);
}

#[test]
fn without_the_setting_a_ticket_gets_405() {
    let mut world = World::new();
    let mut alice = moved(&mut world, "198.51.100.1:4000");
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP, WANTED]).code(), Some(405));
    assert_eq!(come_back(&mut world, &mut alice, &[1; 28]).code(), Some(405));
}

#[test]
fn an_allocate_with_a_filled_ticket_gets_400() {
    let mut world = World::with(mobile);
    let mut alice = moved(&mut world, "198.51.100.1:4000");
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP, Attribute::MobilityTicket(&[1; 28])]).code(), Some(400));
}

#[test]
fn the_allocation_follows_its_client_with_all_that_it_has() {
    let mut world = World::with(mobile);
    let (alice, relayed, ticket) = roaming(&mut world);
    let mut elsewhere = moved(&mut world, "192.0.2.200:7000");
    let answer = come_back(&mut world, &mut elsewhere, &ticket);
    assert_eq!((answer.code(), answer.lifetime()), (None, Some(600)));
    assert!(answer.ticket().is_some_and(|next| next != ticket));
    let seen = world.deliver(relayed, peer(), b"x").unwrap();
    assert_eq!((seen.client, seen.frame), (elsewhere.client, channel_data(0x4000, b"x")));
    assert!(world.relay(elsewhere.client, &channel_data(0x4000, b"x")).is_ok());
    assert_eq!(world.relay(alice.client, &channel_data(0x4000, b"x")), Err(DropReason::NoChannel));
    assert_eq!(world.server.allocations(), 1);
    assert!(ends(&mut world).is_empty(), "it never ended");
}

#[test]
fn the_quota_is_held_throughout() {
    let mut world = World::with(|setup| {
        mobile(setup);
        setup.quotas.allocations_per_identity = 1;
    });
    let (mut alice, _, ticket) = roaming(&mut world);
    let mut elsewhere = moved(&mut world, "192.0.2.200:7000");
    assert_eq!(come_back(&mut world, &mut elsewhere, &ticket).code(), None);
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP]).code(), Some(486));
}

#[test]
fn a_ticket_is_bound_to_its_user() {
    let mut world = World::with(mobile);
    let (_, relayed, ticket) = roaming(&mut world);
    let mut mallory = Endpoint::named(&world, "mallory", "198.51.100.66:4000");
    world.greet(&mut mallory);
    assert_eq!(come_back(&mut world, &mut mallory, &ticket).code(), Some(400));
    assert!(world.deliver(relayed, peer(), b"x").is_ok());
}

#[test]
fn a_damaged_or_outdated_ticket_gets_400() {
    let mut world = World::with(mobile);
    let (_, _, first) = roaming(&mut world);
    let mut elsewhere = moved(&mut world, "192.0.2.200:7000");
    let mut damaged = first.clone();
    damaged[3] ^= 1;
    assert_eq!(come_back(&mut world, &mut elsewhere, &damaged).code(), Some(400));
    assert_eq!(come_back(&mut world, &mut elsewhere, &[]).code(), Some(400));
    let second = come_back(&mut world, &mut elsewhere, &first).ticket().unwrap();
    come_back(&mut world, &mut elsewhere, &second);
    let mut third_place = moved(&mut world, "192.0.2.201:7000");
    assert_eq!(come_back(&mut world, &mut third_place, &first).code(), Some(400));
}

#[test]
fn the_ticket_before_the_newest_is_still_good_in_case_the_answer_was_lost() {
    let mut world = World::with(mobile);
    let (_, _, ticket) = roaming(&mut world);
    let mut elsewhere = moved(&mut world, "192.0.2.200:7000");
    come_back(&mut world, &mut elsewhere, &ticket);
    assert_eq!(come_back(&mut world, &mut elsewhere, &ticket).code(), None);
}

#[test]
fn a_client_with_another_allocation_on_the_5_tuple_gets_437() {
    let mut world = World::with(mobile);
    let (_, _, ticket) = roaming(&mut world);
    let mut elsewhere = moved(&mut world, "192.0.2.200:7000");
    world.allocate(&mut elsewhere);
    assert_eq!(come_back(&mut world, &mut elsewhere, &ticket).code(), Some(437));
}

#[test]
fn lifetime_0_with_a_ticket_deletes_from_afar() {
    let mut world = World::with(mobile);
    let (_, _, ticket) = roaming(&mut world);
    let mut elsewhere = moved(&mut world, "192.0.2.200:7000");
    let answer =
        world.ask(&mut elsewhere, Method::Refresh, &[Attribute::Lifetime(0), Attribute::MobilityTicket(&ticket)]);
    assert_eq!(answer.lifetime(), Some(0));
    assert_eq!(ends(&mut world), [EndReason::Released]);
    assert_eq!(come_back(&mut world, &mut elsewhere, &ticket).code(), Some(400));
}

#[test]
fn a_moved_allocation_still_ends_at_its_lifetime() {
    let mut world = World::with(mobile);
    let (_, _, ticket) = roaming(&mut world);
    let mut elsewhere = moved(&mut world, "192.0.2.200:7000");
    come_back(&mut world, &mut elsewhere, &ticket);
    world.pass_secs(601);
    assert_eq!(ends(&mut world), [EndReason::LifetimeOver]);
    assert!(world.open_relays().is_empty());
}

/// Moves the allocation of the last `Adopt` from one shard to the other, as a shell does.
fn adopt(from: &mut World, to: &mut World) -> (Client, Vec<u8>) {
    let action = to.take_actions().pop();
    let Some(Action::Adopt { client, ticket, message }) = action else { panic!("{action:?} is no Adopt") };
    assert_eq!(to.server.shard_of_ticket(&ticket), Some(from.shared.shard));
    let exported = from.server.export(from.now, &ticket).expect("it lives there");
    from.pump();
    let sockets: Vec<_> = exported.relays().map(|relay| from.give_socket(relay)).collect();
    // The new shard has sockets of its own already: the indices differ.
    let ids: Vec<_> = sockets.into_iter().map(|opened| to.take_socket(opened)).collect();
    to.server.handle_adopted(to.now, exported, &ids);
    to.pump();
    (client, message)
}

#[test]
fn an_allocation_moves_to_the_shard_that_its_client_came_back_to() {
    let mut old = World::with(mobile);
    let mut new = old.sibling(mobile);
    let (_, relayed, ticket) = roaming(&mut old);
    let mut bob = Endpoint::named(&new, "bob", "198.51.100.2:4000");
    new.allocate(&mut bob);
    let mut elsewhere = moved(&mut new, "192.0.2.200:7000");
    assert!(new.try_ask(&mut elsewhere, Method::Refresh, &[Attribute::MobilityTicket(&ticket)]).is_none());
    let (client, message) = adopt(&mut old, &mut new);
    let answer = new.ask_raw(client, &message).unwrap();
    assert_eq!((answer.code(), answer.integrity_for(&elsewhere)), (None, Some(IntegrityAlgorithm::Sha1)));
    assert_eq!(new.deliver(relayed, peer(), b"x").unwrap().frame, channel_data(0x4000, b"x"));
    assert!(new.relay(elsewhere.client, &channel_data(0x4000, b"x")).is_ok());
    assert_eq!((old.server.allocations(), new.server.allocations()), (0, 2));
    assert_eq!((old.server.counters.allocations_exported, new.server.counters.allocations_adopted), (1, 1));
    assert!(ends(&mut old).is_empty());

    let next = answer.ticket().unwrap();
    let mut home = moved(&mut old, "198.51.100.1:4000");
    assert!(old.try_ask(&mut home, Method::Refresh, &[Attribute::MobilityTicket(&next)]).is_none());
    let (client, message) = adopt(&mut new, &mut old);
    assert_eq!(old.ask_raw(client, &message).unwrap().code(), None, "and back again");
    old.pass_secs(601);
    assert_eq!(ends(&mut old), [EndReason::LifetimeOver]);
}

#[test]
fn a_refused_refresh_from_elsewhere_moves_nothing() {
    let mut old = World::with(mobile);
    let mut new = old.sibling(mobile);
    let (mut alice, relayed, ticket) = roaming(&mut old);
    for world_is_home in [true, false] {
        let world = if world_is_home { &mut old } else { &mut new };
        let mut elsewhere = moved(world, "192.0.2.200:7000");
        let wrong_family = [Attribute::RequestedAddressFamily(V6), Attribute::MobilityTicket(&ticket)];
        assert_eq!(world.ask(&mut elsewhere, Method::Refresh, &wrong_family).code(), Some(443));
        // The same name with another token: the ticket opens, the allocation is another user's.
        elsewhere.use_token(&token(&world.setup, "alice", 20_000));
        assert_eq!(come_back(world, &mut elsewhere, &ticket).code(), Some(441));
        assert!(!world.take_actions().iter().any(|action| matches!(action, Action::Adopt { .. })));
        assert!(old.relay(alice.client, &channel_data(0x4000, b"x")).is_ok(), "home {world_is_home}");
    }
    assert_eq!(old.deliver(relayed, peer(), b"x").unwrap().client, alice.client);
    assert_eq!(old.ask(&mut alice, Method::Refresh, &[]).code(), None);
}

#[test]
fn an_outdated_ticket_gets_400_on_another_shard_too() {
    let mut old = World::with(mobile);
    let mut new = old.sibling(mobile);
    let (mut alice, _, first) = roaming(&mut old);
    let second = come_back(&mut old, &mut alice, &first).ticket().unwrap();
    come_back(&mut old, &mut alice, &second);
    let mut elsewhere = moved(&mut new, "192.0.2.200:7000");
    assert_eq!(come_back(&mut new, &mut elsewhere, &first).code(), Some(400));
    assert!(old.server.export(old.now, &first).is_none(), "nor does its home give it away");
    assert_eq!((old.server.allocations(), new.server.allocations()), (1, 0));
}

#[test]
fn a_closed_family_is_known_to_the_other_shards() {
    let mut old = World::with(mobile);
    let mut new = old.sibling(mobile);
    let mut alice = moved(&mut old, "198.51.100.1:4000");
    let answer = old.ask(&mut alice, Method::Allocate, &[UDP, Attribute::AdditionalAddressFamily(V6), WANTED]);
    let ticket = answer.ticket().unwrap();
    let close_v6 = [Attribute::RequestedAddressFamily(V6), Attribute::Lifetime(0)];
    assert_eq!(old.ask(&mut alice, Method::Refresh, &close_v6).code(), None);
    let mut elsewhere = moved(&mut new, "192.0.2.200:7000");
    let closed_family = [Attribute::RequestedAddressFamily(V6), Attribute::MobilityTicket(&ticket)];
    assert_eq!(new.ask(&mut elsewhere, Method::Refresh, &closed_family).code(), Some(443));
    let open_family = [Attribute::RequestedAddressFamily(V4), Attribute::MobilityTicket(&ticket)];
    assert!(new.try_ask(&mut elsewhere, Method::Refresh, &open_family).is_none(), "it is on its way");
    let (client, message) = adopt(&mut old, &mut new);
    assert_eq!(new.ask_raw(client, &message).unwrap().code(), None);
}

#[test]
fn a_ticket_whose_allocation_has_ended_is_nowhere() {
    let mut world = World::with(mobile);
    let (mut alice, _, ticket) = roaming(&mut world);
    world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]);
    assert_eq!(world.server.shard_of_ticket(&ticket), None);
    assert!(world.server.export(world.now, &ticket).is_none());
}
