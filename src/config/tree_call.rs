//! The typed configuration of the roles that carry a call: router, UM service, worker, and the mailbox behind them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use postern_dialplan::DialRule;
use rustls::pki_types::CertificateDer;

use crate::sip_target::SipTarget;
use crate::tree::{CertifiedPair, PortRange, Secret};
use crate::tree_owner::Credentials;

/// Which listener lists of a role are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupMode {
    Tcp,
    Tls,
    Dual,
}

impl StartupMode {
    /// Whether connections without TLS are taken.
    pub fn opens_tcp(self) -> bool {
        self != Self::Tls
    }

    /// Whether connections with mutual TLS are taken.
    pub fn opens_tls(self) -> bool {
        self != Self::Tcp
    }
}

/// Who a role is under mutual TLS, as server and as client, and whose certificates it believes.
#[derive(Clone, Debug, PartialEq)]
pub struct SipIdentity {
    /// Name that others reach this role by, in lower case; the certificate holds it (RFC 5922).
    pub host: String,
    pub certificate: CertifiedPair,
    /// Roots that the other side's certificate must lead to; at least one.
    pub client_ca: Vec<CertificateDer<'static>>,
}

/// Whom a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The source address lies in this network.
    Network(IpNet),
    /// The certificate shown holds this name, in lower case.
    Name(String),
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => network.addr().fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `[sip]`: what router, UM service and worker share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipConfig {
    /// `sip.contact_secrets`: sign what one hop decided for the next; the first signs, all verify. Empty: nothing is
    /// signed, and each hop decides by itself.
    pub contact_secrets: Vec<Secret>,
    /// TCP and TLS connections at once, per role.
    pub connections_max: u32,
    /// Those of one source address.
    pub connections_per_source_max: u32,
    /// Largest message that is read, head and body.
    pub message_bytes_max: u32,
    /// Session-Expires (RFC 4028) that a worker asks for where the peer brings none, and the most that a peer gets; at
    /// least 90.
    pub session_expires_secs: u32,
    /// Diversion entries in one INVITE above which it is taken for a loop.
    pub diversions_max: u32,
}

/// `[router]`: the call router.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterConfig {
    pub startup_mode: StartupMode,
    /// Not empty when `startup_mode` opens it; not opened otherwise.
    pub tcp: Vec<SocketAddr>,
    /// Not empty when `startup_mode` opens it; not opened otherwise.
    pub tls: Vec<SocketAddr>,
    /// `router.udp`: opened in any mode that opens TCP; off when empty.
    pub udp: Vec<SocketAddr>,
    /// There whenever `startup_mode` opens TLS.
    pub identity: Option<SipIdentity>,
    pub um_services: Vec<SipTarget>,
    pub mode: RouterMode,
    /// Contacts in one 302, unless the gateway has a number of its own.
    pub contacts: u32,
    /// Between two OPTIONS to one UM service.
    pub health_interval_ms: u32,
    /// A UM service that has not answered OPTIONS for so long gets no more calls.
    pub health_timeout_ms: u32,
    /// Retry-After of a 503.
    pub retry_after_secs: u32,
    /// Timer C of the proxy (RFC 3261 section 16.6).
    pub timer_c_secs: u32,
    /// Plain HTTP for `/metrics`, `/healthz` and `/readyz`.
    pub metrics: SocketAddr,
}

/// `router.mode`: how a call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterMode {
    /// 302 to UM services.
    Redirect,
    /// Stateful proxy: the caller stays connected to the router.
    Proxy,
    /// 302 straight to the active worker.
    SingleHop,
}

/// `[um]`: the UM service.
#[derive(Clone, Debug, PartialEq)]
pub struct UmConfig {
    pub startup_mode: StartupMode,
    /// Not empty when `startup_mode` opens it; not opened otherwise.
    pub tcp: Vec<SocketAddr>,
    /// Not empty when `startup_mode` opens it; not opened otherwise.
    pub tls: Vec<SocketAddr>,
    /// There whenever `startup_mode` opens TLS.
    pub identity: Option<SipIdentity>,
    /// Calls of both slots together; one more is 486.
    pub max_calls: u32,
    /// Calls that one mailbox may have placed in an hour.
    pub outcalls_per_hour: u32,
    /// Routers, accepted beside the gateways; their word on gateway and plan is believed.
    pub routers: Vec<Peer>,
    /// Sockets between UM service and workers are made here; the directory is made when absent.
    pub runtime_directory: PathBuf,
    /// Retry-After of a 503.
    pub retry_after_secs: u32,
    pub recycle: RecycleConfig,
    /// Plain HTTP for `/metrics`, `/healthz` and `/readyz`.
    pub metrics: SocketAddr,
}

/// `[um.recycle]`: when a worker is replaced by a fresh one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecycleConfig {
    /// Age of a worker; 0 is never.
    pub age_secs: u32,
    /// Resident memory of a worker; 0 is never.
    pub memory_mib: u32,
    /// Whether a new binary at the service's own path recycles.
    pub new_binary: bool,
    /// Shortest time between two recycles, whatever asks for them.
    pub interval_secs_min: u32,
}

/// `[worker]`: the mailbox workers of one UM service, both slots.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerConfig {
    pub startup_mode: StartupMode,
    /// Where SIP and RTP are bound, and what Contact and SDP name; at least one, never a wildcard. The first of a
    /// family is its default.
    pub addresses: Vec<IpAddr>,
    /// Base port of slot A and of slot B; see [`ports`](Self::ports).
    pub slots: [u16; 2],
    /// There whenever `startup_mode` opens TLS.
    pub identity: Option<SipIdentity>,
    /// RTP on even ports of it, RTCP on the next odd ones.
    pub rtp_ports: PortRange,
    /// A pair of ports rests so long after a call.
    pub rtp_rest_secs: u32,
    /// Routers, accepted beside the gateways; as `um.routers` unless written.
    pub routers: Vec<Peer>,
    /// `[[worker.edge]]`, in order of preference; empty serves the inside only.
    pub edges: Vec<WorkerEdgeConfig>,
    /// Codecs offered and answered, best first; at least one.
    pub codecs: Vec<Codec>,
    /// Media threads; 0 is one per core.
    pub media_threads: u32,
    /// A call without any media from its peer for so long ends, unless on hold.
    pub media_timeout_secs: u32,
    /// A call that we place and nobody answers for so long ends.
    pub ring_secs: u32,
    /// Ended calls that `postern call` still knows.
    pub recent_calls: u32,
    /// Memory for them.
    pub recent_calls_mib: u32,
    pub records: CallRecordsConfig,
    /// Plain HTTP for `/metrics`, `/healthz` and `/readyz` of slot A and of slot B.
    pub metrics: [SocketAddr; 2],
}

/// Ports of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPorts {
    pub tcp: Option<u16>,
    pub tls: Option<u16>,
}

impl WorkerConfig {
    /// Ports of slot `slot` (0 is A): the base in a single mode; in dual mode the base is TCP and the next one TLS.
    pub fn ports(&self, slot: usize) -> SlotPorts {
        let base = self.slots[slot];
        match self.startup_mode {
            StartupMode::Tcp => SlotPorts { tcp: Some(base), tls: None },
            StartupMode::Tls => SlotPorts { tcp: None, tls: Some(base) },
            StartupMode::Dual => SlotPorts { tcp: Some(base), tls: Some(base + 1) },
        }
    }
}

/// `worker.codecs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    Pcmu,
    Pcma,
    G722,
}

/// One `[[worker.edge]]`: where relay addresses come from.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerEdgeConfig {
    /// Host of the A/V authentication service, as its certificate has it; no brackets.
    pub host: String,
    pub port: u16,
    /// Shown to the service; always there.
    pub certificate: CertifiedPair,
    /// Roots that the service's certificate must lead to.
    pub ca: Vec<CertificateDer<'static>>,
    /// Which of the service's lists of relays is asked for.
    pub location: EdgeLocation,
    /// Life asked for each token.
    pub token_lifetime_secs: u32,
}

/// `worker.edge.location`: from where the worker reaches the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeLocation {
    Intranet,
    Internet,
}

/// `[worker.records]`: where the record of each call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecordsConfig {
    /// JSON lines are appended here; `None` is the log.
    pub json: Option<PathBuf>,
    /// CSV lines are appended here; `None` is nowhere.
    pub csv: Option<PathBuf>,
}

/// `[mailbox]`: where voice mail is kept, and its policy.
#[derive(Clone, Debug, PartialEq)]
pub struct MailboxConfig {
    pub store: StoreLocation,
    pub recordings: RecordingsLocation,
    /// Key of the PINs' HMAC, outside the store; made when absent.
    pub pin_key_file: PathBuf,
    /// Directory of prompts in place of those built in.
    pub prompts: Option<PathBuf>,
    pub key_map: KeyMapSource,
    /// Messages of one mailbox.
    pub quota_messages: u32,
    /// Recorded time of one mailbox.
    pub quota_minutes: u32,
    /// Calls that may record to one mailbox at once.
    pub deposits_max: u32,
    /// Longest greeting.
    pub greeting_secs_max: u32,
    pub pin: PinConfig,
}

/// `mailbox.store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// `sqlite:PATH`, absolute.
    Sqlite(PathBuf),
}

/// `mailbox.key_map`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyMapSource {
    /// One that we bring along: `ova`, `asterisk` or `cisco`.
    BuiltIn(&'static str),
    /// A file, absolute.
    File(PathBuf),
}

/// `mailbox.recordings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingsLocation {
    /// `file:DIRECTORY`, absolute.
    Directory(PathBuf),
}

/// `[mailbox.pin]`: what a PIN must be, and how often one may fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinConfig {
    pub length_min: u32,
    /// Days after which a PIN must be changed; 0 is never.
    pub lifetime_days: u32,
    /// Earlier PINs that may not come back.
    pub history: u32,
    /// Failed logons after which the mailbox is locked until an administrator opens it.
    pub attempts_max: u32,
    /// Whether sequences and repeated digits are accepted.
    pub common_patterns: bool,
}

/// One `[[gateway]]`: a gateway, IP PBX or SBC that calls come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// `gateway.address` or `gateway.name`.
    pub peer: Peer,
    /// Name of a dial plan that exists.
    pub dial_plan: String,
    pub status: GatewayStatus,
    /// Plain RTP is taken from the address that the signalling came from, rather than from the one in the SDP.
    pub symmetric_rtp: bool,
    pub diversion: DiversionOrder,
    /// Contacts in one 302 to it; `None` is the router's number.
    pub contacts: Option<u32>,
    /// Where our own calls and notifications go; `None` is a gateway that only calls. Over TLS where a plan that it leads
    /// to demands that.
    pub target: Option<SipTarget>,
    /// Whether our own calls leave through it; never without [`target`](Self::target).
    pub outcalls: bool,
    /// Whether it is told of messages that wait; has no effect without [`target`](Self::target).
    pub mwi: bool,
    /// What its challenges are answered with (RFC 7616); never without [`target`](Self::target).
    pub credentials: Option<Credentials>,
}

/// `gateway.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayStatus {
    Enabled,
    /// New calls are answered 480; those that run go on.
    NoNewCalls,
    /// As if it were not there: 403.
    Disabled,
}

/// `gateway.diversion`: which of several Diversion entries names the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiversionOrder {
    /// The top one: who diverted last.
    Top,
    /// The bottom one: who was called first.
    Bottom,
}

/// One `[[dial_plan]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialPlanConfig {
    /// Unique.
    pub name: String,
    pub uri_type: UriType,
    pub security: Security,
    /// Numbers or users (`user@host` in plans of type sip) that lead to subscriber access.
    pub pilots: Vec<String>,
    /// Digits of an extension; 0 is any number of them.
    pub digits: u32,
    /// Digits before a national number, without `+`; empty keeps numbers as they come.
    pub country_code: String,
    /// What national calls begin with, `0` in many countries.
    pub national_prefix: String,
    /// What international calls begin with, `00` in many countries.
    pub international_prefix: String,
    /// Hosts that belong to the plan, for addresses of the form user@host; empty takes any.
    pub domains: Vec<String>,
    /// What its users may call, and where callers may be transferred; empty is nothing.
    pub allow: Vec<DialRule>,
    /// Where a caller who asks for the operator is sent unless the mailbox has one of its own; empty is nowhere.
    pub operator: String,
    /// Language of the prompts, as BCP 47 has it.
    pub language: String,
    /// IANA name.
    pub time_zone: String,
    pub call_secs_max: u32,
    pub recording_secs_max: u32,
    /// Silence that ends a recording.
    pub recording_idle_secs: u32,
    /// Wrong or missing inputs in a row that end a call.
    pub input_failures_max: u32,
    /// Wrong PINs in one call that end it.
    pub logon_failures_max: u32,
}

impl DialPlanConfig {
    /// [`call_secs_max`](Self::call_secs_max) as a duration.
    pub fn longest_call(&self) -> Duration {
        Duration::from_secs(self.call_secs_max.into())
    }
}

/// `dial_plan.uri_type`: what a mailbox number of the plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriType {
    Extension,
    Sip,
    E164,
}

/// `dial_plan.security`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TCP or TLS; RTP, or SRTP when offered.
    Unsecured,
    /// Mutual TLS only; same media.
    SipSecured,
    /// Mutual TLS and SRTP only.
    Secured,
}

/// One `[[hunt_group]]`: calls of a gateway to a pilot belong to another plan than the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HuntGroupConfig {
    /// A gateway that exists, by its address or name as written there.
    pub gateway: Peer,
    pub pilot: String,
    /// Name of a dial plan that exists.
    pub dial_plan: String,
}
