//! Permissions, channels, and data both ways.

use std::net::SocketAddr;

use postern_turn::attribute::Attribute;
use postern_turn::client::{ClientEvent, ClientInput, Refusal};
use postern_turn::client_limits::CLIENT_PERMISSIONS_MAX;
use postern_turn::error_code::ErrorCode;
use postern_turn::message::{Class, MessageWriter, Method, TransactionId};

use crate::line::{Line, at, peer, secs};

const CREATE_PERMISSION: u16 = 0x0008;
const CHANNEL_BIND: u16 = 0x0009;

fn numbered(number: usize) -> SocketAddr {
    at(&format!("192.0.2.{}:5000", number + 1))
}

#[test]
fn permissions_are_asked_for_sixteen_at_a_time() {
    let mut line = Line::new();
    for number in 0..40 {
        line.client.permit(line.now, numbered(number));
    }
    line.allocated();
    assert_eq!(line.count_sent(CREATE_PERMISSION), 3);
    assert!((0..40).all(|number| line.client.is_permitted(numbered(number).ip())));
}

#[test]
fn a_forbidden_peer_takes_no_other_with_it() {
    let mut line = Line::new();
    let forbidden = [at("10.0.0.1:1"), at("127.0.0.1:1")];
    for peer in [numbered(0), forbidden[0], numbered(1), forbidden[1], numbered(2)] {
        line.client.permit(line.now, peer);
    }
    line.allocated();
    assert!((0..3).all(|number| line.client.is_permitted(numbered(number).ip())), "{:?}", line.events);
    for peer in forbidden {
        let refused = ClientEvent::PermissionRefused { peer: peer.ip(), why: Refusal::Code(ErrorCode::FORBIDDEN) };
        assert!(line.events.contains(&refused), "{:?}", line.events);
        assert!(!line.client.is_permitted(peer.ip()));
    }
}

#[test]
fn a_permission_is_for_every_port_and_asked_for_once() {
    let mut line = Line::new();
    line.allocated();
    line.permit(at("192.0.2.7:1"));
    line.permit(at("192.0.2.7:2"));
    assert_eq!(line.count_sent(CREATE_PERMISSION), 1);
    assert!(line.send(at("192.0.2.7:3"), b"x"));
}

#[test]
fn more_permissions_than_the_limit_are_refused_at_once() {
    let mut line = Line::new();
    line.allocated();
    for number in 0..=CLIENT_PERMISSIONS_MAX {
        line.client.permit(line.now, numbered(number));
    }
    line.take_out();
    let refused = numbered(CLIENT_PERMISSIONS_MAX).ip();
    assert_eq!(line.events.last(), Some(&ClientEvent::PermissionRefused { peer: refused, why: Refusal::TooMany }));
}

#[test]
fn nothing_is_sent_without_a_permission() {
    let mut line = Line::new();
    assert!(!line.send(peer(), b"too early"));
    line.allocated();
    assert!(!line.send(peer(), b"still too early"));
    line.permit(peer());
    assert!(line.send(peer(), b"now"));
    line.pass(secs(1));
    assert_eq!(line.at_peers.len(), 1);
}

#[test]
fn data_goes_by_indications_first_and_by_a_channel_then() {
    let mut line = Line::new();
    let relayed = line.allocated().relayed;
    line.permit(peer());
    for payload in [&b"one"[..], b"second", b""] {
        assert!(line.send(peer(), payload));
        line.send_back(relayed, peer(), payload);
    }
    line.client.bind_channel(line.now, peer());
    line.take_out();
    line.pass(secs(1));
    assert!(line.events.contains(&ClientEvent::ChannelBound { peer: peer(), channel: 0x4000 }));
    assert!(line.send(peer(), b"by channel"));
    line.send_back(relayed, peer(), b"by channel");
    line.pass(secs(1));
    let payloads: Vec<&[u8]> = line.at_peers.iter().map(|(_, _, payload)| &payload[..]).collect();
    assert_eq!(payloads, [&b"one"[..], b"second", b"", b"by channel"]);
    let received: Vec<&[u8]> = line.received.iter().map(|(_, payload)| &payload[..]).collect();
    assert_eq!(received, payloads);
    assert!(line.received.iter().all(|(from, _)| *from == peer()));
}

#[test]
fn channels_and_permissions_are_kept_for_as_long_as_the_allocation() {
    let mut line = Line::new();
    let relayed = line.allocated().relayed;
    let other = at("192.0.2.8:6000");
    line.permit(other);
    line.client.bind_channel(line.now, peer());
    line.take_out();
    for _ in 0..30 {
        line.pass(secs(60));
        assert!(line.send(peer(), b"c") && line.send(other, b"p"));
        assert!(line.send_back(relayed, peer(), b"c") && line.send_back(relayed, other, b"p"));
    }
    line.pass(secs(1));
    assert_eq!((line.at_peers.len(), line.received.len()), (60, 60));
    assert!(line.count_sent(CHANNEL_BIND) < 12 && line.count_sent(CREATE_PERMISSION) < 12);
}

#[test]
fn data_of_a_stranger_and_on_an_unknown_channel_is_left_out() {
    let mut line = Line::new();
    line.allocated();
    line.permit(peer());
    let mut indication = Vec::new();
    let id = TransactionId::new([1; 12]);
    let mut writer = MessageWriter::new(&mut indication, Class::Indication, Method::Data, id);
    writer.attribute(&Attribute::XorPeerAddress(at("192.0.2.66:1")));
    writer.attribute(&Attribute::Data(b"x"));
    writer.finish().unwrap();
    for bytes in [&indication[..], &[0x40, 0x00, 0, 1, 7], &[0x80; 40]] {
        assert_eq!(line.client.handle_datagram(line.now, bytes), ClientInput::Ignored);
    }
}
