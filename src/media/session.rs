//! What offer and answer agreed on for one audio stream, in this room's own words.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::dtls::DtlsKeying;
use crate::srtp_profile::SdesKeying;

/// RTP or RTCP: the component of a stream (RFC 8445 section 5.1.1). With rtcp-mux only `Rtp` is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    Rtp,
    Rtcp,
}

/// Which way audio flows, seen from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// Whether we send audio.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether we take audio.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// A payload type number that may differ by direction: what the peer's description says is sent, what ours says is
/// received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadNumbers {
    pub send: u8,
    pub receive: u8,
}

impl PayloadNumbers {
    /// The same number both ways.
    pub fn both(number: u8) -> Self {
        Self { send: number, receive: number }
    }
}

/// From where media is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceRule {
    /// Plain RTP: the address of the peer's description at any port, or, where the gateway's setting allows it, the
    /// address that its signalling came from. SRTP is authenticated, so its packets count from any address; a DTLS
    /// handshake, which is not yet, only from these.
    Address { signalled: IpAddr, symmetric: Option<IpAddr> },
    /// The ICE agent vouches for what the shell hands in.
    Ice,
}

/// How media is protected.
#[derive(Clone)]
pub enum Keying {
    /// RTP/AVP.
    Plain,
    /// Keys from `a=crypto` (RFC 4568).
    Sdes(SdesKeying),
    /// Keys from a DTLS handshake (RFC 5764).
    Dtls(DtlsKeying),
}

/// The outcome of one offer and answer.
#[derive(Clone)]
pub struct Session {
    /// What we send.
    pub codec: Codec,
    /// Payload type of what we send.
    pub payload_type: u8,
    /// What the peer may send: payload type numbers of our description. At most
    /// [`PAYLOAD_TYPES_MAX`](crate::limits::PAYLOAD_TYPES_MAX) count.
    pub receive: Vec<(u8, Codec)>,
    /// telephone-event (RFC 4733), when agreed.
    pub telephone_event: Option<PayloadNumbers>,
    /// Comfort noise (RFC 3389), when agreed. It is always understood as payload type 13; we send silence as audio.
    pub comfort_noise: Option<PayloadNumbers>,
    /// Milliseconds of audio in a packet of ours; clamped to 10..=60 and to a multiple of 10.
    pub ptime_ms: u32,
    pub direction: Direction,
    /// The peer holds the call: recording and playing pause, nothing counts as missing.
    pub on_hold: bool,
    /// RTP and RTCP share the component [`Component::Rtp`] (RFC 5761).
    pub rtcp_mux: bool,
    /// Where the peer's description wants RTP. Not used with [`SourceRule::Ice`].
    pub rtp_destination: Option<SocketAddr>,
    /// Where it wants RTCP; `None` is the next port of `rtp_destination`.
    pub rtcp_destination: Option<SocketAddr>,
    pub source: SourceRule,
    pub keying: Keying,
}

impl Session {
    /// Plain RTP with one codec both ways, telephone-event 101, 20 ms, to and from `peer`: a base to alter.
    pub fn plain(codec: Codec, peer: SocketAddr) -> Self {
        Self {
            codec,
            payload_type: codec.payload_type(),
            receive: vec![(codec.payload_type(), codec)],
            telephone_event: Some(PayloadNumbers::both(101)),
            comfort_noise: None,
            ptime_ms: 20,
            direction: Direction::SendRecv,
            on_hold: false,
            rtcp_mux: false,
            rtp_destination: Some(peer),
            rtcp_destination: None,
            source: SourceRule::Address { signalled: peer.ip(), symmetric: None },
            keying: Keying::Plain,
        }
    }
}

/// What a stream is given at birth and keeps for life.
#[derive(Clone)]
pub struct Options {
    /// Seeds SSRC, sequence number, timestamp and the times of RTCP; from the operating system, or from a test.
    pub seed: [u8; 32],
    /// An instant and the Unix time at it, for the NTP timestamps of RTCP.
    pub unix_origin: (Instant, Duration),
    /// CNAME of SDES: the same for all streams of a call, without a user's name (RFC 7022).
    pub cname: String,
    /// Samples per second of the PCM on our side, 8000 or 16000, for the stream's whole life; `None` takes the first
    /// codec's.
    pub pcm_rate: Option<u32>,
    /// Audio below this level (dBov, negative) is silence.
    pub silence_dbov: f32,
    /// How long nothing may come from the peer before [`Event::Timeout`](crate::event::Event::Timeout).
    pub inactivity: Duration,
}

impl Options {
    /// The usual values around what only the caller knows.
    pub fn new(seed: [u8; 32], unix_origin: (Instant, Duration), cname: impl Into<String>) -> Self {
        Self {
            seed,
            unix_origin,
            cname: cname.into(),
            pcm_rate: None,
            silence_dbov: -45.0,
            inactivity: Duration::from_secs(20),
        }
    }
}
