//! `[sip]`, `[router]`, `[um]` and `[worker]` to the typed tree: defaults of their keys, and which lists a mode opens.

use std::net::{IpAddr, SocketAddr};

use crate::decode::{ADDRESSES_MAX, Listener, ListenerKind, NAMES_MAX, certified_pair, listen, secrets};
use crate::files::Files;
use crate::forms::{self, name_or_domain};
use crate::forms_call;
use crate::reader::{Notes, Table, Value};
use crate::tree::PortRange;
use crate::tree_call::{
    CallRecordsConfig, Codec, EdgeLocation, Peer, RecycleConfig, RouterConfig, RouterMode, SipConfig, SipIdentity,
    StartupMode, UmConfig, WorkerConfig, WorkerEdgeConfig,
};

/// Most edges of one worker: each is kept supplied with a token.
const EDGES_MAX: usize = 16;

/// What the tables of this file share while they are read.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a, 's> {
    pub(crate) notes: &'a Notes,
    pub(crate) files: &'a Files<'s>,
}

pub(crate) fn sip(table: Table<'_>, reading: Reading<'_, '_>) -> SipConfig {
    let sip = SipConfig {
        contact_secrets: table.or("contact_secrets", Vec::new(), |value| secrets(value, reading.files)),
        connections_max: table.or("connections_max", 4096, |v| v.integer(16..=65_536)),
        connections_per_source_max: table.or("connections_per_source_max", 256, |v| v.integer(1..=65_536)),
        message_bytes_max: table.or("message_bytes_max", 65_536, |v| v.integer(8192..=1_048_576)),
        session_expires_secs: table.or("session_expires_secs", 1800, |v| v.integer(90..=86_400)),
        diversions_max: table.or("diversions_max", 10, |v| v.integer(1..=50)),
    };
    table.close();
    sip
}

pub(crate) fn router(table: Table<'_>, reading: Reading<'_, '_>, listeners: &mut Vec<Listener>) -> RouterConfig {
    let startup_mode = startup_mode(&table);
    let router = RouterConfig {
        startup_mode,
        tcp: opened(&table, "tcp", startup_mode, reading.notes, listeners),
        tls: opened(&table, "tls", startup_mode, reading.notes, listeners),
        udp: opened(&table, "udp", startup_mode, reading.notes, listeners),
        identity: identity(&table, startup_mode, reading),
        um_services: table.or("um_services", Vec::new(), |value| value.list(NAMES_MAX, forms_call::sip_target)),
        mode: table.or("mode", RouterMode::Redirect, |value| match value.string()? {
            "redirect" => Some(RouterMode::Redirect),
            "proxy" => Some(RouterMode::Proxy),
            "single-hop" => Some(RouterMode::SingleHop),
            _ => value.error("is no mode", "write \"redirect\", \"proxy\" or \"single-hop\""),
        }),
        contacts: table.or("contacts", 4, |v| v.integer(1..=16)),
        // A dead service is to be out within 1 s, a hung one within 4 s: an interval until the question, the timeout, an
        // interval until somebody looks whether the answer is overdue.
        health_interval_ms: table.or("health_interval_ms", 500, |v| v.integer(100..=900)),
        health_timeout_ms: table.or("health_timeout_ms", 2000, |v| v.integer(200..=2000)),
        retry_after_secs: retry_after(&table),
        // The endpoint itself ends an INVITE that nobody answers after 600 s.
        timer_c_secs: table.or("timer_c_secs", 185, |v| v.integer(1..=599)),
        metrics: metrics(&table, 9642, listeners),
    };
    table.close();
    router
}

pub(crate) fn um(table: Table<'_>, reading: Reading<'_, '_>, listeners: &mut Vec<Listener>) -> UmConfig {
    let startup_mode = startup_mode(&table);
    let um = UmConfig {
        startup_mode,
        tcp: opened(&table, "tcp", startup_mode, reading.notes, listeners),
        tls: opened(&table, "tls", startup_mode, reading.notes, listeners),
        identity: identity(&table, startup_mode, reading),
        max_calls: table.or("max_calls", 100, |v| v.integer(1..=100_000)),
        outcalls_per_hour: table.or("outcalls_per_hour", 20, |v| v.integer(1..=1000)),
        routers: table.or("routers", Vec::new(), |value| peers(value, reading.notes)),
        runtime_directory: table
            .optional("runtime_directory", forms::path)
            .map_or_else(|| reading.files.resolve("run"), |path| reading.files.resolve(path)),
        retry_after_secs: retry_after(&table),
        recycle: recycle(table.section("recycle")),
        metrics: metrics(&table, 9643, listeners),
    };
    table.close();
    um
}

fn recycle(table: Table<'_>) -> RecycleConfig {
    let recycle = RecycleConfig {
        age_secs: table.or("age_secs", 604_800, |v| v.integer(0..=31_536_000)),
        memory_mib: table.or("memory_mib", 2048, |v| v.integer(0..=1_048_576)),
        new_binary: table.or("new_binary", true, Value::boolean),
        interval_secs_min: table.or("interval_secs_min", 60, |v| v.integer(0..=86_400)),
    };
    table.close();
    recycle
}

/// `routers_of_um` are those of `[um]`, in force unless the table names its own.
pub(crate) fn worker(
    table: Table<'_>,
    reading: Reading<'_, '_>,
    routers_of_um: &[Peer],
    listeners: &mut Vec<Listener>,
) -> WorkerConfig {
    let startup_mode = startup_mode(&table);
    let worker = WorkerConfig {
        startup_mode,
        addresses: table
            .required("addresses", "[\"10.20.0.20\"]", |value| value.list(ADDRESSES_MAX, forms_call::own_address))
            .unwrap_or_default(),
        slots: table.or("slots", [5065, 5067], |value| slots(value, startup_mode)),
        identity: identity(&table, startup_mode, reading),
        rtp_ports: table.or("rtp_ports", PortRange { first: 20000, last: 29999 }, forms_call::rtp_ports),
        rtp_rest_secs: table.or("rtp_rest_secs", 60, |v| v.integer(0..=3600)),
        routers: table.or("routers", routers_of_um.to_vec(), |value| peers(value, reading.notes)),
        edges: table.tables("edge", EDGES_MAX).into_iter().filter_map(|table| edge(table, reading)).collect(),
        codecs: table.or("codecs", vec![Codec::Pcmu, Codec::Pcma, Codec::G722], codecs),
        media_threads: table.or("media_threads", 0, |v| v.integer(0..=256)),
        media_timeout_secs: table.or("media_timeout_secs", 30, |v| v.integer(5..=3600)),
        ring_secs: table.or("ring_secs", 60, |v| v.integer(1..=180)),
        recent_calls: table.or("recent_calls", 500, |v| v.integer(0..=100_000)),
        recent_calls_mib: table.or("recent_calls_mib", 64, |v| v.integer(1..=4096)),
        records: records(table.section("records"), reading.files),
        metrics: table.or("metrics", [9644, 9645].map(on_loopback), two_addresses),
    };
    if worker.addresses.is_empty() && !reading.notes.faulty("worker.addresses") {
        reading.notes.error("worker.addresses", "is empty", "name the address that gateways send media to");
    }
    for slot in 0..worker.slots.len() {
        let ports = worker.ports(slot);
        for address in &worker.addresses {
            for (port, kind) in [(ports.tcp, ListenerKind::SlotTcp), (ports.tls, ListenerKind::SlotTls)] {
                let Some(port) = port else { continue };
                let address = SocketAddr::new(*address, port);
                listeners.push(Listener { key: format!("worker.slots[{slot}]"), address, kind });
            }
        }
        let (key, address) = (format!("worker.metrics[{slot}]"), worker.metrics[slot]);
        listeners.push(Listener { key, address, kind: ListenerKind::Metrics });
    }
    table.close();
    worker
}

fn startup_mode(table: &Table<'_>) -> StartupMode {
    table.or("startup_mode", StartupMode::Tcp, |value| match value.string()? {
        "tcp" => Some(StartupMode::Tcp),
        "tls" => Some(StartupMode::Tls),
        "dual" => Some(StartupMode::Dual),
        _ => value.error("is no startup mode", "write \"tcp\", \"tls\" or \"dual\""),
    })
}

/// The listener list `key`, empty when `mode` leaves it closed.
fn opened(
    table: &Table<'_>,
    key: &'static str,
    mode: StartupMode,
    notes: &Notes,
    listeners: &mut Vec<Listener>,
) -> Vec<SocketAddr> {
    let (kind, open, needed) = match key {
        "tls" => (ListenerKind::SipTls, mode.opens_tls(), mode.opens_tls()),
        "tcp" => (ListenerKind::SipTcp, mode.opens_tcp(), mode.opens_tcp()),
        _ => (ListenerKind::SipUdp, mode.opens_tcp(), false),
    };
    let mut named = Vec::new();
    let addresses = listen(table, key, kind, &mut named);
    let path = table.key(key);
    if notes.faulty(&table.key("startup_mode")) {
        return addresses;
    }
    if needed && addresses.is_empty() && !notes.faulty(&path) {
        let what = format!("is empty, and startup_mode opens {key}");
        notes.error(
            &path,
            what,
            format!("name an address with a port, or choose another {}", table.key("startup_mode")),
        );
    }
    if !open && !addresses.is_empty() {
        let what = format!("is not opened: startup_mode leaves {key} closed");
        notes.warn(&path, what, format!("take it out, or write startup_mode = \"dual\" in [{}]", table.path()));
        return Vec::new();
    }
    listeners.extend(named);
    addresses
}

/// `host`, `certificate`, `private_key` and `client_ca`: all of them when TLS is opened, or when one is written.
fn identity(table: &Table<'_>, mode: StartupMode, reading: Reading<'_, '_>) -> Option<SipIdentity> {
    let written = ["certificate", "private_key", "client_ca"].iter().any(|key| table.has(key));
    let host = table.optional("host", name_or_domain);
    let pair = certified_pair(table, reading.files, reading.notes);
    let client_ca = table.optional("client_ca", |value| reading.files.roots(value.path(), forms::path(value)?));
    if !mode.opens_tls() && !written {
        return None;
    }
    let why = if mode.opens_tls() { "startup_mode opens TLS" } else { "a certificate stands beside it" };
    // A half pair has been told already.
    let half = [table.key("certificate"), table.key("private_key")].iter().any(|key| reading.notes.faulty(key));
    for (key, example) in [
        ("host", "host = \"um.example.test\", a name of the certificate"),
        ("certificate", "certificate = \"um.pem\""),
        ("private_key", "private_key = \"um.key\""),
        ("client_ca", "client_ca = \"ca.pem\", which the other side's certificates lead to"),
    ] {
        if !table.has(key) && !half {
            reading.notes.error(&table.key(key), format!("is missing, and {why}"), format!("write {example}"));
        }
    }
    let (host, certificate, client_ca) = (host?, pair?, client_ca?);
    if !certificate.material.covers(&host) {
        let what = format!("{host} is not in {}", certificate.certificate.display());
        reading.notes.error(&table.key("host"), what, "write a name of the certificate, or have the name added to it");
    }
    Some(SipIdentity { host, certificate, client_ca })
}

fn retry_after(table: &Table<'_>) -> u32 {
    table.or("retry_after_secs", 2, |v| v.integer(1..=5))
}

fn on_loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn metrics(table: &Table<'_>, port: u16, listeners: &mut Vec<Listener>) -> SocketAddr {
    let address = table.or("metrics", on_loopback(port), forms::listen_address);
    listeners.push(Listener { key: table.key("metrics"), address, kind: ListenerKind::Metrics });
    address
}

fn two_addresses(value: &Value<'_>) -> Option<[SocketAddr; 2]> {
    let addresses = value.list(2, forms::listen_address)?;
    match addresses[..] {
        [a, b] => Some([a, b]),
        _ if value.faulty() => None,
        _ => value.error("is not two addresses", "write one for each slot"),
    }
}

fn slots(value: &Value<'_>, mode: StartupMode) -> Option<[u16; 2]> {
    let last = if mode == StartupMode::Dual { 65_534 } else { 65_535 };
    let ports = value.list(2, |element| element.integer(1..=last))?;
    match ports[..] {
        [a, b] => Some([a as u16, b as u16]),
        _ if value.faulty() => None,
        _ => value.error("is not two ports", "write one for each slot: slots = [5065, 5067]"),
    }
}

fn peers(value: &Value<'_>, notes: &Notes) -> Option<Vec<Peer>> {
    value.list(NAMES_MAX, |element| forms_call::peer(element, notes))
}

fn codecs(value: &Value<'_>) -> Option<Vec<Codec>> {
    let codecs = value.list(8, |element| match element.string()?.to_ascii_uppercase().as_str() {
        "PCMU" => Some(Codec::Pcmu),
        "PCMA" => Some(Codec::Pcma),
        "G722" => Some(Codec::G722),
        _ => element.error("is no codec known here", "choose from \"PCMU\", \"PCMA\" and \"G722\""),
    })?;
    if let Some((at, codec)) = crate::decode::repeated(codecs.iter().copied()).first() {
        return value.error(format!("has {codec:?} again at position {at}"), "take one out");
    }
    if codecs.is_empty() && !value.faulty() {
        return value.error("is empty", "name at least \"PCMU\": gateways have it");
    }
    Some(codecs)
}

fn edge(table: Table<'_>, reading: Reading<'_, '_>) -> Option<WorkerEdgeConfig> {
    let service = table.required("tokens", "\"https://10.20.0.10:8443\"", forms_call::https);
    for (key, example) in [("certificate", "\"worker.pem\""), ("private_key", "\"worker.key\"")] {
        if !table.has(key) {
            let remedy = format!("write {key} = {example}: the service knows its callers by their certificates");
            reading.notes.error(&table.key(key), "is missing", remedy);
        }
    }
    let certificate = certified_pair(&table, reading.files, reading.notes);
    let ca = table.required("ca", "\"ca.pem\"", |value| reading.files.roots(value.path(), forms::path(value)?));
    let location = table.or("location", EdgeLocation::Intranet, |value| match value.string()? {
        "intranet" => Some(EdgeLocation::Intranet),
        "internet" => Some(EdgeLocation::Internet),
        _ => value.error("is no location", "write \"intranet\" or \"internet\""),
    });
    let token_lifetime_secs = table.or("token_lifetime_secs", 28_800, |v| v.integer(60..=86_400));
    table.close();
    let (host, port) = service?;
    Some(WorkerEdgeConfig { host, port, certificate: certificate?, ca: ca?, location, token_lifetime_secs })
}

fn records(table: Table<'_>, files: &Files<'_>) -> CallRecordsConfig {
    let file = |key| {
        table
            .optional(key, |value| {
                let path = forms::path(value)?;
                if path.is_empty() { Some(None) } else { files.output(value.path(), path).map(Some) }
            })
            .flatten()
    };
    let records = CallRecordsConfig { json: file("json"), csv: file("csv") };
    table.close();
    records
}

/// Addresses of workers, for rules that compare them.
pub(crate) fn addresses_of(worker: Option<&WorkerConfig>) -> impl Iterator<Item = (usize, IpAddr)> + '_ {
    worker.into_iter().flat_map(|worker| worker.addresses.iter().copied().enumerate())
}
