//! Via: the way a response takes back (RFC 3261 section 20.42, RFC 3581).

use std::fmt;
use std::net::IpAddr;

use crate::host::Host;
use crate::params::Params;
use crate::source::Transport;
use crate::text::{is_token, parse_port, parse_u32, trim};

/// What every branch of RFC 3261 begins with.
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// `UDP`, `TCP`, `TLS` or another word, in upper case.
    pub transport: String,
    pub host: Host,
    pub port: Option<u16>,
    pub params: Params,
}

impl Via {
    pub fn new(transport: Transport, host: Host, port: Option<u16>, branch: &str) -> Via {
        let mut params = Params::new();
        params.set("branch", Some(branch));
        Via { transport: transport.via_name().to_owned(), host, port, params }
    }

    /// Reads one value, of any version of SIP: a request of another one is answered by it. A repeated `branch`, `received`
    /// or `rport` makes it none.
    pub fn parse(text: &str) -> Option<Via> {
        let (name, rest) = text.split_once('/')?;
        let (version, rest) = rest.split_once('/')?;
        if !trim(name).eq_ignore_ascii_case("SIP") || !is_version(trim(version)) {
            return None;
        }
        let rest = trim(rest);
        let (transport, rest) = rest.split_once([' ', '\t'])?;
        if !is_token(transport) {
            return None;
        }
        let rest = trim(rest);
        let sent_by_end = rest.find(';').unwrap_or(rest.len());
        let (host, port) = Host::parse_with_port(trim(&rest[..sent_by_end]))?;
        let params = Params::parse_header(&rest[sent_by_end..], &["branch", "received", "rport"])?;
        Some(Via { transport: transport.to_ascii_uppercase(), host, port, params })
    }

    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch").filter(|branch| !branch.is_empty())
    }

    /// The branch, if it identifies a transaction by itself: the magic cookie and something after it (RFC 3261 section
    /// 17.2.3).
    pub fn unique_branch(&self) -> Option<&str> {
        self.branch().filter(|branch| {
            branch.len() > MAGIC_COOKIE.len()
                && branch.get(..MAGIC_COOKIE.len()).is_some_and(|cookie| cookie.eq_ignore_ascii_case(MAGIC_COOKIE))
        })
    }

    /// The address the request came from, if the server that took it in noted one.
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.value("received")?;
        text.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The port the request came from, if asked for and noted (RFC 3581).
    pub fn rport(&self) -> Option<u16> {
        self.params.value("rport").and_then(parse_port)
    }

    /// Notes where a request came from: `received` always (it is needed whenever it differs from sent-by, and never
    /// wrong), `rport` if asked for (RFC 3261 section 18.2.1, RFC 3581 section 4).
    pub fn note_source(&mut self, from: std::net::SocketAddr) {
        let ip = from.ip().to_canonical();
        let asked = self.params.contains("rport");
        if asked || self.host.address() != Some(ip) {
            let text = match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            self.params.set("received", Some(&text));
        }
        if asked {
            self.params.set("rport", Some(&from.port().to_string()));
        }
    }
}

fn is_version(text: &str) -> bool {
    text.split_once('.').is_some_and(|(major, minor)| parse_u32(major).is_some() && parse_u32(minor).is_some())
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let mut params = String::new();
        self.params.push_header(&mut params);
        f.write_str(&params)
    }
}
