//! A host as URIs and Via name it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::HOST_BYTES_MAX;
use crate::text::parse_port;

/// A name in lower case, or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// Reads a name, an IPv4 address or an IPv6 address in brackets. Underscores are let through: they are in use.
    pub fn parse(text: &str) -> Option<Host> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Host::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Host::Address(IpAddr::V4(address)));
        }
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if text.is_empty() || text.len() > HOST_BYTES_MAX || !text.bytes().all(in_name) {
            return None;
        }
        // A name of digits and dots alone would be an address to some and a name to others.
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            || text.contains("..")
            || text.starts_with('.')
        {
            return None;
        }
        Some(Host::Name(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()))
    }

    /// Reads `host` or `host:port`. The port is 1 to 65535.
    pub(crate) fn parse_with_port(text: &str) -> Option<(Host, Option<u16>)> {
        let host_end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
        let host = Host::parse(text[..host_end].trim_end())?;
        match text[host_end..].trim_start().strip_prefix(':') {
            Some(port) => Some((host, Some(parse_port(port.trim_start())?))),
            None if text[host_end..].trim().is_empty() => Some((host, None)),
            None => None,
        }
    }

    /// The address, for a host that is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Host::Address(address) => Some(*address),
            Host::Name(_) => None,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Host {
        Host::Address(address.to_canonical())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        assert_eq!(Host::parse("Gw.Example.TEST."), Some(Host::Name("gw.example.test".into())));
        assert_eq!(Host::parse("192.0.2.1").unwrap().to_string(), "192.0.2.1");
        assert_eq!(Host::parse("[2001:DB8::1]").unwrap().to_string(), "[2001:db8::1]");
        for wrong in ["", "2001:db8::1", "192.0.2.256", "192.0.2", "a b", "[::1", "[1.2.3.4]", "a..b", ".a"] {
            assert_eq!(Host::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ports_are_numbers_from_one_on() {
        assert_eq!(Host::parse_with_port("[::1]:5061").unwrap().1, Some(5061));
        assert_eq!(Host::parse_with_port("a").unwrap().1, None);
        for wrong in ["a:", "a:0", "a:65536", "a:+1", "[::1]5061"] {
            assert_eq!(Host::parse_with_port(wrong), None, "{wrong}");
        }
    }
}
