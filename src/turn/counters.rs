//! Plain counters of one server, read once per turn of its shell's loop and summed by whoever exports them.
//!
//! Every index is an enum's, so that labels come from closed sets.

use crate::error_code::ErrorCode;
use crate::io::{DropReason, Family, Transport};
use crate::message::Method;
use crate::record::EndReason;

/// Methods whose requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CountedMethod {
    Binding,
    Allocate,
    Refresh,
    CreatePermission,
    ChannelBind,
    Connect,
    ConnectionBind,
}

impl CountedMethod {
    pub const ALL: [Self; 7] = [
        Self::Binding,
        Self::Allocate,
        Self::Refresh,
        Self::CreatePermission,
        Self::ChannelBind,
        Self::Connect,
        Self::ConnectionBind,
    ];

    /// As a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Allocate => "allocate",
            Self::Refresh => "refresh",
            Self::CreatePermission => "create_permission",
            Self::ChannelBind => "channel_bind",
            Self::Connect => "connect",
            Self::ConnectionBind => "connection_bind",
        }
    }

    pub(crate) fn of(method: Method) -> Option<Self> {
        Some(match method {
            Method::Binding => Self::Binding,
            Method::Allocate => Self::Allocate,
            Method::Refresh => Self::Refresh,
            Method::CreatePermission => Self::CreatePermission,
            Method::ChannelBind => Self::ChannelBind,
            Method::Connect => Self::Connect,
            Method::ConnectionBind => Self::ConnectionBind,
            Method::Send | Method::Data | Method::ConnectionAttempt | Method::Unknown(_) => return None,
        })
    }
}

/// Error codes that this server answers with; index 0 of [`Counters::requests`] is success, then these in order.
pub const COUNTED_ERRORS: [ErrorCode; 16] = [
    ErrorCode::TRY_ALTERNATE,
    ErrorCode::BAD_REQUEST,
    ErrorCode::UNAUTHENTICATED,
    ErrorCode::FORBIDDEN,
    ErrorCode::MOBILITY_FORBIDDEN,
    ErrorCode::UNKNOWN_ATTRIBUTE,
    ErrorCode::ALLOCATION_MISMATCH,
    ErrorCode::STALE_NONCE,
    ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED,
    ErrorCode::WRONG_CREDENTIALS,
    ErrorCode::UNSUPPORTED_TRANSPORT,
    ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH,
    ErrorCode::CONNECTION_ALREADY_EXISTS,
    ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE,
    ErrorCode::ALLOCATION_QUOTA_REACHED,
    ErrorCode::INSUFFICIENT_CAPACITY,
];

/// Number of results: success and the counted errors.
pub const RESULTS: usize = COUNTED_ERRORS.len() + 1;

/// Which way a payload went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    ToPeer,
    ToClient,
}

/// How a payload was framed on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Path {
    Channel,
    Indication,
    /// RFC 6062: bytes only, packets are not known.
    Tcp,
}

/// Relayed payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    pub packets: u64,
    pub bytes: u64,
}

/// Which relayed addresses an allocation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RelayFamilies {
    V4,
    V6,
    Both,
}

impl RelayFamilies {
    pub(crate) fn of(families: impl Iterator<Item = Family>) -> Self {
        let (v4, v6) =
            families.fold((false, false), |(v4, v6), family| (v4 || family == Family::V4, v6 || family == Family::V6));
        match (v4, v6) {
            (true, true) => Self::Both,
            (false, true) => Self::V6,
            _ => Self::V4,
        }
    }
}

/// Number of reasons of [`DropReason`].
pub const DROP_REASONS: usize = DropReason::FamilyMismatch as usize + 1;

/// Number of reasons of [`EndReason`].
pub const END_REASONS: usize = EndReason::RelayLost as usize + 1;

/// Everything a server counts since its birth; but `allocations_live`, nothing ever falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By [`CountedMethod`], then by result: success, then [`COUNTED_ERRORS`]. Repeats of a request do not count.
    pub requests: [[u64; RESULTS]; CountedMethod::ALL.len()],
    /// By [`DropReason`].
    pub drops: [u64; DROP_REASONS],
    /// By [`Direction`], then by [`Path`].
    pub relayed: [[Relayed; 3]; 2],
    /// Answers to unauthenticated senders that were withheld.
    pub strangers_limited: u64,
    /// ICMP errors told to clients.
    pub icmp_told: u64,
    /// Living allocations, by [`Transport`] and [`RelayFamilies`].
    pub allocations_live: [[u64; 3]; 4],
    pub allocations_started: u64,
    /// By [`EndReason`].
    pub allocations_ended: [u64; END_REASONS],
    /// Allocations that came from another shard, and that went to one (RFC 8016).
    pub allocations_adopted: u64,
    pub allocations_exported: u64,
}

impl Counters {
    /// How often a method was answered so; `None` is success.
    pub fn answered(&self, method: CountedMethod, error: Option<ErrorCode>) -> u64 {
        result_index(error).map_or(0, |result| self.requests[method as usize][result])
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    pub fn relayed(&self, direction: Direction, path: Path) -> Relayed {
        self.relayed[direction as usize][path as usize]
    }

    pub fn ended(&self, reason: EndReason) -> u64 {
        self.allocations_ended[reason as usize]
    }

    pub(crate) fn count_answer(&mut self, method: Method, error: Option<ErrorCode>) {
        if let (Some(method), Some(result)) = (CountedMethod::of(method), result_index(error)) {
            self.requests[method as usize][result] += 1;
        }
    }

    #[inline]
    pub(crate) fn count_relayed(&mut self, direction: Direction, path: Path, bytes: usize) {
        let relayed = &mut self.relayed[direction as usize][path as usize];
        relayed.packets += 1;
        relayed.bytes += bytes as u64;
    }

    pub(crate) fn live_mut(&mut self, transport: Transport, families: RelayFamilies) -> &mut u64 {
        &mut self.allocations_live[transport as usize][families as usize]
    }
}

/// Place of a result in [`Counters::requests`]; `None` for an error that this server never answers with.
fn result_index(error: Option<ErrorCode>) -> Option<usize> {
    match error {
        None => Some(0),
        Some(code) => COUNTED_ERRORS.iter().position(|counted| *counted == code).map(|at| at + 1),
    }
}
