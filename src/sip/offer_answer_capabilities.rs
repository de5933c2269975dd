//! What our side brings to an offer/answer exchange.

use std::net::SocketAddr;

use crate::sdp_crypto::CryptoSuite;
use crate::sdp_ice::{IceAttributes, IceCandidate, IcePassword};
use crate::sdp_media::Direction;
use crate::sdp_security::Fingerprint;

/// A voice codec that we send and receive. Each has an RTP clock of 8000 Hz (for G.722 by an old error that RFC 3551
/// section 4.5.2 keeps).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    Pcmu,
    Pcma,
    G722,
}

/// What a call of ours can do. It may change between exchanges.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// In the order of our offers. In answers the peer's order rules.
    pub codecs: Vec<Codec>,
    /// RFC 4733 events at the codec's clock rate.
    pub telephone_event: bool,
    /// RFC 3389.
    pub comfort_noise: bool,
    pub security: Security,
    /// Suites of a=crypto, best first. Leave it empty where the keys would travel unprotected.
    pub sdes: Vec<CryptoSuite>,
    /// Fingerprints of our certificate; none means no DTLS-SRTP.
    pub dtls: Vec<Fingerprint>,
    /// How our own offers key the media.
    pub offer: OfferKeying,
    /// Whether RTCP may share the port of RTP; the peer decides.
    pub rtcp_mux: bool,
    /// Milliseconds of voice per packet when the peer does not say.
    pub ptime_ms: u32,
}

/// Whether media may be plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Never SRTP.
    PlainOnly,
    /// SRTP when the peer offers it in a form that we speak, else plain.
    SrtpIfOffered,
    /// SRTP, or no call (488).
    SrtpRequired,
}

/// The form of our own offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferKeying {
    /// RTP/AVP.
    Plain,
    /// RTP/AVP with a=crypto that the peer may ignore (RFC 8643).
    SdesOptional,
    /// RTP/SAVP with a=crypto.
    Sdes,
    /// UDP/TLS/RTP/SAVP.
    Dtls,
}

/// Our side's addresses for one offer or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Where the peer sends RTP and RTCP: with ICE the default candidates.
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
    /// Our ICE description, when this call has an agent. New credentials after a restart.
    pub ice: Option<LocalIce>,
    /// What we are willing to do: sendrecv, less to put the peer on hold.
    pub direction: Direction,
}

/// Our ICE agent's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalIce {
    pub user_fragment: String,
    pub password: String,
    pub candidates: Vec<IceCandidate>,
    /// The selected pair's remote ends, from a controlling agent that is done (RFC 8839 section 4.4.1.2.2).
    pub remote_candidates: Vec<(u16, SocketAddr)>,
}

impl Codec {
    /// Encoding name of the rtpmap.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
        }
    }

    /// RTP clock in Hz; the codec's telephone-event runs on it too.
    pub fn clock_hz(self) -> u32 {
        8000
    }

    /// Payload type by RFC 3551.
    pub fn static_payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
        }
    }
}

impl LocalIce {
    pub(crate) fn attributes(&self) -> IceAttributes {
        IceAttributes {
            user_fragment: Some(self.user_fragment.clone()),
            password: Some(IcePassword(self.password.clone())),
            candidates: self.candidates.clone(),
            remote_candidates: self.remote_candidates.clone(),
            ..IceAttributes::default()
        }
    }
}
