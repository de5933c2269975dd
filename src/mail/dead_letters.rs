//! The folder of letters that were given up: a file each, as it would have been sent, for an administrator to read.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use postern_mailbox::LetterId;

use crate::limits::{DEAD_FILES_MAX, STRAY_FILE_KEPT};

/// A folder of dead letters. Its functions wait for a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    directory: PathBuf,
}

impl DeadLetters {
    /// The folder `dead` of a queue's directory.
    pub fn of_queue(queue: &Path) -> Self {
        Self { directory: queue.join("dead") }
    }

    /// Where a letter is, if it is there.
    pub fn path(&self, letter: LetterId) -> PathBuf {
        self.directory.join(format!("{letter}.eml"))
    }

    /// Keeps a letter, readable by its owner alone. When this returns, the file survives power loss.
    ///
    /// # Errors
    /// Those of the system.
    pub fn keep(&self, letter: LetterId, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let (path, half) = (self.path(letter), self.directory.join(format!("{letter}.part")));
        match fs::remove_file(&half) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&half, &path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// Removes a letter; one that is not there is no error.
    ///
    /// # Errors
    /// Those of the system.
    pub fn remove(&self, letter: LetterId) -> io::Result<()> {
        match fs::remove_file(self.path(letter)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes files of letters that are not among the `dead`: sent at last, removed, or written just before a crash.
    ///
    /// # Errors
    /// Those of the system.
    pub fn sweep(&self, dead: &HashSet<LetterId>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries.take(DEAD_FILES_MAX) {
            let entry = entry?;
            let path = entry.path();
            let id = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse::<LetterId>().ok());
            let is_whole = path.extension() == Some(OsStr::new("eml"));
            let is_ours = is_whole || path.extension() == Some(OsStr::new("part"));
            let Some(id) = id.filter(|_| is_ours) else { continue };
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if age > STRAY_FILE_KEPT && !(is_whole && dead.contains(&id)) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}
