//! What an offer/answer exchange ends in: the agreed media, or a refusal.

use std::net::SocketAddr;

use crate::offer_answer_capabilities::Codec;
use crate::sdp_crypto::{CryptoSuite, MasterKey};
use crate::sdp_ice::{IceCandidate, IcePassword};
use crate::sdp_media::Direction;
use crate::sdp_security::Fingerprint;

/// The agreed voice stream, seen from our side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub codec: Codec,
    pub payload_type: PayloadType,
    /// RFC 4733 events, when both sides have them.
    pub telephone_event: Option<PayloadType>,
    /// Comfort noise (RFC 3389), when both sides have it.
    pub comfort_noise: Option<PayloadType>,
    /// What we do. Not sending means that the peer holds us.
    pub direction: Direction,
    /// Milliseconds of voice in a packet that we send, from 10 to 60.
    pub ptime_ms: u32,
    /// Where RTP goes. Absent while the peer names no address to send to (hold in the old form, ICE without default).
    pub remote_rtp: Option<SocketAddr>,
    /// Where RTCP goes.
    pub remote_rtcp: Option<SocketAddr>,
    /// RTCP shares the port of RTP, in both directions.
    pub rtcp_mux: bool,
    pub keying: Keying,
    pub ice: Option<RemoteIce>,
    /// Both sides speak ICE, but an address was changed on the way: media goes to the default addresses without ICE.
    pub ice_mismatch: bool,
}

/// Payload types may differ by direction (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadType {
    pub send: u8,
    pub receive: u8,
}

/// How media is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keying {
    Plain,
    Sdes(SdesKeys),
    Dtls(DtlsParameters),
}

/// Keys from a=crypto. Unchanged keys after a re-offer mean: keep the SRTP contexts (RFC 4568 section 7.1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdesKeys {
    pub suite: CryptoSuite,
    /// What we send with.
    pub local: MasterKey,
    /// What the peer sends with.
    pub remote: MasterKey,
}

/// The DTLS association to make or to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsParameters {
    pub role: DtlsRole,
    /// The peer's certificate matches one of these.
    pub fingerprints: Vec<Fingerprint>,
}

/// Who sends the ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    Client,
    Server,
}

/// The peer's ICE description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteIce {
    pub user_fragment: String,
    pub password: IcePassword,
    pub lite: bool,
    pub options: Vec<String>,
    pub candidates: Vec<IceCandidate>,
    /// Component and address of ours that the peer's controlling agent selected.
    pub remote_candidates: Vec<(u16, SocketAddr)>,
    /// Credentials differ from those before: checks begin anew (RFC 8839 section 4.4.1.1.1).
    pub restarted: bool,
    /// Our agent's role; kept over restarts (RFC 8445 section 6.1.1).
    pub controlling: bool,
}

/// Why a description cannot be agreed to. All but the last two are the answer 488 to an offer; after a bad answer the
/// call is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no audio line over RTP")]
    NoAudio,
    #[error("no codec in common")]
    NoCodec,
    #[error("SRTP is required")]
    SrtpRequired,
    #[error("SRTP only in a form that is not accepted here")]
    NoKeying,
    #[error("host names in c= lines are not resolved")]
    HostName,
    #[error("an address family that we do not have")]
    AddressFamily,
    #[error("the answer does not fit its offer")]
    AnswerUnfit,
    #[error("an answer without an offer")]
    NothingOffered,
}

impl Refusal {
    /// Code of a Warning header beside the 488 (RFC 3261 section 20.43).
    pub fn warning_code(self) -> u16 {
        match self {
            Self::NoAudio => 304,
            Self::NoCodec => 305,
            Self::SrtpRequired | Self::NoKeying => 302,
            Self::HostName | Self::AddressFamily => 301,
            Self::AnswerUnfit | Self::NothingOffered => 399,
        }
    }
}

impl Media {
    /// The peer wants nothing from us: prompts and recording pause.
    pub fn is_on_hold(&self) -> bool {
        !self.direction.sends()
    }
}
