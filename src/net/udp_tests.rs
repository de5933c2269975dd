//! UDP sockets and batches against the kernel, on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::limits::{HEADROOM, TAILROOM};
use crate::reactor::{Events, Interest, Reactor};
use crate::udp_fixtures::{LOOPBACK, bind, dead_peer, received, to, wait_readable};
use crate::{IcmpError, Outgoing, RecvBatch, SendBatch, SendReport, UdpOptions, UdpSocket};

fn a_batch_crosses(addr: &str, mut outgoing: SendBatch, mut incoming: RecvBatch) {
    let (sender, receiver) = (bind(addr, false), bind(addr, false));
    let payloads: Vec<Vec<u8>> = (0..10_u8).map(|i| vec![i; usize::from(i) * 100]).collect();
    for payload in &payloads {
        let local = sender.local_addr().ip();
        let message = Outgoing { payload, from_ip: Some(local), tos: 0xb8 | 1, ..to(&receiver, b"") };
        assert!(outgoing.push(&message));
    }
    assert_eq!(outgoing.flush(&sender), SendReport { sent: 10, failed: 0, would_block: 0 });
    assert!(outgoing.is_empty());
    let mut seen = Vec::new();
    while seen.len() < payloads.len() {
        assert!(wait_readable(&receiver, Duration::from_secs(5)));
        receiver.recv_batch(&mut incoming).unwrap();
        for i in 0..incoming.len() {
            let datagram = incoming.get_mut(i).unwrap();
            assert_eq!(datagram.from, sender.local_addr());
            assert_eq!(datagram.local_ip, Some(receiver.local_addr().ip()));
            assert_eq!(datagram.tos, 0xb9, "DSCP and ECN");
            assert!(!datagram.truncated);
            assert_eq!(datagram.range.start, HEADROOM);
            assert!(datagram.buffer.len() - datagram.range.end >= TAILROOM);
            seen.push(datagram.buffer[datagram.range].to_vec());
        }
    }
    assert_eq!(seen, payloads);
    assert_eq!(receiver.recv_batch(&mut incoming).unwrap(), 0);
    assert!(incoming.get_mut(0).is_none());
}

#[test]
fn a_batch_crosses_ipv4_with_address_and_traffic_class() {
    a_batch_crosses(LOOPBACK, SendBatch::new(64), RecvBatch::new(64));
}

#[test]
fn a_batch_crosses_ipv6_with_address_and_traffic_class() {
    a_batch_crosses("[::1]:0", SendBatch::new(64), RecvBatch::new(4));
}

#[test]
fn a_batch_crosses_without_the_batched_system_calls() {
    a_batch_crosses(LOOPBACK, SendBatch::without_sendmmsg(16), RecvBatch::without_recvmmsg(3));
}

#[test]
fn a_datagram_tells_how_long_it_lay_where_that_is_asked_for() {
    const LAY: Duration = Duration::from_millis(20);
    let age = |sender: &UdpSocket, receiver: &UdpSocket| {
        sender.send(&to(receiver, b"early")).unwrap();
        assert!(wait_readable(receiver, Duration::from_secs(5)));
        std::thread::sleep(LAY);
        let mut batch = RecvBatch::new(2);
        assert_eq!(receiver.recv_batch(&mut batch).unwrap(), 1);
        batch.get_mut(0).unwrap().age
    };
    let sender = bind(LOOPBACK, false);
    assert!(age(&sender, &bind(LOOPBACK, false)).is_zero());
    let options = UdpOptions { arrival_times: true, ..UdpOptions::default() };
    let timed = UdpSocket::bind(LOOPBACK.parse().unwrap(), &options).unwrap();
    // The kernel begins with that a moment after the first socket asked.
    assert!((0..100).any(|_| age(&sender, &timed) >= LAY));
}

#[test]
fn a_full_batch_says_so_and_has_room_after_a_flush() {
    let (sender, receiver) = (bind(LOOPBACK, false), bind(LOOPBACK, false));
    let mut batch = SendBatch::new(2);
    assert!(batch.push(&to(&receiver, b"1")) && batch.push(&to(&receiver, b"2")));
    assert!(!batch.push(&to(&receiver, b"3")));
    batch.flush(&sender);
    assert!(batch.push(&to(&receiver, b"3")));
    batch.flush(&sender);
    assert_eq!(received(&receiver, &mut RecvBatch::new(8)), [b"1", b"2", b"3"]);
}

#[test]
fn the_granted_buffer_is_read_back() {
    let options = UdpOptions { recv_buffer: 32 * 1024, ..UdpOptions::default() };
    let socket = UdpSocket::bind(LOOPBACK.parse().unwrap(), &options).unwrap();
    assert_eq!(socket.effective_recv_buffer(), 32 * 1024);
}

#[test]
fn datagrams_dropped_by_the_kernel_are_counted() {
    let options = UdpOptions { recv_buffer: 8 * 1024, ..UdpOptions::default() };
    let receiver = UdpSocket::bind(LOOPBACK.parse().unwrap(), &options).unwrap();
    let sender = bind(LOOPBACK, false);
    for _ in 0..200 {
        sender.send(&to(&receiver, &[7; 1000])).unwrap();
    }
    let mut batch = RecvBatch::new(64);
    let arrived = received(&receiver, &mut batch).len();
    assert!(arrived < 200);
    // The counter rides on datagrams: this one carries it.
    sender.send(&to(&receiver, b"last")).unwrap();
    assert_eq!(received(&receiver, &mut batch).len(), 1);
    assert_eq!(receiver.kernel_drops(), 200 - arrived as u64);
}

#[test]
fn a_dead_peer_costs_the_living_one_no_datagram_of_a_batch() {
    let (relay, alive, dead) = (bind(LOOPBACK, true), bind(LOOPBACK, false), dead_peer());
    let mut batch = SendBatch::new(16);
    let mut incoming = RecvBatch::new(64);
    let mut arrived = 0;
    for _ in 0..20 {
        for _ in 0..4 {
            assert!(batch.push(&Outgoing { to: dead, ..to(&alive, b"x") }));
            assert!(batch.push(&to(&alive, b"y")));
        }
        let report = batch.flush(&relay);
        assert_eq!((report.sent + report.failed, report.would_block), (8, 0));
        arrived += received(&alive, &mut incoming).len();
    }
    assert_eq!(arrived, 80);
}

#[test]
fn a_dead_peer_costs_the_living_one_no_single_datagram() {
    for addr in [LOOPBACK, "[::1]:0"] {
        let (relay, alive, dead) = (bind(addr, true), bind(addr, false), bind(addr, false).local_addr());
        for _ in 0..50 {
            let _ = relay.send(&Outgoing { to: dead, ..to(&alive, b"x") });
            relay.send(&to(&alive, b"y")).unwrap();
        }
        assert_eq!(received(&alive, &mut RecvBatch::new(64)).len(), 50);
    }
}

#[test]
fn icmp_errors_are_told_with_the_peer_that_they_are_about() {
    let relay = bind(LOOPBACK, true);
    let (dead, also_dead) = (dead_peer(), "127.0.0.1:9".parse().unwrap());
    for peer in [dead, also_dead] {
        let _ = relay.send(&Outgoing { to: peer, ..to(&relay, b"x") });
    }
    let mut errors = Vec::new();
    assert_eq!(relay.drain_errors(8, |error| errors.push(error)).unwrap(), 2);
    let port_unreachable = |peer| IcmpError { peer, v6: false, icmp_type: 3, code: 3, info: 0 };
    assert_eq!(errors, [port_unreachable(dead), port_unreachable(also_dead)]);
    assert_eq!(relay.drain_errors(8, |_| ()).unwrap(), 0);
}

#[test]
fn the_error_queue_is_drained_in_bounded_steps_and_then_is_silent() {
    let relay = bind("[::1]:0", true);
    let dead = bind("[::1]:0", false).local_addr();
    for _ in 0..5 {
        let _ = relay.send(&Outgoing { to: dead, ..to(&relay, b"x") });
    }
    let reactor = Reactor::new().unwrap();
    reactor.register(&relay, 1, Interest::READ).unwrap();
    let mut events = Events::with_capacity(1);
    reactor.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
    assert!(events.iter().next().unwrap().error);
    let mut errors = Vec::new();
    assert_eq!(relay.drain_errors(3, |error| errors.push(error)).unwrap(), 3);
    while relay.drain_errors(3, |error| errors.push(error)).unwrap() == 3 {}
    assert!(errors.len() >= 3);
    assert!(errors.iter().all(|error| error.v6 && (error.icmp_type, error.code) == (1, 4) && error.peer == dead));
    reactor.wait(&mut events, Some(Duration::ZERO)).unwrap();
    assert_eq!(events.iter().count(), 0, "a drained socket raises no event");
}

#[test]
fn a_receive_never_reports_what_became_of_a_send() {
    let relay = bind(LOOPBACK, true);
    let _ = relay.send(&Outgoing { to: dead_peer(), ..to(&relay, b"x") });
    relay.send(&to(&relay, b"own")).unwrap();
    assert_eq!(received(&relay, &mut RecvBatch::new(4)), [b"own"]);
}

/// Runs `body` in a thread with a network namespace of its own, whose loopback has an MTU of 1500.
fn with_small_loopback(body: impl FnOnce() + Send + 'static) {
    let outcome = std::thread::spawn(move || {
        // SAFETY: changes only the calling thread's namespace, which ends with it.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        set_loopback(1500);
        body();
        Ok(())
    })
    .join()
    .unwrap();
    if let Err(error) = outcome {
        println!("skipped: a network namespace of its own takes root ({error})");
    }
}

fn set_loopback(mtu: i32) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").or_else(|_| std::net::UdpSocket::bind("0.0.0.0:0")).unwrap();
    // SAFETY: ifreq is plain bytes and a union of plain types.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    request.ifr_ifru.ifru_mtu = mtu;
    // SAFETY: the request is a local of the type that this ioctl reads.
    assert_eq!(unsafe { libc::ioctl(fd, libc::SIOCSIFMTU, &request) }, 0);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: as above.
    assert_eq!(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &request) }, 0);
}

#[test]
fn dont_fragment_refuses_what_exceeds_the_mtu_for_that_one_datagram() {
    with_small_loopback(|| {
        let v6_any = UdpSocket::bind("[::1]:0".parse().unwrap(), &UdpOptions::default()).is_ok();
        for addr in [LOOPBACK, "[::1]:0"].into_iter().take(1 + usize::from(v6_any)) {
            let (relay, peer) = (bind(addr, true), bind(addr, false));
            let mut batch = RecvBatch::new(4);
            let large = Outgoing { dont_fragment: true, ..to(&peer, &[1; 3000]) };
            let error = relay.send(&large).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{addr}");
            assert!(wait_readable(&relay, Duration::ZERO), "EPOLLERR tells of it");
            let mut errors = Vec::new();
            relay.drain_errors(8, |error| errors.push(error)).unwrap();
            let v6 = peer.local_addr().is_ipv6();
            let (icmp_type, code) = if v6 { (2, 0) } else { (3, 4) };
            assert_eq!(errors, [IcmpError { peer: peer.local_addr(), v6, icmp_type, code, info: 1500 }]);
            assert!(!wait_readable(&relay, Duration::ZERO));
            // The next one may be fragmented again, and one that fits passes with DF.
            relay.send(&Outgoing { dont_fragment: false, ..large }).unwrap();
            relay.send(&Outgoing { payload: &[2; 1000], ..large }).unwrap();
            let lengths: Vec<usize> = received(&peer, &mut batch).iter().map(Vec::len).collect();
            assert_eq!(lengths, [3000, 1000], "{addr}");
        }
    });
}

#[test]
fn dont_fragment_refuses_more_than_udp_can_carry_on_any_machine() {
    let (relay, peer) = (bind(LOOPBACK, true), bind(LOOPBACK, false));
    let error = relay.send(&Outgoing { dont_fragment: true, ..to(&peer, &[0; 65_520]) }).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    let mut errors = Vec::new();
    relay.drain_errors(8, |error| errors.push((error.peer, error.icmp_type, error.code))).unwrap();
    assert_eq!(errors, [(peer.local_addr(), 3, 4)]);
    relay.send(&to(&peer, b"still fine")).unwrap();
    assert_eq!(received(&peer, &mut RecvBatch::new(4)), [b"still fine"]);
}

#[test]
fn an_oversized_datagram_in_a_batch_is_skipped_alone() {
    let (relay, peer) = (bind(LOOPBACK, true), bind(LOOPBACK, false));
    let mut batch = SendBatch::new(8);
    assert!(batch.push(&to(&peer, b"first")));
    assert!(batch.push(&to(&peer, &[0; 65_530])));
    assert!(batch.push(&to(&peer, b"last")));
    assert_eq!(batch.flush(&relay), SendReport { sent: 2, failed: 1, would_block: 0 });
    assert_eq!(received(&peer, &mut RecvBatch::new(8)), [&b"first"[..], b"last"]);
}

#[test]
fn a_source_of_another_loopback_address_is_obeyed() {
    let sender = bind("0.0.0.0:0", false);
    let receiver = bind(LOOPBACK, false);
    let source = Ipv4Addr::new(127, 0, 0, 5);
    sender.send(&Outgoing { from_ip: Some(source.into()), ..to(&receiver, b"x") }).unwrap();
    let mut batch = RecvBatch::new(1);
    assert!(wait_readable(&receiver, Duration::from_secs(5)));
    receiver.recv_batch(&mut batch).unwrap();
    assert_eq!(batch.get_mut(0).unwrap().from, SocketAddr::from((source, sender.local_addr().port())));
}
