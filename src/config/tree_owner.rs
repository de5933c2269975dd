//! The typed configuration of what reaches the owner of a mailbox beside the telephone: web services and mail.

use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use secrecy::{ExposeSecret, SecretString};

use crate::tree::{CertifiedPair, SecretBytes};

/// `[web]`: the web services of mailbox owners and administrators, over HTTPS.
#[derive(Clone, Debug, PartialEq)]
pub struct WebConfig {
    /// At least one.
    pub listen: Vec<SocketAddr>,
    pub certificate: CertifiedPair,
    /// `web.url`: where browsers find the page, `https://HOST[:PORT]` without a slash at the end; of the certificate's
    /// first name and the first listener's port unless written.
    pub url: String,
    /// What `web.admin_token_file` holds: one token, or the next one and the former; empty serves no administrator.
    pub admin_tokens: Vec<SecretBytes>,
}

/// `[mail]`: how mail leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct MailConfig {
    /// `mail.smtp`.
    pub server: MailServer,
    /// `mail.from`: an address without a display name.
    pub from: String,
    /// `mail.username` and `mail.password_file`; `None` sends without signing in.
    pub credentials: Option<Credentials>,
    /// `mail.ca`: roots that the server's certificate must lead to; `None` is the system's.
    pub ca: Option<Vec<CertificateDer<'static>>>,
    /// `mail.queue`: directory of the queue's files, absolute.
    pub queue: PathBuf,
}

/// `mail.smtp`: the server that takes our mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailServer {
    /// DNS name in lower case, or address without brackets.
    pub host: String,
    pub port: u16,
    pub security: MailSecurity,
}

/// How a connection to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// `smtp://`: STARTTLS, without which nothing is sent.
    StartTls,
    /// `smtps://`: TLS from the first byte.
    Tls,
    /// `smtp+plain://`: none; to loopback addresses alone.
    Plain,
}

impl std::fmt::Display for MailServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.security {
            MailSecurity::StartTls => "smtp",
            MailSecurity::Tls => "smtps",
            MailSecurity::Plain => "smtp+plain",
        };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// A user name and the password of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// 1 to 255 bytes without control characters.
    pub username: String,
    pub password: SecretText,
}

/// A password, 1 to 1024 bytes without control characters: never shown by `Debug`, wiped when dropped.
#[derive(Clone)]
pub struct SecretText(SecretString);

impl SecretText {
    pub(crate) fn new(text: &str) -> Self {
        Self(SecretString::from(text))
    }

    /// The text itself, to sign in with.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl Eq for SecretText {}

/// Compares two generations of a file; no attacker sees how long it takes.
impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}
