//! Where a message came from, and how it may travel.

use std::net::SocketAddr;
use std::sync::Arc;

/// A connection, numbered by the endpoint; never used again after it closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What carries SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// The word in Via.
    pub fn via_name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// The value of a URI's `transport` parameter. `tls` is deprecated there and in general use.
    pub fn param(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    /// Of a URI's `transport` parameter.
    pub fn from_param(value: &str) -> Option<Transport> {
        [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .find(|transport| transport.param().eq_ignore_ascii_case(value))
    }

    /// Whether bytes arrive, in order, or the sender learns that they do not.
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }
}

/// Where a message came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub transport: Transport,
    /// Address and port of ours that it came to.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Names in the peer's certificate (DNS names and addresses as text, lower case), verified against our CA; empty
    /// without one.
    pub names: Arc<[String]>,
    /// The connection it came by; `None` for UDP.
    pub conn: Option<ConnId>,
}

impl Source {
    /// Whether the peer's verified certificate names this host. Wildcards do not count (RFC 5922 section 7.2).
    pub fn has_name(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}
