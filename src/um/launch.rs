//! How a worker process is started.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use postern_slots::Slot;
use tokio::process::{Child, Command};

/// The command that starts a worker; `--slot`, `--socket` and `--generation` are added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Watched: workers are recycled when it becomes another file.
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

impl Launch {
    /// `postern worker --config FILE` with this very program.
    ///
    /// # Errors
    /// The system does not say where this program lies, or in which directory it runs.
    pub fn of_config(config: &Path) -> io::Result<Self> {
        let arguments = vec!["worker".into(), "--config".into(), std::path::absolute(config)?.into()];
        Ok(Self { program: std::env::current_exe()?, arguments })
    }

    /// Starts a worker in a process group of its own, so that a terminal's signals to us do not reach it. It writes
    /// where we write, and lives on when we end.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn start(&self, slot: Slot, socket: &Path, generation: u64) -> io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .args(["--slot", slot.name(), "--generation", &generation.to_string(), "--socket"])
            .arg(socket)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
    }
}
