//! `postern up`: every role on this machine's loopback, with nothing to prepare and nothing left behind.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use postern_slots::Slot;
use postern_slots::limits::SOCKET_PATH_BYTES_MAX;
use postern_telemetry::Format;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output;
use crate::scratch::Scratch;
use crate::try_steps::Steps;
use crate::try_story;
use crate::up_mailboxes;
use crate::up_ports::Ports;
use crate::up_premises::Premises;
use crate::up_roles::Roles;
use crate::up_text::Printed;

/// Arguments of `postern up`: none are needed.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Leave a message and hear it again, print each step, and end: 0 if what was heard is what was spoken
    #[arg(long = "try")]
    tries: bool,
    /// How much to log: a level, or `target=level` directives
    #[arg(long)]
    log: Option<String>,
}

impl Args {
    /// Workers fetch tokens before there is a call, which is not worth a line each here. A trial says by its steps what
    /// went wrong; other lines would stand between them.
    fn log(&self) -> &str {
        let usual = if self.tries { "error,audit=off,postern::record=off" } else { "warn,audit=off" };
        self.log.as_deref().unwrap_or(usual)
    }
}

/// Runs `postern up` until SIGINT, SIGTERM or SIGHUP, or until whoever reads its output has left.
///
/// # Errors
/// When loopback cannot be bound, the temporary directory cannot be written to, or a role does not start.
pub async fn run(args: Args) -> Result<ExitCode> {
    let begun = Instant::now();
    // Handlers first: from here on a signal no longer kills, and what was made is removed.
    let mut signals = Signals::new()?;
    let scratch = Scratch::new()?;
    let apart = if has_room_for_sockets(scratch.path()) { None } else { Some(Scratch::within(Path::new("/tmp"))?) };
    let sockets = apart.as_ref().unwrap_or(&scratch).path();
    let premises = Premises::make(scratch.path(), sockets, Ports::choose()?, args.log())?;
    let logging = postern_telemetry::init(&premises.loaded.config.telemetry.log, Format::Text)?;
    let mut roles = Roles::default();
    // A trial that was broken off has not passed.
    let ended = if args.tries { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    let work = async {
        match args.tries {
            true => try_out(&premises, &mut roles, &Steps::since(begun)).await,
            false => serve(&premises, &mut roles).await,
        }
    };
    let outcome = tokio::select! {
        // First of all: a signal ends the edge too, which would otherwise seem to have ended by itself.
        biased;
        () = signals.any() => Ok(ended),
        outcome = work => outcome,
        // Nobody sees it any more, nor thinks of ending it: `postern up | head -3`.
        () = output::reader_left() => Ok(ended),
    };
    if args.log.is_none() {
        // That there are no workers any more is as it should be.
        logging.set_filter("error")?;
    }
    roles.end().await;
    outcome
}

/// Whether the path of a socket in it is one that the system takes (unix(7)); a long TMPDIR leaves no room.
fn has_room_for_sockets(directory: &Path) -> bool {
    directory.join(Slot::A.socket_name()).as_os_str().len() <= SOCKET_PATH_BYTES_MAX
}

/// Starts everything and plays the story.
async fn try_out(premises: &Premises, roles: &mut Roles, steps: &Steps) -> Result<ExitCode> {
    let start = async {
        let mailboxes = up_mailboxes::add(&premises.loaded.config).await?;
        roles.start(premises).await?;
        let ports = &premises.ports;
        let told = format!("router {}, UM service {}, edge {}", ports.router.tcp, ports.um.tcp, ports.turn);
        Ok((mailboxes, told))
    };
    let look = "what is logged above; postern up --try --log info logs more";
    let Ok(mailboxes) = steps.run("every role is up, and a worker is ready", look, start).await else {
        return Ok(ExitCode::FAILURE);
    };
    let passed = tokio::select! {
        passed = try_story::play(premises, &mailboxes, steps) => passed,
        ended = roles.over() => return ended.map(|()| ExitCode::FAILURE),
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts everything, says how to use it, and goes on for as long as every role does.
async fn serve(premises: &Premises, roles: &mut Roles) -> Result<ExitCode> {
    let mailboxes = up_mailboxes::add(&premises.loaded.config).await?;
    let listening = roles.start(premises).await?;
    let program = std::env::current_exe().map_or_else(|_| "postern".into(), |path| path.display().to_string());
    let text = Printed { listening: &listening, premises, mailboxes: &mailboxes, program: &program }.text();
    if let Err(error) = output::print_line(text) {
        output::complain(format_args!("postern up: nobody can read what is printed: {error}"));
    }
    roles.over().await?;
    Ok(ExitCode::SUCCESS)
}

/// The signals that end this command: a closed terminal is one.
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

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            // For a role with a file it means a reload; these have nothing to load again.
            _ = self.hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_directory_has_no_room_for_sockets() {
        assert!(has_room_for_sockets(Path::new("/tmp/postern-0123456789abcdef")));
        assert!(has_room_for_sockets(Path::new(&"d".repeat(95))));
        assert!(!has_room_for_sockets(Path::new(&"d".repeat(96))));
    }

    #[test]
    fn a_trial_is_not_interrupted_by_records_unless_asked_for() {
        let args = |tries, log: Option<&str>| Args { tries, log: log.map(str::to_owned) };
        assert!(!args(false, None).log().contains("postern::record"));
        assert!(args(true, None).log().contains("postern::record=off"));
        assert_eq!(args(true, Some("debug")).log(), "debug");
    }
}
