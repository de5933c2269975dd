//! The configuration: one TOML file to one typed tree in which every rule already holds.
//!
//! [`load`] reports every fault at once, each with file, line and remedy. [`diff`] says what a reload changes,
//! [`Fingerprint`] when a file beside the configuration asks for one. What the machine's own addresses are is an input:
//! this room opens files and nothing else.

mod call_rules;
mod certificate;
mod decode;
mod decode_call;
mod decode_mail;
mod decode_owner;
mod diff;
mod drawn_ports;
mod files;
mod finding;
mod forms;
mod forms_call;
mod forms_owner;
mod openings;
mod peers;
mod reader;
mod rules;
mod rules_call;
mod rules_owner;
mod sip_target;
mod source;
mod tree;
mod tree_call;
mod tree_owner;
mod uri;
mod watch;

#[cfg(test)]
mod refusals;
#[cfg(test)]
mod refusals_call;
#[cfg(test)]
mod refusals_owner;
#[cfg(test)]
mod refusals_services;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod warnings;

use std::net::IpAddr;
use std::path::Path;

use toml::de::DeTable;

use decode::decode;
use drawn_ports::DrawnPorts;
use files::Files;
use reader::{Notes, Table};
use rules::Surroundings;

pub use call_rules::IdentityPem;
pub use certificate::{CERTIFICATES_MAX, CertifiedKeyMaterial, PEM_BYTES_MAX, PairError, load_certificates, load_pair};
pub use diff::{Diff, diff};
pub use finding::Finding;
pub use openings::{Opening, Protocol, Purpose};
pub use sip_target::{SipTarget, SipTransport};
pub use source::{CONFIG_BYTES_MAX, Source};
pub use tree::{
    Alternate, AuthConfig, CertifiedPair, Config, DrainConfig, EdgeConfig, LimitsConfig, LogFormat, MediaConfig,
    NatDiscoveryConfig, PortRange, RecordsConfig, RelayConfig, Role, Roles, Secret, SecretBytes, SocketsConfig,
    TelemetryConfig, TokensConfig,
};
pub use tree_call::{
    CallRecordsConfig, Codec, DialPlanConfig, DiversionOrder, EdgeLocation, GatewayConfig, GatewayStatus,
    HuntGroupConfig, KeyMapSource, MailboxConfig, Peer, PinConfig, RecordingsLocation, RecycleConfig, RouterConfig,
    RouterMode, Security, SipConfig, SipIdentity, SlotPorts, StartupMode, StoreLocation, UmConfig, UriType,
    WorkerConfig, WorkerEdgeConfig,
};
pub use tree_owner::{Credentials, MailConfig, MailSecurity, MailServer, SecretText, WebConfig};
pub use uri::{Location, RelayTransport, RelayUri, relays_from_listeners};
pub use watch::Fingerprint;

/// A configuration that may be used, and what its operator should still look at.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Finding>,
}

/// Loads the file at `path`. `own_addresses` are the addresses of this machine's interfaces; an empty slice leaves out
/// the rules that need them.
///
/// # Errors
/// Every fault of the file, in line order; the operator's to mend.
pub fn load(path: &Path, own_addresses: &[IpAddr]) -> Result<Loaded, Vec<Finding>> {
    load_source(&file(path)?, own_addresses)
}

/// As [`load`], for a process of this role: a file without its table is at fault too.
///
/// # Errors
/// As [`load`].
pub fn load_role(path: &Path, own_addresses: &[IpAddr], role: Role) -> Result<Loaded, Vec<Finding>> {
    load_with(&file(path)?, own_addresses, Some(role))
}

fn file(path: &Path) -> Result<Source, Vec<Finding>> {
    Source::file(path).map_err(|what| {
        let remedy = "name a readable configuration file (config/postern.toml is a commented one)".into();
        vec![Finding { file: path.into(), line: 1, key: String::new(), what, remedy }]
    })
}

/// Loads an embedded configuration, as `postern up` has one; otherwise as [`load`].
///
/// # Errors
/// As [`load`].
pub fn load_source(source: &Source, own_addresses: &[IpAddr]) -> Result<Loaded, Vec<Finding>> {
    load_with(source, own_addresses, None)
}

fn load_with(source: &Source, own_addresses: &[IpAddr], role: Option<Role>) -> Result<Loaded, Vec<Finding>> {
    let now_unix_secs =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let surroundings =
        Surroundings { own_addresses, now_unix_secs: now_unix_secs as i64, role, drawn: DrawnPorts::of_this_machine() };
    let notes = Notes::new(&source.name, &source.text);
    let config = read(source, &surroundings, &notes);
    let warnings = notes.verdict()?;
    Ok(Loaded { config, warnings })
}

/// Reads as far as it goes; the tree is worth something only when `notes` holds no error afterwards.
fn read(source: &Source, surroundings: &Surroundings<'_>, notes: &Notes) -> Config {
    let (document, faults) = DeTable::parse_recoverable(&source.text);
    let files = Files::new(source, notes);
    let mut draft = decode(Table::root(document.get_ref(), notes), notes, &files);
    match faults.first() {
        None => rules::apply(&mut draft, surroundings, notes),
        Some(fault) => {
            let offset = fault.span().map_or(0, |span| span.start);
            notes.broken_at(offset, fault.message());
        }
    }
    let fingerprint = files.into_watch();
    Config {
        path: source.name.clone(),
        roles: draft.roles,
        edge: draft.edge,
        sip: draft.sip,
        router: draft.router,
        um: draft.um,
        worker: draft.worker,
        mailbox: draft.mailbox,
        gateways: draft.gateways.into_iter().map(|placed| placed.value).collect(),
        dial_plans: draft.dial_plans.into_iter().map(|placed| placed.value).collect(),
        hunt_groups: draft.hunt_groups.into_iter().map(|placed| placed.value).collect(),
        web: draft.web,
        mail: draft.mail,
        telemetry: draft.telemetry,
        files: fingerprint.paths().map(Path::to_path_buf).collect(),
        fingerprint,
    }
}
