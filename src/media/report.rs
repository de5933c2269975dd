//! What became of a stream's packets: for the call's record, its metrics and its one log line.

use std::time::Duration;

use crate::codec::Codec;

/// Why a packet was not used; a closed set, each a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Neither RTP nor RTCP nor DTLS, or not well-formed.
    Malformed,
    /// Not from where the source rule allows, or not from the pinned source.
    WrongSource,
    /// A payload type that was not agreed.
    PayloadType,
    /// The SRTP tag is not right, or there is no key yet.
    SrtpAuthentication,
    /// SRTP seen before.
    SrtpReplay,
    /// SRTCP that cannot be decrypted. Never a reason to end a call.
    Srtcp,
    /// DTLS where none was agreed, or that leads nowhere.
    Dtls,
    /// The call is on hold, or the direction agreed on does not receive.
    NotReceiving,
    /// Seen before.
    Duplicate,
    /// After its time to be played.
    Late,
    /// More than a queue of ours holds.
    Overflow,
}

impl DropReason {
    /// Every reason, in order.
    pub const ALL: &'static [Self] = &[
        Self::Malformed,
        Self::WrongSource,
        Self::PayloadType,
        Self::SrtpAuthentication,
        Self::SrtpReplay,
        Self::Srtcp,
        Self::Dtls,
        Self::NotReceiving,
        Self::Duplicate,
        Self::Late,
        Self::Overflow,
    ];

    /// Its metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongSource => "wrong_source",
            Self::PayloadType => "payload_type",
            Self::SrtpAuthentication => "srtp_authentication",
            Self::SrtpReplay => "srtp_replay",
            Self::Srtcp => "srtcp",
            Self::Dtls => "dtls",
            Self::NotReceiving => "not_receiving",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::Overflow => "overflow",
        }
    }
}

/// Packets per [`DropReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Counts one.
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// How many of that reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Reason and number, of those that happened.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|reason| (*reason, self.of(*reason))).filter(|(_, packets)| *packets > 0)
    }
}

/// Why a call had no audio in one direction; the closed set of the record. A stream knows the first seven, ICE and the
/// edge's failures are told by whoever drives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoAudio {
    NothingReceived,
    WrongSource,
    Payload,
    SrtpAuthentication,
    Dtls,
    Hold,
    Silence,
    Ice,
    /// The edge is misconfigured or down.
    EdgeUnreachable,
    /// No credentials from the A/V authentication service.
    EdgeCredentials,
    /// The edge is out of ports.
    EdgePorts,
}

impl NoAudio {
    /// Its name in records and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NothingReceived => "nothing_received",
            Self::WrongSource => "wrong_source",
            Self::Payload => "payload",
            Self::SrtpAuthentication => "srtp_authentication",
            Self::Dtls => "dtls",
            Self::Hold => "hold",
            Self::Silence => "silence",
            Self::Ice => "ice",
            Self::EdgeUnreachable => "edge_unreachable",
            Self::EdgeCredentials => "edge_credentials",
            Self::EdgePorts => "edge_ports",
        }
    }
}

/// A stream's counters at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The codec that audio was last received with, else the agreed one.
    pub codec: Option<Codec>,
    /// How media is protected: `rtp`, `sdes`, `dtls`.
    pub keying: &'static str,
    /// RTP packets taken, telephone-events and comfort noise included.
    pub packets_received: u64,
    /// Bytes of their payloads.
    pub bytes_received: u64,
    /// Packets of the peer that never came (RFC 3550 section 6.4.1), never below 0.
    pub packets_lost: u64,
    /// Packets that came after their turn but in time.
    pub packets_reordered: u64,
    pub packets_sent: u64,
    pub bytes_sent: u64,
    pub drops: Drops,
    /// RTCP packets taken.
    pub rtcp_received: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1), now and the largest that was.
    pub jitter: Duration,
    pub jitter_max: Duration,
    /// Round trip, from the peer's reports; `None` while it sent none that tells.
    pub round_trip: Option<Duration>,
    /// Share of our packets that the peer reports as lost, over the whole call, 0..=1; `None` without reports.
    pub remote_loss: Option<f32>,
    /// Frames of 20 ms handed out, by kind.
    pub frames_audio: u64,
    pub frames_concealed: u64,
    pub frames_comfort_noise: u64,
    pub frames_nothing: u64,
    /// Frames of received audio above the silence level.
    pub frames_loud: u64,
    /// Frames sent that were above the silence level.
    pub frames_loud_sent: u64,
    /// Time on hold in frames.
    pub frames_on_hold: u64,
    /// Mean opinion score of what we heard, 1.0..=4.5; `None` when nothing came. See [`crate::mos`].
    pub mos: Option<f32>,
    /// Why nothing is heard of the peer, when nothing is.
    pub no_audio_received: Option<NoAudio>,
    /// Why the peer hears nothing of us, when that is known.
    pub no_audio_sent: Option<NoAudio>,
}
