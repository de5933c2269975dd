//! What goes into an agent and what comes out: the whole surface between the state machine and its shell.

use std::net::SocketAddr;
use std::ops::Range;

use postern_turn::client::{ClientCredentials, EdgeFailure, Failure};
use postern_turn::error_code::ErrorCode;
pub use postern_turn::io::{Family, HEADROOM, TAILROOM, Transport};

use crate::candidate::{Candidate, Component};

/// A local UDP socket: its place in [`Settings::sockets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u8);

/// A connection to an edge, named by the agent; never named twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(pub u32);

/// The shell's own name for an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EdgeId(pub u16);

/// Who decides which pair is used (RFC 8445 section 4). The offerer is controlling, unless the peer is lite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Controlling,
    Controlled,
}

impl Role {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Controlling => Self::Controlled,
            Self::Controlled => Self::Controlling,
        }
    }
}

/// A bound UDP socket of the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalSocket {
    pub component: Component,
    /// With the real address, not the unspecified one.
    pub address: SocketAddr,
}

/// A TURN server with credentials for it.
#[derive(Clone, Debug)]
pub struct EdgeServer {
    pub id: EdgeId,
    /// Over UDP an edge is left out that no socket has the family of.
    pub server: SocketAddr,
    /// UDP, TCP or TLS; for TLS the shell knows the name that `id` has.
    pub transport: Transport,
    pub credentials: ClientCredentials,
    /// Family of the relayed address; `None` leaves it to the edge, which means IPv4.
    pub family: Option<Family>,
}

/// What an agent is told at birth.
#[derive(Clone, Debug)]
pub struct Settings {
    pub role: Role,
    /// RTCP shares RTP's flow (RFC 5761): one component.
    pub mux: bool,
    /// Host candidates, the preferred addresses first; at most [`SOCKETS_MAX`](crate::limits::SOCKETS_MAX).
    pub sockets: Vec<LocalSocket>,
    /// Asked for server-reflexive addresses; an edge over UDP tells them anyway.
    pub stun_servers: Vec<SocketAddr>,
    /// Asked for relayed addresses, the preferred first; all at once.
    pub edges: Vec<EdgeServer>,
    /// Only relayed candidates are told and used.
    pub relay_only: bool,
}

/// By what bytes leave or come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// A datagram of this socket.
    Socket(SocketId),
    /// Bytes of this connection.
    Stream(StreamId),
}

/// Work for the shell, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Transmit(Transmit),
    /// Connect to an edge, then call [`handle_connected`](crate::Agent::handle_connected) or
    /// [`handle_closed`](crate::Agent::handle_closed).
    Connect {
        stream: StreamId,
        edge: EdgeId,
        server: SocketAddr,
        /// TCP or TLS.
        transport: Transport,
    },
    /// Close the connection; nothing of it is expected any more.
    Close {
        stream: StreamId,
    },
}

/// Control bytes to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub way: Way,
    /// Where to; on a stream the server, for the record.
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// Media to send: `frame` is a range of the buffer that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub way: Way,
    pub to: SocketAddr,
    pub frame: Range<usize>,
}

/// What became of bytes that came. Ranges count from the start of what was handed in: nothing is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// RTP, RTCP or DTLS from a source that passed a check.
    Media {
        component: Component,
        /// The peer, also where a relay is between.
        from: SocketAddr,
        payload: Range<usize>,
    },
    /// For the agent itself: drain the polls.
    Consumed,
    Ignored(Ignored),
}

/// How far one call of [`handle_stream`](crate::Agent::handle_stream) came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamProgress {
    /// Bytes to take off the front of the accumulation buffer once `input` was dealt with; 0 when more are needed.
    pub consumed: usize,
    pub input: Input,
}

/// Why bytes were of no use; a closed set, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Media from where no check ever came or went well.
    UnknownSource,
    /// Neither STUN nor from an edge of ours, or malformed.
    NotForUs,
    /// A check with a wrong name or password.
    Unauthentic,
    /// A check beyond a limit.
    TooMany,
}

/// Something the shell should know, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// [`Agent::description`](crate::Agent::description) is complete: offer or answer can go out. After a restart again.
    Gathered,
    /// Media of a component goes by this pair from here on; at the first time without `former`.
    PairSelected { component: Component, pair: PairInfo, former: Option<PairInfo> },
    /// Every component has its pair.
    Completed,
    /// No pair works. After a restart the former pair stays in use as long as it has consent.
    Failed {
        /// Whether a pair of before the restart is still in use.
        keeps_former: bool,
    },
    /// The peer answered no check for 30 s (RFC 7675); told once for each pair.
    ConsentLost {
        component: Component,
        /// Whether it ever answered one after nomination: only then is its silence a reason to stop.
        ever_answered: bool,
    },
    /// Media flowed on the pair and stopped, and the peer answers no check either: an edge between may have died.
    PairQuiet { component: Component, pair: PairInfo },
    EdgeFailed {
        edge: EdgeId,
        component: Component,
        why: EdgeFailure,
        detail: Failure,
        /// A pair in use went through it: restart through another edge.
        in_use: bool,
    },
    /// New credentials are not good for allocations made under the former ones.
    EdgeCredentialsRefused { edge: EdgeId, code: ErrorCode },
    /// Both sides thought the same of themselves (RFC 8445 section 7.3.1.1).
    RoleSwitched(Role),
}

/// A pair as told to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairInfo {
    pub local: Candidate,
    pub remote: Candidate,
    /// The edge whose relay is the local candidate.
    pub edge: Option<EdgeId>,
}

/// What a remote description meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteChange {
    /// The first one, or the answer to a restart of ours.
    Taken,
    /// The session goes on; new candidates were added as long as they can be of use.
    Same,
    /// The peer restarted: the answer carries our new [`Agent::description`](crate::Agent::description).
    Restarted,
    /// The peer answered a restart of ours with its old credentials: the old session goes on, with our new candidates.
    RestartIgnored,
}
