//! Listeners: what reaches a shard, what is closed, and when.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use crate::BindError;
use crate::fixtures::{PATIENCE, Pair, pair, pair_with, tls_client, until, write_all};
use crate::listener::{Accepted, FirstMessage, HalfOpen, ListenerEvent, ListenerHandle, ListenerLimits, ListenerSpec};
use crate::listener::{bind_tcp, watch};
use crate::stream::{Flush, ReadOutcome, Stream};

/// A listener with its own runtime, and what it told.
struct Bench {
    addr: SocketAddr,
    accepted: Receiver<Accepted>,
    events: Receiver<ListenerEvent>,
    handle: ListenerHandle,
    half_open: Arc<HalfOpen>,
    runtime: tokio::runtime::Runtime,
}

/// `| length of the rest: 1 | rest |`; a length above 200 is no message.
fn framing(bytes: &[u8]) -> FirstMessage {
    match usize::from(bytes[0]) {
        201.. => FirstMessage::Invalid,
        length if bytes.len() > length => FirstMessage::Whole(length + 1),
        _ => FirstMessage::Incomplete,
    }
}

fn bench(tls: Option<Arc<ServerConfig>>, limits: ListenerLimits) -> Bench {
    let tls = Arc::new(Mutex::new(tls));
    bench_with(Arc::new(move || tls.lock().unwrap().clone()), limits, bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap())
}

fn bench_with(tls: crate::tls::TlsSource, limits: ListenerLimits, listener: std::net::TcpListener) -> Bench {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let addr = listener.local_addr().unwrap();
    let (accepted_in, accepted) = mpsc::channel();
    let (events_in, events) = mpsc::channel();
    let half_open = HalfOpen::new(limits);
    let spec = ListenerSpec {
        listener: 7,
        tls,
        framing,
        half_open: Arc::clone(&half_open),
        on_accepted: Arc::new(move |accepted| accepted_in.send(accepted).unwrap()),
        on_event: Arc::new(move |event| events_in.send(event).unwrap()),
    };
    let handle = runtime.block_on(async { watch(listener).unwrap().serve(spec) });
    Bench { addr, accepted, events, handle, half_open, runtime }
}

impl Bench {
    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.addr).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn accepted(&self) -> Accepted {
        self.accepted.recv_timeout(PATIENCE).unwrap()
    }

    fn event(&self) -> ListenerEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }
}

fn quick() -> ListenerLimits {
    ListenerLimits { first_message: Duration::from_millis(300), ..ListenerLimits::default() }
}

/// The server closed: end of file, or a reset for bytes that it had not read.
fn is_closed(socket: &mut TcpStream) -> bool {
    match socket.read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_plain_connection_moves_on_with_its_first_message_and_what_follows() {
    let bench = bench(None, ListenerLimits::default());
    let mut client = bench.connect();
    write_all(&mut client, b"\x04ab");
    write_all(&mut client, b"cd\x01e");
    let accepted = bench.accepted();
    assert_eq!(bench.event(), ListenerEvent::Accepted);
    assert!(accepted.tls.is_none());
    assert!(accepted.buffered.starts_with(b"\x04abcd"));
    assert_eq!((accepted.peer, accepted.local), (client.local_addr().unwrap(), bench.addr));
    assert_eq!((accepted.listener, accepted.handshake), (7, Duration::ZERO));
    assert_eq!(bench.half_open.count(), 0);
    let mut stream = Stream::from_accepted(accepted).unwrap();
    until(|| {
        stream.read().unwrap();
        (stream.buffered() == b"\x04abcd\x01e").then_some(())
    });
}

fn a_tls_connection_moves_on(configs: &Pair) {
    let bench = bench(Some(Arc::clone(&configs.server)), ListenerLimits::default());
    let mut client = tls_client(bench.connect(), &configs.client);
    write_all(&mut client, b"\x04abcd\x01e");
    assert_eq!(client.conn.alpn_protocol(), Some(&b"stun.turn"[..]));
    let accepted = bench.accepted();
    assert!(accepted.handshake > Duration::ZERO);
    assert!(accepted.buffered.starts_with(b"\x04abcd"));
    let mut stream = Stream::from_accepted(accepted).unwrap();
    until(|| {
        stream.read().unwrap();
        (stream.buffered() == b"\x04abcd\x01e").then_some(())
    });
    stream.queue_control(b"answer");
    until(|| (stream.flush(Instant::now()).unwrap() == Flush::Idle).then_some(()));
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
    drop(client);
    until(|| (stream.read().unwrap() == ReadOutcome::Closed).then_some(()));
}

#[test]
fn a_tls_13_connection_moves_on_in_mid_session() {
    a_tls_connection_moves_on(&pair_with(&[&rustls::version::TLS13]));
}

#[test]
fn a_tls_12_connection_moves_on_in_mid_session() {
    a_tls_connection_moves_on(&pair_with(&[&rustls::version::TLS12]));
}

#[test]
fn plain_and_tls_share_one_port() {
    let configs = pair();
    let bench = bench(Some(configs.server), ListenerLimits::default());
    write_all(&mut bench.connect(), b"\x01a");
    assert!(bench.accepted().tls.is_none());
    let mut client = tls_client(bench.connect(), &configs.client);
    write_all(&mut client, b"\x01a");
    assert!(bench.accepted().tls.is_some());
}

#[test]
fn silence_half_messages_and_half_handshakes_are_closed_at_the_limit() {
    let configs = pair();
    let bench = bench(Some(configs.server), quick());
    let begin = Instant::now();
    let mut silent = bench.connect();
    let mut half_message = bench.connect();
    write_all(&mut half_message, b"\x04ab");
    let mut half_handshake = bench.connect();
    write_all(&mut half_handshake, &[0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc]);
    for socket in [&mut silent, &mut half_message, &mut half_handshake] {
        assert!(is_closed(socket));
    }
    assert!(begin.elapsed() >= quick().first_message);
    assert!(begin.elapsed() < quick().first_message + Duration::from_secs(2));
    let peer = bench.addr.ip();
    let mut events = [bench.event(), bench.event(), bench.event()];
    events.sort_by_key(|event| matches!(event, ListenerEvent::TimedOut { tls: true, .. }));
    let plain = ListenerEvent::TimedOut { peer, tls: false };
    assert_eq!(events, [plain.clone(), plain, ListenerEvent::TimedOut { peer, tls: true }]);
    assert_eq!(bench.half_open.count(), 0);
}

#[test]
fn a_message_dripped_byte_by_byte_gains_no_time() {
    let bench = bench(None, quick());
    let mut client = bench.connect();
    let begin = Instant::now();
    let closed = until(|| {
        std::thread::sleep(Duration::from_millis(20));
        client.write_all(b"\x80").err()
    });
    assert!(begin.elapsed() < quick().first_message + Duration::from_secs(2), "{closed}");
    assert!(matches!(bench.event(), ListenerEvent::TimedOut { .. }));
}

#[test]
fn tls_garbage_closes_only_its_own_connection() {
    let configs = pair();
    let bench = bench(Some(configs.server), ListenerLimits::default());
    let bystander = bench.connect();
    let mut garbage = bench.connect();
    write_all(&mut garbage, &[0x16, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]);
    let mut alert = Vec::new();
    // An alert, then the end.
    let _ = garbage.read_to_end(&mut alert);
    assert!(matches!(bench.event(), ListenerEvent::HandshakeFailed { .. }));
    let mut bystander = tls_client(bystander, &configs.client);
    write_all(&mut bystander, b"\x01a");
    assert!(bench.accepted().tls.is_some());
}

#[test]
fn what_is_not_our_protocol_is_closed_at_once() {
    let bench = bench(None, ListenerLimits::default());
    for bytes in [&b"\xffrubbish"[..], b"\x16\x03\x01"] {
        let mut client = bench.connect();
        write_all(&mut client, bytes);
        assert!(is_closed(&mut client));
        assert_eq!(bench.event(), ListenerEvent::Invalid { peer: bench.addr.ip() }, "TLS is not offered here either");
    }
    drop(bench.connect());
    assert_eq!(bench.event(), ListenerEvent::Closed { peer: bench.addr.ip() });
}

#[test]
fn one_source_holds_only_so_many_half_open_connections() {
    let bench = bench(None, ListenerLimits { half_open_per_source_max: 2, ..ListenerLimits::default() });
    let mut first = bench.connect();
    let _second = bench.connect();
    until(|| (bench.half_open.count() == 2).then_some(()));
    assert!(is_closed(&mut bench.connect()));
    assert_eq!(bench.event(), ListenerEvent::CappedSource { peer: bench.addr.ip() });
    // Those that are through make room.
    write_all(&mut first, b"\x01a");
    bench.accepted();
    assert_eq!(bench.event(), ListenerEvent::Accepted);
    write_all(&mut bench.connect(), b"\x01a");
    bench.accepted();
}

#[test]
fn a_new_certificate_counts_from_the_next_handshake_on() {
    let (old, new) = (pair(), pair());
    let current = Arc::new(Mutex::new(old.server));
    let source = Arc::clone(&current);
    let tls: crate::tls::TlsSource = Arc::new(move || Some(Arc::clone(&source.lock().unwrap())));
    let bench = bench_with(tls, ListenerLimits::default(), bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap());
    write_all(&mut tls_client(bench.connect(), &old.client), b"\x01a");
    bench.accepted();
    *current.lock().unwrap() = new.server;
    write_all(&mut tls_client(bench.connect(), &new.client), b"\x01a");
    bench.accepted();
    assert!(tls_client(bench.connect(), &old.client).write_all(b"\x01a").is_err());
}

#[test]
fn a_second_listener_is_refused_and_the_first_is_named() {
    let held = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = bind_tcp(held.local_addr().unwrap()).unwrap_err();
    let BindError::InUse { owner, .. } = &error else { panic!("{error}") };
    assert!(owner.as_ref().unwrap().contains(&format!("pid {}", std::process::id())));
}

#[test]
fn a_closed_listener_frees_its_address_and_keeps_what_it_has_accepted() {
    let bench = bench(None, ListenerLimits::default());
    let mut client = bench.connect();
    until(|| (bench.half_open.count() == 1).then_some(()));
    let Bench { addr, accepted, handle, runtime, .. } = bench;
    runtime.block_on(handle.closed());
    bind_tcp(addr).unwrap();
    write_all(&mut client, b"\x01a");
    assert_eq!(accepted.recv_timeout(PATIENCE).unwrap().buffered, b"\x01a");
}

/// Runs in a process of its own, since it uses up the descriptors.
#[test]
fn a_listener_without_descriptors_pauses_and_then_goes_on() {
    const CHILD: &str = "POSTERN_NET_TEST_CHILD";
    const NAME: &str = "listener_tests::a_listener_without_descriptors_pauses_and_then_goes_on";
    if std::env::var_os(CHILD).is_none() {
        let child =
            Command::new(std::env::current_exe().unwrap()).args(["--exact", NAME]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: a local of the right type is read.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut clients: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let bench = bench_with(Arc::new(|| None), ListenerLimits::default(), listener);
    until(|| (bench.half_open.count() == 5).then_some(()));
    let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // No descriptor is left to accept with; one is given back for the client's own end.
    hoard.pop();
    clients.push(TcpStream::connect(addr).unwrap());
    let begin = Instant::now();
    assert!(matches!(bench.event(), ListenerEvent::AcceptPaused { .. }));
    std::thread::sleep(Duration::from_millis(450));
    let pauses = 1 + bench.events.try_iter().count();
    let most = begin.elapsed().as_millis() / 100 + 2;
    assert!((2..=most).contains(&(pauses as u128)), "{pauses} attempts: it pauses and does not spin");
    drop(hoard);
    for client in &mut clients {
        write_all(client, b"\x01a");
    }
    for _ in 0..clients.len() {
        bench.accepted();
    }
}
