//! Peers' connections and the pipes to them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::fixtures::{plain_pair, read_to_end, tls_pair, until, write_all};
use crate::pipe::{Pipe, PipeState};
use crate::reactor::{Events, Interest, Reactor};
use crate::stream::Stream;
use crate::tcp_peer::{PeerListener, TcpPeer};

/// A relayed address with a listener, a peer's socket, and the relay's connection to it.
fn peer_pair() -> (TcpStream, TcpPeer) {
    let relay = PeerListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let socket = TcpStream::connect(relay.local_addr().unwrap()).unwrap();
    let (peer, from) = until(|| relay.accept().unwrap());
    assert_eq!(from, socket.local_addr().unwrap());
    (socket, peer)
}

fn register(pipe: &Pipe) -> Reactor {
    let reactor = Reactor::new().unwrap();
    reactor.register(pipe.client(), 1, Interest::EDGE).unwrap();
    reactor.register(pipe.peer(), 2, Interest::EDGE).unwrap();
    reactor
}

/// Runs a pipe to its end as a shard does; answers the bytes to the peer and to the client, or how it failed.
fn run(mut pipe: Pipe) -> std::io::Result<(u64, u64)> {
    let reactor = register(&pipe);
    let mut events = Events::with_capacity(4);
    loop {
        match pipe.drive()? {
            PipeState::Closed => return Ok((pipe.bytes_to_peer(), pipe.bytes_to_client())),
            PipeState::More => {}
            PipeState::Waiting => {
                reactor.wait(&mut events, Some(Duration::from_secs(10))).unwrap();
                assert!(events.iter().next().is_some(), "an event was missed: the pipe would hang");
            }
        }
    }
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|i| (i / 251) as u8 ^ (i as u8) ^ seed).collect()
}

const LARGE: usize = 8 << 20;

/// Both ends send at once, and each begins to read only when the other is stuck.
fn everything_arrives<C: Read + Write + Send + 'static>(client: C, stream: Stream, split: fn(C) -> (C, C)) {
    let (socket, peer) = peer_pair();
    let pipe = thread::spawn(|| run(Pipe::new(stream, peer)).unwrap());
    let mut peer_reader = socket.try_clone().unwrap();
    let mut peer_writer = socket;
    let (mut client_reader, mut client_writer) = split(client);
    let threads = [
        thread::spawn(move || {
            write_all(&mut peer_writer, &pattern(LARGE, 1));
            peer_writer.shutdown(Shutdown::Write).unwrap();
            Vec::new()
        }),
        thread::spawn(move || {
            write_all(&mut client_writer, &pattern(LARGE, 2));
            Vec::new()
        }),
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            let mut bytes = vec![0; LARGE];
            client_reader.read_exact(&mut bytes).unwrap();
            bytes
        }),
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            let mut bytes = vec![0; LARGE];
            peer_reader.read_exact(&mut bytes).unwrap();
            bytes
        }),
    ];
    let [_, _, to_client, to_peer] = threads.map(|thread| thread.join().unwrap());
    assert!(to_client == pattern(LARGE, 1));
    assert!(to_peer == pattern(LARGE, 2));
    // Both ends are dropped by now, so the pipe ends.
    assert_eq!(pipe.join().unwrap(), (LARGE as u64, LARGE as u64));
}

#[test]
fn a_plain_pipe_under_back_pressure_loses_nothing() {
    let (client, stream) = plain_pair();
    client.set_read_timeout(None).unwrap();
    everything_arrives(client, stream, |client| (client.try_clone().unwrap(), client));
}

#[test]
fn a_tls_pipe_under_back_pressure_loses_nothing() {
    let (mut client, stream) = tls_pair();
    let (mut socket, peer) = peer_pair();
    let pipe = thread::spawn(|| run(Pipe::new(stream, peer)).unwrap());
    let echo = thread::spawn(move || {
        let mut bytes = vec![0; LARGE];
        socket.read_exact(&mut bytes).unwrap();
        write_all(&mut socket, &bytes);
        socket.shutdown(Shutdown::Write).unwrap();
        read_to_end(&mut socket)
    });
    write_all(&mut client, &pattern(LARGE, 3));
    thread::sleep(Duration::from_millis(100));
    assert!(read_to_end(&mut client) == pattern(LARGE, 3), "the end came with close_notify, after everything");
    drop(client);
    assert!(echo.join().unwrap().is_empty());
    assert_eq!(pipe.join().unwrap(), (LARGE as u64, LARGE as u64));
}

#[test]
fn a_side_that_takes_nothing_stops_the_reading_of_the_other() {
    let (mut client, stream) = plain_pair();
    let (mut socket, peer) = peer_pair();
    let mut pipe = Pipe::new(stream, peer);
    let writer = thread::spawn(move || {
        write_all(&mut client, &pattern(64 << 20, 4));
        client
    });
    let reactor = register(&pipe);
    let mut events = Events::with_capacity(4);
    // Until nothing moves for a while: the peer's buffers, the pipe's and the client's are full.
    loop {
        while pipe.drive().unwrap() == PipeState::More {}
        reactor.wait(&mut events, Some(Duration::from_millis(300))).unwrap();
        if events.iter().next().is_none() {
            break;
        }
    }
    assert!(!writer.is_finished());
    let before = pipe.bytes_to_peer();
    assert!(before < 32 << 20);
    // The peer reads: it goes on.
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; 64 << 20];
        socket.read_exact(&mut bytes).unwrap();
        bytes == pattern(64 << 20, 4)
    });
    let finished = thread::spawn(|| run(pipe).unwrap());
    drop(writer.join().unwrap());
    assert!(reader.join().unwrap());
    assert_eq!(finished.join().unwrap(), (64 << 20, 0));
}

#[test]
fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    let (mut client, mut stream) = plain_pair();
    let (mut socket, peer) = peer_pair();
    // What was queued and read before the join comes first.
    stream.queue_control(b"bound;");
    let pipe = thread::spawn(|| run(Pipe::new(stream, peer)).unwrap());
    write_all(&mut client, b"question");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut socket), b"question");
    write_all(&mut socket, b"answer");
    drop(socket);
    assert_eq!(read_to_end(&mut client), b"bound;answer");
    assert_eq!(pipe.join().unwrap(), (8, 6));
}

#[test]
fn a_reset_ends_the_pipe() {
    let (_client, stream) = plain_pair();
    let (socket, peer) = peer_pair();
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
    assert_eq!(run(Pipe::new(stream, peer)).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_relayed_address_listens_and_connects_from_one_port() {
    let relay = PeerListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = relay.local_addr().unwrap();
    for _ in 0..2 {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let out = TcpPeer::connect(addr, peer.local_addr().unwrap()).unwrap();
        until(|| out.connected()).unwrap();
        assert_eq!(peer.accept().unwrap().1, addr, "the peer sees the relayed address");
        assert_eq!(out.peer_addr().unwrap(), peer.local_addr().unwrap());
    }
    let incoming = TcpStream::connect(addr).unwrap();
    assert_eq!(until(|| relay.accept().unwrap()).1, incoming.local_addr().unwrap());
    assert!(relay.accept().unwrap().is_none());
}

#[test]
fn a_peer_that_refuses_is_told_as_such() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let relay = PeerListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let out = TcpPeer::connect(relay.local_addr().unwrap(), dead).unwrap();
    let error = until(|| out.connected()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_relay_port_of_somebody_else_is_not_shared() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = PeerListener::bind(held.local_addr().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}
