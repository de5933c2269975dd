//! The command line of Postern: reads arguments, hands over to the room that does the work.

#![deny(unsafe_code)]

use std::process::ExitCode;

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
    /// Make a development CA with certificates for an edge and its workers
    Certs(postern_tools::certs::Args),
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

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Certs(args) => postern_tools::certs::run(args),
    }
}
