//! The store of mailboxes, as the UM service opens it beside its workers.

use std::sync::Arc;

use postern_config::{Config, MailboxConfig, RecordingsLocation, StoreLocation};
use postern_store::{OpenError, Options, PinKey, SqliteStore};

/// Where the store of `[mailbox]` is, and its key.
///
/// # Errors
/// The operator's: the key.
pub(crate) fn options(mailbox: &MailboxConfig) -> Result<Options, OpenError> {
    let StoreLocation::Sqlite(database) = &mailbox.store;
    let RecordingsLocation::Directory(recordings) = &mailbox.recordings;
    Ok(Options::new(database, recordings, PinKey::of_store(&mailbox.pin_key_file, database)?))
}

/// The store of `[mailbox]`; none without it.
///
/// # Errors
/// The operator's: it does not open.
pub(crate) async fn open(config: &Config) -> Result<Option<Arc<SqliteStore>>, OpenError> {
    let Some(mailbox) = &config.mailbox else { return Ok(None) };
    let options = Options { sends_letters: config.mail.is_some(), ..options(mailbox)? };
    // What nobody finished is recovered by workers, when they start.
    Ok(Some(Arc::new(SqliteStore::open_beside(options).await?)))
}
