//! A mailbox's messages as WAV files.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use postern_mail::AudioError;
use postern_mailbox::{AudioId, Mailbox, Message, Store};
use postern_store::SqliteStore;

use crate::mailbox_desk::mend;

/// Writes every message into `directory`, which is made if it is missing; returns the files. Files that are there stay as
/// they are: a message never changes.
///
/// # Errors
/// The directory or a file cannot be written, or the store cannot be read.
pub(crate) async fn export(store: &SqliteStore, mailbox: &Mailbox, directory: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    let mut written = Vec::new();
    for message in store.list_messages(mailbox.id).await.map_err(mend)? {
        let path = directory.join(name(&message));
        let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            file => file,
        };
        let mut file = file.with_context(|| format!("{} cannot be made", path.display()))?;
        file.write_all(&render(store, &message).await?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// In the order in which they came, and by no word of the caller's.
fn name(message: &Message) -> String {
    format!("{}-{}.wav", message.received.strftime("%Y%m%dT%H%M%SZ"), message.id)
}

async fn render(store: &SqliteStore, message: &Message) -> Result<Vec<u8>> {
    match postern_mail::wav_of(store, AudioId::Message(message.id), usize::MAX).await {
        Err(AudioError::Store(error)) => Err(mend(error)),
        wav => Ok(wav?),
    }
}
