//! TLS of both sides, from one identity, exchanged as a whole while connections live.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use postern_net::tls::{TlsError, read_pair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::options::{ClientCertificates, TlsIdentity, TransportError};

/// What handshakes are made with.
pub(crate) struct TlsConfigs {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// Read at each handshake.
pub(crate) type CurrentTls = Arc<ArcSwapOption<TlsConfigs>>;

impl TlsConfigs {
    /// TLS 1.2 and 1.3. Peers that we connect to must always prove their name.
    pub(crate) fn new(identity: &TlsIdentity) -> Result<TlsConfigs, TransportError> {
        let provider: Arc<CryptoProvider> = aws_lc_rs::default_provider().into();
        let roots = Arc::new(read_roots(&identity.ca)?);
        let unusable = |error: rustls::Error| TransportError::Tls(TlsError::Certificate(error.to_string()));
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        if identity.client_certificates == ClientCertificates::Optional {
            verifier = verifier.allow_unauthenticated();
        }
        let verifier = verifier.build().map_err(|error| TransportError::Authorities(error.to_string()))?;
        let server = server.with_client_cert_verifier(verifier);
        let (chain, key) = read_pair(&identity.certificate, &identity.private_key)?;
        let server = server.with_single_cert(chain.clone(), key.clone_key()).map_err(explain)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(explain)?;
        Ok(TlsConfigs { server: Arc::new(server), client: Arc::new(client) })
    }
}

fn explain(error: rustls::Error) -> TransportError {
    TransportError::Tls(match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
        rustls::Error::InvalidCertificate(_) => TlsError::Certificate(error.to_string()),
        other => TlsError::PrivateKey(other.to_string()),
    })
}

fn read_roots(pem: &[u8]) -> Result<RootCertStore, TransportError> {
    let unusable = |error: &dyn std::fmt::Display| TransportError::Authorities(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() { Err(unusable(&"no certificate in the file")) } else { Ok(roots) }
}
