//! What a client is told, what it tells, and why it fails.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use zeroize::Zeroize;

use crate::error_code::ErrorCode;
use crate::io::{Family, PortWish, Transport};

/// Username and password of the long-term mechanism. Wiped when dropped; `Debug` shows the username alone.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    pub(crate) username: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

impl ClientCredentials {
    /// As the token service gave them; the password may be bytes that are no text.
    pub fn new(username: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) -> Self {
        Self { username: username.into(), password: password.into() }
    }
}

impl Drop for ClientCredentials {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl std::fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientCredentials({:?})", String::from_utf8_lossy(&self.username))
    }
}

/// Which integrity attribute requests carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IntegrityWish {
    /// The best that the server offers: SHA-256 with PASSWORD-ALGORITHMS, else SHA-1.
    #[default]
    Offered,
    /// MESSAGE-INTEGRITY with a key of MD5, whatever is offered.
    Sha1,
}

/// What one client asks of one server over one 5-tuple.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    pub server: SocketAddr,
    pub transport: Transport,
    pub credentials: ClientCredentials,
    /// A reserved port goes without `family`: the server knows it (RFC 8656 section 7.2).
    pub port: PortWish,
    /// `None` leaves it to the server, which means IPv4.
    pub family: Option<Family>,
    /// `None` leaves it to the server, usually 600 s.
    pub lifetime_secs: Option<u32>,
    pub integrity: IntegrityWish,
}

impl ClientSettings {
    /// Any port, the server's own lifetime and family, the best integrity.
    pub fn new(server: SocketAddr, transport: Transport, credentials: ClientCredentials) -> Self {
        Self {
            server,
            transport,
            credentials,
            port: PortWish::Any,
            family: None,
            lifetime_secs: None,
            integrity: IntegrityWish::default(),
        }
    }
}

/// What the server gave us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// Our relayed transport address.
    pub relayed: SocketAddr,
    /// Our address as the server sees it; `None` from a server that does not say.
    pub mapped: Option<SocketAddr>,
    /// How long it lasts unless refreshed, which the client sees to.
    pub lifetime: Duration,
    /// The token for the next higher port, when EVEN-PORT asked for one; good for 30 s and one Allocate.
    pub reservation: Option<[u8; 8]>,
}

/// Something the owner of a client should know, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    Allocated(Allocated),
    /// The server named another one (RFC 8489 section 10). Over UDP the client asks there at once; over a stream it
    /// waits for [`start`](crate::client::TurnClient::start) on a connection to `server`.
    Redirected {
        server: SocketAddr,
    },
    Permitted(IpAddr),
    PermissionRefused {
        peer: IpAddr,
        why: Refusal,
    },
    ChannelBound {
        peer: SocketAddr,
        channel: u16,
    },
    /// Send indications go on.
    ChannelRefused {
        peer: SocketAddr,
        why: Refusal,
    },
    /// The allocation goes by the new credentials from here on.
    CredentialsTaken,
    /// The new credentials are not good for this allocation (401, 441): it goes on under the former ones, to their end.
    CredentialsRefused(ErrorCode),
    /// An ICMP error about a datagram to this peer came back (RFC 8656 section 11.5).
    PeerUnreachable {
        peer: SocketAddr,
        icmp_type: u8,
        icmp_code: u16,
    },
    /// The allocation was given back, or the server did not answer that.
    Released,
    /// The end: there is no allocation (any more).
    Failed(Failure),
}

/// Why a permission or a channel is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server's answer.
    Code(ErrorCode),
    NoAnswer,
    /// Our own limit of permissions or channels.
    TooMany,
}

/// Why a client has no allocation; each belongs to one [`EdgeFailure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the TURN server does not answer")]
    NoAnswer,
    #[error("the TURN server fell silent")]
    Silent,
    #[error("the connection to the TURN server is closed")]
    Closed,
    #[error("the TURN server sends to another one again")]
    Redirects,
    #[error("the TURN server refuses the credentials ({})", .0.number())]
    Credentials(ErrorCode),
    #[error("the TURN server holds another allocation for our 5-tuple, or lost ours (437)")]
    Mismatch,
    #[error("the quota of allocations is reached (486)")]
    Quota,
    #[error("the TURN server has no port or memory left (508)")]
    Capacity,
    #[error("the TURN server refuses the request ({})", .0.number())]
    Refused(ErrorCode),
    #[error("the TURN server's answer lacks what it must have")]
    Answer,
    #[error("the TURN server offers no password algorithm that we know, or hides what it offers")]
    Algorithms,
}

/// The three ways in which an edge fails a call; a closed set, for health checks, metrics and call records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EdgeFailure {
    /// Misconfigured or not running.
    Unreachable,
    /// No token was to be had, or the edge refuses it.
    NoCredentials,
    /// Out of ports, quota or other resources.
    OutOfPorts,
}

impl EdgeFailure {
    /// Every one, in order.
    pub const ALL: [Self; 3] = [Self::Unreachable, Self::NoCredentials, Self::OutOfPorts];

    /// A word for labels and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "edge_unreachable",
            Self::NoCredentials => "edge_no_credentials",
            Self::OutOfPorts => "edge_out_of_ports",
        }
    }
}

impl std::fmt::Display for EdgeFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "the edge is misconfigured or not running",
            Self::NoCredentials => "no credentials for the edge",
            Self::OutOfPorts => "the edge is out of ports",
        })
    }
}

impl Failure {
    /// Which of the three an operator should look into.
    pub fn edge(self) -> EdgeFailure {
        match self {
            Self::NoAnswer
            | Self::Silent
            | Self::Closed
            | Self::Redirects
            | Self::Mismatch
            | Self::Refused(_)
            | Self::Answer
            | Self::Algorithms => EdgeFailure::Unreachable,
            Self::Credentials(_) => EdgeFailure::NoCredentials,
            Self::Quota | Self::Capacity => EdgeFailure::OutOfPorts,
        }
    }
}

/// What became of bytes from the server. Ranges count from the start of what was handed in: nothing is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientInput {
    /// A peer's datagram.
    Data { peer: SocketAddr, payload: Range<usize> },
    /// For the client itself: drain the polls.
    Consumed,
    /// Not from our server, or of no use: nothing changed.
    Ignored,
}

/// How far one call of [`handle_stream`](crate::client::TurnClient::handle_stream) came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientProgress {
    /// Bytes to take off the front once `input` was dealt with; 0 when more are needed.
    pub consumed: usize,
    pub input: ClientInput,
}
