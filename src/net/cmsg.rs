//! Control messages of UDP sockets, read and written as bytes: no pointer walks.
//!
//! ```text
//!  0         size_of(usize)  +4       +8
//!  +---------------+--------+--------+------------------+---------+
//!  | length (all)  | level  | type   | data             | padding |  padded to size_of(usize)
//!  +---------------+--------+--------+------------------+---------+
//! ```

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use libc::c_int;

use crate::limits::CONTROL_BYTES;

const WORD: usize = mem::size_of::<usize>();
const HEADER: usize = WORD + 8;

/// A control buffer, aligned as the kernel's cmsghdr.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control(pub(crate) [u8; CONTROL_BYTES]);

impl Control {
    pub(crate) fn empty() -> Control {
        Control([0; CONTROL_BYTES])
    }

    /// Writes the source address and traffic class of a datagram to send; answers the bytes used, 0 for neither.
    pub(crate) fn encode(&mut self, from_ip: Option<IpAddr>, tos: u8, v6_socket: bool) -> usize {
        let mut used = 0;
        match from_ip {
            Some(IpAddr::V4(ip)) => {
                // struct in_pktinfo: interface index, source to use, (destination, ignored on sending)
                let mut info = [0_u8; 12];
                info[4..8].copy_from_slice(&ip.octets());
                used = self.put(used, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(IpAddr::V6(ip)) => {
                // struct in6_pktinfo: source to use, interface index
                let mut info = [0_u8; 20];
                info[..16].copy_from_slice(&ip.octets());
                used = self.put(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
        if tos != 0 {
            let (level, kind) =
                if v6_socket { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) } else { (libc::IPPROTO_IP, libc::IP_TOS) };
            used = self.put(used, level, kind, &c_int::from(tos).to_ne_bytes());
        }
        used
    }

    fn put(&mut self, at: usize, level: c_int, kind: c_int, data: &[u8]) -> usize {
        let length = HEADER + data.len();
        let end = at + length.next_multiple_of(WORD);
        let space = &mut self.0[at..end];
        space.fill(0);
        space[..WORD].copy_from_slice(&length.to_ne_bytes());
        space[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        space[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        space[HEADER..length].copy_from_slice(data);
        end
    }
}

/// How much of a control buffer the kernel says it used; the type of that length differs between C libraries.
pub(crate) fn used(length: impl TryInto<usize>) -> usize {
    length.try_into().map_or(CONTROL_BYTES, |length| length.min(CONTROL_BYTES))
}

/// What the kernel says beside a received datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ancillary {
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) tos: u8,
    /// Datagrams that this socket has dropped so far, modulo 2^32.
    pub(crate) dropped: Option<u32>,
    /// When it came, by the time of day.
    pub(crate) arrived: Option<SystemTime>,
}

/// Reads the control messages of a received datagram.
pub(crate) fn decode(control: &[u8]) -> Ancillary {
    let mut found = Ancillary::default();
    for (level, kind, data) in messages(control) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                found.local_ip = array::<4>(data, 4).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                found.local_ip = array::<16>(data, 0).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => found.tos = data.first().copied().unwrap_or(0),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                found.tos = array(data, 0).map_or(0, |bytes| c_int::from_ne_bytes(bytes) as u8);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => found.dropped = array(data, 0).map(u32::from_ne_bytes),
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => found.arrived = time_of_day(data),
            _ => {}
        }
    }
    found
}

/// A timespec: seconds and nanoseconds since 1970, a word each.
fn time_of_day(data: &[u8]) -> Option<SystemTime> {
    let [secs, nanos] = [0, WORD].map(|at| array(data, at).map(usize::from_ne_bytes));
    let since = Duration::from_secs(secs? as u64) + Duration::from_nanos(nanos? as u64);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// The messages in a control buffer; ends at the first that does not fit.
pub(crate) fn messages(control: &[u8]) -> impl Iterator<Item = (c_int, c_int, &[u8])> {
    let mut rest = control;
    std::iter::from_fn(move || {
        let length = usize::from_ne_bytes(array(rest, 0)?);
        let level = c_int::from_ne_bytes(array(rest, WORD)?);
        let kind = c_int::from_ne_bytes(array(rest, WORD + 4)?);
        let data = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(WORD)..).unwrap_or(&[]);
        Some((level, kind, data))
    })
}

/// `N` bytes of `data` from `at`, if it is long enough.
pub(crate) fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read_back_the_same() {
        let mut control = Control::empty();
        let v6: Ipv6Addr = "2001:db8::9".parse().unwrap();
        let used = control.encode(Some(v6.into()), 0xb9, true);
        let found = decode(&control.0[..used]);
        assert_eq!(found, Ancillary { local_ip: Some(v6.into()), tos: 0xb9, ..Ancillary::default() });
    }

    #[test]
    fn nothing_to_say_takes_no_bytes() {
        assert_eq!(Control::empty().encode(None, 0, false), 0);
    }

    #[test]
    fn a_length_beyond_the_buffer_ends_the_walk() {
        let mut control = Control::empty();
        let used = control.encode(None, 4, false);
        control.0[..WORD].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(messages(&control.0[..used]).count(), 0);
        control.0[..WORD].copy_from_slice(&3_usize.to_ne_bytes());
        assert_eq!(messages(&control.0[..used]).count(), 0);
    }
}
