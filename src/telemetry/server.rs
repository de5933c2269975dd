//! `/metrics`, `/healthz` and `/readyz`.

use std::convert::Infallible;
use std::net::SocketAddr;
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
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, warn};

use crate::health::Health;
use crate::labels::Label;
use crate::metrics::Metrics;
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

#[derive(Clone)]
struct Sources {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// Serves on `listener` for as long as the future lives; dropping it closes the listener, connections end with their
/// request. Must run inside a tokio runtime with time and I/O.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, health: Arc<Health>) -> Infallible {
    let router = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Sources { metrics, health });
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let failures = RepeatLimit::default();
    let started = Instant::now();

    loop {
        match listener.accept().await {
            Ok((stream, remote)) => admit(stream, remote, &connections, &router),
            Err(failure) => {
                if let Some(repeats) = failures.admit(started.elapsed().as_millis() as u64) {
                    warn!(%failure, %repeats, "telemetry listener accepts no connection");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(stream: TcpStream, remote: SocketAddr, connections: &Arc<Semaphore>, router: &Router) {
    let Ok(permit) = Arc::clone(connections).try_acquire_owned() else {
        tracing::debug!(%remote, "telemetry listener has {CONNECTIONS_MAX} connections already");
        return;
    };
    let service = TowerToHyperService::new(router.clone());
    tokio::spawn(async move {
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_BYTES_MAX);
        // A client that breaks the protocol or goes away is none of our business.
        let _ = timeout(CONNECTION_LIFETIME_MAX, builder.serve_connection(TokioIo::new(stream), service)).await;
        drop(permit);
    });
}

async fn scrape(State(sources): State<Sources>) -> Response {
    // Reads /proc: not on a thread that serves others.
    let rendered = tokio::task::spawn_blocking(move || sources.metrics.render()).await;
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
