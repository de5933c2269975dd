//! Where one message ends and the next begins, on streams and in datagrams (RFC 8489 section 6.2.2, RFC 8656 section 12.5).

use crate::channel_data::CHANNEL_NUMBERS;
use crate::limits::{CHANNEL_HEADER_BYTES, HEADER_BYTES};
use crate::message::{MAGIC_COOKIE, padded};

/// What a stream's buffered bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// So far right; more bytes are needed. `bytes` is the length of the whole frame where its head tells it, so that a
    /// caller can refuse what it does not want to hold.
    Incomplete { bytes: Option<usize> },
    /// A STUN message of `bytes`, header included. What is inside is not judged.
    Stun { bytes: usize },
    /// A ChannelData message of `bytes`, header included; `padded_bytes` are to be taken from the stream.
    ChannelData { bytes: usize, padded_bytes: usize },
    /// No frame can begin so; a stream never recovers from it and must be closed.
    Invalid,
}

/// Says what the first frame of a stream is. Judges as early as the bytes allow: a wrong top bit, channel number, length
/// or cookie is told as soon as it is there.
pub fn frame_stream(bytes: &[u8]) -> Frame {
    let Some(&first) = bytes.first() else {
        return Frame::Incomplete { bytes: None };
    };
    match first >> 6 {
        0b00 => frame_stun(bytes),
        0b01 => frame_channel_data(bytes, first),
        _ => Frame::Invalid,
    }
}

fn frame_stun(bytes: &[u8]) -> Frame {
    let Some(&[_, _, high, low]) = bytes.first_chunk::<4>() else {
        return Frame::Incomplete { bytes: None };
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let cookie_so_far = &bytes[4..bytes.len().min(8)];
    if length % 4 != 0 || !MAGIC_COOKIE.starts_with(cookie_so_far) {
        return Frame::Invalid;
    }
    let whole = HEADER_BYTES + length;
    if bytes.len() < whole { Frame::Incomplete { bytes: Some(whole) } } else { Frame::Stun { bytes: whole } }
}

fn frame_channel_data(bytes: &[u8], first: u8) -> Frame {
    if !CHANNEL_NUMBERS.contains(&u16::from_be_bytes([first, 0])) {
        return Frame::Invalid;
    }
    let Some(&[_, _, high, low]) = bytes.first_chunk::<CHANNEL_HEADER_BYTES>() else {
        return Frame::Incomplete { bytes: None };
    };
    let whole = CHANNEL_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    let padded_bytes = padded(whole);
    if bytes.len() < padded_bytes {
        Frame::Incomplete { bytes: Some(padded_bytes) }
    } else {
        Frame::ChannelData { bytes: whole, padded_bytes }
    }
}

/// What a datagram claims to be, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// Top bits 00 and the cookie in place: hand it to [`Message::decode`](crate::message::Message::decode).
    Stun,
    /// First byte 0x40 to 0x4F: hand it to [`channel_data::decode`](crate::channel_data::decode).
    ChannelData,
    /// Neither: dropped.
    Other,
}

/// Tells STUN, ChannelData and anything else apart (RFC 7983 section 7). A few compares, nothing is walked.
#[inline]
pub fn classify_datagram(bytes: &[u8]) -> Datagram {
    match bytes.first() {
        Some(0x40..=0x4F) => Datagram::ChannelData,
        Some(0x00..=0x3F) if bytes.get(4..8) == Some(&MAGIC_COOKIE) => Datagram::Stun,
        _ => Datagram::Other,
    }
}
