//! One generation of the token service's settings, checked and ready to answer with.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use postern_token::{Issuer, KeyRing};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// The bucket that all callers share who are on no list; no certificate's name is empty.
const STRANGERS: &str = "";

/// What an operator sets.
#[derive(Debug)]
pub struct TokenServiceOptions {
    /// Realm of the relays.
    pub realm: String,
    /// The first key issues.
    pub keys: KeyRing,
    /// Longer wishes are cut to this.
    pub token_lifetime_max_secs: u64,
    /// The most that a token's `allocations` may say.
    pub allocations_max: u32,
    /// DNS names of certificates that may ask; without regard to case.
    pub allowed_names: Vec<String>,
    /// URIs of the relays by location (RFC 7065).
    pub internet: Vec<String>,
    pub intranet: Vec<String>,
    /// URIs named instead of both while draining; without any, requests are then refused.
    pub alternates: Vec<String>,
    /// Requests per second and caller name; bursts of as many.
    pub requests_per_caller_per_sec: NonZeroU32,
    /// The service's own certificate, leaf first, and its key.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// Authorities whose certificates callers show.
    pub client_ca: Vec<CertificateDer<'static>>,
}

/// Why settings cannot serve; the operator's fault, each.
#[derive(Debug, thiserror::Error)]
pub enum TokenServiceError {
    #[error("a certificate of client_ca cannot be an authority: {0}")]
    Authority(rustls::Error),
    #[error("client_ca cannot verify callers: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("certificate and private_key cannot serve: {0}")]
    Certificate(rustls::Error),
}

/// Settings made ready.
pub struct TokenServiceState {
    pub(crate) realm: String,
    pub(crate) issuer: Issuer,
    pub(crate) token_lifetime_max_secs: u64,
    pub(crate) allocations_max: u32,
    pub(crate) internet: Vec<String>,
    pub(crate) intranet: Vec<String>,
    pub(crate) alternates: Vec<String>,
    allowed_names: Vec<String>,
    rate: NonZeroU32,
    /// Keyed by name: at most as many as `allowed_names`, and the strangers' one.
    limiter: Arc<DefaultKeyedRateLimiter<String>>,
    tls: Arc<ServerConfig>,
}

impl TokenServiceState {
    /// # Errors
    /// Certificates that cannot serve or verify.
    pub fn new(options: TokenServiceOptions) -> Result<Self, TokenServiceError> {
        let tls = tls_config(options.chain, options.key, options.client_ca)?;
        let rate = options.requests_per_caller_per_sec;
        Ok(Self {
            realm: options.realm,
            issuer: Issuer::new(&options.keys),
            token_lifetime_max_secs: options.token_lifetime_max_secs,
            allocations_max: options.allocations_max,
            internet: options.internet,
            intranet: options.intranet,
            alternates: options.alternates,
            allowed_names: options.allowed_names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            rate,
            limiter: Arc::new(RateLimiter::keyed(Quota::per_second(rate))),
            tls: Arc::new(tls),
        })
    }

    /// The next generation: as [`new`](Self::new), but callers keep what they have used of an unchanged rate.
    ///
    /// # Errors
    /// As [`new`](Self::new); the present generation stays what it is.
    pub fn successor(&self, options: TokenServiceOptions) -> Result<Self, TokenServiceError> {
        let mut next = Self::new(options)?;
        if next.rate == self.rate {
            self.limiter.retain_recent();
            next.limiter = Arc::clone(&self.limiter);
        }
        Ok(next)
    }

    pub(crate) fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }

    /// The first of a certificate's names that is on the list. `names` are in lower case.
    pub(crate) fn allowed<'a>(&self, names: &'a [String]) -> Option<&'a str> {
        names.iter().find(|name| self.allowed_names.contains(name)).map(String::as_str)
    }

    /// Counts a request of `caller`, or of somebody on no list.
    ///
    /// # Errors
    /// How long to wait, when it is one too many.
    pub(crate) fn check_rate(&self, caller: Option<&str>) -> Result<(), Duration> {
        let key = caller.unwrap_or(STRANGERS).to_owned();
        self.limiter.check_key(&key).map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }
}

impl fmt::Debug for TokenServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenServiceState")
            .field("issuer", &self.issuer)
            .field("allowed_names", &self.allowed_names)
            .finish_non_exhaustive()
    }
}

/// Mutual TLS 1.2 and 1.3. No session is resumed, so that each connection shows its certificate to the authorities of its own time.
fn tls_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_ca: Vec<CertificateDer<'static>>,
) -> Result<ServerConfig, TokenServiceError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in client_ca {
        roots.add(authority).map_err(TokenServiceError::Authority)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TokenServiceError::Certificate)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TokenServiceError::Certificate)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
