use std::sync::Arc;

use postern_media::dtls::DtlsIdentity;

/// A fresh self-signed ECDSA certificate.
pub fn identity() -> Arc<DtlsIdentity> {
    let certified = rcgen::generate_simple_self_signed(vec!["postern".to_owned()]).unwrap();
    let der = certified.cert.der().to_vec();
    Arc::new(DtlsIdentity::new(der, &certified.signing_key.serialize_der()).unwrap())
}
