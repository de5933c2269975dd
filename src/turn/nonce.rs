//! Nonces that need no memory: whoever holds a secret can tell one of ours, when it was made and for whom.
//!
//! ```text
//! obMatJos2 | feature bits, 4 base64 characters | issue time, 6 base64url characters | MAC, 20 base64url characters
//! ```
//! The first 13 characters are the nonce cookie of RFC 8489 section 9.2. The issue time is Unix seconds in 32 bits, in
//! clear, so that a client can tell skewed clocks apart from a stale nonce. The MAC is HMAC-SHA256, cut to 15 bytes, over
//! issue time, feature bits, transport, client address and port. Our own address is not in it: a nonce survives
//! ALTERNATE-SERVER among edges that share secrets.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::io::Transport;
use crate::limits::{NONCE_CHARS, NONCE_KEYS_MAX, NONCE_LIFETIME_SECS, NONCE_SKEW_SECS};

/// Nine characters by which a client knows that feature bits follow (RFC 8489 section 9.2).
const COOKIE: &[u8; 9] = b"obMatJos2";
const FEATURES_END: usize = COOKIE.len() + 4;
const TIME_END: usize = FEATURES_END + 6;
const MAC_BYTES: usize = 15;
const _: () = assert!(TIME_END + MAC_BYTES * 4 / 3 == NONCE_CHARS);

/// Derives the nonce key from a secret, apart from every other use of it.
const LABEL: &[u8] = b"postern nonce key 1";

/// The 24 feature bits of the nonce cookie (RFC 8489 section 18.1); bit 0 is the leftmost on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u32);

impl Features {
    /// PASSWORD-ALGORITHMS is sent with each 401 and 438, and must come back.
    pub const PASSWORD_ALGORITHMS: Self = Self(0x80_0000);
    /// USERHASH is accepted in place of USERNAME.
    pub const USERNAME_ANONYMITY: Self = Self(0x40_0000);

    /// Both sets together.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn to_bytes(self) -> [u8; 3] {
        let [_, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    fn from_bytes([a, b, c]: [u8; 3]) -> Self {
        Self(u32::from_be_bytes([0, a, b, c]))
    }
}

/// What a received nonce is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceVerdict {
    /// Ours, made for this client, and in time; with the feature bits that it was issued with.
    Fresh(Features),
    /// 438 with a new nonce.
    Stale(StaleReason),
}

/// Why a nonce is not accepted; for counters, the wire answer is 438 for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// Not of the form that we issue (empty included).
    Form,
    /// Another secret, another address or port, or made up.
    Mac,
    /// Older than [`NONCE_LIFETIME_SECS`].
    Expired,
    /// Issued further in the future than [`NONCE_SKEW_SECS`].
    Future,
}

/// Makes and judges nonces with keys derived from the configured secrets: the first makes, all verify.
#[derive(Clone)]
pub struct NonceKeys {
    /// Keyed HMAC states; wiped when dropped (feature `zeroize` of the hash crates).
    states: Vec<Hmac<Sha256>>,
}

impl NonceKeys {
    /// Derives one key per secret; at most [`NONCE_KEYS_MAX`] are used. Without a secret nothing verifies, and what is
    /// issued is stale at once.
    pub fn new(secrets: &[&[u8]]) -> Self {
        let states = secrets.iter().take(NONCE_KEYS_MAX).filter_map(|secret| {
            let mut derivation = keyed(secret)?;
            derivation.update(LABEL);
            keyed(&derivation.finalize().into_bytes())
        });
        Self { states: states.collect() }
    }

    /// A nonce for one client; ASCII, and nothing that needs quoting.
    pub fn issue(
        &self,
        unix_secs: u64,
        features: Features,
        transport: Transport,
        client: SocketAddr,
    ) -> [u8; NONCE_CHARS] {
        let issue_time = (unix_secs as u32).to_be_bytes();
        let mac =
            self.states.first().map(|state| mac(state, issue_time, features, transport, client)).unwrap_or_default();
        let mut nonce = [0; NONCE_CHARS];
        nonce[..COOKIE.len()].copy_from_slice(COOKIE);
        // The three slices have exactly the length of what is encoded: encoding cannot fail.
        let encoded = STANDARD_NO_PAD.encode_slice(features.to_bytes(), &mut nonce[COOKIE.len()..FEATURES_END]);
        debug_assert_eq!(encoded.ok(), Some(4));
        let encoded = URL_SAFE_NO_PAD.encode_slice(issue_time, &mut nonce[FEATURES_END..TIME_END]);
        debug_assert_eq!(encoded.ok(), Some(6));
        let encoded = URL_SAFE_NO_PAD.encode_slice(mac, &mut nonce[TIME_END..]);
        debug_assert_eq!(encoded.ok(), Some(20));
        nonce
    }

    /// Judges a nonce as it was received. Tries every key whatever the others say; costs one short HMAC per key.
    pub fn verify(&self, nonce: &[u8], unix_secs: u64, transport: Transport, client: SocketAddr) -> NonceVerdict {
        let Some(parts) = Parts::decode(nonce) else {
            return NonceVerdict::Stale(StaleReason::Form);
        };
        let matched = self.states.iter().fold(Choice::from(0), |matched, state| {
            matched | mac(state, parts.issue_time, parts.features, transport, client).ct_eq(&parts.mac)
        });
        if !bool::from(matched) {
            return NonceVerdict::Stale(StaleReason::Mac);
        }
        let issued = u64::from(u32::from_be_bytes(parts.issue_time));
        if issued > unix_secs + NONCE_SKEW_SECS {
            NonceVerdict::Stale(StaleReason::Future)
        } else if unix_secs >= issued + NONCE_LIFETIME_SECS {
            NonceVerdict::Stale(StaleReason::Expired)
        } else {
            NonceVerdict::Fresh(parts.features)
        }
    }
}

impl std::fmt::Debug for NonceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NonceKeys({} keys)", self.states.len())
    }
}

/// Issue time of a nonce that looks like ours, in Unix seconds: readable without a key. `None` for others' nonces.
pub fn issue_time(nonce: &str) -> Option<u64> {
    Parts::decode(nonce.as_bytes()).map(|parts| u64::from(u32::from_be_bytes(parts.issue_time)))
}

/// Feature bits of any nonce that begins with the nonce cookie, whoever issued it (RFC 8489 section 9.2).
pub fn features(nonce: &[u8]) -> Option<Features> {
    let rest = nonce.strip_prefix(COOKIE)?.get(..4)?;
    decode_base64(&STANDARD_NO_PAD, rest).map(Features::from_bytes)
}

struct Parts {
    features: Features,
    issue_time: [u8; 4],
    mac: [u8; MAC_BYTES],
}

impl Parts {
    fn decode(nonce: &[u8]) -> Option<Self> {
        let nonce: &[u8; NONCE_CHARS] = nonce.try_into().ok()?;
        Some(Self {
            features: features(nonce)?,
            issue_time: decode_base64(&URL_SAFE_NO_PAD, &nonce[FEATURES_END..TIME_END])?,
            mac: decode_base64(&URL_SAFE_NO_PAD, &nonce[TIME_END..])?,
        })
    }
}

fn decode_base64<const N: usize>(engine: &impl Engine, text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (engine.decode_slice(text, &mut bytes).ok()? == N).then_some(bytes)
}

fn keyed(key: &[u8]) -> Option<Hmac<Sha256>> {
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).ok()
}

fn mac(
    keyed: &Hmac<Sha256>,
    issue_time: [u8; 4],
    features: Features,
    transport: Transport,
    client: SocketAddr,
) -> [u8; MAC_BYTES] {
    let mut mac = keyed.clone();
    mac.update(&issue_time);
    mac.update(&features.to_bytes());
    mac.update(&[transport_byte(transport)]);
    // An IPv4 client looks the same whether its listener is a dual-stack one or not.
    match client.ip().to_canonical() {
        IpAddr::V4(ip) => {
            mac.update(&[4]);
            mac.update(&ip.octets());
        }
        IpAddr::V6(ip) => {
            mac.update(&[6]);
            mac.update(&ip.octets());
        }
    }
    mac.update(&client.port().to_be_bytes());
    let mut cut = [0; MAC_BYTES];
    cut.copy_from_slice(&mac.finalize().into_bytes()[..MAC_BYTES]);
    cut
}

fn transport_byte(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
        Transport::Tls => 3,
        Transport::Dtls => 4,
    }
}
