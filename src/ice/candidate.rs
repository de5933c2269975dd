//! Candidates: what they are, how they rank, and their line in SDP (RFC 8445 section 5.1, RFC 8839 section 5.1).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::limits::{ATTRIBUTE_CHARS_MAX, FOUNDATION_CHARS_MAX};

/// RTP is 1, RTCP is 2; with RTCP in the same flow there is 1 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Component(u8);

impl Component {
    pub const RTP: Self = Self(1);
    pub const RTCP: Self = Self(2);

    /// `None` but for 1 and 2.
    pub fn new(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::RTP),
            2 => Some(Self::RTCP),
            _ => None,
        }
    }

    pub fn number(self) -> u8 {
        self.0
    }

    /// From 0, for tables.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0 - 1)
    }
}

/// How an address was found (RFC 8445 section 4); in order of type preference, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Host,
    PeerReflexive,
    ServerReflexive,
    Relayed,
}

impl Kind {
    /// Type preference as RFC 8445 section 5.1.2.2 recommends.
    pub fn preference(self) -> u8 {
        match self {
            Self::Host => 126,
            Self::PeerReflexive => 110,
            Self::ServerReflexive => 100,
            Self::Relayed => 0,
        }
    }

    /// As in `typ`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::PeerReflexive => "prflx",
            Self::ServerReflexive => "srflx",
            Self::Relayed => "relay",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Host, Self::PeerReflexive, Self::ServerReflexive, Self::Relayed]
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// Priority of a candidate (RFC 8445 section 5.1.2.1): its kind first, then `local_preference`, then the component.
pub fn priority(kind: Kind, local_preference: u16, component: Component) -> u32 {
    u32::from(kind.preference()) << 24 | u32::from(local_preference) << 8 | (256 - u32::from(component.number()))
}

/// Priority of a pair (RFC 8445 section 6.1.2.3).
pub fn pair_priority(controlling: u32, controlled: u32) -> u64 {
    let (least, most) = (controlling.min(controlled), controlling.max(controlled));
    // A peer may claim more than the 31 bits that a candidate has.
    (u64::from(least) << 32).saturating_add(2 * u64::from(most) + u64::from(controlling > controlled))
}

/// A UDP candidate, ours or the peer's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// At most 32 characters of `A-Za-z0-9+/`.
    pub foundation: String,
    pub component: Component,
    pub priority: u32,
    pub address: SocketAddr,
    pub kind: Kind,
    /// `raddr` and `rport`: what the address was derived from. Only told, never used.
    pub related: Option<SocketAddr>,
}

/// Why a candidate line is left out. None of these is a fault of the description as a whole (RFC 8839 section 4.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    #[error("not a candidate attribute")]
    Syntax,
    #[error("a transport other than UDP")]
    Transport,
    #[error("a name in place of an address")]
    Name,
    #[error("a kind of candidate that we do not know")]
    Kind,
    #[error("a component other than 1 and 2")]
    Component,
}

impl FromStr for Candidate {
    type Err = CandidateError;

    /// Reads the value of `a=candidate:`, with or without the attribute's name in front.
    fn from_str(value: &str) -> Result<Self, CandidateError> {
        let value = value.trim();
        let value = value.strip_prefix("a=").unwrap_or(value);
        let value = value.strip_prefix("candidate:").unwrap_or(value);
        if value.len() > ATTRIBUTE_CHARS_MAX {
            return Err(CandidateError::Syntax);
        }
        let mut words = value.split_ascii_whitespace();
        let mut word = || words.next().ok_or(CandidateError::Syntax);
        let foundation = word()?;
        let component: u16 = number(word()?)?;
        let transport = word()?;
        let priority: u32 = number(word()?)?;
        let address = word()?;
        let port: u16 = number(word()?)?;
        let typ = word()?;
        let kind = word()?;
        if !is_foundation(foundation) || !typ.eq_ignore_ascii_case("typ") {
            return Err(CandidateError::Syntax);
        }
        if !transport.eq_ignore_ascii_case("udp") {
            return Err(CandidateError::Transport);
        }
        let component = Component::new(component).ok_or(CandidateError::Component)?;
        let kind = Kind::from_name(kind).ok_or(CandidateError::Kind)?;
        let address: IpAddr = address.parse().map_err(|_| CandidateError::Name)?;
        // Of the extensions behind it only these two say something to us; each is a name and a value.
        let (mut related_ip, mut related_port) = (None, None);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match name {
                "raddr" => related_ip = value.parse::<IpAddr>().ok(),
                "rport" => related_port = value.parse::<u16>().ok(),
                _ => {}
            }
        }
        let related = related_ip.zip(related_port).map(|(ip, port)| SocketAddr::new(ip, port));
        let address = SocketAddr::new(address.to_canonical(), port);
        Ok(Self { foundation: foundation.to_owned(), component, priority, address, kind, related })
    }
}

/// The value of `a=candidate:`, without the attribute's name.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { foundation, component, priority, address, kind, related } = self;
        let (ip, port) = (address.ip(), address.port());
        write!(f, "{foundation} {} UDP {priority} {ip} {port} typ {}", component.number(), kind.name())?;
        match related {
            Some(related) => write!(f, " raddr {} rport {}", related.ip(), related.port()),
            None => Ok(()),
        }
    }
}

fn number<N: FromStr>(word: &str) -> Result<N, CandidateError> {
    // A sign is no digit, whatever Rust's own parser thinks.
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        word.parse().map_err(|_| CandidateError::Syntax)
    } else {
        Err(CandidateError::Syntax)
    }
}

fn is_foundation(word: &str) -> bool {
    word.len() <= FOUNDATION_CHARS_MAX && is_ice_chars(word)
}

/// `ice-char` of RFC 8839 section 5.1.
pub(crate) fn is_ice_chars(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}
