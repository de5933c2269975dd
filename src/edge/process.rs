//! The edge as a process: everything started in order, all or nothing; a new generation published the same way.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use postern_config::{Config, Fingerprint, Role};
use postern_net::Reactor;
use postern_net::listener::{HalfOpen, ListenerLimits};
use postern_net::system::{self, Clock, DescriptorShares};
use postern_telemetry::labels::{CertificateRole, ReloadResult, State};
use postern_telemetry::{EdgeCells, Health, Metrics, Readiness};
use postern_turn::Server;
use postern_turn::broker::{Broker, PoolOptions};
use postern_turn::live_ports::LivePorts;
use postern_turn::options::Options;
use rustls::ServerConfig;

use crate::accept;
use crate::descriptors::DescriptorBudget;
use crate::door::Door;
use crate::error::EdgeError;
use crate::generation;
use crate::limits;
use crate::listener;
use crate::listeners::{Kind, Listeners, Opened, Published, StreamService};
use crate::meters::Meters;
use crate::quality::ClockRates;
use crate::records::RecordSink;
use crate::shard::{Birth, Shard};
use crate::shared::{ShardGeneration, ShardHandle, Shared, ToShard};
use crate::startup_checks;
use crate::tokens::Tokens;

/// Where the configuration came from, for reloads.
#[derive(Clone, Debug)]
pub enum Origin {
    /// SIGHUP and changed certificates load this file again.
    File(PathBuf),
    /// Made by the program itself: there is nothing to load again.
    Embedded,
}

/// What is open, for whoever wants to print it.
#[derive(Clone, Debug, Default)]
pub struct Listening {
    pub udp: Vec<SocketAddr>,
    pub dtls: Vec<SocketAddr>,
    pub tcp: Vec<SocketAddr>,
    pub tls: Vec<SocketAddr>,
    pub tokens: Option<SocketAddr>,
    pub telemetry: Option<SocketAddr>,
    /// Relay sockets and client connections that the descriptor limit allows together, the reserve taken off.
    pub descriptors_max: u64,
}

/// A running edge. Dropping it without [`end`](Self::end) leaves its shards running.
pub(crate) struct Edge {
    origin: Origin,
    pub(crate) config: Config,
    own_addresses: Vec<IpAddr>,
    pub(crate) shared: Arc<Shared>,
    live: LivePorts,
    listeners: Listeners,
    service: StreamService,
    tls: Arc<ArcSwapOption<ServerConfig>>,
    threads: Vec<JoinHandle<()>>,
    control: Arc<EdgeCells>,
    readiness: Readiness,
    tokens: Option<Tokens>,
    watched: Fingerprint,
    generation: u64,
    /// Where shards say that they have taken the last generation, and how many have not.
    untaken: (mpsc::Receiver<()>, usize),
    clock: Clock,
    descriptors_max: u64,
}

impl Edge {
    /// Binds everything, starts the shards, opens the doors. Nothing stays open when it fails.
    ///
    /// # Errors
    /// See [`EdgeError`]; each names its remedy.
    pub(crate) async fn start(config: Config, origin: Origin) -> Result<Self, EdgeError> {
        let watched = config.fingerprint.clone();
        let own_addresses = system::own_addresses()?;
        let (soft, _) = system::raise_descriptor_limit()?;
        let DescriptorShares { half_open: half_open_max, allocations: descriptors_max } = DescriptorShares::of(soft);
        let edge = &config.edge;
        let cores = system::cores();
        let shards = if edge.shards == 0 { cores.len().max(1) } else { usize::from(edge.shards) };

        let clock = Clock::new();
        let readiness = Readiness::default();
        let health = Arc::new(Health::new(shards, readiness.clone(), move || clock.read().mono_nanos / 1_000_000));
        let metrics = Arc::new(Metrics::new(shards, Arc::clone(&health))?);
        let telemetry = tokio::net::TcpListener::bind(config.telemetry.listen)
            .await
            .map_err(|error| EdgeError::Listen(format!("telemetry.listen {}: {error}", config.telemetry.listen)))?;

        let pool = PoolOptions {
            addresses: edge.relay.addresses.clone(),
            ports: edge.relay.ports.first..=edge.relay.ports.last,
        };
        let broker = Broker::new(pool, system::random()?);
        let live = broker.live_ports();
        let options = Arc::new(generation::options(&config, &own_addresses, live.clone())?);
        let records = match &edge.records.file {
            Some(path) => RecordSink::file(path).map_err(EdgeError::Records)?,
            None => RecordSink::log(),
        };
        let control = metrics.control();
        let budget = DescriptorBudget::new(descriptors_max);
        let shared = Arc::new(Shared::new(broker, budget, records, Arc::clone(&control)));

        let listeners = Listeners::default();
        check_dtls(&config)?;
        let prepared = listeners.prepare(edge, shards)?;
        startup_checks::warn(&config, &prepared, &control, descriptors_max);
        let tls = Arc::new(ArcSwapOption::from(tls_config(&config)?));
        let tokens = Tokens::start(&config, &control).await?;
        let service = stream_service(&config, half_open_max as usize, &shared, &tls, &control);
        let mut running = Self {
            origin,
            own_addresses,
            shared,
            live,
            listeners,
            service,
            tls,
            threads: Vec::new(),
            control,
            readiness,
            tokens,
            watched,
            generation: 0,
            untaken: (mpsc::channel().1, 0),
            clock,
            descriptors_max,
            config,
        };
        running.start_shards(&cores, shards, &options, &metrics, &health)?;
        running.publish(prepared.open()?, options);
        if let Some(shards) = running.await_shards() {
            return Err(stuck(shards));
        }
        tokio::spawn(postern_telemetry::serve(telemetry, metrics, health));
        running.readiness.set(State::Ready);
        Ok(running)
    }

    fn start_shards(
        &mut self,
        cores: &[usize],
        shards: usize,
        options: &Arc<Options>,
        metrics: &Metrics,
        health: &Health,
    ) -> Result<(), EdgeError> {
        let common = postern_turn::options::Shared::new(system::random()?);
        common.strangers.set_answers_per_sec(self.config.edge.limits.unauthenticated_answers_per_sec);
        let media = Arc::new(ClockRates::new(self.config.edge.media.clock_rates.clone()));
        let mut handles = Vec::new();
        let mut newborn = Vec::new();
        for index in 0..shards {
            let (Some(cells), Some(heartbeat)) = (metrics.shard(index), health.heartbeat(index)) else { continue };
            let (sender, inbox) = sync_channel(limits::INBOX_MAX);
            let (generation_sender, generations) = sync_channel(1);
            let reactor = Reactor::new()?;
            let streams_gauge = Arc::new(AtomicU64::new(0));
            handles.push(ShardHandle {
                inbox: sender,
                generations: generation_sender,
                waker: reactor.waker(),
                streams: Arc::clone(&streams_gauge),
            });
            newborn.push(Birth {
                index,
                server: Server::new(Arc::clone(options), system::random()?, common.for_shard(index as u8)),
                reactor,
                shared: Arc::clone(&self.shared),
                meters: Meters::new(cells, heartbeat),
                media: Arc::clone(&media),
                relay_buffer_bytes: self.config.edge.sockets.relay_bytes as usize,
                inbox,
                generations,
                streams_gauge,
                clock: self.clock,
            });
        }
        self.shared.publish_shards(handles);
        for birth in newborn {
            let core = cores.get(birth.index % cores.len().max(1)).copied();
            let name = format!("shard-{}", birth.index);
            self.threads.push(std::thread::Builder::new().name(name).spawn(move || live(birth, core))?);
        }
        Ok(())
    }

    /// Loads the file again and applies it whole, or keeps everything as it is and says why.
    pub(crate) fn reload(&mut self) {
        let Origin::File(path) = self.origin.clone() else { return };
        // Looked at before the files are read: what changes meanwhile asks for another reload.
        let seen = self.watched.refreshed();
        self.shared.records.reopen();
        let outcome = self.try_reload(&path);
        let applied = outcome.is_ok();
        self.watched = if applied { self.config.fingerprint.clone() } else { seen };
        let result = if applied { ReloadResult::Applied } else { ReloadResult::Refused };
        self.control.reloads.add(result, 1);
        self.control.last_reload_successful.set((), u64::from(applied));
        self.control.last_reload.set((), self.clock.read().unix_secs);
        match outcome {
            Ok(changed) => {
                tracing::info!(generation = self.generation, changed = %changed.join(", "), "configuration reloaded")
            }
            Err(error) => {
                for line in error.to_string().lines() {
                    tracing::error!(
                        generation = self.generation,
                        "reload refused, the old configuration stays: {line}"
                    );
                }
            }
        }
    }

    /// All that can fail comes first, then all that cannot.
    fn try_reload(&mut self, path: &Path) -> Result<Vec<&'static str>, EdgeError> {
        if let Some(shards) = self.await_shards() {
            return Err(stuck(shards));
        }
        let own_addresses = system::own_addresses()?;
        let loaded = postern_config::load_role(path, &own_addresses, Role::Edge).map_err(EdgeError::Configuration)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let difference = postern_config::diff(&self.config, &loaded.config);
        let restart = difference.restart_only_of(Role::Edge);
        if !restart.is_empty() {
            return Err(EdgeError::RestartOnly(restart));
        }
        let options = generation::options(&loaded.config, &own_addresses, self.live.clone())?;
        let tls = tls_config(&loaded.config)?;
        check_dtls(&loaded.config)?;
        let tokens = self.tokens.as_ref().map(|tokens| tokens.prepare(&loaded.config)).transpose()?.flatten();
        let opened = self.listeners.prepare(&loaded.config.edge, self.threads.len())?.open()?;

        self.config = loaded.config;
        self.own_addresses = own_addresses;
        self.tls.store(tls);
        if let (Some(running), Some(prepared)) = (&self.tokens, tokens) {
            running.publish(prepared);
        }
        self.publish(opened, Arc::new(options));
        if let Some(shards) = self.await_shards() {
            tracing::error!("{}; they take it once they go on", stuck(shards));
        }
        Ok(difference.changed)
    }

    /// Serves the opened listeners and gives every shard its part of the new generation. Every shard must have taken the one
    /// before.
    fn publish(&mut self, opened: Opened, options: Arc<Options>) {
        let material = self.config.edge.certificate.as_ref().map(|pair| Arc::clone(&pair.material));
        let Published { added, changes } = self.listeners.publish(opened, self.threads.len(), &self.service);
        let media = Arc::new(ClockRates::new(self.config.edge.media.clock_rates.clone()));
        let (taken, acknowledgements) = mpsc::channel();
        for (shard, added) in self.shared.shards().iter().zip(added) {
            shard.publish(ShardGeneration {
                options: Arc::clone(&options),
                media: Arc::clone(&media),
                certificate: material.clone(),
                added,
                changes: changes.clone(),
                taken: taken.clone(),
            });
        }
        self.untaken = (acknowledgements, self.threads.len());
        self.generation += 1;
        self.control.configuration_generation.set((), self.generation);
        self.publish_certificates();
    }

    /// Waits until every shard has taken the last generation; answers how many have not in time.
    fn await_shards(&mut self) -> Option<usize> {
        let deadline = Instant::now() + limits::RELOAD_WAIT;
        let (acknowledgements, missing) = &mut self.untaken;
        while *missing > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::task::block_in_place(|| acknowledgements.recv_timeout(left)) {
                Ok(()) => *missing -= 1,
                Err(_) => return Some(*missing),
            }
        }
        None
    }

    fn publish_certificates(&self) {
        let expiry =
            |material: &postern_config::CertifiedKeyMaterial| u64::try_from(material.not_after_unix_secs).unwrap_or(0);
        if let Some(pair) = &self.config.edge.certificate {
            self.control.certificate_expiry.set(CertificateRole::Edge, expiry(&pair.material));
        }
        if let Some(tokens) = &self.config.edge.tokens {
            self.control.certificate_expiry.set(CertificateRole::Tokens, expiry(&tokens.certificate.material));
        }
    }

    /// A certificate, key or secret behind the configuration became another file.
    pub(crate) fn files_changed(&self) -> bool {
        matches!(self.origin, Origin::File(_)) && !self.watched.changed(&self.watched.refreshed()).is_empty()
    }

    /// Housekeeping of what no shard owns; about once a second.
    pub(crate) fn tick(&mut self) {
        let now_nanos = self.clock.read().mono_nanos;
        let expired = self.shared.broker().handle_timeout(now_nanos);
        for reservation in expired {
            drop(self.shared.take_reserved(reservation.port.lease));
        }
        let shared = Arc::clone(&self.shared);
        for index in self.listeners.closing(|listener| shared.clients(listener)) {
            let told = |shard: &ShardHandle| shard.send(ToShard::CloseListener(index)).is_ok();
            // A full inbox is told at the next tick; being told twice does no harm.
            if shared.shards().iter().all(told) {
                self.listeners.closed(index);
            }
        }
        self.control.streams_half_open.set((), self.service.half_open.count() as u64);
        self.shared.publish_ports();
    }

    /// From here on new clients go elsewhere.
    pub(crate) fn drain(&self) {
        self.readiness.set(State::Draining);
        if let Some(tokens) = &self.tokens {
            tokens.drain();
        }
        self.drain_shards();
    }

    /// Again each second while draining: an inbox may have been full.
    pub(crate) fn drain_shards(&self) {
        for shard in self.shared.shards() {
            let _ = shard.send(ToShard::Drain);
        }
    }

    /// Ends every allocation with its record and waits for the shards, a second at most.
    pub(crate) async fn end(self) {
        let mut untold: Vec<&ShardHandle> = self.shared.shards().iter().collect();
        for _ in 0..100 {
            // A full inbox is told once it has room.
            untold.retain(|shard| shard.send(ToShard::End).is_err());
            if self.threads.iter().all(JoinHandle::is_finished) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.shared.records.close();
    }

    pub(crate) fn listening(&self) -> Listening {
        let mut listening = Listening {
            tokens: self.tokens.as_ref().map(Tokens::local_addr),
            telemetry: Some(self.config.telemetry.listen),
            descriptors_max: self.descriptors_max,
            ..Listening::default()
        };
        for (kind, address) in self.listeners.open() {
            match kind {
                Kind::Udp => listening.udp.push(address),
                Kind::Dtls => listening.dtls.push(address),
                Kind::Tcp => listening.tcp.push(address),
                Kind::Tls => listening.tls.push(address),
            }
        }
        listening
    }
}

/// A shard's whole life. Its failure is the process's: half an edge would be worse than a restart.
fn live(birth: Birth, core: Option<usize>) {
    let index = birth.index;
    if let Some(core) = core
        && let Err(error) = system::pin_thread(core)
    {
        tracing::warn!(shard = index, core, %error, "a shard could not be pinned to its core");
    }
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Shard::new(birth).run()));
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(shard = index, %error, "a shard cannot go on; the process ends");
            std::process::exit(70);
        }
        // The panic hook has said why.
        Err(_) => std::process::exit(70),
    }
}

fn stream_service(
    config: &Config,
    half_open_max: usize,
    shared: &Arc<Shared>,
    tls: &Arc<ArcSwapOption<ServerConfig>>,
    control: &Arc<EdgeCells>,
) -> StreamService {
    let half_open = HalfOpen::new(ListenerLimits {
        first_message: limits::UNAUTHENTICATED_STREAM,
        half_open_max,
        half_open_per_source_max: config.edge.limits.handshakes_per_source as usize,
    });
    let (shared, tls, door) = (Arc::clone(shared), Arc::clone(tls), Arc::new(Door::new(Arc::clone(control))));
    let events = Arc::clone(&door);
    StreamService {
        tls: Arc::new(move || tls.load_full()),
        half_open,
        on_accepted: Arc::new(move |accepted| {
            door.on_accepted(&accepted);
            if let Err(why) = accept::hand_over(&shared, accepted) {
                door.on_turned_away(why);
            }
        }),
        on_event: Arc::new(move |event| events.on_event(&event)),
    }
}

fn tls_config(config: &Config) -> Result<Option<Arc<ServerConfig>>, EdgeError> {
    let pair = config.edge.certificate.as_ref();
    Ok(pair.map(|pair| generation::tls_config(&pair.material)).transpose()?)
}

/// Whether DTLS can use the certificate, before a shard needs to.
fn check_dtls(config: &Config) -> Result<(), EdgeError> {
    match &config.edge.certificate {
        Some(pair) if !config.edge.dtls.is_empty() => match listener::dtls_sessions(&pair.material) {
            Ok(_) => Ok(()),
            Err(error) => Err(EdgeError::Listen(format!("edge.dtls: {error}; use a certificate with an ECDSA key"))),
        },
        _ => Ok(()),
    }
}

fn stuck(shards: usize) -> EdgeError {
    EdgeError::Stuck { shards, seconds: limits::RELOAD_WAIT.as_secs() }
}
