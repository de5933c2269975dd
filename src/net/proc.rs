//! What /proc says about ports, buffers and connection tracking. Unprivileged; what may not be seen is left out.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The ports from which the kernel draws for sockets that do not name one (`net.ipv4.ip_local_port_range`).
///
/// # Errors
/// When /proc is not mounted or unreadable.
pub fn ephemeral_ports() -> io::Result<RangeInclusive<u16>> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut numbers = text.split_whitespace().map_while(|word| word.parse::<u16>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) => Ok(first..=last),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The ports that the kernel leaves out of the draw (`net.ipv4.ip_local_reserved_ports`).
///
/// # Errors
/// When /proc is not mounted or unreadable.
pub fn reserved_ports() -> io::Result<Vec<RangeInclusive<u16>>> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports")?;
    parse_ranges(text.trim()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Parses "8080,50000-59999"; the empty text is no range.
fn parse_ranges(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .collect()
}

/// The largest receive buffer in bytes that an unprivileged process gets (`net.core.rmem_max`).
///
/// # Errors
/// Absent in some containers' network namespaces.
pub fn rmem_max() -> io::Result<usize> {
    read_number("/proc/sys/net/core/rmem_max")
}

/// The largest send buffer in bytes that an unprivileged process gets (`net.core.wmem_max`).
///
/// # Errors
/// Absent in some containers' network namespaces.
pub fn wmem_max() -> io::Result<usize> {
    read_number("/proc/sys/net/core/wmem_max")
}

fn read_number<N: std::str::FromStr>(path: &str) -> io::Result<N> {
    fs::read_to_string(path)?.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// How full the table of tracked connections is in our network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    pub count: u64,
    pub max: u64,
}

/// The state of connection tracking; `None` when the kernel has none loaded. A `count` of 0 on a machine with traffic
/// means that no rule asks for tracking here.
pub fn conntrack() -> Option<Conntrack> {
    let count = read_number("/proc/sys/net/netfilter/nf_conntrack_count").ok()?;
    let max = read_number("/proc/sys/net/netfilter/nf_conntrack_max").ok()?;
    Some(Conntrack { count, max })
}

/// How many UDP flows are tracked whose source or destination port lies in `ports`; `None` when the table cannot be
/// read (it takes root, and a kernel that shows it).
pub fn conntrack_entries_in(ports: &RangeInclusive<u16>) -> Option<usize> {
    let table = fs::read_to_string("/proc/net/nf_conntrack").ok()?;
    Some(table.lines().filter(|line| tracks_udp_port_in(line, ports)).count())
}

fn tracks_udp_port_in(line: &str, ports: &RangeInclusive<u16>) -> bool {
    line.split_whitespace().any(|word| word == "udp")
        && line
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("sport=").or_else(|| word.strip_prefix("dport=")))
            .any(|port| port.parse().is_ok_and(|port| ports.contains(&port)))
}

/// Who holds a UDP or TCP port on an address, as "name (pid 12)"; `None` when nobody does or it is another user's
/// process, which we may not look into. Reads all of /proc: for error messages only.
pub fn port_owner(addr: SocketAddr, udp: bool) -> Option<String> {
    let tables: [&str; 2] = if udp { ["/proc/net/udp", "/proc/net/udp6"] } else { ["/proc/net/tcp", "/proc/net/tcp6"] };
    let inode = tables.iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| socket_inode(line, addr, udp))
    })?;
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        if !holds_inode(&process.path(), inode) {
            return None;
        }
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        Some(format!("{} (pid {pid})", name.trim()))
    })
}

/// The inode of a line of /proc/net/{udp,tcp}* if its socket stands in the way of `addr`.
fn socket_inode(line: &str, addr: SocketAddr, udp: bool) -> Option<u64> {
    const TCP_LISTEN: &str = "0A";
    let words: Vec<&str> = line.split_whitespace().collect();
    let held = parse_endpoint(words.get(1)?)?;
    let listening = udp || *words.get(3)? == TCP_LISTEN;
    let overlaps = held.ip() == addr.ip() || held.ip().is_unspecified() || addr.ip().is_unspecified();
    if held.port() == addr.port() && overlaps && listening { words.get(9)?.parse().ok() } else { None }
}

/// Parses "0100007F:0D96": an address as hexadecimal words in the machine's order, and a port.
fn parse_endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (i, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(i * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn holds_inode(process: &Path, inode: u64) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| fs::metadata(descriptor.path()).is_ok_and(|meta| meta.ino() == inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn the_owner_of_a_port_is_named() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let ours = format!("(pid {})", std::process::id());
        assert!(port_owner(udp.local_addr().unwrap(), true).unwrap().ends_with(&ours));
        assert!(port_owner(tcp.local_addr().unwrap(), false).unwrap().ends_with(&ours));
    }

    #[test]
    fn a_free_port_has_no_owner() {
        let addr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(port_owner(addr, true), None);
    }

    #[test]
    fn the_kernels_port_lists_are_read() {
        assert_eq!(parse_ranges(""), Some(vec![]));
        assert_eq!(parse_ranges("8080,50000-59999"), Some(vec![8080..=8080, 50000..=59999]));
        assert_eq!(parse_ranges("8080,x"), None);
        assert!(!ephemeral_ports().unwrap().is_empty());
        reserved_ports().unwrap();
    }

    #[test]
    fn a_tracked_flow_counts_only_inside_the_range() {
        let line = "ipv4     2 udp      17 29 src=192.0.2.1 dst=192.0.2.2 sport=40000 dport=50001 [UNREPLIED] \
                    src=192.0.2.2 dst=192.0.2.1 sport=50001 dport=40000 mark=0 use=1";
        assert!(tracks_udp_port_in(line, &(50000..=59999)));
        assert!(!tracks_udp_port_in(line, &(60000..=61000)));
        assert!(!tracks_udp_port_in(&line.replace("udp ", "tcp "), &(50000..=59999)));
    }

    #[test]
    fn hexadecimal_endpoints_are_read_in_the_machines_order() {
        if cfg!(target_endian = "little") {
            assert_eq!(parse_endpoint("0100007F:0D96"), Some("127.0.0.1:3478".parse().unwrap()));
            let v6 = parse_endpoint("00000000000000000000000001000000:0D96");
            assert_eq!(v6, Some("[::1]:3478".parse().unwrap()));
        }
        assert_eq!(parse_endpoint("01:0D96"), None);
    }
}
