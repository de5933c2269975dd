//! What goes into an [`Endpoint`](crate::Endpoint) and what comes out: the surface between the SIP core and its shell
//! below, and its user above.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::message::{Request, Response};
use crate::source::{ConnId, Source, Transport};

/// Our handle of a request that came in and may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerTx(pub u64);

/// Our handle of a request that goes out, over all addresses it is tried at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientTx(pub u64);

/// Our handle of a DNS question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub u64);

/// What the shell is to ask DNS; names are fully qualified, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// SRV records of this name.
    Srv(String),
    /// A and AAAA records of this name.
    Addresses(String),
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// What DNS said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In any order.
    Srv(Vec<SrvRecord>),
    /// In the order in which they are to be tried.
    Addresses(Vec<IpAddr>),
    /// No such record, or no answer in time.
    None,
}

/// Work for the shell, in the order in which it must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect, then call `handle_connected` or `handle_connect_failed`.
    Connect {
        conn: ConnId,
        /// TCP or TLS.
        transport: Transport,
        remote: SocketAddr,
        /// With TLS, always: the name that the peer's certificate must hold (RFC 5922), an address as text if the URI
        /// had one.
        server_name: Option<String>,
    },
    /// One or more whole messages, or a keep-alive.
    Send { conn: ConnId, bytes: Vec<u8> },
    /// From this address of ours, one of [`EndpointOptions::udp`](crate::options::EndpointOptions::udp).
    SendDatagram { local: SocketAddr, remote: SocketAddr, bytes: Vec<u8> },
    /// Close once what was sent before has gone out. The endpoint has forgotten the connection: no `handle_closed`.
    Close { conn: ConnId },
    /// Ask, then call `handle_resolved`.
    Resolve { question: QuestionId, what: Question },
}

/// What the user of an endpoint must know, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request to be answered by `send_response`. Its top Via holds `received` and `rport`. Never ACK or CANCEL.
    Request { tx: ServerTx, request: Request, source: Source },
    /// The ACK for a 2xx of ours (or for somebody else's, at a proxy).
    Ack { request: Request, source: Source },
    /// The INVITE of this transaction is to be given up: answer it with 487. The CANCEL has its 200 already.
    Cancelled { tx: ServerTx, cancel: Request },
    /// A response to a request of ours: any number of 1xx, then a final one; an INVITE may get several 2xx. Its top Via
    /// is ours. 503 and failures are reported only when no address is left to be tried.
    Response { tx: ClientTx, response: Response, source: Source },
    /// There will be no final response.
    Failed { tx: ClientTx, cause: FailCause },
    /// A request was not finished: the answer could not be sent, or (INVITE) its final answer was not acknowledged, or
    /// it was left without an answer for too long. The transaction is gone.
    Abandoned { tx: ServerTx, cause: FailCause },
    /// A connection is gone; requests over it are reported by events of their own.
    Closed { conn: ConnId },
}

/// Why a transaction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailCause {
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection could be made, or it broke.
    #[error("no connection")]
    Transport,
    /// The name has no address that we could use.
    #[error("the name has no address")]
    Unresolved,
    /// `cancel` came before it was sent.
    #[error("given up before it was sent")]
    GivenUp,
}

/// Why a request is not sent; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// A cap of ours; wait and try again.
    #[error("too many requests at once")]
    TooMany,
    /// The target asks for a transport below the security asked for.
    #[error("the target cannot be reached securely")]
    NotSecure,
    /// The target asks for a transport that we do not have, or the request has no place to go.
    #[error("the target cannot be reached by any transport of ours")]
    NoTransport,
    /// CSeq, From, To or Call-ID is missing or malformed.
    #[error("the request is not complete")]
    Incomplete,
}

/// What a shell drives: an [`Endpoint`](crate::Endpoint), or what wraps one. After each call, drain `poll_action`, then
/// read `next_timeout` again. `now` never goes back.
pub trait Core {
    /// A connection was accepted (and handshaken). `source.conn` is ignored; `None`: refused by a cap, close it.
    fn handle_accepted(&mut self, source: Source, now: Instant) -> Option<ConnId>;

    /// An asked-for connection stands. `names` are those of the peer's verified certificate, which has been checked to
    /// hold the server name; empty for TCP.
    fn handle_connected(&mut self, conn: ConnId, local: SocketAddr, names: Arc<[String]>, now: Instant);

    fn handle_connect_failed(&mut self, conn: ConnId, now: Instant);

    /// Bytes of a connection, in order.
    fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Instant);

    /// A connection ended, or its reader was too slow.
    fn handle_closed(&mut self, conn: ConnId, now: Instant);

    fn handle_datagram(&mut self, local: SocketAddr, remote: SocketAddr, bytes: &[u8], now: Instant);

    fn handle_resolved(&mut self, question: QuestionId, answer: Answer, now: Instant);

    /// To be called when [`next_timeout`](Core::next_timeout) has come; harmless at any time.
    fn handle_timeout(&mut self, now: Instant);

    fn next_timeout(&self) -> Option<Instant>;

    fn poll_action(&mut self) -> Option<Action>;
}
