//! What can be told from a DTLS record's clear bytes.
//!
//! ```text
//!  0      1         3       5          11       13     14       17        19         22          25
//!  +------+---------+-------+----------+--------+------+--------+---------+----------+-----------+------
//!  | type | version | epoch | sequence | length | kind | length | message | fragment | fragment  | body
//!  |      |         |       |          |        |      |        | number  | offset   | length    |
//!  +------+---------+-------+----------+--------+------+--------+---------+----------+-----------+------
//!  record header (RFC 6347 section 4.1)         handshake header (section 4.2.2)
//! ```

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const KIND: usize = 13;
const BODY: usize = 25;

/// The random of a ServerHello that is really a HelloRetryRequest (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Whether a datagram begins with the first fragment of a ClientHello in clear.
pub(crate) fn begins_handshake(datagram: &[u8]) -> bool {
    let offset = datagram.get(19..22);
    clear_handshake(datagram) == Some(CLIENT_HELLO) && offset == Some(&[0, 0, 0]) && datagram.len() > BODY
}

/// Whether a datagram of ours shows that the client's address is proven: a handshake message that is no request to come
/// again with a cookie.
pub(crate) fn proves_address(datagram: &[u8]) -> bool {
    match clear_handshake(datagram) {
        None | Some(HELLO_VERIFY_REQUEST) => false,
        // After a version field.
        Some(SERVER_HELLO) => datagram.get(BODY + 2..BODY + 34) != Some(&RETRY_RANDOM),
        Some(_) => true,
    }
}

/// The kind of a handshake message in epoch 0; `None` for every other record.
fn clear_handshake(datagram: &[u8]) -> Option<u8> {
    match datagram {
        [HANDSHAKE, 0xfe, _, 0, 0, ..] => datagram.get(KIND).copied(),
        _ => None,
    }
}
