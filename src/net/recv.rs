//! Receiving many datagrams with one system call.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use crate::address::RawAddress;
use crate::cmsg::{self, Ancillary, Control};
use crate::limits::{BATCH_MAX, DATAGRAM_BYTES_MAX, HEADROOM, TAILROOM};

/// Bytes of one buffer: headroom, the longest payload, tailroom; whole cache lines.
const STRIDE: usize = (HEADROOM + DATAGRAM_BYTES_MAX + TAILROOM).next_multiple_of(64);

/// Buffers for a batch of datagrams, each with free room before and after its payload.
///
/// The memory is taken from the system when a datagram first fills it: small datagrams cost few pages.
pub struct RecvBatch {
    storage: Vec<u8>,
    names: Vec<RawAddress>,
    controls: Vec<Control>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    received: usize,
    /// When the last receive was over; asked for only where arrival times are noted.
    read_at: Option<SystemTime>,
    /// recvmmsg is not to be had (a seccomp filter of old): one recvmsg per datagram instead.
    one_by_one: bool,
}

// SAFETY: the raw pointers in `parts` and `headers` are written anew before each system call and used by nothing else;
// everything they point to is owned by this value.
unsafe impl Send for RecvBatch {}

/// A datagram in its buffer.
pub struct Received<'a> {
    /// The whole buffer: headroom, payload, tailroom.
    pub buffer: &'a mut [u8],
    /// Where the payload is; [`HEADROOM`] bytes before it and at least [`TAILROOM`] after it are free.
    pub range: Range<usize>,
    pub from: SocketAddr,
    /// The address of ours that it was sent to.
    pub local_ip: Option<IpAddr>,
    /// DSCP and ECN.
    pub tos: u8,
    /// The payload did not fit; cannot happen with UDP over IP, whose datagrams are shorter than the buffer.
    pub truncated: bool,
    /// How long it lay in the socket, by the time of day, where
    /// [`arrival_times`](crate::UdpOptions::arrival_times) are noted; else zero.
    pub age: Duration,
}

impl RecvBatch {
    /// `n` buffers, from 1 to [`BATCH_MAX`].
    pub fn new(n: usize) -> RecvBatch {
        let n = n.clamp(1, BATCH_MAX);
        // SAFETY: iovec and mmsghdr are integers and pointers, for which zero is valid.
        let (part, header) = unsafe { (std::mem::zeroed::<libc::iovec>(), std::mem::zeroed::<libc::mmsghdr>()) };
        RecvBatch {
            storage: vec![0; n * STRIDE],
            names: vec![RawAddress::empty(); n],
            controls: vec![Control::empty(); n],
            parts: vec![part; n],
            headers: vec![header; n],
            received: 0,
            read_at: None,
            one_by_one: false,
        }
    }

    /// How many datagrams fit.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// How many the last receive put in.
    pub fn len(&self) -> usize {
        self.received
    }

    /// Whether the last receive put in nothing.
    pub fn is_empty(&self) -> bool {
        self.received == 0
    }

    /// The `i`th datagram; `None` from [`len`](Self::len) on.
    pub fn get_mut(&mut self, i: usize) -> Option<Received<'_>> {
        if i >= self.received {
            return None;
        }
        let header = &self.headers[i];
        let beside = self.beside(i);
        let from = self.names[i].decode()?;
        let length = (header.msg_len as usize).min(DATAGRAM_BYTES_MAX);
        Some(Received {
            buffer: &mut self.storage[i * STRIDE..(i + 1) * STRIDE],
            range: HEADROOM..HEADROOM + length,
            from,
            local_ip: beside.local_ip,
            tos: beside.tos,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            age: beside
                .arrived
                .zip(self.read_at)
                .map_or(Duration::ZERO, |(came, read)| read.duration_since(came).unwrap_or_default()),
        })
    }

    /// The kernel's drop counter as of the last datagram received.
    pub(crate) fn dropped(&self) -> Option<u32> {
        self.beside(self.received.checked_sub(1)?).dropped
    }

    fn beside(&self, i: usize) -> Ancillary {
        cmsg::decode(&self.controls[i].0[..cmsg::used(self.headers[i].msg_hdr.msg_controllen)])
    }

    /// Receives up to `max` datagrams.
    pub(crate) fn fill(&mut self, fd: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
        self.received = 0;
        let max = max.min(self.capacity());
        self.point(max);
        let mut attempts = 0;
        loop {
            let outcome = if self.one_by_one { self.receive_singly(fd, max) } else { self.receive_many(fd, max) };
            match outcome {
                Ok(received) => {
                    self.received = received;
                    let is_timed = received > 0 && self.beside(0).arrived.is_some();
                    self.read_at = is_timed.then(SystemTime::now);
                    return Ok(received);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) && !self.one_by_one => self.one_by_one = true,
                // An ICMP error of an earlier send, reported once, or a signal. When they keep coming, so does readiness.
                Err(error) if is_local(&error) => return Err(error),
                Err(_) if attempts < 2 => attempts += 1,
                Err(_) => return Ok(0),
            }
        }
    }

    /// Points the first `max` headers at their buffers, and says how large those are.
    fn point(&mut self, max: usize) {
        let buffers = self.storage.chunks_exact_mut(STRIDE);
        let slots = buffers.zip(&mut self.names).zip(&mut self.controls).zip(&mut self.parts).zip(&mut self.headers);
        for ((((buffer, name), control), part), header) in slots.take(max) {
            part.iov_base = buffer[HEADROOM..].as_mut_ptr().cast();
            part.iov_len = DATAGRAM_BYTES_MAX;
            header.msg_len = 0;
            header.msg_hdr.msg_name = std::ptr::from_mut(&mut name.0).cast();
            header.msg_hdr.msg_namelen = RawAddress::BYTES;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.0.len() as _;
            header.msg_hdr.msg_flags = 0;
        }
    }

    fn receive_many(&mut self, fd: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
        // SAFETY: `point` has just set the first `max` headers to buffers that this value owns, with their true lengths.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                max as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if received < 0 { Err(io::Error::last_os_error()) } else { Ok(received as usize) }
    }

    fn receive_singly(&mut self, fd: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
        for (i, header) in self.headers.iter_mut().take(max).enumerate() {
            // SAFETY: `point` has just set this header to buffers that this value owns, with their true lengths.
            let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header.msg_hdr, libc::MSG_DONTWAIT) };
            if length < 0 {
                let error = io::Error::last_os_error();
                return if i > 0 { Ok(i) } else { Err(error) };
            }
            header.msg_len = length as libc::c_uint;
        }
        Ok(max)
    }

    #[cfg(test)]
    pub(crate) fn without_recvmmsg(n: usize) -> RecvBatch {
        RecvBatch { one_by_one: true, ..RecvBatch::new(n) }
    }
}

/// Errors that are about this machine, not about a peer.
fn is_local(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOMEM | libc::ENOBUFS | libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EFAULT)
    )
}
