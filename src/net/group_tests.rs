//! SO_REUSEPORT groups against the kernel, on loopback.

use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::udp_fixtures::{LOOPBACK, bind, received, to, wait_readable};
use crate::{BindError, RecvBatch, ReusePortGroup, UdpOptions, UdpSocket};

#[test]
fn a_group_takes_nothing_before_it_opens_and_everything_after() {
    let group = ReusePortGroup::bind(LOOPBACK.parse().unwrap(), 4, &UdpOptions::default()).unwrap();
    let clients: Vec<UdpSocket> = (0..40).map(|_| bind(LOOPBACK, false)).collect();
    let mut batch = RecvBatch::new(64);
    let send_all = |payload| clients.iter().for_each(|client| client.send(&to(&group.sockets[0], payload)).unwrap());
    send_all(b"early");
    group.open().unwrap();
    let mut owners = Vec::new();
    for round in 0..3 {
        send_all(b"late");
        let mut shares = Vec::new();
        for member in &group.sockets {
            wait_readable(member, Duration::from_millis(200));
            let mut clients = Vec::new();
            while member.recv_batch(&mut batch).unwrap() > 0 {
                for i in 0..batch.len() {
                    let datagram = batch.get_mut(i).unwrap();
                    assert_eq!(&datagram.buffer[datagram.range], b"late");
                    clients.push(datagram.from);
                }
            }
            clients.sort();
            shares.push(clients);
        }
        assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), clients.len());
        if round == 0 {
            owners = shares;
            assert!(owners.iter().filter(|share| !share.is_empty()).count() > 1, "spread over the members");
        } else {
            assert_eq!(shares, owners, "a client stays with its member");
        }
    }
    assert!(group.sockets.iter().all(|member| member.kernel_drops() == 0), "the closed gate is no loss");
}

#[test]
fn a_second_instance_is_refused_and_the_first_is_named() {
    let group = ReusePortGroup::bind(LOOPBACK.parse().unwrap(), 2, &UdpOptions::default()).unwrap();
    let addr = group.sockets[0].local_addr();
    let error = ReusePortGroup::bind(addr, 2, &UdpOptions::default()).unwrap_err();
    let BindError::InUse { addr: refused, owner } = &error else { panic!("{error}") };
    assert_eq!(*refused, addr);
    assert!(owner.as_ref().unwrap().contains(&format!("pid {}", std::process::id())));
    assert!(error.to_string().contains(&addr.to_string()));
}

#[test]
fn a_foreign_address_is_refused_by_name() {
    let error = ReusePortGroup::bind("192.0.2.1:3478".parse().unwrap(), 1, &UdpOptions::default()).unwrap_err();
    assert!(matches!(error, BindError::Failed { .. }));
    assert!(error.to_string().contains("192.0.2.1:3478"));
}

#[test]
fn an_inherited_group_keeps_order_and_clients() {
    let group = ReusePortGroup::bind(LOOPBACK.parse().unwrap(), 3, &UdpOptions::default()).unwrap();
    group.open().unwrap();
    let client = bind(LOOPBACK, false);
    client.send(&to(&group.sockets[0], b"before")).unwrap();
    let mut batch = RecvBatch::new(4);
    let owner = |group: &ReusePortGroup, batch: &mut RecvBatch| {
        group.sockets.iter().position(|member| !received(member, batch).is_empty()).unwrap()
    };
    let first = owner(&group, &mut batch);
    let fds: Vec<OwnedFd> = group.sockets.into_iter().map(OwnedFd::from).collect();
    let heir = ReusePortGroup::from_fds(fds).unwrap();
    heir.open().unwrap();
    client.send(&to(&heir.sockets[0], b"after")).unwrap();
    assert_eq!(owner(&heir, &mut batch), first);
}
