//! What an SDP says about DTLS: certificate fingerprints (RFC 8122) and who opens the association (RFC 4145, 5763).

use std::fmt;

/// a=fingerprint: the hash of the certificate that the peer will present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub hash: FingerprintHash,
    /// As many bytes as the hash has.
    pub digest: Vec<u8>,
}

/// Hash functions of a fingerprint that can be checked; MD5 and MD2 are not among them (RFC 8122 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FingerprintHash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// a=setup: which side opens the DTLS association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Will send the ClientHello.
    Active,
    /// Waits for it.
    Passive,
    /// Leaves the choice to the answerer.
    ActPass,
    /// Wants no association for now.
    HoldConn,
}

impl Fingerprint {
    /// `sha-256 4A:AD:B9:...`, digits in either case.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (name, digits) = value.split_once(' ')?;
        let hash = FingerprintHash::parse(name)?;
        let mut digest = Vec::with_capacity(hash.digest_bytes());
        for pair in digits.trim().split(':').take(hash.digest_bytes() + 1) {
            let plain = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            digest.push(plain.then(|| u8::from_str_radix(pair, 16).ok()).flatten()?);
        }
        (digest.len() == hash.digest_bytes()).then_some(Self { hash, digest })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.name())?;
        for (index, byte) in self.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

impl FingerprintHash {
    fn parse(name: &str) -> Option<Self> {
        let all = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];
        all.into_iter().find(|hash| hash.name().eq_ignore_ascii_case(name))
    }

    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha224 => "sha-224",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// Length of a digest in bytes.
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl Setup {
    pub(crate) fn parse(value: &str) -> Option<Self> {
        [Self::Active, Self::Passive, Self::ActPass, Self::HoldConn]
            .into_iter()
            .find(|setup| setup.name() == value.trim())
    }

    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
            Self::HoldConn => "holdconn",
        }
    }
}
