//! `sip:` and `sips:` URIs of services that calls are sent on to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use postern_sip::SipUri;
use postern_sip::host::Host;

/// What carries SIP between services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SipTransport {
    Tcp,
    /// Mutual TLS over TCP.
    Tls,
}

impl fmt::Display for SipTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

/// A service without a user; printed with its transport spelt out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SipTarget {
    /// DNS name in lower case, or address without brackets; never an address under TLS, whose certificate holds a name.
    pub host: String,
    /// `None` is found by DNS (RFC 3263), else the default of the transport.
    pub port: Option<u16>,
    pub transport: SipTransport,
}

impl SipTarget {
    /// As requests name it; `None` only for a host that no URI can hold.
    pub fn uri(&self) -> Option<SipUri> {
        let host = match self.host.parse::<IpAddr>() {
            Ok(address) => Host::from(address),
            Err(_) => Host::parse(&self.host)?,
        };
        Some(SipUri::new(host).with_port(self.port).with_param("transport", Some(&self.transport.to_string())))
    }
}

impl fmt::Display for SipTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "sip:[{}]", self.host)?;
        } else {
            write!(f, "sip:{}", self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, ";transport={}", self.transport)
    }
}

impl FromStr for SipTarget {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').ok_or("does not start with sip:")?;
        let sips = match scheme.to_ascii_lowercase().as_str() {
            "sip" => false,
            "sips" => true,
            _ => return Err("does not start with sip:"),
        };
        let (authority, parameters) = rest.split_once(';').map_or((rest, ""), |(authority, rest)| (authority, rest));
        if authority.contains('@') {
            return Err("names a user, where a service is meant");
        }
        let mut transport = if sips { SipTransport::Tls } else { SipTransport::Tcp };
        for parameter in parameters.split(';').filter(|parameter| !parameter.is_empty()) {
            transport = match parameter.to_ascii_lowercase().as_str() {
                "transport=tcp" if sips => SipTransport::Tls,
                "transport=tcp" => SipTransport::Tcp,
                "transport=tls" => SipTransport::Tls,
                _ => return Err("has a parameter other than transport=tcp or transport=tls"),
            };
        }
        let (host, port) = split_port(authority)?;
        if transport == SipTransport::Tls && host.parse::<IpAddr>().is_ok() {
            return Err("names an address, where TLS needs the name in the certificate");
        }
        Ok(Self { host: host.to_ascii_lowercase(), port, transport })
    }
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
pub(crate) fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or("has a [ without a ]")?;
            host.parse::<Ipv6Addr>().map_err(|_| "has something in brackets that is no IPv6 address")?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':').ok_or("has something other than a port after ]")?),
            };
            (host, port)
        }
        None => {
            let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
            if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
                return Err("has no valid host");
            }
            (host, port)
        }
    };
    let port = match port {
        None => None,
        Some(port) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse().ok().filter(|port| *port != 0).ok_or("has no valid port")?)
        }
        Some(_) => return Err("has no valid port"),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_printed_as_it_is_meant() {
        for (written, meant) in [
            ("sip:10.20.0.20:5062;transport=tcp", "sip:10.20.0.20:5062;transport=tcp"),
            ("sip:10.20.0.20:5062", "sip:10.20.0.20:5062;transport=tcp"),
            ("SIP:UM.example.test:5063;transport=TLS", "sip:um.example.test:5063;transport=tls"),
            ("sips:um.example.test", "sip:um.example.test;transport=tls"),
            ("sips:um.example.test;transport=tcp", "sip:um.example.test;transport=tls"),
            ("sip:[2001:db8::20]:5062;transport=tcp", "sip:[2001:db8::20]:5062;transport=tcp"),
            ("sip:[2001:db8::20]", "sip:[2001:db8::20];transport=tcp"),
        ] {
            let target: SipTarget = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(target.to_string(), meant);
            assert_eq!(target.uri().map(|uri| uri.to_string()).as_deref(), Some(meant));
            assert_eq!(meant.parse::<SipTarget>(), Ok(target));
        }
    }

    #[test]
    fn what_is_no_target_says_why() {
        for (written, why) in [
            ("10.20.0.20:5062", "does not start with sip:"),
            ("tel:+15550100", "does not start with sip:"),
            ("sip:", "no valid host"),
            ("sip:vm@um.example.test", "names a user"),
            ("sip:um.example.test:0", "no valid port"),
            ("sip:um.example.test:", "no valid port"),
            ("sip:um.example.test:65536", "no valid port"),
            ("sip:um.example.test;transport=udp", "parameter other than"),
            ("sip:10.20.0.20:5063;transport=tls", "needs the name"),
            ("sip:[2001:db8::20];transport=tls", "needs the name"),
            ("sip:[::1", "without a ]"),
            ("sip:[um]", "no IPv6 address"),
        ] {
            let error = written.parse::<SipTarget>().expect_err(written);
            assert!(error.contains(why), "{written}: {error}");
        }
    }
}
