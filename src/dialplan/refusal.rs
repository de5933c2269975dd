//! Why a call is refused, and what goes on the wire for it.

use postern_sip::StatusCode;

/// Why a call is not taken. Each has one status; the sentence is for logs and records, strangers get the status alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// 403.
    #[error("comes from no gateway or router")]
    UnknownGateway,
    /// 403.
    #[error("its gateway is disabled")]
    Disabled,
    /// 403.
    #[error("its dial plan takes mutual TLS from a gateway named by certificate only")]
    NotSecure,
    /// 403.
    #[error("comes from a router that tells no gateway and plan of ours")]
    NoOrigin,
    /// 404.
    #[error("calls no pilot and no mailbox number of its dial plan")]
    NoSuchAddress,
    /// 480.
    #[error("its gateway takes no new calls")]
    NoNewCalls,
    /// 482.
    #[error("was diverted too often")]
    Loop,
    /// 486.
    #[error("as many calls as may be are there already")]
    Full,
    /// 488.
    #[error("its dial plan takes SRTP only")]
    NotEncrypted,
    /// 503, with Retry-After.
    #[error("nobody is there to take it")]
    Unavailable,
}

impl Refusal {
    /// Every one, for tables of metrics.
    pub const ALL: [Refusal; 10] = [
        Refusal::UnknownGateway,
        Refusal::Disabled,
        Refusal::NotSecure,
        Refusal::NoOrigin,
        Refusal::NoSuchAddress,
        Refusal::NoNewCalls,
        Refusal::Loop,
        Refusal::Full,
        Refusal::NotEncrypted,
        Refusal::Unavailable,
    ];

    /// The one answer to it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::UnknownGateway | Self::Disabled | Self::NotSecure | Self::NoOrigin => StatusCode::FORBIDDEN,
            Self::NoSuchAddress => StatusCode::NOT_FOUND,
            Self::NoNewCalls => StatusCode::TEMPORARILY_UNAVAILABLE,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Full => StatusCode::BUSY_HERE,
            Self::NotEncrypted => StatusCode::NOT_ACCEPTABLE_HERE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Its word in records and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownGateway => "unknown-gateway",
            Self::Disabled => "disabled",
            Self::NotSecure => "not-secure",
            Self::NoOrigin => "no-origin",
            Self::NoSuchAddress => "no-such-address",
            Self::NoNewCalls => "no-new-calls",
            Self::Loop => "loop",
            Self::Full => "full",
            Self::NotEncrypted => "not-encrypted",
            Self::Unavailable => "unavailable",
        }
    }
}
