//! What an operator should hear of.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use postern_sip::Transport as Protocol;

/// Something that happened below SIP. For log lines and counters; nothing needs to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A connection stands: accepted, and handshaken if it is TLS.
    Accepted {
        remote: SocketAddr,
    },
    /// The peer's TLS does not fit ours, or its certificate is not to be trusted.
    HandshakeFailed {
        remote: SocketAddr,
        reason: String,
    },
    HandshakeTimedOut {
        remote: SocketAddr,
    },
    /// Refused: too many handshakes of this source.
    CappedSource {
        source: IpAddr,
    },
    /// Refused: too many handshakes of all sources.
    CappedTotal,
    /// Refused by the core's caps.
    Refused {
        remote: SocketAddr,
        protocol: Protocol,
    },
    /// A connection that was wanted could not be made, or the peer did not prove its name.
    ConnectFailed {
        remote: SocketAddr,
        reason: String,
    },
    /// Closed: it did not read what was sent to it.
    SlowReader {
        remote: SocketAddr,
    },
    /// Out of descriptors or memory: no accept for a moment.
    AcceptPaused {
        local: SocketAddr,
        reason: String,
    },
    /// A UDP socket said so.
    SocketFailed {
        local: SocketAddr,
        reason: String,
    },
    /// DNS cannot be asked.
    DnsFailed {
        reason: String,
    },
}

impl Report {
    /// Over what the connection came that this tells the refusal of, by a limit or a failed handshake.
    pub fn refused(&self) -> Option<Protocol> {
        match self {
            Report::Refused { protocol, .. } => Some(*protocol),
            Report::HandshakeFailed { .. }
            | Report::HandshakeTimedOut { .. }
            | Report::CappedSource { .. }
            | Report::CappedTotal => Some(Protocol::Tls),
            _ => None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Accepted { remote } => write!(f, "connection from {remote}"),
            Report::HandshakeFailed { remote, reason } => write!(f, "TLS handshake with {remote} failed: {reason}"),
            Report::HandshakeTimedOut { remote } => write!(f, "TLS handshake with {remote} took too long"),
            Report::CappedSource { source } => write!(f, "too many TLS handshakes with {source} at once"),
            Report::CappedTotal => f.write_str("too many TLS handshakes at once"),
            Report::Refused { remote, .. } => write!(f, "too many connections, {remote} is refused"),
            Report::ConnectFailed { remote, reason } => write!(f, "no connection to {remote}: {reason}"),
            Report::SlowReader { remote } => write!(f, "{remote} does not read, closed"),
            Report::AcceptPaused { local, reason } => write!(f, "cannot accept on {local} for the moment: {reason}"),
            Report::SocketFailed { local, reason } => write!(f, "UDP socket {local}: {reason}"),
            Report::DnsFailed { reason } => write!(f, "DNS cannot be asked: {reason}"),
        }
    }
}

/// Called on the runtime's threads; must not block.
pub type OnReport = Arc<dyn Fn(Report) + Send + Sync>;
