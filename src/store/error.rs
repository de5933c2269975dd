//! What keeps a store from opening or answering.

use std::io;
use std::path::PathBuf;

use postern_mailbox::StoreError;

use crate::files::is_full;

/// Why a store does not open; the operator's fault or the machine's.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}: the database does not open: {source}; it must be a file of ours in a directory that we may write", .path.display())]
    Database { path: PathBuf, source: sqlx::Error },
    #[error("{}: recordings cannot be kept there: {source}; it must be a directory that we may write", .path.display())]
    Recordings { path: PathBuf, source: io::Error },
    #[error("{}: the key of PINs can be neither read nor made: {source}; see mailbox.pin_key_file", .path.display())]
    KeyFile { path: PathBuf, source: io::Error },
    #[error("{}: the key of PINs is gone, and {} needs it; restore the key, or make another and reset every PIN", .path.display(), .database.display())]
    KeyLost { path: PathBuf, database: PathBuf },
    #[error("no thread for recordings: {0}; the limit of threads is too low")]
    Thread(io::Error),
    #[error("the key of PINs has {bytes} bytes; it needs at least {}", crate::pins::KEY_BYTES_MIN)]
    ShortKey { bytes: usize },
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Why a question got no answer, before it is told in the mailbox's words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("files: {0}")]
    Files(#[from] io::Error),
    #[error("{0}")]
    Told(#[from] StoreError),
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// SQLITE_FULL, and SQLITE_IOERR_WRITE's relative for a quota.
const SQLITE_FULL: &str = "13";
const SQLITE_BUSY: &str = "5";

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> StoreError {
        match fault {
            Fault::Told(error) => error,
            Fault::Files(error) if is_full(&error) => StoreError::DiskFull,
            Fault::Files(error) if error.kind() == io::ErrorKind::NotFound => StoreError::Gone,
            Fault::Files(error) if error.kind() == io::ErrorKind::InvalidData => StoreError::Damaged,
            Fault::Files(_) | Fault::Random(_) => StoreError::Unavailable,
            Fault::Database(sqlx::Error::PoolTimedOut) => StoreError::Busy,
            Fault::Database(sqlx::Error::RowNotFound) => StoreError::Gone,
            Fault::Database(error) => match error.as_database_error().and_then(|error| error.code()).as_deref() {
                Some(SQLITE_FULL) => StoreError::DiskFull,
                Some(SQLITE_BUSY) => StoreError::Busy,
                _ => StoreError::Unavailable,
            },
        }
    }
}
