//! The server that takes our mail: connected to, protected, signed in to, and told each letter.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use postern_store::Blame;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::compose::Composed;
use crate::limits::{CONNECT_TIME, QUIT_TIME, REPLY_CHARS_MAX, TRANSFER_TIME};
use crate::plain_text::plain;

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// STARTTLS (RFC 3207); a server that does not offer it gets nothing.
    StartTls,
    /// None: for a server on this machine, in development.
    Plain,
}

/// A user and a password. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Why a server cannot be used; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{host} is not this machine, and nothing is sent there without TLS; write smtps:// or smtp:// instead")]
    PlainElsewhere { host: String },
    #[error("certificates to verify the mail server by: {0}")]
    Certificates(String),
}

/// A server, ready to be connected to.
#[derive(Clone)]
pub struct Server {
    host: String,
    port: u16,
    protection: Protection,
    login: Option<Login>,
    /// How we call ourselves.
    hello: ClientId,
}

#[derive(Clone)]
enum Protection {
    Tls(TlsParameters),
    StartTls(TlsParameters),
    Plain,
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another attempt may do better.
    Delayed { blame: Blame, why: String },
    /// The server will not take this letter, ever.
    Refused { why: String },
}

/// Who takes letters from an [`Outbox`](crate::Outbox).
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Hands a letter over. After `Ok` it is the other side's.
    ///
    /// # Errors
    /// It was not taken, or nobody can say whether it was.
    async fn carry(&self, letter: &Composed) -> Result<(), Failure>;
}

impl Server {
    /// `host` is a DNS name or an address; `hello` our own DNS name; `ca` the only roots (DER) that its certificate may lead
    /// to, where these are not the system's. Reads the system's roots, which may wait for a disk.
    ///
    /// # Errors
    /// The operator's: see [`ServerError`].
    pub fn new(
        host: &str,
        port: u16,
        security: Security,
        login: Option<Login>,
        ca: Option<&[Vec<u8>]>,
        hello: &str,
    ) -> Result<Self, ServerError> {
        let protection = match security {
            Security::Tls => Protection::Tls(tls(host, ca)?),
            Security::StartTls => Protection::StartTls(tls(host, ca)?),
            Security::Plain if is_loopback(host) => Protection::Plain,
            Security::Plain => return Err(ServerError::PlainElsewhere { host: host.to_owned() }),
        };
        let hello = ClientId::Domain(hello.to_owned());
        Ok(Self { host: host.to_owned(), port, protection, login, hello })
    }

    /// A connection that may be told letters. Whatever fails here is no letter's fault.
    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let wrapped = match &self.protection {
            Protection::Tls(tls) => Some(tls.clone()),
            Protection::StartTls(_) | Protection::Plain => None,
        };
        // What a name is of this machine may not lead elsewhere when nothing else protects the way.
        let host = match self.protection {
            Protection::Plain if self.host == "localhost" => "127.0.0.1",
            _ => self.host.as_str(),
        };
        let mut connection = AsyncSmtpConnection::connect_tokio1((host, self.port), None, &self.hello, wrapped, None)
            .await
            .map_err(|error| of_server("cannot be reached", &error))?;
        if let Protection::StartTls(tls) = &self.protection {
            if !connection.can_starttls() {
                connection.abort().await;
                return Err(Failure::server("offers no STARTTLS, and nothing is sent without".to_owned()));
            }
            connection
                .starttls(tls.clone(), &self.hello)
                .await
                .map_err(|error| of_server("does not protect the connection", &error))?;
        }
        if let Some(login) = &self.login {
            let credentials = Credentials::new(login.username.clone(), login.password.to_string());
            if let Err(error) = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await {
                connection.abort().await;
                // What it says may repeat what it was told.
                let code = error.status().map(|code| format!(" ({code})")).unwrap_or_default();
                return Err(Failure::server(format!("does not let us sign in{code}")));
            }
        }
        Ok(connection)
    }
}

#[async_trait]
impl Carrier for Server {
    async fn carry(&self, letter: &Composed) -> Result<(), Failure> {
        let mut connection = within(CONNECT_TIME, "is not ready", self.connect()).await?;
        let told = within(TRANSFER_TIME, "did not take the letter", tell(&mut connection, letter)).await;
        if told.is_ok() {
            let _ = timeout(QUIT_TIME, connection.quit()).await;
        } else {
            let _ = timeout(QUIT_TIME, connection.abort()).await;
        }
        told
    }
}

#[async_trait]
impl<C: Carrier + ?Sized> Carrier for Arc<C> {
    async fn carry(&self, letter: &Composed) -> Result<(), Failure> {
        (**self).carry(letter).await
    }
}

/// One mail transaction (RFC 5321 section 3.3).
async fn tell(connection: &mut AsyncSmtpConnection, letter: &Composed) -> Result<(), Failure> {
    let envelope = &letter.envelope;
    // Who may not send at all is told so here: no letter fares better.
    let mail = Mail::new(envelope.from().cloned(), Vec::new());
    connection.command(mail).await.map_err(|error| of_server("does not take our sender", &error))?;
    for to in envelope.to() {
        connection.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(|error| of_letter(&error))?;
    }
    connection.command(Data).await.map_err(|error| of_letter(&error))?;
    connection.message(&letter.bytes).await.map_err(|error| of_letter(&error))?;
    Ok(())
}

impl Failure {
    fn server(what: String) -> Self {
        Self::Delayed { blame: Blame::Server, why: format!("the mail server {what}") }
    }
}

fn of_server(what: &str, error: &Error) -> Failure {
    Failure::server(format!("{what}: {}", told_by(error)))
}

/// RFC 5321 section 4.2.1: 4yz is for now, 5yz for ever. 421 is the end of the connection, whatever was asked.
fn of_letter(error: &Error) -> Failure {
    let why = format!("the mail server did not take the letter: {}", told_by(error));
    let is_leaving = error.status().is_some_and(|code| u16::from(code) == 421);
    match error.is_permanent() {
        true => Failure::Refused { why },
        false => Failure::Delayed { blame: if is_leaving { Blame::Server } else { Blame::Letter }, why },
    }
}

/// An error with its cause, in one line.
fn told_by(error: &Error) -> String {
    plain(&error.to_string(), REPLY_CHARS_MAX)
}

/// A server that stalls is to blame, whatever it was asked: the next letter would wait as long.
async fn within<T>(time: Duration, what: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || Failure::server(format!("{what} within {} s", time.as_secs()));
    timeout(time, work).await.unwrap_or_else(|_| Err(late()))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls(host: &str, ca: Option<&[Vec<u8>]>) -> Result<TlsParameters, ServerError> {
    let wrong = |error: Error| ServerError::Certificates(error.to_string());
    let mut builder = TlsParametersBuilder::new(host.to_owned());
    if let Some(ca) = ca {
        builder = builder.certificate_store(CertificateStore::None);
        for root in ca {
            builder = builder.add_root_certificate(Certificate::from_der(root.clone()).map_err(wrong)?);
        }
    }
    builder.build_rustls().map_err(wrong)
}
