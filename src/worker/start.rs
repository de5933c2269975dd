//! Starting a worker from its configuration: the one place where configuration types become those of the cores.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postern_config::{
    Config, DialPlanConfig, GatewayConfig, GatewayStatus, KeyMapSource, MailboxConfig, RecordingsLocation, SipIdentity,
    SipTransport, StoreLocation, WorkerConfig,
};
use postern_dialplan::Security;
use postern_mailbox::{KeyMap, Options, PinPolicy, Quota};
use postern_media::dtls::DtlsIdentity;
use postern_sip::UserAgent;
use postern_sip::digest::Credentials;
use postern_sip::host::Host;
use postern_sip::offer_answer_capabilities::Codec;
use postern_sip::options::EndpointOptions;
use postern_sip::session_timer::TimerOptions;
use postern_sip::user_agent_options::UserAgentOptions;
use postern_slots::{Contacts, NamedPort};
use postern_store::{OpenError, PinKey, Recovered, SqliteStore};
use postern_telemetry::call_labels;
use postern_telemetry::labels::State;
use postern_telemetry::{MetricsError, WorkerCells};
use postern_transport::{ClientCertificates, Listening, TlsIdentity, Transport, TransportError, TransportOptions};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::edges::Edges;
use crate::limits;
use crate::media::Media;
use crate::meters::{self, Meters};
use crate::monitor::Monitor;
use crate::ports::PortPool;
use crate::prompts::Prompts;
use crate::records::RecordSink;
use crate::shared::{PlanSettings, Shared};
use crate::signalling::{Duty, Signalling};
use crate::slot::{Desk, Seat, SeatError};
use crate::story::Stories;
use crate::trunks::{Trunk, Trunks};

/// Why a worker does not start; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the configuration has no [{0}]; the worker needs it")]
    Missing(&'static str),
    #[error(transparent)]
    Rules(#[from] postern_dialplan::RulesError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("mailbox.key_map: {0}")]
    KeyMap(String),
    #[error("mailbox.prompts: {0}")]
    Prompts(String),
    #[error("[[worker.edge]]: {0}")]
    Edges(String),
    #[error("no media thread: {0}")]
    Media(std::io::Error),
    #[error("no certificate for DTLS can be made: {0}")]
    Dtls(String),
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Seat(#[from] SeatError),
    #[error("worker.metrics: {address}: {error}; another process has it, or the address is not ours")]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error("[worker.records]: {0}")]
    Records(std::io::Error),
}

/// A worker at work.
pub struct Worker {
    /// What it is to do; it leaves when this is dropped.
    pub duty: watch::Sender<Duty>,
    /// How many calls it has.
    pub load: watch::Receiver<usize>,
    /// Ends when it has left.
    pub task: JoinHandle<()>,
    pub listening: Listening,
    /// What was recovered of earlier workers' recordings.
    pub recovered: Recovered,
    pub store: Arc<SqliteStore>,
    /// What it counts, but for its media threads.
    pub cells: Arc<WorkerCells>,
    /// What happened in recent calls.
    pub stories: Arc<Stories>,
    shared: Arc<Shared>,
    /// Serves metrics and health for as long as the worker is kept.
    _telemetry: JoinSet<Infallible>,
}

impl Worker {
    /// Opens the files of call records anew, so that they can be rotated by renaming them.
    pub fn reopen_records(&self) {
        self.shared.records.reopen();
    }
}

/// Starts the worker of a slot (0 is A) that stands alone: store opened, ports bound, prompts loaded. When this returns
/// it takes calls.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(config: &Config, slot: usize) -> Result<Worker, StartError> {
    start_in(config, slot, None).await
}

/// As [`start`], for a UM service that asks at the socket of `seat`, whose lock is held.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start_in(config: &Config, slot: usize, seat: Option<Seat>) -> Result<Worker, StartError> {
    let worker = config.worker.as_ref().ok_or(StartError::Missing("worker"))?;
    let mailbox = config.mailbox.as_ref().ok_or(StartError::Missing("mailbox"))?;
    let mut options = store_options(mailbox)?;
    options.sends_letters = config.mail.is_some();
    let (store, recovered) = SqliteStore::open(options).await?;
    let store = Arc::new(store);
    let threads = Media::count(worker.media_threads as usize);
    let monitor = Monitor::new(threads)?;
    let cells = monitor.cells();
    let counted = Arc::clone(&cells);
    let address = worker.metrics[slot];
    let telemetry = monitor.serve(address).await.map_err(|error| StartError::Listen { address, error })?;
    let listening = listening(worker, slot);
    let transport = Transport::bind(TransportOptions {
        listening: listening.clone(),
        tls: worker.identity.as_ref().map(tls_identity),
        on_report: Arc::new(move |report| meters::on_report(&counted, &report)),
        ..TransportOptions::default()
    })?;
    let bound: Vec<SocketAddr> = listening.tcp.iter().chain(&listening.tls).copied().collect();
    let rules = Arc::new(config.call_rules(&worker.routers, &bound, worker.identity.as_ref())?);
    let shared = Arc::new(Shared {
        media: Media::start_counting(threads, |number| monitor.thread(number)).map_err(StartError::Media)?,
        ports: PortPool::new(
            worker.rtp_ports.first,
            worker.rtp_ports.last,
            Duration::from_secs(worker.rtp_rest_secs.into()),
        ),
        addresses: worker.addresses.clone(),
        store: store.clone(),
        prompts: Prompts::load(mailbox.prompts.as_deref()).map_err(|error| StartError::Prompts(error.to_string()))?,
        identity: Arc::new(dtls_identity()?),
        codecs: worker.codecs.iter().map(|codec| sip_codec(*codec)).collect(),
        edges: Edges::start_counting(&worker.edges, Arc::clone(&cells))
            .map_err(|error| StartError::Edges(error.to_string()))?,
        unix_origin: (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        media_timeout: Duration::from_secs(worker.media_timeout_secs.into()),
        ring_time: Duration::from_secs(worker.ring_secs.into()),
        plans: plans(config, mailbox)?,
        meters: Meters::new(Arc::clone(&cells)),
        records: RecordSink::start(&worker.records, Arc::clone(&cells)).map_err(StartError::Records)?,
        stories: Arc::new(Stories::new(worker.recent_calls, worker.recent_calls_mib)),
        server: server_name(worker),
        slot: ["a", "b"].get(slot).copied(),
    });
    note_start(&cells, worker, slot, seat.as_ref().map_or(1, |seat| seat.generation), &recovered);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let (duty, duties) = watch::channel(Duty::Serving);
    let (load, loads) = watch::channel(0);
    let desk = match seat {
        Some(seat) => {
            let writable = probe_store(Arc::clone(&store));
            Some(Desk::open(seat, contacts(worker, &listening), duty.clone(), writable)?)
        }
        None => None,
    };
    let signalling = Signalling {
        transport,
        agent: UserAgent::new(agent_options(config, worker, slot), seed),
        rules,
        seals: config.seals(),
        trunks: Trunks::new(trunks(config)),
        shared: Arc::clone(&shared),
        monitor,
        calls_max: config.um.as_ref().map_or(usize::MAX, |um| um.max_calls as usize),
        duty: duties,
        load,
        desk,
    };
    signalling.monitor.set_state(State::Ready);
    let task = tokio::spawn(signalling.run());
    Ok(Worker {
        duty,
        load: loads,
        task,
        listening,
        recovered,
        store,
        cells,
        stories: Arc::clone(&shared.stories),
        shared,
        _telemetry: telemetry,
    })
}

/// Who we are in records.
fn server_name(worker: &WorkerConfig) -> String {
    match (&worker.identity, worker.addresses.first()) {
        (Some(identity), _) => identity.host.clone(),
        (None, Some(address)) => address.to_string(),
        (None, None) => String::new(),
    }
}

/// Sets the gauges that stay as they are.
fn note_start(cells: &WorkerCells, worker: &WorkerConfig, slot: usize, generation: u64, recovered: &Recovered) {
    if let Some(label) = call_labels::Slot::ALL.get(slot) {
        cells.generation.set(*label, generation);
    }
    if let Some(identity) = &worker.identity {
        let expiry = identity.certificate.material.not_after_unix_secs;
        cells.certificate_expiry.set((), u64::try_from(expiry).unwrap_or(0));
    }
    cells.recordings_recovered.add((), recovered.messages.len() as u64);
}

/// The store of a configuration.
///
/// # Errors
/// The key of the PINs cannot be read or made, or is gone.
pub fn store_options(mailbox: &MailboxConfig) -> Result<postern_store::Options, OpenError> {
    let StoreLocation::Sqlite(database) = &mailbox.store;
    let RecordingsLocation::Directory(recordings) = &mailbox.recordings;
    Ok(postern_store::Options::new(database, recordings, PinKey::of_store(&mailbox.pin_key_file, database)?))
}

/// What a PIN of a mailbox must be.
pub fn pin_policy(mailbox: &MailboxConfig) -> PinPolicy {
    let pin = &mailbox.pin;
    PinPolicy {
        length_min: pin.length_min as usize,
        lifetime: (pin.lifetime_days > 0).then(|| Duration::from_secs(u64::from(pin.lifetime_days) * 86_400)),
        history: pin.history,
        allow_common_patterns: pin.common_patterns,
        attempts_max: pin.attempts_max,
    }
}

fn listening(worker: &WorkerConfig, slot: usize) -> Listening {
    let ports = worker.ports(slot);
    let on = |port: Option<u16>| -> Vec<SocketAddr> {
        port.map_or_else(Vec::new, |port| worker.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    };
    Listening { tcp: on(ports.tcp), tls: on(ports.tls), udp: Vec::new() }
}

/// Where others reach a worker.
fn contacts(worker: &WorkerConfig, listening: &Listening) -> Contacts {
    let named = worker.identity.as_ref().zip(listening.tls.first());
    Contacts {
        tcp: listening.tcp.clone(),
        tls: named.map(|(identity, address)| NamedPort { host: identity.host.clone(), port: address.port() }),
    }
}

/// Looks again and again whether the store can be written to, until nobody wants to know.
fn probe_store(store: Arc<SqliteStore>) -> watch::Receiver<bool> {
    let (tell, writable) = watch::channel(true);
    tokio::spawn(async move {
        loop {
            let probed = tokio::time::timeout(limits::PROBE_STORE_TIME, store.probe()).await;
            let why = match probed {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("it does not answer".into()),
            };
            tell.send_if_modified(|was| {
                let changed = *was != why.is_none();
                match &why {
                    Some(why) if changed => tracing::error!(why, "the store cannot be written to; calls go elsewhere"),
                    None if changed => tracing::info!("the store can be written to again"),
                    _ => {}
                }
                *was = why.is_none();
                changed
            });
            tokio::select! {
                () = tokio::time::sleep(limits::PROBE_STORE) => {}
                () = tell.closed() => return,
            }
        }
    });
    writable
}

fn tls_identity(identity: &SipIdentity) -> TlsIdentity {
    let pem = identity.pem();
    TlsIdentity {
        certificate: pem.certificate,
        private_key: pem.private_key.to_vec(),
        ca: pem.ca,
        client_certificates: ClientCertificates::Required,
    }
}

fn agent_options(config: &Config, worker: &WorkerConfig, slot: usize) -> UserAgentOptions {
    let ports = worker.ports(slot);
    UserAgentOptions {
        endpoint: EndpointOptions {
            host: worker.identity.as_ref().and_then(|identity| Host::parse(&identity.host)),
            tcp_port: ports.tcp,
            tls_port: ports.tls,
            message_bytes_max: config.sip.message_bytes_max as usize,
            connections_max: config.sip.connections_max as usize,
            connections_per_source_max: config.sip.connections_per_source_max as usize,
            ..EndpointOptions::default()
        },
        addresses: worker.addresses.clone(),
        timer: TimerOptions {
            session_expires_secs: Some(config.sip.session_expires_secs),
            ..UserAgentOptions::default().timer
        },
        ..UserAgentOptions::default()
    }
}

/// A certificate of this process's own: what vouches for it is its fingerprint in the signalling.
fn dtls_identity() -> Result<DtlsIdentity, StartError> {
    let because = |error: &dyn std::fmt::Display| StartError::Dtls(error.to_string());
    let certified = rcgen::generate_simple_self_signed(["postern".to_owned()]).map_err(|error| because(&error))?;
    DtlsIdentity::new(certified.cert.der().to_vec(), &certified.signing_key.serialize_der())
        .map_err(|error| because(&error))
}

fn sip_codec(codec: postern_config::Codec) -> Codec {
    match codec {
        postern_config::Codec::Pcmu => Codec::Pcmu,
        postern_config::Codec::Pcma => Codec::Pcma,
        postern_config::Codec::G722 => Codec::G722,
    }
}

fn plans(config: &Config, mailbox: &MailboxConfig) -> Result<HashMap<String, Arc<PlanSettings>>, StartError> {
    let keys = Arc::new(key_map(&mailbox.key_map)?);
    let settings = |plan: &DialPlanConfig| PlanSettings {
        options: Arc::new(options(plan, mailbox, Arc::clone(&keys))),
        security: match plan.security {
            postern_config::Security::Unsecured => Security::Unsecured,
            postern_config::Security::SipSecured => Security::SipSecured,
            postern_config::Security::Secured => Security::Secured,
        },
    };
    Ok(config.dial_plans.iter().map(|plan| (plan.name.clone(), Arc::new(settings(plan)))).collect())
}

/// The gateways that calls may leave by.
fn trunks(config: &Config) -> Vec<Trunk> {
    let trunk = |gateway: &GatewayConfig| {
        let target = gateway.target.as_ref().filter(|_| gateway.outcalls)?;
        Some(Trunk {
            label: gateway.peer.to_string(),
            uri: target.uri()?,
            secured: target.transport == SipTransport::Tls,
            symmetric: gateway.symmetric_rtp,
            credentials: gateway
                .credentials
                .as_ref()
                .and_then(|login| Credentials::new(&login.username, login.password.expose()))
                .map(Arc::new),
        })
    };
    config.gateways.iter().filter(|gateway| gateway.status == GatewayStatus::Enabled).filter_map(trunk).collect()
}

fn key_map(source: &KeyMapSource) -> Result<KeyMap, StartError> {
    match source {
        KeyMapSource::BuiltIn(name) => {
            KeyMap::preset(name).ok_or_else(|| StartError::KeyMap(format!("there is none called {name}")))
        }
        KeyMapSource::File(path) => {
            let because = |error: &dyn std::fmt::Display| StartError::KeyMap(format!("{}: {error}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| because(&error))?;
            KeyMap::parse(&text).map_err(|error| because(&error))
        }
    }
}

fn options(plan: &DialPlanConfig, mailbox: &MailboxConfig, keys: Arc<KeyMap>) -> Options {
    let secs = |secs: u32| Duration::from_secs(secs.into());
    Options {
        call_max: plan.longest_call(),
        message_max: secs(plan.recording_secs_max),
        greeting_max: secs(mailbox.greeting_secs_max),
        silence: secs(plan.recording_idle_secs),
        input_failures_max: plan.input_failures_max,
        logon_failures_max: plan.logon_failures_max,
        pin: pin_policy(mailbox),
        deposits_max: mailbox.deposits_max,
        quota: Quota { messages: mailbox.quota_messages, audio_secs: mailbox.quota_minutes.saturating_mul(60) },
        keys,
        language: plan.language.clone(),
        operator: operator(&plan.operator),
        ..Options::default()
    }
}

/// As a mailbox has its own: what has a host is a SIP URI.
fn operator(target: &str) -> Option<String> {
    match target {
        "" => None,
        user_and_host if user_and_host.contains('@') => Some(format!("sip:{user_and_host}")),
        number => Some(number.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use postern_config::{Source, load_source};

    use super::*;

    /// What calls of the plan "office" are held to.
    fn office(text: &str) -> Arc<Options> {
        let source = Source::text("worker.toml", text, std::path::Path::new("/etc/postern"));
        let loaded = load_source(&source, &[]).unwrap();
        let mailbox = loaded.config.mailbox.as_ref().unwrap();
        Arc::clone(&plans(&loaded.config, mailbox).unwrap()["office"].options)
    }

    #[test]
    fn what_a_mailbox_may_hold_is_as_configured() {
        let options = office("[mailbox]\ndeposits_max = 7\nquota_messages = 8\n[[dial_plan]]\nname = \"office\"\n");
        assert_eq!((options.deposits_max, options.quota.messages), (7, 8));
    }

    #[test]
    fn an_operator_of_the_plan_is_a_number_or_a_uri() {
        let of = |operator: &str| {
            office(&format!("[mailbox]\n[[dial_plan]]\nname = \"office\"\noperator = \"{operator}\"\n"))
                .operator
                .clone()
        };
        assert_eq!(of(""), None);
        assert_eq!(of("0").as_deref(), Some("0"));
        assert_eq!(of("reception@example.test").as_deref(), Some("sip:reception@example.test"));
    }
}
