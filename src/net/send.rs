//! Sending many datagrams with one system call.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

use crate::address::RawAddress;
use crate::cmsg::Control;
use crate::limits::{BATCH_MAX, SEND_BATCH_BYTES};
use crate::udp::{UdpSocket, may_be_old};

/// A datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub payload: &'a [u8],
    pub to: SocketAddr,
    /// The address of ours to send from, for sockets bound to all of them; of the socket's family.
    pub from_ip: Option<IpAddr>,
    /// DSCP and ECN; 0 leaves the socket's default.
    pub tos: u8,
    /// Set DF on this datagram. [`UdpSocket::send`] obeys it, a [`SendBatch`] does not know it.
    pub dont_fragment: bool,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendReport {
    pub sent: usize,
    /// Refused by the kernel, each on its own; the others went out.
    pub failed: usize,
    /// Given up because the socket's send buffer was full.
    pub would_block: usize,
}

/// Datagrams collected for one socket. Pushing copies: at voice sizes that is cheaper than any bookkeeping of borrows.
pub struct SendBatch {
    bytes: Vec<u8>,
    payloads: Vec<Range<usize>>,
    names: Vec<(RawAddress, libc::socklen_t)>,
    controls: Vec<(Control, usize)>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    capacity: usize,
    /// sendmmsg is not to be had: one sendmsg per datagram instead.
    one_by_one: bool,
}

// SAFETY: the raw pointers in `parts` and `headers` are written anew before each system call and used by nothing else;
// everything they point to is owned by this value.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Room for `n` datagrams, from 1 to [`BATCH_MAX`], of [`SEND_BATCH_BYTES`] in all.
    pub fn new(n: usize) -> SendBatch {
        let n = n.clamp(1, BATCH_MAX);
        SendBatch {
            bytes: Vec::with_capacity(SEND_BATCH_BYTES),
            payloads: Vec::with_capacity(n),
            names: Vec::with_capacity(n),
            controls: Vec::with_capacity(n),
            parts: Vec::with_capacity(n),
            headers: Vec::with_capacity(n),
            capacity: n,
            one_by_one: false,
        }
    }

    /// How many datagrams wait.
    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// Copies a datagram in; `false` when there is no room: flush, then push again, which succeeds.
    #[must_use]
    pub fn push(&mut self, message: &Outgoing<'_>) -> bool {
        let start = self.bytes.len();
        let full = self.payloads.len() == self.capacity || start + message.payload.len() > SEND_BATCH_BYTES;
        if full && !self.is_empty() {
            return false;
        }
        self.bytes.extend_from_slice(message.payload);
        self.payloads.push(start..self.bytes.len());
        let mut name = RawAddress::empty();
        let name_len = name.encode(message.to);
        self.names.push((name, name_len));
        let mut control = Control::empty();
        let control_len = control.encode(message.from_ip, message.tos, message.to.is_ipv6());
        self.controls.push((control, control_len));
        true
    }

    /// Sends all that waits. An entry that fails is tried once more, since the error may be one that ICMP left on the
    /// socket, then skipped; a full send buffer gives up the rest. The batch is empty afterwards.
    pub fn flush(&mut self, socket: &UdpSocket) -> SendReport {
        self.point();
        let total = self.len();
        let mut report = SendReport::default();
        let mut next = 0;
        let mut repeated = false;
        while next < total {
            match self.send_from(socket, next) {
                Ok(sent) => {
                    report.sent += sent;
                    next += sent;
                    repeated = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) && !self.one_by_one => self.one_by_one = true,
                Err(error) if may_be_old(&error) && !repeated => repeated = true,
                Err(error) if may_be_old(&error) => {
                    report.failed += 1;
                    next += 1;
                    repeated = false;
                }
                Err(_) => {
                    report.would_block = total - next;
                    break;
                }
            }
        }
        self.clear();
        report
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.payloads.clear();
        self.names.clear();
        self.controls.clear();
        self.parts.clear();
        self.headers.clear();
    }

    /// Builds the headers; within the capacity taken at birth.
    fn point(&mut self) {
        self.parts.clear();
        self.headers.clear();
        for range in &self.payloads {
            let payload = &mut self.bytes[range.clone()];
            self.parts.push(libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() });
        }
        for ((part, (name, name_len)), (control, control_len)) in
            self.parts.iter_mut().zip(&mut self.names).zip(&mut self.controls)
        {
            // SAFETY: mmsghdr is integers and pointers, for which zero is valid.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = std::ptr::from_mut(&mut name.0).cast();
            header.msg_hdr.msg_namelen = *name_len;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            if *control_len != 0 {
                header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = *control_len as _;
            }
            self.headers.push(header);
        }
    }

    /// Sends from entry `next` on; answers how many went out before one failed.
    fn send_from(&mut self, socket: &UdpSocket, next: usize) -> io::Result<usize> {
        const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let fd = socket.as_fd().as_raw_fd();
        let waiting = &mut self.headers[next..];
        let status = if self.one_by_one {
            // SAFETY: `point` has just set every header to memory that this value owns, and nothing was pushed since.
            unsafe { libc::sendmsg(fd, &waiting[0].msg_hdr, FLAGS).min(1) as libc::c_int }
        } else {
            // SAFETY: as above; the count is that of the headers from `next` on.
            unsafe { libc::sendmmsg(fd, waiting.as_mut_ptr(), waiting.len() as libc::c_uint, FLAGS as _) }
        };
        if status < 0 { Err(io::Error::last_os_error()) } else { Ok((status as usize).max(1)) }
    }

    #[cfg(test)]
    pub(crate) fn without_sendmmsg(n: usize) -> SendBatch {
        SendBatch { one_by_one: true, ..SendBatch::new(n) }
    }
}
