//! The ports that a configuration opens, for firewalls and for people.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::tree::{Config, PortRange};

/// What a port belongs to on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// Who comes to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// STUN and TURN clients.
    Clients,
    /// Peers of allocations.
    Peers,
    /// Callers of the token service, over mutual TLS.
    Tokens,
    /// Gateways, routers and other SIP peers.
    Signalling,
    /// RTP and RTCP of gateways and phones.
    Media,
    /// Prometheus, and whoever asks for health.
    Metrics,
    /// Browsers of mailbox owners, and administrators, over HTTPS.
    Web,
}

/// One port, or one range of them, on one local address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The key that asks for it.
    pub key: &'static str,
    pub purpose: Purpose,
    pub protocol: Protocol,
    /// A wildcard stands for every address of its family.
    pub address: IpAddr,
    pub ports: PortRange,
}

impl Config {
    /// Every port that is opened towards others, in file order.
    pub fn openings(&self) -> Vec<Opening> {
        let mut openings = Vec::new();
        let mut open = |key, purpose, protocol, address, first, last| {
            openings.push(Opening { key, purpose, protocol, address, ports: PortRange { first, last } });
        };
        let edge = &self.edge;
        let listeners = [
            ("edge.udp", Protocol::Udp, &edge.udp),
            ("edge.tcp", Protocol::Tcp, &edge.tcp),
            ("edge.tls", Protocol::Tcp, &edge.tls),
            ("edge.dtls", Protocol::Udp, &edge.dtls),
        ];
        for (key, protocol, addresses) in listeners {
            for address in addresses {
                open(key, Purpose::Clients, protocol, address.ip(), address.port(), address.port());
            }
        }
        if let Some(discovery) = &edge.nat_discovery {
            for address in discovery.sockets().into_iter().filter(|address| !edge.udp.contains(address)) {
                open(
                    "edge.nat_discovery",
                    Purpose::Clients,
                    Protocol::Udp,
                    address.ip(),
                    address.port(),
                    address.port(),
                );
            }
        }
        for address in &edge.relay.addresses {
            let PortRange { first, last } = edge.relay.ports;
            open("edge.relay", Purpose::Peers, Protocol::Udp, *address, first, last);
            if edge.relay.tcp {
                open("edge.relay", Purpose::Peers, Protocol::Tcp, *address, first, last);
            }
        }
        if let Some(tokens) = &edge.tokens {
            let listen = tokens.listen;
            open("edge.tokens.listen", Purpose::Tokens, Protocol::Tcp, listen.ip(), listen.port(), listen.port());
        }
        self.signalling(&mut open);
        if self.roles.edge {
            let listen = self.telemetry.listen;
            open("telemetry.listen", Purpose::Metrics, Protocol::Tcp, listen.ip(), listen.port(), listen.port());
        }
        openings
    }

    /// What router, UM service (with the web services in it) and worker open.
    fn signalling(&self, open: &mut impl FnMut(&'static str, Purpose, Protocol, IpAddr, u16, u16)) {
        let mut lists: Vec<(&'static str, Purpose, Protocol, &[SocketAddr])> = Vec::new();
        if let Some(router) = &self.router {
            lists.push(("router.tcp", Purpose::Signalling, Protocol::Tcp, &router.tcp));
            lists.push(("router.tls", Purpose::Signalling, Protocol::Tcp, &router.tls));
            lists.push(("router.udp", Purpose::Signalling, Protocol::Udp, &router.udp));
            lists.push(("router.metrics", Purpose::Metrics, Protocol::Tcp, std::slice::from_ref(&router.metrics)));
        }
        if let Some(um) = &self.um {
            lists.push(("um.tcp", Purpose::Signalling, Protocol::Tcp, &um.tcp));
            lists.push(("um.tls", Purpose::Signalling, Protocol::Tcp, &um.tls));
            lists.push(("um.metrics", Purpose::Metrics, Protocol::Tcp, std::slice::from_ref(&um.metrics)));
        }
        if let Some(web) = &self.web {
            lists.push(("web.listen", Purpose::Web, Protocol::Tcp, &web.listen));
        }
        for (key, purpose, protocol, addresses) in lists {
            for address in addresses {
                open(key, purpose, protocol, address.ip(), address.port(), address.port());
            }
        }
        let Some(worker) = &self.worker else { return };
        for address in &worker.addresses {
            for ports in (0..worker.slots.len()).map(|slot| worker.ports(slot)) {
                for port in ports.tcp.into_iter().chain(ports.tls) {
                    open("worker.slots", Purpose::Signalling, Protocol::Tcp, *address, port, port);
                }
            }
            let PortRange { first, last } = worker.rtp_ports;
            open("worker.rtp_ports", Purpose::Media, Protocol::Udp, *address, first, last);
        }
        for address in worker.metrics {
            open("worker.metrics", Purpose::Metrics, Protocol::Tcp, address.ip(), address.port(), address.port());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BASE, CALL, TOKENS, accepted};

    #[test]
    fn every_port_of_the_configuration_is_named_once() {
        let discovery = "[edge.nat_discovery]\nalternate_address = \"203.0.113.11\"\nalternate_port = 3479\n";
        let printed: Vec<String> = accepted(&format!("{BASE}{TOKENS}{discovery}"))
            .openings()
            .iter()
            .map(|o| format!("{} {} {} {}", o.key, o.protocol, o.address, o.ports))
            .collect();
        let expected = [
            "edge.udp udp 203.0.113.10 3478-3478",
            "edge.udp udp 2001:db8::10 3478-3478",
            "edge.tcp tcp 203.0.113.10 3478-3478",
            "edge.tls tcp 203.0.113.10 443-443",
            "edge.nat_discovery udp 203.0.113.11 3478-3478",
            "edge.nat_discovery udp 203.0.113.10 3479-3479",
            "edge.nat_discovery udp 203.0.113.11 3479-3479",
            "edge.relay udp 203.0.113.10 50000-59999",
            "edge.relay tcp 203.0.113.10 50000-59999",
            "edge.relay udp 2001:db8::10 50000-59999",
            "edge.relay tcp 2001:db8::10 50000-59999",
            "edge.tokens.listen tcp 10.20.0.10 8443-8443",
            "telemetry.listen tcp 127.0.0.1 9641-9641",
        ];
        assert_eq!(printed, expected);
    }

    #[test]
    fn every_port_of_a_call_is_named_once() {
        let printed: Vec<String> = accepted(CALL)
            .openings()
            .iter()
            .map(|o| format!("{} {} {} {}", o.key, o.protocol, o.address, o.ports))
            .collect();
        let expected = [
            "router.tcp tcp 10.20.0.21 5060-5060",
            "router.tls tcp 10.20.0.21 5061-5061",
            "router.udp udp 10.20.0.21 5060-5060",
            "router.metrics tcp 127.0.0.1 9642-9642",
            "um.tcp tcp 10.20.0.20 5062-5062",
            "um.tls tcp 10.20.0.20 5063-5063",
            "um.metrics tcp 127.0.0.1 9643-9643",
            "worker.slots tcp 10.20.0.20 5065-5065",
            "worker.slots tcp 10.20.0.20 5066-5066",
            "worker.slots tcp 10.20.0.20 5067-5067",
            "worker.slots tcp 10.20.0.20 5068-5068",
            "worker.rtp_ports udp 10.20.0.20 20000-29999",
            "worker.metrics tcp 127.0.0.1 9644-9644",
            "worker.metrics tcp 127.0.0.1 9645-9645",
        ];
        assert_eq!(printed, expected);
    }

    #[test]
    fn a_single_mode_opens_the_base_ports_of_the_slots_alone() {
        let text = CALL.replace("\"dual\"", "\"tcp\"").replace("\"secured\"", "\"unsecured\"");
        let slots = accepted(&text).openings().into_iter().filter(|o| o.key == "worker.slots").map(|o| o.ports.first);
        assert_eq!(slots.collect::<Vec<_>>(), [5065, 5067]);
    }

    #[test]
    fn without_tcp_allocations_no_tcp_port_of_the_range_is_opened() {
        let text = BASE.replace("deny_peers = []", "tcp = false");
        let tcp = accepted(&text)
            .openings()
            .into_iter()
            .filter(|o| o.purpose == Purpose::Peers && o.protocol == Protocol::Tcp);
        assert_eq!(tcp.count(), 0);
    }
}
