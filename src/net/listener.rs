//! TCP listeners on the control plane: a connection is accepted, told apart, handshaken and read up to its first whole
//! message before a shard hears of it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConnection;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinHandle;

use crate::group::BindError;

pub use crate::half_open::{HalfOpen, ListenerLimits};
use crate::handshake::{self, Failure};
use crate::limits::{ACCEPT_PAUSE, LISTEN_BACKLOG};
use crate::places::{Cap, Place};
use crate::tls::TlsSource;

/// What the first bytes of a connection amount to, judged by the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstMessage {
    /// So far it may become a message.
    Incomplete,
    /// Its length; more may follow.
    Whole(usize),
    /// Never: close.
    Invalid,
}

/// A connection that has sent its first whole message, ready to move to a shard.
#[derive(Debug)]
pub struct Accepted {
    /// Non-blocking.
    pub stream: TcpStream,
    /// The TLS session after its handshake; `None` for plain TCP.
    pub tls: Option<Box<ServerConnection>>,
    /// The plaintext read so far, at least one whole message.
    pub buffered: Vec<u8>,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// As in [`ListenerSpec::listener`].
    pub listener: u16,
    pub accepted_at: Instant,
    /// From accept to the end of the TLS handshake; zero for plain TCP.
    pub handshake: Duration,
}

/// What an operator counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerEvent {
    Accepted,
    /// The client's TLS does not fit ours, or is garbage.
    HandshakeFailed {
        peer: IpAddr,
        reason: String,
    },
    /// No whole message in time; `tls` says whether a handshake had begun.
    TimedOut {
        peer: IpAddr,
        tls: bool,
    },
    /// Not our protocol.
    Invalid {
        peer: IpAddr,
    },
    /// Closed by the client before its first message.
    Closed {
        peer: IpAddr,
    },
    /// Refused: too many half-open connections of this source.
    CappedSource {
        peer: IpAddr,
    },
    /// Refused: too many half-open connections of all sources.
    CappedTotal,
    /// Out of descriptors or memory: no accept for a moment. An operator should know.
    AcceptPaused {
        error: String,
    },
}

/// What a listener works with.
pub struct ListenerSpec {
    /// The shell's index of the listener, handed through.
    pub listener: u16,
    pub tls: TlsSource,
    pub framing: fn(&[u8]) -> FirstMessage,
    /// Shared by all listeners.
    pub half_open: Arc<HalfOpen>,
    /// Called on the control plane's threads; must not block.
    pub on_accepted: Arc<dyn Fn(Accepted) + Send + Sync>,
    /// Called on the control plane's threads; must not block.
    pub on_event: Arc<dyn Fn(ListenerEvent) + Send + Sync>,
}

/// Binds and listens; connections wait in the kernel until [`Watched::serve`].
///
/// # Errors
/// [`BindError`]: the operator's fault, except for exhausted descriptors.
pub fn bind_tcp(addr: SocketAddr) -> Result<std::net::TcpListener, BindError> {
    let bound = || -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Only past connections in TIME_WAIT give way: a living listener refuses.
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        Ok(socket.into())
    };
    bound().map_err(|source| BindError::new(addr, false, source))
}

/// A listener at work. Dropping it stops accepting; connections before their first message go on to their limit.
#[derive(Debug)]
pub struct ListenerHandle {
    task: JoinHandle<()>,
}

impl ListenerHandle {
    /// Stops accepting, soon.
    pub fn close(self) {}

    /// Stops accepting and waits until the address is free.
    pub async fn closed(mut self) {
        self.task.abort();
        // An aborted task ends with an error, which is what was asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listener that the runtime watches and nobody serves yet: all that can fail is done.
#[derive(Debug)]
pub struct Watched(tokio::net::TcpListener);

/// Has the runtime watch the socket. To be called inside a tokio runtime.
///
/// # Errors
/// When the runtime cannot watch the socket: exhausted descriptors.
pub fn watch(listener: std::net::TcpListener) -> io::Result<Watched> {
    listener.set_nonblocking(true)?;
    Ok(Watched(tokio::net::TcpListener::from_std(listener)?))
}

impl Watched {
    /// Starts to accept. To be called inside a tokio runtime.
    pub fn serve(self, spec: ListenerSpec) -> ListenerHandle {
        ListenerHandle { task: tokio::spawn(accept_all(self.0, Arc::new(spec))) }
    }
}

async fn accept_all(listener: tokio::net::TcpListener, spec: Arc<ListenerSpec>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(stream, peer, &spec),
            // The client was gone before we looked.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            // The connection stays in the backlog and the listener stays ready: without a pause this would spin.
            Err(error) => {
                (spec.on_event)(ListenerEvent::AcceptPaused { error: error.to_string() });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(stream: tokio::net::TcpStream, peer: SocketAddr, spec: &Arc<ListenerSpec>) {
    match spec.half_open.enter(peer.ip()) {
        Ok(entered) => {
            tokio::spawn(receive_first(stream, peer, Arc::clone(spec), entered));
        }
        Err(Cap::Source) => (spec.on_event)(ListenerEvent::CappedSource { peer: peer.ip() }),
        Err(Cap::Total) => (spec.on_event)(ListenerEvent::CappedTotal),
    }
}

async fn receive_first(stream: tokio::net::TcpStream, peer: SocketAddr, spec: Arc<ListenerSpec>, entered: Place) {
    let accepted_at = Instant::now();
    let mut progress = handshake::Progress::default();
    let work = handshake::first_message(&stream, &spec.tls, spec.framing, &mut progress);
    let outcome = tokio::time::timeout(spec.half_open.limits.first_message, work).await;
    drop(entered);
    let peer_ip = peer.ip();
    let event = match outcome {
        Ok(Ok(first)) => {
            let moved = stream.local_addr().and_then(|local| Ok((local, stream.into_std()?)));
            match moved {
                Ok((local, stream)) => {
                    let handshake = progress.handshaken.map_or(Duration::ZERO, |at| at - accepted_at);
                    let (tls, buffered, listener) = (first.tls, first.plaintext, spec.listener);
                    (spec.on_event)(ListenerEvent::Accepted);
                    (spec.on_accepted)(Accepted {
                        stream,
                        tls,
                        buffered,
                        peer,
                        local,
                        listener,
                        accepted_at,
                        handshake,
                    });
                    return;
                }
                Err(_) => ListenerEvent::Closed { peer: peer_ip },
            }
        }
        Ok(Err(Failure::Tls(error))) => ListenerEvent::HandshakeFailed { peer: peer_ip, reason: error.to_string() },
        Ok(Err(Failure::Invalid)) => ListenerEvent::Invalid { peer: peer_ip },
        Ok(Err(Failure::Closed)) => ListenerEvent::Closed { peer: peer_ip },
        Err(_) => ListenerEvent::TimedOut { peer: peer_ip, tls: progress.tls_begun },
    };
    (spec.on_event)(event);
}
