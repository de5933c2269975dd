//! The names that a certificate is for (RFC 5922 section 7.1).

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::limits::NAMES_MAX;

/// SIP URIs without a user, DNS names and addresses of the subject's alternative names, in lower case; the common name
/// counts only without any of them. Wildcards are left out (RFC 5922 section 7.2). Of a verified certificate only.
pub(crate) fn names_of(leaf: Option<&CertificateDer<'_>>) -> Vec<String> {
    let Some((_, certificate)) = leaf.and_then(|leaf| X509Certificate::from_der(leaf).ok()) else { return Vec::new() };
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().filter_map(name_of));
    }
    if names.is_empty() {
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.map(str::to_ascii_lowercase));
    }
    names.retain(|name| !name.is_empty() && !name.contains('*'));
    names.truncate(NAMES_MAX);
    names
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        GeneralName::URI(uri) => {
            let (scheme, host) = uri.split_once(':')?;
            let plain = scheme.eq_ignore_ascii_case("sip") && !host.contains(['@', ';', '?', ':']);
            plain.then(|| host.to_ascii_lowercase())
        }
        GeneralName::IPAddress(bytes) => {
            let address: IpAddr = match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok()?.into(),
                16 => <[u8; 16]>::try_from(*bytes).ok()?.into(),
                _ => return None,
            };
            Some(address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn names(common: &str, alternatives: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        params.subject_alt_names = alternatives;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        names_of(Some(certificate.der()))
    }

    #[test]
    fn alternative_names_count_and_wildcards_do_not() {
        let alternatives = vec![
            SanType::DnsName("GW.example.test".try_into().unwrap()),
            SanType::DnsName("*.example.test".try_into().unwrap()),
            SanType::URI("sip:pool.example.test".try_into().unwrap()),
            SanType::URI("sip:user@evil.test".try_into().unwrap()),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
        ];
        assert_eq!(names("cn.test", alternatives), ["gw.example.test", "pool.example.test", "192.0.2.1"]);
    }

    #[test]
    fn the_common_name_counts_only_alone() {
        assert_eq!(names("CN.test", Vec::new()), ["cn.test"]);
        assert_eq!(names_of(None), Vec::<String>::new());
    }
}
