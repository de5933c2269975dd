//! DTLS sessions against a client engine, in virtual time and without sockets.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Output, certificate::generate_self_signed_certificate};

use crate::dtls::{DtlsCounters, DtlsLimits, DtlsOutput, DtlsPath, DtlsSessions};
use crate::tls::TlsError;

const LIMITS: DtlsLimits = DtlsLimits {
    handshake: Duration::from_secs(10),
    sessions_max: 8,
    half_open_max: 4,
    half_open_per_source_max: 2,
    idle: Duration::from_secs(600),
};

fn server_with(limits: DtlsLimits) -> DtlsSessions {
    let DtlsCertificate { certificate, private_key } = generate_self_signed_certificate().unwrap();
    DtlsSessions::new(certificate, private_key, limits).unwrap()
}

fn server() -> DtlsSessions {
    server_with(LIMITS)
}

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));

/// A client's address, seen at the server's usual one.
fn addr(host: u8, port: u16) -> DtlsPath {
    DtlsPath { remote: SocketAddr::from(([192, 0, 2, host], port)), local: LOCAL }
}

/// A client engine, and what it was told.
struct Client {
    addr: DtlsPath,
    dtls: Dtls,
    connected: bool,
    closed: bool,
    received: Vec<Vec<u8>>,
    /// The server's.
    certificate: Vec<u8>,
}

impl Client {
    fn new(addr: DtlsPath, now: Instant, make: fn(Arc<Config>, DtlsCertificate, Instant) -> Dtls) -> Client {
        let mut dtls = make(Arc::new(Config::default()), generate_self_signed_certificate().unwrap(), now);
        dtls.set_active(true);
        Client { addr, dtls, connected: false, closed: false, received: Vec::new(), certificate: Vec::new() }
    }

    fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.dtls.handle_timeout(now).unwrap();
        let mut buffer = vec![0; 20_000];
        let mut datagrams = Vec::new();
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(datagram) => datagrams.push(datagram.to_vec()),
                Output::Connected => self.connected = true,
                Output::CloseNotify => self.closed = true,
                Output::PeerCert(certificate) => self.certificate = certificate.to_vec(),
                Output::ApplicationData(data) => self.received.push(data.to_vec()),
                Output::Timeout(_) => return datagrams,
                Output::BufferTooSmall { needed } => panic!("{needed} bytes"),
                _ => {}
            }
        }
    }
}

/// What a server call produced.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    sent: Vec<(DtlsPath, Vec<u8>)>,
    plaintext: Vec<(DtlsPath, Vec<u8>)>,
    established: Vec<DtlsPath>,
    closed: Vec<DtlsPath>,
    took: Duration,
}

impl Told {
    fn take(&mut self, output: DtlsOutput<'_>) {
        match output {
            DtlsOutput::Send { path, datagram } => self.sent.push((path, datagram.to_vec())),
            DtlsOutput::Plaintext { path, data } => self.plaintext.push((path, data.to_vec())),
            DtlsOutput::Established { path, took } => {
                self.established.push(path);
                self.took = took;
            }
            DtlsOutput::Closed { path } => self.closed.push(path),
        }
    }
}

fn hand_in(server: &mut DtlsSessions, now: Instant, from: DtlsPath, datagram: &[u8]) -> Told {
    let mut told = Told::default();
    server.handle_datagram(now, from, &mut datagram.to_vec(), &mut |output| told.take(output));
    told
}

/// Carries datagrams both ways until both are silent; answers all that the server told except datagrams.
fn exchange(server: &mut DtlsSessions, client: &mut Client, now: Instant) -> Told {
    let mut told = Told::default();
    let mut on_the_wire = VecDeque::from(client.poll(now));
    while let Some(datagram) = on_the_wire.pop_front() {
        let more = hand_in(server, now, client.addr, &datagram);
        for (to, answer) in more.sent {
            assert_eq!(to, client.addr);
            client.dtls.handle_packet(&answer).unwrap();
            on_the_wire.extend(client.poll(now));
        }
        told.plaintext.extend(more.plaintext);
        told.established.extend(more.established);
        told.closed.extend(more.closed);
        told.took = told.took.max(more.took);
    }
    told
}

fn established(server: &mut DtlsSessions, addr: DtlsPath, now: Instant) -> Client {
    let mut client = Client::new(addr, now, Dtls::new_12);
    let told = exchange(server, &mut client, now);
    assert_eq!(told.established, [addr]);
    client
}

fn first_message(from: DtlsPath, now: Instant) -> Vec<u8> {
    Client::new(from, now, Dtls::new_12).poll(now).remove(0)
}

fn data_flows_both_ways(make: fn(Arc<Config>, DtlsCertificate, Instant) -> Dtls) {
    let now = Instant::now();
    let mut server = server();
    let mut client = Client::new(addr(1, 1000), now, make);
    let told = exchange(&mut server, &mut client, now);
    assert!(client.connected);
    assert_eq!((told.established, told.closed), (vec![client.addr], vec![]));
    client.dtls.send_application_data(b"request").unwrap();
    let told = exchange(&mut server, &mut client, now);
    assert_eq!(told.plaintext, [(client.addr, b"request".to_vec())]);
    for answer in [&b"answer"[..], &[7; 4000]] {
        let mut told = Told::default();
        assert!(server.send(now, client.addr, answer, &mut |output| told.take(output)));
        let [(to, datagram)] = &told.sent[..] else { panic!("one datagram each: {told:?}") };
        assert_eq!(*to, client.addr);
        client.dtls.handle_packet(datagram).unwrap();
        client.poll(now);
        assert_eq!(client.received.pop().unwrap(), answer);
    }
    assert_eq!(server.counters(), DtlsCounters { established: 1, failed: 0, refused: 0 });
}

#[test]
fn data_flows_both_ways_over_dtls_12() {
    data_flows_both_ways(Dtls::new_12);
}

#[test]
fn data_flows_both_ways_over_dtls_13() {
    data_flows_both_ways(Dtls::new_13);
}

#[test]
fn data_flows_both_ways_over_the_version_that_both_choose() {
    data_flows_both_ways(Dtls::new_auto);
}

#[test]
fn sessions_of_several_clients_do_not_mix() {
    let now = Instant::now();
    let mut server = server();
    let mut clients = [1, 2, 3].map(|host| established(&mut server, addr(host, 1000), now));
    for client in &mut clients {
        client.dtls.send_application_data(client.addr.remote.to_string().as_bytes()).unwrap();
    }
    for client in &mut clients {
        let told = exchange(&mut server, client, now);
        assert_eq!(told.plaintext, [(client.addr, client.addr.remote.to_string().into_bytes())]);
    }
}

#[test]
fn what_is_no_first_message_leaves_no_trace() {
    let now = Instant::now();
    let mut server = server();
    let hello = first_message(addr(1, 1), now);
    let mut later_fragment = hello.clone();
    later_fragment[21] = 1;
    let mut other_epoch = hello.clone();
    other_epoch[4] = 1;
    for datagram in [&b""[..], b"\x00\x01\x00\x00", b"\x16\xfe\xfd", &hello[..25], &later_fragment, &other_epoch] {
        assert_eq!(hand_in(&mut server, now, addr(1, 1), datagram), Told::default());
    }
    assert!(server.is_empty());
    assert_eq!(server.next_timeout(), None);
}

#[test]
fn an_unproven_address_gets_less_than_it_sent() {
    for make in [Dtls::new_12, Dtls::new_13, Dtls::new_auto] {
        let now = Instant::now();
        let mut server = server();
        let from = addr(1, 1);
        let hello = Client::new(from, now, make).poll(now).remove(0);
        for _ in 0..5 {
            let told = hand_in(&mut server, now, from, &hello);
            let answered: usize = told.sent.iter().map(|(_, datagram)| datagram.len()).sum();
            assert!(answered < hello.len(), "{answered} for {}", hello.len());
        }
    }
}

#[test]
fn one_source_holds_only_so_many_half_open_sessions() {
    let now = Instant::now();
    let mut server = server();
    for port in 1..=5 {
        hand_in(&mut server, now, addr(1, port), &first_message(addr(1, port), now));
    }
    assert_eq!(server.len(), LIMITS.half_open_per_source_max);
    assert_eq!(server.counters().refused, 3);
    established(&mut server, addr(2, 1), now);
}

#[test]
fn a_spray_of_forged_addresses_keeps_no_real_client_out() {
    let now = Instant::now();
    let mut server = server_with(LIMITS);
    let mut client = Client::new(addr(200, 1), now, Dtls::new_12);
    // The client's cookie comes back within the time of a few forged messages.
    let hello = client.poll(now).remove(0);
    for (_, answer) in hand_in(&mut server, now, client.addr, &hello).sent {
        client.dtls.handle_packet(&answer).unwrap();
    }
    for host in 1..=3 {
        hand_in(&mut server, now, addr(host, 1), &first_message(addr(host, 1), now));
    }
    // Now its address is proven, and stays while the forged ones push each other out.
    let mut flight = Vec::new();
    for datagram in client.poll(now) {
        flight.extend(hand_in(&mut server, now, client.addr, &datagram).sent);
    }
    for host in 4..=100 {
        hand_in(&mut server, now, addr(host, 1), &first_message(addr(host, 1), now));
        assert!(server.len() <= LIMITS.half_open_max);
    }
    for (_, answer) in flight {
        client.dtls.handle_packet(&answer).unwrap();
    }
    assert_eq!(exchange(&mut server, &mut client, now).established, [client.addr]);
}

#[test]
fn all_sessions_together_are_capped() {
    let now = Instant::now();
    let mut server = server_with(DtlsLimits { sessions_max: 2, ..LIMITS });
    let _clients = [1, 2].map(|host| established(&mut server, addr(host, 1), now));
    assert_eq!(hand_in(&mut server, now, addr(3, 1), &first_message(addr(3, 1), now)), Told::default());
    assert_eq!(server.len(), 2);
}

#[test]
fn a_half_handshake_is_gone_after_its_limit() {
    let now = Instant::now();
    let mut server = server();
    hand_in(&mut server, now, addr(1, 1), &first_message(addr(1, 1), now));
    assert_eq!(server.len(), 1);
    let mut told = Told::default();
    let mut at = now;
    while let Some(next) = server.next_timeout() {
        assert!(next > at, "each timeout leads on");
        at = next;
        server.handle_timeout(at, &mut |output| told.take(output));
    }
    assert_eq!(at - now, LIMITS.handshake);
    assert!(server.is_empty() && told.closed.is_empty());
    assert_eq!(server.counters().failed, 1);
}

#[test]
fn an_idle_session_is_closed_and_one_in_use_is_not() {
    let now = Instant::now();
    let mut server = server();
    let mut idle = established(&mut server, addr(1, 1), now);
    let used = established(&mut server, addr(2, 1), now);
    let half = now + LIMITS.idle / 2;
    server.handle_timeout(half, &mut |_| ());
    assert!(server.send(half, used.addr, b"media", &mut |_| ()));
    let mut told = Told::default();
    server.handle_timeout(now + LIMITS.idle, &mut |output| told.take(output));
    assert_eq!(told.closed, [idle.addr]);
    assert_eq!(server.len(), 1);
    for (_, datagram) in &told.sent {
        idle.dtls.handle_packet(datagram).unwrap();
        idle.poll(now);
    }
    assert!(idle.closed, "by close_notify");
}

#[test]
fn one_client_at_two_of_our_addresses_has_two_sessions_and_each_answers_from_its_own() {
    let now = Instant::now();
    let mut server = server();
    let one = addr(1, 1);
    let other = DtlsPath { local: Ipv4Addr::new(203, 0, 113, 11).into(), ..one };
    let _clients = [established(&mut server, one, now), established(&mut server, other, now)];
    assert_eq!(server.len(), 2);
    let half = now + LIMITS.idle / 2;
    assert!(server.send(half, one, b"media", &mut |output| assert!(
        matches!(output, DtlsOutput::Send { path, .. } if path == one)
    )));
    let mut told = Told::default();
    server.handle_timeout(now + LIMITS.idle, &mut |output| told.take(output));
    assert_eq!(told.closed, [other]);
    assert!(!told.sent.is_empty() && told.sent.iter().all(|(path, _)| *path == other));
}

#[test]
fn an_established_session_tells_how_long_its_handshake_took() {
    let now = Instant::now();
    let mut server = server();
    let mut client = Client::new(addr(1, 1), now, Dtls::new_12);
    for answer in hand_in(&mut server, now, client.addr, &client.poll(now).remove(0)).sent {
        client.dtls.handle_packet(&answer.1).unwrap();
    }
    let later = now + Duration::from_millis(70);
    assert_eq!(exchange(&mut server, &mut client, later).took, Duration::from_millis(70));
}

#[test]
fn a_client_that_closes_is_told_and_forgotten() {
    let now = Instant::now();
    let mut server = server();
    let mut client = established(&mut server, addr(1, 1), now);
    client.dtls.close().unwrap();
    assert_eq!(exchange(&mut server, &mut client, now).closed, [client.addr]);
    assert!(server.is_empty());
    assert!(!server.send(now, client.addr, b"late", &mut |_| panic!("nothing goes out")));
}

#[test]
fn our_close_reaches_the_client() {
    let now = Instant::now();
    let mut server = server();
    let mut client = established(&mut server, addr(1, 1), now);
    let mut told = Told::default();
    server.close(now, client.addr, &mut |output| told.take(output));
    assert_eq!(told.closed, [client.addr]);
    for (_, datagram) in told.sent {
        client.dtls.handle_packet(&datagram).unwrap();
    }
    client.poll(now);
    assert!(client.closed);
}

#[test]
fn forged_records_do_not_end_an_established_session() {
    let now = Instant::now();
    let mut server = server();
    let mut client = established(&mut server, addr(1, 1), now);
    let fatal_alert_in_clear = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 40];
    let garbled_data = [&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40][..], &[0x55; 40]].concat();
    let hello = first_message(client.addr, now);
    for forged in [&fatal_alert_in_clear[..], &garbled_data, &hello, b"\x00\x01\x00\x00rubbish"] {
        let told = hand_in(&mut server, now, client.addr, forged);
        assert_eq!((told.plaintext, told.closed), (vec![], vec![]));
    }
    client.dtls.send_application_data(b"still here").unwrap();
    assert_eq!(exchange(&mut server, &mut client, now).plaintext, [(client.addr, b"still here".to_vec())]);
}

#[test]
fn a_new_certificate_counts_for_new_sessions_and_a_bad_one_changes_nothing() {
    let now = Instant::now();
    let mut server = server();
    let mut old = established(&mut server, addr(1, 1), now);
    let (one, other) = (generate_self_signed_certificate().unwrap(), generate_self_signed_certificate().unwrap());
    server.set_certificate(one.certificate.clone(), one.private_key).unwrap();
    assert!(server.set_certificate(one.certificate.clone(), other.private_key).is_err());
    assert_eq!(established(&mut server, addr(2, 1), now).certificate, one.certificate);
    assert_ne!(old.certificate, one.certificate);
    old.dtls.send_application_data(b"goes on").unwrap();
    assert_eq!(exchange(&mut server, &mut old, now).plaintext.len(), 1);
}

#[test]
fn a_key_that_is_not_ecdsa_or_of_another_certificate_is_refused() {
    let (one, other) = (generate_self_signed_certificate().unwrap(), generate_self_signed_certificate().unwrap());
    let mismatch = DtlsSessions::new(one.certificate.clone(), other.private_key, LIMITS);
    assert!(matches!(mismatch, Err(TlsError::Mismatch)));
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let refused = DtlsSessions::new(one.certificate.clone(), ed25519.serialize_der(), LIMITS);
    assert!(matches!(refused, Err(TlsError::PrivateKey(_))));
    assert!(matches!(DtlsSessions::new(one.certificate, vec![1, 2, 3], LIMITS), Err(TlsError::PrivateKey(_))));
}
