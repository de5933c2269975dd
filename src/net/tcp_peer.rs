//! TCP between a relayed address and its peers (RFC 6062): connections out, and a listener for connections in.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::PEER_BACKLOG;
use crate::stream::{read_some, tune};

/// A connection to a peer, from or to the relayed address. Register it with
/// [`Interest::EDGE`](crate::Interest::EDGE).
#[derive(Debug)]
pub struct TcpPeer {
    socket: TcpStream,
}

impl TcpPeer {
    /// Starts to connect from `relay` to `peer`; when it becomes writable, [`connected`](Self::connected) tells the end.
    /// The address may be shared with the relay's listener and with connections to other peers.
    ///
    /// # Errors
    /// EADDRNOTAVAIL when the same pair of addresses was connected a moment ago; ENETUNREACH; exhausted descriptors.
    pub fn connect(relay: SocketAddr, peer: SocketAddr) -> io::Result<TcpPeer> {
        let socket = shared_socket(relay)?;
        match socket.connect(&peer.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(TcpPeer { socket: socket.into() }),
        }
    }

    /// How the connect ended; `None` while undecided.
    pub fn connected(&self) -> Option<io::Result<()>> {
        match self.socket.take_error() {
            Ok(Some(error)) | Err(error) => return Some(Err(error)),
            Ok(None) => {}
        }
        match self.socket.peer_addr() {
            Ok(_) => Some(tune(&self.socket)),
            Err(error) if error.kind() == ErrorKind::NotConnected => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// The peer's address and port, once connected.
    ///
    /// # Errors
    /// `NotConnected` before that and after a reset.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Reads what has arrived; 0 is the peer's end.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        read_some(&mut self.socket, room)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    pub(crate) fn end_output(&mut self) -> io::Result<()> {
        match self.socket.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsFd for TcpPeer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Takes connections from peers at a relayed address.
#[derive(Debug)]
pub struct PeerListener {
    socket: Socket,
}

impl PeerListener {
    /// Listens on `relay`; port 0 draws one.
    ///
    /// # Errors
    /// `AddrInUse` when another program has the port: draw another. Exhausted descriptors.
    pub fn bind(relay: SocketAddr) -> io::Result<PeerListener> {
        // Without the address shared first, so that a stranger's port is not shared by accident.
        let probe = new_socket(relay)?;
        probe.bind(&relay.into())?;
        let relay = probe.local_addr()?.as_socket().unwrap_or(relay);
        drop(probe);
        let socket = shared_socket(relay)?;
        socket.listen(PEER_BACKLOG)?;
        Ok(PeerListener { socket })
    }

    /// The relayed address and port.
    ///
    /// # Errors
    /// None for a listener that was bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| ErrorKind::InvalidInput.into())
    }

    /// The next connection and its peer; `None` when none waits.
    ///
    /// # Errors
    /// Exhausted descriptors (EMFILE, ENFILE) or memory. The connection keeps waiting, so a level-triggered
    /// registration would spin: pause it, or register with [`Interest::EDGE`](crate::Interest::EDGE) and ask again later.
    pub fn accept(&self) -> io::Result<Option<(TcpPeer, SocketAddr)>> {
        loop {
            match self.socket.accept() {
                Ok((socket, from)) => {
                    socket.set_nonblocking(true)?;
                    let socket = TcpStream::from(socket);
                    tune(&socket)?;
                    let Some(from) = from.as_socket() else {
                        continue;
                    };
                    return Ok(Some((TcpPeer { socket }, from)));
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(None),
                    // Gone before we looked.
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl AsFd for PeerListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket on `relay` that others of this process may share: the listener and one connection per peer.
fn shared_socket(relay: SocketAddr) -> io::Result<Socket> {
    let socket = new_socket(relay)?;
    socket.set_reuse_port(true)?;
    socket.bind(&relay.into())?;
    Ok(socket)
}

fn new_socket(relay: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(relay), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if relay.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of the port's last user may still be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    Ok(socket)
}
