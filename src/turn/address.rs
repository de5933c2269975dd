//! Transport addresses on the wire, plain and XOR-ed (RFC 8489 sections 14.1 and 14.2).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   reserved    | family 1 or 2 |             port              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                    address, 4 or 16 bytes                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::io::Family;
use crate::message::TransactionId;

/// Family byte of an IPv4 address.
pub const FAMILY_V4: u8 = 1;
/// Family byte of an IPv6 address.
pub const FAMILY_V6: u8 = 2;

/// Longest encoded address.
pub const ADDRESS_BYTES_MAX: usize = 20;

/// Family byte of an address.
pub fn family_byte(family: Family) -> u8 {
    match family {
        Family::V4 => FAMILY_V4,
        Family::V6 => FAMILY_V6,
    }
}

/// Reads a plain address; `None` when family or length is wrong. The reserved byte does not count.
pub fn decode(value: &[u8]) -> Option<SocketAddr> {
    decode_masked(value, &[0; 16])
}

/// Reads an address that was XOR-ed with cookie and transaction id.
pub fn decode_xor(value: &[u8], transaction_id: &TransactionId) -> Option<SocketAddr> {
    decode_masked(value, &transaction_id.0)
}

/// Appends a plain address, 8 or 20 bytes.
pub fn encode(address: SocketAddr, out: &mut Vec<u8>) {
    let (bytes, len) = to_bytes(address, &[0; 16]);
    out.extend_from_slice(&bytes[..len]);
}

/// Appends an address XOR-ed with cookie and transaction id, 8 or 20 bytes.
pub fn encode_xor(address: SocketAddr, transaction_id: &TransactionId, out: &mut Vec<u8>) {
    let (bytes, len) = to_bytes(address, &transaction_id.0);
    out.extend_from_slice(&bytes[..len]);
}

/// The XOR-ed form in an array, with its length: for writers that own no `Vec`.
pub fn xor_bytes(address: SocketAddr, transaction_id: &TransactionId) -> ([u8; ADDRESS_BYTES_MAX], usize) {
    to_bytes(address, &transaction_id.0)
}

fn decode_masked(value: &[u8], mask: &[u8; 16]) -> Option<SocketAddr> {
    let (&[_, family, port_high, port_low], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([port_high ^ mask[0], port_low ^ mask[1]]);
    let ip = match family {
        FAMILY_V4 => IpAddr::V4(Ipv4Addr::from(masked::<4>(address.try_into().ok()?, mask))),
        FAMILY_V6 => IpAddr::V6(Ipv6Addr::from(masked::<16>(address.try_into().ok()?, mask))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn to_bytes(address: SocketAddr, mask: &[u8; 16]) -> ([u8; ADDRESS_BYTES_MAX], usize) {
    let mut bytes = [0; ADDRESS_BYTES_MAX];
    let [port_high, port_low] = address.port().to_be_bytes();
    bytes[2] = port_high ^ mask[0];
    bytes[3] = port_low ^ mask[1];
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes[1] = FAMILY_V4;
            bytes[4..8].copy_from_slice(&masked(ip.octets(), mask));
            (bytes, 8)
        }
        IpAddr::V6(ip) => {
            bytes[1] = FAMILY_V6;
            bytes[4..].copy_from_slice(&masked(ip.octets(), mask));
            (bytes, 20)
        }
    }
}

fn masked<const N: usize>(mut address: [u8; N], mask: &[u8; 16]) -> [u8; N] {
    for (byte, mask) in address.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    address
}
