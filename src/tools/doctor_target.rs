//! Which servers, transports and ports the doctor is to try.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::{Result, bail};
use tokio::net::lookup_host;

/// How an endpoint reaches its relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

/// RFC 8656 section 3.1: the port of TURN over UDP and TCP.
const TURN_PORT: u16 = 3478;

/// Ports of TURN over TLS: the registered one, and the one that every network lets through.
const TURNS_PORTS: [u16; 2] = [5349, 443];

/// A server as somebody names it: `turn:` or `turns:` URI (RFC 7065), or `host[:port]` for every transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or IP address, without brackets.
    pub host: String,
    port: Option<u16>,
    transports: Vec<Transport>,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme @ ("turn" | "turns"), rest)) => (scheme, rest),
            _ => ("", text),
        };
        let (authority, query) =
            rest.split_once('?').map_or((rest, None), |(authority, query)| (authority, Some(query)));
        let transports = match (scheme, query) {
            ("", None) => vec![Transport::Udp, Transport::Tcp, Transport::Tls],
            ("turn", None) => vec![Transport::Udp, Transport::Tcp],
            ("turn", Some("transport=udp")) => vec![Transport::Udp],
            ("turn", Some("transport=tcp")) => vec![Transport::Tcp],
            ("turns", None | Some("transport=tcp")) => vec![Transport::Tls],
            ("turns", Some("transport=udp")) => {
                return Err("the doctor does not speak DTLS: name a server for UDP, TCP or TLS".into());
            }
            _ => return Err(format!("`{text}` is no turn: or turns: URI; transport is udp or tcp")),
        };
        let (host, port) =
            split_port(authority).ok_or_else(|| format!("`{text}` names no host, or a port that is none"))?;
        Ok(Self { host: host.to_owned(), port, transports })
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, or a bare IPv6 address.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        match after {
            "" => (host, None),
            _ => (host, Some(after.strip_prefix(':')?)),
        }
    } else if authority.matches(':').count() > 1 {
        (authority, None)
    } else {
        authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
    };
    let port = match port {
        None => None,
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
    };
    let sound = !host.is_empty() && !host.contains(['/', '@', ' ', '?']);
    sound.then_some((host, port))
}

/// One way to try: a transport to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub transport: Transport,
    /// What the certificate must be for.
    pub host: String,
    /// Addresses to try in turn: they differ in port alone.
    pub addresses: Vec<SocketAddr>,
}

impl Route {
    /// `udp/ipv4` and so on.
    pub fn path(&self) -> String {
        let family = if self.is_ipv4() { "ipv4" } else { "ipv6" };
        format!("{}/{family}", self.transport)
    }

    pub fn is_ipv4(&self) -> bool {
        self.addresses.first().is_none_or(SocketAddr::is_ipv4)
    }
}

/// Looks the names up: for each server and transport one route per address family, none of them twice.
///
/// # Errors
/// When a name has no address, or `only` leaves nothing to try.
pub async fn resolve(servers: &[Server], only: &[Transport]) -> Result<Vec<Route>> {
    let mut routes: Vec<Route> = Vec::new();
    for server in servers {
        let found: Vec<SocketAddr> = match lookup_host((server.host.as_str(), 0)).await {
            Ok(found) => found.collect(),
            Err(error) => bail!("{} cannot be looked up: {error}; check the name and this machine's DNS", server.host),
        };
        let families = [found.iter().find(|address| address.is_ipv4()), found.iter().find(|address| address.is_ipv6())];
        for transport in server.transports.iter().filter(|transport| only.is_empty() || only.contains(transport)) {
            for address in families.into_iter().flatten() {
                let ports = match (server.port, transport) {
                    (Some(port), _) => vec![port],
                    (None, Transport::Tls) => TURNS_PORTS.to_vec(),
                    (None, _) => vec![TURN_PORT],
                };
                let at = |port| SocketAddr::new(address.ip(), port);
                let route = Route {
                    transport: *transport,
                    host: server.host.clone(),
                    addresses: ports.into_iter().map(at).collect(),
                };
                let known = |other: &Route| other.transport == route.transport && other.addresses == route.addresses;
                if !routes.iter().any(known) {
                    routes.push(route);
                }
            }
        }
    }
    if routes.is_empty() {
        bail!("nothing to try: the servers named have none of the transports asked for by --transport");
    }
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Server {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn uris_and_bare_hosts_are_read() {
        use Transport::{Tcp, Tls, Udp};
        let expect = |text: &str, host: &str, port: Option<u16>, transports: &[Transport]| {
            let expected = Server { host: host.into(), port, transports: transports.to_vec() };
            assert_eq!(server(text), expected, "{text}");
        };
        expect("edge.example.test", "edge.example.test", None, &[Udp, Tcp, Tls]);
        expect("192.0.2.1:4000", "192.0.2.1", Some(4000), &[Udp, Tcp, Tls]);
        expect("::1", "::1", None, &[Udp, Tcp, Tls]);
        expect("[::1]:3478", "::1", Some(3478), &[Udp, Tcp, Tls]);
        expect("turn:edge", "edge", None, &[Udp, Tcp]);
        expect("turn:edge:3478?transport=udp", "edge", Some(3478), &[Udp]);
        expect("turn:[2001:db8::1]:3478?transport=tcp", "2001:db8::1", Some(3478), &[Tcp]);
        expect("turns:edge:443?transport=tcp", "edge", Some(443), &[Tls]);
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for text in [
            "",
            "turn:",
            "turn:edge:0",
            "turn:edge:70000",
            "turns:edge?transport=udp",
            "turn:edge?x=y",
            "[::1",
            "http://edge/",
        ] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_host_without_port_is_tried_at_the_ports_of_its_transports() {
        let routes = resolve(&[server("127.0.0.1"), server("turn:127.0.0.1")], &[]).await.unwrap();
        let shown: Vec<String> = routes.iter().map(|route| format!("{} {:?}", route.path(), route.addresses)).collect();
        assert_eq!(
            shown,
            ["udp/ipv4 [127.0.0.1:3478]", "tcp/ipv4 [127.0.0.1:3478]", "tls/ipv4 [127.0.0.1:5349, 127.0.0.1:443]"]
        );
    }

    #[tokio::test]
    async fn asking_for_a_transport_that_no_server_has_is_an_error() {
        assert!(resolve(&[server("turn:127.0.0.1")], &[Transport::Tls]).await.is_err());
    }
}
