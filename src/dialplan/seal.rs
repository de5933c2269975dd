//! Sealed decisions: what one hop found out, in a parameter of the Contact that it redirects to.
//!
//! ```text
//! base64url( version 1, issue time 4, purpose 1, reason 1, gateway, plan, mailbox, caller | MAC 16 )
//! ```
//! Times are Unix seconds, in network order; the four texts have one byte of length before them. The MAC is
//! HMAC-SHA256, cut to 16 bytes, over all before it. A seal says nothing that a gateway might not know, and is good
//! for 30 s with the gateway that it names, so that one who sees it gains nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use postern_sip::SipUri;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::limits::{SEAL_CHARS_MAX, SEAL_KEYS_MAX, SEAL_LIFETIME_SECS, SEAL_SKEW_SECS};
use crate::reason::CallReason;
use crate::rules::Purpose;

/// Name of the URI parameter.
pub const SEAL_PARAMETER: &str = "postern-call";

/// Derives the key from a secret, apart from every other use of it.
const LABEL: &[u8] = b"postern contact key 1";
/// The same, for the key by which a router in proxy mode knows its own Record-Route.
const ROUTE_LABEL: &[u8] = b"postern route key 1";
const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;

/// Keys that seal and open decisions: the first seals, all open. Without keys nothing is sealed and nothing believed.
#[derive(Clone, Default)]
pub struct Seals {
    keys: Vec<Hmac<Sha256>>,
}

impl std::fmt::Debug for Seals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seals({} keys)", self.keys.len())
    }
}

/// What a seal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) gateway: String,
    pub(crate) plan: String,
    pub(crate) purpose: Purpose,
    pub(crate) reason: CallReason,
    /// The caller's address in the plan, if there is one.
    pub(crate) caller: Option<String>,
}

impl Seals {
    /// Of these secrets, at most [`SEAL_KEYS_MAX`]; further ones are left out.
    pub fn new<S: AsRef<[u8]>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let key = |secret: S| keyed(derived(secret.as_ref(), LABEL).as_ref());
        Self { keys: secrets.into_iter().take(SEAL_KEYS_MAX).map(key).collect() }
    }

    /// `None` without keys, or when a text is too long to be carried.
    pub(crate) fn seal(&self, sealed: &Sealed, now_unix_secs: u64) -> Option<String> {
        let key = self.keys.first()?;
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&(now_unix_secs as u32).to_be_bytes());
        let (purpose, mailbox) = match &sealed.purpose {
            Purpose::CallAnswering { mailbox } => (0, mailbox.as_str()),
            Purpose::SubscriberAccess { mailbox: None } => (1, ""),
            Purpose::SubscriberAccess { mailbox: Some(mailbox) } => (2, mailbox.as_str()),
        };
        bytes.extend_from_slice(&[purpose, sealed.reason.to_byte()]);
        for text in [&sealed.gateway, &sealed.plan, mailbox, sealed.caller.as_deref().unwrap_or_default()] {
            bytes.push(u8::try_from(text.len()).ok()?);
            bytes.extend_from_slice(text.as_bytes());
        }
        let mac = mac_of(key, &bytes);
        bytes.extend_from_slice(&mac);
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What was sealed with one of our keys in the last [`SEAL_LIFETIME_SECS`]; all keys are tried, in constant time.
    pub(crate) fn open(&self, text: &str, now_unix_secs: u64) -> Option<Sealed> {
        if text.len() > SEAL_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        let ours = self.keys.iter().fold(Choice::from(0), |ours, key| ours | mac_of(key, body).ct_eq(mac));
        if !bool::from(ours) {
            return None;
        }
        let mut reader = Reader(body);
        let [version] = reader.array()?;
        let issued = u64::from(u32::from_be_bytes(reader.array()?));
        let now = u64::from(now_unix_secs as u32);
        let fresh = now < issued + SEAL_LIFETIME_SECS && issued <= now + SEAL_SKEW_SECS;
        if version != VERSION || !fresh {
            return None;
        }
        let [purpose, reason] = reader.array()?;
        let (gateway, plan, mailbox, caller) = (reader.text()?, reader.text()?, reader.text()?, reader.text()?);
        let purpose = match purpose {
            0 => Purpose::CallAnswering { mailbox },
            1 => Purpose::SubscriberAccess { mailbox: None },
            2 => Purpose::SubscriberAccess { mailbox: Some(mailbox) },
            _ => return None,
        };
        let caller = Some(caller).filter(|caller| !caller.is_empty());
        let reason = CallReason::from_byte(reason)?;
        reader.0.is_empty().then_some(Sealed { gateway, plan, purpose, reason, caller })
    }

    pub(crate) fn open_in(&self, uri: &SipUri, now_unix_secs: u64) -> Option<Sealed> {
        self.open(&uri.param(SEAL_PARAMETER)?, now_unix_secs)
    }
}

/// The key by which routers that share `secret` know each other's Record-Route, over a restart too.
pub fn route_key(secret: &[u8]) -> [u8; 32] {
    *derived(secret, ROUTE_LABEL)
}

fn derived(secret: &[u8], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derive = keyed(secret);
    derive.update(label);
    Zeroizing::new(derive.finalize().into_bytes().into())
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(secret) {
        Ok(key) => key,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

fn mac_of(key: &Hmac<Sha256>, bytes: &[u8]) -> [u8; MAC_BYTES] {
    let mut mac = key.clone();
    mac.update(bytes);
    let whole: [u8; 32] = mac.finalize().into_bytes().into();
    let mut cut = [0; MAC_BYTES];
    cut.copy_from_slice(&whole[..MAC_BYTES]);
    cut
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn text(&mut self) -> Option<String> {
        let [length] = self.array()?;
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}
