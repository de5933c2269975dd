//! ICE in a session description (RFC 8839), with the transports of RFC 6544 and of Lync.

use std::fmt;
use std::net::SocketAddr;

use crate::limits::{ICE_CANDIDATES_MAX, ICE_CREDENTIAL_BYTES_MAX, SDP_TOKEN_BYTES_MAX};
use crate::sdp::ConnectionAddress;

/// The ICE attributes of a session or of one media description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceAttributes {
    /// a=ice-ufrag
    pub user_fragment: Option<String>,
    /// a=ice-pwd
    pub password: Option<IcePassword>,
    /// a=ice-lite (session level).
    pub lite: bool,
    /// a=ice-mismatch: the peer saw that its offer's default address was changed on the way.
    pub mismatch: bool,
    /// a=ice-options, one word each.
    pub options: Vec<String>,
    pub candidates: Vec<IceCandidate>,
    /// a=remote-candidates: component and address, from a controlling agent that is done.
    pub remote_candidates: Vec<(u16, SocketAddr)>,
}

/// An ICE password; not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct IcePassword(pub String);

/// a=candidate
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceCandidate {
    pub foundation: String,
    /// 1 for RTP, 2 for RTCP.
    pub component: u16,
    pub transport: CandidateTransport,
    pub priority: u32,
    /// A name when the peer hides its addresses (mDNS).
    pub address: ConnectionAddress,
    pub port: u16,
    pub kind: CandidateKind,
    /// raddr and rport: the base of a reflexive or relayed candidate.
    pub related: Option<SocketAddr>,
}

/// How checks of a candidate travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateTransport {
    Udp,
    TcpActive,
    TcpPassive,
    TcpSimultaneousOpen,
}

/// Where a candidate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateKind {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relayed,
}

impl IceAttributes {
    /// User fragment and password, when both are there.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        Some((self.user_fragment.as_deref()?, &self.password.as_ref()?.0))
    }

    /// Takes an attribute when it is one of ICE's; false otherwise. What is malformed or beyond the limits is left out.
    pub(crate) fn on_attribute(&mut self, name: &str, value: &str) -> bool {
        match name {
            "ice-ufrag" => self.user_fragment = credential(value),
            "ice-pwd" => self.password = credential(value).map(IcePassword),
            "ice-lite" => self.lite = true,
            "ice-mismatch" => self.mismatch = true,
            "ice-options" => {
                let words = value.split_ascii_whitespace().filter(|word| word.len() <= SDP_TOKEN_BYTES_MAX);
                self.options = words.take(8).map(String::from).collect();
            }
            // Lync hides IPv6 candidates from its elders under a name of its own.
            "candidate" | "x-candidate-ipv6" if self.candidates.len() < ICE_CANDIDATES_MAX => {
                self.candidates.extend(IceCandidate::parse(value));
            }
            "candidate" | "x-candidate-ipv6" => {}
            "remote-candidates" => self.remote_candidates = parse_remote_candidates(value),
            _ => return false,
        }
        true
    }

    pub(crate) fn encode(&self, text: &mut String) {
        if self.lite {
            *text += "a=ice-lite\r\n";
        }
        if self.mismatch {
            *text += "a=ice-mismatch\r\n";
        }
        if !self.options.is_empty() {
            *text += &format!("a=ice-options:{}\r\n", self.options.join(" "));
        }
        if let Some(user_fragment) = &self.user_fragment {
            *text += &format!("a=ice-ufrag:{user_fragment}\r\n");
        }
        if let Some(IcePassword(password)) = &self.password {
            *text += &format!("a=ice-pwd:{password}\r\n");
        }
        for candidate in &self.candidates {
            *text += &format!("a=candidate:{candidate}\r\n");
        }
        if !self.remote_candidates.is_empty() {
            *text += "a=remote-candidates:";
            for (index, (component, address)) in self.remote_candidates.iter().enumerate() {
                let space = if index == 0 { "" } else { " " };
                *text += &format!("{space}{component} {} {}", address.ip(), address.port());
            }
            *text += "\r\n";
        }
    }
}

impl IceCandidate {
    /// The value of an a=candidate attribute. `None` for what no check could use: unknown transports and kinds, and the
    /// form of the sixth draft, whose candidates have no type.
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split_ascii_whitespace();
        let foundation = parts.next().filter(|text| text.len() <= SDP_TOKEN_BYTES_MAX)?;
        let component = parts.next()?.parse().ok().filter(|component| (1..=256).contains(component))?;
        let transport = parts.next()?.to_ascii_lowercase();
        let priority = parts.next()?.parse().ok()?;
        let address = parts.next().filter(|text| text.len() <= SDP_TOKEN_BYTES_MAX).map(ConnectionAddress::parse)?;
        let port = parts.next()?.parse().ok()?;
        (parts.next()? == "typ").then_some(())?;
        let kind = CandidateKind::parse(parts.next()?)?;
        let (mut related_address, mut related_port, mut tcp_type) = (None, None, None);
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            match name {
                "raddr" => related_address = value.parse().ok(),
                "rport" => related_port = value.parse().ok(),
                "tcptype" => tcp_type = Some(value.to_ascii_lowercase()),
                _ => {}
            }
        }
        let transport = match (transport.as_str(), tcp_type.as_deref()) {
            ("udp", _) => CandidateTransport::Udp,
            ("tcp", Some("active")) | ("tcp-act", _) => CandidateTransport::TcpActive,
            ("tcp", Some("passive")) | ("tcp-pass", _) => CandidateTransport::TcpPassive,
            ("tcp", Some("so")) => CandidateTransport::TcpSimultaneousOpen,
            _ => return None,
        };
        let related = related_address.zip(related_port).map(|(address, port)| SocketAddr::new(address, port));
        Some(Self { foundation: foundation.into(), component, transport, priority, address, port, kind, related })
    }

    /// Address and port, when the address is one.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        self.address.ip().map(|address| SocketAddr::new(address, self.port))
    }
}

impl fmt::Display for IceCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { foundation, component, priority, address, port, kind, .. } = self;
        let (transport, tcp_type) = match self.transport {
            CandidateTransport::Udp => ("UDP", ""),
            CandidateTransport::TcpActive => ("TCP", " tcptype active"),
            CandidateTransport::TcpPassive => ("TCP", " tcptype passive"),
            CandidateTransport::TcpSimultaneousOpen => ("TCP", " tcptype so"),
        };
        write!(f, "{foundation} {component} {transport} {priority} {address} {port} typ {}", kind.name())?;
        if let Some(related) = self.related {
            write!(f, " raddr {} rport {}", related.ip(), related.port())?;
        }
        f.write_str(tcp_type)
    }
}

impl CandidateKind {
    fn parse(name: &str) -> Option<Self> {
        [Self::Host, Self::ServerReflexive, Self::PeerReflexive, Self::Relayed]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        }
    }
}

impl fmt::Debug for IcePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IcePassword(..)")
    }
}

fn credential(value: &str) -> Option<String> {
    let value = value.trim();
    ((1..=ICE_CREDENTIAL_BYTES_MAX).contains(&value.len())).then(|| value.into())
}

fn parse_remote_candidates(value: &str) -> Vec<(u16, SocketAddr)> {
    let words: Vec<&str> = value.split_ascii_whitespace().take(3 * 4).collect();
    let parse = |three: &[&str]| {
        let address = SocketAddr::new(three[1].parse().ok()?, three[2].parse().ok()?);
        Some((three[0].parse().ok()?, address))
    };
    words.chunks_exact(3).filter_map(parse).collect()
}
