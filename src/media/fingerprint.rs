//! Certificate fingerprints as `a=fingerprint` carries them (RFC 8122 section 5).

use std::fmt;
use std::str::FromStr;

use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

/// Hash function of a fingerprint. MD5 and MD2, which RFC 8122 forbids, are not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FingerprintHash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl FingerprintHash {
    const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha224 => "sha-224",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    fn digest(self, der: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(der).to_vec(),
            Self::Sha224 => Sha224::digest(der).to_vec(),
            Self::Sha256 => Sha256::digest(der).to_vec(),
            Self::Sha384 => Sha384::digest(der).to_vec(),
            Self::Sha512 => Sha512::digest(der).to_vec(),
        }
    }
}

/// The hash of one certificate in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    hash: FingerprintHash,
    digest: Vec<u8>,
}

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(hash: FingerprintHash, der: &[u8]) -> Self {
        Self { hash, digest: hash.digest(der) }
    }

    /// Which hash function it uses.
    pub fn hash(&self) -> FingerprintHash {
        self.hash
    }

    /// Whether it is this certificate's, in constant time.
    pub fn matches(&self, der: &[u8]) -> bool {
        self.hash.digest(der).ct_eq(&self.digest).into()
    }
}

/// The value of `a=fingerprint`: `sha-256 AA:BB:...`.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.name())?;
        for (i, byte) in self.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// Not the value of an `a=fingerprint` line, or of a hash that we do not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate fingerprint with SHA-1 or SHA-2")]
pub struct BadFingerprint;

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let (name, hex) = text.trim().split_once(' ').ok_or(BadFingerprint)?;
        let hash = FingerprintHash::ALL
            .into_iter()
            .find(|hash| hash.name().eq_ignore_ascii_case(name))
            .ok_or(BadFingerprint)?;
        let mut digest = Vec::with_capacity(64);
        for pair in hex.trim().split(':') {
            let bytes = pair.as_bytes();
            if bytes.len() != 2 || !bytes.iter().all(u8::is_ascii_hexdigit) || digest.len() == 64 {
                return Err(BadFingerprint);
            }
            digest.push(u8::from_str_radix(pair, 16).map_err(|_| BadFingerprint)?);
        }
        if digest.len() != hash.digest(&[]).len() {
            return Err(BadFingerprint);
        }
        Ok(Self { hash, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_survives_its_text() {
        for hash in FingerprintHash::ALL {
            let fingerprint = Fingerprint::of(hash, b"certificate");
            let parsed: Fingerprint = fingerprint.to_string().to_lowercase().parse().unwrap();
            assert_eq!(parsed, fingerprint);
            assert!(parsed.matches(b"certificate"));
            assert!(!parsed.matches(b"certificatf"));
        }
    }

    #[test]
    fn other_hashes_and_wrong_lengths_are_refused() {
        for text in ["", "sha-256", "md5 00", "sha-256 00:11", "sha-1 0:1", "sha-1 +1:00", "sha-1 ää:00"] {
            assert_eq!(text.parse::<Fingerprint>(), Err(BadFingerprint), "{text}");
        }
    }
}
