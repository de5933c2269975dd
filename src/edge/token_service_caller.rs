//! Who is at the other end: the DNS names of the certificate that mutual TLS has verified.

use std::net::SocketAddr;

use rustls::ServerConnection;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Names looked at in one certificate.
const NAMES_MAX: usize = 64;

/// A caller behind one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// In lower case, in the certificate's order. Only subjectAltName counts: a common name is free text (RFC 6125 section 6.4.4).
    pub(crate) names: Vec<String>,
    pub(crate) remote: SocketAddr,
}

impl Caller {
    pub(crate) fn of_connection(connection: &ServerConnection, remote: SocketAddr) -> Self {
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        Self { names: leaf.map(|leaf| dns_names(leaf)).unwrap_or_default(), remote }
    }
}

fn dns_names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let dns = alternative.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.take(NAMES_MAX).collect()
}
