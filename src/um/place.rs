//! The runtime directory: where workers listen, and who holds which lock.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postern_slots::Slot;
use postern_slots::limits::SOCKET_PATH_BYTES_MAX;

use crate::error::UmError;
use crate::limits::LOCK_TIME;

/// Held while a UM service runs in the directory.
const LOCK_NAME: &str = "um.lock";

/// Files of one slot.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    pub(crate) socket: PathBuf,
    lock: PathBuf,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Nobody,
    /// A living process, and its id if it has written one.
    Process(Option<u32>),
}

impl Place {
    pub(crate) fn of(directory: &Path, slot: Slot) -> Self {
        Self { slot, socket: directory.join(slot.socket_name()), lock: directory.join(slot.lock_name()) }
    }

    /// Whether a worker lives in the slot. The lock is taken for a moment to find out.
    ///
    /// # Errors
    /// What opening the file reports, but that it is not there.
    pub(crate) fn holder(&self) -> io::Result<Holder> {
        let mut file = match File::options().read(true).write(true).open(&self.lock) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => Ok(Holder::Nobody),
            Err(TryLockError::WouldBlock) => Ok(Holder::Process(pid_in(&mut file).parse().ok())),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Makes the directory, for our user alone, and takes it for this UM service. It is held until the file is dropped.
///
/// # Errors
/// The operator's: a directory that cannot be used, or another UM service in it.
pub(crate) async fn take(directory: &Path) -> Result<File, UmError> {
    let longest = Slot::BOTH.map(|slot| directory.join(slot.socket_name()).as_os_str().as_bytes().len());
    if longest.into_iter().any(|bytes| bytes > SOCKET_PATH_BYTES_MAX) {
        return Err(UmError::DirectoryTooLong { path: directory.into() });
    }
    let unusable = |error| UmError::Directory { path: directory.into(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
    let path = directory.join(LOCK_NAME);
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
    let until = Instant::now() + LOCK_TIME;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            // Our predecessor may be about to end.
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(TryLockError::WouldBlock) => return Err(UmError::Held { path, pid: pid_in(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
    }
    file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(unusable)?;
    Ok(file)
}

/// What its holder wrote into a lock; nothing when it cannot be read.
fn pid_in(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut text));
    read.map(|_| text.trim().to_owned()).unwrap_or_default()
}
