//! What a transport is told at birth.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use postern_net::BindError;
use postern_net::tls::TlsError;
use postern_sip::Transport as Protocol;
use postern_sip::io::SrvRecord;

use crate::report::{OnReport, Report};

/// Who we are and whom we trust, all PEM.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The chain, leaf first.
    pub certificate: Vec<u8>,
    pub private_key: Vec<u8>,
    /// Authorities whose certificates peers show, as clients and as servers.
    pub ca: Vec<u8>,
    pub client_certificates: ClientCertificates,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("client_certificates", &self.client_certificates).finish_non_exhaustive()
    }
}

/// What is asked of those who connect to our TLS listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Mutual TLS: none comes in without one that an authority of ours signed.
    #[default]
    Required,
    /// One that is shown must be good; without one the source has no names.
    Optional,
}

/// Names that need no DNS. A name that stands here is not asked about at all, nor are its SRV records unless they stand
/// here too.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Addresses by name in lower case, in the order in which they are tried.
    pub addresses: HashMap<String, Vec<IpAddr>>,
    /// Records by full name (`_sip._tcp.example.test`) in lower case.
    pub srv: HashMap<String, Vec<SrvRecord>>,
}

/// Where to listen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    pub tcp: Vec<SocketAddr>,
    pub tls: Vec<SocketAddr>,
    pub udp: Vec<SocketAddr>,
}

/// What a transport is told at birth.
#[derive(Clone)]
pub struct TransportOptions {
    pub listening: Listening,
    /// Needed for TLS, in and out.
    pub tls: Option<TlsIdentity>,
    pub hosts: Hosts,
    /// DNS servers to ask in place of the system's.
    pub dns_servers: Vec<SocketAddr>,
    pub on_report: OnReport,
}

impl Default for TransportOptions {
    fn default() -> TransportOptions {
        TransportOptions {
            listening: Listening::default(),
            tls: None,
            hosts: Hosts::default(),
            dns_servers: Vec::new(),
            on_report: Arc::new(|_: Report| {}),
        }
    }
}

/// Why a transport does not start, or goes on as it was; the operator's fault.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A TLS listener is wanted.
    #[error("a TLS listener needs a certificate and its key")]
    NoIdentity,
    /// A file of authorities.
    #[error("the authorities' certificates cannot be used: {0}")]
    Authorities(String),
    #[error("the runtime cannot watch {protocol:?} {addr}: {source}")]
    Runtime { protocol: Protocol, addr: SocketAddr, source: std::io::Error },
}
