//! One UDP socket of the relay: a listener's member or a relayed transport address.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::c_int;
use socket2::{Domain, Protocol, Socket, Type};

use crate::address::RawAddress;
use crate::cmsg::Control;
use crate::icmp::{self, IcmpError};
use crate::limits::OVERSIZE_PENDING_MAX;
use crate::recv::RecvBatch;
use crate::send::Outgoing;
use crate::sockopt;

/// How a socket is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// Bytes of receive buffer to ask for; what was granted is [`UdpSocket::effective_recv_buffer`].
    pub recv_buffer: usize,
    /// Bytes of send buffer to ask for.
    pub send_buffer: usize,
    /// SO_REUSEPORT, for members of one group.
    pub reuse_port: bool,
    /// Keep ICMP errors in a queue of their own (IP_RECVERR), to be read by [`UdpSocket::drain_errors`].
    pub transparent_errors: bool,
    /// IPv6 sockets take IPv6 only. Without it IPv4 senders appear with IPv4-mapped addresses.
    pub v6_only: bool,
    /// Let the kernel note when each datagram comes (SO_TIMESTAMPNS), for [`Received::age`](crate::Received::age).
    pub arrival_times: bool,
}

impl Default for UdpOptions {
    fn default() -> UdpOptions {
        UdpOptions {
            recv_buffer: 64 * 1024,
            send_buffer: 64 * 1024,
            reuse_port: false,
            transparent_errors: false,
            v6_only: true,
            arrival_times: false,
        }
    }
}

/// A non-blocking UDP socket that knows where each datagram came to (IP_PKTINFO), its traffic class, and what the
/// kernel dropped; it never sets DF by itself (IP_PMTUDISC_OMIT), unlike Linux's default.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddr,
    recv_buffer: usize,
    /// Running total; its low 32 bits are the kernel's last counter, less `drops_before`.
    drops: AtomicU64,
    /// The kernel's counter when the socket was opened for traffic.
    drops_before: AtomicU64,
    /// Refusals of our own kernel, which names no port in its error queue; locked only on that rare path.
    oversize: Mutex<Vec<IcmpError>>,
}

impl UdpSocket {
    /// Binds to `addr`; port 0 draws one.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` (a port below 1024) and what else bind(2) reports; the
    /// operator's fault. EMFILE and ENFILE when descriptors run out.
    pub fn bind(addr: SocketAddr, options: &UdpOptions) -> io::Result<UdpSocket> {
        let socket = UdpSocket::prepare(addr, options)?;
        socket.bind(&addr.into())?;
        UdpSocket::from_fd(socket.into())
    }

    /// Makes the socket with all its options, not bound yet.
    pub(crate) fn prepare(addr: SocketAddr, options: &UdpOptions) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        let v6 = addr.is_ipv6();
        if v6 {
            socket.set_only_v6(options.v6_only)?;
        }
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        ask_buffers(&socket, options)?;
        let fd = socket.as_fd();
        if v6 {
            sockopt::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            sockopt::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
        } else {
            sockopt::set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            sockopt::set_int(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
        }
        if options.transparent_errors {
            let (level, name) =
                family(v6, (libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR));
            sockopt::set_int(fd, level, name, 1)?;
        }
        fragment_freely(fd, v6)?;
        if options.arrival_times {
            sockopt::set_int(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        }
        // Only a counter: a kernel without it (before 2.6.33) relays as well.
        let _ = sockopt::set_int(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        Ok(socket)
    }

    /// Takes over a bound socket, such as one inherited from a predecessor; its options stay as they are.
    ///
    /// # Errors
    /// When the descriptor is no bound IPv4 or IPv6 socket.
    pub fn from_fd(fd: OwnedFd) -> io::Result<UdpSocket> {
        let socket = Socket::from(fd);
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
        // The kernel doubles what is asked, for its own bookkeeping.
        let recv_buffer = socket.recv_buffer_size()? / 2;
        let (drops, drops_before) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(UdpSocket { fd: socket.into(), local, recv_buffer, drops, drops_before, oversize: Mutex::default() })
    }

    /// The bound address and port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Bytes of receive buffer that the kernel granted, in the units of [`UdpOptions::recv_buffer`].
    pub fn effective_recv_buffer(&self) -> usize {
        self.recv_buffer
    }

    /// Receives as many waiting datagrams as `batch` holds; `Ok(0)` when none waits.
    ///
    /// # Errors
    /// ENOMEM and the like. ICMP errors of earlier sends are never reported here.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        self.recv_up_to(batch, batch.capacity())
    }

    /// Like [`recv_batch`](Self::recv_batch), but at most `max` datagrams.
    ///
    /// # Errors
    /// As `recv_batch`.
    pub fn recv_up_to(&self, batch: &mut RecvBatch, max: usize) -> io::Result<usize> {
        let received = batch.fill(self.as_fd(), max)?;
        if let Some(counter) = batch.dropped() {
            self.note_drops(counter);
        }
        Ok(received)
    }

    /// Sends one datagram. An error that an ICMP left on the socket is not about this send: it is repeated once.
    /// With `dont_fragment` the DF bit is set for this datagram alone.
    ///
    /// # Errors
    /// `WouldBlock` when the send buffer is full: the datagram is gone. EMSGSIZE for a payload beyond the MTU with
    /// `dont_fragment`; where errors are kept, the same comes out of [`drain_errors`](Self::drain_errors), as a router
    /// would have said it, and EPOLLERR tells of it.
    pub fn send(&self, message: &Outgoing<'_>) -> io::Result<()> {
        let mut name = RawAddress::empty();
        let mut control = Control::empty();
        let name_len = name.encode(message.to);
        let control_len = control.encode(message.from_ip, message.tos, self.local.is_ipv6());
        if !message.dont_fragment {
            return repeat_once(|| self.send_once(message.payload, &mut name, name_len, &mut control, control_len));
        }
        let fd = self.as_fd();
        // After this an EMSGSIZE is the send's own.
        sockopt::take_error(fd);
        set_path_mtu_discovery(fd, self.local.is_ipv6(), libc::IP_PMTUDISC_DO)?;
        let sent = self.send_once(message.payload, &mut name, name_len, &mut control, control_len);
        fragment_freely(fd, self.local.is_ipv6())?;
        if let Err(error) = &sent
            && error.raw_os_error() == Some(libc::EMSGSIZE)
        {
            self.note_oversize(message.to);
        }
        sent
    }

    fn send_once(
        &self,
        payload: &[u8],
        name: &mut RawAddress,
        name_len: libc::socklen_t,
        control: &mut Control,
        control_len: usize,
    ) -> io::Result<()> {
        let mut part = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        // SAFETY: msghdr is integers and pointers, for which zero is valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = std::ptr::from_mut(&mut name.0).cast();
        header.msg_namelen = name_len;
        header.msg_iov = &mut part;
        header.msg_iovlen = 1;
        if control_len != 0 {
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = control_len as _;
        }
        // SAFETY: every pointer in the header is to a local or an argument that outlives the call, with its true length;
        // the kernel only reads them.
        let sent = unsafe { libc::sendmsg(self.as_raw_fd(), &header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads at most `max` queued errors and hands each ICMP error to `f`, a refused `dont_fragment` as the "fragmentation
    /// needed" or "packet too big" that it stands for; answers how many entries were read, so less than `max` means that
    /// the queue is empty.
    ///
    /// # Errors
    /// What recvmsg(2) reports, except for an empty queue.
    pub fn drain_errors(&self, max: usize, mut f: impl FnMut(IcmpError)) -> io::Result<usize> {
        let mut read = 0;
        while read < max
            && let Some(error) = self.oversize().pop()
        {
            read += 1;
            f(error);
        }
        while read < max {
            let Some(entry) = icmp::read_queued(self.as_fd())? else {
                break;
            };
            read += 1;
            if let Some(error) = entry {
                f(error);
            }
        }
        // The queue also leaves its last error pending on the socket, where it would keep EPOLLERR raised.
        sockopt::take_error(self.as_fd());
        Ok(read)
    }

    /// Datagrams that the kernel dropped here for want of buffer, as of the last datagram received.
    pub fn kernel_drops(&self) -> u64 {
        self.drops.load(Ordering::Relaxed)
    }

    /// Forgets what was dropped on purpose before the socket was opened for traffic.
    pub(crate) fn start_counting(&self) {
        const MEMINFO_DROPS: usize = 8;
        let before = sockopt::read_ints::<9>(self.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO);
        self.drops_before.store(before.map_or(0, |info| u64::from(info[MEMINFO_DROPS])), Ordering::Relaxed);
    }

    /// Remembers a refused `dont_fragment` for [`drain_errors`](Self::drain_errors); beyond a few the rest says the same.
    fn note_oversize(&self, to: SocketAddr) {
        if self.oversize().len() < OVERSIZE_PENDING_MAX
            && let Ok(mtu) = self.path_mtu(to)
        {
            let v6 = to.is_ipv6();
            let (icmp_type, code) = family(v6, (3, 4), (2, 0));
            self.oversize().push(IcmpError { peer: to, v6, icmp_type, code, info: mtu });
        }
    }

    fn oversize(&self) -> MutexGuard<'_, Vec<IcmpError>> {
        self.oversize.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The MTU in bytes, IP header included, that the kernel knows for the way to `to`; asked of a socket of its own,
    /// since only connected ones know.
    fn path_mtu(&self, to: SocketAddr) -> io::Result<u32> {
        let asked = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        asked.bind(&SocketAddr::new(self.local.ip(), 0).into())?;
        asked.connect(&to.into())?;
        let (level, name) =
            family(to.is_ipv6(), (libc::IPPROTO_IP, libc::IP_MTU), (libc::IPPROTO_IPV6, libc::IPV6_MTU));
        sockopt::read_ints::<1>(asked.as_fd(), level, name).map(|[mtu]| mtu)
    }

    fn note_drops(&self, counter: u32) {
        let counter = counter.wrapping_sub(self.drops_before.load(Ordering::Relaxed) as u32);
        let total = self.drops.load(Ordering::Relaxed);
        let new = counter.wrapping_sub(total as u32);
        self.drops.store(total + u64::from(new), Ordering::Relaxed);
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<UdpSocket> for OwnedFd {
    fn from(socket: UdpSocket) -> OwnedFd {
        socket.fd
    }
}

/// Runs a send again after an error that may belong to an earlier datagram; the kernel reports such an error once.
fn repeat_once(mut send: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    match send() {
        Err(error) if may_be_old(&error) => send(),
        outcome => outcome,
    }
}

/// Whether an error of a send can be one that ICMP left behind. Only a full buffer never is.
pub(crate) fn may_be_old(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::WouldBlock
}

fn family<T>(v6: bool, four: T, six: T) -> T {
    if v6 { six } else { four }
}

fn set_path_mtu_discovery(fd: BorrowedFd<'_>, v6: bool, mode: c_int) -> io::Result<()> {
    // The modes have the same numbers in both families.
    let four = (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
    let (level, name) = family(v6, four, (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER));
    sockopt::set_int(fd, level, name, mode)
}

/// No DF, and no belief in path MTUs that strangers report: the relay does not set DF unless a client asks
/// (RFC 8656 section 15). Kernels before 3.15 know only the weaker form.
fn fragment_freely(fd: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    set_path_mtu_discovery(fd, v6, libc::IP_PMTUDISC_OMIT)
        .or_else(|_| set_path_mtu_discovery(fd, v6, libc::IP_PMTUDISC_DONT))
}

fn ask_buffers(socket: &Socket, options: &UdpOptions) -> io::Result<()> {
    socket.set_recv_buffer_size(options.recv_buffer)?;
    if socket.recv_buffer_size()? / 2 < options.recv_buffer {
        // Beyond rmem_max only with CAP_NET_ADMIN; without it the smaller buffer serves, and is reported.
        let asked = c_int::try_from(options.recv_buffer).unwrap_or(c_int::MAX);
        let _ = sockopt::set_int(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, asked);
    }
    socket.set_send_buffer_size(options.send_buffer)
}
