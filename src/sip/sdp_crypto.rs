//! a=crypto: keys of SRTP in the session description (RFC 4568; suites of RFC 6188 and RFC 7714).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::{Zeroize, Zeroizing};

use crate::limits::{SDP_CRYPTO_BYTES_MAX, SDP_MKI_BYTES_MAX};

/// One a=crypto line that could be used as it stands; lines with suites, methods or mandatory parameters that we do not
/// know are skipped when read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CryptoLine {
    /// Names the line in the answer.
    pub tag: u32,
    pub suite: CryptoSuite,
    /// What the side that writes it sends with.
    pub key: MasterKey,
    /// `2^31` or a count of packets, as on the wire.
    pub lifetime: Option<String>,
    pub mki: Option<KeyIdentifier>,
}

/// Master key identifier that each packet of the writer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIdentifier {
    pub value: u64,
    /// Bytes it takes in a packet.
    pub length_bytes: u8,
}

/// Cipher and authentication of SRTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CryptoSuite {
    AesCm128HmacSha1_80,
    AesCm128HmacSha1_32,
    AesCm256HmacSha1_80,
    AesCm256HmacSha1_32,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

/// Master key and master salt. Never shown by `Debug`, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(Zeroizing<Vec<u8>>);

impl CryptoLine {
    /// `1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^31|1:4 WSH=64`
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split_ascii_whitespace();
        let tag = parts.next()?.parse().ok()?;
        let suite = CryptoSuite::parse(parts.next()?)?;
        let parameters = parts.next()?.strip_prefix("inline:")?;
        // A window size hint changes nothing on the wire; any other parameter does (RFC 4568 section 6.3).
        if value.len() > SDP_CRYPTO_BYTES_MAX || parts.any(|parameter| !parameter.starts_with("WSH=")) {
            return None;
        }
        let mut fields = parameters.split('|');
        let key = MasterKey::decode(suite, fields.next()?)?;
        let (mut lifetime, mut mki) = (None, None);
        for field in fields {
            match field.split_once(':') {
                Some((value, length)) => {
                    let identifier = KeyIdentifier { value: value.parse().ok()?, length_bytes: length.parse().ok()? };
                    (1..=SDP_MKI_BYTES_MAX).contains(&identifier.length_bytes).then_some(())?;
                    mki = Some(identifier);
                }
                None => lifetime = Some(String::from(field)),
            }
        }
        Some(Self { tag, suite, key, lifetime, mki })
    }

    pub(crate) fn encode(&self, text: &mut String) {
        let mut key = STANDARD.encode(self.key.as_bytes());
        *text += &format!("a=crypto:{} {} inline:{key}", self.tag, self.suite.name());
        key.zeroize();
        if let Some(lifetime) = &self.lifetime {
            *text += &format!("|{lifetime}");
        }
        if let Some(KeyIdentifier { value, length_bytes }) = self.mki {
            *text += &format!("|{value}:{length_bytes}");
        }
        *text += "\r\n";
    }
}

impl CryptoSuite {
    /// Every suite, strongest authentication first.
    pub const ALL: [Self; 6] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm256HmacSha1_80,
        Self::AesCm128HmacSha1_80,
        Self::AesCm256HmacSha1_32,
        Self::AesCm128HmacSha1_32,
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AesCm256HmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Bytes of the master key.
    pub fn key_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AesCm256HmacSha1_80 | Self::AesCm256HmacSha1_32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub fn salt_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            _ => 14,
        }
    }
}

impl MasterKey {
    /// `bytes` is master key, then master salt, as long as `suite` wants them; `None` at any other length.
    pub fn new(suite: CryptoSuite, bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        (bytes.len() == suite.key_bytes() + suite.salt_bytes()).then_some(Self(bytes))
    }

    /// A key drawn for `suite`.
    pub(crate) fn of_suite(suite: CryptoSuite, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = Zeroizing::new(vec![0; suite.key_bytes() + suite.salt_bytes()]);
        fill(&mut bytes);
        Self(bytes)
    }

    // Peers leave the padding off.
    fn decode(suite: CryptoSuite, text: &str) -> Option<Self> {
        Self::new(suite, STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?)
    }

    /// Master key, then master salt.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Master key and master salt of `suite`, apart.
    pub fn split(&self, suite: CryptoSuite) -> (&[u8], &[u8]) {
        self.0.split_at(suite.key_bytes().min(self.0.len()))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}
