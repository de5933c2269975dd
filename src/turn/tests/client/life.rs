//! Allocations from the first request to the last.

use postern_turn::client::{ClientEvent, Failure, IntegrityWish};
use postern_turn::io::{PortWish, Transport};
use postern_turn::options::Quotas;

use crate::edge::Wishes;
use crate::line::{Line, at, peer, secs, server};

#[test]
fn an_allocation_is_made_in_two_round_trips() {
    let mut line = Line::new();
    let allocated = line.allocated();
    assert_eq!(allocated.relayed.ip(), server().ip());
    assert_eq!(allocated.mapped, Some(at("198.51.100.1:4000")));
    assert_eq!(allocated.lifetime, secs(600));
    assert_eq!(line.sent.len(), 2);
    assert_eq!(line.events, [ClientEvent::Allocated(allocated)]);
}

#[test]
fn integrity_is_sha_256_when_offered_and_sha_1_when_wished() {
    for (wish, attribute) in [(IntegrityWish::Offered, 0x001C_u16), (IntegrityWish::Sha1, 0x0008)] {
        let mut line = Line::with(Wishes::default(), |_, settings| settings.integrity = wish);
        line.allocated();
        let signed = line.sent[1].windows(2).any(|bytes| bytes == attribute.to_be_bytes());
        assert!(signed, "{wish:?}");
    }
}

#[test]
fn loss_and_doubles_only_delay_an_allocation() {
    for seed in 0..20 {
        let mut line = Line::idle(Wishes::default(), |_, _| {});
        line.loss_per_mille = 250;
        line.tamper = Box::new(|bytes| vec![bytes.clone(), bytes]);
        // Another part of the sequence for each.
        for _ in 0..seed {
            line.send(peer(), b"nothing");
        }
        line.client.start(line.now);
        line.take_out();
        line.pass(secs(39));
        assert!(line.client.allocated().is_some(), "seed {seed}: {:?}", line.events);
        line.client.permit(line.now, peer());
        line.client.bind_channel(line.now, peer());
        line.take_out();
        line.pass(secs(39));
        assert!(line.events.contains(&ClientEvent::Permitted(peer().ip())), "seed {seed}");
    }
}

#[test]
fn a_stream_carries_requests_and_data_in_pieces() {
    let mut line = Line::with(Wishes::default(), |_, settings| settings.transport = Transport::Tcp);
    let relayed = line.allocated().relayed;
    line.permit(peer());
    line.client.bind_channel(line.now, peer());
    line.take_out();
    line.pass(secs(1));
    for length in 0..9 {
        assert!(line.send(peer(), &vec![7; length]));
        line.send_back(relayed, peer(), &vec![8; length]);
    }
    line.pass(secs(1));
    assert_eq!(line.at_peers.len(), 9);
    assert_eq!(line.received.len(), 9);
    assert!(line.received.iter().enumerate().all(|(length, (_, data))| *data == vec![8; length]));
}

#[test]
fn bytes_that_are_no_frame_end_a_client_on_a_stream() {
    let mut line = Line::with(Wishes::default(), |_, settings| settings.transport = Transport::Tcp);
    line.allocated();
    line.client.handle_stream(line.now, &[0xFF; 8]);
    line.take_out();
    assert_eq!(line.events.last(), Some(&ClientEvent::Failed(Failure::Answer)));
}

#[test]
fn a_closed_connection_ends_a_client() {
    let mut line = Line::with(Wishes::default(), |_, settings| settings.transport = Transport::Tcp);
    line.allocated();
    line.client.handle_closed();
    line.take_out();
    assert_eq!(line.events.last(), Some(&ClientEvent::Failed(Failure::Closed)));
    assert_eq!(line.client.next_timeout(), None);
}

#[test]
fn an_even_port_and_its_reserved_neighbour_make_a_pair() {
    let mut line = Line::with(Wishes::default(), |_, settings| settings.port = PortWish::Even { reserve: true });
    let rtp = line.allocated();
    let token = rtp.reservation.expect("a reservation");
    assert_eq!(rtp.relayed.port() % 2, 0);
    let mut settings = line.settings(line.edge.token(secs(36_000)));
    settings.port = PortWish::Reserved(token);
    line.replace_client("198.51.100.1:4001", settings.clone());
    assert_eq!(line.allocated().relayed.port(), rtp.relayed.port() + 1);
    // Once.
    line.replace_client("198.51.100.1:4002", settings);
    line.pass(secs(1));
    assert_eq!(line.events, [ClientEvent::Failed(Failure::Capacity)]);
}

#[test]
fn refreshes_keep_an_allocation_over_stale_nonces_for_an_hour() {
    let mut line = Line::new();
    let relayed = line.allocated().relayed;
    line.permit(peer());
    line.pass(secs(3_600));
    assert!(line.client.allocated().is_some(), "{:?}", line.events);
    assert!(line.send(peer(), b"still here"));
    assert!(line.send_back(relayed, peer(), b"there too"));
    line.pass(secs(1));
    assert_eq!(line.at_peers, [(relayed, peer(), b"still here".to_vec())]);
    assert_eq!(line.received, [(peer(), b"there too".to_vec())]);
    assert!(line.sent.len() < 60, "{} requests", line.sent.len());
}

#[test]
fn an_allocation_outlives_its_token_under_a_newer_one() {
    let mut line = Line::with(Wishes::default(), |edge, settings| settings.credentials = edge.token(secs(300)));
    assert_eq!(line.allocated().lifetime, secs(300));
    line.pass(secs(200));
    let newer = line.edge.token(secs(2_000));
    line.client.set_credentials(line.now, newer);
    line.take_out();
    line.pass(secs(1));
    assert_eq!(line.events.last(), Some(&ClientEvent::CredentialsTaken));
    line.pass(secs(1_500));
    assert!(line.client.allocated().is_some(), "{:?}", line.events);
}

#[test]
fn a_token_that_cannot_succeed_another_is_refused_and_the_first_goes_on() {
    let mut line = Line::with(Wishes::default(), |edge, settings| settings.credentials = edge.classic_token(secs(900)));
    line.allocated();
    let other = line.edge.classic_token(secs(2_000));
    line.client.set_credentials(line.now, other);
    line.take_out();
    line.pass(secs(1));
    assert!(
        matches!(line.events.last(), Some(ClientEvent::CredentialsRefused(code)) if code.number() == 441),
        "{:?}",
        line.events
    );
    line.permit(peer());
    assert!(line.client.is_permitted(peer().ip()));
    line.pass(secs(600));
    assert!(line.client.allocated().is_some());
    // Its token ends, and with it the allocation.
    line.pass(secs(400));
    assert!(matches!(line.events.last(), Some(ClientEvent::Failed(_))), "{:?}", line.events);
}

#[test]
fn a_released_allocation_is_off_the_quota_at_once() {
    let quotas = Quotas { allocations_per_identity: 1, ..Quotas::default() };
    let mut line = Line::with(Wishes { quotas, ..Wishes::default() }, |_, _| {});
    line.allocated();
    line.client.release(line.now);
    line.take_out();
    line.pass(secs(1));
    assert_eq!(line.events.last(), Some(&ClientEvent::Released));
    let settings = line.settings(line.edge.token(secs(36_000)));
    line.replace_client("198.51.100.1:4001", settings);
    line.allocated();
}

#[test]
fn an_allocation_that_comes_too_late_is_given_back() {
    let mut line = Line::new();
    line.client.release(line.now);
    line.take_out();
    line.pass(secs(1));
    assert_eq!(line.events, [ClientEvent::Released]);
    assert_eq!(line.edge.server.allocations(), 0);
}
