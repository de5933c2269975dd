//! One client's TCP or TLS stream, owned by a shard: read, written and encrypted without ever waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustls::ServerConnection;
use socket2::{SockRef, TcpKeepalive};

use crate::limits::{NOT_SENT_LOWAT_BYTES, STREAM_MESSAGE_BYTES_MAX, STREAM_READ_BYTES, USER_TIMEOUT};
use crate::listener::Accepted;
use crate::outbox::Outbox;

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// More plaintext may be in [`Stream::buffered`]; read again until `WouldBlock`, since what TLS has already taken
    /// from the socket raises no event.
    Data,
    WouldBlock,
    /// The client will send nothing more. Plaintext may still be buffered.
    Closed,
}

/// What a flush left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Nothing waits.
    Idle,
    /// The socket is full: flush again when it becomes writable.
    Pending,
}

/// A client's stream after its first whole message. Register it with [`Interest::EDGE`](crate::Interest::EDGE).
///
/// Towards a slow reader at most 100 ms or 64 KB of media wait, the oldest frame goes first and never a part of one;
/// control is kept, but a client that lets 256 KB of it lie is given up.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    input: Input,
    outbox: Outbox,
    output_end: OutputEnd,
    expired: usize,
    peer: SocketAddr,
    local: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputEnd {
    Open,
    /// Close our direction once everything is written.
    Asked,
    Done,
}

impl Stream {
    /// Takes over a connection from its listener, with what it has read already.
    ///
    /// # Errors
    /// When the connection has broken meanwhile.
    pub fn from_accepted(accepted: Accepted) -> io::Result<Stream> {
        accepted.stream.set_nonblocking(true)?;
        tune(&accepted.stream)?;
        Ok(Stream {
            socket: accepted.stream,
            tls: accepted.tls,
            input: Input::starting_with(&accepted.buffered),
            outbox: Outbox::default(),
            output_end: OutputEnd::Open,
            expired: 0,
            peer: accepted.peer,
            local: accepted.local,
        })
    }

    /// Reads what has arrived, at most [`STREAM_READ_BYTES`] per call, behind what is buffered already.
    ///
    /// # Errors
    /// The connection's end by reset, or TLS that does not decrypt (`InvalidData`): close it. `InvalidData` too when a
    /// whole message's worth is buffered and none of it was consumed.
    pub fn read(&mut self) -> io::Result<ReadOutcome> {
        let Stream { socket, tls, input, .. } = self;
        let room = input.room().ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "message too long"))?;
        let outcome = match tls {
            None => read_some(socket, room),
            Some(tls) => read_tls(socket, tls, room),
        };
        match outcome {
            Ok(0) => Ok(ReadOutcome::Closed),
            Ok(read) => {
                input.filled(read);
                Ok(ReadOutcome::Data)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(ReadOutcome::WouldBlock),
            Err(error) => Err(error),
        }
    }

    /// The plaintext that is read and not consumed.
    pub fn buffered(&mut self) -> &mut [u8] {
        self.input.bytes()
    }

    /// Takes `n` bytes from the front of [`buffered`](Self::buffered); at most all of them.
    pub fn consume(&mut self, n: usize) {
        self.input.consume(n);
    }

    /// Queues a control message for [`flush`](Self::flush). Never dropped.
    pub fn queue_control(&mut self, frame: &[u8]) {
        self.outbox.push_control(frame);
    }

    /// Queues one whole media frame (ChannelData with its padding, or a Data indication) for [`flush`](Self::flush);
    /// answers how many media frames were dropped, this one included, because the reader is slow.
    pub fn queue_media(&mut self, frame: &[u8], now: Instant) -> usize {
        self.outbox.push_media(frame, now)
    }

    /// Writes what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// The connection's end, or `StorageFull` when more control lies unread than any client may leave: close it.
    pub fn flush(&mut self, now: Instant) -> io::Result<Flush> {
        self.expired += self.outbox.expire(now);
        if self.outbox.overflows() {
            return Err(io::Error::new(ErrorKind::StorageFull, "the client does not read"));
        }
        self.write_out()
    }

    /// Media frames that [`flush`](Self::flush) dropped for their age since the last call.
    pub fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.expired)
    }

    /// Whether a flush has something to do.
    pub fn wants_write(&self) -> bool {
        !self.outbox.is_empty()
            || self.output_end == OutputEnd::Asked
            || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Ends our direction once everything queued is written: TLS's close_notify, then FIN. Flush to get there.
    pub fn end_output(&mut self) {
        if self.output_end == OutputEnd::Open {
            self.output_end = OutputEnd::Asked;
        }
    }

    /// Whether our direction is at its end, all written.
    pub fn output_ended(&self) -> bool {
        self.output_end == OutputEnd::Done
    }

    /// The client's address and port.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The address and port of ours that the client connected to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether it is TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.outbox.control_bytes()
    }

    pub(crate) fn write_out(&mut self) -> io::Result<Flush> {
        loop {
            if let Some(tls) = &mut self.tls {
                while tls.wants_write() {
                    match tls.write_tls(&mut self.socket) {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            return Ok(Flush::Pending);
                        }
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            let front = if self.tls.is_some() { self.outbox.front_frame() } else { self.outbox.front() };
            if front.is_empty() {
                return self.finish_output().map(|()| Flush::Idle);
            }
            // Encrypted bytes cannot be dropped any more: TLS is given one record's worth at a time.
            let written = match &mut self.tls {
                Some(tls) => tls.writer().write(&front[..front.len().min(STREAM_READ_BYTES)]),
                None => self.socket.write(front),
            };
            match written {
                Ok(0) => return Ok(Flush::Pending),
                Ok(n) => self.outbox.advance(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Flush::Pending),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends our direction if that was asked for; everything else is written.
    fn finish_output(&mut self) -> io::Result<()> {
        if self.output_end != OutputEnd::Asked {
            return Ok(());
        }
        self.output_end = OutputEnd::Done;
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            // The alert is small; if not even that fits, the FIN that follows says as much.
            let _ = tls.write_tls(&mut self.socket);
        }
        match self.socket.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Options of every stream that carries media: no delay, little unsent in the kernel, and a limit on silence.
pub(crate) fn tune(socket: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    // Kernels before 3.12 lack it; the stream then holds more stale media, within the kernel's send buffer.
    let _ = socket.set_tcp_notsent_lowat(NOT_SENT_LOWAT_BYTES);
    Ok(())
}

pub(crate) fn read_some(socket: &mut TcpStream, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(room) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn read_tls(socket: &mut TcpStream, tls: &mut ServerConnection, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The connection ended without close_notify. Every message has its own length, so nothing is cut unseen.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
            outcome => return outcome,
        }
        match tls.read_tls(socket) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert that says why, if it goes out at once.
            let _ = tls.write_tls(socket);
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        if tls.wants_write() {
            // TLS's own answer, such as to a key update. What does not go out now goes with the next flush.
            let _ = tls.write_tls(socket);
        }
    }
}

/// Bytes read and not consumed, in one piece.
#[derive(Debug)]
struct Input {
    /// All of it is initialised; what counts is `start..end`.
    storage: Vec<u8>,
    start: usize,
    end: usize,
}

/// A whole message always fits, however the bytes before it fell.
const INPUT_BYTES_MAX: usize = STREAM_MESSAGE_BYTES_MAX + 2 * STREAM_READ_BYTES;
const INPUT_BYTES_MIN: usize = 2048;

impl Input {
    fn starting_with(bytes: &[u8]) -> Input {
        let mut storage = bytes.to_vec();
        storage.resize(bytes.len().max(INPUT_BYTES_MIN), 0);
        Input { storage, start: 0, end: bytes.len() }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.end]
    }

    fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Free room behind the bytes, moved to the front or grown if they leave none; `None` at the limit.
    fn room(&mut self) -> Option<&mut [u8]> {
        if self.end == self.storage.len() {
            self.storage.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            // Doubling keeps the moves rare; a stream of small messages stays small.
            if self.end > self.storage.len() / 2 {
                self.storage.resize((self.storage.len() * 2).min(INPUT_BYTES_MAX), 0);
            }
        }
        let until = self.storage.len().min(self.end + STREAM_READ_BYTES);
        if self.end == until { None } else { Some(&mut self.storage[self.end..until]) }
    }

    fn filled(&mut self, n: usize) {
        self.end += n;
        // Filled to the brim at once: bulk, worth larger reads.
        if self.end == self.storage.len() && self.end < STREAM_READ_BYTES {
            self.storage.resize(self.end * 2, 0);
        }
    }
}
