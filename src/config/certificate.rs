//! Certificate chains and keys from PEM: read, matched, and asked for their names and dates.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Largest PEM file that is read, in bytes.
pub const PEM_BYTES_MAX: usize = 1 << 20;

/// Most certificates in one chain or in one set of roots.
pub const CERTIFICATES_MAX: usize = 64;

/// A chain whose leaf and private key belong together.
pub struct CertifiedKeyMaterial {
    /// Leaf first, as it goes on the wire.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// Chain and key ready for a rustls resolver.
    pub certified: Arc<CertifiedKey>,
    /// DNS names of the leaf in lower case, from subjectAltName alone (RFC 6125 section 6.4.4); `*.` ones included.
    pub names: Vec<String>,
    /// IP addresses of the leaf, from subjectAltName.
    pub addresses: Vec<IpAddr>,
    /// First second in which the leaf is valid, Unix seconds.
    pub not_before_unix_secs: i64,
    /// Last second in which the leaf is valid, Unix seconds.
    pub not_after_unix_secs: i64,
    /// Whether the leaf's key is on an elliptic curve, as DTLS listeners need.
    pub elliptic: bool,
}

impl CertifiedKeyMaterial {
    /// Whether a client that connects to `host` (a DNS name or an address, without brackets) accepts the leaf's names.
    pub fn covers(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            // RFC 6125 section 6.4.3: a wildcard stands for exactly one label.
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => *name == host,
        })
    }
}

impl fmt::Debug for CertifiedKeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertifiedKeyMaterial")
            .field("chain", &self.chain.len())
            .field("names", &self.names)
            .field("addresses", &self.addresses)
            .field("not_before_unix_secs", &self.not_before_unix_secs)
            .field("not_after_unix_secs", &self.not_after_unix_secs)
            .finish_non_exhaustive()
    }
}

/// Why a certificate or key cannot be used. The operator is at fault in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairError {
    /// The certificate file holds no usable chain.
    Certificate(String),
    /// The key file holds no usable key.
    PrivateKey(String),
    /// Both are well, but do not belong together.
    Mismatch,
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(what) | Self::PrivateKey(what) => f.write_str(what),
            Self::Mismatch => f.write_str("the private key does not belong to the certificate"),
        }
    }
}

impl std::error::Error for PairError {}

/// Reads a PEM chain (leaf first) and a PEM key (PKCS#8, PKCS#1 or SEC1) and proves that they belong together.
///
/// # Errors
/// [`PairError`], naming the one of the two that is at fault.
pub fn load_pair(certificate: &[u8], private_key: &[u8]) -> Result<CertifiedKeyMaterial, PairError> {
    let chain = load_certificates(certificate).map_err(PairError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(private_key)
        .map_err(|_| PairError::PrivateKey("holds no private key in PEM form (encrypted keys are not read)".into()))?;
    let signing = aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| PairError::PrivateKey("holds a key of a type that TLS does not use here".into()))?;
    let certified = CertifiedKey::new(chain.clone(), signing);
    certified.keys_match().map_err(|_| PairError::Mismatch)?;

    let (_, leaf) = X509Certificate::from_der(&chain[0])
        .map_err(|_| PairError::Certificate("its first certificate is not X.509".into()))?;
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    if let Ok(Some(alternative)) = leaf.subject_alternative_name() {
        for name in &alternative.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => addresses.extend(address_of(bytes)),
                _ => {}
            }
        }
    }
    let validity = leaf.validity();
    Ok(CertifiedKeyMaterial {
        names,
        addresses,
        not_before_unix_secs: validity.not_before.timestamp(),
        not_after_unix_secs: validity.not_after.timestamp(),
        elliptic: leaf.public_key().algorithm.algorithm == x509_parser::oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY,
        certified: Arc::new(certified),
        chain,
        key,
    })
}

/// Reads every certificate of a PEM file: at least one, at most [`CERTIFICATES_MAX`].
///
/// # Errors
/// What is wrong with the file, to follow its name.
pub fn load_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| "holds broken PEM".to_string())?;
        X509Certificate::from_der(&certificate)
            .map_err(|_| format!("its certificate number {} is not X.509", certificates.len() + 1))?;
        if certificates.len() == CERTIFICATES_MAX {
            return Err(format!("holds more than {CERTIFICATES_MAX} certificates"));
        }
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err("holds no certificate in PEM form".into());
    }
    Ok(certificates)
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{key, pem_pair};

    #[test]
    fn a_pair_tells_its_names_addresses_and_dates() {
        let (certificate, key) = pem_pair(&key());
        let material = load_pair(certificate.as_bytes(), key.as_bytes()).expect("a pair");
        assert_eq!(material.names, ["edge.example.test", "*.relay.example.test"]);
        assert_eq!(material.addresses, ["203.0.113.10".parse::<IpAddr>().expect("an address")]);
        assert_eq!(material.not_before_unix_secs, 157_766_400);
        assert!(material.not_after_unix_secs > 60_000_000_000);
        assert!(material.elliptic && material.chain.len() == 1);
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        let (certificate, key) = pem_pair(&key());
        let material = load_pair(certificate.as_bytes(), key.as_bytes()).expect("a pair");
        for (host, covered) in [
            ("edge.example.test", true),
            ("Edge.Example.Test.", true),
            ("a.relay.example.test", true),
            ("relay.example.test", false),
            ("a.b.relay.example.test", false),
            (".relay.example.test", false),
            ("203.0.113.10", true),
            ("203.0.113.11", false),
        ] {
            assert_eq!(material.covers(host), covered, "{host}");
        }
    }

    #[test]
    fn the_owner_of_the_fault_is_named() {
        let (certificate, own) = pem_pair(&key());
        let other = key().serialize_pem();
        let fault =
            |certificate: &str, key: &str| load_pair(certificate.as_bytes(), key.as_bytes()).expect_err("a fault");
        assert_eq!(fault(&certificate, &other), PairError::Mismatch);
        assert!(matches!(fault("", &own), PairError::Certificate(_)));
        assert!(matches!(fault(&own, &own), PairError::Certificate(_)));
        assert!(matches!(fault(&certificate, &certificate), PairError::PrivateKey(_)));
        let cut = certificate.replace("-----END CERTIFICATE-----", "");
        assert!(matches!(fault(&cut, &own), PairError::Certificate(_)));
    }

    #[test]
    fn nothing_of_a_key_is_in_the_debug_form() {
        let (certificate, key) = pem_pair(&key());
        let material = load_pair(certificate.as_bytes(), key.as_bytes()).expect("a pair");
        let shown = format!("{material:?}");
        assert!(shown.contains("edge.example.test") && !shown.contains("key"), "{shown}");
    }

    #[test]
    fn a_key_that_is_on_no_elliptic_curve_of_dtls_is_told_apart() {
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let (certificate, key) = pem_pair(&ed25519);
        assert!(!load_pair(certificate.as_bytes(), key.as_bytes()).expect("a pair").elliptic);
    }
}
