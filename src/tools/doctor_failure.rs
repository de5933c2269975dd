//! Why a step of the doctor's did not work, and what to do about it.

use std::fmt;

/// What went wrong between the doctor and a server, by who can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing answers: no route, refused, or silence.
    Unreachable(String),
    /// This machine has no address or route of the family.
    NoRoute(String),
    /// The server said no to a request of ours.
    Refused { request: &'static str, code: u16 },
    /// What the server sent is against the protocol.
    Protocol(String),
    /// TLS could not be agreed on.
    Tls(String),
}

impl Failure {
    pub fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }

    /// Sorts an error of a socket.
    pub fn from_io(doing: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
        let text = format!("{doing}: {error}");
        match error.kind() {
            NetworkUnreachable | HostUnreachable | AddrNotAvailable => Self::NoRoute(text),
            _ => Self::Unreachable(text),
        }
    }

    /// What the one who reads the report should do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreachable(_) => {
                "check that the edge listens there, and that every firewall between lets this port through".into()
            }
            Self::NoRoute(_) => "nothing to do unless this network should have that address family".into(),
            Self::Refused { code, .. } => refusal_remedy(*code).into(),
            Self::Protocol(_) => "check that the address is a TURN server, and that no middlebox rewrites STUN".into(),
            Self::Tls(_) => {
                "check that the port speaks TLS 1.2 or 1.3 and that the certificate pair loads (`postern check`)".into()
            }
        }
    }
}

fn refusal_remedy(code: u16) -> &'static str {
    match code {
        300 => "the edge is draining: use the alternate server, or wait until it is back",
        400 => "the server does not understand a request of RFC 8656: look for a middlebox, or at the server's log",
        401 => {
            "the credential is wrong or has expired: issue a fresh one, compare secrets (`postern token verify`) and clocks"
        }
        403 => "the edge's policy denies this peer: only `allow_peers` opens private addresses",
        437 => "an old allocation holds this address and port: wait a minute and repeat",
        438 => {
            "the server never accepts its own nonce: is the address of the client stable, and do all edges share their secrets?"
        }
        440 => "the edge has no relay address of this family: add one to `edge.relay.addresses`",
        441 => "an allocation of another user is in the way: wait until it has expired",
        442 => "the edge does not relay UDP: it must, to carry media",
        443 => "the peer's family is not the relay's: add a relay address of that family",
        486 => "the identity has all the allocations it may have: end some, or raise `allocations_per_identity`",
        508 => "no relay port is left, or the edge is draining: widen `edge.relay.ports` or raise the descriptor limit",
        _ => "look for this request in the server's log",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(text) | Self::NoRoute(text) | Self::Protocol(text) | Self::Tls(text) => f.write_str(text),
            Self::Refused { request, code: 0 } => write!(f, "{request} was refused without an error code"),
            Self::Refused { request, code } => write!(f, "{request} was refused with {code}"),
        }
    }
}

impl std::error::Error for Failure {}
