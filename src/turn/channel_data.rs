//! ChannelData messages (RFC 8656 section 12.4).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   channel number 0x4000-4FFF  |     length of the payload     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                   payload, padded to 4 bytes on streams       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::ops::{Range, RangeInclusive};

use crate::limits::CHANNEL_HEADER_BYTES;
use crate::message::padded;

/// Numbers that a channel can have (RFC 8656 section 12).
pub const CHANNEL_NUMBERS: RangeInclusive<u16> = 0x4000..=0x4FFF;

/// A ChannelData message inside a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelData {
    /// In [`CHANNEL_NUMBERS`].
    pub channel: u16,
    /// Where the payload lies in the buffer; may be empty.
    pub payload: Range<usize>,
}

/// Whether the padding to four bytes is written: on streams it must be, in datagrams it need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// The message ends with its payload.
    None,
    /// Zeros up to a multiple of four.
    ToFour,
}

/// Reads a ChannelData message that begins at the first byte. What follows the payload does not count: in a datagram it
/// is padding. `None` when the channel number is none or the length reaches beyond `bytes` (RFC 8656 section 12.6:
/// discarded).
#[inline]
pub fn decode(bytes: &[u8]) -> Option<ChannelData> {
    let &[a, b, c, d] = bytes.first_chunk::<CHANNEL_HEADER_BYTES>()?;
    let channel = u16::from_be_bytes([a, b]);
    let end = CHANNEL_HEADER_BYTES + usize::from(u16::from_be_bytes([c, d]));
    (CHANNEL_NUMBERS.contains(&channel) && end <= bytes.len())
        .then_some(ChannelData { channel, payload: CHANNEL_HEADER_BYTES..end })
}

/// Writes the header into the four bytes before `payload`, and zero padding behind it when asked for; returns the range
/// of the whole message. The payload does not move. `None` when headroom or tailroom is missing or the payload is longer
/// than 65,535 bytes; then nothing is written.
#[inline]
pub fn encode_in_place(
    buffer: &mut [u8],
    payload: Range<usize>,
    channel: u16,
    padding: Padding,
) -> Option<Range<usize>> {
    let start = payload.start.checked_sub(CHANNEL_HEADER_BYTES)?;
    let payload_len = payload.end.checked_sub(payload.start)?;
    let length = u16::try_from(payload_len).ok()?;
    let end = match padding {
        Padding::None => payload.end,
        Padding::ToFour => payload.start + padded(payload_len),
    };
    let frame = buffer.get_mut(start..end)?;
    frame[..2].copy_from_slice(&channel.to_be_bytes());
    frame[2..4].copy_from_slice(&length.to_be_bytes());
    frame[CHANNEL_HEADER_BYTES + payload_len..].fill(0);
    Some(start..end)
}
