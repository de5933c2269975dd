//! The sockets of one UDP listener address: one per shard, between which the kernel spreads clients by 5-tuple.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::sockopt;
use crate::system::port_owner;
use crate::udp::{UdpOptions, UdpSocket};

/// Why an address could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else holds it, perhaps another instance of this program. `owner` is "name (pid 12)" where we may see it.
    #[error("{addr} is in use{}; stop the other process or choose another address", by(owner))]
    InUse { addr: SocketAddr, owner: Option<String> },
    /// The address is not ours, the port needs a capability, or descriptors ran out.
    #[error("cannot bind {addr}: {source}")]
    Failed { addr: SocketAddr, source: io::Error },
}

fn by(owner: &Option<String>) -> String {
    owner.as_deref().map(|owner| format!(" by {owner}")).unwrap_or_default()
}

impl BindError {
    /// Names the owner of a port if that is what is wrong.
    pub(crate) fn new(addr: SocketAddr, udp: bool, source: io::Error) -> BindError {
        if source.kind() == io::ErrorKind::AddrInUse {
            BindError::InUse { addr, owner: port_owner(addr, udp) }
        } else {
            BindError::Failed { addr, source }
        }
    }
}

/// All members of one SO_REUSEPORT group. The group never changes while it lives: the kernel picks a member by a hash
/// over their number, so that one member more or less would move living clients to shards that do not know them.
#[derive(Debug)]
pub struct ReusePortGroup {
    /// In the order of the shards.
    pub sockets: Vec<UdpSocket>,
}

impl ReusePortGroup {
    /// Binds `members` sockets that take nothing until [`open`](Self::open). Port 0 draws one, the same for all.
    ///
    /// The address is first tried without SO_REUSEPORT: with it, a second instance of the same user would silently
    /// take half of the clients.
    ///
    /// # Errors
    /// [`BindError`]: the operator's fault, except for exhausted descriptors.
    pub fn bind(addr: SocketAddr, members: usize, options: &UdpOptions) -> Result<ReusePortGroup, BindError> {
        let failed = |source| BindError::new(addr, true, source);
        let mut addr = probe(addr, options.v6_only).map_err(failed)?;
        let options = UdpOptions { reuse_port: true, ..*options };
        let mut sockets = Vec::with_capacity(members);
        for _ in 0..members {
            let socket = UdpSocket::prepare(addr, &options).map_err(failed)?;
            // Before bind: from bind on the kernel delivers.
            close_gate(socket.as_fd()).map_err(failed)?;
            socket.bind(&addr.into()).map_err(failed)?;
            let socket = UdpSocket::from_fd(socket.into()).map_err(failed)?;
            addr = socket.local_addr();
            sockets.push(socket);
        }
        Ok(ReusePortGroup { sockets })
    }

    /// Takes over the members of a group that a predecessor left, in its order.
    ///
    /// # Errors
    /// When a descriptor is no bound IPv4 or IPv6 socket.
    pub fn from_fds(fds: Vec<OwnedFd>) -> io::Result<ReusePortGroup> {
        Ok(ReusePortGroup { sockets: fds.into_iter().map(UdpSocket::from_fd).collect::<io::Result<_>>()? })
    }

    /// Lets datagrams in, to all members in one go. What came before was dropped.
    ///
    /// # Errors
    /// What setsockopt(2) reports; ours.
    pub fn open(&self) -> io::Result<()> {
        for socket in &self.sockets {
            socket.start_counting();
            open_gate(socket.as_fd())?;
        }
        Ok(())
    }
}

/// Binds without SO_REUSEPORT and lets go; answers the address with its port.
fn probe(addr: SocketAddr, v6_only: bool) -> io::Result<SocketAddr> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(v6_only)?;
    }
    socket.bind(&addr.into())?;
    socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput.into())
}

/// Attaches a classic BPF program that keeps 0 bytes of each datagram, which drops it.
fn close_gate(fd: BorrowedFd<'_>) -> io::Result<()> {
    const RETURN_CONSTANT: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let mut program = [libc::sock_filter { code: RETURN_CONSTANT, jt: 0, jf: 0, k: 0 }];
    let attached = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: SO_ATTACH_FILTER reads a sock_fprog; its pointer is to `program`, of the length given, alive for the call.
    match unsafe { sockopt::set_raw(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &attached) } {
        // A kernel or sandbox without socket filters: members then take datagrams as they are bound, and the first
        // ones may meet another shard than later ones of the same client.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOPROTOOPT | libc::EPERM | libc::ENOSYS)) => Ok(()),
        outcome => outcome,
    }
}

fn open_gate(fd: BorrowedFd<'_>) -> io::Result<()> {
    match sockopt::set_int(fd, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0) {
        // No filter was attached: inherited, opened before, or not to be had.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT | libc::ENOSYS)) => Ok(()),
        outcome => outcome,
    }
}
