//! The document to the typed tree, one function per table: the defaults of every key are here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::decode_call::{self, Reading};
use crate::decode_mail::{self, GATEWAYS_MAX, PLANS_MAX};
use crate::decode_owner;
use crate::files::Files;
use crate::forms::{self, log_directives, name_or_domain, network, port_range};
use crate::reader::{Notes, Table, Value};
use crate::tree::{
    Alternate, AuthConfig, CertifiedPair, DrainConfig, EdgeConfig, LimitsConfig, LogFormat, MediaConfig,
    NatDiscoveryConfig, PortRange, RecordsConfig, RelayConfig, Roles, Secret, SocketsConfig, TelemetryConfig,
    TokensConfig,
};
use crate::tree_call::{
    DialPlanConfig, GatewayConfig, HuntGroupConfig, MailboxConfig, RouterConfig, SipConfig, UmConfig, WorkerConfig,
};
use crate::tree_owner::{MailConfig, WebConfig};
use crate::uri::RelayUri;

/// Most listeners of one kind, and most relay addresses.
pub(crate) const ADDRESSES_MAX: usize = 64;
/// Most networks in a peer list.
const NETWORKS_MAX: usize = 1024;
/// Most secrets: every one is tried for every request.
const SECRETS_MAX: usize = 8;
/// Most names, URIs and alternates in a list.
pub(crate) const NAMES_MAX: usize = 256;

/// The tree as far as it could be read: faulty values hold their defaults, and rules across keys are still to come.
pub(crate) struct Draft {
    pub(crate) roles: Roles,
    pub(crate) edge: EdgeConfig,
    pub(crate) sip: SipConfig,
    pub(crate) router: Option<RouterConfig>,
    pub(crate) um: Option<UmConfig>,
    pub(crate) worker: Option<WorkerConfig>,
    pub(crate) mailbox: Option<MailboxConfig>,
    pub(crate) gateways: Vec<Placed<GatewayConfig>>,
    pub(crate) dial_plans: Vec<Placed<DialPlanConfig>>,
    pub(crate) hunt_groups: Vec<Placed<HuntGroupConfig>>,
    pub(crate) web: Option<WebConfig>,
    pub(crate) mail: Option<MailConfig>,
    pub(crate) telemetry: TelemetryConfig,
    /// Every socket that would be opened at a known port, whether or not its table is complete.
    pub(crate) listeners: Vec<Listener>,
    /// `edge.tokens.internet` and `.intranet` as written, with the key of each.
    pub(crate) relay_uris: Vec<(String, RelayUri)>,
    /// Whether `internet` and `intranet` follow from the listeners.
    pub(crate) derived: Derived,
    pub(crate) nat_discovery: Option<(IpAddr, u16)>,
}

/// An entry of a list of tables, with its place in the file: faulty ones before it are left out of the list.
pub(crate) struct Placed<T> {
    /// Dotted path, `gateway[0]`.
    pub(crate) key: String,
    pub(crate) value: T,
}

/// Which lists of relays the file leaves to us.
#[derive(Clone, Copy, Default)]
pub(crate) struct Derived {
    pub(crate) internet: bool,
    pub(crate) intranet: bool,
}

/// A socket of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) key: String,
    pub(crate) address: SocketAddr,
    pub(crate) kind: ListenerKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    Udp,
    Tcp,
    Tls,
    Dtls,
    Tokens,
    Telemetry,
    NatDiscovery,
    SipTcp,
    SipTls,
    SipUdp,
    /// SIP of a worker slot.
    SlotTcp,
    SlotTls,
    /// Metrics of a role other than the edge.
    Metrics,
    Web,
}

impl ListenerKind {
    /// Whether STUN and TURN clients come here.
    pub(crate) fn serves_clients(self) -> bool {
        matches!(self, Self::Udp | Self::Tcp | Self::Tls | Self::Dtls)
    }

    /// Whether the edge itself answers here.
    pub(crate) fn is_of_the_edge(self) -> bool {
        self.serves_clients() || matches!(self, Self::Tokens | Self::Telemetry | Self::NatDiscovery)
    }

    /// Whether it is one of many that follow from the worker's addresses.
    pub(crate) fn is_of_a_slot(self) -> bool {
        matches!(self, Self::SlotTcp | Self::SlotTls)
    }

    pub(crate) fn is_udp(self) -> bool {
        matches!(self, Self::Udp | Self::Dtls | Self::NatDiscovery | Self::SipUdp)
    }
}

pub(crate) fn decode(root: Table<'_>, notes: &Notes, files: &Files<'_>) -> Draft {
    let mut listeners = Vec::new();
    let mut relay_uris = Vec::new();
    let mut derived = Derived::default();
    let mut nat_discovery = None;
    let edge = {
        let table = root.role("edge");
        let edge = EdgeConfig {
            realm: table.required("realm", "\"example.test\"", forms::realm).unwrap_or_default(),
            udp: listen(&table, "udp", ListenerKind::Udp, &mut listeners),
            tcp: listen(&table, "tcp", ListenerKind::Tcp, &mut listeners),
            tls: listen(&table, "tls", ListenerKind::Tls, &mut listeners),
            dtls: listen(&table, "dtls", ListenerKind::Dtls, &mut listeners),
            certificate: certified_pair(&table, files, notes),
            shards: table.or("shards", 0, |value| value.integer(0..=256)) as u16,
            advertise: table.or("advertise", BTreeMap::new(), advertise),
            mobility: table.or("mobility", false, Value::boolean),
            relay: relay(table.section("relay"), notes),
            auth: auth(table.section("auth"), notes, files),
            tokens: table
                .optional_section("tokens")
                .and_then(|table| tokens(table, notes, files, &mut listeners, &mut relay_uris, &mut derived)),
            drain: drain(table.section("drain")),
            nat_discovery: table.optional_section("nat_discovery").and_then(|table| {
                nat_discovery = alternates(&table);
                table.close();
                let (alternate_address, alternate_port) = nat_discovery?;
                let primary = listeners
                    .iter()
                    .find(|l| l.kind == ListenerKind::Udp && l.address.is_ipv4() == alternate_address.is_ipv4())?
                    .address;
                Some(NatDiscoveryConfig { primary, alternate_address, alternate_port })
            }),
            limits: limits(table.section("limits"), notes),
            sockets: sockets(table.section("sockets")),
            media: media(table.section("media")),
            records: records(table.section("records"), files),
        };
        table.close();
        edge
    };
    let reading = Reading { notes, files };
    let roles =
        Roles { edge: root.has("edge"), router: root.has("router"), um: root.has("um"), worker: root.has("worker") };
    let sip = decode_call::sip(root.section("sip"), reading);
    let router = root.optional_section("router").map(|table| decode_call::router(table, reading, &mut listeners));
    let um = root.optional_section("um").map(|table| decode_call::um(table, reading, &mut listeners));
    let routers = um.as_ref().map_or(&[][..], |um| &um.routers);
    let worker =
        root.optional_section("worker").map(|table| decode_call::worker(table, reading, routers, &mut listeners));
    let mailbox = root.optional_section("mailbox").map(|table| decode_mail::mailbox(table, reading));
    let gateways = placed(root.tables("gateway", GATEWAYS_MAX), |table| decode_mail::gateway(table, reading));
    let dial_plans = placed(root.tables("dial_plan", PLANS_MAX), decode_mail::dial_plan);
    let hunt_groups = placed(root.tables("hunt_group", GATEWAYS_MAX), |table| decode_mail::hunt_group(table, reading));
    let web = root.optional_section("web").and_then(|table| decode_owner::web(table, reading, &mut listeners));
    let mail = root.optional_section("mail").and_then(|table| decode_owner::mail(table, reading));
    let telemetry = telemetry(root.section("telemetry"), roles, notes, &mut listeners);
    root.close();
    Draft {
        roles,
        edge,
        sip,
        router,
        um,
        worker,
        mailbox,
        gateways,
        dial_plans,
        hunt_groups,
        web,
        mail,
        telemetry,
        listeners,
        relay_uris,
        derived,
        nat_discovery,
    }
}

fn placed<'a, T>(tables: Vec<Table<'a>>, mut read: impl FnMut(Table<'a>) -> Option<T>) -> Vec<Placed<T>> {
    let place = |table: Table<'a>| {
        let key = table.path().to_string();
        Some(Placed { key, value: read(table)? })
    };
    tables.into_iter().filter_map(place).collect()
}

pub(crate) fn listen(
    table: &Table<'_>,
    key: &'static str,
    kind: ListenerKind,
    listeners: &mut Vec<Listener>,
) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    table.optional(key, |value| {
        value.list(ADDRESSES_MAX, |element| {
            let address = forms::listen_address(element)?;
            listeners.push(Listener { key: element.path().into(), address, kind });
            addresses.push(address);
            Some(())
        })
    });
    addresses
}

/// `certificate` and `private_key` of a table, which come together or not at all.
pub(crate) fn certified_pair(table: &Table<'_>, files: &Files<'_>, notes: &Notes) -> Option<CertifiedPair> {
    let certificate = table.optional("certificate", forms::path);
    let private_key = table.optional("private_key", forms::path);
    match (certificate, private_key) {
        (Some(certificate), Some(private_key)) => {
            files.pair(&table.key("certificate"), certificate, &table.key("private_key"), private_key)
        }
        (Some(_), None) => {
            half_pair(notes, table, "certificate", "private_key");
            None
        }
        (None, Some(_)) => {
            half_pair(notes, table, "private_key", "certificate");
            None
        }
        (None, None) => None,
    }
}

fn half_pair(notes: &Notes, table: &Table<'_>, has: &str, lacks: &str) {
    if !notes.faulty(&table.key(lacks)) {
        notes.error(&table.key(has), format!("stands without {lacks}"), format!("add {}", table.key(lacks)));
    }
}

fn advertise(value: &Value<'_>) -> Option<BTreeMap<IpAddr, IpAddr>> {
    let mut map = BTreeMap::new();
    for (local, public) in value.table()?.entries() {
        match local.parse::<IpAddr>() {
            Ok(local) => {
                if let Some(public) = forms::unicast_address(&public) {
                    map.insert(local, public);
                }
            }
            Err(_) => {
                public.error("has a key that is no address", "write { \"LOCAL ADDRESS\" = \"PUBLIC ADDRESS\" }")?
            }
        }
    }
    Some(map)
}

fn relay(table: Table<'_>, notes: &Notes) -> RelayConfig {
    let networks = |key| table.or(key, Vec::new(), |value| value.list(NETWORKS_MAX, |element| network(element, notes)));
    let (allow_peers, deny_peers): (Vec<IpNet>, Vec<IpNet>) = (networks("allow_peers"), networks("deny_peers"));
    let relay = RelayConfig {
        addresses: table
            .required("addresses", "[\"203.0.113.10\"]", |value| value.list(ADDRESSES_MAX, forms::unicast_address))
            .unwrap_or_default(),
        ports: table.or("ports", PortRange { first: 50000, last: 59999 }, port_range),
        allow_peers,
        deny_peers,
        tcp: table.or("tcp", true, Value::boolean),
    };
    table.close();
    relay
}

fn auth(table: Table<'_>, notes: &Notes, files: &Files<'_>) -> AuthConfig {
    let secrets =
        table.required("secrets", "[{ id = \"2026a\", file = \"turn.secret\" }]", |value| secrets(value, files));
    let auth = AuthConfig {
        secrets: secrets.unwrap_or_default(),
        token_lifetime_max_secs: table.or("token_lifetime_max_secs", 28_800, |v| v.integer(10..=2_592_000)),
        allocation_lifetime_max_secs: table.or("allocation_lifetime_max_secs", 3600, |v| v.integer(10..=86_400)),
        allocations_per_identity: table.or("allocations_per_identity", 50, |v| v.integer(0..=1_000_000)),
        allocations_max: table.or("allocations_max", 1000, |v| v.integer(1..=1_000_000)),
    };
    let key = table.key("secrets");
    if auth.secrets.is_empty() && !table.is_left_out() && !notes.faulty(&key) {
        notes.error(&key, "is empty", "add at least one secret: there is no anonymous mode");
    }
    table.close();
    auth
}

pub(crate) fn secrets(value: &Value<'_>, files: &Files<'_>) -> Option<Vec<Secret>> {
    value.list(SECRETS_MAX, |element| secret(element, files))
}

fn secret(value: &Value<'_>, files: &Files<'_>) -> Option<Secret> {
    let table = value.table()?;
    let id = table.required("id", "\"2026a\"", forms::key_id);
    let inline = table.optional("value", |value| Some((value.path().to_string(), value.string()?.as_bytes().to_vec())));
    let file = table.optional("file", |value| {
        let path = forms::path(value)?;
        Some((value.path().to_string(), path))
    });
    let given = table.has("value") as usize + table.has("file") as usize;
    table.close();
    if given != 1 {
        let what = if given == 0 { "has neither value nor file" } else { "has both value and file" };
        return value.error(what, "give exactly one of the two");
    }
    let value = match (inline, file) {
        (Some((key, bytes)), _) => files.secret_inline(&key, bytes),
        (_, Some((key, path))) => files.secret_file(&key, path),
        _ => None,
    };
    Some(Secret { id: id?, value: value? })
}

fn tokens(
    table: Table<'_>,
    notes: &Notes,
    files: &Files<'_>,
    listeners: &mut Vec<Listener>,
    relay_uris: &mut Vec<(String, RelayUri)>,
    derived: &mut Derived,
) -> Option<TokensConfig> {
    let listen = table.required("listen", "\"10.20.0.10:8443\"", forms::listen_address);
    listeners.extend(listen.map(|address| Listener { key: table.key("listen"), address, kind: ListenerKind::Tokens }));
    for (key, example) in [("certificate", "\"edge-internal.pem\""), ("private_key", "\"edge-internal.key\"")] {
        if !table.has(key) {
            notes.error(&table.key(key), "is missing", format!("write {key} = {example}: the service speaks TLS only"));
        }
    }
    let certificate = certified_pair(&table, files, notes);
    let client_ca = table.required("client_ca", "\"ca.pem\"", |value| files.roots(value.path(), forms::path(value)?));
    let allowed_names = table.required("allowed_names", "[\"worker.example.test\"]", |value| {
        let names = value.list(NAMES_MAX, name_or_domain)?;
        if names.is_empty() && !notes.faulty(value.path()) {
            return value.error("is empty", "name the certificates that may ask for tokens");
        }
        Some(names)
    });
    let mut uris = |key: &'static str| {
        table.optional(key, |value| {
            let uris = value.list(NAMES_MAX, |element| {
                let uri = forms::relay_uri(element)?;
                relay_uris.push((element.path().into(), uri.clone()));
                Some(uri)
            })?;
            if uris.is_empty() && !notes.faulty(value.path()) {
                return value.error("is empty", "name a relay, or leave the key out to name the listeners");
            }
            Some(uris)
        })
    };
    let (internet, intranet) = (uris("internet"), uris("intranet"));
    *derived = Derived { internet: !table.has("internet"), intranet: !table.has("intranet") };
    let requests_per_caller_per_sec = table.or("requests_per_caller_per_sec", 50, |v| v.integer(1..=100_000));
    table.close();
    Some(TokensConfig {
        listen: listen?,
        certificate: certificate?,
        client_ca: client_ca?,
        allowed_names: allowed_names?,
        internet: internet.unwrap_or_default(),
        intranet: intranet.unwrap_or_default(),
        requests_per_caller_per_sec,
    })
}

fn drain(table: Table<'_>) -> DrainConfig {
    let drain = DrainConfig {
        deadline_secs: table.or("deadline_secs", 3600, |v| v.integer(0..=604_800)),
        alternate: table.or("alternate", Vec::new(), |value| value.list(NAMES_MAX, alternate)),
    };
    table.close();
    drain
}

fn alternate(value: &Value<'_>) -> Option<Alternate> {
    let table = value.table()?;
    let address = table.required("address", "\"203.0.113.20:3478\"", forms::remote_address);
    let domain = table.optional("domain", name_or_domain);
    let transports = table.or("transports", Vec::new(), |value| value.list(NAMES_MAX, forms::relay_transport));
    table.close();
    Some(Alternate { address: address?, domain, transports })
}

fn alternates(table: &Table<'_>) -> Option<(IpAddr, u16)> {
    let address = table.required("alternate_address", "\"203.0.113.11\"", forms::unicast_address);
    let port = table.required("alternate_port", "3479", |v| v.integer(1..=65_535));
    Some((address?, port? as u16))
}

fn limits(table: Table<'_>, notes: &Notes) -> LimitsConfig {
    let limits = LimitsConfig {
        unauthenticated_answers_per_sec: table.or("unauthenticated_answers_per_sec", 20, |v| v.integer(1..=1_000_000)),
        worker_networks: table
            .or("worker_networks", Vec::new(), |value| value.list(NETWORKS_MAX, |element| network(element, notes))),
        handshakes_per_source: table.or("handshakes_per_source", 32, |v| v.integer(1..=10_000)),
    };
    table.close();
    limits
}

fn sockets(table: Table<'_>) -> SocketsConfig {
    let sockets = SocketsConfig {
        listener_bytes: table.or("listener_bytes", 1 << 20, |v| v.integer(65_536..=67_108_864)),
        relay_bytes: table.or("relay_bytes", 65_536, |v| v.integer(8192..=16_777_216)),
    };
    table.close();
    sockets
}

fn media(table: Table<'_>) -> MediaConfig {
    let clock_rates = table.or("clock_rates", BTreeMap::new(), |value| {
        let mut rates = BTreeMap::new();
        for (payload_type, rate) in value.table()?.entries() {
            match payload_type.parse::<u8>() {
                Ok(payload_type) if payload_type < 128 => {
                    rates.extend(rate.integer(1000..=384_000).map(|rate| (payload_type, rate)));
                }
                _ => {
                    rate.error::<()>("is no RTP payload type", "write { 111 = 48000 } with types 0 to 127");
                }
            }
        }
        Some(rates)
    });
    table.close();
    MediaConfig { clock_rates }
}

fn records(table: Table<'_>, files: &Files<'_>) -> RecordsConfig {
    let file: Option<PathBuf> = table
        .optional("file", |value| {
            let path = forms::path(value)?;
            if path.is_empty() { Some(None) } else { files.output(value.path(), path).map(Some) }
        })
        .flatten();
    table.close();
    RecordsConfig { file }
}

fn telemetry(table: Table<'_>, roles: Roles, notes: &Notes, listeners: &mut Vec<Listener>) -> TelemetryConfig {
    let telemetry = TelemetryConfig {
        listen: table.or("listen", SocketAddr::from(([127, 0, 0, 1], 9641)), forms::listen_address),
        log: table.or("log", "info".to_string(), log_directives),
        log_format: table.or("log_format", LogFormat::Text, |value| match value.string()? {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => value.error("is no log format", "write \"text\" or \"json\""),
        }),
    };
    let key = table.key("listen");
    if roles.edge {
        listeners.push(Listener { key, address: telemetry.listen, kind: ListenerKind::Telemetry });
    } else if table.has("listen") {
        notes.warn(
            &key,
            "opens nothing: it is the edge's, and there is no [edge]",
            "write metrics in the role's table",
        );
    }
    table.close();
    telemetry
}

/// Ids that occur more than once, in order.
pub(crate) fn repeated<T: Ord + Copy>(items: impl IntoIterator<Item = T>) -> Vec<(usize, T)> {
    let mut seen = BTreeSet::new();
    items.into_iter().enumerate().filter(|(_, item)| !seen.insert(*item)).collect()
}
