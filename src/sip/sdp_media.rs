//! One m= line of a session description and its attributes (RFC 8866 sections 5.14 and 6).

use crate::limits::{
    SDP_CRYPTO_LINES_MAX, SDP_FINGERPRINTS_MAX, SDP_FMTP_BYTES_MAX, SDP_FORMATS_MAX, SDP_TOKEN_BYTES_MAX,
};
use crate::sdp::{ConnectionAddress, parse_connection, wire_address};
use crate::sdp_crypto::CryptoLine;
use crate::sdp_ice::IceAttributes;
use crate::sdp_security::{Fingerprint, Setup};

/// A media description: the m= line and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaDescription {
    /// `audio`, `video`, `image`, ...
    pub kind: String,
    /// 0 means refused or removed.
    pub port: u16,
    pub protocol: Protocol,
    /// As on the wire: payload types for RTP, anything for others; an answer that refuses the line mirrors them.
    pub formats: Vec<String>,
    pub connection: Option<ConnectionAddress>,
    pub direction: Option<Direction>,
    pub rtp_maps: Vec<RtpMap>,
    /// Payload type and the text behind it.
    pub format_parameters: Vec<(u8, String)>,
    pub ptime_ms: Option<u32>,
    pub maxptime_ms: Option<u32>,
    /// Where RTCP goes when it is not the next port (RFC 3605).
    pub rtcp: Option<RtcpAddress>,
    /// Both kinds may share the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    pub crypto: Vec<CryptoLine>,
    pub fingerprints: Vec<Fingerprint>,
    pub setup: Option<Setup>,
    pub ice: IceAttributes,
    /// An attribute that only Lync and its kin write was seen; they want the protocol of an optional a=crypto changed.
    pub microsoft: bool,
}

/// The transport protocol of an m= line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    Avp,
    Avpf,
    Savp,
    Savpf,
    /// UDP/TLS/RTP/SAVP (RFC 5764).
    DtlsSavp,
    DtlsSavpf,
    Other(String),
}

/// Who sends, seen from the side that writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// a=rtpmap: the meaning of a payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMap {
    pub payload_type: u8,
    /// Compared without regard to case.
    pub encoding: String,
    pub clock_hz: u32,
    pub channels: u8,
}

/// a=rtcp (RFC 3605).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtcpAddress {
    pub port: u16,
    /// Absent when it is the address of RTP.
    pub address: Option<ConnectionAddress>,
}

impl MediaDescription {
    /// A description without attributes.
    pub fn new(kind: &str, port: u16, protocol: Protocol, formats: Vec<String>) -> Self {
        Self {
            kind: kind.into(),
            port,
            protocol,
            formats,
            connection: None,
            direction: None,
            rtp_maps: Vec::new(),
            format_parameters: Vec::new(),
            ptime_ms: None,
            maxptime_ms: None,
            rtcp: None,
            rtcp_mux: false,
            crypto: Vec::new(),
            fingerprints: Vec::new(),
            setup: None,
            ice: IceAttributes::default(),
            microsoft: false,
        }
    }

    /// The line that refuses `self` in an answer: same kind, protocol and formats, port 0 (RFC 3264 section 6).
    pub fn refused(&self) -> Self {
        Self::new(&self.kind, 0, self.protocol.clone(), self.formats.clone())
    }

    /// `audio 49170/2 RTP/AVP 0 8 101`; formats beyond the limit are left out.
    pub(crate) fn parse_line(value: &str) -> Option<Self> {
        let mut parts = value.split_ascii_whitespace();
        let kind = parts.next()?;
        let port = parts.next()?;
        let port = port.split('/').next()?.parse().ok()?;
        let protocol = parts.next()?;
        if kind.len() > SDP_TOKEN_BYTES_MAX || protocol.len() > SDP_TOKEN_BYTES_MAX {
            return None;
        }
        let formats: Vec<String> = parts
            .filter(|format| format.len() <= SDP_TOKEN_BYTES_MAX)
            .take(SDP_FORMATS_MAX)
            .map(String::from)
            .collect();
        (!formats.is_empty()).then(|| Self::new(kind, port, Protocol::parse(protocol), formats))
    }

    pub(crate) fn on_attribute(&mut self, name: &str, value: &str) {
        match name {
            "rtpmap" if self.rtp_maps.len() < SDP_FORMATS_MAX => self.rtp_maps.extend(RtpMap::parse(value)),
            "fmtp" if self.format_parameters.len() < SDP_FORMATS_MAX && value.len() <= SDP_FMTP_BYTES_MAX => {
                let (payload_type, text) = value.split_once(' ').unwrap_or((value, ""));
                self.format_parameters.extend(payload_type.parse().ok().map(|number| (number, text.trim().into())));
            }
            // Some write a fraction: 20.0.
            "ptime" => self.ptime_ms = parse_milliseconds(value).or(self.ptime_ms),
            "maxptime" => self.maxptime_ms = parse_milliseconds(value).or(self.maxptime_ms),
            "rtcp" => self.rtcp = RtcpAddress::parse(value).or(self.rtcp.take()),
            "rtcp-mux" => self.rtcp_mux = true,
            "crypto" if self.crypto.len() < SDP_CRYPTO_LINES_MAX => self.crypto.extend(CryptoLine::parse(value)),
            "fingerprint" if self.fingerprints.len() < SDP_FINGERPRINTS_MAX => {
                self.fingerprints.extend(Fingerprint::parse(value));
            }
            "setup" => self.setup = Setup::parse(value).or(self.setup),
            "encryption" | "cryptoscale" | "x-ssrc-range" | "x-caps" | "x-bypassid" | "x-mediasettings" => {
                self.microsoft = true;
            }
            _ if self.ice.on_attribute(name, value) => {}
            _ => self.direction = Direction::parse(name).or(self.direction),
        }
    }

    pub(crate) fn encode(&self, text: &mut String) {
        let protocol = self.protocol.name();
        *text += &format!("m={} {} {protocol} {}\r\n", self.kind, self.port, self.formats.join(" "));
        if let Some(connection) = &self.connection {
            *text += &format!("c={}\r\n", wire_address(connection));
        }
        for RtpMap { payload_type, encoding, clock_hz, channels } in &self.rtp_maps {
            let channels = if *channels > 1 { format!("/{channels}") } else { String::new() };
            *text += &format!("a=rtpmap:{payload_type} {encoding}/{clock_hz}{channels}\r\n");
        }
        for (payload_type, parameters) in &self.format_parameters {
            *text += &format!("a=fmtp:{payload_type} {parameters}\r\n");
        }
        if let Some(ptime) = self.ptime_ms {
            *text += &format!("a=ptime:{ptime}\r\n");
        }
        if let Some(maxptime) = self.maxptime_ms {
            *text += &format!("a=maxptime:{maxptime}\r\n");
        }
        if let Some(rtcp) = &self.rtcp {
            let address =
                rtcp.address.as_ref().map(|address| format!(" {}", wire_address(address))).unwrap_or_default();
            *text += &format!("a=rtcp:{}{address}\r\n", rtcp.port);
        }
        if self.rtcp_mux {
            *text += "a=rtcp-mux\r\n";
        }
        for line in &self.crypto {
            line.encode(text);
        }
        for fingerprint in &self.fingerprints {
            *text += &format!("a=fingerprint:{fingerprint}\r\n");
        }
        if let Some(setup) = self.setup {
            *text += &format!("a=setup:{}\r\n", setup.name());
        }
        self.ice.encode(text);
        if let Some(direction) = self.direction {
            *text += &format!("a={}\r\n", direction.name());
        }
    }

    /// Is this a line that could carry a call's voice?
    pub fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio")
    }

    /// The payload types in the order of preference; formats that are no payload types are left out.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + '_ {
        self.formats.iter().filter_map(|format| format.parse().ok()).filter(|number| *number < 128)
    }

    /// What `payload_type` stands for: its rtpmap, else the static assignment of RFC 3551 where we know it.
    pub fn rtp_map(&self, payload_type: u8) -> Option<RtpMap> {
        let named = self.rtp_maps.iter().find(|map| map.payload_type == payload_type).cloned();
        named.or_else(|| {
            let encoding = match payload_type {
                0 => "PCMU",
                8 => "PCMA",
                9 => "G722",
                13 => "CN",
                _ => return None,
            };
            Some(RtpMap { payload_type, encoding: encoding.into(), clock_hz: 8000, channels: 1 })
        })
    }

    /// The format parameters of `payload_type`.
    pub fn parameters_of(&self, payload_type: u8) -> Option<&str> {
        self.format_parameters.iter().find(|(number, _)| *number == payload_type).map(|(_, text)| text.as_str())
    }
}

impl Protocol {
    fn parse(text: &str) -> Self {
        match text.to_ascii_uppercase().as_str() {
            "RTP/AVP" => Self::Avp,
            "RTP/AVPF" => Self::Avpf,
            "RTP/SAVP" => Self::Savp,
            "RTP/SAVPF" => Self::Savpf,
            "UDP/TLS/RTP/SAVP" => Self::DtlsSavp,
            "UDP/TLS/RTP/SAVPF" => Self::DtlsSavpf,
            _ => Self::Other(text.into()),
        }
    }

    /// As on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Avpf => "RTP/AVPF",
            Self::Savp => "RTP/SAVP",
            Self::Savpf => "RTP/SAVPF",
            Self::DtlsSavp => "UDP/TLS/RTP/SAVP",
            Self::DtlsSavpf => "UDP/TLS/RTP/SAVPF",
            Self::Other(text) => text,
        }
    }
}

impl Direction {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }

    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Does the side that says so send?
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Does the side that says so receive?
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// From whether a side sends and receives.
    pub fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// The same stream as the other side sees it.
    pub fn reversed(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    /// Only what both allow.
    pub fn intersection(self, other: Self) -> Self {
        Self::of(self.sends() && other.sends(), self.receives() && other.receives())
    }
}

impl RtpMap {
    /// `101 telephone-event/8000` or `96 opus/48000/2`.
    fn parse(value: &str) -> Option<Self> {
        let (payload_type, rest) = value.split_once([' ', '\t'])?;
        let mut parts = rest.trim().split('/');
        let (encoding, clock_hz) = (parts.next()?, parts.next()?);
        let channels = parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(1);
        (encoding.len() <= SDP_TOKEN_BYTES_MAX).then_some(())?;
        Some(Self {
            payload_type: payload_type.parse().ok()?,
            encoding: encoding.into(),
            clock_hz: clock_hz.parse().ok()?,
            channels,
        })
    }

    /// Is this `encoding` at `clock_hz`, one channel?
    pub fn is(&self, encoding: &str, clock_hz: u32) -> bool {
        self.encoding.eq_ignore_ascii_case(encoding) && self.clock_hz == clock_hz && self.channels == 1
    }
}

impl RtcpAddress {
    /// `53020` or `53020 IN IP4 126.16.64.4`.
    fn parse(value: &str) -> Option<Self> {
        let (port, rest) = value.split_once(' ').unwrap_or((value, ""));
        Some(Self { port: port.parse().ok()?, address: parse_connection(rest) })
    }
}

fn parse_milliseconds(value: &str) -> Option<u32> {
    value.split('.').next()?.trim().parse().ok().filter(|milliseconds| *milliseconds > 0)
}
