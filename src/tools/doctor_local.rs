//! `postern doctor --local`: what the machine of an edge gives it, against what its configuration asks for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::Path;

use ipnet::IpNet;
use postern_config::{Config, PortRange, SocketsConfig};
use postern_net::system::{self, Conntrack, DescriptorShares, Route};

use crate::doctor_report::{Finding, Report};

/// Networks of `allow_peers` whose routes are looked up; a longer list says so.
const NETWORKS_MAX: usize = 64;

/// Examines this machine for the configuration at `path`.
pub fn examine(path: &Path) -> Report {
    let own_addresses = system::own_addresses().unwrap_or_default();
    let mut report = Report::default();
    let config = match postern_config::load_role(path, &own_addresses, postern_config::Role::Edge) {
        Ok(loaded) => loaded.config,
        Err(faults) => {
            let fail = |fault: postern_config::Finding| {
                Finding::fail("configuration", fault.to_string(), "see `postern check`")
            };
            report.findings.extend(faults.into_iter().map(fail));
            return report;
        }
    };
    let ports = config.edge.relay.ports;
    report.findings.push(Finding::ok("configuration", format!("{} can be used", config.path.display())));
    report.findings.push(addresses(&config, &own_addresses));
    report.findings.extend(buffers(&config.edge.sockets, system::rmem_max(), system::wmem_max()));
    let relay_ports = u64::from(ports.count()) * config.edge.relay.addresses.len() as u64;
    report.findings.push(descriptors(relay_ports, system::raise_descriptor_limit().map(|(_, hard)| hard)));
    report.findings.push(ephemeral(ports, system::ephemeral_ports(), system::reserved_ports()));
    let tracked = system::conntrack_entries_in(&(ports.first..=ports.last));
    report.findings.push(tracking(ports, system::conntrack(), tracked));
    report.findings.extend(routes(&config));
    report
}

/// Listeners and relays must be addresses of this machine.
fn addresses(config: &Config, own: &[IpAddr]) -> Finding {
    let edge = &config.edge;
    let listeners = [&edge.udp, &edge.tcp, &edge.tls, &edge.dtls].into_iter().flatten().map(|listener| listener.ip());
    let mut foreign: Vec<IpAddr> = listeners
        .chain(edge.relay.addresses.iter().copied())
        .filter(|address| !address.is_unspecified() && !address.is_loopback() && !own.contains(address))
        .collect();
    foreign.sort_unstable();
    foreign.dedup();
    if own.is_empty() {
        Finding::unknown("addresses", "the interfaces cannot be read", "run `ip address` and compare")
    } else if foreign.is_empty() {
        Finding::ok("addresses", "listeners and relays are addresses of this machine")
    } else {
        let list: Vec<String> = foreign.iter().map(ToString::to_string).collect();
        let remedy = "configure local addresses, and map them with `advertise` behind a 1:1 NAT";
        Finding::fail("addresses", format!("{} not of this machine", list.join(", ")), remedy)
    }
}

fn buffers(asked: &SocketsConfig, rmem_max: io::Result<usize>, wmem_max: io::Result<usize>) -> Vec<Finding> {
    let largest = asked.listener_bytes.max(asked.relay_bytes) as usize;
    let judge = |(key, limit): (&str, io::Result<usize>)| {
        let check = format!("kernel buffers {key}");
        match limit {
            Ok(limit) if limit >= largest => Finding::ok(check, format!("{limit} bytes, {largest} are asked for")),
            Ok(limit) => Finding::warn(
                check,
                format!("{limit} bytes, {largest} are asked for: bursts will be lost"),
                format!("sysctl -w net.core.{key}={largest}, and the same line in /etc/sysctl.d/"),
            ),
            Err(error) => Finding::unknown(check, error.to_string(), format!("read net.core.{key} on the host")),
        }
    };
    [("rmem_max", rmem_max), ("wmem_max", wmem_max)].map(judge).into()
}

/// Each relay port in use is a descriptor; a busy range must fit into what the limit leaves for allocations.
fn descriptors(relay_ports: u64, hard_limit: io::Result<u64>) -> Finding {
    let wanted = DescriptorShares::limit_for(relay_ports);
    match hard_limit {
        Ok(limit) if limit >= wanted => Finding::ok(
            "descriptor limit",
            format!("{limit} for what is started from here, {wanted} serve every relay port"),
        ),
        Ok(limit) => Finding::warn(
            "descriptor limit",
            format!(
                "{limit} for what is started from here: half-open connections and the reserve taken off, {} relay ports of \
                 {relay_ports} can be used",
                DescriptorShares::of(limit).allocations
            ),
            format!("LimitNOFILE={wanted} in the unit, or a smaller `edge.relay.ports`"),
        ),
        Err(error) => Finding::unknown("descriptor limit", error.to_string(), "run `ulimit -Hn` as the edge's user"),
    }
}

/// A port of the range that the kernel gives to others is a refused allocation.
fn ephemeral(
    ports: PortRange,
    ephemeral: io::Result<RangeInclusive<u16>>,
    reserved: io::Result<Vec<RangeInclusive<u16>>>,
) -> Finding {
    let (drawn, reserved) = match (ephemeral, reserved) {
        (Ok(drawn), Ok(reserved)) => (drawn, reserved),
        (Err(error), _) | (_, Err(error)) => {
            return Finding::unknown("port range", error.to_string(), "read net.ipv4.ip_local_port_range on the host");
        }
    };
    let at_risk = |port: &u16| drawn.contains(port) && !reserved.iter().any(|range| range.contains(port));
    match (ports.first..=ports.last).filter(at_risk).count() {
        0 => Finding::ok("port range", format!("{ports} is left alone by the kernel")),
        count => Finding::warn(
            "port range",
            format!("the kernel may give {count} ports of {ports} to other programs"),
            format!("sysctl -w net.ipv4.ip_local_reserved_ports={ports}, and the same line in /etc/sysctl.d/"),
        ),
    }
}

fn tracking(ports: PortRange, table: Option<Conntrack>, tracked: Option<usize>) -> Finding {
    const CHECK: &str = "connection tracking";
    let remedy = "`postern firewall` prints notrack rules for the listeners and relay ports";
    let room = u64::from(ports.count()) * 2;
    match (table, tracked) {
        (None, _) => Finding::ok(CHECK, "not loaded"),
        (Some(_), Some(flows)) if flows > 0 => Finding::warn(
            CHECK,
            format!("{flows} flows of the relay ports are tracked: that costs CPU on every packet"),
            remedy,
        ),
        (Some(Conntrack { count, max }), _) if count > 0 && max < room => {
            Finding::warn(CHECK, format!("the table holds {max} flows, the relay ports may need {room}"), remedy)
        }
        (Some(Conntrack { count: 0, .. }), _) => Finding::ok(CHECK, "loaded, and tracks nothing here"),
        (Some(_), Some(_)) => Finding::ok(CHECK, "tracks no flow of the relay ports"),
        (Some(Conntrack { count, .. }), None) => Finding::unknown(
            CHECK,
            format!("{count} flows are tracked, whose may not be seen"),
            "run this as root, while calls are up",
        ),
    }
}

/// From each relay address to each network of `allow_peers`, and back as far as that can be seen from here.
fn routes(config: &Config) -> Vec<Finding> {
    let relay = &config.edge.relay;
    if relay.allow_peers.is_empty() {
        let why = "`allow_peers` is empty: nothing inside can be a peer";
        return vec![Finding::unknown(
            "routes",
            why,
            "allow the network of the workers, unless both sides of all calls are outside",
        )];
    }
    let mut findings = Vec::new();
    for network in relay.allow_peers.iter().take(NETWORKS_MAX) {
        let inside = representative(network);
        let mut of_family = relay.addresses.iter().filter(|address| address.is_ipv4() == inside.is_ipv4()).peekable();
        if of_family.peek().is_none() {
            let remedy = "add a relay address of this family, or take the network out";
            findings.push(Finding::warn(format!("route to {network}"), "no relay address is of its family", remedy));
        }
        for address in of_family {
            let default = system::route_to(somewhere(inside)).ok().and_then(|route| route.gateway);
            let found = Routes {
                from_relay: system::route_from(*address, inside),
                preferred: system::route_to(inside),
                default,
            };
            findings.extend(route(network, *address, found));
        }
    }
    if relay.allow_peers.len() > NETWORKS_MAX {
        let why = format!("only the first {NETWORKS_MAX} networks of `allow_peers` were examined");
        findings.push(Finding::unknown("routes", why, "look at the others with `ip route get`"));
    }
    findings
}

/// What the kernel says about one network.
struct Routes {
    from_relay: io::Result<Route>,
    preferred: io::Result<Route>,
    /// The router to the rest of the world.
    default: Option<IpAddr>,
}

fn route(network: &IpNet, relay: IpAddr, found: Routes) -> Vec<Finding> {
    let check = format!("route to {network} from {relay}");
    let there = match found.from_relay {
        Ok(route) => route,
        Err(error) => {
            let remedy = format!("ip route add {network} via the inside router");
            return vec![Finding::fail(check, format!("there is none: {error}"), remedy)];
        }
    };
    let device = there.device.as_deref().unwrap_or("an unnamed interface");
    let via = there.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
    let detail = format!("by {device}{via}");
    let mut findings = vec![if there.gateway.is_some() && there.gateway == found.default {
        let remedy = format!("unless that router knows it: ip route add {network} via the inside router");
        Finding::warn(check, format!("{detail}, as everything else: no route of its own"), remedy)
    } else {
        Finding::ok(check, detail)
    }];
    let check = format!("route from {network} to {relay}");
    findings.push(match found.preferred {
        // Answers to an address of the inside interface come by the way that the workers already use.
        Ok(route) if route.source == relay => Finding::ok(check, format!("{relay} is our address towards them")),
        Ok(route) => Finding::unknown(
            check,
            "only the workers know it, and they must send to the relay address",
            format!("on each worker or its router: ip route add {relay} via {}", route.source),
        ),
        Err(error) => Finding::unknown(check, error.to_string(), format!("run `ip route get {relay}` on a worker")),
    });
    findings
}

/// A host of the network: the address itself, or the first after that of the network.
fn representative(network: &IpNet) -> IpAddr {
    if network.prefix_len() == network.max_prefix_len() {
        return network.addr();
    }
    match network.network() {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).saturating_add(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).saturating_add(1)).into(),
    }
}

/// An address of the same family that only a default route leads to (RFC 5737, RFC 3849).
fn somewhere(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor_report::Status;

    const PORTS: PortRange = PortRange { first: 50_000, last: 59_999 };

    fn denied<T>() -> io::Result<T> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    #[test]
    fn small_buffers_are_warned_of_and_unreadable_ones_unknown() {
        let asked = SocketsConfig { listener_bytes: 1_000_000, relay_bytes: 64_000 };
        let statuses =
            |rmem, wmem| buffers(&asked, rmem, wmem).iter().map(|finding| finding.status).collect::<Vec<_>>();
        assert_eq!(statuses(Ok(1_000_000), Ok(212_992)), [Status::Ok, Status::Warn]);
        assert_eq!(statuses(denied(), Ok(2_000_000)), [Status::Unknown, Status::Ok]);
    }

    #[test]
    fn the_descriptor_limit_must_hold_the_share_of_half_open_connections_too() {
        assert_eq!(descriptors(10_000, Ok(10_256)).status, Status::Warn);
        let tight = descriptors(10_000, Ok(11_000));
        assert!(tight.status == Status::Warn && tight.detail.contains("9369 relay ports of 10000"), "{}", tight.detail);
        assert!(tight.remedy.is_some_and(|remedy| remedy.starts_with("LimitNOFILE=11721 ")));
        assert_eq!(descriptors(10_000, Ok(11_721)).status, Status::Ok);
        assert_eq!(descriptors(10_000, denied()).status, Status::Unknown);
    }

    #[test]
    fn a_range_that_the_kernel_draws_from_is_warned_of_unless_reserved() {
        assert_eq!(ephemeral(PORTS, Ok(32_768..=60_999), Ok(vec![])).status, Status::Warn);
        assert_eq!(ephemeral(PORTS, Ok(32_768..=60_999), Ok(vec![50_000..=59_998])).status, Status::Warn);
        assert_eq!(ephemeral(PORTS, Ok(32_768..=60_999), Ok(vec![50_000..=59_999])).status, Status::Ok);
        assert_eq!(ephemeral(PORTS, Ok(20_000..=40_000), Ok(vec![])).status, Status::Ok);
        assert_eq!(ephemeral(PORTS, denied(), Ok(vec![])).status, Status::Unknown);
    }

    #[test]
    fn tracking_is_judged_by_what_it_covers() {
        let table = |count| Some(Conntrack { count, max: 262_144 });
        assert_eq!(tracking(PORTS, None, None).status, Status::Ok);
        assert_eq!(tracking(PORTS, table(0), None).status, Status::Ok);
        assert_eq!(tracking(PORTS, table(9), Some(0)).status, Status::Ok);
        assert_eq!(tracking(PORTS, table(9), Some(3)).status, Status::Warn);
        assert_eq!(tracking(PORTS, table(9), None).status, Status::Unknown);
        assert_eq!(tracking(PORTS, Some(Conntrack { count: 9, max: 4096 }), Some(0)).status, Status::Warn);
    }

    #[test]
    fn the_way_back_from_the_workers_is_passed_only_where_it_is_certain() {
        let network: IpNet = "10.20.0.0/24".parse().unwrap();
        let relay: IpAddr = "203.0.113.10".parse().unwrap();
        let by = |source: &str| Route { source: source.parse().unwrap(), device: Some("eth1".into()), gateway: None };
        let ask = |from_relay, preferred| route(&network, relay, Routes { from_relay, preferred, default: None });
        let statuses = |there, back| ask(there, back).iter().map(|finding| finding.status).collect::<Vec<_>>();
        assert_eq!(statuses(Ok(by("203.0.113.10")), Ok(by("10.20.0.10"))), [Status::Ok, Status::Unknown]);
        assert_eq!(statuses(Ok(by("203.0.113.10")), Ok(by("203.0.113.10"))), [Status::Ok, Status::Ok]);
        assert_eq!(statuses(denied(), Ok(by("10.20.0.10"))), [Status::Fail]);
        let findings = ask(Ok(by("203.0.113.10")), Ok(by("10.20.0.10")));
        assert!(findings[1].remedy.as_deref().unwrap().ends_with("ip route add 203.0.113.10 via 10.20.0.10"));
    }

    #[test]
    fn a_network_that_only_the_default_route_leads_to_is_warned_of() {
        let network: IpNet = "10.20.0.0/24".parse().unwrap();
        let router: IpAddr = "203.0.113.1".parse().unwrap();
        let relay: IpAddr = "203.0.113.10".parse().unwrap();
        let by = || Ok(Route { source: relay, device: Some("eth0".into()), gateway: Some(router) });
        let status = |default| route(&network, relay, Routes { from_relay: by(), preferred: by(), default })[0].status;
        assert_eq!(status(Some(router)), Status::Warn);
        assert_eq!(status(Some("203.0.113.254".parse().unwrap())), Status::Ok);
    }

    #[test]
    fn a_network_is_represented_by_a_host_of_it() {
        assert_eq!(representative(&"10.20.0.0/24".parse().unwrap()).to_string(), "10.20.0.1");
        assert_eq!(representative(&"10.20.0.7/32".parse().unwrap()).to_string(), "10.20.0.7");
        assert_eq!(representative(&"fd20::/64".parse().unwrap()).to_string(), "fd20::1");
    }

    #[test]
    fn a_configuration_that_cannot_be_used_fails() {
        let report = examine(Path::new("/nowhere/postern.toml"));
        assert!(report.failed());
    }
}
