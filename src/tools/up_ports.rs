//! Where `postern up` listens: loopback, on the standard ports where they are free.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result, bail};

/// Draws of a free port before giving up.
const TRIES: usize = 50;

/// Ports of one run, free on every host when they were chosen.
pub(crate) struct Ports {
    pub(crate) hosts: Vec<IpAddr>,
    pub(crate) turn: u16,
    pub(crate) turns: u16,
    pub(crate) tokens: u16,
    pub(crate) web: u16,
    pub(crate) router: Doors,
    pub(crate) um: Doors,
    pub(crate) slots: [Doors; 2],
    pub(crate) metrics: Metrics,
}

/// Ports of a SIP role.
#[derive(Clone, Copy)]
pub(crate) struct Doors {
    pub(crate) tcp: u16,
    pub(crate) tls: u16,
}

/// Ports of each role's metrics.
#[derive(Clone, Copy)]
pub(crate) struct Metrics {
    pub(crate) edge: u16,
    pub(crate) router: u16,
    pub(crate) um: u16,
    pub(crate) slots: [u16; 2],
}

impl Ports {
    /// # Errors
    /// Loopback cannot be bound, or has no port left.
    pub(crate) fn choose() -> Result<Self> {
        let mut hosts = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        // A machine without IPv6 has no ::1 to bind.
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            hosts.push(Ipv6Addr::LOCALHOST.into());
        }
        let mut taken = Vec::new();
        let mut one = |standard| claim(&hosts, standard, 1, &mut taken);
        let (turn, turns, tokens, web) = (one(3478)?, one(5349)?, one(8443)?, one(8444)?);
        let router = Doors { tcp: one(5060)?, tls: one(5061)? };
        let um = Doors { tcp: one(5062)?, tls: one(5063)? };
        let metrics = Metrics { edge: one(9641)?, router: one(9642)?, um: one(9643)?, slots: [one(9644)?, one(9645)?] };
        // In dual mode a slot's TLS port is the one after its TCP port.
        let mut slot = |standard| -> Result<Doors> {
            let tcp = claim(&hosts, standard, 2, &mut taken)?;
            Ok(Doors { tcp, tls: tcp + 1 })
        };
        let slots = [slot(5065)?, slot(5067)?];
        Ok(Self { hosts, turn, turns, tokens, web, router, um, slots, metrics })
    }

    /// A port on every host, as a configuration lists listeners.
    pub(crate) fn on_all(&self, port: u16) -> Vec<SocketAddr> {
        self.hosts.iter().map(|host| SocketAddr::new(*host, port)).collect()
    }
}

/// `count` ports in a row, from `standard` where they are free for UDP and TCP on every host, else where the system has
/// some. They are noted as taken.
fn claim(hosts: &[IpAddr], standard: u16, count: u16, taken: &mut Vec<u16>) -> Result<u16> {
    let is_free = |port: u16| {
        !taken.contains(&port)
            && hosts
                .iter()
                .all(|host| UdpSocket::bind((*host, port)).is_ok() && TcpListener::bind((*host, port)).is_ok())
    };
    let are_free = |first: u16| first.checked_add(count - 1).is_some_and(|last| (first..=last).all(is_free));
    let mut first = standard;
    for _ in 0..TRIES {
        if are_free(first) {
            taken.extend(first..first + count);
            return Ok(first);
        }
        let socket = UdpSocket::bind((hosts[0], 0)).context("loopback cannot be bound")?;
        first = socket.local_addr()?.port();
    }
    bail!("no free port on loopback instead of {standard}")
}

#[cfg(test)]
pub(crate) fn standard() -> Ports {
    Ports {
        hosts: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        turn: 3478,
        turns: 5349,
        tokens: 8443,
        web: 8444,
        router: Doors { tcp: 5060, tls: 5061 },
        um: Doors { tcp: 5062, tls: 5063 },
        slots: [Doors { tcp: 5065, tls: 5066 }, Doors { tcp: 5067, tls: 5068 }],
        metrics: Metrics { edge: 9641, router: 9642, um: 9643, slots: [9644, 9645] },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_standard_port_is_replaced_by_a_free_one() {
        let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
        let held = holder.local_addr().unwrap().port();
        let hosts = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let mut taken = Vec::new();
        let chosen = claim(&hosts, held, 1, &mut taken).unwrap();
        assert_ne!(chosen, held);
        assert_eq!(taken, [chosen]);
        assert_ne!(claim(&hosts, chosen, 1, &mut taken).unwrap(), chosen);
    }

    #[test]
    fn ports_in_a_row_are_free_together() {
        let hosts = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let mut taken = Vec::new();
        let first = claim(&hosts, 47_000, 2, &mut taken).unwrap();
        assert_eq!(taken, [first, first + 1]);
        let second = claim(&hosts, first - 1, 2, &mut taken).unwrap();
        assert!(second + 1 < first || second > first + 1, "{first} {second}");
    }

    #[test]
    fn no_port_is_chosen_twice() {
        let ports = Ports::choose().unwrap();
        let doors = [ports.router, ports.um, ports.slots[0], ports.slots[1]];
        let mut all = vec![ports.turn, ports.turns, ports.tokens, ports.web, ports.metrics.edge, ports.metrics.router];
        all.extend([ports.metrics.um, ports.metrics.slots[0], ports.metrics.slots[1]]);
        all.extend(doors.iter().flat_map(|doors| [doors.tcp, doors.tls]));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
