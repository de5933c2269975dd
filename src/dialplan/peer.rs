//! Who is at the other end: gateways, and routers of ours.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use postern_sip::{SipUri, Source, Transport};

/// Whom a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The source address lies in this network.
    Network(IpNet),
    /// The certificate shown holds this name.
    Name(String),
}

impl Peer {
    /// How surely `source` is this peer; `None` when it is not. A name in a certificate is worth more than any address,
    /// a small network more than a large one.
    pub(crate) fn match_of(&self, source: &Source) -> Option<u16> {
        match self {
            Self::Name(name) if source.transport == Transport::Tls && source.has_name(name) => Some(u16::MAX),
            Self::Network(network) if network.contains(&plain(source.remote.ip())) => Some(network.prefix_len().into()),
            _ => None,
        }
    }
}

/// An IPv4 client of a dual-stack socket counts by its IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => network.addr().fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A gateway, IP PBX or SBC that calls come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub peer: Peer,
    /// Name of the plan that its calls belong to, unless a hunt group says otherwise.
    pub plan: String,
    pub status: Status,
    pub diversion: DiversionOrder,
    /// Plain RTP is taken from the address that its signalling came from.
    pub symmetric_rtp: bool,
    /// Contacts in one 302; `None` is as many as the router names.
    pub contacts: Option<u32>,
    /// Where our own calls and notifications go; `None` for one that only calls.
    pub target: Option<SipUri>,
    /// Whether our own calls leave through it.
    pub outcalls: bool,
    /// Whether it is told of messages that wait.
    pub mwi: bool,
}

impl Gateway {
    /// How records, metrics and other hops call it: its address or name.
    pub fn label(&self) -> String {
        self.peer.to_string()
    }
}

/// Whether calls of a gateway are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    #[default]
    Enabled,
    /// Calls that run go on; new ones are 480.
    NoNewCalls,
    /// As if it were not there.
    Disabled,
}

/// Which of several Diversion entries names the mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiversionOrder {
    /// Who diverted last (RFC 5806 section 6: the top entry).
    #[default]
    Top,
    /// Who was called first.
    Bottom,
}
