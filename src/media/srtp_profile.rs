//! SRTP protection profiles and master keys (RFC 3711, 4568, 5764, 7714).

use std::fmt;

use zeroize::Zeroizing;

/// How SRTP protects packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    Aes128CmHmacSha1_80,
    Aes128CmHmacSha1_32,
    Aes256CmHmacSha1_80,
    Aes256CmHmacSha1_32,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

impl SrtpProfile {
    /// Every profile, in the order in which we prefer them.
    pub const ALL: &'static [Self] = &[
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::Aes128CmHmacSha1_80,
        Self::Aes256CmHmacSha1_80,
        Self::Aes128CmHmacSha1_32,
        Self::Aes256CmHmacSha1_32,
    ];

    /// Bytes of the master key.
    pub fn key_bytes(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 | Self::Aes128CmHmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::Aes256CmHmacSha1_80 | Self::Aes256CmHmacSha1_32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub fn salt_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            _ => 14,
        }
    }

    /// Crypto-suite name in `a=crypto` (RFC 4568 section 6.2, RFC 6188, RFC 7714 section 14.2).
    pub fn sdes_name(self) -> &'static str {
        match self {
            Self::Aes128CmHmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes128CmHmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Aes256CmHmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmHmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The profile of a crypto-suite name.
    pub fn from_sdes_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|profile| profile.sdes_name().eq_ignore_ascii_case(name))
    }
}

/// A master key and its salt, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    key: Zeroizing<Vec<u8>>,
    salt: Zeroizing<Vec<u8>>,
}

/// Key material does not have the length that its profile wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SRTP key material of {got} bytes where the profile wants {want}")]
pub struct KeyLength {
    pub want: usize,
    pub got: usize,
}

impl MasterKey {
    /// Key and salt in one piece, as `a=crypto` carries them (after base64).
    ///
    /// # Errors
    ///
    /// [`KeyLength`] when it is not key and salt of that profile.
    pub fn from_concatenated(profile: SrtpProfile, bytes: &[u8]) -> Result<Self, KeyLength> {
        let want = profile.key_bytes() + profile.salt_bytes();
        if bytes.len() != want {
            return Err(KeyLength { want, got: bytes.len() });
        }
        let (key, salt) = bytes.split_at(profile.key_bytes());
        Ok(Self { key: Zeroizing::new(key.to_vec()), salt: Zeroizing::new(salt.to_vec()) })
    }

    /// The master key alone.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The master salt alone.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Key and salt in one piece, for `a=crypto`.
    pub fn concatenated(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.key.len() + self.salt.len()));
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(&self.salt);
        bytes
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(_)")
    }
}

/// Keys of both directions from `a=crypto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdesKeying {
    pub profile: SrtpProfile,
    /// From our description: what we send is protected with it.
    pub local: MasterKey,
    /// From the peer's.
    pub remote: MasterKey,
}
