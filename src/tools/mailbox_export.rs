//! A mailbox's messages as WAV files.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use postern_mail::AudioError;
use postern_mailbox::{AudioId, Mailbox, Message, Store};
use postern_store::SqliteStore;

use crate::mailbox_desk::mend;

/// Writes the messages into `directory`, which is made if it is missing; returns the files. Files that are there stay as
/// they are: a message never changes. Of the new and of the saved messages the oldest
/// [`MESSAGES_LISTED_MAX`](postern_mailbox::limits::MESSAGES_LISTED_MAX) each, more than a mailbox may hold by default.
///
/// # Errors
/// The directory or a file cannot be written, or the store cannot be read.
pub(crate) async fn export(store: &SqliteStore, mailbox: &Mailbox, directory: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    let mut written = Vec::new();
    for message in store.list_messages(mailbox.id).await.map_err(mend)? {
        let path = directory.join(name(&message));
        if path.exists() {
            continue;
        }
        let sound = render(store, &message).await?;
        write_whole(&path, &sound).with_context(|| format!("{} cannot be written", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// Under its name only once it is whole, and for nobody else to hear.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)
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
