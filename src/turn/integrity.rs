//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 sections 14.5 and 14.6), and the keys for them (section 9).

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::attribute::AttributeType;
use crate::limits::HEADER_BYTES;

/// Fewest bytes of a MESSAGE-INTEGRITY-SHA256 that some usage may allow.
pub const SHA256_MAC_BYTES_MIN: usize = 16;

/// How the key is made from username, realm and password (RFC 8489 section 18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    /// What is meant when no algorithm is named; 16 bytes.
    Md5,
    /// 32 bytes.
    Sha256,
}

impl PasswordAlgorithm {
    /// The registered number.
    pub fn number(self) -> u16 {
        match self {
            Self::Md5 => 0x0001,
            Self::Sha256 => 0x0002,
        }
    }

    /// `None` for a number that we do not speak.
    pub fn from_number(number: u16) -> Option<Self> {
        match number {
            0x0001 => Some(Self::Md5),
            0x0002 => Some(Self::Sha256),
            _ => None,
        }
    }
}

/// Which of the two integrity attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegrityAlgorithm {
    /// MESSAGE-INTEGRITY: HMAC-SHA1, 20 bytes.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256: HMAC-SHA256, 32 bytes untruncated.
    Sha256,
}

impl IntegrityAlgorithm {
    /// Bytes of an untruncated value.
    pub fn mac_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The type of the attribute that carries it.
    pub fn attribute_type(self) -> AttributeType {
        match self {
            Self::Sha1 => AttributeType::MESSAGE_INTEGRITY,
            Self::Sha256 => AttributeType::MESSAGE_INTEGRITY_SHA256,
        }
    }

    /// HMAC over the joined parts; the first [`mac_bytes`](Self::mac_bytes) of the result count.
    pub(crate) fn mac(self, key: &IntegrityKey, parts: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        match self {
            Self::Sha1 => out[..20].copy_from_slice(&mac_of::<Hmac<Sha1>>(key, parts)),
            Self::Sha256 => out.copy_from_slice(&mac_of::<Hmac<Sha256>>(key, parts)),
        }
        out
    }
}

fn mac_of<M: Mac + KeyInit>(key: &IntegrityKey, parts: &[&[u8]]) -> hmac::digest::Output<M> {
    // HMAC takes keys of any length: the error arm is never taken, and would give a MAC that matches nothing.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key.as_bytes()) else {
        return Default::default();
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes()
}

/// A key for integrity attributes. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct IntegrityKey(KeyBytes);

#[derive(Clone)]
enum KeyBytes {
    /// Long-term: 16 bytes of MD5 or 32 of SHA-256.
    Hashed { bytes: [u8; 32], len: u8 },
    /// Short-term: the password itself.
    Password(Box<[u8]>),
}

impl IntegrityKey {
    /// Key of the long-term mechanism: hash of `username ":" realm ":" password` (RFC 8489 section 9.2.2). Realm and
    /// password are taken as they are: prepare them first where they come from people (see
    /// [`opaque_string`](crate::opaque_string)). Costs one hash.
    pub fn long_term(algorithm: PasswordAlgorithm, username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        let parts = [username, b":", realm, b":", password];
        let mut bytes = [0; 32];
        let len = match algorithm {
            PasswordAlgorithm::Md5 => {
                bytes[..16].copy_from_slice(&hash_of::<Md5>(&parts));
                16
            }
            PasswordAlgorithm::Sha256 => {
                bytes.copy_from_slice(&hash_of::<Sha256>(&parts));
                32
            }
        };
        Self(KeyBytes::Hashed { bytes, len })
    }

    /// Key of the short-term mechanism: the prepared password itself (RFC 8489 section 9.1.1).
    pub fn short_term(password: &[u8]) -> Self {
        Self(KeyBytes::Password(password.into()))
    }

    /// The key as HMAC takes it.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            KeyBytes::Hashed { bytes, len } => &bytes[..usize::from(*len)],
            KeyBytes::Password(bytes) => bytes,
        }
    }
}

impl Drop for IntegrityKey {
    fn drop(&mut self) {
        match &mut self.0 {
            KeyBytes::Hashed { bytes, .. } => bytes.zeroize(),
            KeyBytes::Password(bytes) => bytes.zeroize(),
        }
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntegrityKey(..)")
    }
}

/// USERHASH: SHA-256 of `username ":" realm` (RFC 8489 section 14.4). Both prepared.
pub fn userhash(username: &[u8], realm: &[u8]) -> [u8; 32] {
    hash_of::<Sha256>(&[username, b":", realm]).into()
}

fn hash_of<D: Digest>(parts: &[&[u8]]) -> hmac::digest::Output<D> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize()
}

/// An integrity attribute of a received message with the bytes that it covers, not yet judged.
#[derive(Clone, Copy, Debug)]
pub struct Integrity<'a> {
    algorithm: IntegrityAlgorithm,
    /// From the message's first byte to the attribute's type field, exclusive.
    covered: &'a [u8],
    mac: &'a [u8],
}

impl<'a> Integrity<'a> {
    pub(crate) fn new(algorithm: IntegrityAlgorithm, covered: &'a [u8], mac: &'a [u8]) -> Self {
        Self { algorithm, covered, mac }
    }

    /// Which attribute it is: the answer carries the same (RFC 8489 section 9.2.4).
    pub fn algorithm(&self) -> IntegrityAlgorithm {
        self.algorithm
    }

    /// Whether the value is right and whole: 20 or 32 bytes. TURN allows no truncation, so a shorter
    /// MESSAGE-INTEGRITY-SHA256 does not match. Constant time for a given length; costs one HMAC.
    pub fn matches(&self, key: &IntegrityKey) -> bool {
        self.mac.len() == self.algorithm.mac_bytes() && self.matches_prefix(key)
    }

    /// Like [`matches`](Self::matches) for usages that allow a MESSAGE-INTEGRITY-SHA256 cut to `bytes_min` or more
    /// (RFC 8489 section 14.6: 16 to 32 bytes in steps of 4).
    pub fn matches_truncated(&self, key: &IntegrityKey, bytes_min: usize) -> bool {
        let len = self.mac.len();
        let fits = match self.algorithm {
            IntegrityAlgorithm::Sha1 => len == self.algorithm.mac_bytes(),
            IntegrityAlgorithm::Sha256 => {
                (bytes_min.max(SHA256_MAC_BYTES_MIN)..=32).contains(&len) && len.is_multiple_of(4)
            }
        };
        fits && self.matches_prefix(key)
    }

    fn matches_prefix(&self, key: &IntegrityKey) -> bool {
        let Some((header, rest)) = self.covered.split_first_chunk::<4>() else {
            return false;
        };
        // The MAC was made when the attribute was the last one: the length field counted up to its end.
        let length = self.covered.len() + 4 + self.mac.len().next_multiple_of(4) - HEADER_BYTES;
        let Ok(length) = u16::try_from(length) else {
            return false;
        };
        let expected = self.algorithm.mac(key, &[&header[..2], &length.to_be_bytes(), rest]);
        expected.get(..self.mac.len()).is_some_and(|expected| expected.ct_eq(self.mac).into())
    }
}
