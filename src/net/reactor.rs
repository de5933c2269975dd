//! Readiness of a shard's sockets (epoll), and a way to wake the shard from other threads (eventfd).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// What to be told about a descriptor. Errors and hang-ups are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
    /// Tell each change once, instead of at every wait as long as it holds.
    pub edge: bool,
}

impl Interest {
    pub const READ: Interest = Interest { read: true, write: false, edge: false };
    pub const WRITE: Interest = Interest { read: false, write: true, edge: false };
    pub const READ_WRITE: Interest = Interest { read: true, write: true, edge: false };
    /// Both directions, each change once: for streams and pipes, which are registered once and then read and written
    /// until they would block.
    pub const EDGE: Interest = Interest { read: true, write: true, edge: true };

    fn bits(self) -> u32 {
        let mut bits = libc::EPOLLRDHUP;
        for (wanted, bit) in [(self.read, libc::EPOLLIN), (self.write, libc::EPOLLOUT), (self.edge, libc::EPOLLET)] {
            if wanted {
                bits |= bit;
            }
        }
        bits as u32
    }
}

/// A descriptor that has become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// As given to [`Reactor::register`].
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
    /// EPOLLERR. UDP: drain the error queue.
    pub error: bool,
    /// The other side has closed its direction, or both are closed.
    pub hangup: bool,
}

/// Room for the events of one wait.
pub struct Events {
    raw: Vec<libc::epoll_event>,
    woken: bool,
}

impl Events {
    /// Room for `n` events per wait; what does not fit comes with the next one.
    pub fn with_capacity(n: usize) -> Events {
        Events { raw: Vec::with_capacity(n.max(1)), woken: false }
    }

    /// The events of the last wait, without the waker's.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.raw.iter().filter(|raw| raw.u64 != WAKER_TOKEN).map(|raw| {
            let has = |bits: i32| raw.events & bits as u32 != 0;
            Event {
                token: raw.u64,
                readable: has(libc::EPOLLIN),
                writable: has(libc::EPOLLOUT),
                error: has(libc::EPOLLERR),
                hangup: has(libc::EPOLLHUP | libc::EPOLLRDHUP),
            }
        })
    }

    /// Whether a [`Waker`] ended the last wait.
    pub fn woken(&self) -> bool {
        self.woken
    }
}

/// Reserved for the waker; no descriptor may be registered under it.
const WAKER_TOKEN: u64 = u64::MAX;

/// One shard's set of descriptors.
#[derive(Debug)]
pub struct Reactor {
    epoll: OwnedFd,
    waker: Waker,
}

impl Reactor {
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Reactor> {
        // SAFETY: takes no pointer; the result is checked.
        let epoll = unsafe { own(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }?;
        // SAFETY: as above.
        let event = unsafe { own(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) }?;
        let reactor = Reactor { epoll, waker: Waker { event: Arc::new(event) } };
        reactor.control(libc::EPOLL_CTL_ADD, reactor.waker.event.as_raw_fd(), WAKER_TOKEN, Interest::READ)?;
        Ok(reactor)
    }

    /// Adds a descriptor; its events carry `token`, which is not [`u64::MAX`].
    ///
    /// # Errors
    /// EEXIST if it is there already; ENOSPC, ENOMEM.
    pub fn register(&self, fd: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_fd().as_raw_fd(), token, interest)
    }

    /// Changes token and interest of a descriptor; an edge that holds now is told again.
    ///
    /// # Errors
    /// ENOENT if it is not there.
    pub fn modify(&self, fd: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_fd().as_raw_fd(), token, interest)
    }

    /// Removes a descriptor. Closing its last copy does so as well.
    ///
    /// # Errors
    /// ENOENT if it is not there.
    pub fn deregister(&self, fd: &impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_fd().as_raw_fd(), 0, Interest::READ)
    }

    /// Ends a wait of this reactor from any thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits until something is ready, at most `timeout` (rounded up to milliseconds), without limit for `None`. A signal
    /// ends the wait with no event.
    ///
    /// # Errors
    /// None that a correct program meets.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let millis =
            timeout.map_or(-1, |timeout| i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        events.raw.clear();
        events.woken = false;
        let room = events.raw.capacity().min(i32::MAX as usize) as i32;
        // SAFETY: the vector has room for `room` events.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.raw.as_mut_ptr(), room, millis) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        // SAFETY: the kernel has written this many events, and no more than `room`.
        unsafe { events.raw.set_len(count as usize) };
        events.woken = events.raw.iter().any(|raw| raw.u64 == WAKER_TOKEN);
        if events.woken {
            self.waker.rest();
        }
        Ok(())
    }

    fn control(&self, operation: i32, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.bits(), u64: token };
        // SAFETY: the event is a local that outlives the call; the kernel copies it.
        let status = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Wakes a [`Reactor`]. Cheap to clone; many wakes before the next wait are one.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// Ends the present wait, or else the next one.
    pub fn wake(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes of a local are read. It fails only when the counter is full, that is, already waking.
        unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    fn rest(&self) {
        let mut count = 0_u64;
        // SAFETY: eight bytes of a local are written. It fails only when nobody woke, which needs no rest.
        unsafe { libc::read(self.event.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

/// Takes ownership of a descriptor that a system call has just returned, or of its error.
///
/// # Safety
/// Nobody else may own `fd`.
unsafe fn own(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the caller says that it is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Instant;

    #[test]
    fn a_wake_from_another_thread_ends_the_wait_once() {
        let reactor = Reactor::new().unwrap();
        let mut events = Events::with_capacity(8);
        let waker = reactor.waker();
        let thread = std::thread::spawn(move || (0..3).for_each(|_| waker.wake()));
        reactor.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
        assert!(events.woken());
        assert_eq!(events.iter().count(), 0);
        thread.join().unwrap();
        reactor.wait(&mut events, Some(Duration::ZERO)).unwrap();
        reactor.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(!events.woken());
    }

    #[test]
    fn a_descriptor_is_reported_under_its_token_until_it_leaves() {
        let reactor = Reactor::new().unwrap();
        let mut events = Events::with_capacity(8);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        reactor.register(&socket, 42, Interest::READ).unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        reactor.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
        let event = events.iter().next().unwrap();
        assert_eq!((event.token, event.readable, event.writable), (42, true, false));
        reactor.modify(&socket, 43, Interest::WRITE).unwrap();
        reactor.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
        let event = events.iter().next().unwrap();
        assert_eq!((event.token, event.readable, event.writable), (43, false, true));
        reactor.deregister(&socket).unwrap();
        reactor.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);
    }

    #[test]
    fn an_edge_is_told_once() {
        let reactor = Reactor::new().unwrap();
        let mut events = Events::with_capacity(8);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        reactor.register(&socket, 1, Interest::EDGE).unwrap();
        reactor.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
        assert_eq!(events.iter().count(), 1);
        reactor.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);
    }

    #[test]
    fn a_timeout_below_a_millisecond_does_not_spin() {
        let reactor = Reactor::new().unwrap();
        let mut events = Events::with_capacity(8);
        let before = Instant::now();
        reactor.wait(&mut events, Some(Duration::from_micros(300))).unwrap();
        assert!(before.elapsed() >= Duration::from_micros(300));
    }
}
