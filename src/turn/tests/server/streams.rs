//! TCP and TLS clients: framing, pipelining, padding, and what ends a connection.

use crate::harness::channel_data;
use crate::prelude::*;

fn tcp_client(world: &mut World) -> (Endpoint, SocketAddr) {
    let mut alice = Endpoint::over(world, "alice", "198.51.100.1:4000", Transport::Tcp);
    let relayed = world.allocate(&mut alice);
    (alice, relayed)
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().next_multiple_of(4), 0);
    frame
}

#[test]
fn pipelined_messages_are_all_answered() {
    let mut world = World::new();
    let (mut alice, _) = tcp_client(&mut world);
    let requests: Vec<Vec<u8>> = (0..200).map(|_| alice.signed(Method::Refresh, &[])).collect();
    let mut buffer = requests.concat();
    loop {
        let progress = world.server.handle_stream(world.now, alice.client, &buffer);
        world.pump();
        if progress.consumed == 0 {
            break;
        }
        buffer.drain(..progress.consumed);
    }
    assert!(buffer.is_empty());
    assert_eq!(requests.iter().filter(|request| world.take_answer(request).is_some()).count(), 200);
}

#[test]
fn a_message_in_pieces_waits_for_its_last_byte() {
    let mut world = World::new();
    let (mut alice, _) = tcp_client(&mut world);
    let request = alice.signed(Method::Refresh, &[]);
    for len in 0..request.len() {
        let progress = world.server.handle_stream(world.now, alice.client, &request[..len]);
        assert_eq!((progress.consumed, progress.verdict), (0, None), "{len}");
    }
    assert!(world.ask_raw(alice.client, &request).is_some());
}

#[test]
fn channel_data_on_a_stream_is_padded_to_four_both_ways() {
    let mut world = World::new();
    let (mut alice, relayed) = tcp_client(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    for len in 0..9 {
        let payload = vec![7; len];
        let frame = padded(channel_data(0x4000, &payload));
        let progress = world.server.handle_stream(world.now, alice.client, &frame);
        assert_eq!(progress.consumed, frame.len());
        let Some(Verdict::ToPeer { payload: range, .. }) = progress.verdict else { panic!("to the peer") };
        assert_eq!(frame[range], payload);
        assert_eq!(world.deliver(relayed, peer(), &payload).unwrap().frame, frame);
    }
}

#[test]
fn a_stream_carries_payloads_that_a_datagram_could_not() {
    let mut world = World::new();
    let (mut alice, relayed) = tcp_client(&mut world);
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    assert!(world.deliver(relayed, peer(), &vec![1; 65_507]).is_ok());
}

#[test]
fn bytes_that_can_be_no_frame_close_the_connection() {
    let mut world = World::new();
    let other = tcp_client(&mut world);
    for garbage in
        [&b"POST / HTTP/1.1\r\n"[..], &[0x80, 0, 0, 0], &[0x50, 0, 0, 0], &[0, 1, 0, 3], &[0, 1, 0, 0, 1, 2, 3, 4]]
    {
        let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4001", Transport::Tcp);
        alice.client.stream = 77;
        let progress = world.server.handle_stream(world.now, alice.client, garbage);
        world.pump();
        assert_eq!(progress.verdict, Some(Verdict::Drop(DropReason::NotStun)), "{garbage:?}");
        let actions = world.take_actions();
        assert_eq!(closings(&actions), [(alice.client, CloseCause::Framing)], "{garbage:?}");
    }
    assert!(world.server.serves(&other.0.client), "others are undisturbed");
}

#[test]
fn a_closed_connection_deletes_its_allocation() {
    let mut world = World::new();
    let (alice, _) = tcp_client(&mut world);
    world.server.handle_client_closed(world.now, alice.client);
    world.pump();
    assert_eq!(ends(&mut world), [EndReason::ClientClosed]);
    assert!(world.open_relays().is_empty());
}

#[test]
fn a_new_connection_from_the_same_address_and_port_is_another_5_tuple() {
    let mut world = World::new();
    let (alice, _) = tcp_client(&mut world);
    let mut again = alice.clone();
    again.client.stream += 1;
    world.greet(&mut again);
    assert_eq!(world.ask(&mut again, Method::Refresh, &[]).code(), Some(437));
}
