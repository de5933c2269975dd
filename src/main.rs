//! The command line of Postern: reads arguments, hands over to the room that does the work.

#![deny(unsafe_code)]

#[cfg(any(feature = "edge", feature = "router", feature = "um", feature = "worker"))]
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use postern_tools as tools;

/// A NAT-traversal media relay and edge server, with the voice mail service behind it
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
    Edge(RoleArgs),
    /// Run the call router
    #[cfg(feature = "router")]
    Router(RoleArgs),
    /// Run the UM service, which starts the mailbox workers
    #[cfg(feature = "um")]
    Um(RoleArgs),
    /// Run a mailbox worker, as the UM service does
    #[cfg(feature = "worker")]
    Worker(WorkerArgs),
    /// Run every role on this machine's loopback, with nothing to prepare and nothing left behind
    #[cfg(feature = "up")]
    Up(tools::up::Args),
    /// Add, list, unlock, export and remove mailboxes, reset PINs, make links for the web, say where mail goes
    #[cfg(feature = "worker")]
    Mailbox(tools::mailbox::Args),
    /// List mail that waits or was given up, have it tried again, remove it
    #[cfg(feature = "worker")]
    Mail(tools::mail::Args),
    /// Tell what happened in a recent call, or list recent calls
    #[cfg(feature = "um")]
    Call(tools::call::Args),
    /// Judge a configuration and say what it opens
    Check(tools::check::Args),
    /// Issue or judge a token
    Token(tools::token::Args),
    /// Make a development CA with certificates for every role
    Certs(tools::certs::Args),
    /// Prove a relay from outside, or examine an edge's machine, and say what to mend
    Doctor(Box<tools::doctor::Args>),
    /// Print firewall rules that open what a configuration needs
    Firewall(tools::firewall::Args),
}

#[cfg(any(feature = "edge", feature = "router", feature = "um", feature = "worker"))]
#[derive(clap::Args)]
struct RoleArgs {
    /// Configuration; config/postern.toml is a commented one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[cfg(feature = "worker")]
#[derive(clap::Args)]
struct WorkerArgs {
    #[command(flatten)]
    role: RoleArgs,
    /// The slot whose ports it takes: A or B
    #[arg(long, default_value = "A")]
    slot: postern_slots::Slot,
    /// Where its UM service talks to it; without, it stands alone
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Told to the UM service, which counts the workers that it starts
    #[arg(long, default_value_t = 0)]
    generation: u64,
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
        Command::Edge(args) => block_on(edge(args.config)),
        #[cfg(feature = "router")]
        Command::Router(args) => block_on(router(args.config)),
        #[cfg(feature = "um")]
        Command::Um(args) => block_on(um(args.config)),
        #[cfg(feature = "worker")]
        Command::Worker(args) => block_on(worker(args)),
        #[cfg(feature = "up")]
        Command::Up(args) => block_on(tools::up::run(args)),
        #[cfg(feature = "worker")]
        Command::Mailbox(args) => block_on(tools::mailbox::run(args)),
        #[cfg(feature = "worker")]
        Command::Mail(args) => block_on(tools::mail::run(args)),
        #[cfg(feature = "um")]
        Command::Call(args) => block_on(tools::call::run(args)),
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
    use postern_edge::{Origin, Stop};

    let Some(loaded) = load(&path, postern_config::Role::Edge)? else { return Ok(ExitCode::FAILURE) };
    let _logging = log(&loaded.config)?;
    postern_edge::run(loaded, Origin::File(path), Stop::Drain, |_| {}).await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the router role until a signal ends it.
#[cfg(feature = "router")]
async fn router(path: PathBuf) -> Result<ExitCode> {
    let Some(loaded) = load(&path, postern_config::Role::Router)? else { return Ok(ExitCode::FAILURE) };
    let _logging = log(&loaded.config)?;
    let stop = postern_router::stop_by_signal()?;
    postern_router::run(loaded, postern_router::Origin::File(path), stop, |_| {}).await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the UM service until a signal ends it.
#[cfg(feature = "um")]
async fn um(path: PathBuf) -> Result<ExitCode> {
    use postern_um::{Launch, Origin};

    let Some(loaded) = load(&path, postern_config::Role::Um)? else { return Ok(ExitCode::FAILURE) };
    let _logging = log(&loaded.config)?;
    let launch = Launch::of_config(&path)?;
    let stops = postern_um::stops_by_signal()?;
    postern_um::run(loaded, Origin::File(path), launch, stops, |_| {}).await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a mailbox worker until it is told to end.
#[cfg(feature = "worker")]
async fn worker(args: WorkerArgs) -> Result<ExitCode> {
    let WorkerArgs { role: RoleArgs { config }, slot, socket, generation } = args;
    let Some(loaded) = load(&config, postern_config::Role::Worker)? else { return Ok(ExitCode::FAILURE) };
    let _logging = log(&loaded.config)?;
    let seat = socket.map(|socket| postern_worker::Seat { slot, socket, generation });
    postern_worker::run(loaded, slot, seat, |_| {}).await?;
    Ok(ExitCode::SUCCESS)
}

/// The configuration of a role; `None` when it cannot be used, which has been said then.
#[cfg(any(feature = "edge", feature = "router", feature = "um", feature = "worker"))]
fn load(path: &Path, role: postern_config::Role) -> Result<Option<postern_config::Loaded>> {
    match postern_config::load_role(path, &postern_net::system::own_addresses()?, role) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(faults) => {
            faults.into_iter().for_each(tools::output::complain);
            Ok(None)
        }
    }
}

#[cfg(any(feature = "edge", feature = "router", feature = "um", feature = "worker"))]
fn log(config: &postern_config::Config) -> Result<postern_telemetry::Logging> {
    let format = match config.telemetry.log_format {
        postern_config::LogFormat::Text => postern_telemetry::Format::Text,
        postern_config::LogFormat::Json => postern_telemetry::Format::Json,
    };
    Ok(postern_telemetry::init(&config.telemetry.log, format)?)
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
