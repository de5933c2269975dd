//! `postern firewall`: rules that open exactly the ports of a configuration.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use ipnet::IpNet;
use postern_config::{Config, Opening, PortRange, Protocol, Purpose};

use crate::output;

/// Arguments of `postern firewall`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration to make rules for
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What the rules are for
    #[arg(long, value_enum, default_value_t = Format::Nftables)]
    format: Format,
}

/// Firewalls that rules can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table of its own, for `nft -f`
    Nftables,
    /// PowerShell with New-NetFirewallRule
    Windows,
}

/// Runs `postern firewall`: rules on standard output, findings on standard error; exit code 1 if the file cannot be used.
///
/// # Errors
/// When this machine does not tell its addresses.
pub fn run(args: Args) -> Result<ExitCode> {
    match postern_config::load(&args.config, &postern_net::system::own_addresses()?) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                output::complain(format_args!("{warning} (warning)"));
            }
            output::print(rules(&loaded.config, args.format).map_err(|_| anyhow!("rules cannot be written"))?)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            for error in &errors {
                output::complain(error);
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Rules for `config`.
///
/// # Errors
/// None: the signature is that of writing to a string.
pub fn rules(config: &Config, format: Format) -> Result<String, fmt::Error> {
    let mut out = String::new();
    match format {
        Format::Nftables => nftables(&mut out, config)?,
        Format::Windows => windows(&mut out, config)?,
    }
    Ok(out)
}

/// Networks that the relay itself keeps clients from unless they are allowed; the rules are a second guard.
const PRIVATE_V4: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, \
                          192.168.0.0/16, 198.18.0.0/15";
const PRIVATE_V6: &str = "fc00::/7, fe80::/10, fec0::/10";

fn nftables(out: &mut String, config: &Config) -> fmt::Result {
    let openings: Vec<Opening> = config.openings().into_iter().filter(|o| !o.address.is_loopback()).collect();
    writeln!(out, "#!/usr/sbin/nft -f")?;
    writeln!(out, "# Made by `postern firewall` from {}; make it anew when that changes.", config.path.display())?;
    writeln!(out, "# To the addresses below, only the ports below are open; other addresses are left alone.")?;
    writeln!(out, "# Ports for administration, which stay open there too:")?;
    writeln!(out, "define administration = {{ 22 }}\n")?;
    // Declared first, so that the deletion does not fail where there is none yet.
    writeln!(out, "table inet postern\ndelete table inet postern\n\ntable inet postern {{")?;
    untracked(out, &openings)?;
    input(out, &openings)?;
    output(out, config)?;
    writeln!(out, "}}")
}

/// Media outside connection tracking: its table would fill, and each packet would cost a look-up.
fn untracked(out: &mut String, openings: &[Opening]) -> fmt::Result {
    let media = || openings.iter().filter(|opening| opening.protocol == Protocol::Udp);
    for (chain, hook, address, port) in
        [("untracked_in", "prerouting", "daddr", "dport"), ("untracked_out", "output", "saddr", "sport")]
    {
        writeln!(out, "\tchain {chain} {{\n\t\ttype filter hook {hook} priority raw; policy accept;")?;
        for opening in media() {
            let address = matched(opening.address, address);
            writeln!(out, "\t\t{address} udp {port} {} notrack", ports(opening.ports))?;
        }
        writeln!(out, "\t}}\n")?;
    }
    Ok(())
}

fn input(out: &mut String, openings: &[Opening]) -> fmt::Result {
    writeln!(out, "\tchain input {{\n\t\ttype filter hook input priority filter; policy accept;")?;
    writeln!(out, "\t\tiifname \"lo\" accept\n\t\tct state established,related accept")?;
    for opening in openings {
        let (address, ports) = (matched(opening.address, "daddr"), ports(opening.ports));
        writeln!(out, "\t\t{address} {} dport {ports} accept comment \"{}\"", opening.protocol, opening.key)?;
    }
    writeln!(out, "\t\ttcp dport $administration accept")?;
    let addresses: BTreeSet<IpAddr> =
        openings.iter().map(|opening| opening.address).filter(|address| !address.is_unspecified()).collect();
    for address in addresses {
        writeln!(out, "\t\t{} meta l4proto {{ tcp, udp }} drop", matched(address, "daddr"))?;
    }
    writeln!(out, "\t}}\n")
}

fn output(out: &mut String, config: &Config) -> fmt::Result {
    let relay = &config.edge.relay;
    if relay.addresses.iter().all(IpAddr::is_loopback) {
        return Ok(());
    }
    writeln!(out, "\tchain output {{\n\t\ttype filter hook output priority filter; policy accept;")?;
    writeln!(out, "\t\toifname \"lo\" accept")?;
    for address in relay.addresses.iter().filter(|address| !address.is_loopback()) {
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let from = format!("{family} saddr {address} {protocol} sport {}", ports(relay.ports));
            for (networks, verdict) in [(&relay.deny_peers, "drop"), (&relay.allow_peers, "accept")] {
                let networks = of_family(networks, address.is_ipv4());
                if !networks.is_empty() {
                    writeln!(out, "\t\t{from} {family} daddr {{ {networks} }} {verdict}")?;
                }
            }
            let private = if address.is_ipv4() { PRIVATE_V4 } else { PRIVATE_V6 };
            writeln!(out, "\t\t{from} {family} daddr {{ {private} }} drop")?;
        }
    }
    writeln!(out, "\t}}")
}

fn matched(address: IpAddr, field: &str) -> String {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => "meta nfproto ipv4".into(),
        IpAddr::V6(v6) if v6.is_unspecified() => "meta nfproto ipv6".into(),
        IpAddr::V4(v4) => format!("ip {field} {v4}"),
        IpAddr::V6(v6) => format!("ip6 {field} {v6}"),
    }
}

fn ports(ports: PortRange) -> String {
    if ports.first == ports.last { ports.first.to_string() } else { ports.to_string() }
}

/// The networks of one family, without those that lie in another one of the list: a set of nftables holds no overlaps.
fn of_family(networks: &[IpNet], ipv4: bool) -> String {
    let v4 = networks.iter().filter_map(|network| match network {
        IpNet::V4(v4) if ipv4 => Some(*v4),
        _ => None,
    });
    let v6 = networks.iter().filter_map(|network| match network {
        IpNet::V6(v6) if !ipv4 => Some(*v6),
        _ => None,
    });
    let v4 = ipnet::Ipv4Net::aggregate(&v4.collect()).into_iter().map(IpNet::V4);
    let v6 = ipnet::Ipv6Net::aggregate(&v6.collect()).into_iter().map(IpNet::V6);
    v4.chain(v6).map(|network| network.to_string()).collect::<Vec<_>>().join(", ")
}

fn windows(out: &mut String, config: &Config) -> fmt::Result {
    writeln!(out, "# Made by `postern firewall` from {}; make it anew when that changes.", config.path.display())?;
    writeln!(out, "# Run as administrator. What is not allowed here stays blocked by Windows' own default.")?;
    writeln!(out, "Remove-NetFirewallRule -Group \"Postern\" -ErrorAction SilentlyContinue")?;
    for opening in config.openings().into_iter().filter(|opening| !opening.address.is_loopback()) {
        let (key, ports) = (opening.key, ports(opening.ports));
        let protocol = opening.protocol.to_string().to_uppercase();
        let (local, named) = match opening.address {
            IpAddr::V4(v4) if v4.is_unspecified() => ("Any".to_string(), "any IPv4 address".to_string()),
            IpAddr::V6(v6) if v6.is_unspecified() => ("Any".to_string(), "any IPv6 address".to_string()),
            address => (address.to_string(), address.to_string()),
        };
        // Metrics ask for no password: the local subnet alone, until the administrator says otherwise.
        let remote = if opening.purpose == Purpose::Metrics { " -RemoteAddress LocalSubnet" } else { "" };
        writeln!(
            out,
            "New-NetFirewallRule -Group \"Postern\" -DisplayName \"Postern {key} {protocol} {ports} on {named}\" \
             -Direction Inbound -Action Allow -Protocol {protocol} -LocalAddress {local} -LocalPort {ports}{remote} | Out-Null"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;
    use postern_config::{Source, load_source};

    const EDGE: &str = r#"[edge]
realm = "example.test"
udp = ["203.0.113.10:3478", "[2001:db8::10]:3478"]
tcp = ["0.0.0.0:3479"]
[edge.relay]
addresses = ["203.0.113.10", "2001:db8::10"]
ports = "50000-50999"
allow_peers = ["10.20.0.0/24", "10.20.0.0/16", "fd00:20::/64"]
deny_peers = ["198.51.100.0/24"]
[edge.auth]
secrets = [{ id = "2026a", value = "sixteen-bytes-at-the-least" }]
[telemetry]
listen = "10.20.0.10:9641"
"#;

    const CALL: &str = r#"[router]
tcp = ["10.20.0.21:5060"]
udp = ["10.20.0.21:5060"]
um_services = ["sip:10.20.0.20:5062;transport=tcp"]
[um]
tcp = ["10.20.0.20:5062"]
[worker]
addresses = ["10.20.0.20"]
rtp_ports = "20000-20999"
[mailbox]
[[gateway]]
address = "203.0.113.0/24"
dial_plan = "office"
[[dial_plan]]
name = "office"
pilots = ["7000"]
"#;

    fn config(text: &str) -> Config {
        let loaded = load_source(&Source::text("edge.toml", text, Path::new("/")), &[]);
        loaded.unwrap_or_else(|errors| panic!("{errors:?}")).config
    }

    fn lines(format: Format, text: &str) -> Vec<String> {
        rules(&config(text), format).expect("a string").lines().map(|line| line.trim().to_string()).collect()
    }

    #[test]
    fn each_port_is_accepted_exactly_and_the_rest_of_its_address_is_not() {
        let lines = lines(Format::Nftables, EDGE);
        for line in [
            "ip daddr 203.0.113.10 udp dport 3478 accept comment \"edge.udp\"",
            "ip6 daddr 2001:db8::10 udp dport 3478 accept comment \"edge.udp\"",
            "meta nfproto ipv4 tcp dport 3479 accept comment \"edge.tcp\"",
            "ip daddr 203.0.113.10 udp dport 50000-50999 accept comment \"edge.relay\"",
            "ip6 daddr 2001:db8::10 tcp dport 50000-50999 accept comment \"edge.relay\"",
            "ip daddr 10.20.0.10 tcp dport 9641 accept comment \"telemetry.listen\"",
            "ip daddr 203.0.113.10 meta l4proto { tcp, udp } drop",
            "ip6 daddr 2001:db8::10 meta l4proto { tcp, udp } drop",
        ] {
            assert!(lines.iter().any(|l| l == line), "no line {line:?} in\n{}", lines.join("\n"));
        }
        let accepted = lines.iter().filter(|line| line.contains("dport") && line.contains("comment")).count();
        assert_eq!(accepted, config(EDGE).openings().len());
    }

    #[test]
    fn media_is_outside_connection_tracking_in_both_directions() {
        let lines = lines(Format::Nftables, EDGE);
        for line in [
            "ip daddr 203.0.113.10 udp dport 50000-50999 notrack",
            "ip saddr 203.0.113.10 udp sport 50000-50999 notrack",
        ] {
            assert!(lines.iter().any(|l| l == line), "no line {line:?}");
        }
    }

    #[test]
    fn the_relay_range_reaches_allowed_private_networks_alone() {
        let lines = lines(Format::Nftables, EDGE);
        let from = "ip saddr 203.0.113.10 udp sport 50000-50999 ip daddr";
        let at = |line: String| {
            lines.iter().position(|l| *l == line).unwrap_or_else(|| panic!("no line {line:?} in\n{}", lines.join("\n")))
        };
        let denied = at(format!("{from} {{ 198.51.100.0/24 }} drop"));
        let allowed = at(format!("{from} {{ 10.20.0.0/16 }} accept"));
        let private = at(format!("{from} {{ {PRIVATE_V4} }} drop"));
        assert!(denied < allowed && allowed < private);
    }

    #[test]
    fn loopback_needs_no_rule() {
        let text = EDGE.replace("listen = \"10.20.0.10:9641\"", "");
        assert!(!lines(Format::Nftables, &text).join("\n").contains("9641"));
        assert!(!lines(Format::Windows, &text).join("\n").contains("9641"));
    }

    #[test]
    fn a_call_needs_its_own_ports_and_no_relay() {
        let nftables = lines(Format::Nftables, CALL);
        for line in [
            "ip daddr 10.20.0.21 tcp dport 5060 accept comment \"router.tcp\"",
            "ip daddr 10.20.0.21 udp dport 5060 accept comment \"router.udp\"",
            "ip daddr 10.20.0.20 tcp dport 5062 accept comment \"um.tcp\"",
            "ip daddr 10.20.0.20 tcp dport 5065 accept comment \"worker.slots\"",
            "ip daddr 10.20.0.20 tcp dport 5067 accept comment \"worker.slots\"",
            "ip daddr 10.20.0.20 udp dport 20000-20999 accept comment \"worker.rtp_ports\"",
            "ip daddr 10.20.0.20 udp dport 20000-20999 notrack",
            "ip daddr 10.20.0.20 meta l4proto { tcp, udp } drop",
        ] {
            assert!(nftables.iter().any(|l| l == line), "no line {line:?} in\n{}", nftables.join("\n"));
        }
        assert_eq!(nftables.iter().filter(|line| line.contains("comment")).count(), 6);
        assert!(!nftables.join("\n").contains("chain output"));
        let windows = lines(Format::Windows, CALL);
        let rules: Vec<&String> = windows.iter().filter(|line| line.starts_with("New-NetFirewallRule")).collect();
        assert_eq!(rules.len(), 6);
        assert!(rules.iter().all(|rule| rule.contains(" -LocalPort ")), "a rule without ports: {rules:?}");
    }

    #[test]
    fn windows_rules_name_address_port_and_protocol() {
        let lines = lines(Format::Windows, EDGE);
        let rules: Vec<&String> = lines.iter().filter(|line| line.starts_with("New-NetFirewallRule")).collect();
        assert_eq!(rules.len(), config(EDGE).openings().len());
        assert!(
            rules[0].ends_with("-Protocol UDP -LocalAddress 203.0.113.10 -LocalPort 3478 | Out-Null"),
            "{}",
            rules[0]
        );
        assert!(rules[2].contains("-Protocol TCP -LocalAddress Any -LocalPort 3479 "), "{}", rules[2]);
        assert!(rules[3].contains("-LocalPort 50000-50999 "), "{}", rules[3]);
    }

    #[test]
    fn nft_accepts_the_rules() {
        for text in [EDGE.to_string(), CALL.to_string(), format!("{CALL}{EDGE}")] {
            nft_accepts(&text);
        }
    }

    fn nft_accepts(text: &str) {
        let Ok(mut nft) = Command::new("nft")
            .args(["-c", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
        else {
            eprintln!("skipped: nft is not installed (Debian package nftables)");
            return;
        };
        let rules = rules(&config(text), Format::Nftables).expect("a string");
        std::io::Write::write_all(&mut nft.stdin.take().expect("piped"), rules.as_bytes()).expect("nft reads");
        let done = nft.wait_with_output().expect("nft ends");
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        if told.contains("Operation not permitted") {
            eprintln!("skipped: nft may not check rules as this user");
            return;
        }
        assert!(done.status.success(), "{told}\n{rules}");
    }
}
