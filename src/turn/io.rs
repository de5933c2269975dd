//! What goes into the server and what comes out: the whole surface between the state machine and its shell.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::record::{EndReason, EndRecord, StartRecord};

/// The two clocks a server needs, read once per turn of the shell's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of a monotonic clock, from any origin; every timer runs on it.
    pub mono_nanos: u64,
    /// Unix seconds, only to judge tokens and nonces.
    pub unix_secs: u64,
}

/// How a client reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Dtls,
}

impl Transport {
    /// Whether it is a connection of bytes, whose source has shown that it hears us.
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }
}

/// The client's 5-tuple, with the shell's own handles for it. Never a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    pub transport: Transport,
    /// The shell's index of the listener that the packet or connection came in by.
    pub listener: u16,
    /// The shell's index of the connection for stream transports, 0 for UDP and DTLS.
    pub stream: u32,
    /// Address and port of ours that the client sends to.
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl Client {
    /// The client's address as it is told (XOR-MAPPED-ADDRESS): an IPv4 client of a dual-stack listener is an IPv4 one.
    pub fn reflexive(&self) -> SocketAddr {
        SocketAddr::new(self.remote.ip().to_canonical(), self.remote.port())
    }
}

/// A peer's transport address, as the relay's socket sees it. Never a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub SocketAddr);

/// The shell's index of an open relay socket on this shard (dense: a slab index).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayId(pub u32);

/// The server's index of an allocation on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllocationId(pub u32);

/// CONNECTION-ID of a peer's TCP connection (RFC 6062 section 6.2.1); unique in the process: the low byte is the shard
/// that drew it, so that a ConnectionBind finds its allocation without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u32);

impl ConnectionId {
    /// The shard whose server knows this connection.
    pub fn shard(self) -> u8 {
        self.0 as u8
    }
}

/// Family of a relayed transport address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

/// What became of a client's bytes. The payload range points into the buffer that was handed in: nothing is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A message for the server itself: drain [`poll`](crate::Server::poll).
    Control,
    /// Send these bytes from `relay` to `peer`.
    ToPeer {
        relay: RelayId,
        peer: Peer,
        payload: Range<usize>,
        tos: u8,
        dont_fragment: bool,
    },
    Drop(DropReason),
}

/// How far one call of [`handle_stream`](crate::Server::handle_stream) came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamProgress {
    /// Bytes to take off the front of the accumulation buffer once the verdict was carried out; 0 when more are needed.
    pub consumed: usize,
    /// What became of the frame that `consumed` covers; its ranges count from the start of the buffer handed in.
    pub verdict: Option<Verdict>,
}

/// What became of a peer's datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerVerdict {
    /// Send these bytes to `client`; the ChannelData or Data indication header was written into the headroom in place.
    ToClient {
        client: Client,
        frame: Range<usize>,
        tos: u8,
    },
    Drop(DropReason),
}

/// Bytes that must stand free before a peer's payload: a Data indication over IPv6 needs 20 + 24 + 4.
pub const HEADROOM: usize = 64;
/// Bytes that must stand free after a peer's payload, for padding.
pub const TAILROOM: usize = 8;

/// Work for the shell, in the order in which it must be done.
#[derive(Debug)]
pub enum Action {
    /// A control message. `from` says from which of our addresses (RFC 5780); usually the one it came to.
    ToClient {
        client: Client,
        to: SocketAddr,
        from: ReplyFrom,
        message: Vec<u8>,
    },
    /// Ask the broker, bind the socket(s), then call `handle_relay_opened` or `handle_relay_failed`.
    OpenRelay(OpenRelay),
    /// Close the socket and give port and quota unit back to the broker. TCP: the listener of the relayed address too.
    CloseRelay {
        relay: RelayId,
        lease: u64,
    },
    /// Connect from the relayed address to the peer (RFC 6062), then call `handle_peer_connected` or `_connect_failed`.
    ConnectPeer {
        connection: ConnectionId,
        relay: RelayId,
        peer: Peer,
    },
    /// Join the client's data connection with the peer's: from here on bytes flow untouched.
    Splice {
        stream: u32,
        connection: ConnectionId,
    },
    ClosePeer {
        connection: ConnectionId,
    },
    /// End the client's connection after what is queued for it.
    CloseClient {
        client: Client,
        cause: CloseCause,
    },
    /// The allocation with this mobility ticket lives on another shard: fetch it, `handle_adopted` with `client`, hand
    /// `message` in again.
    Adopt {
        client: Client,
        ticket: Vec<u8>,
        message: Vec<u8>,
    },
    /// Kernel path: these packets may take the short way until `Unbind`.
    Bind {
        client: Client,
        channel: u16,
        relay: RelayId,
        peer: Peer,
    },
    Unbind {
        client: Client,
        channel: u16,
        relay: RelayId,
        peer: Peer,
    },
    Started(Box<StartRecord>),
    /// The allocation's client came back from another 5-tuple (RFC 8016).
    Moved {
        from: Client,
        to: Client,
    },
    /// The client gave one of two relayed addresses back and keeps the other; comes before its `CloseRelay`, so that what
    /// the shell knows of it can be kept for the record. `serial` and `transport` are those of the allocation's
    /// [`StartRecord`].
    Released {
        serial: u64,
        transport: Transport,
        relay: RelayId,
        family: Family,
    },
    Ended(Box<EndRecord>, EndReason),
    /// Something an operator should read, at most as often as its limit allows.
    Warn(Warning),
}

/// Why the server ends a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// What came can be no frame.
    Framing,
    /// Its source had its answers for requests without credentials.
    Stranger,
    /// The peer connection that it carried has ended (RFC 6062).
    PeerGone,
}

/// Where an answer is sent from (RFC 5780 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFrom {
    Same,
    /// The alternate address and/or port of the NAT discovery listeners.
    Alternate {
        address: bool,
        port: bool,
    },
}

/// A relayed transport address that an authenticated Allocate asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRelay {
    pub allocation: AllocationId,
    pub quota: QuotaKey,
    /// 0 is no limit.
    pub quota_max: u32,
    pub tcp: bool,
    /// One family, or both for ADDITIONAL-ADDRESS-FAMILY (first is the requested one).
    pub families: Vec<Family>,
    pub port: PortWish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortWish {
    Any,
    /// EVEN-PORT; with `reserve` the next port is kept for 30 s under a token.
    Even {
        reserve: bool,
    },
    Reserved([u8; 8]),
}

/// Whose quota an allocation counts against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QuotaKey {
    Identity(String),
    /// /32 or /64 of the client, for tokens that name nobody.
    Address(IpAddr),
}

/// A relay socket that the shell opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedRelay {
    pub relay: RelayId,
    /// Local transport address (before `advertise`).
    pub local: SocketAddr,
    /// The broker's handle, given back in `CloseRelay`.
    pub lease: u64,
}

/// The broker's and the shell's answer to [`Action::OpenRelay`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenedRelays {
    /// One per family asked for, but those in `failed`; never empty.
    pub relays: Vec<OpenedRelay>,
    /// The token under which the next port is kept, when EVEN-PORT asked for that.
    pub reservation: Option<[u8; 8]>,
    /// The family of two that could not be had (ADDRESS-ERROR-CODE).
    pub failed: Vec<(Family, RelayFailure)>,
}

/// An ICMP error about a datagram that a relay sent, or the shell's own EMSGSIZE in the shape of one (type 3 code 4;
/// type 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerIcmp {
    /// Where the datagram was going.
    pub peer: Peer,
    pub icmp_type: u8,
    pub code: u8,
    /// The MTU for "fragmentation needed" and "packet too big", else 0.
    pub info: u32,
}

/// Why there is no relay socket; each maps to one error answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayFailure {
    /// 486
    Quota,
    /// 508
    NoPort,
    /// 508: RESERVATION-TOKEN unknown, used or expired.
    BadReservation,
    /// 440: no relay address of that family.
    Family,
    /// 508: descriptors or memory exhausted.
    Exhausted,
}

/// Why a packet went nowhere; a closed set, each a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    NotStun,
    /// STUN that cannot be read, or that nobody may send to a server.
    Malformed,
    BadFingerprint,
    UnknownAttribute,
    NoAllocation,
    NoChannel,
    NoPermission,
    PeerForbidden,
    Oversize,
    Bitrate,
    RateLimited,
    UnknownRelay,
    Expired,
    QueueFull,
    FamilyMismatch,
}

impl DropReason {
    /// Every reason, in order.
    pub const ALL: &'static [Self] = &[
        Self::NotStun,
        Self::Malformed,
        Self::BadFingerprint,
        Self::UnknownAttribute,
        Self::NoAllocation,
        Self::NoChannel,
        Self::NoPermission,
        Self::PeerForbidden,
        Self::Oversize,
        Self::Bitrate,
        Self::RateLimited,
        Self::UnknownRelay,
        Self::Expired,
        Self::QueueFull,
        Self::FamilyMismatch,
    ];
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    QuotaReached { identity: String },
    ExpiredToken { identity: String },
}
