//! TCP allocations, RFC 6062.

use postern_turn::io::{ConnectionId, Peer, RelayId};

use crate::prelude::*;

fn tcp_world() -> World {
    World::with(|setup| setup.features.tcp_allocations = true)
}

/// A client over TCP with a TCP allocation.
fn tcp_allocated(world: &mut World) -> (Endpoint, RelayId) {
    let mut alice = Endpoint::over(world, "alice", "198.51.100.1:4000", Transport::Tcp);
    world.greet(&mut alice);
    let answer = world.ask(&mut alice, Method::Allocate, &[TCP]);
    assert_eq!(answer.code(), None);
    let relay = world.relay_id(answer.relayed()[0]).unwrap();
    (alice, relay)
}

/// Another connection of the same client.
fn data_connection(world: &mut World, port: u16) -> Endpoint {
    let mut data = Endpoint::over(world, "alice", &format!("198.51.100.1:{port}"), Transport::Tcp);
    world.greet(&mut data);
    data
}

/// Sends a Connect and returns it with the connection that the shell is asked for.
fn start_connect(world: &mut World, endpoint: &mut Endpoint, peer: SocketAddr) -> (Vec<u8>, Option<ConnectionId>) {
    world.take_actions();
    let request = endpoint.signed(Method::Connect, &[Attribute::XorPeerAddress(peer)]);
    world.send(endpoint.client, &request);
    (request, world.asked_connection())
}

fn connect(world: &mut World, endpoint: &mut Endpoint, peer: SocketAddr) -> ConnectionId {
    let (request, asked) = start_connect(world, endpoint, peer);
    assert!(world.take_answer(&request).is_none(), "the answer waits for the connection");
    let id = asked.expect("the shell is asked to connect");
    world.server.handle_peer_connected(world.now, id);
    world.pump();
    let answer = world.take_answer(&request).expect("an answer");
    assert_eq!(answer.code(), None);
    assert_eq!(answer.find(AttributeType::CONNECTION_ID), Some(Attribute::ConnectionId(id)));
    id
}

fn bind_connection(world: &mut World, data: &mut Endpoint, id: ConnectionId) -> Option<u16> {
    world.ask(data, Method::ConnectionBind, &[Attribute::ConnectionId(id)]).code()
}

fn accept(world: &mut World, relay: RelayId, peer: SocketAddr) -> Option<ConnectionId> {
    let id = world.server.handle_peer_accepted(world.now, relay, Peer(peer));
    world.pump();
    id
}

fn is_closed(world: &mut World, id: ConnectionId) -> bool {
    world.take_actions().iter().any(|action| matches!(action, Action::ClosePeer { connection } if *connection == id))
}

#[test]
fn a_tcp_allocation_needs_a_stream_to_the_client() {
    for (transport, code) in
        [(Transport::Tcp, None), (Transport::Tls, None), (Transport::Udp, Some(400)), (Transport::Dtls, Some(400))]
    {
        let mut world = tcp_world();
        let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4000", transport);
        world.greet(&mut alice);
        assert_eq!(world.ask(&mut alice, Method::Allocate, &[TCP]).code(), code, "{transport:?}");
    }
}

#[test]
fn even_port_dont_fragment_and_tokens_with_tcp_get_400() {
    let mut world = tcp_world();
    let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4000", Transport::Tcp);
    world.greet(&mut alice);
    for attribute in [
        Attribute::EvenPort(EvenPort { reserve_next: false }),
        Attribute::DontFragment,
        Attribute::ReservationToken([1; 8]),
    ] {
        assert_eq!(world.ask(&mut alice, Method::Allocate, &[TCP, attribute]).code(), Some(400), "{attribute:?}");
    }
}

#[test]
fn connect_bind_and_the_bytes_flow() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let id = connect(&mut world, &mut alice, peer());
    let mut data = data_connection(&mut world, 4001);
    world.take_actions();
    assert_eq!(bind_connection(&mut world, &mut data, id), None);
    let actions = world.take_actions();
    let [Action::Splice { stream, connection }] = &actions[..] else { panic!("one splice") };
    assert_eq!((*stream, *connection), (data.client.stream, id));
    let behind = world.server.handle_stream(world.now, data.client, b"the peer's bytes");
    assert_eq!((behind.consumed, behind.verdict), (0, None));

    world.server.handle_flow(id, 100, 7);
    world.take_actions();
    world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]);
    let actions = world.take_actions();
    assert!(actions.iter().any(|action| matches!(action, Action::ClosePeer { connection } if *connection == id)));
    assert!(
        actions.iter().any(|action| matches!(action, Action::CloseClient { client, .. } if *client == data.client))
    );
    let Some(Action::Ended(record, _)) = actions.iter().find(|action| matches!(action, Action::Ended(..))) else {
        panic!("a record")
    };
    assert_eq!((record.to_peer.bytes, record.to_client.bytes, record.peers.clone()), (100, 7, vec![peer()]));
}

#[test]
fn the_answer_to_connection_bind_goes_before_the_splice() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let id = connect(&mut world, &mut alice, peer());
    let mut data = data_connection(&mut world, 4001);
    let request = data.signed(Method::ConnectionBind, &[Attribute::ConnectionId(id)]);
    world.server.handle_stream(world.now, data.client, &request);
    assert!(matches!(world.server.poll(), Some(Action::ToClient { .. })));
    assert!(matches!(world.server.poll(), Some(Action::Splice { .. })));
}

#[test]
fn a_connection_id_names_the_shard_that_drew_it() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    assert_eq!(connect(&mut world, &mut alice, peer()).shard(), 0);
}

#[test]
fn connect_to_the_same_peer_again_gets_446_in_every_state() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let (_, asked) = start_connect(&mut world, &mut alice, peer());
    let again = |world: &mut World, alice: &mut Endpoint| {
        world.ask(alice, Method::Connect, &[Attribute::XorPeerAddress(peer())]).code()
    };
    assert_eq!(again(&mut world, &mut alice), Some(446), "while it connects");
    world.server.handle_peer_connected(world.now, asked.unwrap());
    world.pump();
    assert_eq!(again(&mut world, &mut alice), Some(446), "while it waits");
    let mut data = data_connection(&mut world, 4001);
    assert_eq!(bind_connection(&mut world, &mut data, asked.unwrap()), None);
    assert_eq!(again(&mut world, &mut alice), Some(446), "while it flows");
    world.server.handle_peer_closed(world.now, asked.unwrap());
    connect(&mut world, &mut alice, peer());
}

#[test]
fn a_connection_that_fails_gets_447() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let (request, asked) = start_connect(&mut world, &mut alice, peer());
    world.server.handle_peer_connect_failed(world.now, asked.unwrap());
    world.pump();
    let answer = world.take_answer(&request).unwrap();
    assert_eq!((answer.code(), answer.integrity_for(&alice)), (Some(447), Some(IntegrityAlgorithm::Sha1)));
}

#[test]
fn a_connection_that_takes_thirty_seconds_gets_447_and_is_closed() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let (request, asked) = start_connect(&mut world, &mut alice, peer());
    world.pass_secs(31);
    assert_eq!(world.take_answer(&request).unwrap().code(), Some(447));
    assert!(is_closed(&mut world, asked.unwrap()));
    world.server.handle_peer_connected(world.now, asked.unwrap());
    world.pump();
    assert!(is_closed(&mut world, asked.unwrap()), "too late");
}

#[test]
fn connect_without_a_peer_or_on_a_udp_allocation_gets_400() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    assert_eq!(world.ask(&mut alice, Method::Connect, &[]).code(), Some(400));
    let mut bob = Endpoint::over(&world, "bob", "198.51.100.2:4000", Transport::Tcp);
    world.allocate(&mut bob);
    assert_eq!(world.ask(&mut bob, Method::Connect, &[Attribute::XorPeerAddress(peer())]).code(), Some(400));
}

#[test]
fn the_peer_policy_holds_for_connect() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    for peer in ["127.0.0.1:80", "10.0.0.1:80", "169.254.169.254:80", "203.0.113.10:3478"] {
        assert_eq!(
            world.ask(&mut alice, Method::Connect, &[Attribute::XorPeerAddress(at(peer))]).code(),
            Some(403),
            "{peer}"
        );
    }
    assert_eq!(
        world.ask(&mut alice, Method::Connect, &[Attribute::XorPeerAddress(at("[2001:db8:2::7]:80"))]).code(),
        Some(443)
    );
    assert!(world.asked_connection().is_none());
}

#[test]
fn connect_to_a_dead_port_of_a_relay_address_fails_like_a_peer_that_does_not_answer() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let live = world.open_relays();
    let dead = (50_000..=50_999)
        .map(|port| SocketAddr::new(live[0].ip(), port))
        .find(|address| !live.contains(address))
        .unwrap();
    let (request, asked) = start_connect(&mut world, &mut alice, dead);
    assert!(asked.is_none() && world.take_answer(&request).is_none());
    world.pass_secs(31);
    assert_eq!(world.take_answer(&request).unwrap().code(), Some(447));
    assert!(world.take_actions().is_empty());
}

#[test]
fn a_permitted_peer_that_connects_is_announced() {
    let mut world = tcp_world();
    let (mut alice, relay) = tcp_allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    let id = accept(&mut world, relay, peer()).unwrap();
    let told = world.take_indications(alice.client);
    let [attempt] = &told[..] else { panic!("one indication") };
    assert_eq!((attempt.method(), attempt.peer()), (Method::ConnectionAttempt, Some(peer())));
    assert_eq!(attempt.find(AttributeType::CONNECTION_ID), Some(Attribute::ConnectionId(id)));
    let mut data = data_connection(&mut world, 4001);
    assert_eq!(bind_connection(&mut world, &mut data, id), None);
}

#[test]
fn a_peer_without_permission_that_connects_is_closed_unannounced() {
    let mut world = tcp_world();
    let (mut alice, relay) = tcp_allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    assert_eq!(accept(&mut world, relay, other_peer()), None);
    world.jump_nanos(300 * SECOND);
    assert_eq!(accept(&mut world, relay, peer()), None);
    assert!(world.take_indications(alice.client).is_empty());
}

#[test]
fn a_connection_that_nobody_binds_within_thirty_seconds_is_closed() {
    for by_peer in [false, true] {
        let mut world = tcp_world();
        let (mut alice, relay) = tcp_allocated(&mut world);
        let id = if by_peer {
            permit(&mut world, &mut alice, peer());
            accept(&mut world, relay, peer()).unwrap()
        } else {
            connect(&mut world, &mut alice, peer())
        };
        let mut data = data_connection(&mut world, 4001);
        world.jump_nanos(30 * SECOND);
        assert_eq!(bind_connection(&mut world, &mut data, id), Some(400), "seen before any timer");
        assert!(is_closed(&mut world, id));
    }
}

#[test]
fn connection_bind_by_another_user_gets_441_and_the_connection_waits_on() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let id = connect(&mut world, &mut alice, peer());
    let mut mallory = Endpoint::over(&world, "mallory", "198.51.100.66:4000", Transport::Tcp);
    world.greet(&mut mallory);
    assert_eq!(bind_connection(&mut world, &mut mallory, id), Some(441));
    let mut data = data_connection(&mut world, 4001);
    assert_eq!(bind_connection(&mut world, &mut data, id), None);
}

#[test]
fn connection_bind_is_for_a_new_connection_only() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let id = connect(&mut world, &mut alice, peer());
    assert_eq!(bind_connection(&mut world, &mut alice, id), Some(400), "the control connection");
    let mut datagrams = Endpoint::new(&world, "198.51.100.1:4002");
    world.greet(&mut datagrams);
    assert_eq!(bind_connection(&mut world, &mut datagrams, id), Some(400), "no stream");
    let mut data = data_connection(&mut world, 4001);
    assert_eq!(bind_connection(&mut world, &mut data, ConnectionId(id.0 ^ 0x100)), Some(400), "nobody's connection");
    assert_eq!(world.ask(&mut data, Method::ConnectionBind, &[]).code(), Some(400), "no connection named");
    assert_eq!(bind_connection(&mut world, &mut data, id), None);
    let mut second = data_connection(&mut world, 4003);
    assert_eq!(bind_connection(&mut world, &mut second, id), Some(400), "bound already");
}

/// coturn's client knows no challenge there.
#[test]
fn connection_bind_may_show_the_nonce_of_the_control_connection() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let id = connect(&mut world, &mut alice, peer());
    let mut data = Endpoint::over(&mut world, "alice", "198.51.100.1:4001", Transport::Tcp);
    data.nonce = alice.nonce.clone();
    assert_eq!(bind_connection(&mut world, &mut data, id), None);
    let mut again = Endpoint::over(&mut world, "alice", "198.51.100.1:4002", Transport::Tcp);
    again.nonce = alice.nonce.clone();
    assert_eq!(bind_connection(&mut world, &mut again, id), Some(400), "a connection id serves once");
}

#[test]
fn connection_bind_from_another_host_with_the_control_connection_s_nonce_gets_438() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let id = connect(&mut world, &mut alice, peer());
    let mut elsewhere = Endpoint::over(&mut world, "alice", "198.51.100.9:4001", Transport::Tcp);
    elsewhere.nonce = alice.nonce.clone();
    let request = elsewhere.signed(Method::ConnectionBind, &[Attribute::ConnectionId(id)]);
    world.send(elsewhere.client, &request);
    assert_eq!(world.take_answer(&request).and_then(|answer| answer.code()), Some(438));
}

#[test]
fn a_closed_data_connection_closes_the_peer() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let id = connect(&mut world, &mut alice, peer());
    let mut data = data_connection(&mut world, 4001);
    bind_connection(&mut world, &mut data, id);
    world.server.handle_client_closed(world.now, data.client);
    world.pump();
    assert!(is_closed(&mut world, id));
    assert_eq!(world.server.allocations(), 1, "the control connection lives");
}

#[test]
fn a_closed_control_connection_ends_allocation_and_connections() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    let id = connect(&mut world, &mut alice, peer());
    world.server.handle_client_closed(world.now, alice.client);
    world.pump();
    assert!(is_closed(&mut world, id));
    assert!(world.open_relays().is_empty());
}

#[test]
fn channels_and_send_indications_do_not_go_with_tcp() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    permit(&mut world, &mut alice, peer());
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), Some(400));
    let send = alice.send_indication(peer(), b"x");
    assert!(world.relay(alice.client, &send).is_err());
}

#[test]
fn more_connections_than_an_allocation_can_hold_get_508() {
    let mut world = tcp_world();
    let (mut alice, _) = tcp_allocated(&mut world);
    for port in 0..64 {
        start_connect(&mut world, &mut alice, SocketAddr::new(peer().ip(), 5_000 + port));
    }
    assert_eq!(world.ask(&mut alice, Method::Connect, &[Attribute::XorPeerAddress(other_peer())]).code(), Some(508));
}

#[test]
fn a_token_with_a_bitrate_gets_no_tcp_allocation() {
    let mut world = tcp_world();
    let claims =
        postern_token::Claims { bitrate_bps: Some(64_000), ..postern_token::Claims::new("alice", 2_000_000_000) };
    let limited = postern_token::Issuer::new(&world.setup.ring()).issue_extended(&claims).unwrap();
    let mut alice = Endpoint::with_token(&limited, "198.51.100.1:4000", Transport::Tcp);
    world.greet(&mut alice);
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[TCP]).code(), Some(403));
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[UDP]).code(), None);
}

#[test]
fn a_newer_token_with_a_bitrate_does_not_take_a_tcp_allocation_over() {
    let mut world = tcp_world();
    let issuer = postern_token::Issuer::new(&world.setup.ring());
    let claims =
        |expiry, bitrate_bps| postern_token::Claims { bitrate_bps, ..postern_token::Claims::new("alice", expiry) };
    let free = issuer.issue_extended(&claims(2_000_000_000, None)).unwrap();
    let limited = issuer.issue_extended(&claims(2_000_000_001, Some(64_000))).unwrap();
    let mut alice = Endpoint::with_token(&free, "198.51.100.1:4000", Transport::Tcp);
    world.greet(&mut alice);
    assert_eq!(world.ask(&mut alice, Method::Allocate, &[TCP]).code(), None);
    alice.use_token(&limited);
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), Some(403));
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[Attribute::Lifetime(0)]).code(), None, "but it may end it");
}
