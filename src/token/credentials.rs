//! The seam between a TURN server and whoever knows its users.

use ipnet::IpNet;
use zeroize::Zeroize;

/// Most keys a server verifies with at once; every one is tried for every request.
pub const KEYS_MAX: usize = 8;

/// Longest password in bytes (base64 of an HMAC-SHA1 is 28; the Lync form is 20 raw bytes).
pub const PASSWORD_BYTES_MAX: usize = 64;

/// A password of the long-term credential mechanism, as bytes.
#[derive(Clone)]
pub struct Password {
    bytes: [u8; PASSWORD_BYTES_MAX],
    len: u8,
}

impl Password {
    /// Copies at most [`PASSWORD_BYTES_MAX`] bytes; `None` when there are more.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut own = [0; PASSWORD_BYTES_MAX];
        own.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { bytes: own, len: bytes.len() as u8 })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Who a quota counts: the name behind a token, or the client's address where the token names nobody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    Name(String),
    /// The token is a bare expiry: the caller counts by client address (/32, /64).
    ClientAddress,
}

/// What a valid credential allows. Everything here narrows what the server's own settings allow, but `allocations_max`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub identity: Identity,
    /// Unix seconds; strict: at this second the credential is no longer valid.
    pub expires_unix_secs: u64,
    /// Id of the secret that made the credential.
    pub key_id: String,
    /// Only from extended tokens; lets a later token of the same key, identity and call refresh an allocation.
    pub call_id: Option<String>,
    /// Peers allowed, intersected with the server's policy; `None` is no narrowing.
    pub peers: Option<Vec<IpNet>>,
    /// Both directions together, bits per second of relayed payload.
    pub bitrate_bps: Option<u64>,
    /// Allocations that this identity may hold at once, instead of the default.
    pub allocations_max: Option<u32>,
    /// True for extended tokens, whose newer issue may refresh an older one's allocation.
    pub extended: bool,
}

/// Why a credential whose integrity matched is refused all the same; the wire answer is 401 for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Expired,
    /// The username is not of the form that its password was derived for.
    Malformed,
}

/// Finds passwords for usernames; implemented by [`crate::Verifier`].
///
/// The cost of [`passwords`](Self::passwords) must not depend on whether the username is known.
pub trait Credentials: Send + Sync {
    /// How many passwords [`passwords`](Self::passwords) fills in, whatever the username; 1 to [`KEYS_MAX`].
    fn candidates(&self) -> usize;

    /// Fills the passwords to try for `username` (raw bytes, as received), one per key, in key order.
    /// A username of no known form gets passwords that nobody can know.
    fn passwords(&self, username: &[u8], out: &mut [Option<Password>; KEYS_MAX]);

    /// What candidate number `index` of `username` allows, judged at `now_unix_secs`.
    fn grant(&self, username: &[u8], index: usize, now_unix_secs: u64) -> Result<Grant, Refused>;

    /// Whether USERHASH can be answered (RFC 8489 section 9.2): sets the nonce's feature bit.
    fn finds_by_hash(&self) -> bool {
        false
    }

    /// The username whose SHA-256 of `username ":" realm` is `hash`.
    fn username_by_hash(&self, _hash: &[u8; 32]) -> Option<Vec<u8>> {
        None
    }
}
