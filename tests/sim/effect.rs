//! What goes into the edge and what comes out of it, as the network and the model see it.

use std::net::SocketAddr;

use postern_turn::io::{Client, OpenRelay, PeerIcmp, RelayFailure};
use postern_turn::record::{EndReason, EndRecord, StartRecord};

use crate::rules::Rules;

/// One step of the simulation: an input of the edge.
#[derive(Clone, Debug)]
pub enum Input {
    /// A datagram at a listener, or a frame of a stream.
    Client {
        client: Client,
        bytes: Vec<u8>,
    },
    /// The client's stream closed.
    ClientClosed {
        client: Client,
    },
    /// A datagram at a relay socket.
    Peer {
        relay: SocketAddr,
        from: SocketAddr,
        payload: Vec<u8>,
    },
    /// An ICMP error about what a relay sent.
    Icmp {
        relay: SocketAddr,
        icmp: PeerIcmp,
    },
    /// The shell gets round to opening a relay that shard asked for.
    Open {
        shard: usize,
        wish: OpenRelay,
    },
    /// The shell gets round to moving an allocation to shard `to`, where its client came back.
    Adopt {
        to: usize,
        client: Client,
        ticket: Vec<u8>,
        message: Vec<u8>,
    },
    /// A relay's socket breaks.
    LoseRelay {
        relay: SocketAddr,
    },
    /// A server's timers.
    Timeout {
        shard: usize,
    },
    BrokerTimeout,
    Reload(Box<Rules>),
    Drain,
    Shutdown,
}

/// Something that left the edge, or that the shell did.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A control message.
    Answer {
        client: Client,
        message: Vec<u8>,
    },
    /// A relayed frame.
    ToClient {
        client: Client,
        frame: Vec<u8>,
    },
    /// A relayed payload; addresses are local ones.
    ToPeer {
        from: SocketAddr,
        to: SocketAddr,
        payload: Vec<u8>,
    },
    /// Still to be done by the shell.
    Asked {
        shard: usize,
        wish: OpenRelay,
    },
    Handover {
        to: usize,
        client: Client,
        ticket: Vec<u8>,
        message: Vec<u8>,
    },
    Opened {
        local: SocketAddr,
    },
    Reserved {
        local: SocketAddr,
        token: [u8; 8],
    },
    NotOpened {
        failure: RelayFailure,
    },
    /// The socket of an allocation is closed.
    Closed {
        local: SocketAddr,
    },
    /// The socket of a reservation is closed.
    ReservationOver {
        local: SocketAddr,
    },
    /// Relay sockets went to another shard.
    Moved {
        relays: Vec<SocketAddr>,
        to: usize,
    },
    Bound(ShortWay),
    Unbound(ShortWay),
    Started(Box<StartRecord>),
    Ended(Box<EndRecord>, EndReason),
}

/// A channel that the kernel may forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShortWay {
    pub client: Client,
    pub channel: u16,
    pub relay: SocketAddr,
    pub peer: SocketAddr,
}
