//! DTLS-SRTP (RFC 5763, 5764): keys for SRTP from a DTLS handshake whose certificate the signalling vouches for.

use std::fmt;
use std::sync::Arc;

use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::crypto_provider::{RTCCryptoProvider, SignatureScheme};

use crate::fingerprint::{Fingerprint, FingerprintHash};
use crate::srtp_profile::SrtpProfile;

/// Which side we are (`a=setup`, RFC 5763 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// We are active.
    Client,
    /// We are passive.
    Server,
}

/// Our certificate and its key, shared by all calls of a process.
pub struct DtlsIdentity {
    certificate: Certificate,
    der: Vec<u8>,
}

/// The certificate's key cannot be used for DTLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no ECDSA P-256, Ed25519 or RSA key in PKCS#8: {0}")]
pub struct BadIdentity(String);

impl DtlsIdentity {
    /// From a certificate in DER and its private key in PKCS#8; self-signed ones are usual, made by the shell.
    ///
    /// # Errors
    ///
    /// [`BadIdentity`] when the key is of no kind we can sign with.
    pub fn new(certificate_der: Vec<u8>, pkcs8_der: &[u8]) -> Result<Self, BadIdentity> {
        let provider = AwsLcRsProvider::new();
        let mut error = None;
        for scheme in [SignatureScheme::EcdsaP256Sha256, SignatureScheme::RsaPkcs1Sha256, SignatureScheme::Ed25519] {
            match provider.crypto().import_signing_key(scheme, pkcs8_der) {
                Ok(key) => {
                    let chain = vec![certificate_der.clone().into()];
                    return Ok(Self { certificate: Certificate::from_signing_key(chain, key), der: certificate_der });
                }
                Err(cause) => error = Some(cause.to_string()),
            }
        }
        Err(BadIdentity(error.unwrap_or_default()))
    }

    /// For `a=fingerprint` of our description.
    pub fn fingerprint(&self, hash: FingerprintHash) -> Fingerprint {
        Fingerprint::of(hash, &self.der)
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

impl fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DtlsIdentity({})", self.fingerprint(FingerprintHash::Sha256))
    }
}

/// What a DTLS handshake needs from the signalling.
#[derive(Clone, Debug)]
pub struct DtlsKeying {
    pub role: DtlsRole,
    pub identity: Arc<DtlsIdentity>,
    /// The peer's certificate must have one of these.
    pub fingerprints: Vec<Fingerprint>,
    /// Protection profiles to offer or take, best first. Those with 256-bit AES-CM are not defined for DTLS.
    pub profiles: Vec<SrtpProfile>,
}
