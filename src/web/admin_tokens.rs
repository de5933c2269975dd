//! The tokens that prove an administrator.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::limits::{ADMIN_TOKEN_BYTES_MIN, ADMIN_TOKENS_MAX};

/// Tokens that are valid now, as their hashes: none, one, or a new one and the one that it follows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AdminTokens(Vec<[u8; 32]>);

/// Why tokens cannot serve; the operator's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminTokenError {
    #[error("a token has {0} bytes; it needs at least {ADMIN_TOKEN_BYTES_MIN}: make one by `openssl rand -base64 32`")]
    Short(usize),
    #[error("there are {0} tokens; {ADMIN_TOKENS_MAX} are the most: the new one and the one that it follows")]
    Many(usize),
}

impl AdminTokens {
    /// # Errors
    /// A token is too short, or there are too many.
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, AdminTokenError> {
        let mut hashes = Vec::new();
        for token in tokens {
            if token.len() < ADMIN_TOKEN_BYTES_MIN {
                return Err(AdminTokenError::Short(token.len()));
            }
            hashes.push(Sha256::digest(token).into());
        }
        if hashes.len() > ADMIN_TOKENS_MAX { Err(AdminTokenError::Many(hashes.len())) } else { Ok(Self(hashes)) }
    }

    /// Whether `token` is one of them. Takes the same time for whatever is given: hashes are compared, each of them.
    pub(crate) fn are(&self, token: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(token).into();
        self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&given)).into()
    }
}

impl fmt::Debug for AdminTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminTokens({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tokens_of_a_rotation_are_valid_and_nothing_else_is() {
        let (former, next) = ([b'a'; 32], [b'b'; 40]);
        let tokens = AdminTokens::new([&next[..], &former[..]]).unwrap();
        assert!(tokens.are(&former) && tokens.are(&next));
        assert!(!tokens.are(&next[..39]) && !tokens.are(b""));
        assert!(!AdminTokens::default().are(b""));
        assert_eq!(format!("{tokens:?}"), "AdminTokens(2)");
    }

    #[test]
    fn a_short_token_or_a_third_one_is_refused() {
        assert_eq!(AdminTokens::new([&[b'a'; 15][..]]), Err(AdminTokenError::Short(15)));
        assert_eq!(AdminTokens::new([&[b'a'; 32][..]; 3]), Err(AdminTokenError::Many(3)));
    }
}
