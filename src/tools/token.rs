//! `postern token`: issues a token with an edge's secrets, or judges one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use ipnet::IpNet;
use postern_config::{Config, Location, relays_from_listeners};
use postern_token::{Claims, Issuer, KeyRing, Secret, TokenForm, TokenJson, Verifier, parse_peer};
use serde::Serialize;

use crate::output;

/// Arguments of `postern token`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Issue a token under the first secret of a configuration; prints JSON
    Issue(IssueArgs),
    /// Judge a token with every secret of a configuration; the exit code is 0 only if it is valid
    Verify(VerifyArgs),
}

#[derive(clap::Args, Debug)]
struct IssueArgs {
    /// Configuration of the edge
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Who the token is for: quotas count by this name
    #[arg(long)]
    identity: String,
    /// Lifetime in seconds; cut to `edge.auth.token_lifetime_max_secs`
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    ttl: u32,
    /// Extended when a claim below is given, else classic
    #[arg(long, value_enum)]
    form: Option<Form>,
    /// Network or address that media may go to; may be given several times
    #[arg(long, value_delimiter = ',', value_parser = |text: &str| parse_peer(text))]
    peers: Option<Vec<IpNet>>,
    /// Allocations at once, instead of the edge's default
    #[arg(long)]
    allocations: Option<u32>,
    /// Bits per second of relayed payload, both directions together
    #[arg(long)]
    bitrate_bps: Option<u64>,
    /// Call that the token is for: reaches logs and records
    #[arg(long)]
    call_id: Option<String>,
}

#[derive(clap::Args, Debug)]
struct VerifyArgs {
    /// Configuration of the edge
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[arg(long)]
    username: String,
    #[arg(long)]
    password: String,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Classic,
    Extended,
}

/// A token with what a client must know beside it.
#[derive(Serialize)]
struct Issued {
    #[serde(flatten)]
    token: TokenJson,
    realm: String,
    lifetime_secs: u32,
    /// The relays, as `turn:` and `turns:` URIs.
    uris: Vec<String>,
}

/// Runs `postern token`.
///
/// # Errors
/// When the configuration cannot be used, or holds no token as asked for.
pub fn run(args: Args) -> Result<ExitCode> {
    let now_unix_secs = postern_net::system::unix_secs();
    match args.command {
        Command::Issue(args) => {
            let issued = issue(&load(&args.config)?, &args, now_unix_secs)?;
            output::print_line(serde_json::to_string_pretty(&issued)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify(args) => {
            let verifier = Verifier::new(&key_ring(&load(&args.config)?)?);
            let judgement = verifier.judge(args.username.as_bytes(), args.password.as_bytes(), now_unix_secs);
            output::print_line(serde_json::to_string_pretty(&judgement.to_json(now_unix_secs))?)?;
            Ok(if judgement.is_valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn load(path: &Path) -> Result<Config> {
    match postern_config::load_role(path, &[], postern_config::Role::Edge) {
        Ok(loaded) => Ok(loaded.config),
        Err(findings) => {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            bail!("the configuration cannot be used:\n{}", lines.join("\n"))
        }
    }
}

fn key_ring(config: &Config) -> Result<KeyRing> {
    let secrets = config.edge.auth.secrets.iter().map(|secret| Secret::new(&secret.id, secret.value.expose()));
    Ok(KeyRing::new(secrets.collect::<Result<_, _>>()?)?)
}

fn issue(config: &Config, args: &IssueArgs, now_unix_secs: u64) -> Result<Issued> {
    let lifetime_secs = args.ttl.min(config.edge.auth.token_lifetime_max_secs);
    let expires_unix_secs = now_unix_secs + u64::from(lifetime_secs);
    let claims = Claims {
        peers: args.peers.clone(),
        allocations: args.allocations,
        bitrate_bps: args.bitrate_bps,
        call_id: args.call_id.clone(),
        ..Claims::new(&args.identity, expires_unix_secs)
    };
    let plain = claims == Claims::new(&args.identity, expires_unix_secs);
    let form = match (args.form, plain) {
        (Some(Form::Classic), false) => {
            bail!(
                "a classic token carries no peers, allocations, bitrate or call id: leave them out, or take --form extended"
            )
        }
        (Some(Form::Classic) | None, true) => TokenForm::Classic,
        (Some(Form::Extended), _) | (None, false) => TokenForm::Extended,
    };
    let issuer = Issuer::new(&key_ring(config)?);
    let token = match form {
        TokenForm::Classic => issuer.issue_classic(Some(&args.identity), expires_unix_secs)?,
        TokenForm::Extended => issuer.issue_extended(&claims)?,
    };
    let uris = match &config.edge.tokens {
        Some(service) => service.internet.clone(),
        None => relays_from_listeners(&config.edge, Location::Intranet),
    };
    let uris = uris.iter().map(ToString::to_string).collect();
    Ok(Issued { token: token.to_json(), realm: config.edge.realm.clone(), lifetime_secs, uris })
}

#[cfg(test)]
mod tests {
    use postern_config::{Source, load_source};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn config() -> Config {
        let text = r#"
            [edge]
            realm = "example.test"
            udp = ["192.0.2.10:3478"]
            [edge.relay]
            addresses = ["192.0.2.10"]
            ports = "50000-50999"
            [edge.auth]
            secrets = [{ id = "a", value = "sixteen-bytes-at-least" }]
            token_lifetime_max_secs = 7200
        "#;
        load_source(&Source::text("test", text, Path::new("/nowhere")), &[]).unwrap().config
    }

    fn args(extra: &[&str]) -> IssueArgs {
        #[derive(clap::Parser)]
        struct Parser {
            #[command(flatten)]
            args: IssueArgs,
        }
        let fixed = ["issue", "--config", "x", "--identity", "alice"];
        <Parser as clap::Parser>::parse_from(fixed.iter().chain(extra)).args
    }

    fn judge(issued: &Issued, now: u64) -> bool {
        let verifier = Verifier::new(&key_ring(&config()).unwrap());
        verifier.judge(issued.token.username.as_bytes(), issued.token.password.as_bytes(), now).is_valid()
    }

    #[test]
    fn a_plain_token_is_classic_and_verifies_until_it_expires() {
        let issued = issue(&config(), &args(&["--ttl", "60"]), NOW).unwrap();
        assert_eq!(issued.token.username, format!("{}:alice", NOW + 60));
        assert_eq!(issued.uris, ["turn:192.0.2.10:3478?transport=udp"]);
        assert!(judge(&issued, NOW + 59));
        assert!(!judge(&issued, NOW + 60));
    }

    #[test]
    fn a_claim_makes_the_token_extended() {
        let issued = issue(&config(), &args(&["--peers", "10.20.0.0/24,10.1.2.3", "--allocations", "4"]), NOW).unwrap();
        assert!(issued.token.username.starts_with("p1.a."), "{}", issued.token.username);
        assert!(judge(&issued, NOW));
        assert!(issue(&config(), &args(&["--form", "classic", "--call-id", "c"]), NOW).is_err());
    }

    #[test]
    fn the_lifetime_is_cut_to_what_the_edge_allows() {
        assert_eq!(issue(&config(), &args(&["--ttl", "99999"]), NOW).unwrap().lifetime_secs, 7200);
    }

    #[test]
    fn the_printed_json_has_what_a_client_needs() {
        let issued = issue(&config(), &args(&[]), NOW).unwrap();
        let json = serde_json::to_value(&issued).unwrap();
        for key in ["username", "password", "realm", "lifetime_secs", "uris", "expires_unix_secs", "key_id", "form"] {
            assert!(!json[key].is_null(), "{key}");
        }
    }
}
