//! Socket addresses between Rust's form and the kernel's.

use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};

/// Room for an address of either family.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress(pub(crate) sockaddr_storage);

impl RawAddress {
    pub(crate) const BYTES: socklen_t = mem::size_of::<sockaddr_storage>() as socklen_t;

    pub(crate) fn empty() -> RawAddress {
        // SAFETY: sockaddr_storage is plain integers; all zeroes is family AF_UNSPEC.
        RawAddress(unsafe { mem::zeroed() })
    }

    /// Writes `address` and answers how many bytes of the storage it takes.
    pub(crate) fn encode(&mut self, address: SocketAddr) -> socklen_t {
        match address {
            SocketAddr::V4(v4) => {
                let raw = sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is larger than sockaddr_in and at least as strictly aligned.
                unsafe { std::ptr::from_mut(&mut self.0).cast::<sockaddr_in>().write(raw) };
                mem::size_of::<sockaddr_in>() as socklen_t
            }
            SocketAddr::V6(v6) => {
                let raw = sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: sockaddr_storage is larger than sockaddr_in6 and at least as strictly aligned.
                unsafe { std::ptr::from_mut(&mut self.0).cast::<sockaddr_in6>().write(raw) };
                mem::size_of::<sockaddr_in6>() as socklen_t
            }
        }
    }

    /// The address that the kernel wrote; `None` for a family that is neither IPv4 nor IPv6.
    pub(crate) fn decode(&self) -> Option<SocketAddr> {
        match i32::from(self.0.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that the storage holds a sockaddr_in; size and alignment suffice.
                let raw = unsafe { std::ptr::from_ref(&self.0).cast::<sockaddr_in>().read() };
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(raw.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that the storage holds a sockaddr_in6; size and alignment suffice.
                let raw = unsafe { std::ptr::from_ref(&self.0).cast::<sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), 0, raw.sin6_scope_id)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_kernels_form() {
        for text in ["192.0.2.7:3478", "[2001:db8::7]:65535", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut raw = RawAddress::empty();
            raw.encode(address);
            assert_eq!(raw.decode(), Some(address));
        }
    }

    #[test]
    fn an_unknown_family_is_no_address() {
        assert_eq!(RawAddress::empty().decode(), None);
    }
}
