//! Where an edge's relays are, and whether they answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use postern_turn::client::{BindingClient, BindingEvent};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{sleep_until, timeout};

use crate::service_limits::{PROBE_TIMEOUT, RELAY_ADDRESSES_MAX, TOKEN_TIMEOUT};

/// Host and port of a relay over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RelayName<'a> {
    host: &'a str,
    port: u16,
}

/// The relay of a URI (RFC 7065) that is reached by UDP, without DTLS; none for any other.
fn over_udp(uri: &str) -> Option<RelayName<'_>> {
    let rest = uri.strip_prefix("turn:")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !matches!(query, "" | "transport=udp") {
        return None;
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => rest.find(':').map_or((rest, ""), |colon| rest.split_at(colon)),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None if port.is_empty() => 3478,
        None => return None,
    };
    (!host.is_empty()).then_some(RelayName { host, port })
}

/// Addresses of all relays over UDP, in the order of their URIs, IPv4 first within a name.
pub(crate) async fn resolve(uris: &[String]) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for RelayName { host, port } in uris.iter().filter_map(|uri| over_udp(uri)) {
        let mut addresses = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => match timeout(TOKEN_TIMEOUT, lookup_host((host, port))).await {
                Ok(Ok(addresses)) => addresses.take(RELAY_ADDRESSES_MAX).collect(),
                Ok(Err(_)) | Err(_) => Vec::new(),
            },
        };
        addresses.sort_by_key(SocketAddr::is_ipv6);
        addresses.retain(|address| !found.contains(address));
        found.append(&mut addresses);
    }
    found.truncate(RELAY_ADDRESSES_MAX);
    found
}

/// Whether a relay answers a Binding request (RFC 8489 section 3) in time.
pub(crate) async fn answers(relay: SocketAddr) -> bool {
    // Without a socket or randomness of our own nothing is known of the relay.
    probe(relay).await.unwrap_or(false)
}

async fn probe(relay: SocketAddr) -> std::io::Result<bool> {
    let any: IpAddr = if relay.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(relay).await?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
    let began = Instant::now();
    let mut client = BindingClient::new(began, seed);
    let mut datagram = [0; 548];
    loop {
        while let Some(request) = client.poll_transmit() {
            socket.send(&request).await?;
        }
        if let Some(event) = client.poll_event() {
            return Ok(event != BindingEvent::NoAnswer);
        }
        let give_up = began + PROBE_TIMEOUT;
        let wake = client.next_timeout().map_or(give_up, |at| at.min(give_up));
        tokio::select! {
            received = socket.recv(&mut datagram) => {
                client.handle_datagram(&datagram[..received?]);
            }
            () = sleep_until(wake.into()) => {
                let now = Instant::now();
                if now >= give_up {
                    return Ok(false);
                }
                client.handle_timeout(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_over_udp_are_told_from_others() {
        let relay = |uri| over_udp(uri).map(|name| (name.host, name.port));
        assert_eq!(relay("turn:10.20.0.10:3478?transport=udp"), Some(("10.20.0.10", 3478)));
        assert_eq!(relay("turn:edge.example.test"), Some(("edge.example.test", 3478)));
        assert_eq!(relay("turn:[2001:db8::1]:5000"), Some(("2001:db8::1", 5000)));
        assert_eq!(relay("turn:[2001:db8::1]"), Some(("2001:db8::1", 3478)));
        for other in [
            "turn:edge.example.test?transport=tcp",
            "turns:edge.example.test",
            "stun:edge.example.test",
            "turn:edge.example.test:0",
            "turn:edge.example.test:99999",
            "turn:[2001:db8::1",
            "turn:[2001:db8::1]x",
            "turn::3478",
            "turn:",
            "",
        ] {
            assert_eq!(relay(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn addresses_come_once_and_in_order() {
        let uris = ["turn:10.0.0.2", "turns:10.0.0.9", "turn:[::1]:3478", "turn:10.0.0.2:3478"].map(str::to_owned);
        let found: Vec<String> = resolve(&uris).await.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.2:3478", "[::1]:3478"]);
    }

    #[tokio::test]
    async fn a_relay_that_is_silent_or_gone_does_not_answer() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let began = Instant::now();
        assert!(!answers(address).await);
        assert!(began.elapsed() >= PROBE_TIMEOUT);
        drop(silent);
        assert!(!answers(address).await);
    }
}
