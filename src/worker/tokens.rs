//! A client of the A/V authentication service: one POST over mutual TLS, one token, bounded in size and time.

use std::sync::Arc;
use std::time::Duration;

use postern_config::{EdgeLocation, WorkerEdgeConfig};
use postern_turn::client::ClientCredentials;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::service_limits::{RELAY_URIS_MAX, TOKEN_ANSWER_BYTES_MAX, TOKEN_TIMEOUT};

/// Longest reason of a refusal that is kept, in characters.
const DETAIL_CHARS_MAX: usize = 200;

/// A token and where to use it.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) credentials: ClientCredentials,
    /// From when it was asked for.
    pub(crate) lifetime: Duration,
    /// URIs of the relays, as they came (RFC 7065).
    pub(crate) relays: Vec<String>,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// No connection, no handshake, or no answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// The service's own words; what it says is the operator's to mend.
    #[error("it answers {status}: {detail}")]
    Refused { status: u16, detail: String, retry_after: Option<Duration> },
    #[error("its answer is {0}")]
    Malformed(&'static str),
}

/// Why an edge cannot be asked at all; the operator's to mend.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {fault}")]
pub struct EdgeConfigError {
    host: String,
    fault: String,
}

/// Asks one service.
pub(crate) struct TokenClient {
    host: String,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
    location: &'static str,
    lifetime_secs: u32,
    /// The first name of our certificate: whom the edge's log names.
    own_name: String,
}

#[derive(Serialize)]
struct Wish<'a> {
    identity: &'a str,
    location: &'a str,
    duration_secs: u32,
    call_id: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    username: String,
    password: String,
    lifetime_secs: u64,
    relays: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RefusalAnswer {
    detail: String,
    remedy: String,
}

impl TokenClient {
    /// # Errors
    /// Certificates that TLS cannot work with, or a host that is no name.
    pub(crate) fn new(config: &WorkerEdgeConfig) -> Result<Self, EdgeConfigError> {
        let fault =
            |fault: &dyn std::fmt::Display| EdgeConfigError { host: config.host.clone(), fault: fault.to_string() };
        let mut roots = RootCertStore::empty();
        for certificate in &config.ca {
            roots.add(certificate.clone()).map_err(|error| fault(&error))?;
        }
        let material = &config.certificate.material;
        let tls = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(material.chain.clone(), material.key.clone_key())
            .map_err(|error| fault(&error))?;
        Ok(Self {
            host: config.host.clone(),
            port: config.port,
            name: ServerName::try_from(config.host.clone()).map_err(|error| fault(&error))?,
            connector: TlsConnector::from(Arc::new(tls)),
            location: match config.location {
                EdgeLocation::Intranet => "intranet",
                EdgeLocation::Internet => "internet",
            },
            lifetime_secs: config.token_lifetime_secs,
            own_name: material
                .names
                .first()
                .map_or_else(|| "worker".to_owned(), |name| name.chars().take(64).collect()),
        })
    }

    /// A token for one call. Each call is an identity of its own, so that no call uses up another's quota, and its
    /// identifier stands in the edge's records.
    pub(crate) async fn ask(&self, call_id: &str) -> Result<Token, TokenError> {
        match timeout(TOKEN_TIMEOUT, self.exchange(call_id)).await {
            Ok(answer) => decode(&answer?),
            Err(_) => Err(TokenError::Unreachable(format!("no answer within {} s", TOKEN_TIMEOUT.as_secs()))),
        }
    }

    async fn exchange(&self, call_id: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let unreachable = |error: std::io::Error| TokenError::Unreachable(error.to_string());
        let identity = format!("{}/{call_id}", self.own_name);
        let wish = Wish { identity: &identity, location: self.location, duration_secs: self.lifetime_secs, call_id };
        let body = serde_json::to_string(&wish).map_err(|_| TokenError::Malformed("not asked for"))?;
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let request = format!(
            "POST /v1/tokens HTTP/1.1\r\nHost: {host}:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.port,
            body.len(),
        );
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        let mut stream = self.connector.connect(self.name.clone(), stream).await.map_err(unreachable)?;
        stream.write_all(request.as_bytes()).await.map_err(unreachable)?;
        stream.flush().await.map_err(unreachable)?;
        read_answer(&mut stream).await
    }
}

/// The whole of an answer: up to the length that its head tells, or to the end of the connection.
async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    // Never grown, so that no copy of a password is left behind.
    let mut answer = Zeroizing::new(Vec::with_capacity(TOKEN_ANSWER_BYTES_MAX));
    let mut piece = Zeroizing::new([0; 4096]);
    loop {
        if Head::decode(&answer).is_ok_and(|head| head.is_some_and(|head| answer.len() >= head.end())) {
            return Ok(answer);
        }
        let read = match stream.read(&mut *piece).await {
            Ok(0) => return Ok(answer),
            Ok(read) => read,
            // Some close without saying so in TLS: what came is judged by its own length.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(answer),
            Err(error) => return Err(TokenError::Unreachable(error.to_string())),
        };
        if answer.len() + read > TOKEN_ANSWER_BYTES_MAX {
            return Err(TokenError::Malformed("too long"));
        }
        answer.extend_from_slice(&piece[..read]);
    }
}

/// What we read of an HTTP/1.1 head (RFC 9112 section 2.1).
struct Head {
    status: u16,
    body_from: usize,
    body_length: Option<usize>,
    retry_after: Option<Duration>,
}

impl Head {
    /// `None` while it is not complete.
    fn decode(bytes: &[u8]) -> Result<Option<Self>, TokenError> {
        const MALFORMED: TokenError = TokenError::Malformed("no HTTP/1.1");
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| MALFORMED)?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or(MALFORMED)?;
        let status = status.get(..3).and_then(|code| code.parse().ok()).ok_or(MALFORMED)?;
        let mut head = Self { status, body_from: end + 4, body_length: None, retry_after: None };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.body_length = Some(value.parse().map_err(|_| MALFORMED)?),
                "transfer-encoding" => return Err(TokenError::Malformed("in chunks")),
                "retry-after" => head.retry_after = value.parse().ok().map(Duration::from_secs),
                _ => {}
            }
        }
        Ok(Some(head))
    }

    /// Where the answer ends, as far as its head tells.
    fn end(&self) -> usize {
        self.body_length.map_or(usize::MAX, |length| self.body_from.saturating_add(length))
    }
}

fn decode(answer: &[u8]) -> Result<Token, TokenError> {
    let head = Head::decode(answer)?.ok_or(TokenError::Malformed("cut short"))?;
    let end = if head.body_length.is_some() { head.end() } else { answer.len() };
    let body = answer.get(head.body_from..end).ok_or(TokenError::Malformed("cut short"))?;
    if head.status != 200 {
        let refusal: RefusalAnswer = serde_json::from_slice(body).unwrap_or_default();
        let detail = [refusal.detail, refusal.remedy].into_iter().filter(|text| !text.is_empty());
        let detail = detail.collect::<Vec<_>>().join("; ").chars().take(DETAIL_CHARS_MAX).collect();
        return Err(TokenError::Refused { status: head.status, detail, retry_after: head.retry_after });
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| TokenError::Malformed("no token"))?;
    if answer.username.is_empty() || answer.lifetime_secs == 0 {
        return Err(TokenError::Malformed("no token"));
    }
    Ok(Token {
        credentials: ClientCredentials::new(answer.username, answer.password),
        lifetime: Duration::from_secs(answer.lifetime_secs),
        relays: answer.relays.into_iter().take(RELAY_URIS_MAX).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        r#"{"username":"u","password":"p","realm":"r","lifetime_secs":60,"relays":["turn:10.0.0.1:3478"]}"#;

    fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
    }

    async fn read(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let mut bytes = bytes;
        read_answer(&mut bytes).await
    }

    #[test]
    fn an_answer_becomes_a_token() {
        let token = decode(&http("200 OK", "", BODY)).unwrap();
        assert_eq!(token.lifetime, Duration::from_secs(60));
        assert_eq!(token.relays, ["turn:10.0.0.1:3478"]);
        assert_eq!(token.credentials, ClientCredentials::new("u", "p"));
    }

    #[test]
    fn a_refusal_keeps_the_services_words_and_its_retry_after() {
        let body = r#"{"error":"rate_limited","detail":"too many","remedy":"wait"}"#;
        let refused = decode(&http("429 Too Many Requests", "Retry-After: 7\r\n", body)).unwrap_err();
        assert_eq!(
            refused,
            TokenError::Refused {
                status: 429,
                detail: "too many; wait".into(),
                retry_after: Some(Duration::from_secs(7)),
            }
        );
    }

    #[test]
    fn what_is_no_answer_is_refused_wherever_it_is_cut_or_bent() {
        let whole = http("200 OK", "", BODY);
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length} bytes of it");
        }
        for wrong in [
            http("200 OK", "", "{}"),
            http("200 OK", "Transfer-Encoding: chunked\r\n", BODY),
            b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(),
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_vec(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n".to_vec(),
            http("200 OK", "", &BODY.replace("60", "0")),
        ] {
            assert!(decode(&wrong).is_err(), "{}", String::from_utf8_lossy(&wrong));
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        let endless = vec![b'x'; TOKEN_ANSWER_BYTES_MAX + 1];
        assert_eq!(read(&endless).await.unwrap_err(), TokenError::Malformed("too long"));
        let whole = http("200 OK", "", BODY);
        let with_more = [whole.as_slice(), b"more"].concat();
        assert_eq!(decode(&read(&with_more).await.unwrap()).unwrap().relays.len(), 1);
    }
}
