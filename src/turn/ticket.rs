//! Mobility tickets (RFC 8016 section 3): sealed, opaque to the client, bound to its holder.
//!
//! ```text
//! seal, 16 bytes | serial of the allocation and number of the ticket, 12 bytes, encrypted
//! ```
//! The seal is a MAC over the content and the holder's name, and the nonce of the encryption: a synthetic
//! initialisation vector, so that no randomness is needed and no two contents share a key stream.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

const SEAL_BYTES: usize = 16;
const CONTENT_BYTES: usize = 12;

const SEALED_BYTES: usize = SEAL_BYTES + CONTENT_BYTES;

/// Bytes of a MOBILITY-TICKET of ours: base64url without padding, since coturn's client keeps tickets as C strings.
pub(crate) const TICKET_BYTES: usize = (SEALED_BYTES * 8).div_ceil(6);

/// Seals and opens the tickets of one process.
pub struct TicketKey([u8; 32]);

/// What a ticket says: which allocation, and the how-manieth of its tickets this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) serial: u64,
    pub(crate) number: u32,
}

impl TicketKey {
    /// `seed` is secret; other uses of it do not harm.
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(mac(seed, &[b"postern mobility ticket key 1"]))
    }

    pub(crate) fn seal(&self, ticket: Ticket, holder: &[u8]) -> [u8; TICKET_BYTES] {
        let mut content = [0; CONTENT_BYTES];
        content[..8].copy_from_slice(&ticket.serial.to_be_bytes());
        content[8..].copy_from_slice(&ticket.number.to_be_bytes());
        let seal = self.seal_of(&content, holder);
        self.crypt(&seal, &mut content);
        let mut sealed = [0; SEALED_BYTES];
        sealed[..SEAL_BYTES].copy_from_slice(&seal);
        sealed[SEAL_BYTES..].copy_from_slice(&content);
        let mut text = [0; TICKET_BYTES];
        let written = URL_SAFE_NO_PAD.encode_slice(sealed, &mut text);
        debug_assert_eq!(written.ok(), Some(TICKET_BYTES));
        text
    }

    /// `None`: not ours, changed, or another holder's.
    pub(crate) fn open(&self, sealed: &[u8], holder: &[u8]) -> Option<Ticket> {
        let (seal, content) = self.decrypt(sealed)?;
        let genuine = bool::from(self.seal_of(&content, holder).ct_eq(&seal));
        genuine.then(|| ticket_of(&content))
    }

    /// What a ticket says of which the seal was judged before.
    pub(crate) fn ticket_of(&self, sealed: &[u8]) -> Option<Ticket> {
        self.decrypt(sealed).map(|(_, content)| ticket_of(&content))
    }

    fn decrypt(&self, text: &[u8]) -> Option<([u8; SEAL_BYTES], [u8; CONTENT_BYTES])> {
        let text: &[u8; TICKET_BYTES] = text.try_into().ok()?;
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (seal, rest) = sealed.split_first_chunk::<SEAL_BYTES>()?;
        let mut content = rest.try_into().ok()?;
        self.crypt(seal, &mut content);
        Some((*seal, content))
    }

    fn seal_of(&self, content: &[u8; CONTENT_BYTES], holder: &[u8]) -> [u8; SEAL_BYTES] {
        let mut seal = [0; SEAL_BYTES];
        seal.copy_from_slice(&mac(&self.0, &[b"seal", content, holder])[..SEAL_BYTES]);
        seal
    }

    fn crypt(&self, seal: &[u8; SEAL_BYTES], content: &mut [u8; CONTENT_BYTES]) {
        for (byte, mask) in content.iter_mut().zip(mac(&self.0, &[b"mask", seal])) {
            *byte ^= mask;
        }
    }
}

impl Drop for TicketKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(..)")
    }
}

fn ticket_of(content: &[u8; CONTENT_BYTES]) -> Ticket {
    let [a, b, c, d, e, f, g, h, number @ ..] = *content;
    Ticket { serial: u64::from_be_bytes([a, b, c, d, e, f, g, h]), number: u32::from_be_bytes(number) }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length: the error arm is never taken.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Ticket = Ticket { serial: 7 << 48 | 1, number: 3 };

    #[test]
    fn a_ticket_opens_for_its_user_only() {
        let key = TicketKey::new(&[1; 32]);
        let sealed = key.seal(TICKET, b"alice");
        assert_eq!(key.open(&sealed, b"alice"), Some(TICKET));
        assert_eq!(key.open(&sealed, b"mallory"), None);
        assert_eq!(TicketKey::new(&[2; 32]).open(&sealed, b"alice"), None);
    }

    #[test]
    fn a_ticket_that_was_touched_does_not_open() {
        let key = TicketKey::new(&[1; 32]);
        let sealed = key.seal(TICKET, b"alice");
        for at in 0..sealed.len() {
            let mut other = sealed;
            other[at] ^= 1;
            assert_eq!(key.open(&other, b"alice"), None);
        }
        assert_eq!(key.open(&sealed[1..], b"alice"), None);
        assert_eq!(key.open(&[], b"alice"), None);
    }

    #[test]
    fn a_ticket_is_text_without_a_nul() {
        let sealed = TicketKey::new(&[1; 32]).seal(TICKET, b"alice");
        assert!(sealed.iter().all(u8::is_ascii_graphic));
    }

    #[test]
    fn the_content_cannot_be_read_off() {
        let key = TicketKey::new(&[1; 32]);
        let sealed = key.seal(TICKET, b"alice");
        assert!(!sealed.windows(8).any(|window| window == TICKET.serial.to_be_bytes()));
    }
}
