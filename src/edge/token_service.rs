//! The A/V authentication service: HTTPS with mutual TLS on the inside, where those on the allow-list get tokens.
//!
//! This file owns the listener and its connections; what a request means is in [`token_service_api`](crate::token_service_api),
//! what one generation of settings holds in [`TokenServiceState`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use postern_net::Places;
use postern_telemetry::labels::{Location, TokenRefusal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::token_service_api::{Service, router};
use crate::token_service_caller::Caller;
pub use crate::token_service_state::{TokenServiceError, TokenServiceOptions, TokenServiceState};

/// Pause after an accept that failed (descriptors exhausted), so that it is not tried in a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one caller, or anybody who reaches the port, may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenServiceLimits {
    /// Connections at once, those in their handshake included; further ones are closed when they come.
    pub connections_max: usize,
    /// Of these, from one IPv4 address, or from one /64 of IPv6.
    pub connections_per_source_max: usize,
    /// The TLS handshake must be over by then.
    pub handshake: Duration,
    /// A request's header must be complete by then, and a connection that idles as long is closed.
    pub header: Duration,
    /// A request's body must be complete by then.
    pub body: Duration,
    /// Even a busy connection ends then; a caller opens another.
    pub connection: Duration,
    /// Longest header of a request.
    pub header_bytes_max: usize,
    /// Longest body of a request.
    pub body_bytes_max: usize,
}

impl Default for TokenServiceLimits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            connections_per_source_max: 64,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            body: Duration::from_secs(10),
            connection: Duration::from_secs(600),
            header_bytes_max: 16 * 1024,
            body_bytes_max: 8 * 1024,
        }
    }
}

/// Counts what the service does; implemented over the process's metrics.
pub trait TokenMeter: Send + Sync + 'static {
    fn issued(&self, location: Location);
    fn refused(&self, reason: TokenRefusal);
}

/// A running service; dropping it closes the listener, and connections end with their request.
#[derive(Debug)]
pub struct TokenService {
    local_addr: SocketAddr,
    state: Arc<ArcSwap<TokenServiceState>>,
    draining: Arc<AtomicBool>,
    /// Counts generations; each connection ends gracefully when it moves on, so that nobody stays in by an old authority.
    generation: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl TokenService {
    /// Binds `listen` and serves on the current tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound: the operator's fault, or another process's.
    pub async fn start(
        listen: SocketAddr,
        state: TokenServiceState,
        meter: Arc<dyn TokenMeter>,
        limits: TokenServiceLimits,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let local_addr = listener.local_addr()?;
        let state = Arc::new(ArcSwap::from_pointee(state));
        let draining = Arc::new(AtomicBool::new(false));
        let (generation, moved_on) = watch::channel(0);
        let service = Service { state: Arc::clone(&state), draining: Arc::clone(&draining), meter, limits };
        let door = Door {
            router: router(service.clone()),
            service,
            moved_on,
            places: Places::new(limits.connections_max, limits.connections_per_source_max),
        };
        let accepting = tokio::spawn(door.accept(listener));
        Ok(Self { local_addr, state, draining, generation, accepting })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The settings in force, to make their [`successor`](TokenServiceState::successor) from.
    pub fn state(&self) -> Arc<TokenServiceState> {
        self.state.load_full()
    }

    /// New settings from the next request on; connections of the old ones end when their request is answered.
    pub fn publish(&self, state: TokenServiceState) {
        self.state.store(Arc::new(state));
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// From here on tokens come with the alternates' addresses instead of ours.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Who may come in, and what each connection is given.
#[derive(Clone)]
struct Door {
    router: Router,
    service: Service,
    moved_on: watch::Receiver<u64>,
    places: Arc<Places>,
}

impl Door {
    async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => self.admit(stream, remote),
                Err(failure) => {
                    tracing::debug!(%failure, "token service accepts no connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, remote: SocketAddr) {
        let place = match self.places.enter(remote.ip()) {
            Ok(place) => place,
            Err(cap) => return tracing::debug!(%remote, ?cap, "token service has as many connections as it takes"),
        };
        let door = self.clone();
        tokio::spawn(async move {
            // A generation that moves on while the handshake runs ends this connection too.
            let mut moved_on = door.moved_on.clone();
            moved_on.mark_unchanged();
            if let Some(stream) = door.handshake(stream, remote).await {
                let connection = timeout(door.service.limits.connection, door.serve(stream, remote, moved_on));
                // Whoever breaks the protocol or goes away is none of our business.
                let _ = connection.await;
            }
            drop(place);
        });
    }

    async fn handshake(&self, stream: TcpStream, remote: SocketAddr) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.service.state.load().tls());
        let failure = match timeout(self.service.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        tracing::debug!(%remote, %failure, "handshake with the token service failed");
        self.service.meter.refused(TokenRefusal::Handshake);
        None
    }

    async fn serve(&self, stream: TlsStream<TcpStream>, remote: SocketAddr, mut moved_on: watch::Receiver<u64>) {
        let limits = self.service.limits;
        let caller = Caller::of_connection(stream.get_ref().1, remote);
        let router = self.router.clone().layer(axum::Extension(Arc::new(caller)));
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_buf_size(limits.header_bytes_max);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            // Also when the service itself is dropped.
            _ = moved_on.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}
