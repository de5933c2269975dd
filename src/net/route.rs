//! Which way the kernel would send: a question over rtnetlink, one address at a time.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::cmsg::array;

/// The route towards an address, by all rules and tables that hold for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address of ours that the kernel would send from.
    pub source: IpAddr,
    /// Name of the outgoing interface.
    pub device: Option<String>,
    /// The next router; `None` when the destination is on the link, or ours.
    pub gateway: Option<IpAddr>,
}

/// The route to `destination` from whatever source the kernel prefers.
///
/// # Errors
/// ENETUNREACH, EHOSTUNREACH, EACCES (a prohibiting route): the operator's table has no way there.
pub fn route_to(destination: IpAddr) -> io::Result<Route> {
    let answer = ask(None, destination);
    match answer {
        Ok(route) => Ok(route),
        Err(error) if no_way(&error) => Err(error),
        // No netlink in this sandbox: the source alone can be had from a socket that sends nothing.
        Err(_) => preferred_source(destination).map(|source| Route { source, device: None, gateway: None }),
    }
}

/// The route to `destination` for what is sent from `source`, an address of ours.
///
/// # Errors
/// As [`route_to`]; EINVAL when `source` is not ours or of the other family.
pub fn route_from(source: IpAddr, destination: IpAddr) -> io::Result<Route> {
    ask(Some(source), destination)
}

fn no_way(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL))
}

fn preferred_source(destination: IpAddr) -> io::Result<IpAddr> {
    const DISCARD: u16 = 9;
    let any: IpAddr = if destination.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(destination, DISCARD))?;
    Ok(socket.local_addr()?.ip())
}

fn ask(source: Option<IpAddr>, destination: IpAddr) -> io::Result<Route> {
    if source.is_some_and(|source| source.is_ipv4() != destination.is_ipv4()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send(&request(source, destination))?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let length = socket.recv(&mut buffer)?;
    // SAFETY: the kernel has written the first `length` bytes.
    let answer = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length) };
    decode(answer, source, destination)
}

const NLMSG_HEADER: usize = 16;
const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_VIA: u16 = 18;

/// struct nlmsghdr (length, type, flags, sequence, port id), struct rtmsg (family, prefix lengths, ...), attributes.
fn request(source: Option<IpAddr>, destination: IpAddr) -> Vec<u8> {
    let bits = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
    let mut rtmsg = [0_u8; RTMSG];
    rtmsg[0] = (if destination.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8;
    rtmsg[1] = bits(destination);
    rtmsg[2] = source.map_or(0, bits);
    let mut message = vec![0; NLMSG_HEADER];
    message.extend_from_slice(&rtmsg);
    put_address(&mut message, RTA_DST, destination);
    if let Some(source) = source {
        put_address(&mut message, RTA_SRC, source);
    }
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&libc::RTM_GETROUTE.to_ne_bytes());
    message[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message
}

fn put_address(message: &mut Vec<u8>, kind: u16, ip: IpAddr) {
    let (four, six);
    let octets: &[u8] = match ip {
        IpAddr::V4(ip) => {
            four = ip.octets();
            &four
        }
        IpAddr::V6(ip) => {
            six = ip.octets();
            &six
        }
    };
    message.extend_from_slice(&(4 + octets.len() as u16).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(octets);
}

fn decode(answer: &[u8], source: Option<IpAddr>, destination: IpAddr) -> io::Result<Route> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = u16::from_ne_bytes(array(answer, 4).ok_or_else(bad)?);
    if i32::from(kind) == libc::NLMSG_ERROR {
        let code = i32::from_ne_bytes(array(answer, NLMSG_HEADER).ok_or_else(bad)?);
        return Err(io::Error::from_raw_os_error(-code));
    }
    let mut preferred = None;
    let mut gateway = None;
    let mut device = None;
    for (kind, data) in attributes(answer.get(NLMSG_HEADER + RTMSG..).ok_or_else(bad)?) {
        match kind {
            RTA_PREFSRC => preferred = address(data),
            RTA_GATEWAY => gateway = address(data),
            // A gateway of the other family, behind its address family in two bytes.
            RTA_VIA => gateway = data.get(2..).and_then(address),
            RTA_OIF => device = array(data, 0).map(u32::from_ne_bytes).and_then(device_name),
            _ => {}
        }
    }
    let source = source.or(preferred).map_or_else(|| preferred_source(destination), Ok)?;
    Ok(Route { source, device, gateway })
}

/// struct rtattr: length with these four bytes, type, data; aligned to 4.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(array(rest, 0)?));
        let kind = u16::from_ne_bytes(array(rest, 2)?);
        let data = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, data))
    })
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => array::<4>(data, 0).map(IpAddr::from),
        16 => array::<16>(data, 0).map(IpAddr::from),
        _ => None,
    }
}

fn device_name(index: u32) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that this call writes at most, with a terminating zero.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    CStr::from_bytes_until_nul(&name).ok()?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_reached_from_itself_over_its_device() {
        let route = route_to(Ipv4Addr::LOCALHOST.into()).unwrap();
        let expected = Route { source: Ipv4Addr::LOCALHOST.into(), device: Some("lo".into()), gateway: None };
        assert_eq!(route, expected);
        assert_eq!(route_from(Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()).unwrap(), expected);
    }

    #[test]
    fn both_ways_of_asking_agree() {
        let there = IpAddr::from([127, 3, 2, 1]);
        assert_eq!(route_to(there).unwrap().source, preferred_source(there).unwrap());
    }

    #[test]
    fn a_source_of_the_other_family_is_refused() {
        let error = route_from(Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_kernels_refusal_is_the_error() {
        let mut answer = vec![0; 36];
        answer[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        answer[16..20].copy_from_slice(&(-libc::ENETUNREACH).to_ne_bytes());
        let error = decode(&answer, None, Ipv4Addr::LOCALHOST.into()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
    }

    #[test]
    fn a_gateway_is_read_from_the_answer() {
        let mut answer = vec![0; NLMSG_HEADER + RTMSG];
        put_address(&mut answer, RTA_PREFSRC, IpAddr::from([192, 0, 2, 7]));
        put_address(&mut answer, RTA_GATEWAY, IpAddr::from([192, 0, 2, 1]));
        let route = decode(&answer, None, IpAddr::from([198, 51, 100, 1])).unwrap();
        assert_eq!(route.source, IpAddr::from([192, 0, 2, 7]));
        assert_eq!(route.gateway, Some(IpAddr::from([192, 0, 2, 1])));
    }
}
