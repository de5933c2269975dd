//! Mobility, RFC 8016: an allocation that follows its client.

use postern_turn::io::RelayId;
use postern_turn::mobility::ExportedAllocation;

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

/// What an `Adopt` asks for.
struct Wanted {
    client: Client,
    ticket: Vec<u8>,
    message: Vec<u8>,
}

/// The last `Adopt`, which the shell has still to carry out.
fn wanted(to: &mut World) -> Wanted {
    let action = to.take_actions().pop();
    let Some(Action::Adopt { client, ticket, message }) = action else { panic!("{action:?} is no Adopt") };
    Wanted { client, ticket, message }
}

/// Takes the allocation of this ticket out of its home, with its sockets; the indices are the new shard's.
fn export(from: &mut World, to: &mut World, ticket: &[u8]) -> (Box<ExportedAllocation>, Vec<RelayId>) {
    assert_eq!(to.server.shard_of_ticket(ticket), Some(from.shared.shard));
    let exported = from.server.export(from.now, ticket).expect("it lives there");
    from.pump();
    let sockets: Vec<_> = exported.relays().map(|relay| from.give_socket(relay)).collect();
    // The new shard has sockets of its own already: the indices differ.
    let ids = sockets.into_iter().map(|opened| to.take_socket(opened)).collect();
    (exported, ids)
}

/// Moves an allocation from one shard to the other, for this client.
fn carry(from: &mut World, to: &mut World, ticket: &[u8], client: Option<Client>) {
    let (exported, ids) = export(from, to, ticket);
    to.server.handle_adopted(to.now, exported, &ids, client);
    to.pump();
}

/// Does what the last `Adopt` asks for, but for handing in its message, as a shell does.
fn adopt(from: &mut World, to: &mut World) -> (Client, Vec<u8>) {
    let Wanted { client, ticket, message } = wanted(to);
    carry(from, to, &ticket, Some(client));
    (client, message)
}

/// Two shards; the allocation of alice lives on the first, and she has asked the second for it. Her relayed address and
/// her endpoint there, too.
fn asked_elsewhere(transport: Transport) -> (World, World, SocketAddr, Endpoint) {
    let mut old = World::with(mobile);
    let mut new = old.sibling(|setup| {
        mobile(setup);
        setup.features.tcp_allocations = true;
    });
    let (_, relayed, ticket) = roaming(&mut old);
    let mut elsewhere = Endpoint::over(&new, "alice", "192.0.2.200:7000", transport);
    new.greet(&mut elsewhere);
    assert!(new.try_ask(&mut elsewhere, Method::Refresh, &[Attribute::MobilityTicket(&ticket)]).is_none());
    (old, new, relayed, elsewhere)
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

#[test]
fn an_allocate_while_an_allocation_is_on_its_way_gets_437_and_the_allocation_arrives() {
    let (mut old, mut new, relayed, mut elsewhere) = asked_elsewhere(Transport::Udp);
    let coming = wanted(&mut new);
    new.hold_relays = true;
    assert_eq!(new.ask(&mut elsewhere, Method::Allocate, &[UDP]).code(), Some(437));
    assert!(new.held.is_empty(), "no relay was asked for");
    carry(&mut old, &mut new, &coming.ticket, Some(coming.client));
    assert_eq!(new.ask_raw(coming.client, &coming.message).unwrap().code(), None);
    assert_eq!(new.deliver(relayed, peer(), b"x").unwrap().client, elsewhere.client);
    assert_eq!(new.ask(&mut elsewhere, Method::Allocate, &[UDP]).code(), Some(437), "and now it has one");
}

#[test]
fn a_connection_that_an_allocation_is_on_its_way_to_cannot_become_a_data_connection() {
    let (_, mut new, _, mut elsewhere) = asked_elsewhere(Transport::Tcp);
    let mut owner = Endpoint::over(&new, "alice", "192.0.2.200:6000", Transport::Tcp);
    new.greet(&mut owner);
    assert_eq!(new.ask(&mut owner, Method::Allocate, &[TCP]).code(), None);
    let request = owner.signed(Method::Connect, &[Attribute::XorPeerAddress(peer())]);
    new.send(owner.client, &request);
    let id = new.asked_connection().unwrap();
    new.server.handle_peer_connected(new.now, id);
    new.pump();
    let bind = [Attribute::ConnectionId(id)];
    assert_eq!(new.ask(&mut elsewhere, Method::ConnectionBind, &bind).code(), Some(400));
    new.pass_secs(1);
    assert_eq!(new.ask(&mut elsewhere, Method::ConnectionBind, &bind).code(), None, "nothing came");
}

#[test]
fn another_ticket_while_an_allocation_is_on_its_way_gets_437() {
    let (mut old, mut new, relayed, mut elsewhere) = asked_elsewhere(Transport::Udp);
    let coming = wanted(&mut new);
    let mut second = moved(&mut old, "198.51.100.1:4001");
    let other = old.ask(&mut second, Method::Allocate, &[UDP, WANTED]).ticket().unwrap();
    assert_eq!(come_back(&mut new, &mut elsewhere, &other).code(), Some(437));
    assert!(new.take_actions().is_empty());
    carry(&mut old, &mut new, &coming.ticket, Some(coming.client));
    assert_eq!(new.ask_raw(coming.client, &coming.message).unwrap().code(), None);
    assert_eq!(new.deliver(relayed, peer(), b"x").unwrap().client, elsewhere.client);
}

#[test]
fn the_same_ticket_once_more_is_fetched_once_more() {
    let (mut old, mut new, relayed, _) = asked_elsewhere(Transport::Udp);
    let first = wanted(&mut new);
    assert!(new.ask_raw(first.client, &first.message).is_none(), "the answer may have been lost on the way");
    let second = wanted(&mut new);
    carry(&mut old, &mut new, &first.ticket, Some(first.client));
    let answer = new.ask_raw(first.client, &first.message).unwrap();
    assert_eq!(answer.code(), None);
    assert!(old.server.export(old.now, &second.ticket).is_none(), "its home has it no more");
    assert_eq!(new.ask_raw(second.client, &second.message).map(|again| again.code()), Some(None));
    assert_eq!(new.deliver(relayed, peer(), b"x").unwrap().client, first.client);
}

#[test]
fn an_allocation_that_never_comes_keeps_its_place_for_one_second() {
    let (mut old, mut new, relayed, mut elsewhere) = asked_elsewhere(Transport::Udp);
    let late = wanted(&mut new);
    new.pass_nanos(SECOND - 1);
    assert_eq!(new.ask(&mut elsewhere, Method::Allocate, &[UDP]).code(), Some(437));
    new.pass_nanos(1);
    let second = new.ask(&mut elsewhere, Method::Allocate, &[UDP]);
    assert_eq!(second.code(), None);

    // It comes after all, and displaces nobody.
    carry(&mut old, &mut new, &late.ticket, Some(late.client));
    assert_eq!(new.ask_raw(late.client, &late.message).unwrap().code(), Some(437));
    permit(&mut new, &mut elsewhere, peer());
    assert_eq!(new.deliver(second.relayed()[0], peer(), b"x").unwrap().client, elsewhere.client);
    assert_ne!(new.deliver(relayed, peer(), b"x").unwrap().client, elsewhere.client);
    let mut third = moved(&mut new, "192.0.2.201:7000");
    assert_eq!(come_back(&mut new, &mut third, &late.ticket).code(), None, "the ticket finds it");
    assert_eq!(new.deliver(relayed, peer(), b"x").unwrap().client, third.client);
}

#[test]
fn a_ticket_that_led_nowhere_keeps_no_place() {
    let (mut old, mut new, _, mut elsewhere) = asked_elsewhere(Transport::Udp);
    let coming = wanted(&mut new);
    old.pass_secs(601);
    assert!(old.server.export(old.now, &coming.ticket).is_none());
    assert_eq!(new.ask_raw(coming.client, &coming.message).unwrap().code(), Some(400));
    assert_eq!(new.ask(&mut elsewhere, Method::Allocate, &[UDP]).code(), None);
}

#[test]
fn a_challenge_after_the_move_leaves_the_allocation_with_its_client() {
    let (mut old, mut new, relayed, mut elsewhere) = asked_elsewhere(Transport::Udp);
    // The nonce ran out in between.
    let coming = wanted(&mut new);
    carry(&mut old, &mut new, &coming.ticket, Some(coming.client));
    new.now.unix_secs += 601;
    let stale = new.ask_raw(coming.client, &coming.message).unwrap();
    assert_eq!(stale.code(), Some(438));
    assert_eq!(new.deliver(relayed, peer(), b"x").unwrap().client, elsewhere.client);
    assert!(new.relay(elsewhere.client, &channel_data(0x4000, b"x")).is_ok());
    elsewhere.nonce = stale.nonce().unwrap();
    let answer = come_back(&mut new, &mut elsewhere, &coming.ticket);
    assert_eq!((answer.code(), answer.ticket().is_some()), (None, true));
}

#[test]
fn an_allocation_whose_new_client_has_left_waits_for_its_ticket() {
    let (mut old, mut new, relayed, elsewhere) = asked_elsewhere(Transport::Tcp);
    let coming = wanted(&mut new);
    new.server.handle_client_closed(new.now, elsewhere.client);
    carry(&mut old, &mut new, &coming.ticket, None);
    assert!(!new.server.serves(&elsewhere.client));
    assert_ne!(new.deliver(relayed, peer(), b"x").unwrap().client, elsewhere.client);
    let mut third = moved(&mut new, "192.0.2.201:7000");
    assert_eq!(come_back(&mut new, &mut third, &coming.ticket).code(), None);
    assert_eq!(new.deliver(relayed, peer(), b"x").unwrap().client, third.client);
}

#[test]
fn an_allocation_that_is_handed_back_is_its_old_clients_as_before() {
    let (mut old, mut new, relayed, _) = asked_elsewhere(Transport::Udp);
    let coming = wanted(&mut new);
    let exported = old.server.export(old.now, &coming.ticket).unwrap();
    let (client, ids) = (exported.client(), exported.relays().collect::<Vec<_>>());
    old.server.handle_adopted(old.now, exported, &ids, None);
    old.pump();
    assert!(old.relay(client, &channel_data(0x4000, b"x")).is_ok());
    assert_eq!(old.deliver(relayed, peer(), b"x").unwrap().client, client);
    assert!(new.ask_raw(coming.client, &coming.message).is_none());
    let again = wanted(&mut new);
    carry(&mut old, &mut new, &again.ticket, Some(again.client));
    assert_eq!(new.ask_raw(again.client, &again.message).unwrap().code(), None, "the next try succeeds");
}

#[test]
fn an_allocation_that_finds_both_its_5_tuples_taken_ends_and_disturbs_neither() {
    let (mut old, mut new, relayed, mut elsewhere) = asked_elsewhere(Transport::Udp);
    let late = wanted(&mut new);
    new.pass_secs(1);
    let mut home = Endpoint::named(&new, "bob", "198.51.100.1:4000");
    let other = new.allocate(&mut home);
    assert_eq!(bind(&mut new, &mut home, 0x4000, peer()), None);
    new.allocate(&mut elsewhere);
    new.take_actions();
    carry(&mut old, &mut new, &late.ticket, Some(late.client));
    assert_eq!(ends(&mut new), [EndReason::ClientClosed]);
    assert!(!new.open_relays().contains(&relayed), "its socket is closed");
    assert!(new.relay(home.client, &channel_data(0x4000, b"x")).is_ok());
    assert_eq!(new.deliver(other, peer(), b"x").unwrap().client, home.client);
    assert_eq!(new.server.shard_of_ticket(&late.ticket), None);
    assert_eq!(new.server.counters.allocations_live.iter().flatten().sum::<u64>(), 2);
}

#[test]
fn an_allocation_that_loses_its_relay_on_the_way_ends() {
    let (mut old, mut new, _, mut elsewhere) = asked_elsewhere(Transport::Udp);
    let coming = wanted(&mut new);
    let (exported, _) = export(&mut old, &mut new, &coming.ticket);
    new.server.handle_adopted(new.now, exported, &[], Some(coming.client));
    new.pump();
    assert_eq!(ends(&mut new), [EndReason::RelayLost]);
    assert_eq!(new.server.allocations(), 0);
    assert_eq!(new.ask(&mut elsewhere, Method::Allocate, &[UDP]).code(), None, "its place is free");
}
