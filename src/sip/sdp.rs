//! Session descriptions (RFC 8866): the typed view of what a voice call needs, read leniently and written strictly.
//!
//! A line that a call does not need is skipped, well formed or not; a malformed attribute counts as absent. Only what an
//! answer has to mirror (the version and the m= lines) and where media goes (c=) can make a description unreadable.

use std::net::IpAddr;

use crate::limits::{SDP_ATTRIBUTES_PER_MEDIA_MAX, SDP_BYTES_MAX, SDP_MEDIA_MAX, SDP_TOKEN_BYTES_MAX};
use crate::sdp_ice::IceAttributes;
use crate::sdp_media::{Direction, MediaDescription};
use crate::sdp_security::{Fingerprint, Setup};

/// A session description: the session's part and its m= lines in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDescription {
    pub origin: Origin,
    /// The c= line of the session; [`connection_of`](Self::connection_of) resolves it for a media description.
    pub connection: Option<ConnectionAddress>,
    pub direction: Option<Direction>,
    pub ice: IceAttributes,
    pub fingerprints: Vec<Fingerprint>,
    pub setup: Option<Setup>,
    pub media: Vec<MediaDescription>,
}

/// The o= line (RFC 8866 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub username: String,
    /// Digits on the wire; some peers write more than 64 bits, so it stays text.
    pub session_id: String,
    /// Grows with each changed description of one session (RFC 3264 section 8).
    pub version: u64,
    pub address: ConnectionAddress,
}

/// What a c= or o= line or a candidate names: an address, or a host name that nobody has looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionAddress {
    Ip(IpAddr),
    Name(String),
}

/// Why bytes are no session description. Always the peer's fault; the wire answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    #[error("a session description of {0} bytes is too long")]
    TooLong(usize),
    #[error("a session description begins with v=0")]
    NoVersion,
    #[error("line {0}: malformed m= line")]
    MediaLine(usize),
    #[error("line {0}: malformed c= line")]
    ConnectionLine(usize),
    #[error("line {0}: more media descriptions than {SDP_MEDIA_MAX}")]
    TooManyMedia(usize),
    #[error("line {0}: more lines in one media description than {SDP_ATTRIBUTES_PER_MEDIA_MAX}")]
    TooManyLines(usize),
}

impl SessionDescription {
    /// Reads a description. Lines may end in CRLF, LF or CR; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// [`SdpError`], the peer's fault: answer 400.
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > SDP_BYTES_MAX {
            return Err(SdpError::TooLong(bytes.len()));
        }
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text
            .split(['\n', '\r'])
            .map(|line| line.trim_end_matches([' ', '\t', '\0']))
            .filter(|line| !line.is_empty())
            .enumerate()
            .map(|(index, line)| (index + 1, line));
        if lines.next().map(|(_, line)| line) != Some("v=0") {
            return Err(SdpError::NoVersion);
        }
        let mut description = Self::empty();
        let mut lines_of_part = 0;
        for (number, line) in lines {
            let Some((kind, value)) = line.split_once('=') else { continue };
            lines_of_part += 1;
            if lines_of_part > SDP_ATTRIBUTES_PER_MEDIA_MAX {
                return Err(SdpError::TooManyLines(number));
            }
            match kind {
                "m" if description.media.len() == SDP_MEDIA_MAX => return Err(SdpError::TooManyMedia(number)),
                "m" => {
                    let media = MediaDescription::parse_line(value).ok_or(SdpError::MediaLine(number))?;
                    description.media.push(media);
                    lines_of_part = 0;
                }
                "o" => description.origin = Origin::parse(value).unwrap_or(description.origin),
                "c" => {
                    let address = parse_connection(value).ok_or(SdpError::ConnectionLine(number))?;
                    match description.media.last_mut() {
                        Some(media) => media.connection.get_or_insert(address),
                        None => description.connection.get_or_insert(address),
                    };
                }
                "a" => {
                    let (name, value) = value.split_once(':').unwrap_or((value, ""));
                    match description.media.last_mut() {
                        Some(media) => media.on_attribute(name, value.trim_start()),
                        None => description.on_attribute(name, value.trim_start()),
                    }
                }
                _ => {}
            }
        }
        Ok(description)
    }

    fn empty() -> Self {
        Self {
            origin: Origin {
                username: "-".into(),
                session_id: "0".into(),
                version: 0,
                address: ConnectionAddress::Ip(IpAddr::from([0, 0, 0, 0])),
            },
            connection: None,
            direction: None,
            ice: IceAttributes::default(),
            fingerprints: Vec::new(),
            setup: None,
            media: Vec::new(),
        }
    }

    fn on_attribute(&mut self, name: &str, value: &str) {
        match name {
            "fingerprint" => self.fingerprints.extend(Fingerprint::parse(value)),
            "setup" => self.setup = Setup::parse(value).or(self.setup),
            _ if self.ice.on_attribute(name, value) => {}
            _ => self.direction = Direction::parse(name).or(self.direction),
        }
    }

    /// The body of a SIP message: CRLF after each line. Carries SDES keys in clear, so it belongs in no log.
    pub fn encode(&self) -> String {
        let Origin { username, session_id, version, address } = &self.origin;
        let mut text = format!("v=0\r\no={username} {session_id} {version} {}\r\ns=-\r\n", wire_address(address));
        if let Some(connection) = &self.connection {
            text += &format!("c={}\r\n", wire_address(connection));
        }
        text += "t=0 0\r\n";
        self.ice.encode(&mut text);
        for fingerprint in &self.fingerprints {
            text += &format!("a=fingerprint:{fingerprint}\r\n");
        }
        if let Some(setup) = self.setup {
            text += &format!("a=setup:{}\r\n", setup.name());
        }
        if let Some(direction) = self.direction {
            text += &format!("a={}\r\n", direction.name());
        }
        for media in &self.media {
            media.encode(&mut text);
        }
        text
    }

    /// Where `media` is to be sent: its own c= line, else the session's.
    pub fn connection_of<'a>(&'a self, media: &'a MediaDescription) -> Option<&'a ConnectionAddress> {
        media.connection.as_ref().or(self.connection.as_ref())
    }

    /// The direction that the describing side wants: sendrecv when it says nothing (RFC 8866 section 6.7).
    pub fn direction_of(&self, media: &MediaDescription) -> Direction {
        media.direction.or(self.direction).unwrap_or(Direction::SendRecv)
    }

    /// Certificate fingerprints for `media`; the session's hold for media without their own (RFC 8122 section 5).
    pub fn fingerprints_of<'a>(&'a self, media: &'a MediaDescription) -> &'a [Fingerprint] {
        if media.fingerprints.is_empty() { &self.fingerprints } else { &media.fingerprints }
    }

    /// The setup attribute for `media` (RFC 4145 section 4).
    pub fn setup_of(&self, media: &MediaDescription) -> Option<Setup> {
        media.setup.or(self.setup)
    }

    /// ICE user fragment and password for `media`: its own, else the session's (RFC 8839 section 5.4).
    pub fn ice_credentials_of<'a>(&'a self, media: &'a MediaDescription) -> Option<(&'a str, &'a str)> {
        media.ice.credentials().or(self.ice.credentials())
    }
}

impl Origin {
    fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split_ascii_whitespace();
        let (username, session_id, version) = (parts.next()?, parts.next()?, parts.next()?);
        let (_, _, address) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = [username, session_id, address].iter().all(|part| part.len() <= SDP_TOKEN_BYTES_MAX);
        whole.then(|| Self {
            username: username.into(),
            session_id: session_id.into(),
            version: version.parse().unwrap_or(0),
            address: ConnectionAddress::parse(address),
        })
    }
}

impl ConnectionAddress {
    /// An address in either family (with or without brackets), else taken for a name.
    pub fn parse(text: &str) -> Self {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        bare.parse().map_or_else(|_| Self::Name(text.into()), Self::Ip)
    }

    /// The address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Name(_) => None,
        }
    }

    /// 0.0.0.0 or ::, by which RFC 2543 peers put a call on hold and ICE peers say that they have no default yet.
    pub fn is_unspecified(&self) -> bool {
        self.ip().is_some_and(|address| address.is_unspecified())
    }
}

impl std::fmt::Display for ConnectionAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `IN IP4 192.0.2.1`, with the multicast suffixes `/ttl/count` cut off.
pub(crate) fn parse_connection(value: &str) -> Option<ConnectionAddress> {
    let mut parts = value.split_ascii_whitespace();
    let (network, family, address) = (parts.next()?, parts.next()?, parts.next()?);
    let known =
        network.eq_ignore_ascii_case("IN") && ["IP4", "IP6"].iter().any(|name| name.eq_ignore_ascii_case(family));
    let address = address.split('/').next().unwrap_or(address);
    (known && !address.is_empty() && address.len() <= SDP_TOKEN_BYTES_MAX).then(|| ConnectionAddress::parse(address))
}

/// `IN IP4 192.0.2.1`; a name is taken for one of an IPv4 host.
pub(crate) fn wire_address(address: &ConnectionAddress) -> String {
    let family = if matches!(address, ConnectionAddress::Ip(IpAddr::V6(_))) { "IP6" } else { "IP4" };
    format!("IN {family} {address}")
}
