//! Makes tokens. The first secret of a ring signs; the others only verify.

use std::fmt;

use ipnet::IpNet;
use serde::Serialize;
use zeroize::{Zeroize, Zeroizing};

use crate::claims::{Claims, ClaimsError, is_plain};
use crate::form::EXTENDED_PREFIX;
use crate::keys::KeyRing;
use crate::limits::{IDENTITY_BYTES_MAX, USERNAME_BYTES_MAX};
use crate::mac::{LABEL_EXTENDED, PasswordKey};

/// Makes classic and extended tokens under the first secret of a ring.
#[derive(Clone)]
pub struct Issuer {
    key_id: String,
    classic: PasswordKey,
    extended: PasswordKey,
}

impl Issuer {
    pub fn new(ring: &KeyRing) -> Self {
        let secret = ring.first();
        Self {
            key_id: secret.id().to_owned(),
            classic: PasswordKey::new(secret.value()),
            extended: PasswordKey::derived(secret.value(), LABEL_EXTENDED),
        }
    }

    /// Id of the secret that signs.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// `expiry:identity`, or a bare `expiry` without an identity, whose quota counts by client address.
    ///
    /// # Errors
    /// The caller's fault: an identity that is empty, longer than [`IDENTITY_BYTES_MAX`] bytes, or holds control
    /// characters.
    pub fn issue_classic(&self, identity: Option<&str>, expires_unix_secs: u64) -> Result<Token, IssueError> {
        let username = match identity {
            Some(name) if !is_plain(name, IDENTITY_BYTES_MAX) => {
                return Err(ClaimsError::Identity.into());
            }
            Some(name) => format!("{expires_unix_secs}:{name}"),
            None => expires_unix_secs.to_string(),
        };
        Ok(self.token(username, &self.classic, TokenForm::Classic, expires_unix_secs))
    }

    /// `p1.<key id>.<claims>`.
    ///
    /// # Errors
    /// The caller's fault: a claim outside its limit, or claims that together exceed a username's 508 bytes.
    pub fn issue_extended(&self, claims: &Claims) -> Result<Token, IssueError> {
        let username = format!("{EXTENDED_PREFIX}{}.{}", self.key_id, claims.encode()?);
        if username.len() > USERNAME_BYTES_MAX {
            return Err(IssueError::TooLong { bytes: username.len() });
        }
        Ok(self.token(username, &self.extended, TokenForm::Extended, claims.expires_unix_secs))
    }

    fn token(&self, username: String, key: &PasswordKey, form: TokenForm, expires_unix_secs: u64) -> Token {
        let password = key.password(username.as_bytes());
        let password = Zeroizing::new(String::from_utf8_lossy(password.as_slice()).into_owned());
        Token { username, password, form, key_id: self.key_id.clone(), expires_unix_secs }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({}, ..)", self.key_id)
    }
}

/// Which of the two kinds a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenForm {
    Classic,
    Extended,
}

/// A username and its password, ready for a client. The password is wiped on drop and not part of the Debug form.
#[derive(Clone)]
pub struct Token {
    pub username: String,
    password: Zeroizing<String>,
    pub form: TokenForm,
    /// Id of the secret that signed.
    pub key_id: String,
    pub expires_unix_secs: u64,
}

impl Token {
    /// 28 characters of base64.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The token as `postern token issue` prints it.
    pub fn to_json(&self) -> TokenJson {
        TokenJson {
            username: self.username.clone(),
            password: self.password.to_string(),
            form: self.form,
            key_id: self.key_id.clone(),
            expires_unix_secs: self.expires_unix_secs,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?}, password: ..)", self.username)
    }
}

/// A token for a program to read: this one shows its password, which is the point of issuing.
#[derive(Serialize)]
pub struct TokenJson {
    pub username: String,
    pub password: String,
    pub form: TokenForm,
    pub key_id: String,
    pub expires_unix_secs: u64,
}

impl Drop for TokenJson {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

/// Why a token is not issued; the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    #[error(
        "the username would have {bytes} bytes, {USERNAME_BYTES_MAX} fit: shorten identity or call_id, or name fewer peers"
    )]
    TooLong { bytes: usize },
    #[error("peers: {text:?} is no address and no network such as 10.20.0.0/24")]
    Peer { text: String },
}

/// One entry of a `peers` claim as people write it: a network, or an address that stands for itself alone.
///
/// # Errors
/// The caller's fault: text that is neither.
pub fn parse_peer(text: &str) -> Result<IpNet, IssueError> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map(|net| net.trunc())
        .map_err(|_| IssueError::Peer { text: text.chars().take(64).collect() })
}
