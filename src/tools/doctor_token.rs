//! Takes a token from an A/V authentication service, over mutual TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::doctor_message::Credentials;
use crate::doctor_target::Server;
use crate::doctor_tls::Trust;

/// What one exchange with the service may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer of the service.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Lifetime asked for, in seconds: longer than any run of the doctor.
const DURATION_SECS: u32 = 600;

/// Where tokens come from, and who we are there.
pub struct TokenService {
    /// `https://HOST:PORT/PATH`.
    pub url: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A token and the servers that it is good for.
pub struct Issued {
    pub credentials: Credentials,
    pub lifetime_secs: u64,
    pub servers: Vec<Server>,
}

/// The part of the service's answer that the doctor uses.
#[derive(Deserialize)]
struct Answer {
    username: String,
    password: String,
    #[serde(alias = "lifetime")]
    lifetime_secs: u64,
    #[serde(default, alias = "relays")]
    uris: Vec<String>,
}

/// Asks the service for a token.
///
/// # Errors
/// When the service cannot be reached, is not trusted, does not let us in, or answers something else.
pub async fn fetch(service: &TokenService, trust: &Trust, identity: &str) -> Result<Issued> {
    let answer = timeout(EXCHANGE_TIMEOUT, post(service, trust, identity))
        .await
        .map_err(|_| anyhow!("{} does not answer within {} s", service.url, EXCHANGE_TIMEOUT.as_secs()))?
        .with_context(|| format!("token service {}", service.url))?;
    read_issued(&answer)
}

async fn post(service: &TokenService, trust: &Trust, identity: &str) -> Result<Vec<u8>> {
    let rest = service.url.strip_prefix("https://").context("the URL must begin with https://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "v1/tokens"));
    let address = if authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        authority.to_owned()
    } else {
        format!("{authority}:443")
    };
    let host = address.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']).to_owned();
    let roots = trust.roots().context("no authority is trusted: give the service's with --ca")?;
    let certificates = CertificateDer::pem_file_iter(&service.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read {}", service.certificate.display()))?;
    let key =
        PrivateKeyDer::from_pem_file(&service.key).with_context(|| format!("cannot read {}", service.key.display()))?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(certificates, key)
        .context("client certificate and key do not belong together")?;
    let stream = TcpStream::connect(&address).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(host)?, stream).await?;

    let body = serde_json::json!({
        "identity": identity, "location": "internet", "duration_secs": DURATION_SECS,
    })
    .to_string();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let ended = (&mut stream).take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
    // A server may close without TLS's farewell: the length in the header says whether all is there.
    match ended {
        Err(error) if answer.is_empty() => Err(error.into()),
        _ => Ok(answer),
    }
}

fn read_issued(answer: &[u8]) -> Result<Issued> {
    let (status, body) = split_answer(answer)?;
    match status {
        200 | 201 => {}
        403 => bail!("the token service refuses this client certificate (403): add its name to `allowed_names`"),
        429 => bail!("the token service is asked too often by this client (429): wait a little"),
        503 => bail!("the token service is draining (503): use another edge"),
        _ => bail!("the token service answers {status}: {}", String::from_utf8_lossy(body)),
    }
    let answer: Answer =
        serde_json::from_slice(body).context("the token service answers something else than a token")?;
    // A DTLS relay in the list is not the doctor's to try.
    let servers = answer.uris.iter().filter_map(|uri| uri.parse().ok()).collect();
    let credentials = Credentials { username: answer.username, password: answer.password };
    Ok(Issued { credentials, lifetime_secs: answer.lifetime_secs, servers })
}

/// Status and body of an HTTP/1.1 answer with a Content-Length.
fn split_answer(answer: &[u8]) -> Result<(u16, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("the answer has no HTTP header")?;
    let header = std::str::from_utf8(&answer[..end]).context("the answer's header is not text")?;
    let mut lines = header.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|line| line.get(..3)?.parse().ok())
        .context("the answer is not HTTP/1.1")?;
    let length: Option<usize> = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    let body = &answer[end + 4..];
    match length {
        Some(length) if body.len() < length => bail!("the answer breaks off after {} of {length} bytes", body.len()),
        Some(length) => Ok((status, &body[..length])),
        None => Ok((status, body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_the_answer() {
        let body = r#"{"username":"1:a","password":"p","realm":"r","lifetime_secs":600,"uris":["turn:h:3478?transport=udp","turns:h:443?transport=tcp"]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let issued = read_issued(answer.as_bytes()).unwrap();
        assert_eq!((issued.credentials.username.as_str(), issued.lifetime_secs, issued.servers.len()), ("1:a", 600, 2));
        for length in 0..answer.len() {
            assert!(read_issued(&answer.as_bytes()[..length]).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refusal = read_issued(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").err().unwrap().to_string();
        assert!(refusal.contains("allowed_names"), "{refusal}");
    }
}
