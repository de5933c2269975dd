//! A certificate authority for tests of mutual TLS, here and in the rooms above.

use postern_transport::{ClientCertificates, TlsIdentity};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// An identity of this name that trusts the same authority.
    pub fn identity(&self, name: &str) -> TlsIdentity {
        self.identity_until(name, 2041)
    }

    /// The same, which expires with the beginning of that year.
    pub fn identity_until(&self, name: &str, year: i32) -> TlsIdentity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        TlsIdentity {
            certificate: certificate.pem().into_bytes(),
            private_key: key.serialize_pem().into_bytes(),
            ca: self.pem.clone().into_bytes(),
            client_certificates: ClientCertificates::Required,
        }
    }

    /// What trusts this authority but shows nothing.
    pub fn roots(&self) -> Vec<u8> {
        self.pem.clone().into_bytes()
    }
}
