//! Frames on streams, ChannelData, and headers written in place.

use crate::support::{OPEN, TRANSACTION_ID, channel_samples, samples, v4, v6, write};
use postern_turn::attribute::Attribute;
use postern_turn::channel_data::{self, ChannelData, Padding};
use postern_turn::data_indication;
use postern_turn::framer::{Datagram, Frame, classify_datagram, frame_stream};
use postern_turn::io::{HEADROOM, TAILROOM};
use postern_turn::message::{Class, Message, Method};

/// Cuts a stream into frames; the rest that is no whole frame is given back.
fn frames(mut bytes: &[u8]) -> (Vec<Frame>, &[u8]) {
    let mut frames = Vec::new();
    loop {
        let frame = frame_stream(bytes);
        let taken = match frame {
            Frame::Stun { bytes } => bytes,
            Frame::ChannelData { padded_bytes, .. } => padded_bytes,
            Frame::Incomplete { .. } | Frame::Invalid => return (frames, bytes),
        };
        frames.push(frame);
        bytes = &bytes[taken..];
    }
}

#[test]
fn pipelined_messages_are_cut_apart_wherever_the_stream_is_split() {
    let mut stream = Vec::new();
    let mut expected = Vec::new();
    for (_, message) in samples() {
        expected.push(Frame::Stun { bytes: message.len() });
        stream.extend_from_slice(&message);
        stream.extend_from_slice(&[0x40, 0x01, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0]);
        expected.push(Frame::ChannelData { bytes: 9, padded_bytes: 12 });
    }
    assert_eq!(frames(&stream), (expected.clone(), &[][..]));
    for split in 0..stream.len() {
        let (mut seen, rest) = frames(&stream[..split]);
        assert!(matches!(frame_stream(rest), Frame::Incomplete { .. }), "split at {split}");
        let joined = [rest, &stream[split..]].concat();
        seen.extend(frames(&joined).0);
        assert_eq!(seen, expected, "split at {split}");
    }
}

#[test]
fn length_of_an_incomplete_frame_is_told_as_soon_as_its_head_is_there() {
    let message = write(Class::Request, Method::Binding, &[Attribute::Software(b"long enough")], OPEN);
    assert_eq!(frame_stream(&message[..3]), Frame::Incomplete { bytes: None });
    assert_eq!(frame_stream(&message[..4]), Frame::Incomplete { bytes: Some(message.len()) });
    assert_eq!(frame_stream(&[0x40, 0, 0, 6]), Frame::Incomplete { bytes: Some(12) });
}

#[test]
fn frame_that_can_never_be_right_is_told_at_its_first_wrong_byte() {
    for garbage in [
        &b"POST / HTTP/1.1"[..],
        &[0x80],
        &[0xFF],
        &[0x50],
        &[0x7F],
        &[0x16, 0x03, 0x01, 0x02],
        &[0, 1, 0, 3],
        &[0, 1, 0, 0, 0x20],
        &[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43],
    ] {
        assert_eq!(frame_stream(garbage), Frame::Invalid, "{garbage:02x?}");
        let before = &garbage[..garbage.len() - 1];
        assert!(garbage[0] == b'P' || matches!(frame_stream(before), Frame::Incomplete { .. }), "{before:02x?}");
    }
}

#[test]
fn datagrams_are_told_apart_by_their_first_bytes() {
    for (name, message) in samples() {
        assert_eq!(classify_datagram(&message), Datagram::Stun, "{name}");
    }
    for (name, message) in channel_samples() {
        assert_eq!(classify_datagram(&message), Datagram::ChannelData, "{name}");
    }
    for other in [&[][..], &[0x16, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0], &[0x80; 12], &[0x50; 12], &[0; 20], &[0, 1, 0]] {
        assert_eq!(classify_datagram(other), Datagram::Other, "{other:02x?}");
    }
}

#[test]
fn channel_numbers_are_those_from_0x4000_to_0x4fff() {
    for (head, channel) in [
        ([0x3F, 0xFF], None),
        ([0x40, 0x00], Some(0x4000)),
        ([0x4F, 0xFF], Some(0x4FFF)),
        ([0x50, 0x00], None),
        ([0x7F, 0xFF], None),
    ] {
        let decoded = channel_data::decode(&[head[0], head[1], 0, 0]);
        assert_eq!(decoded.map(|data| data.channel), channel);
    }
}

#[test]
fn channel_data_longer_than_its_datagram_is_refused() {
    let bytes = [0x40, 0, 0, 5, 1, 2, 3, 4];
    assert_eq!(channel_data::decode(&bytes), None);
    for end in 0..4 {
        assert_eq!(channel_data::decode(&bytes[..end]), None);
    }
}

#[test]
fn empty_and_padded_channel_data_is_fine_in_a_datagram() {
    assert_eq!(channel_data::decode(&[0x40, 1, 0, 0]), Some(ChannelData { channel: 0x4001, payload: 4..4 }));
    let padded = [0x40, 1, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0];
    assert_eq!(channel_data::decode(&padded), Some(ChannelData { channel: 0x4001, payload: 4..9 }));
}

#[test]
fn channel_header_is_written_in_front_of_the_payload() {
    for len in 0..9 {
        let mut buffer = vec![0xEE; HEADROOM + len + TAILROOM];
        let payload = HEADROOM..HEADROOM + len;
        buffer[payload.clone()].fill(0xAB);
        let frame = channel_data::encode_in_place(&mut buffer, payload.clone(), 0x4ABC, Padding::None).unwrap();
        assert_eq!(frame, HEADROOM - 4..HEADROOM + len);
        assert_eq!(channel_data::decode(&buffer[frame]), Some(ChannelData { channel: 0x4ABC, payload: 4..4 + len }));
        assert!(buffer[HEADROOM + len..].iter().all(|byte| *byte == 0xEE));

        let frame = channel_data::encode_in_place(&mut buffer, payload.clone(), 0x4ABC, Padding::ToFour).unwrap();
        let padded_bytes = 4 + len.next_multiple_of(4);
        assert_eq!(frame_stream(&buffer[frame]), Frame::ChannelData { bytes: 4 + len, padded_bytes });
        assert!(buffer[payload].iter().all(|byte| *byte == 0xAB));
        assert!(buffer[HEADROOM + len..HEADROOM + len.next_multiple_of(4)].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn data_indication_in_place_has_the_bytes_that_the_writer_writes() {
    for peer in [v4(), v6()] {
        for len in [0, 1, 2, 3, 4, 5, 172, 1212] {
            let mut buffer = vec![0xEE; HEADROOM + len + TAILROOM];
            let payload = HEADROOM..HEADROOM + len;
            buffer[payload.clone()].fill(0xAB);
            let data = vec![0xAB; len];
            let expected = write(
                Class::Indication,
                Method::Data,
                &[Attribute::XorPeerAddress(peer), Attribute::Data(&data)],
                OPEN,
            );
            let frame = data_indication::encode_in_place(&mut buffer, payload, peer, TRANSACTION_ID).unwrap();
            assert_eq!(buffer[frame], expected);
        }
    }
}

#[test]
fn header_without_room_is_not_written() {
    let mut buffer = vec![0xEE; 64];
    let before = buffer.clone();
    assert_eq!(channel_data::encode_in_place(&mut buffer, 3..10, 0x4000, Padding::None), None);
    assert_eq!(channel_data::encode_in_place(&mut buffer, 10..63, 0x4000, Padding::ToFour), None);
    assert_eq!(channel_data::encode_in_place(&mut buffer, 10..65, 0x4000, Padding::None), None);
    assert_eq!(data_indication::encode_in_place(&mut buffer, 35..40, v4(), TRANSACTION_ID), None);
    assert_eq!(data_indication::encode_in_place(&mut buffer, 47..50, v6(), TRANSACTION_ID), None);
    assert_eq!(data_indication::encode_in_place(&mut buffer, 49..64, v6(), TRANSACTION_ID), None);
    assert_eq!(buffer, before);
    assert!(data_indication::encode_in_place(&mut buffer, 36..40, v4(), TRANSACTION_ID).is_some());
    assert!(data_indication::encode_in_place(&mut buffer, 48..64, v6(), TRANSACTION_ID).is_some());
}

#[test]
fn payload_too_long_for_its_length_field_is_not_framed() {
    let mut buffer = vec![0; 64 + 65_600];
    assert!(channel_data::encode_in_place(&mut buffer, 64..64 + 65_535, 0x4000, Padding::None).is_some());
    assert!(channel_data::encode_in_place(&mut buffer, 64..64 + 65_536, 0x4000, Padding::None).is_none());
    let fits = 65_532 - 4 - 8 - 4;
    let frame = data_indication::encode_in_place(&mut buffer, 64..64 + fits, v4(), TRANSACTION_ID).unwrap();
    assert!(Message::decode(&buffer[frame]).is_ok());
    assert!(data_indication::encode_in_place(&mut buffer, 64..64 + fits + 1, v4(), TRANSACTION_ID).is_none());
}
