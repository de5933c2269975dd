//! The command line of Postern: reads arguments, hands over to the room that does the work.

#![deny(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// A NAT-traversal media relay for the network perimeter
#[derive(Parser)]
#[command(name = "postern", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judge a configuration: every error at once, and what it would open
    Check(postern_tools::check::Args),
    /// Print firewall rules that open exactly the ports of a configuration
    Firewall(postern_tools::firewall::Args),
    /// Issue or judge a token
    Token(postern_tools::token::Args),
    /// Make a development CA with certificates for an edge and its workers
    Certs(postern_tools::certs::Args),
    /// Prove a relay from outside and say what to mend
    Doctor(Box<postern_tools::doctor::Args>),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Another provider is in the dependency tree, so rustls cannot choose by itself.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("postern: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Check(args) => postern_tools::check::run(args),
        Command::Firewall(args) => postern_tools::firewall::run(args),
        Command::Token(args) => postern_tools::token::run(args),
        Command::Certs(args) => postern_tools::certs::run(args),
        Command::Doctor(args) => block_on(postern_tools::doctor::run(*args)),
    }
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
