//! `postern doctor`: an endpoint outside that proves a relay, transport by transport, and says what to mend.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::doctor_local as local;
use crate::doctor_message::Credentials;
use crate::doctor_nat as nat;
use crate::doctor_report::{Finding, Report};
use crate::doctor_session::Session;
use crate::doctor_target::{Route, Server, Transport, resolve};
use crate::doctor_tls::Trust;
use crate::doctor_token::{self as token, TokenService};
use crate::output;

/// What everything but the speech may take, all waits for silence together.
const OVERHEAD_MAX: Duration = Duration::from_secs(60);

/// Longest stream of speech, in seconds: an allocation's lifetime, which the doctor does not refresh.
const SPEECH_SECS_MAX: u32 = 300;

/// Arguments of `postern doctor`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// turn: or turns: URI, or HOST[:PORT] for UDP, TCP and TLS alike; may be given several times
    #[arg(long = "server", value_name = "URI")]
    servers: Vec<Server>,
    /// Username of a token
    #[arg(long, requires = "password")]
    username: Option<String>,
    /// Password of the same token
    #[arg(long, requires = "username")]
    password: Option<String>,
    /// PEM file of the authorities to trust, instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Token service to take a token and servers from, `https://HOST:PORT/v1/tokens`
    #[arg(long, value_name = "URL", conflicts_with = "username", requires = "client_cert", requires = "client_key")]
    tokens_url: Option<String>,
    /// PEM file of the client certificate for the token service
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// Identity to ask the token service for
    #[arg(long, default_value = "doctor")]
    identity: String,
    /// Seconds of speech
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(SPEECH_SECS_MAX)))]
    seconds: u32,
    /// Try these transports alone
    #[arg(long, value_enum, value_delimiter = ',')]
    transport: Vec<Transport>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// On the edge itself: examine what this machine gives to the configuration
    #[arg(long, requires = "config", conflicts_with_all = ["servers", "username", "tokens_url"])]
    local: bool,
    /// Configuration of the edge, for --local
    #[arg(long, value_name = "FILE", requires = "local")]
    config: Option<PathBuf>,
}

/// Findings as they come in: what is there when the time limit strikes is still reported.
#[derive(Clone, Default)]
pub(crate) struct Notebook(Arc<Mutex<Report>>);

impl Notebook {
    pub fn open(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, finding: Finding) {
        self.open().findings.push(finding);
    }
}

/// Runs `postern doctor`; the exit code is 0 only if media flowed both ways over at least one transport and nothing that was
/// asked for failed, with `--local` only if nothing failed.
///
/// # Errors
/// When the arguments name nothing that can be tried.
pub async fn run(args: Args) -> Result<ExitCode> {
    if let (true, Some(path)) = (args.local, &args.config) {
        let report = local::examine(path);
        let passed = !report.failed();
        let verdict = if passed { "nothing here keeps the edge from relaying" } else { "FAILED: see above" };
        return print(&report, args.json, passed, verdict);
    }
    let notebook = Notebook::default();
    let limit = Duration::from_secs(args.seconds.into()) + OVERHEAD_MAX;
    let json = args.json;
    match timeout(limit, examine(args, notebook.clone())).await {
        Ok(outcome) => outcome?,
        Err(_) => notebook.note(Finding::fail(
            "time limit",
            format!("not done after {} s; what is missing above was not examined", limit.as_secs()),
            "repeat with one --transport at a time",
        )),
    }
    let report = notebook.open().clone();
    let passed = report.media_flowed() && !report.failed();
    let verdict = verdict(&report);
    print(&report, json, passed, &verdict)
}

fn print(report: &Report, json: bool, passed: bool, verdict: &str) -> Result<ExitCode> {
    let text = if json { report.json(passed, verdict)? + "\n" } else { report.text(verdict) };
    output::print(text).context("the report cannot be printed")?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verdict(report: &Report) -> String {
    let flowed: Vec<&str> =
        report.media.iter().filter(|media| media.flowed()).map(|media| media.path.as_str()).collect();
    match (flowed.is_empty(), report.failed()) {
        (true, _) => "FAILED: media did not flow both ways over any transport".into(),
        (false, true) => format!("FAILED: see above; media flowed both ways over {}", flowed.join(", ")),
        (false, false) => format!("passed: media flowed both ways over {}", flowed.join(", ")),
    }
}

async fn examine(args: Args, notebook: Notebook) -> Result<()> {
    let trust = Arc::new(Trust::load(args.ca.as_deref())?);
    let (servers, credentials) = match (args.tokens_url, args.username, args.password) {
        (Some(url), ..) => {
            let (Some(certificate), Some(key)) = (args.client_cert, args.client_key) else {
                bail!("--tokens-url needs --client-cert and --client-key");
            };
            let service = TokenService { url, certificate, key };
            let issued = token::fetch(&service, &trust, &args.identity).await?;
            notebook.note(Finding::ok("token service", format!("issued a token for {} s", issued.lifetime_secs)));
            let servers = if args.servers.is_empty() { issued.servers } else { args.servers };
            (servers, issued.credentials)
        }
        (None, Some(username), Some(password)) => (args.servers, Credentials { username, password }),
        _ => bail!("a credential is needed: --username and --password, or --tokens-url"),
    };
    if servers.is_empty() {
        bail!("a server is needed: --server turn:HOST, turns:HOST or HOST");
    }
    let routes = resolve(&servers, &args.transport).await?;
    let udp_open = examine_udp(&routes, &notebook).await;

    let speech_ids = random_u64()?;
    let mut sessions = JoinSet::new();
    for (number, route) in routes.into_iter().enumerate() {
        // What UDP told already need not be waited for again.
        if route.transport == Transport::Udp && !udp_open.contains(&route.path()) {
            continue;
        }
        let session = Session {
            route,
            credentials: credentials.clone(),
            trust: trust.clone(),
            notebook: notebook.clone(),
            seconds: args.seconds,
            stream_id: speech_ids.wrapping_add(number as u64),
        };
        sessions.spawn(session.run());
    }
    while let Some(ended) = sessions.join_next().await {
        ended.context("a part of the doctor broke")?;
    }
    order(&mut notebook.open());
    Ok(())
}

/// Examines every UDP route; answers the paths over which datagrams came back.
async fn examine_udp(routes: &[Route], notebook: &Notebook) -> Vec<String> {
    let mut probes = JoinSet::new();
    for route in routes.iter().filter(|route| route.transport == Transport::Udp) {
        let (path, server) = (route.path(), route.addresses[0]);
        probes.spawn(async move { (path.clone(), nat::examine(&path, server).await) });
    }
    let mut open = Vec::new();
    for (path, examined) in probes.join_all().await {
        if examined.udp_open {
            open.push(path);
        }
        notebook.open().findings.extend(examined.findings);
    }
    open
}

/// Sessions run side by side: puts their findings one after the other again.
fn order(report: &mut Report) {
    const PATHS: [&str; 6] = ["udp/ipv4", "udp/ipv6", "tcp/ipv4", "tcp/ipv6", "tls/ipv4", "tls/ipv6"];
    let place = |text: &str| PATHS.iter().position(|path| text.starts_with(path));
    report.findings.sort_by_key(|finding| place(&finding.check));
    report.media.sort_by_key(|media| place(&media.path));
}

fn random_u64() -> Result<u64> {
    getrandom::u64().map_err(|error| anyhow!("no randomness from the system: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor_report::{Direction, Media, Status};

    #[test]
    fn the_verdict_of_an_empty_report_is_failure() {
        assert!(verdict(&Report::default()).starts_with("FAILED"));
    }

    #[test]
    fn the_verdict_names_the_paths_and_what_failed_beside_them() {
        let direction = Direction { sent: 10, received: 10, ..Direction::default() };
        let media = Media {
            path: "tcp/ipv4".into(),
            peer: "own socket",
            outward: direction,
            back: direction,
            round_trip: None,
            trusted: true,
        };
        let mut report = Report { findings: vec![], media: vec![media] };
        assert_eq!(verdict(&report), "passed: media flowed both ways over tcp/ipv4");
        report.findings.push(Finding::fail("tls/ipv4 certificate expiry", "expired", "renew"));
        assert_eq!(verdict(&report), "FAILED: see above; media flowed both ways over tcp/ipv4");
    }

    #[test]
    fn findings_are_ordered_by_transport() {
        let mut report = Report::default();
        for check in ["tls/ipv4 a", "udp/ipv4 b", "token service", "tcp/ipv4 c"] {
            report.findings.push(Finding::ok(check, ""));
        }
        order(&mut report);
        let checks: Vec<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
        assert_eq!(checks, ["token service", "udp/ipv4 b", "tcp/ipv4 c", "tls/ipv4 a"]);
        assert!(report.findings.iter().all(|finding| finding.status == Status::Ok));
    }
}
