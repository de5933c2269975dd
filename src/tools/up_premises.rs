//! What `postern up` makes in its scratch directory: an authority, certificates, secrets, and one configuration file for
//! all roles, which the worker processes read as well.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use postern_config::{Finding, Loaded};
use postern_net::system;
use postern_token::{Issuer, KeyRing, Secret, Token};

use crate::certs::{self, Authority, Names, WORKER_NAME, write_new, write_private};
use crate::up_ports::Ports;

/// Lifetime of the token that is printed, in seconds.
const TOKEN_LIFETIME_SECS: u64 = 8 * 3600;

const REALM: &str = "postern.test";

const KEY_ID: &str = "up";

/// Ports of relayed media: below those that Linux hands out by itself, as the workers' are.
const RELAY_PORTS: &str = "20000-20999";

const RTP_PORTS: &str = "21000-21999";

/// The dial plan.
pub(crate) const PLAN: &str = "up";

/// The number that owners call.
pub(crate) const PILOT: &str = "7000";

/// Everything that the roles need, and where it lies.
pub(crate) struct Premises {
    pub(crate) directory: PathBuf,
    pub(crate) configuration: PathBuf,
    pub(crate) loaded: Loaded,
    pub(crate) ports: Ports,
    /// For whoever wants to try the relay.
    pub(crate) token: Token,
}

impl Premises {
    /// Makes all of it in `directory`; the sockets between UM service and workers will be in `sockets`.
    ///
    /// # Errors
    /// The directory cannot be written to, or the machine does not fit the configuration.
    pub(crate) fn make(directory: &Path, sockets: &Path, ports: Ports, log: &str) -> Result<Self> {
        let sockets = sockets.to_str().with_context(|| format!("{} is no text", sockets.display()))?;
        let secrets = Secrets { turn: random_secret()?, contact: random_secret()? };
        write_certificates(directory)?;
        let configuration = directory.join("postern.toml");
        write_private(&configuration, &text(&ports, &secrets, sockets, log))?;
        let own_addresses = postern_net::system::own_addresses()?;
        let loaded = postern_config::load(&configuration, &own_addresses).map_err(|faults| unfit(&faults))?;
        let token = issue(&secrets.turn)?;
        Ok(Self { directory: directory.into(), configuration, loaded, ports, token })
    }
}

fn unfit(faults: &[Finding]) -> anyhow::Error {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    anyhow!("the embedded configuration does not fit this machine:\n{}", lines.join("\n"))
}

fn write_certificates(directory: &Path) -> Result<()> {
    let here = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let worker = [&here[..], &[WORKER_NAME.to_owned()]].concat();
    let names = Names { edge: here.clone(), router: here.clone(), um: here, worker };
    // The authority's key goes with this process: nobody needs another certificate of it.
    for (name, contents) in certs::issue_set(&Authority::new()?, &names)? {
        write_new(&directory.join(name), &contents)?;
    }
    Ok(())
}

struct Secrets {
    turn: String,
    contact: String,
}

/// 256 random bits.
fn random_secret() -> Result<String> {
    let bytes = system::random().context("no randomness from the system")?;
    Ok(STANDARD_NO_PAD.encode(bytes))
}

fn issue(secret: &str) -> Result<Token> {
    let ring = KeyRing::new(vec![Secret::new(KEY_ID, secret)?])?;
    Ok(Issuer::new(&ring).issue_classic(Some("alice"), system::unix_secs() + TOKEN_LIFETIME_SECS)?)
}

/// The configuration, every address of it on loopback.
fn text(ports: &Ports, secrets: &Secrets, sockets: &str, log: &str) -> String {
    let roles = [edge(ports, secrets), sip_roles(ports, secrets, sockets), worker(ports)].concat();
    [roles, web(ports), calls(ports), telemetry(ports, log)].concat()
}

fn edge(ports: &Ports, Secrets { turn: secret, .. }: &Secrets) -> String {
    let [turn, turns] = [ports.turn, ports.turns].map(|port| list(&ports.on_all(port)));
    let relays = list(&ports.hosts);
    let uri = |scheme: &str, port: u16, transport: &str| format!("{scheme}:localhost:{port}?transport={transport}");
    let internet =
        list(&[uri("turn", ports.turn, "udp"), uri("turn", ports.turn, "tcp"), uri("turns", ports.turns, "tcp")]);
    format!(
        r#"[edge]
realm = "{REALM}"
udp = {turn}
tcp = {turn}
tls = {turns}
certificate = "edge.pem"
private_key = "edge.key"
[edge.relay]
addresses = {relays}
ports = "{RELAY_PORTS}"
# So that whoever tries it out can be the peer as well.
allow_peers = {relays}
# Callers and workers are of one address here.
[edge.limits]
worker_networks = {relays}
[edge.auth]
secrets = [{{ id = "{KEY_ID}", value = "{secret}" }}]
[edge.tokens]
listen = "127.0.0.1:{tokens}"
certificate = "edge-internal.pem"
private_key = "edge-internal.key"
client_ca = "ca.pem"
allowed_names = ["{WORKER_NAME}"]
internet = {internet}
"#,
        tokens = ports.tokens,
    )
}

fn sip_roles(ports: &Ports, secrets: &Secrets, sockets: &str) -> String {
    let listeners = |port: u16| list(&ports.on_all(port));
    format!(
        r#"[sip]
contact_secrets = [{{ id = "{KEY_ID}", value = "{contact_secret}" }}]
[router]
startup_mode = "dual"
tcp = {router_tcp}
tls = {router_tls}
udp = {router_tcp}
host = "localhost"
certificate = "router.pem"
private_key = "router.key"
client_ca = "ca.pem"
um_services = ["sip:127.0.0.1:{um};transport=tcp", "sip:localhost:{ums};transport=tls"]
metrics = "127.0.0.1:{router_metrics}"
[um]
startup_mode = "dual"
tcp = {um_tcp}
tls = {um_tls}
host = "localhost"
certificate = "um.pem"
private_key = "um.key"
client_ca = "ca.pem"
routers = []
runtime_directory = {sockets:?}
metrics = "127.0.0.1:{um_metrics}"
[um.recycle]
# Whoever builds the program while this runs has not asked for other workers.
new_binary = false
"#,
        contact_secret = secrets.contact,
        router_tcp = listeners(ports.router.tcp),
        router_tls = listeners(ports.router.tls),
        um = ports.um.tcp,
        ums = ports.um.tls,
        router_metrics = ports.metrics.router,
        um_tcp = listeners(ports.um.tcp),
        um_tls = listeners(ports.um.tls),
        um_metrics = ports.metrics.um,
    )
}

fn worker(ports: &Ports) -> String {
    let metrics = list(&ports.metrics.slots.map(|port| SocketAddr::from(([127, 0, 0, 1], port))));
    format!(
        r#"[worker]
startup_mode = "dual"
addresses = {addresses}
slots = [{slot_a}, {slot_b}]
host = "localhost"
certificate = "worker.pem"
private_key = "worker.key"
client_ca = "ca.pem"
rtp_ports = "{RTP_PORTS}"
metrics = {metrics}
[[worker.edge]]
tokens = "https://127.0.0.1:{tokens}"
certificate = "worker.pem"
private_key = "worker.key"
ca = "ca.pem"
"#,
        addresses = list(&ports.hosts),
        slot_a = ports.slots[0].tcp,
        slot_b = ports.slots[1].tcp,
        tokens = ports.tokens,
    )
}

fn web(ports: &Ports) -> String {
    format!(
        r#"[web]
listen = {listen}
certificate = "um.pem"
private_key = "um.key"
url = "https://localhost:{port}"
"#,
        listen = list(&ports.on_all(ports.web)),
        port = ports.web,
    )
}

fn calls(ports: &Ports) -> String {
    // A phone names the address of some interface in its SDP, and sends from loopback.
    let gateway = |host| format!("[[gateway]]\naddress = \"{host}\"\ndial_plan = \"{PLAN}\"\nsymmetric_rtp = true\n");
    let gateways: String = ports.hosts.iter().map(gateway).collect();
    format!(
        r#"[mailbox]
store = "sqlite:mailboxes.db"
recordings = "file:recordings"
pin_key_file = "pin.key"
{gateways}[[dial_plan]]
name = "{PLAN}"
pilots = ["{PILOT}"]
digits = 4
"#
    )
}

fn telemetry(ports: &Ports, log: &str) -> String {
    format!("[telemetry]\nlisten = \"127.0.0.1:{}\"\nlog = {log:?}\n", ports.metrics.edge)
}

/// A TOML list of texts.
fn list<T: ToString>(items: &[T]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("\"{}\"", item.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::Scratch;
    use crate::up_ports;

    #[test]
    fn the_embedded_configuration_is_valid_without_warnings_and_all_on_loopback() {
        let scratch = Scratch::new().unwrap();
        let premises = Premises::make(scratch.path(), scratch.path(), up_ports::standard(), "warn").unwrap();
        let config = &premises.loaded.config;
        let warnings: Vec<String> = premises.loaded.warnings.iter().map(ToString::to_string).collect();
        // The range of ports that the kernel hands out is the machine's.
        assert!(warnings.iter().all(|warning| warning.contains("kernel")), "{warnings:?}");
        let edge = &config.edge;
        let (router, um) = (config.router.as_ref().unwrap(), config.um.as_ref().unwrap());
        let worker = config.worker.as_ref().unwrap();
        let mut listeners: Vec<SocketAddr> = Vec::new();
        for some in [&edge.udp, &edge.tcp, &edge.tls, &router.tcp, &router.tls, &router.udp, &um.tcp, &um.tls] {
            assert_eq!(some.len(), 2);
            listeners.extend(some);
        }
        listeners.extend([edge.tokens.as_ref().unwrap().listen, config.telemetry.listen, router.metrics, um.metrics]);
        listeners.extend(worker.metrics);
        let hosts = edge.relay.addresses.iter().chain(&worker.addresses).copied();
        assert!(listeners.iter().map(SocketAddr::ip).chain(hosts).all(|address| address.is_loopback()));
    }

    #[test]
    fn what_holds_secrets_is_for_its_owner_alone() {
        let scratch = Scratch::new().unwrap();
        let premises = Premises::make(scratch.path(), scratch.path(), up_ports::standard(), "warn").unwrap();
        for secret in [&premises.configuration, &scratch.path().join("um.key"), &scratch.path().join("worker.key")] {
            assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", secret.display());
        }
    }

    #[test]
    fn each_run_has_secrets_of_its_own() {
        assert_ne!(random_secret().unwrap(), random_secret().unwrap());
    }
}
