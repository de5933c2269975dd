//! The typed configuration: what every role reads. A value of these types has passed every rule of this room.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use secrecy::{ExposeSecret, SecretSlice};

use crate::certificate::CertifiedKeyMaterial;
use crate::tree_call::{
    DialPlanConfig, GatewayConfig, HuntGroupConfig, MailboxConfig, RouterConfig, SipConfig, UmConfig, WorkerConfig,
};
use crate::tree_owner::{MailConfig, WebConfig};
use crate::uri::{RelayTransport, RelayUri};
use crate::watch::Fingerprint;

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Absolute path of the file, or the name given to [`crate::Source::text`].
    pub path: PathBuf,
    /// Which roles the file has a table for; [`edge`](Self::edge) means something only if it is among them.
    pub roles: Roles,
    /// Without listeners, relay addresses and secrets when the file has no `[edge]`.
    pub edge: EdgeConfig,
    pub sip: SipConfig,
    pub router: Option<RouterConfig>,
    /// Never without [`worker`](Self::worker).
    pub um: Option<UmConfig>,
    /// Never without [`mailbox`](Self::mailbox).
    pub worker: Option<WorkerConfig>,
    pub mailbox: Option<MailboxConfig>,
    /// At least one when there is a router, UM service or worker; in file order.
    pub gateways: Vec<GatewayConfig>,
    /// Every plan that a gateway or hunt group names is among them; names are unique.
    pub dial_plans: Vec<DialPlanConfig>,
    pub hunt_groups: Vec<HuntGroupConfig>,
    /// Never without [`um`](Self::um), whose process serves it; `None` is off.
    pub web: Option<WebConfig>,
    /// Never without [`um`](Self::um), whose process sends it; `None` is off.
    pub mail: Option<MailConfig>,
    pub telemetry: TelemetryConfig,
    /// Every file that was read beside the configuration itself (certificates, keys, secrets), absolute, sorted:
    /// a change of one of them, seen by [`crate::Fingerprint`], asks for a reload.
    pub files: Vec<PathBuf>,
    /// State of [`files`](Self::files), each looked at just before it was read: what differs from it is not yet loaded.
    pub fingerprint: Fingerprint,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Edge,
    Router,
    Um,
    Worker,
}

impl Role {
    /// Name of its table and of its command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Router => "router",
            Self::Um => "um",
            Self::Worker => "worker",
        }
    }
}

/// The roles that a file has a table for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    pub edge: bool,
    pub router: bool,
    pub um: bool,
    pub worker: bool,
}

impl Roles {
    /// Whether `role` is among them.
    pub fn has(self, role: Role) -> bool {
        match role {
            Role::Edge => self.edge,
            Role::Router => self.router,
            Role::Um => self.um,
            Role::Worker => self.worker,
        }
    }
}

/// `[edge]`: the relay and its token service.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeConfig {
    /// `edge.realm`: realm of the long-term credential mechanism; 1 to 127 characters (RFC 8489 section 14.9).
    pub realm: String,
    /// `edge.udp`: STUN and TURN over UDP.
    pub udp: Vec<SocketAddr>,
    /// `edge.tcp`: STUN and TURN over plain TCP.
    pub tcp: Vec<SocketAddr>,
    /// `edge.tls`: TLS and plain STUN, told apart by the first byte.
    pub tls: Vec<SocketAddr>,
    /// `edge.dtls`: TURN over DTLS; off when empty.
    pub dtls: Vec<SocketAddr>,
    /// `edge.certificate` and `edge.private_key`; always there when `tls` or `dtls` has a listener.
    pub certificate: Option<CertifiedPair>,
    /// `edge.shards`: relay threads; 0 is one per core. Restart-only.
    pub shards: u16,
    /// `edge.advertise`: local address to the public address of a 1:1 NAT in front of it; same family, one to one.
    pub advertise: BTreeMap<IpAddr, IpAddr>,
    /// `edge.mobility`: RFC 8016 tickets.
    pub mobility: bool,
    pub relay: RelayConfig,
    pub auth: AuthConfig,
    /// `[edge.tokens]`; `None` is off.
    pub tokens: Option<TokensConfig>,
    pub drain: DrainConfig,
    /// `[edge.nat_discovery]` (RFC 5780); `None` is off.
    pub nat_discovery: Option<NatDiscoveryConfig>,
    pub limits: LimitsConfig,
    pub sockets: SocketsConfig,
    pub media: MediaConfig,
    pub records: RecordsConfig,
}

/// `[edge.relay]`: where media is relayed, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayConfig {
    /// Local addresses of relay sockets; never a wildcard; at least one. An allocation gets any one
    /// of its family.
    pub addresses: Vec<IpAddr>,
    /// Ports of relay sockets, both ends included.
    pub ports: PortRange,
    /// Networks opened in spite of being private; own addresses are taken out by the role.
    pub allow_peers: Vec<IpNet>,
    /// Networks closed, before `allow_peers` is asked.
    pub deny_peers: Vec<IpNet>,
    /// `edge.relay.tcp`: TCP allocations (RFC 6062).
    pub tcp: bool,
}

/// Inclusive range of ports, `first <= last`, both at least 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    /// Whether `port` lies in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// How many ports the range holds; never 0.
    pub fn count(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// `[edge.auth]`: keys and quotas.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthConfig {
    /// 1 to 8 secrets with unique ids, in file order: the first one issues, all verify.
    pub secrets: Vec<Secret>,
    /// Longest life of a token counted from its first use; longer ones are cut to it.
    pub token_lifetime_max_secs: u32,
    /// Longest LIFETIME an Allocate or Refresh is granted.
    pub allocation_lifetime_max_secs: u32,
    /// Allocations one identity may hold at once; 0 is no limit.
    pub allocations_per_identity: u32,
    /// The most that the `allocations` claim of an extended token may raise the quota to.
    pub allocations_max: u32,
}

/// One secret of `edge.auth.secrets` or `sip.contact_secrets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// 1 to 32 of `A-Z a-z 0-9 _ -`: it is part of extended usernames and of audit lines.
    pub id: String,
    pub value: SecretBytes,
}

/// Bytes of a secret, 16 to 1024: never shown by `Debug`, wiped when dropped.
#[derive(Clone)]
pub struct SecretBytes(SecretSlice<u8>);

impl SecretBytes {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves, for key derivation only.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

impl Eq for SecretBytes {}

/// Compares two generations of a file; no attacker sees how long it takes.
impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

/// `[edge.tokens]`: the A/V authentication service over mutual TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct TokensConfig {
    pub listen: SocketAddr,
    /// `edge.tokens.certificate` and `edge.tokens.private_key`.
    pub certificate: CertifiedPair,
    /// `edge.tokens.client_ca`: roots that callers' certificates must lead to; at least one.
    pub client_ca: Vec<CertificateDer<'static>>,
    /// Names of certificates that may ask for tokens; at least one; compared without regard to case.
    pub allowed_names: Vec<String>,
    /// Relays named for the location `internet`; already derived from the listeners when absent in the file.
    pub internet: Vec<RelayUri>,
    /// Relays named for the location `intranet`; as `internet` when absent in the file.
    pub intranet: Vec<RelayUri>,
    /// Requests per second and caller; bursts of as many.
    pub requests_per_caller_per_sec: u32,
}

/// A certificate chain and its key, with the files that they came from.
#[derive(Clone, Debug)]
pub struct CertifiedPair {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    pub material: Arc<CertifiedKeyMaterial>,
}

/// Same files, same certificates (the key follows from its certificate).
impl PartialEq for CertifiedPair {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate
            && self.private_key == other.private_key
            && self.material.chain == other.material.chain
    }
}

/// `[edge.drain]`: how SIGTERM ends the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// Longest wait for the last allocation to end.
    pub deadline_secs: u32,
    /// Servers named to new clients while draining (RFC 8489 section 10); may be empty.
    pub alternate: Vec<Alternate>,
}

impl DrainConfig {
    /// [`deadline_secs`](Self::deadline_secs) as a duration.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_secs.into())
    }
}

/// Another edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternate {
    pub address: SocketAddr,
    /// Value of ALTERNATE-DOMAIN, which TLS clients check the certificate against.
    pub domain: Option<String>,
    /// What it serves at that address, for the token service to name; never empty. Where the file does not say, what this
    /// edge serves on the same port, and UDP where that is nothing.
    pub transports: Vec<RelayTransport>,
}

/// `[edge.nat_discovery]` (RFC 5780): the second address and port beside the first UDP listener of that family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatDiscoveryConfig {
    /// The UDP listener whose alternates these are: the first of `edge.udp` in the family of `alternate_address`.
    pub primary: SocketAddr,
    pub alternate_address: IpAddr,
    pub alternate_port: u16,
}

impl NatDiscoveryConfig {
    /// The three sockets beside the primary one: other address, other port, both (RFC 5780 section 6).
    pub fn sockets(&self) -> [SocketAddr; 3] {
        [
            SocketAddr::new(self.alternate_address, self.primary.port()),
            SocketAddr::new(self.primary.ip(), self.alternate_port),
            SocketAddr::new(self.alternate_address, self.alternate_port),
        ]
    }
}

/// `[edge.limits]`: what one stranger may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Unauthenticated answers per second and source (/32, /64).
    pub unauthenticated_answers_per_sec: u32,
    /// Where our own workers are: the former does not hold for them.
    pub worker_networks: Vec<IpNet>,
    /// TCP connections of one source (/32, /64) that have not yet shown a whole STUN message.
    pub handshakes_per_source: u32,
}

/// `[edge.sockets]`: receive and send buffers asked of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketsConfig {
    pub listener_bytes: u32,
    pub relay_bytes: u32,
}

/// `[edge.media]`: what the quality metrics know beyond the static RTP payload types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaConfig {
    /// RTP payload type (0 to 127) to clock rate in Hz.
    pub clock_rates: BTreeMap<u8, u32>,
}

/// `[edge.records]`: where the record of each allocation goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsConfig {
    /// JSON lines are appended here; `None` is the log.
    pub file: Option<PathBuf>,
}

/// `[telemetry]`: what an operator watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Plain HTTP: `/metrics`, `/healthz`, `/readyz`.
    pub listen: SocketAddr,
    /// A level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or `target=level` directives, comma-separated.
    pub log: String,
    pub log_format: LogFormat,
}

/// `telemetry.log_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
