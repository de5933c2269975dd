//! `postern check`: judges a configuration, and says what it would open and what others must do for it.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use ipnet::IpNet;
use postern_config::{Config, Finding, GatewayStatus, Loaded, Opening, Purpose, RouterMode, Security};

use crate::output;

/// What stands for an address that this machine does not tell.
const INSIDE_ADDRESS_UNKNOWN: &str = "EDGE-INSIDE-ADDRESS";

/// Arguments of `postern check`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration to judge
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs `postern check`: findings and summary on standard output; exit code 1 if the file cannot be used.
///
/// # Errors
/// When this machine does not tell its addresses.
pub fn run(args: Args) -> Result<ExitCode> {
    let verdict = check(&args.file, &postern_net::system::own_addresses()?);
    output::print(&verdict.report)?;
    Ok(if verdict.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What [`check`] came to.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Lines for people: `FILE:LINE: KEY: what; remedy`, then what the configuration means.
    pub report: String,
    /// Whether an edge would start with it; warnings do not stand in the way.
    pub usable: bool,
}

/// Judges the file at `path` on a machine with these addresses.
pub fn check(path: &Path, own_addresses: &[IpAddr]) -> Verdict {
    let mut report = String::new();
    let loaded = postern_config::load(path, own_addresses);
    let usable = loaded.is_ok();
    // Writing to a String cannot fail.
    let _ = match &loaded {
        Ok(loaded) => describe(&mut report, loaded, own_addresses),
        Err(errors) => refuse(&mut report, path, errors),
    };
    Verdict { report, usable }
}

fn refuse(out: &mut String, path: &Path, errors: &[Finding]) -> fmt::Result {
    for error in errors {
        writeln!(out, "{error}")?;
    }
    writeln!(out, "{}: cannot be used: {}", path.display(), counted(errors.len(), "error"))
}

fn describe(out: &mut String, loaded: &Loaded, own_addresses: &[IpAddr]) -> fmt::Result {
    for warning in &loaded.warnings {
        writeln!(out, "{warning} (warning)")?;
    }
    let config = &loaded.config;
    let warnings = if loaded.warnings.is_empty() {
        String::new()
    } else {
        format!(", with {}", counted(loaded.warnings.len(), "warning"))
    };
    writeln!(out, "{}: can be used{warnings}", config.path.display())?;
    openings(out, &config.openings())?;
    if config.roles.edge {
        peers(out, config)?;
        tokens(out, config)?;
        routes(out, config, own_addresses)?;
    }
    calls(out, config)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn openings(out: &mut String, openings: &[Opening]) -> fmt::Result {
    writeln!(out, "\nIt opens:")?;
    for opening in openings {
        let who = match opening.purpose {
            Purpose::Clients => "clients",
            Purpose::Peers => "peers of allocations",
            Purpose::Tokens => "callers with a certificate",
            Purpose::Signalling => "SIP of gateways and routers",
            Purpose::Media => "media of gateways and phones",
            Purpose::Web => "browsers of mailbox owners",
            Purpose::Metrics => "Prometheus; asks for no password",
        };
        let ports = if opening.ports.first == opening.ports.last {
            opening.ports.first.to_string()
        } else {
            opening.ports.to_string()
        };
        let address = opening.address.to_string();
        writeln!(out, "  {:<22} {} {address:<24} {ports:<12} for {who}", opening.key, opening.protocol)?;
    }
    Ok(())
}

fn peers(out: &mut String, config: &Config) -> fmt::Result {
    let relay = &config.edge.relay;
    writeln!(out, "\nClients reach through it:")?;
    if relay.allow_peers.is_empty() {
        writeln!(out, "  public addresses; nothing private, since allow_peers is empty")?;
    } else {
        writeln!(out, "  public addresses, and of private ones {}", listed(&relay.allow_peers))?;
    }
    if !relay.deny_peers.is_empty() {
        writeln!(out, "  but not {}", listed(&relay.deny_peers))?;
    }
    Ok(())
}

fn tokens(out: &mut String, config: &Config) -> fmt::Result {
    let ids: Vec<&str> = config.edge.auth.secrets.iter().map(|secret| secret.id.as_str()).collect();
    writeln!(out, "\nTokens are made with the key {} and verified with {}.", ids[0], listed(&ids))?;
    let Some(tokens) = &config.edge.tokens else {
        return writeln!(out, "The token service is off; `postern token issue` makes tokens by hand.");
    };
    writeln!(out, "The token service names to clients")?;
    writeln!(out, "  outside: {}", listed(&tokens.internet))?;
    writeln!(out, "  inside:  {}", listed(&tokens.intranet))
}

/// Peers inside see the relay address as source of media, and must send their answers to it, not to a default gateway.
fn routes(out: &mut String, config: &Config, own_addresses: &[IpAddr]) -> fmt::Result {
    let relay = &config.edge.relay;
    let mut commands: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    for network in relay.allow_peers.iter().filter(|network| network.prefix_len() > 0) {
        let inside = inside_address(network, config, own_addresses);
        for address in relay.addresses.iter().filter(|address| is_of(network, address)) {
            // On the peers' own segment, or on loopback, no route is needed.
            if network.contains(address) || address.is_loopback() {
                continue;
            }
            let via = inside.map_or(INSIDE_ADDRESS_UNKNOWN.to_string(), |inside| inside.to_string());
            let command = match address {
                IpAddr::V4(_) => format!("ip route replace {address}/32 via {via}"),
                IpAddr::V6(_) => format!("ip -6 route replace {address}/128 via {via}"),
            };
            commands.entry(command).or_default().push(*network);
        }
    }
    if commands.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nWorkers see the relay address as source of media and answer to it. Where the way back does not lead"
    )?;
    writeln!(out, "through this edge already, add on the hosts of")?;
    for (command, networks) in &commands {
        writeln!(out, "  {}:  {command}", listed(networks))?;
    }
    if commands.keys().any(|command| command.contains(INSIDE_ADDRESS_UNKNOWN)) {
        let what = "is this edge's address on their side, or that of the router between";
        writeln!(out, "{INSIDE_ADDRESS_UNKNOWN} {what}: no address of this machine lies in their network.")?;
    }
    Ok(())
}

/// Who may call, under which plan, and where calls go.
fn calls(out: &mut String, config: &Config) -> fmt::Result {
    if config.gateways.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nCalls are taken from")?;
    for gateway in &config.gateways {
        let plan = config.dial_plans.iter().find(|plan| plan.name == gateway.dial_plan);
        let security = match plan.map(|plan| plan.security) {
            Some(Security::Secured) => "mutual TLS and SRTP",
            Some(Security::SipSecured) => "mutual TLS",
            _ => "TCP or TLS",
        };
        let status = match gateway.status {
            GatewayStatus::Enabled => "",
            GatewayStatus::NoNewCalls => "; new ones are answered 480",
            GatewayStatus::Disabled => "; disabled: answered 403",
        };
        writeln!(out, "  {:<22} into plan {}, by {security}{status}", gateway.peer.to_string(), gateway.dial_plan)?;
    }
    for group in &config.hunt_groups {
        writeln!(out, "  {:<22} into plan {}, to {}", group.gateway.to_string(), group.dial_plan, group.pilot)?;
    }
    if let Some(router) = &config.router {
        let how = match router.mode {
            RouterMode::Redirect => "redirected",
            RouterMode::Proxy => "proxied",
            RouterMode::SingleHop => "redirected straight to the workers of",
        };
        writeln!(out, "and {how} to {}", listed(&router.um_services))?;
    }
    outgoing(out, config)?;
    if let Some(worker) = &config.worker {
        let pairs = (u32::from(worker.rtp_ports.last) + 1 - u32::from(worker.rtp_ports.first).next_multiple_of(2)) / 2;
        let edges: Vec<String> = worker.edges.iter().map(|edge| format!("{}:{}", edge.host, edge.port)).collect();
        let edges = if edges.is_empty() { "none: the inside alone is served".into() } else { listed(&edges) };
        writeln!(out, "Workers have {pairs} pairs of RTP ports; edges: {edges}")?;
    }
    Ok(())
}

/// What leaves by itself, and where users of a plan may call.
fn outgoing(out: &mut String, config: &Config) -> fmt::Result {
    for gateway in &config.gateways {
        let Some(target) = &gateway.target else { continue };
        let what = match (gateway.outcalls, gateway.mwi) {
            (true, true) => "takes our calls, and is told of messages that wait",
            (true, false) => "takes our calls",
            (false, true) => "is told of messages that wait",
            (false, false) => continue,
        };
        writeln!(out, "{} {what}, at {target}", gateway.peer)?;
    }
    for plan in config.dial_plans.iter().filter(|plan| !plan.allow.is_empty()) {
        writeln!(out, "Owners of mailboxes in plan {} may have called {}", plan.name, listed(&plan.allow))?;
    }
    Ok(())
}

/// The address by which hosts of `network` reach this machine directly.
fn inside_address(network: &IpNet, config: &Config, own_addresses: &[IpAddr]) -> Option<IpAddr> {
    let listening = config.edge.tokens.iter().map(|tokens| tokens.listen.ip());
    listening.chain(own_addresses.iter().copied()).find(|address| network.contains(address))
}

fn is_of(network: &IpNet, address: &IpAddr) -> bool {
    matches!((network, address), (IpNet::V4(_), IpAddr::V4(_)) | (IpNet::V6(_), IpAddr::V6(_)))
}

fn listed<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const EDGE: &str = r#"[edge]
realm = "example.test"
udp = ["203.0.113.10:3478"]
[edge.relay]
addresses = ["203.0.113.10", "2001:db8::10"]
allow_peers = ["10.20.0.0/24", "10.30.0.0/24", "fd00:20::/64"]
deny_peers = ["198.51.100.0/24"]
[edge.auth]
secrets = [{ id = "2026a", value = "sixteen-bytes-at-the-least" }]
"#;

    fn judged(text: &str) -> Verdict {
        let scratch = Scratch::new().expect("a directory");
        let path = scratch.path().join("edge.toml");
        std::fs::write(&path, text).expect("a file");
        let own = ["203.0.113.10", "2001:db8::10", "10.20.0.10"].map(|address| address.parse().expect("an address"));
        check(&path, &own)
    }

    #[test]
    fn a_usable_file_tells_what_it_opens() {
        let verdict = judged(EDGE);
        assert!(verdict.usable, "{}", verdict.report);
        for line in [
            "edge.udp               udp 203.0.113.10             3478         for clients",
            "edge.relay             udp 203.0.113.10             50000-59999  for peers of allocations",
            "edge.relay             tcp 2001:db8::10             50000-59999  for peers of allocations",
            "telemetry.listen       tcp 127.0.0.1                9641         for Prometheus",
            "of private ones 10.20.0.0/24, 10.30.0.0/24, fd00:20::/64",
            "but not 198.51.100.0/24",
            "Tokens are made with the key 2026a",
        ] {
            assert!(verdict.report.contains(line), "no line {line:?} in\n{}", verdict.report);
        }
        assert!(!verdict.report.contains("sixteen-bytes"));
    }

    #[test]
    fn the_route_that_the_workers_need_leads_to_the_inside_address() {
        let report = judged(EDGE).report;
        for line in [
            "10.20.0.0/24:  ip route replace 203.0.113.10/32 via 10.20.0.10",
            "10.30.0.0/24:  ip route replace 203.0.113.10/32 via EDGE-INSIDE-ADDRESS",
            "fd00:20::/64:  ip -6 route replace 2001:db8::10/128 via EDGE-INSIDE-ADDRESS",
            "EDGE-INSIDE-ADDRESS is this edge's address on their side",
        ] {
            assert!(report.contains(line), "no line {line:?} in\n{report}");
        }
    }

    #[test]
    fn no_route_is_asked_for_where_none_is_needed() {
        assert!(
            !judged(&EDGE.replace("allow_peers = [\"10.20.0.0/24\", \"10.30.0.0/24\", \"fd00:20::/64\"]", ""))
                .report
                .contains("route")
        );
        let on_their_segment = EDGE.replace("\"203.0.113.10\", \"2001:db8::10\"", "\"10.20.0.10\"");
        assert!(
            !judged(&on_their_segment.replace(", \"10.30.0.0/24\", \"fd00:20::/64\"", "")).report.contains("route")
        );
    }

    #[test]
    fn a_file_with_faults_is_not_usable_and_each_is_told() {
        let verdict =
            judged(&EDGE.replace("\"203.0.113.10\", \"2001", "\"0.0.0.0\", \"2001").replace("realm", "reaml"));
        assert!(!verdict.usable);
        for part in [
            "edge.toml:1: edge.realm: is missing",
            "edge.toml:2: edge.reaml: ",
            "did you mean realm?",
            "edge.toml:5: edge.relay.addresses[0]: is a wildcard",
            "cannot be used: 3 errors",
        ] {
            assert!(verdict.report.contains(part), "no {part:?} in\n{}", verdict.report);
        }
    }

    #[test]
    fn a_warning_is_told_and_does_not_stand_in_the_way() {
        let verdict = judged(&EDGE.replace("10.30.0.0/24", "10.30.0.1/24"));
        assert!(verdict.usable && verdict.report.contains("edge.toml:6: edge.relay.allow_peers[1]: has bits beyond"));
    }

    #[test]
    fn a_file_that_is_not_there_is_told_so() {
        let verdict = check(Path::new("/nonexistent/edge.toml"), &[]);
        assert!(!verdict.usable && verdict.report.starts_with("/nonexistent/edge.toml:1: does not exist"));
    }

    #[test]
    fn a_call_tells_who_may_call_and_where_it_goes() {
        let verdict = judged(
            r#"[router]
tcp = ["10.20.0.10:5060"]
um_services = ["sip:10.20.0.20:5062;transport=tcp"]
[[gateway]]
address = "203.0.113.0/24"
dial_plan = "office"
[[gateway]]
name = "gw.example.test"
dial_plan = "office"
status = "no-new-calls"
target = "sip:gw.example.test:5061;transport=tls"
outcalls = true
[[dial_plan]]
name = "office"
pilots = ["7000"]
allow = ["+1*", "sip:*@pbx.example.test"]
"#,
        );
        assert!(verdict.usable, "{}", verdict.report);
        for line in [
            "router.tcp             tcp 10.20.0.10               5060         for SIP of gateways and routers",
            "203.0.113.0/24         into plan office, by TCP or TLS",
            "gw.example.test        into plan office, by TCP or TLS; new ones are answered 480",
            "gw.example.test takes our calls, and is told of messages that wait, at sip:gw.example.test:5061;transport=tls",
            "Owners of mailboxes in plan office may have called +1*, sip:*@pbx.example.test",
            "and redirected to sip:10.20.0.20:5062;transport=tcp",
        ] {
            assert!(verdict.report.contains(line), "no line {line:?} in\n{}", verdict.report);
        }
        assert!(!verdict.report.contains("Clients reach"), "{}", verdict.report);
    }
}
