//! `/metrics`, `/healthz` and `/readyz`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, warn};

use crate::cell_set::CellSet;
use crate::health::Health;
use crate::labels::Label;
use crate::metrics::{Metrics, MetricsError};
use crate::repeat::RepeatLimit;

/// Connections served at once; further ones are closed when they come.
pub const CONNECTIONS_MAX: usize = 32;
/// A request's header must be complete by then, and a connection that idles as long is closed.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Even a busy connection ends then; a scraper opens another.
const CONNECTION_LIFETIME_MAX: Duration = Duration::from_secs(600);
/// Longest request header in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Pause after an accept that failed (descriptors exhausted), so that it is not tried in a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Render = dyn Fn() -> Result<String, MetricsError> + Send + Sync;

#[derive(Clone)]
struct Sources {
    render: Arc<Render>,
    health: Arc<Health>,
}

/// Serves on `listener` for as long as the future lives; dropping it closes the listener and its connections. Must run
/// inside a tokio runtime with time and I/O.
pub async fn serve<C: CellSet>(listener: TcpListener, metrics: Arc<Metrics<C>>, health: Arc<Health>) -> Infallible {
    let render = Arc::new(move || metrics.render());
    serve_within(listener, Sources { render, health }, CONNECTIONS_MAX, HEADER_TIMEOUT).await
}

async fn serve_within(
    listener: TcpListener,
    sources: Sources,
    connections_max: usize,
    header_timeout: Duration,
) -> Infallible {
    let router = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(sources);
    let mut connections = JoinSet::new();
    let failures = RepeatLimit::default();
    let started = Instant::now();

    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((_, remote)) if connections.len() >= connections_max => {
                debug!(%remote, "the telemetry listener has {connections_max} connections already");
            }
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, router.clone(), header_timeout));
            }
            Err(failure) => {
                if let Some(repeats) = failures.admit(started.elapsed().as_millis() as u64) {
                    warn!(%failure, %repeats, "the telemetry listener accepts no connection");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, header_timeout: Duration) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(HEADER_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that breaks the protocol or goes away is its own business.
    let _ = timeout(CONNECTION_LIFETIME_MAX, connection).await;
}

async fn scrape(State(sources): State<Sources>) -> Response {
    // Reads /proc: not on a thread that serves others.
    let rendered = spawn_blocking(move || (sources.render)()).await;
    match rendered {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Ok(Err(failure)) => {
            error!(%failure, "a scrape failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn healthz(State(sources): State<Sources>) -> Response {
    let body = format!("{} of {} shards turn\n", sources.health.turning(), sources.health.shards());
    (status(sources.health.is_healthy()), body).into_response()
}

async fn readyz(State(sources): State<Sources>) -> Response {
    let state = sources.health.state();
    let body = format!("{}\n", crate::labels::State::VALUES[state.index()]);
    (status(sources.health.is_ready()), body).into_response()
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::health::Readiness;
    use crate::labels::State;

    struct Running {
        address: std::net::SocketAddr,
        health: Arc<Health>,
        readiness: Readiness,
        server: tokio::task::JoinHandle<Infallible>,
    }

    async fn start(connections_max: usize, header_timeout: Duration) -> Running {
        let readiness = Readiness::default();
        let health = Arc::new(Health::new(1, readiness.clone(), || 5000));
        let metrics: Metrics = Metrics::new(1, Arc::clone(&health)).expect("metrics of ours register");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback");
        let address = listener.local_addr().expect("an address");
        let sources = Sources { render: Arc::new(move || metrics.render()), health: Arc::clone(&health) };
        let server = tokio::spawn(serve_within(listener, sources, connections_max, header_timeout));
        Running { address, health, readiness, server }
    }

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    #[tokio::test]
    async fn a_scrape_is_prometheus_text() {
        let running = start(4, HEADER_TIMEOUT).await;
        let answer = ask(running.address, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4\r\n"), "{answer}");
        assert!(answer.contains("\n# TYPE postern_edge_requests_total counter\n"));
        assert!(ask(running.address, "/").await.starts_with("HTTP/1.1 404 "));
    }

    #[tokio::test]
    async fn healthz_follows_the_shards_and_readyz_the_state() {
        let running = start(4, HEADER_TIMEOUT).await;
        let status = async |path: &str| {
            let answer = ask(running.address, path).await;
            answer.split(' ').nth(1).map(str::to_owned).expect("a status")
        };
        assert_eq!(status("/healthz").await, "503");
        assert_eq!(status("/readyz").await, "503");
        running.health.heartbeat(0).expect("one shard").beat(4500);
        running.readiness.set(State::Ready);
        assert_eq!(status("/healthz").await, "200");
        assert_eq!(status("/readyz").await, "200");
        running.readiness.set(State::Draining);
        assert_eq!(status("/healthz").await, "200");
        assert_eq!(status("/readyz").await, "503");
    }

    #[tokio::test]
    async fn a_header_that_never_ends_is_cut_off() {
        let running = start(4, Duration::from_millis(100)).await;
        for request in ["", "GET /metrics HTTP/1.1\r\nHost: e"] {
            let mut stream = TcpStream::connect(running.address).await.expect("a connection");
            stream.write_all(request.as_bytes()).await.expect("half a request");
            let mut answer = Vec::new();
            let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
            assert!(ended.is_ok(), "{request:?} still holds its connection");
        }
    }

    #[tokio::test]
    async fn a_header_longer_than_the_limit_is_refused() {
        let running = start(4, HEADER_TIMEOUT).await;
        let answer = ask(running.address, &format!("/{}", "x".repeat(HEADER_BYTES_MAX))).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_too_many_is_closed_and_those_before_it_are_served() {
        let running = start(2, HEADER_TIMEOUT).await;
        let mut first = TcpStream::connect(running.address).await.expect("a connection");
        let _second = TcpStream::connect(running.address).await.expect("a connection");
        let mut third = TcpStream::connect(running.address).await.expect("a connection");
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(5), third.read_to_end(&mut answer)).await;
        assert!(ended.is_ok() && answer.is_empty());

        first.write_all(b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n").await.expect("a request");
        let mut start = [0; 12];
        first.read_exact(&mut start).await.expect("an answer");
        assert_eq!(&start, b"HTTP/1.1 503");
        drop(first);
        assert!(ask_until_served(running.address).await.starts_with("HTTP/1.0 200 "));
    }

    /// The server learns of a closed connection a moment later.
    async fn ask_until_served(address: std::net::SocketAddr) -> String {
        for _ in 0..1000 {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let _ = stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await;
            let mut answer = String::new();
            if stream.read_to_string(&mut answer).await.is_ok() && !answer.is_empty() {
                return answer;
            }
        }
        String::new()
    }

    #[tokio::test]
    async fn ending_the_server_ends_its_connections() {
        let running = start(4, HEADER_TIMEOUT).await;
        let mut stream = TcpStream::connect(running.address).await.expect("a connection");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n").await.expect("a request");
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.expect("an answer");
        running.server.abort();
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok());
    }
}
