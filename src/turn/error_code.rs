//! ERROR-CODE (RFC 8489 section 14.8) and the codes of STUN, TURN and their extensions.
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |             reserved, 21 bits           |class|    number     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                  reason phrase (UTF-8, may be empty)          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

/// An error code from 300 to 699.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(u16);

impl ErrorCode {
    /// With ALTERNATE-SERVER: ask there.
    pub const TRY_ALTERNATE: Self = Self(300);
    pub const BAD_REQUEST: Self = Self(400);
    /// With REALM and NONCE.
    pub const UNAUTHENTICATED: Self = Self(401);
    pub const FORBIDDEN: Self = Self(403);
    /// RFC 8016 section 3.4.
    pub const MOBILITY_FORBIDDEN: Self = Self(405);
    /// With UNKNOWN-ATTRIBUTES: what was not understood.
    pub const UNKNOWN_ATTRIBUTE: Self = Self(420);
    pub const ALLOCATION_MISMATCH: Self = Self(437);
    /// With REALM and a fresh NONCE.
    pub const STALE_NONCE: Self = Self(438);
    pub const ADDRESS_FAMILY_NOT_SUPPORTED: Self = Self(440);
    pub const WRONG_CREDENTIALS: Self = Self(441);
    pub const UNSUPPORTED_TRANSPORT: Self = Self(442);
    pub const PEER_ADDRESS_FAMILY_MISMATCH: Self = Self(443);
    /// RFC 6062 section 6.3.
    pub const CONNECTION_ALREADY_EXISTS: Self = Self(446);
    /// RFC 6062 section 6.3.
    pub const CONNECTION_TIMEOUT_OR_FAILURE: Self = Self(447);
    pub const ALLOCATION_QUOTA_REACHED: Self = Self(486);
    /// RFC 8445 section 7.2.5.1.
    pub const ROLE_CONFLICT: Self = Self(487);
    pub const SERVER_ERROR: Self = Self(500);
    pub const INSUFFICIENT_CAPACITY: Self = Self(508);

    /// `None` outside 300 to 699.
    pub fn new(code: u16) -> Option<Self> {
        (300..700).contains(&code).then_some(Self(code))
    }

    /// The code itself, 300 to 699.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The registered phrase, empty for a code without one. Strangers get none: it only makes the answer longer.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TRY_ALTERNATE => "Try Alternate",
            Self::BAD_REQUEST => "Bad Request",
            Self::UNAUTHENTICATED => "Unauthenticated",
            Self::FORBIDDEN => "Forbidden",
            Self::MOBILITY_FORBIDDEN => "Mobility Forbidden",
            Self::UNKNOWN_ATTRIBUTE => "Unknown Attribute",
            Self::ALLOCATION_MISMATCH => "Allocation Mismatch",
            Self::STALE_NONCE => "Stale Nonce",
            Self::ADDRESS_FAMILY_NOT_SUPPORTED => "Address Family not Supported",
            Self::WRONG_CREDENTIALS => "Wrong Credentials",
            Self::UNSUPPORTED_TRANSPORT => "Unsupported Transport Protocol",
            Self::PEER_ADDRESS_FAMILY_MISMATCH => "Peer Address Family Mismatch",
            Self::CONNECTION_ALREADY_EXISTS => "Connection Already Exists",
            Self::CONNECTION_TIMEOUT_OR_FAILURE => "Connection Timeout or Failure",
            Self::ALLOCATION_QUOTA_REACHED => "Allocation Quota Reached",
            Self::ROLE_CONFLICT => "Role Conflict",
            Self::SERVER_ERROR => "Server Error",
            Self::INSUFFICIENT_CAPACITY => "Insufficient Capacity",
            _ => "",
        }
    }

    /// Class and number, as they stand in the last two bytes of the fixed part.
    pub(crate) fn to_wire(self) -> [u8; 2] {
        [(self.0 / 100) as u8, (self.0 % 100) as u8]
    }

    /// `None` when class or number is out of range. The bits above the class are reserved and do not count.
    pub(crate) fn from_wire(class: u8, number: u8) -> Option<Self> {
        let class = u16::from(class & 0x07);
        (number < 100).then(|| Self::new(class * 100 + u16::from(number))).flatten()
    }
}
