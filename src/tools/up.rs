//! `postern up`: an edge on this machine's loopback with nothing to prepare and nothing left behind.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use postern_config::{Loaded, Source, load_source};
use postern_edge::{Listening, Origin, Stop};
use postern_telemetry::Format;
use postern_token::{Issuer, KeyRing, Secret, Token};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::certs::{Authority, Usage, WORKER_NAME, write_new};
use crate::doctor::unix_secs;
use crate::output;
use crate::scratch::Scratch;

/// Arguments of `postern up`: none are needed.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// How much to log: a level, or `target=level` directives
    #[arg(long, default_value = "warn")]
    log: String,
}

/// Lifetime of the token that is printed, in seconds.
const TOKEN_LIFETIME_SECS: u64 = 8 * 3600;

const REALM: &str = "postern.test";

const KEY_ID: &str = "up";

/// Ports of relayed media: below those that Linux hands out by itself.
const RELAY_PORTS: &str = "20000-20999";

/// What is printed to be copied: everything that the proof of this edge takes.
struct Printed<'a> {
    listening: &'a Listening,
    token: &'a Token,
    dir: &'a Path,
    program: &'a str,
}

/// Runs `postern up` until SIGINT or SIGTERM, or until whoever reads its output has left.
///
/// # Errors
/// When loopback cannot be bound, or the temporary directory cannot be written to.
pub async fn run(args: Args) -> Result<ExitCode> {
    // Handlers first: from here on a signal no longer kills, and what was made is removed.
    let mut signals = Signals::new()?;
    let secret = random_secret()?;
    let scratch = Scratch::new()?;
    let ports = Ports::choose()?;
    let loaded = configure(scratch.path(), &ports, &secret, &args.log)?;
    let _logging = postern_telemetry::init(&loaded.config.telemetry.log, Format::Text)?;
    let token = issue(&secret)?;
    let program = std::env::current_exe().map_or_else(|_| "postern".into(), |path| path.display().to_string());
    let is_ready = AtomicBool::new(false);
    let ready = |listening: &Listening| {
        is_ready.store(true, Ordering::Relaxed);
        let text = Printed { listening, token: &token, dir: scratch.path(), program: &program }.text();
        if let Err(error) = output::print_line(text) {
            output::complain(format_args!("postern up: nobody can read what is printed: {error}"));
        }
    };
    tokio::select! {
        ended = postern_edge::run(loaded, Origin::Embedded, Stop::AtOnce, ready) => ended?,
        () = signals.end(&is_ready) => {}
        // Nobody sees it any more, nor thinks of ending it: `postern up | head -3`.
        () = output::reader_left() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The signals that end this command where the edge itself does not: all of them while it starts, and a closed terminal.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let on = |kind| signal(kind).context("signals cannot be handled");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self, edge_is_ready: &AtomicBool) {
        loop {
            tokio::select! {
                // For an edge with a file it means a reload; this one has nothing to load again.
                _ = self.hangup.recv() => return,
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            if !edge_is_ready.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Makes the certificates and the configuration, all in `dir`.
fn configure(dir: &Path, ports: &Ports, secret: &str, log: &str) -> Result<Loaded> {
    let authority = Authority::new()?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let pairs = [
        ("edge", authority.issue(&names, Usage::Server)?),
        ("edge-internal", authority.issue(&names, Usage::Server)?),
        ("worker", authority.issue(&[WORKER_NAME.to_owned()], Usage::Client)?),
    ];
    write_new(&dir.join("ca.pem"), &authority.certificate_pem())?;
    for (stem, pair) in &pairs {
        write_new(&dir.join(format!("{stem}.pem")), &pair.certificate_pem)?;
        write_new(&dir.join(format!("{stem}.key")), &pair.key_pem)?;
    }
    let text = ports.configuration(secret, log);
    load_source(&Source::text("postern up", &text, dir), &postern_net::system::own_addresses()?).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow!("the embedded configuration does not fit this machine:\n{}", lines.join("\n"))
    })
}

/// Where this run listens: the standard ports where they are free.
struct Ports {
    hosts: Vec<IpAddr>,
    turn: u16,
    turns: u16,
    tokens: u16,
    telemetry: u16,
}

impl Ports {
    fn choose() -> Result<Self> {
        let mut hosts = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        // A machine without IPv6 has no ::1 to bind.
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            hosts.push(Ipv6Addr::LOCALHOST.into());
        }
        let mut taken = Vec::new();
        let mut next = |standard| -> Result<u16> {
            let port = free_port(&hosts, standard, &taken)?;
            taken.push(port);
            Ok(port)
        };
        let (turn, turns, tokens, telemetry) = (next(3478)?, next(5349)?, next(8443)?, next(9641)?);
        Ok(Self { hosts, turn, turns, tokens, telemetry })
    }

    /// The configuration, every address of it on loopback.
    fn configuration(&self, secret: &str, log: &str) -> String {
        let listeners = |port: u16| list(self.hosts.iter().map(|host| SocketAddr::new(*host, port)));
        let [turn, turns] = [self.turn, self.turns].map(listeners);
        let relays = list(self.hosts.iter());
        let uri =
            |scheme: &str, port: u16, transport: &str| format!("\"{scheme}:localhost:{port}?transport={transport}\"");
        let internet =
            [uri("turn", self.turn, "udp"), uri("turn", self.turn, "tcp"), uri("turns", self.turns, "tcp")].join(", ");
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
[edge.auth]
secrets = [{{ id = "{KEY_ID}", value = "{secret}" }}]
[edge.tokens]
listen = "127.0.0.1:{tokens}"
certificate = "edge-internal.pem"
private_key = "edge-internal.key"
client_ca = "ca.pem"
allowed_names = ["{WORKER_NAME}"]
internet = [{internet}]
[telemetry]
listen = "127.0.0.1:{telemetry}"
log = {log:?}
"#,
            tokens = self.tokens,
            telemetry = self.telemetry,
        )
    }
}

/// A TOML list of texts.
fn list<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let quoted: Vec<String> = items.map(|item| format!("\"{}\"", item.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

/// `standard` where it is free for UDP and TCP on every host, else a free port of the system's choice.
fn free_port(hosts: &[IpAddr], standard: u16, taken: &[u16]) -> Result<u16> {
    const TRIES: usize = 50;
    let free = |port: u16| {
        !taken.contains(&port)
            && hosts
                .iter()
                .all(|host| UdpSocket::bind((*host, port)).is_ok() && TcpListener::bind((*host, port)).is_ok())
    };
    if free(standard) {
        return Ok(standard);
    }
    for _ in 0..TRIES {
        let socket = UdpSocket::bind((hosts[0], 0)).context("loopback cannot be bound")?;
        let port = socket.local_addr()?.port();
        drop(socket);
        if free(port) {
            return Ok(port);
        }
    }
    bail!("no free port on loopback instead of {standard}")
}

/// 256 random bits.
fn random_secret() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no randomness from the system: {error}"))?;
    Ok(STANDARD_NO_PAD.encode(bytes))
}

fn issue(secret: &str) -> Result<Token> {
    let ring = KeyRing::new(vec![Secret::new(KEY_ID, secret)?])?;
    Ok(Issuer::new(&ring).issue_classic(Some("alice"), unix_secs() + TOKEN_LIFETIME_SECS)?)
}

impl Printed<'_> {
    fn text(&self) -> String {
        let mut text = String::from("The edge is up. Ctrl-C ends it and removes what it made.\n\n");
        for (name, addresses) in
            [("udp", &self.listening.udp), ("tcp", &self.listening.tcp), ("tls", &self.listening.tls)]
        {
            let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "  {name:<10} {}", all.join("  "));
        }
        if let Some(address) = self.listening.tokens {
            let _ = writeln!(text, "  {:<10} https://{address}/v1/tokens (mutual TLS)", "tokens");
        }
        if let Some(address) = self.listening.telemetry {
            let _ = writeln!(text, "  {:<10} http://{address}/metrics", "telemetry");
        }
        let _ =
            writeln!(text, "  {:<10} username {}  password {}", "token", self.token.username, self.token.password());
        let dir = quoted(&self.dir.display().to_string());
        if let Some(address) = self.listening.tokens {
            let _ = write!(
                text,
                "\nAsk the token service for another one:\n  curl --cacert {dir}/ca.pem --cert {dir}/worker.pem --key {dir}/worker.key \
                 -H 'content-type: application/json' -d '{{\"identity\":\"bob\",\"location\":\"internet\",\"duration_secs\":600}}' \
                 https://{address}/v1/tokens\n"
            );
        }
        let _ = write!(text, "\nProve that it relays, in another terminal:\n  {} doctor", quoted(self.program));
        for server in self.servers() {
            let _ = write!(text, " --server '{server}'");
        }
        let _ = writeln!(
            text,
            " --ca {dir}/ca.pem --username '{}' --password '{}'",
            self.token.username,
            self.token.password()
        );
        text
    }

    /// What the doctor is to try: `turn:` for UDP and TCP, `turns:` for TLS, every address.
    fn servers(&self) -> Vec<String> {
        let turn = self.listening.udp.iter().map(|address| format!("turn:{address}"));
        let turns = self.listening.tls.iter().map(|address| format!("turns:{address}"));
        turn.chain(turns).collect()
    }
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+');
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> Ports {
        let hosts = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        Ports { hosts, turn: 3478, turns: 5349, tokens: 8443, telemetry: 9641 }
    }

    #[test]
    fn the_embedded_configuration_is_valid_and_all_on_loopback() {
        let scratch = Scratch::new().unwrap();
        let loaded = configure(scratch.path(), &ports(), &random_secret().unwrap(), "warn").unwrap();
        let edge = &loaded.config.edge;
        let listeners = edge.udp.iter().chain(&edge.tcp).chain(&edge.tls).map(SocketAddr::ip);
        assert!(listeners.chain(edge.relay.addresses.iter().copied()).all(|address| address.is_loopback()));
        assert!(edge.tokens.as_ref().is_some_and(|tokens| tokens.listen.ip().is_loopback()));
        assert!(loaded.config.telemetry.listen.ip().is_loopback());
    }

    #[test]
    fn a_taken_standard_port_is_replaced_by_a_free_one() {
        let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
        let held = holder.local_addr().unwrap().port();
        let hosts = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let chosen = free_port(&hosts, held, &[]).unwrap();
        assert_ne!(chosen, held);
        drop(holder);
        assert_ne!(free_port(&hosts, chosen, &[chosen]).unwrap(), chosen);
    }

    #[test]
    fn each_run_has_secrets_of_its_own() {
        assert_ne!(random_secret().unwrap(), random_secret().unwrap());
    }

    #[test]
    fn the_printed_line_is_a_whole_command() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let listening = Listening {
            udp: vec![address(3478)],
            tls: vec![address(5349)],
            tokens: Some(address(8443)),
            ..Listening::default()
        };
        let token = issue("a-secret-of-the-tests").unwrap();
        let printed =
            Printed { listening: &listening, token: &token, dir: Path::new("/run/x"), program: "/opt/my bin/postern" };
        let line = printed.text().lines().find(|line| line.contains(" doctor ")).unwrap().to_owned();
        for part in [
            "'/opt/my bin/postern' doctor",
            "--server 'turn:127.0.0.1:3478'",
            "--server 'turns:127.0.0.1:5349'",
            "--ca /run/x/ca.pem",
            token.password(),
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
