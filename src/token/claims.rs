//! What an extended token says: compact JSON in base64url, decoded strictly, because every claim narrows.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::limits::{CALL_ID_BYTES_MAX, CLAIM_PEERS_MAX, IDENTITY_BYTES_MAX};

/// The claims of an extended token.
///
/// On the wire one-letter names save room in a username of at most 508 bytes:
/// `{"u":"alice","e":1700000000,"c":"call-7","p":["10.20.0.0/24"],"b":128000,"n":4}`.
/// An unknown claim is refused, never skipped: it might be a narrowing that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// 1 to [`IDENTITY_BYTES_MAX`] bytes without control characters.
    #[serde(rename = "u")]
    pub identity: String,
    /// Unix seconds; at this second the token is no longer valid.
    #[serde(rename = "e")]
    pub expires_unix_secs: u64,
    /// 1 to [`CALL_ID_BYTES_MAX`] bytes without control characters; reaches logs and records.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// At most [`CLAIM_PEERS_MAX`] networks; an empty list allows no peer at all. Host bits are cleared.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<IpNet>>,
    /// Bits per second of relayed payload, both directions together; not 0.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub bitrate_bps: Option<u64>,
    /// Allocations at once instead of the server's default; not 0, which elsewhere means no limit.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub allocations: Option<u32>,
}

/// Why claims cannot be issued, or are not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    #[error("the claims are not base64url without padding")]
    NotBase64,
    #[error("the claims are not the JSON expected: {0}")]
    NotJson(String),
    #[error("identity: 1 to {IDENTITY_BYTES_MAX} bytes without control characters are needed")]
    Identity,
    #[error("call_id: 1 to {CALL_ID_BYTES_MAX} bytes without control characters are needed")]
    CallId,
    #[error("peers: at most {CLAIM_PEERS_MAX} networks fit")]
    Peers,
    #[error("bitrate_bps: 0 would relay nothing; leave it out for no limit")]
    Bitrate,
    #[error("allocations: 0 would allow none; leave it out for the server's default")]
    Allocations,
}

impl Claims {
    /// Claims with nothing narrowed.
    pub fn new(identity: impl Into<String>, expires_unix_secs: u64) -> Self {
        let identity = identity.into();
        Self { identity, expires_unix_secs, call_id: None, peers: None, bitrate_bps: None, allocations: None }
    }

    /// base64url without padding of the compact JSON.
    ///
    /// # Errors
    /// The issuer's fault: a value outside its limit.
    pub(crate) fn encode(&self) -> Result<String, ClaimsError> {
        self.check()?;
        let json = serde_json::to_vec(&self.normalised()).map_err(|e| ClaimsError::NotJson(e.to_string()))?;
        Ok(URL_SAFE_NO_PAD.encode(json))
    }

    /// # Errors
    /// The issuer's fault, since the text's integrity was checked before; the wire answer is 401.
    pub(crate) fn decode(text: &str) -> Result<Self, ClaimsError> {
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| ClaimsError::NotBase64)?;
        // serde would also take the values by position, in an array: one spelling is enough.
        if json.first() != Some(&b'{') {
            return Err(ClaimsError::NotJson("it does not begin with a brace".to_owned()));
        }
        let claims: Self = serde_json::from_slice(&json).map_err(|e| ClaimsError::NotJson(e.to_string()))?;
        claims.check()?;
        Ok(claims.normalised())
    }

    fn check(&self) -> Result<(), ClaimsError> {
        if !is_plain(&self.identity, IDENTITY_BYTES_MAX) {
            return Err(ClaimsError::Identity);
        }
        if self.call_id.as_ref().is_some_and(|id| !is_plain(id, CALL_ID_BYTES_MAX)) {
            return Err(ClaimsError::CallId);
        }
        if self.peers.as_ref().is_some_and(|peers| peers.len() > CLAIM_PEERS_MAX) {
            return Err(ClaimsError::Peers);
        }
        if self.bitrate_bps == Some(0) {
            return Err(ClaimsError::Bitrate);
        }
        if self.allocations == Some(0) {
            return Err(ClaimsError::Allocations);
        }
        Ok(())
    }

    fn normalised(&self) -> Self {
        let peers = self.peers.as_ref().map(|peers| peers.iter().map(IpNet::trunc).collect());
        Self { peers, ..self.clone() }
    }
}

/// Whether `text` has 1 to `bytes_max` bytes and no control character (which would break a log line).
pub(crate) fn is_plain(text: &str, bytes_max: usize) -> bool {
    !text.is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_json(json: &str) -> Result<Claims, ClaimsError> {
        Claims::decode(&URL_SAFE_NO_PAD.encode(json))
    }

    #[test]
    fn claims_survive_encoding_with_host_bits_cleared() {
        let mut claims = Claims::new("alice", 1_700_000_000);
        claims.call_id = Some("call-7".into());
        claims.peers = Some(vec!["10.20.0.9/24".parse().unwrap(), "2001:db8::7/64".parse().unwrap()]);
        claims.bitrate_bps = Some(128_000);
        claims.allocations = Some(4);
        let back = Claims::decode(&claims.encode().unwrap()).unwrap();
        assert_eq!(back.peers, Some(vec!["10.20.0.0/24".parse().unwrap(), "2001:db8::/64".parse().unwrap()]));
        assert_eq!(Claims { peers: claims.peers.clone(), ..back }, claims);
    }

    #[test]
    fn an_unknown_or_repeated_claim_is_refused() {
        assert!(decode_json(r#"{"u":"a","e":1}"#).is_ok());
        for json in [
            r#"{"u":"a","e":1,"x":1}"#,
            r#"{"u":"a","u":"b","e":1}"#,
            r#"{"u":"a","e":1,"b":5,"b":null}"#,
            r#"{"e":1}"#,
            r#"{"u":"a"}"#,
            r#"{"u":"a","e":-1}"#,
            r#"{"u":"a","e":1.5}"#,
            r#"{"u":"a","e":"1"}"#,
            r#"{"u":"a","e":1} "#.trim_end().strip_suffix('}').unwrap(),
            r#"{"u":"a","e":1}{}"#,
            r#"["a",1]"#,
            r#"{"u":"a","e":1,"p":["10.0.0.0/33"]}"#,
        ] {
            assert!(matches!(decode_json(json), Err(ClaimsError::NotJson(_))), "{json}");
        }
    }

    #[test]
    fn values_outside_their_limits_are_refused_both_ways() {
        let with = |change: fn(&mut Claims)| {
            let mut claims = Claims::new("a", 1);
            change(&mut claims);
            let decoded = decode_json(&serde_json::to_string(&claims).unwrap());
            assert_eq!(claims.encode().map(drop), decoded.map(drop));
            claims.encode().unwrap_err()
        };
        assert_eq!(with(|c| c.identity.clear()), ClaimsError::Identity);
        assert_eq!(with(|c| c.identity = "x".repeat(IDENTITY_BYTES_MAX + 1)), ClaimsError::Identity);
        assert_eq!(with(|c| c.identity = "a\r\nb".into()), ClaimsError::Identity);
        assert_eq!(with(|c| c.call_id = Some(String::new())), ClaimsError::CallId);
        assert_eq!(with(|c| c.call_id = Some("a\u{1b}[2J".into())), ClaimsError::CallId);
        let net: IpNet = "10.0.0.0/8".parse().unwrap();
        assert_eq!(
            Claims { peers: Some(vec![net; CLAIM_PEERS_MAX + 1]), ..Claims::new("a", 1) }.encode(),
            Err(ClaimsError::Peers)
        );
        assert_eq!(with(|c| c.bitrate_bps = Some(0)), ClaimsError::Bitrate);
        assert_eq!(with(|c| c.allocations = Some(0)), ClaimsError::Allocations);
    }

    #[test]
    fn padded_or_standard_base64_is_refused() {
        for text in ["e30=", "+/+/", "e3", "e31", " e30"] {
            assert!(Claims::decode(text).is_err(), "{text}");
        }
    }
}
