//! The router as a process: bound in order, all or nothing; reloaded, and ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_config::{Config, Loaded, Role};
use postern_net::system::{self, Clock};
use postern_sip::Proxy;
use postern_sip::UserAgent;
use postern_telemetry::call_labels::SipTransport;
use postern_telemetry::labels::{ReloadResult, State};
use postern_telemetry::{Health, Heartbeat, Metrics, Readiness, RouterCells, service_manager};
use postern_transport::{Listening, Report, Transport, TransportOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::error::RouterError;
use crate::generation::{self, Generation, section};
use crate::health::{self, News, Wanted};
use crate::limits::{BEAT_INTERVAL, WATCH_INTERVAL};
use crate::serve::Serving;
use crate::services::Services;

/// Where the configuration came from, for reloads.
#[derive(Clone, Debug)]
pub enum Origin {
    /// SIGHUP and changed certificates load this file again.
    File(PathBuf),
    /// Made by the program itself: there is nothing to load again.
    Embedded,
}

/// A running router.
struct Router {
    origin: Origin,
    config: Config,
    serving: Serving,
    wanted: watch::Sender<Wanted>,
    news: mpsc::Receiver<News>,
    readiness: Readiness,
    heartbeat: Option<Heartbeat>,
    clock: Clock,
}

/// Starts a router, says when it is `ready`, and serves until `stop` is done. Needs a tokio runtime with time and I/O.
///
/// # Errors
/// See [`RouterError`]: only starting can fail, a refused reload does not.
pub async fn run(
    loaded: Loaded,
    origin: Origin,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(&Listening),
) -> Result<(), RouterError> {
    let mut hangup = signal(SignalKind::hangup())?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut router = Router::start(loaded.config, origin).await?;
    ready(&router.serving.transport.listening());
    service_manager::ready();
    let mut watch = interval(WATCH_INTERVAL);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beat = interval(BEAT_INTERVAL);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = router.serving.turn() => {}
            Some(news) = router.news.recv() => router.serving.on_news(news),
            _ = beat.tick() => router.beat(),
            _ = hangup.recv() => router.reload(),
            _ = watch.tick() => {
                if !router.config.fingerprint.changed(&router.config.fingerprint.refreshed()).is_empty() {
                    router.reload();
                }
            }
            () = &mut stop => break,
        }
    }
    service_manager::stopping();
    router.readiness.set(State::Draining);
    let Serving { transport, mut proxy, .. } = router.serving;
    transport.close(&mut proxy).await;
    Ok(())
}

impl Router {
    async fn start(config: Config, origin: Origin) -> Result<Self, RouterError> {
        let section = section(&config)?;
        let own_addresses = system::own_addresses()?;
        system::raise_descriptor_limit()?;
        let clock = Clock::new();
        let readiness = Readiness::default();
        let health = Arc::new(Health::new(1, readiness.clone(), move || clock.read().mono_nanos / 1_000_000));
        let metrics = Arc::new(Metrics::<RouterCells>::new(1, Arc::clone(&health))?);
        let address = section.metrics;
        let listener =
            tokio::net::TcpListener::bind(address).await.map_err(|error| RouterError::Metrics { address, error })?;
        let cells = metrics.control();
        let counted = Arc::clone(&cells);

        let generation = Generation::new(&config, &own_addresses)?;
        let tls = section.identity.as_ref().map(generation::tls_identity);
        let transport = Transport::bind(TransportOptions {
            listening: generation::listening(section),
            tls: tls.clone(),
            on_report: Arc::new(move |report| on_report(&counted, &report)),
            ..TransportOptions::default()
        })?;
        let proxy = Proxy::new(generation::proxy_options(&config, &own_addresses)?, system::random()?);
        let agent = UserAgent::new(generation::asking_options(&config, &own_addresses)?, system::random()?);
        let asking = Transport::bind(TransportOptions { tls: tls.clone(), ..TransportOptions::default() })?;
        let (tell, news) = mpsc::channel(generation.um_services.len().max(16));
        let wanted = Wanted { targets: generation.um_services.clone(), times: generation.health, tls };
        let (wanted, asked) = watch::channel(wanted);
        let services = Services::new(&generation.um_services);
        let serving = Serving { transport, proxy, generation, services, cells };
        let router = Self { origin, serving, wanted, news, readiness, heartbeat: health.heartbeat(0), clock, config };
        router.serving.count_services();
        router.note_certificate();
        tokio::spawn(health::ask(asking, agent, asked, tell));
        tokio::spawn(postern_telemetry::serve(listener, metrics, health));
        router.readiness.set(State::Ready);
        Ok(router)
    }

    fn beat(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat(self.clock.read().mono_nanos / 1_000_000);
        }
        self.serving.count_wire();
    }

    fn reload(&mut self) {
        let Origin::File(path) = self.origin.clone() else { return };
        service_manager::reloading();
        let result = match self.try_reload(&path) {
            Ok(changed) if changed.is_empty() => {
                tracing::info!("reloaded: nothing changed");
                ReloadResult::Applied
            }
            Ok(changed) => {
                tracing::info!(changed = changed.join(", "), "reloaded");
                ReloadResult::Applied
            }
            Err(error) => {
                tracing::error!("the configuration stays as it was: {error}");
                // A file that stays as it is now is not tried again.
                self.config.fingerprint = self.config.fingerprint.refreshed();
                ReloadResult::Refused
            }
        };
        self.serving.cells.reloads.add(result, 1);
        service_manager::ready();
    }

    /// All or nothing.
    fn try_reload(&mut self, path: &Path) -> Result<Vec<&'static str>, RouterError> {
        let own_addresses = system::own_addresses()?;
        let loaded =
            postern_config::load_role(path, &own_addresses, Role::Router).map_err(RouterError::Configuration)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let diff = postern_config::diff(&self.config, &loaded.config);
        let restart = diff.restart_only_of(Role::Router);
        if !restart.is_empty() {
            return Err(RouterError::RestartOnly(restart));
        }
        let generation = Generation::new(&loaded.config, &own_addresses)?;
        let tls = section(&loaded.config)?.identity.as_ref().map(generation::tls_identity);
        if let Some(identity) = &tls {
            self.serving.transport.set_tls(identity)?;
        }
        self.serving.services.set_targets(&generation.um_services);
        let wanted = Wanted { targets: generation.um_services.clone(), times: generation.health, tls };
        self.serving.generation = generation;
        self.wanted.send_replace(wanted);
        self.serving.count_services();
        self.config = loaded.config;
        self.note_certificate();
        Ok(diff.changed)
    }

    fn note_certificate(&self) {
        let identity = self.config.router.as_ref().and_then(|router| router.identity.as_ref());
        if let Some(identity) = identity {
            let expiry = identity.certificate.material.not_after_unix_secs;
            self.serving.cells.certificate_expiry.set((), expiry.max(0) as u64);
        }
    }
}

/// Done when SIGTERM or SIGINT comes.
///
/// # Errors
/// When the system gives no handler for signals.
pub fn stop_by_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// What happens below SIP: counted where it is a refusal, and logged.
fn on_report(cells: &RouterCells, report: &Report) {
    if let Some(label) = report.refused().and_then(|protocol| SipTransport::named(protocol.param())) {
        cells.connections_refused.add(label, 1);
    }
    match report {
        Report::Accepted { .. } | Report::ConnectFailed { .. } => tracing::debug!("{report}"),
        _ => tracing::info!("{report}"),
    }
}
