//! The file layer under recordings: what may be asked of a disk, and what survives.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A disk as the recordings use it. Tests put one under them that forgets what was not synced.
///
/// # Errors
/// Those of the system. A full disk is [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`].
pub trait Files: Send + Sync + 'static {
    /// Makes a file that was not there, locked by this process until it is dropped.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Appending>>;

    /// Locks a file that is there; none if another process holds its lock.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Appending>>>;

    /// Reads at most `bytes.len()` bytes from `offset` on; 0 at the end.
    fn read_at(&self, path: &Path, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Forgets a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, which nothing bears yet.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes a directory if it is not there.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// The files in a directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes births, names and ends of files in a directory last.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// A file that grows, held under a lock.
pub trait Appending: Send {
    /// Adds bytes at the end: all of them, or as many as fit before the error. What was added survives `kill -9`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was added survive power loss.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file, so that a frame that was written in part can be written again.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// The system's own files, readable by their owner alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

impl Files for SystemFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Appending>> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        file.lock()?;
        Ok(Box::new(file))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Appending>>> {
        let file = OpenOptions::new().append(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn read_at(&self, path: &Path, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let file = File::open(path)?;
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

impl Appending for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
