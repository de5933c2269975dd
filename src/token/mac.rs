//! The keyed hashes behind every password, and how keys for other purposes are derived from a secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Label of the key that signs extended usernames.
pub const LABEL_EXTENDED: &[u8] = b"postern\0extended token\0v1";

/// Label of the key for usernames of no known form: they must cost the same, and match nothing.
pub const LABEL_UNKNOWABLE: &[u8] = b"postern\0no such token\0v1";

/// A key for one purpose: HMAC-SHA256 of `label` under `secret`.
///
/// It is SHA-256 and not SHA-1 on purpose. Whoever shares a secret to issue classic tokens publishes
/// HMAC-SHA1(secret, username) as password, perhaps for a username that somebody else chose; were the derivation
/// the same function, a user named like a label would be told the derived key. The NUL bytes in our labels, which no
/// username holds, say the same thing once more.
pub fn derive(secret: &[u8], label: &[u8]) -> [u8; 32] {
    let mut mac = keyed::<Hmac<Sha256>>(secret);
    mac.update(label);
    mac.finalize().into_bytes().into()
}

/// An HMAC-SHA1 with its key already absorbed: a copy costs no hashing.
#[derive(Clone)]
pub(crate) struct PasswordKey(Hmac<Sha1>);

/// Base64 of the 20 bytes of an HMAC-SHA1.
pub(crate) const PASSWORD_CHARS: usize = 28;

impl PasswordKey {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(keyed(key))
    }

    pub(crate) fn derived(secret: &[u8], label: &[u8]) -> Self {
        Self::new(Zeroizing::new(derive(secret, label)).as_slice())
    }

    /// base64(HMAC-SHA1(key, username)), padded: 28 characters.
    pub(crate) fn password(&self, username: &[u8]) -> Zeroizing<[u8; PASSWORD_CHARS]> {
        let mut mac = self.0.clone();
        mac.update(username);
        let sum = Zeroizing::new(<[u8; 20]>::from(mac.finalize().into_bytes()));
        let mut text = Zeroizing::new([0; PASSWORD_CHARS]);
        // 20 bytes are always 28 characters, so that the slice is never too short.
        let written = STANDARD.encode_slice(sum.as_slice(), text.as_mut_slice());
        debug_assert_eq!(written, Ok(PASSWORD_CHARS));
        text
    }
}

/// HMAC takes keys of every length (RFC 2104), so that the error of the trait cannot occur.
fn keyed<M: KeyInit>(key: &[u8]) -> M {
    match M::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of every length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derived_key_matches_an_independent_hmac_sha256() {
        // printf 'postern\0extended token\0v1' | openssl dgst -sha256 -mac HMAC -macopt key:at-least-sixteen-bytes
        let want = "df26d089968a9c322c00ad97ff747dce0bb2177386d051330390eb83cbccb900";
        let got: String =
            derive(b"at-least-sixteen-bytes", LABEL_EXTENDED).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn a_classic_password_for_a_label_is_not_the_derived_key() {
        let secret = b"at-least-sixteen-bytes";
        let as_issued = PasswordKey::new(secret).password(LABEL_EXTENDED);
        let as_key = STANDARD.encode(&derive(secret, LABEL_EXTENDED)[..20]);
        assert_ne!(as_issued.as_slice(), as_key.as_bytes());
    }
}
