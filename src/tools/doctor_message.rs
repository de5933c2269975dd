//! STUN messages by `stun-rs`, so that the doctor does not share a mistake with the server's own codec.

use std::net::SocketAddr;

use stun_rs::attributes::StunAttribute;
use stun_rs::attributes::stun::{ErrorCode, Fingerprint, MessageIntegrity, Nonce, Realm, UserName, XorMappedAddress};
use stun_rs::{
    Algorithm, AlgorithmId, DecoderContextBuilder, HMACKey, MessageClass, MessageDecoderBuilder, MessageEncoderBuilder,
    MessageMethod, StunMessage, StunMessageBuilder,
};

use crate::doctor_failure::Failure;

/// Longest request that the doctor sends, with a username of full length (508 bytes) and a long realm and nonce.
const REQUEST_BYTES_MAX: usize = 2500;

/// What the doctor proves its right with.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// Realm and nonce of a 401 or 438.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
}

/// Credentials bound to a challenge: what signs a request.
#[derive(Clone)]
pub struct Signature {
    username: UserName,
    realm: Realm,
    nonce: Nonce,
    key: HMACKey,
}

impl Signature {
    /// Long-term credentials, MD5 key (RFC 8489 section 9.2.2).
    ///
    /// # Errors
    /// When a part is not what RFC 8489 allows in its attribute.
    pub fn new(credentials: &Credentials, challenge: &Challenge) -> Result<Self, Failure> {
        let bad = |what: &str| Failure::protocol(format!("{what} cannot be put into a STUN message"));
        let username = UserName::new(&credentials.username).map_err(|_| bad("the username"))?;
        let realm = Realm::new(&challenge.realm).map_err(|_| bad("the server's realm"))?;
        let nonce = Nonce::new(&challenge.nonce).map_err(|_| bad("the server's nonce"))?;
        let algorithm = Algorithm::from(AlgorithmId::MD5);
        let key = HMACKey::new_long_term(&username, &realm, &credentials.password, algorithm)
            .map_err(|_| bad("the password"))?;
        Ok(Self { username, realm, nonce, key })
    }

    pub fn key(&self) -> &HMACKey {
        &self.key
    }
}

/// A request or indication ready for the wire.
pub struct Outgoing {
    pub transaction: [u8; 12],
    pub bytes: Vec<u8>,
}

/// Encodes a message with a fresh transaction id; FINGERPRINT always ends it.
///
/// # Errors
/// When it would be longer than any request the doctor has reason to send.
pub fn encode(
    method: MessageMethod,
    class: MessageClass,
    attributes: Vec<StunAttribute>,
    signature: Option<&Signature>,
) -> Result<Outgoing, Failure> {
    let data_bytes: usize =
        attributes.iter().filter_map(|attribute| attribute.as_data().ok()).map(|data| data.as_bytes().len()).sum();
    let mut builder = StunMessageBuilder::new(method, class);
    for attribute in attributes {
        builder = builder.with_attribute(attribute);
    }
    if let Some(signature) = signature {
        builder = builder
            .with_attribute(signature.username.clone())
            .with_attribute(signature.realm.clone())
            .with_attribute(signature.nonce.clone())
            .with_attribute(MessageIntegrity::new(signature.key.clone()));
    }
    let message = builder.with_attribute(Fingerprint::default()).build();
    let mut bytes = vec![0; REQUEST_BYTES_MAX + data_bytes];
    let length = MessageEncoderBuilder::default()
        .build()
        .encode(&mut bytes, &message)
        .map_err(|error| Failure::protocol(format!("a request cannot be encoded: {error}")))?;
    bytes.truncate(length);
    Ok(Outgoing { transaction: *message.transaction_id().as_bytes(), bytes })
}

/// Decodes without judging integrity.
///
/// # Errors
/// When `stun-rs` does not take it for a STUN message.
pub fn decode(bytes: &[u8]) -> Result<StunMessage, Failure> {
    let (message, _) = MessageDecoderBuilder::default()
        .build()
        .decode(bytes)
        .map_err(|error| Failure::protocol(format!("an answer of the server is not STUN: {error}")))?;
    Ok(message)
}

/// Decodes a success answer whose MESSAGE-INTEGRITY must be there and right.
///
/// # Errors
/// When it is missing or wrong: whoever answered does not know the password.
pub fn decode_authenticated(bytes: &[u8], key: &HMACKey) -> Result<StunMessage, Failure> {
    let context = DecoderContextBuilder::default().with_key(key.clone()).with_validation().build();
    let (message, _) =
        MessageDecoderBuilder::default().with_context(context).build().decode(bytes).map_err(|error| {
            Failure::protocol(format!("an answer of the server fails its integrity check: {error}"))
        })?;
    // The decoder checks the attribute only where it is present.
    if message.get::<MessageIntegrity>().is_none() {
        return Err(Failure::protocol("a success answer of the server carries no MESSAGE-INTEGRITY"));
    }
    Ok(message)
}

/// The error code of an error answer; 0 where it carries none.
pub fn error_code(message: &StunMessage) -> u16 {
    message
        .get::<ErrorCode>()
        .and_then(|attribute| attribute.as_error_code().ok())
        .map_or(0, |code| code.error_code().error_code())
}

/// REALM and NONCE, where both are there.
pub fn challenge(message: &StunMessage) -> Option<Challenge> {
    let realm = message.get::<Realm>()?.as_realm().ok()?.as_str().to_owned();
    let nonce = message.get::<Nonce>()?.as_nonce().ok()?.as_str().to_owned();
    Some(Challenge { realm, nonce })
}

/// XOR-MAPPED-ADDRESS.
pub fn mapped_address(message: &StunMessage) -> Option<SocketAddr> {
    message.get::<XorMappedAddress>()?.as_xor_mapped_address().ok().map(|address| *address.socket_address())
}

/// Unix seconds at which a Postern edge issued `nonce`; `None` where it is not of that form.
///
/// ```text
///  o b M a t J o s 2 | 4 characters: security features | 6 characters: base64url of a big-endian u32 | seal
/// ```
pub fn nonce_issued_unix_secs(nonce: &str) -> Option<u64> {
    let rest = nonce.strip_prefix("obMatJos2")?;
    let (_features, rest) = rest.split_at_checked(4)?;
    let (time, seal) = rest.split_at_checked(6)?;
    if seal.len() < 8 {
        return None;
    }
    // 6 characters are 36 bits: 32 of time and 4 that must be clear.
    let mut bits = 0u64;
    for character in time.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u64::from(value);
    }
    (bits & 0xf == 0).then_some(bits >> 4)
}

#[cfg(test)]
mod tests {
    use stun_rs::methods::{ALLOCATE, BINDING};

    use super::*;

    fn signature() -> Signature {
        let credentials = Credentials { username: "1999999999:alice".into(), password: "secret".into() };
        Signature::new(&credentials, &Challenge { realm: "example.test".into(), nonce: "nonce".into() }).unwrap()
    }

    fn answer(signature: Option<&Signature>) -> Vec<u8> {
        encode(ALLOCATE, MessageClass::SuccessResponse, vec![], signature).unwrap().bytes
    }

    #[test]
    fn an_answer_without_integrity_is_refused() {
        let signature = signature();
        assert!(decode_authenticated(&answer(Some(&signature)), signature.key()).is_ok());
        assert!(decode_authenticated(&answer(None), signature.key()).is_err());
    }

    #[test]
    fn an_answer_signed_with_another_password_is_refused() {
        let credentials = Credentials { username: "1999999999:alice".into(), password: "other".into() };
        let challenge = Challenge { realm: "example.test".into(), nonce: "nonce".into() };
        let other = Signature::new(&credentials, &challenge).unwrap();
        assert!(decode_authenticated(&answer(Some(&signature())), other.key()).is_err());
    }

    #[test]
    fn an_answer_cut_short_is_refused() {
        let bytes = answer(Some(&signature()));
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn the_issue_time_is_read_from_a_nonce_of_ours_and_from_no_other() {
        // 0x65537e00 = 1_700_000_256, in base64url with four clear bits after it.
        let nonce = "obMatJos2AAACZVN-AAabcdefghijklmnopqr";
        assert_eq!(nonce_issued_unix_secs(nonce), Some(0x6553_7e00));
        assert_eq!(nonce_issued_unix_secs("f//499k954d6OL34oL9FSTvy64sA"), None);
        assert_eq!(nonce_issued_unix_secs("obMatJos2AAACZVN-"), None);
        assert_eq!(nonce_issued_unix_secs("obMatJos2AAAC!!!!!!abcdefghijk"), None);
        assert_eq!(nonce_issued_unix_secs("obMatJos2AAACZVN-ABabcdefghijk"), None);
        assert_eq!(nonce_issued_unix_secs("obMatJos2\u{e9}\u{e9}\u{e9}ZVN-AA"), None);
    }

    #[test]
    fn a_username_of_full_length_fits() {
        let credentials = Credentials { username: "x".repeat(508), password: "secret".into() };
        let challenge = Challenge { realm: "r".repeat(127), nonce: "n".repeat(127) };
        let signature = Signature::new(&credentials, &challenge).unwrap();
        assert!(encode(BINDING, MessageClass::Request, vec![], Some(&signature)).is_ok());
    }
}
