//! The codecs we speak, by the names and numbers of RFC 3551.

/// An audio codec on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law, payload type 0.
    Pcmu,
    /// G.711 A-law, payload type 8.
    Pcma,
    /// G.722 at 64 kbit/s, payload type 9.
    G722,
}

impl Codec {
    /// Every codec, in the order in which we prefer them.
    pub const ALL: &'static [Self] = &[Self::G722, Self::Pcmu, Self::Pcma];

    /// Samples per second of its audio.
    pub fn rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8_000,
            Self::G722 => 16_000,
        }
    }

    /// Ticks per second of its RTP timestamp. G.722's is 8000 although its audio is 16 kHz (RFC 3551 section 4.5.2).
    pub fn clock_rate(self) -> u32 {
        8_000
    }

    /// Encoding name in SDP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
        }
    }

    /// The codec of that encoding name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Its static payload type (RFC 3551 section 6).
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
        }
    }

    /// The codec of a static payload type.
    pub fn from_payload_type(payload_type: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|codec| codec.payload_type() == payload_type)
    }
}
