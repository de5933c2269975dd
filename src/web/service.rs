//! The services on their listeners: TLS, connections, and what each source may have of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use postern_net::{Cap, Places};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::desk::Desk;
use crate::feed;
use crate::limits;
use crate::options::{Options, Parts};
use crate::router::routes;
use crate::unstalled::Unstalled;

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(pub IpAddr);

/// Web services that run; dropping them closes listeners and connections.
pub struct Web {
    local_addrs: Vec<SocketAddr>,
    desk: Arc<Desk>,
    tls: Arc<ArcSwap<ServerConfig>>,
    _tasks: JoinSet<()>,
    /// Its end tells connections to end.
    _living: watch::Sender<()>,
}

/// How the services speak TLS.
pub type Tls = Arc<ServerConfig>;

/// Why a certificate cannot serve; the operator's fault.
#[derive(Debug, thiserror::Error)]
#[error("certificate and private key cannot serve: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// TLS 1.2 and 1.3 with this chain (leaf first) and key.
///
/// # Errors
/// Chain and key do not belong together, or are of no use.
pub fn tls_config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Tls, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl Web {
    /// Binds every address of `listen` and serves on the current tokio runtime.
    ///
    /// # Errors
    /// The first address that cannot be bound, and why: the operator's fault, or another process's.
    pub async fn start(
        listen: &[SocketAddr],
        tls: Tls,
        options: Options,
        parts: Parts,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut listeners = Vec::new();
        let mut local_addrs = Vec::new();
        for address in listen {
            let because = |error| (*address, error);
            let listener = TcpListener::bind(address).await.map_err(because)?;
            local_addrs.push(listener.local_addr().map_err(because)?);
            listeners.push(listener);
        }
        let desk = Arc::new(Desk::new(options, parts));
        let (living, ended) = watch::channel(());
        let tls = Arc::new(ArcSwap::new(tls));
        let door = Door {
            router: routes(Arc::clone(&desk)),
            desk: Arc::clone(&desk),
            tls: Arc::clone(&tls),
            ended,
            places: Places::new(limits::CONNECTIONS_MAX, limits::CONNECTIONS_PER_SOURCE_MAX),
        };
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(door.clone().accept(listener));
        }
        let fed = Arc::clone(&desk);
        tasks.spawn(async move {
            feed::run(fed).await;
        });
        Ok(Self { local_addrs, desk, tls, _tasks: tasks, _living: living })
    }

    /// Where the services listen.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Another certificate, from the next connection on.
    pub fn set_tls(&self, tls: Tls) {
        self.tls.store(tls);
    }

    /// Other options, from the next request on.
    pub fn set_options(&self, options: Options) {
        self.desk.options.store(Arc::new(options));
    }
}

/// Who may come in, and what each connection is given.
#[derive(Clone)]
struct Door {
    router: Router,
    desk: Arc<Desk>,
    tls: Arc<ArcSwap<ServerConfig>>,
    ended: watch::Receiver<()>,
    places: Arc<Places>,
}

impl Door {
    async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => self.admit(stream, remote),
                Err(failure) => {
                    tracing::debug!(%failure, "the web services accept no connection");
                    sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, remote: SocketAddr) {
        let place = match self.places.enter(remote.ip()) {
            Ok(place) => place,
            Err(Cap::Total) => return self.refuse(remote, "there are as many connections as there may be"),
            Err(Cap::Source) => return self.refuse(remote, "its network has as many connections as it may have"),
        };
        let door = self.clone();
        tokio::spawn(async move {
            let mut ended = door.ended.clone();
            let connection = async {
                if let Some(stream) = door.handshake(stream, remote).await {
                    door.serve(stream, remote).await;
                }
            };
            tokio::select! {
                // Whoever breaks the protocol or goes away is none of our business.
                _ = timeout(limits::CONNECTION, connection) => {}
                _ = ended.changed() => {}
            }
            drop(place);
        });
    }

    fn refuse(&self, remote: SocketAddr, why: &str) {
        self.desk.cells.web_connections_refused.add((), 1);
        tracing::debug!(%remote, why, "a connection to the web services is refused");
    }

    async fn handshake(&self, stream: TcpStream, remote: SocketAddr) -> Option<TlsStream<Unstalled<TcpStream>>> {
        let stream = Unstalled::new(stream, limits::WRITE);
        let acceptor = TlsAcceptor::from(self.tls.load_full());
        match timeout(limits::HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(failure)) => self.refuse(remote, &failure.to_string()),
            Err(_) => self.refuse(remote, "its handshake took too long"),
        }
        None
    }

    async fn serve(&self, stream: TlsStream<Unstalled<TcpStream>>, remote: SocketAddr) {
        let router = self.router.clone().layer(axum::Extension(Source(remote.ip())));
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HEADER)
            .max_buf_size(limits::HEADER_BYTES_MAX);
        let _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
    }
}
