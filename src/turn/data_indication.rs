//! Data indications, written in front of a payload where it lies (RFC 8656 section 11.4).
//!
//! ```text
//! | STUN header, 20 | XOR-PEER-ADDRESS, 4 + 8 or 20 | DATA head, 4 | payload ... | padding to 4 |
//! ```

use std::net::SocketAddr;
use std::ops::Range;

use crate::address;
use crate::attribute::AttributeType;
use crate::io::HEADROOM;
use crate::limits::HEADER_BYTES;
use crate::message::{Class, Method, TransactionId, message_type, padded};

/// Bytes before the payload with an IPv6 peer.
pub const HEAD_BYTES_MAX: usize = HEADER_BYTES + 4 + address::ADDRESS_BYTES_MAX + 4;

const _: () = assert!(HEAD_BYTES_MAX <= HEADROOM);

/// Writes header, peer address and DATA's head into the bytes before `payload` and zero padding behind it; returns the
/// range of the whole message. The payload does not move.
///
/// Needs 36 bytes of headroom for an IPv4 peer, 48 for IPv6, and up to 3 of tailroom. `None` when they are missing or
/// the message would be too long; then nothing is written. The transaction id is the caller's, drawn at random.
#[inline]
pub fn encode_in_place(
    buffer: &mut [u8],
    payload: Range<usize>,
    peer: SocketAddr,
    transaction_id: TransactionId,
) -> Option<Range<usize>> {
    let (peer_bytes, peer_len) = address::xor_bytes(peer, &transaction_id);
    let head_len = HEADER_BYTES + 4 + peer_len + 4;
    let start = payload.start.checked_sub(head_len)?;
    let payload_len = payload.end.checked_sub(payload.start)?;
    let end = payload.start + padded(payload_len);
    let length = u16::try_from(end - start - HEADER_BYTES).ok()?;
    let frame = buffer.get_mut(start..end)?;

    let (head, data) = frame.split_at_mut(head_len);
    head[..2].copy_from_slice(&message_type(Class::Indication, Method::Data).to_be_bytes());
    head[2..4].copy_from_slice(&length.to_be_bytes());
    head[4..HEADER_BYTES].copy_from_slice(&transaction_id.0);
    let attributes = &mut head[HEADER_BYTES..];
    attributes[..2].copy_from_slice(&AttributeType::XOR_PEER_ADDRESS.0.to_be_bytes());
    attributes[2..4].copy_from_slice(&(peer_len as u16).to_be_bytes());
    attributes[4..4 + peer_len].copy_from_slice(&peer_bytes[..peer_len]);
    attributes[4 + peer_len..6 + peer_len].copy_from_slice(&AttributeType::DATA.0.to_be_bytes());
    attributes[6 + peer_len..].copy_from_slice(&(payload_len as u16).to_be_bytes());
    data[payload_len..].fill(0);
    Some(start..end)
}
