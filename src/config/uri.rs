//! `turn:` and `turns:` URIs (RFC 7065), and those that follow from the listeners.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::tree::EdgeConfig;

/// How a client reaches a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayTransport {
    Udp,
    Tcp,
    /// `turns:` over TCP.
    Tls,
    /// `turns:` over UDP.
    Dtls,
}

impl RelayTransport {
    /// Whether the client checks a certificate.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Dtls)
    }
}

/// One relay as clients are told it; printed in the form of RFC 7065 with port and transport spelt out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayUri {
    pub transport: RelayTransport,
    /// DNS name or address, without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for RelayUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.transport.is_secure() { "turns" } else { "turn" };
        let transport = match self.transport {
            RelayTransport::Udp | RelayTransport::Dtls => "udp",
            RelayTransport::Tcp | RelayTransport::Tls => "tcp",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}:[{}]:{}?transport={transport}", self.host, self.port)
        } else {
            write!(f, "{scheme}:{}:{}?transport={transport}", self.host, self.port)
        }
    }
}

impl FromStr for RelayUri {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').ok_or("does not start with turn: or turns:")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "turn" => false,
            "turns" => true,
            _ => return Err("does not start with turn: or turns:"),
        };
        let (authority, query) = rest.split_once('?').map_or((rest, None), |(a, q)| (a, Some(q)));
        // RFC 7065 section 3.1: without a transport, turn: is UDP and turns: is TCP.
        let transport = match (query, secure) {
            (Some("transport=udp"), false) | (None, false) => RelayTransport::Udp,
            (Some("transport=tcp"), false) => RelayTransport::Tcp,
            (Some("transport=udp"), true) => RelayTransport::Dtls,
            (Some("transport=tcp"), true) | (None, true) => RelayTransport::Tls,
            (Some(_), _) => return Err("has a query other than ?transport=udp or ?transport=tcp"),
        };
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
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty()
            || host.len() > 253
            || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b))
        {
            return Err("has no valid host");
        }
        let port = match port {
            None if secure => 5349,
            None => 3478,
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port.parse().map_err(|_| "has no valid port")?,
            Some(_) => return Err("has no valid port"),
        };
        if port == 0 {
            return Err("has no valid port");
        }
        Ok(Self { transport, host: host.to_string(), port })
    }
}

/// Where the clients are that relays are named to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    Internet,
    Intranet,
}

/// The relays that follow from the listeners, as a client beyond a 1:1 NAT sees them (`edge.advertise`).
///
/// For the internet only those that the internet reaches: an advertised address, or a public one. Wildcard listeners name
/// no address and are left out. TLS and DTLS listeners are named by their address when the certificate holds it, else by
/// the certificate's first DNS name that is no wildcard.
pub fn relays_from_listeners(edge: &EdgeConfig, location: Location) -> Vec<RelayUri> {
    let public = |ip: IpAddr| edge.advertise.get(&ip).copied().unwrap_or(ip);
    let host = |ip: IpAddr, transport: RelayTransport| {
        let address = public(ip).to_string();
        match &edge.certificate {
            Some(pair) if transport.is_secure() && !pair.material.covers(&address) => {
                pair.material.names.iter().find(|name| !name.starts_with("*.")).cloned().unwrap_or(address)
            }
            _ => address,
        }
    };
    let is_reached = |ip: IpAddr| match location {
        Location::Internet => edge.advertise.contains_key(&ip) || is_public(ip),
        Location::Intranet => !ip.is_unspecified(),
    };
    let listeners: [(&[SocketAddr], RelayTransport); 4] = [
        (&edge.udp, RelayTransport::Udp),
        (&edge.tcp, RelayTransport::Tcp),
        (&edge.tls, RelayTransport::Tls),
        (&edge.dtls, RelayTransport::Dtls),
    ];
    let mut relays = Vec::new();
    for (addresses, transport) in listeners {
        for listener in addresses.iter().filter(|listener| is_reached(listener.ip())) {
            let relay = RelayUri { transport, host: host(listener.ip(), transport), port: listener.port() };
            if !relays.contains(&relay) {
                relays.push(relay);
            }
        }
    }
    relays
}

/// Whether hosts anywhere on the internet may reach the address: one that no RFC keeps to a machine, a link or a site.
/// Documentation addresses count as public, as everywhere here.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let kept = v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || matches!((a, b, c), (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) | (224.., ..));
            !kept
        }
        // Of fe80::/10 and the former site-local fec0::/10 both are kept in.
        IpAddr::V6(v6) => {
            let kept = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unique_local();
            !kept && v6.segments()[0] & 0xff80 != 0xfe80
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BASE, TOKENS, accepted};

    #[test]
    fn a_uri_is_printed_as_it_is_meant() {
        for (written, meant) in [
            ("turn:edge.example.test", "turn:edge.example.test:3478?transport=udp"),
            ("turns:edge.example.test", "turns:edge.example.test:5349?transport=tcp"),
            ("TURN:edge.example.test:80?transport=tcp", "turn:edge.example.test:80?transport=tcp"),
            ("turns:[2001:db8::10]:443?transport=udp", "turns:[2001:db8::10]:443?transport=udp"),
            ("turn:[2001:db8::10]", "turn:[2001:db8::10]:3478?transport=udp"),
            ("turn:203.0.113.10:3478", "turn:203.0.113.10:3478?transport=udp"),
        ] {
            assert_eq!(written.parse::<RelayUri>().expect(written).to_string(), meant);
        }
    }

    #[test]
    fn what_rfc_7065_does_not_allow_is_no_uri() {
        for text in [
            "",
            "edge",
            "stun:edge",
            "turn:",
            "turn:?transport=udp",
            "turn:a b",
            "turn:a:65536",
            "turn:a:0",
            "turn:a:+1",
            "turn:a?transport=tls",
            "turn:[::1",
            "turn:[::1]3478",
            "turn:[a]:1",
            "turn:2001:db8::1",
            "turn://a",
        ] {
            assert!(text.parse::<RelayUri>().is_err(), "{text}");
        }
    }

    fn internet(text: &str) -> Vec<String> {
        accepted(text).edge.tokens.expect("on").internet.iter().map(RelayUri::to_string).collect()
    }

    #[test]
    fn relays_follow_from_the_listeners() {
        let expected = [
            "turn:203.0.113.10:3478?transport=udp",
            "turn:[2001:db8::10]:3478?transport=udp",
            "turn:203.0.113.10:3478?transport=tcp",
            "turns:203.0.113.10:443?transport=tcp",
        ];
        assert_eq!(internet(&format!("{BASE}{TOKENS}")), expected);
        let intranet: Vec<String> = accepted(&format!("{BASE}{TOKENS}"))
            .edge
            .tokens
            .expect("on")
            .intranet
            .iter()
            .map(RelayUri::to_string)
            .collect();
        assert_eq!(intranet, expected);
    }

    #[test]
    fn relays_behind_a_nat_are_named_by_their_public_address_or_the_certificate() {
        let text = BASE.replace("dtls = []", "advertise = { \"203.0.113.10\" = \"198.51.100.7\" }");
        let expected = [
            "turn:198.51.100.7:3478?transport=udp",
            "turn:[2001:db8::10]:3478?transport=udp",
            "turn:198.51.100.7:3478?transport=tcp",
            "turns:edge.example.test:443?transport=tcp",
        ];
        assert_eq!(internet(&format!("{text}{TOKENS}")), expected);
    }

    fn intranet(text: &str) -> Vec<String> {
        accepted(text).edge.tokens.expect("on").intranet.iter().map(RelayUri::to_string).collect()
    }

    /// Beside the public listeners of the base some that only this machine or this site reaches.
    fn with_private_listeners() -> String {
        BASE.replace("udp = [", "udp = [\"127.0.0.1:3478\", \"10.20.0.10:3478\", \"[fd20::10]:3478\", ")
            .replace("\ntls = [", "\ntls = [\"10.20.0.10:443\", ")
    }

    #[test]
    fn private_listeners_are_named_to_clients_inside_and_not_to_the_internet() {
        let text = format!("{}{TOKENS}", with_private_listeners());
        let outside = internet(&text);
        assert_eq!(outside, internet(&format!("{BASE}{TOKENS}")));
        assert!(outside.iter().all(|uri| !uri.contains("10.20.") && !uri.contains("127.") && !uri.contains("fd20")));
        let inside = intranet(&text);
        for uri in outside.iter().chain(&["turn:10.20.0.10:3478?transport=udp".to_owned()]) {
            assert!(inside.contains(uri), "{uri} in {inside:?}");
        }
    }

    #[test]
    fn a_private_listener_that_is_advertised_is_named_by_its_public_address() {
        let text = with_private_listeners().replace("dtls = []", "advertise = { \"10.20.0.10\" = \"198.51.100.7\" }");
        let outside = internet(&format!("{text}{TOKENS}"));
        assert!(outside.contains(&"turn:198.51.100.7:3478?transport=udp".to_owned()), "{outside:?}");
        assert!(outside.iter().all(|uri| !uri.contains("10.20.")));
    }

    #[test]
    fn what_is_kept_to_a_machine_a_link_or_a_site_is_not_public() {
        for text in ["10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "172.31.0.1", "192.0.0.1", "192.168.1.1"] {
            assert!(!is_public(text.parse().expect(text)), "{text}");
        }
        for text in ["0.1.2.3", "198.19.0.1", "224.0.0.1", "240.0.0.1", "::", "::1", "fd00::1", "fe80::1", "fec0::1"] {
            assert!(!is_public(text.parse().expect(text)), "{text}");
        }
        for text in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.2.1", "198.20.0.1", "203.0.113.1", "2001:db8::1"] {
            assert!(is_public(text.parse().expect(text)), "{text}");
        }
    }

    #[test]
    fn written_relays_stand_as_they_are() {
        assert_eq!(
            internet(&format!("{BASE}{TOKENS}internet = [\"turn:edge.example.test\"]\n")),
            ["turn:edge.example.test:3478?transport=udp"]
        );
    }
}
