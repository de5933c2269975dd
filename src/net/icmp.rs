//! ICMP errors about datagrams that we sent, from a socket's error queue.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::address::RawAddress;
use crate::cmsg::{self, Control};

/// An error about one datagram that a socket sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Where the datagram had been sent to; not who reported the error.
    pub peer: SocketAddr,
    /// ICMPv6 rather than ICMP.
    pub v6: bool,
    pub icmp_type: u8,
    pub code: u8,
    /// The next hop's MTU in bytes for "fragmentation needed" and "packet too big", else 0.
    pub info: u32,
}

const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// Takes one entry from the error queue: `None` when it is empty, `Some(None)` for an entry of no interest.
pub(crate) fn read_queued(fd: BorrowedFd<'_>) -> io::Result<Option<Option<IcmpError>>> {
    let mut name = RawAddress::empty();
    let mut control = Control::empty();
    // SAFETY: msghdr is integers and pointers, for which zero is valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = std::ptr::from_mut(&mut name.0).cast();
    header.msg_namelen = RawAddress::BYTES;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: name and control are locals with their true lengths; there is no payload buffer, so the datagram's own
    // bytes are left out.
    let status = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if status < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    let control = &control.0[..cmsg::used(header.msg_controllen)];
    Ok(Some(name.decode().and_then(|peer| decode(peer, control))))
}

/// Finds struct sock_extended_err: errno (4 bytes), origin, type, code, padding, info (4 bytes), data (4 bytes).
fn decode(peer: SocketAddr, control: &[u8]) -> Option<IcmpError> {
    cmsg::messages(control).find_map(|(level, kind, data)| {
        let ours = (level == libc::IPPROTO_IP && kind == libc::IP_RECVERR)
            || (level == libc::IPPROTO_IPV6 && kind == libc::IPV6_RECVERR);
        if !ours {
            return None;
        }
        let [origin, icmp_type, code, _] = cmsg::array(data, 4)?;
        let info = u32::from_ne_bytes(cmsg::array(data, 8)?);
        match origin {
            ORIGIN_ICMP => Some(IcmpError { peer, v6: false, icmp_type, code, info }),
            ORIGIN_ICMP6 => Some(IcmpError { peer, v6: true, icmp_type, code, info }),
            // Our own kernel's refusals name no port: the socket remembers them by itself.
            _ => None,
        }
    })
}
