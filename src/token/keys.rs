//! Secrets shared with token issuers, and the ring of those in use.

use std::fmt;

use zeroize::Zeroizing;

use crate::credentials::KEYS_MAX;
use crate::limits::{KEY_ID_BYTES_MAX, SECRET_BYTES_MAX, SECRET_BYTES_MIN};

/// One shared secret under its id. The value is wiped from memory on drop and never printed.
#[derive(Clone)]
pub struct Secret {
    id: String,
    value: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// Takes the value over, so that no copy of it stays behind. The id is 1 to [`KEY_ID_BYTES_MAX`] of
    /// `A-Z a-z 0-9 _ -`: it travels in usernames, between dots.
    ///
    /// # Errors
    /// The operator's fault, each: a value shorter than [`SECRET_BYTES_MIN`] or longer than [`SECRET_BYTES_MAX`]
    /// bytes, or an id that a username cannot carry.
    pub fn new(id: impl Into<String>, value: impl Into<Vec<u8>>) -> Result<Self, KeyError> {
        let (id, value) = (id.into(), Zeroizing::new(value.into()));
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if id.is_empty() || id.len() > KEY_ID_BYTES_MAX || !id.bytes().all(fits) {
            return Err(KeyError::Id { id });
        }
        if value.len() < SECRET_BYTES_MIN {
            return Err(KeyError::TooShort { id, bytes: value.len() });
        }
        if value.len() > SECRET_BYTES_MAX {
            return Err(KeyError::TooLong { id, bytes: value.len() });
        }
        Ok(Self { id, value })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The raw bytes, for deriving keys of other purposes; not for printing.
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, ..)", self.id)
    }
}

/// One to [`KEYS_MAX`] secrets with different ids: the first issues, all verify.
#[derive(Clone, Debug)]
pub struct KeyRing {
    secrets: Vec<Secret>,
}

impl KeyRing {
    /// # Errors
    /// The operator's fault, each: no secret, more than [`KEYS_MAX`], or one id twice.
    pub fn new(secrets: Vec<Secret>) -> Result<Self, KeyError> {
        if secrets.is_empty() {
            return Err(KeyError::None);
        }
        if secrets.len() > KEYS_MAX {
            return Err(KeyError::TooMany { count: secrets.len() });
        }
        for (at, secret) in secrets.iter().enumerate() {
            if secrets[..at].iter().any(|earlier| earlier.id == secret.id) {
                return Err(KeyError::SameId { id: secret.id.clone() });
            }
        }
        Ok(Self { secrets })
    }

    /// The secret that new tokens are made with.
    pub fn first(&self) -> &Secret {
        &self.secrets[0]
    }

    /// All secrets in the operator's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Secret> {
        self.secrets.iter()
    }

    /// The raw bytes of all secrets in the same order, from which a server derives its nonce keys.
    pub fn secrets(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.secrets.iter().map(Secret::value)
    }

    pub fn contains(&self, id: &str) -> bool {
        self.secrets.iter().any(|secret| secret.id == id)
    }
}

/// What is wrong with the secrets of a configuration; never shows a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("there is no secret: name at least one, as {{ id = \"...\", value = \"...\" }}")]
    None,
    #[error("{count} secrets are more than {KEYS_MAX}: take out those that no issuer uses any more")]
    TooMany { count: usize },
    #[error("two secrets have the id {id:?}: give each its own")]
    SameId { id: String },
    #[error("the secret's id {id:?} is not 1 to {KEY_ID_BYTES_MAX} letters, digits, '-' or '_'")]
    Id { id: String },
    #[error(
        "the secret {id:?} has {bytes} bytes: take at least {SECRET_BYTES_MIN}, such as from `openssl rand -base64 24`"
    )]
    TooShort { id: String, bytes: usize },
    #[error("the secret {id:?} has {bytes} bytes: at most {SECRET_BYTES_MAX} are of use")]
    TooLong { id: String, bytes: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(id: &str) -> Secret {
        Secret::new(id, "at-least-sixteen-bytes").unwrap()
    }

    #[test]
    fn a_secret_shorter_than_16_bytes_is_refused() {
        assert!(matches!(Secret::new("a", "fifteen-bytes-!"), Err(KeyError::TooShort { bytes: 15, .. })));
        assert!(Secret::new("a", "sixteen-bytes-!!").is_ok());
    }

    #[test]
    fn an_id_that_would_split_a_username_is_refused() {
        for id in ["", "a.b", "a:b", "a b", "é", "a\n", &"x".repeat(KEY_ID_BYTES_MAX + 1)] {
            assert!(matches!(Secret::new(id, "at-least-sixteen-bytes"), Err(KeyError::Id { .. })), "{id:?}");
        }
    }

    #[test]
    fn a_ring_holds_one_to_eight_secrets_with_different_ids() {
        assert_eq!(KeyRing::new(vec![]).unwrap_err(), KeyError::None);
        let nine = (0..9).map(|n| secret(&n.to_string())).collect();
        assert_eq!(KeyRing::new(nine).unwrap_err(), KeyError::TooMany { count: 9 });
        let twice = KeyRing::new(vec![secret("a"), secret("b"), secret("a")]);
        assert_eq!(twice.unwrap_err(), KeyError::SameId { id: "a".into() });
        let eight = KeyRing::new((0..8).map(|n| secret(&n.to_string())).collect()).unwrap();
        assert_eq!(eight.first().id(), "0");
        assert!(eight.contains("7") && !eight.contains("8"));
    }

    #[test]
    fn no_secret_value_is_ever_printed() {
        let ring = KeyRing::new(vec![secret("a")]).unwrap();
        assert!(!format!("{ring:?}").contains("sixteen"));
        let error = Secret::new("a", "short value").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("short value"));
    }
}
