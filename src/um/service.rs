//! The UM service as a process: bound in order, all or nothing; its loop; reloaded, and ended.

use std::convert::Infallible;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use postern_config::{Config, Fingerprint, Loaded, Role};
use postern_net::system::{self, Clock};
use postern_sip::{Endpoint, Event};
use postern_slots::{Action, Cause, Slot, Slots};
use postern_telemetry::labels::{ReloadResult, State};
use postern_telemetry::{Health, Heartbeat, Metrics, Readiness, UmCells, service_manager};
use postern_transport::{Listening, Transport, TransportOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use crate::desk::Desk;
use crate::error::UmError;
use crate::generation::{self, section};
use crate::keeper::{Keepers, News, Order};
use crate::launch::Launch;
use crate::limits::{BEAT_INTERVAL, WATCH_INTERVAL};
use crate::meters::{self, Meters};
use crate::outcalls::{Asked, Home, Knowledge, Outcalls};
use crate::place::{self, Place};
use crate::stop::Stop;

/// Where the configuration came from, for reloads.
#[derive(Clone, Debug)]
pub enum Origin {
    /// SIGHUP and changed certificates load this file again.
    File(PathBuf),
    /// Made by the program itself: there is nothing to load again.
    Embedded,
}

/// A running UM service.
struct Service {
    origin: Origin,
    config: Config,
    transport: Transport,
    endpoint: Endpoint,
    desk: Desk,
    slots: Slots,
    keepers: Keepers,
    /// Where outgoing calls are asked for.
    outcalls: Outcalls,
    home: Home,
    meters: Meters,
    readiness: Readiness,
    heartbeat: Option<Heartbeat>,
    clock: Clock,
    binary: Binary,
    stopping: bool,
    /// Ends with the service.
    telemetry: JoinSet<Infallible>,
    /// Held for as long as the service runs.
    _lock: File,
}

/// The workers' program, watched.
struct Binary {
    running: Fingerprint,
    /// As last looked at: one that is still being written is not the one to start.
    seen: Fingerprint,
}

impl Binary {
    fn new(program: &Path) -> Self {
        let running = Fingerprint::of([program]);
        Self { seen: running.clone(), running }
    }

    /// Whether another program lies there since the last look but one.
    fn is_replaced(&mut self) -> bool {
        let now = self.running.refreshed();
        let is_settled = self.seen.changed(&now).is_empty();
        self.seen = now;
        let is_replaced = is_settled && !self.running.changed(&self.seen).is_empty();
        if is_replaced {
            self.running = self.seen.clone();
        }
        is_replaced
    }
}

/// Starts a UM service, says when it is `ready`, and serves until `stops` tell it to end, or all who could are gone,
/// which is [`Stop::AtOnce`]. Workers are started by `launch`, or adopted. Needs a tokio runtime with time and I/O.
///
/// # Errors
/// See [`UmError`]: only starting can fail, a refused reload does not.
pub async fn run(
    loaded: Loaded,
    origin: Origin,
    launch: Launch,
    mut stops: mpsc::Receiver<Stop>,
    ready: impl FnOnce(&Listening),
) -> Result<(), UmError> {
    let mut hangup = signal(SignalKind::hangup())?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut service = Service::start(loaded.config, origin, &launch).await?;
    ready(&service.transport.listening());
    service_manager::ready();
    let mut watch = interval(WATCH_INTERVAL);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beat = interval(BEAT_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_told = false;
    loop {
        service.settle();
        if service.slots.is_over() {
            break;
        }
        tokio::select! {
            () = service.transport.drive(&mut service.endpoint) => service.answer_all(),
            Some((slot, news)) = service.keepers.news.recv() => service.on_news(slot, news),
            () = until(service.slots.next_timeout()) => service.slots.handle_timeout(Instant::now()),
            asked = service.home.asked() => service.on_asked(asked),
            _ = beat.tick() => service.beat(),
            _ = watch.tick(), if !service.stopping => service.watch(&launch),
            _ = hangup.recv(), if !service.stopping => service.on_hangup(),
            stop = stops.recv(), if !is_told => {
                let stop = stop.unwrap_or(Stop::AtOnce);
                // Nothing more can be told after that; a closed channel would be read again and again.
                is_told = stop != Stop::Drain;
                if stop == Stop::LeaveWorkers {
                    tracing::info!("ends, and leaves its workers to the next UM service");
                    break;
                }
                service.stop(stop);
            }
        }
    }
    service_manager::stopping();
    service.end().await;
    Ok(())
}

impl Service {
    async fn start(config: Config, origin: Origin, launch: &Launch) -> Result<Self, UmError> {
        let um = section(&config)?;
        let own_addresses = system::own_addresses()?;
        system::raise_descriptor_limit()?;
        let lock = place::take(&um.runtime_directory).await?;
        let clock = Clock::new();
        let readiness = Readiness::default();
        let health = Arc::new(Health::new(1, readiness.clone(), move || clock.read().mono_nanos / 1_000_000));
        let metrics = Arc::new(Metrics::<UmCells>::new(1, Arc::clone(&health))?);
        let address = um.metrics;
        let listener =
            tokio::net::TcpListener::bind(address).await.map_err(|error| UmError::Metrics { address, error })?;
        let cells = metrics.control();
        let counted = Arc::clone(&cells);
        let desk = generation::desk(&config, &own_addresses)?;
        let slots = Slots::new(generation::supervision(&config)?, Instant::now());
        let endpoint = Endpoint::new(generation::endpoint(&config, um), system::random()?);
        let transport = Transport::bind(TransportOptions {
            listening: generation::listening(um),
            tls: um.identity.as_ref().map(generation::tls_identity),
            on_report: Arc::new(move |report| meters::on_report(&counted, &report)),
            ..TransportOptions::default()
        })?;
        // Last of all: from here on there are processes.
        let places = Slot::BOTH.map(|slot| Place::of(&um.runtime_directory, slot));
        let keepers = Keepers::start(places, launch);
        let (outcalls, home) = Home::new();
        let heartbeat = health.heartbeat(0);
        let mut telemetry = JoinSet::new();
        telemetry.spawn(postern_telemetry::serve(listener, metrics, health));
        let service = Self {
            origin,
            transport,
            endpoint,
            desk,
            slots,
            keepers,
            outcalls,
            home,
            meters: Meters::new(cells),
            readiness,
            heartbeat,
            clock,
            binary: Binary::new(&launch.program),
            stopping: false,
            telemetry,
            _lock: lock,
            config,
        };
        service.note_certificate();
        Ok(service)
    }

    /// Carries out what supervision asks for, and tells what happened.
    fn settle(&mut self) {
        while let Some(event) = self.slots.poll_event() {
            self.meters.on_event(&event);
        }
        while let Some(action) = self.slots.poll_action() {
            match action {
                Action::Start { slot, generation } => self.keepers.order(slot, Order::Start { generation }),
                Action::Send { slot, message } => self.keepers.order(slot, Order::Say(message)),
                Action::Terminate { slot } => self.keepers.order(slot, Order::Terminate),
                Action::Kill { slot } => self.keepers.order(slot, Order::Kill),
            }
        }
        self.home.tell(&mut self.slots);
        self.readiness.set(match self.slots.active() {
            _ if self.stopping => State::Draining,
            Some(_) => State::Ready,
            None => State::Starting,
        });
    }

    fn on_asked(&mut self, asked: Asked) {
        let per_hour = self.config.um.as_ref().map_or(0, |um| um.outcalls_per_hour);
        let knowledge = Knowledge { slots: &mut self.slots, rules: &self.desk.rules, per_hour };
        self.home.answer(asked, knowledge);
    }

    fn answer_all(&mut self) {
        let unix_secs = self.clock.read().unix_secs;
        while let Some(event) = self.endpoint.poll_event() {
            // Every request is answered at once: nothing is left to be cancelled, and we ask nobody anything.
            let Event::Request { tx, request, source } = event else { continue };
            let began = Instant::now();
            let answer = self.desk.answer(&request, &source, &mut self.slots, began, unix_secs);
            if let Some(mut response) = self.endpoint.response(tx, answer.status) {
                for (name, value) in &answer.headers {
                    response.headers.push(name.clone(), value);
                }
                self.endpoint.send_response(tx, response, began);
            }
            self.meters.on_answer(&request, &source, &answer, began.elapsed());
        }
    }

    fn on_news(&mut self, slot: Slot, news: News) {
        let now = Instant::now();
        match news {
            News::Nobody => self.slots.handle_nobody(slot, now),
            News::Connected => self.slots.handle_connected(slot, now),
            News::Said(message) => self.slots.handle_message(slot, message, now),
            News::Disconnected => self.slots.handle_disconnected(slot, now),
            News::Unusable(why) => {
                tracing::error!(%slot, %why, "a worker cannot be understood");
                self.slots.handle_unusable(slot, now);
            }
            News::Ended(how) => {
                tracing::info!(%slot, %how, "a worker's process is gone");
                self.slots.handle_ended(slot, now);
            }
        }
    }

    fn beat(&mut self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat(self.clock.read().mono_nanos / 1_000_000);
        }
        let calls_max = self.config.um.as_ref().map_or(0, |um| um.max_calls);
        self.meters.read(&self.slots, calls_max);
        self.meters.read_endpoint(&self.endpoint);
    }

    /// Files that became others: workers read them when they start.
    fn watch(&mut self, launch: &Launch) {
        let recycle = section(&self.config).is_ok_and(|um| um.recycle.new_binary);
        if self.binary.is_replaced() && recycle {
            tracing::info!(program = %launch.program.display(), "the program was replaced");
            self.slots.recycle(Cause::Binary, Instant::now());
        }
        let is_changed = !self.config.fingerprint.changed(&self.config.fingerprint.refreshed()).is_empty();
        if is_changed
            && let Some(changed) = self.reload()
            && changed.iter().any(|key| is_for_workers(key))
        {
            self.slots.recycle(Cause::Certificate, Instant::now());
        }
    }

    fn on_hangup(&mut self) {
        // Without a file there is nothing to load, but fresh workers may be wanted all the same.
        if matches!(self.origin, Origin::Embedded) || self.reload().is_some() {
            self.slots.recycle(Cause::Asked, Instant::now());
        }
    }

    /// The keys that changed. None: there is no file, or it was refused and everything is as before; workers would not start
    /// under such a configuration.
    fn reload(&mut self) -> Option<Vec<&'static str>> {
        let Origin::File(path) = self.origin.clone() else { return None };
        service_manager::reloading();
        let outcome = self.try_reload(&path);
        match &outcome {
            Ok(changed) => tracing::info!(changed = %changed.join(", "), "configuration reloaded"),
            Err(error) => {
                // A file that stays as it is now is not tried again.
                self.config.fingerprint = self.config.fingerprint.refreshed();
                for line in error.to_string().lines() {
                    tracing::error!("reload refused, the old configuration stays: {line}");
                }
            }
        }
        let result = if outcome.is_ok() { ReloadResult::Applied } else { ReloadResult::Refused };
        self.meters.cells.reloads.add(result, 1);
        service_manager::ready();
        outcome.ok()
    }

    fn try_reload(&mut self, path: &Path) -> Result<Vec<&'static str>, UmError> {
        let own_addresses = system::own_addresses()?;
        let loaded = postern_config::load_role(path, &own_addresses, Role::Um).map_err(UmError::Configuration)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let difference = postern_config::diff(&self.config, &loaded.config);
        let restart = difference.restart_only_of(Role::Um);
        if !restart.is_empty() {
            return Err(UmError::RestartOnly(restart));
        }
        let desk = generation::desk(&loaded.config, &own_addresses)?;
        let supervision = generation::supervision(&loaded.config)?;
        let um = section(&loaded.config)?;
        let endpoint = generation::endpoint(&loaded.config, um);
        if let Some(identity) = &um.identity {
            self.transport.set_tls(&generation::tls_identity(identity))?;
        }
        self.desk = desk;
        self.endpoint.set_options(endpoint);
        self.slots.set_options(supervision, Instant::now());
        self.config = loaded.config;
        self.note_certificate();
        Ok(difference.changed)
    }

    fn note_certificate(&self) {
        if let Some(identity) = self.config.um.as_ref().and_then(|um| um.identity.as_ref()) {
            let expiry = identity.certificate.material.not_after_unix_secs;
            self.meters.cells.certificate_expiry.set((), u64::try_from(expiry).unwrap_or(0));
        }
    }

    fn stop(&mut self, stop: Stop) {
        self.stopping = true;
        self.meters.on_stop();
        service_manager::stopping();
        let calls = self.slots.calls(Slot::A) + self.slots.calls(Slot::B);
        let now = Instant::now();
        if stop == Stop::Drain {
            tracing::info!(calls, "draining: no more calls, workers end with their last ones");
            self.slots.stop(now);
        } else {
            tracing::info!(calls, "ends its workers now");
            self.slots.stop_at_once(now);
        }
    }

    async fn end(mut self) {
        self.readiness.set(State::Draining);
        self.telemetry.shutdown().await;
        self.transport.close(&mut self.endpoint).await;
    }
}

/// Whether workers may read this key; those of roles that happen to be in the same file they do not.
fn is_for_workers(key: &str) -> bool {
    !["edge.", "router."].iter().any(|table| key.starts_with(table))
}

/// Waits until then, for ever without a time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
