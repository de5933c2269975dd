//! Listeners at work: TCP, TLS and UDP.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use postern_net::BindError;
use postern_net::listener::{HalfOpen, bind_tcp};
use postern_net::{Cap, Place};
use postern_sip::{Source, Transport as Protocol};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::input::Input;
use crate::limits::{ACCEPT_PAUSE, DATAGRAM_BYTES_MAX, HANDSHAKE_TIME, USER_TIMEOUT};
use crate::names::names_of;
use crate::options::TransportError;
use crate::report::{OnReport, Report};
use crate::tls::CurrentTls;

/// What every listener works with.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) feed: mpsc::Sender<Input>,
    pub(crate) tls: CurrentTls,
    pub(crate) half_open: Arc<HalfOpen>,
    pub(crate) on_report: OnReport,
}

/// A listener at work. Dropping it stops it; connections that it accepted live on.
pub(crate) struct Listener {
    pub(crate) protocol: Protocol,
    /// As asked for.
    pub(crate) asked: SocketAddr,
    /// As bound.
    pub(crate) bound: SocketAddr,
    /// To send by, for UDP.
    pub(crate) socket: Option<Arc<UdpSocket>>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Binds and begins. To be called inside a tokio runtime.
    pub(crate) fn start(
        protocol: Protocol,
        asked: SocketAddr,
        surroundings: &Surroundings,
    ) -> Result<Listener, TransportError> {
        let watch = |source: io::Error| TransportError::Runtime { protocol, addr: asked, source };
        if protocol == Protocol::Udp {
            let socket = Arc::new(UdpSocket::from_std(bind_udp(asked)?).map_err(watch)?);
            let bound = socket.local_addr().map_err(watch)?;
            let task = tokio::spawn(receive_all(Arc::clone(&socket), bound, surroundings.clone()));
            return Ok(Listener { protocol, asked, bound, socket: Some(socket), task });
        }
        let listener = TcpListener::from_std(bind_tcp(asked)?).map_err(watch)?;
        let bound = listener.local_addr().map_err(watch)?;
        let task = tokio::spawn(accept_all(listener, protocol, surroundings.clone()));
        Ok(Listener { protocol, asked, bound, socket: None, task })
    }
}

fn bind_udp(addr: SocketAddr) -> Result<std::net::UdpSocket, BindError> {
    let bound = || -> io::Result<std::net::UdpSocket> {
        let domain = socket2::Domain::for_address(addr);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM.nonblocking(), None)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&addr.into())?;
        Ok(socket.into())
    };
    bound().map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => BindError::InUse { addr, owner: None },
        _ => BindError::Failed { addr, source },
    })
}

/// What every connection of ours is given, in or out.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(USER_TIMEOUT))
}

async fn accept_all(listener: TcpListener, protocol: Protocol, surroundings: Surroundings) {
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The peer was gone before we looked.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => continue,
            // The connection stays in the backlog: without a pause this would spin.
            Err(error) => {
                let local = listener.local_addr().unwrap_or(SocketAddr::from(([0; 4], 0)));
                (surroundings.on_report)(Report::AcceptPaused { local, reason: error.to_string() });
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr().and_then(|local| prepare(&stream).map(|()| local)) else { continue };
        let source = Source { transport: protocol, local, remote, names: [].into(), conn: None };
        if protocol == Protocol::Tls {
            match surroundings.half_open.enter(remote.ip()) {
                Ok(entered) => drop(tokio::spawn(handshake(stream, source, entered, surroundings.clone()))),
                Err(Cap::Source) => (surroundings.on_report)(Report::CappedSource { source: remote.ip() }),
                Err(Cap::Total) => (surroundings.on_report)(Report::CappedTotal),
            }
        } else {
            (surroundings.on_report)(Report::Accepted { remote });
            if surroundings.feed.send(Input::Accepted { stream: Box::new(stream), source }).await.is_err() {
                return;
            }
        }
    }
}

async fn handshake(stream: TcpStream, mut source: Source, entered: Place, surroundings: Surroundings) {
    let remote = source.remote;
    let Some(configs) = surroundings.tls.load_full() else { return };
    let accepted = timeout(HANDSHAKE_TIME, TlsAcceptor::from(Arc::clone(&configs.server)).accept(stream)).await;
    drop(entered);
    match accepted {
        Ok(Ok(stream)) => {
            // Verified, if there are any: the handshake would have failed otherwise.
            let certificates = stream.get_ref().1.peer_certificates();
            source.names = names_of(certificates.and_then(|chain| chain.first())).into();
            (surroundings.on_report)(Report::Accepted { remote });
            // A core that is gone takes no connections.
            let _ = surroundings.feed.send(Input::Accepted { stream: Box::new(stream), source }).await;
        }
        Ok(Err(error)) => (surroundings.on_report)(Report::HandshakeFailed { remote, reason: error.to_string() }),
        Err(_) => (surroundings.on_report)(Report::HandshakeTimedOut { remote }),
    }
}

async fn receive_all(socket: Arc<UdpSocket>, local: SocketAddr, surroundings: Surroundings) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((read, remote)) => {
                let bytes = buffer[..read].to_vec();
                if surroundings.feed.send(Input::Datagram { local, remote, bytes }).await.is_err() {
                    return;
                }
            }
            // An earlier datagram of ours found nobody; its transaction has a timer.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => {
                (surroundings.on_report)(Report::SocketFailed { local, reason: error.to_string() });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
