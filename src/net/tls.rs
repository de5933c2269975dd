//! The server's side of TLS: from PEM to a configuration that handshakes can be made with.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig, SignatureAlgorithm};

/// Asked at each handshake, so that a new certificate counts at once. `None`: TLS is not offered here.
pub type TlsSource = Arc<dyn Fn() -> Option<Arc<ServerConfig>> + Send + Sync>;

/// Why a certificate and its key do not serve; the operator's fault.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    #[error("the private key cannot be used: {0}")]
    PrivateKey(String),
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// Protocol names of TURN and of STUN's NAT discovery over TLS (RFC 7443).
const ALPN: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];

/// Makes a configuration for TLS 1.2 and 1.3 from a certificate chain (leaf first) and its private key, both PEM.
/// A client that offers protocol names must offer `stun.turn` among them; one that offers none is welcome.
///
/// # Errors
/// [`TlsError`]: unreadable PEM, no certificate in it, or a key of another certificate.
pub fn server_config(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = read_pair(chain_pem, key_pem)?;
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Certificate(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(explain)?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// Reads a chain and its key, both PEM; whether they belong together is not looked at.
///
/// # Errors
/// [`TlsError`]: unreadable PEM, or no certificate in it.
pub fn read_pair(
    chain_pem: &[u8],
    key_pem: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::Certificate("no certificate in the file".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| TlsError::PrivateKey(error.to_string()))?;
    Ok((chain, key))
}

/// Checks that a key is ECDSA and belongs to the certificate, both DER.
pub(crate) fn check_ecdsa_pair(leaf_der: &[u8], key_der: &[u8]) -> Result<(), TlsError> {
    let unusable = |error: &dyn std::fmt::Display| TlsError::PrivateKey(error.to_string());
    let key = PrivateKeyDer::try_from(key_der).map_err(|error| unusable(&error))?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(explain)?;
    if key.algorithm() != SignatureAlgorithm::ECDSA {
        return Err(unusable(&"DTLS takes an ECDSA key, on P-256 or P-384"));
    }
    match CertifiedKey::new(vec![CertificateDer::from(leaf_der).into_owned()], key).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(error) => Err(explain(error)),
    }
}

fn explain(error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
        rustls::Error::InvalidCertificate(_) => TlsError::Certificate(error.to_string()),
        other => TlsError::PrivateKey(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["edge.test".into()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_becomes_a_configuration_with_the_names_of_turn() {
        let (chain, key) = pair();
        let config = server_config(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(config.alpn_protocols[0], b"stun.turn");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let ((chain, _), (_, key)) = (pair(), pair());
        assert!(matches!(server_config(chain.as_bytes(), key.as_bytes()), Err(TlsError::Mismatch)));
    }

    #[test]
    fn files_that_hold_nothing_are_refused_by_name() {
        let (chain, key) = pair();
        assert!(matches!(server_config(b"", key.as_bytes()), Err(TlsError::Certificate(_))));
        assert!(matches!(server_config(chain.as_bytes(), b"junk"), Err(TlsError::PrivateKey(_))));
    }
}
