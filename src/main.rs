//! The command line of Postern: reads arguments, hands over to the room that does the work.

#![deny(unsafe_code)]

#[cfg(feature = "edge")]
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use postern_tools as tools;

/// A NAT-traversal media relay for the network perimeter
#[derive(Parser)]
#[command(name = "postern", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the relay and its token service
    #[cfg(feature = "edge")]
    Edge {
        /// Configuration; config/postern.toml is a commented one
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Run an edge on this machine's loopback, with nothing to prepare and nothing left behind
    #[cfg(feature = "edge")]
    Up(tools::up::Args),
    /// Judge a configuration and say what it opens
    Check(tools::check::Args),
    /// Issue or judge a token
    Token(tools::token::Args),
    /// Make a development CA with certificates for an edge and its workers
    Certs(tools::certs::Args),
    /// Prove a relay from outside, or examine an edge's machine, and say what to mend
    Doctor(Box<tools::doctor::Args>),
    /// Print firewall rules that open what a configuration needs
    Firewall(tools::firewall::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Another provider is in the dependency tree, so rustls cannot choose by itself.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            tools::output::complain(format_args!("postern: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        #[cfg(feature = "edge")]
        Command::Edge { config } => block_on(edge(config)),
        #[cfg(feature = "edge")]
        Command::Up(args) => block_on(tools::up::run(args)),
        Command::Check(args) => tools::check::run(args),
        Command::Token(args) => tools::token::run(args),
        Command::Certs(args) => tools::certs::run(args),
        Command::Doctor(args) => block_on(tools::doctor::run(*args)),
        Command::Firewall(args) => tools::firewall::run(args),
    }
}

/// Runs the edge role until a signal ends it.
#[cfg(feature = "edge")]
async fn edge(path: PathBuf) -> Result<ExitCode> {
    use postern_config::{LogFormat, Role};
    use postern_edge::{Origin, Stop};
    use postern_telemetry::Format;

    let loaded = match postern_config::load_role(&path, &postern_net::system::own_addresses()?, Role::Edge) {
        Ok(loaded) => loaded,
        Err(faults) => {
            for fault in faults {
                tools::output::complain(fault);
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let format = match loaded.config.telemetry.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let _logging = postern_telemetry::init(&loaded.config.telemetry.log, format)?;
    postern_edge::run(loaded, Origin::File(path), Stop::Drain, |_| {}).await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command that waits on the network.
fn block_on(task: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system gives no threads or no epoll descriptor")?;
    let outcome = runtime.block_on(task);
    // What still waits on somebody else has no say in when the command ends.
    runtime.shutdown_background();
    outcome
}
