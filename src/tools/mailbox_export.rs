//! A mailbox's messages as WAV files.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use postern_mailbox::{AudioId, Mailbox, Message, Store};
use postern_media::wav;
use postern_store::SqliteStore;

use crate::mailbox_desk::mend;

/// Samples asked of the store at once: a minute at its usual rate.
const SAMPLES_AT_ONCE: usize = 8_000 * 60;

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
    let mut samples = Vec::new();
    loop {
        let audio = AudioId::Message(message.id);
        let piece = store.read_audio(audio, samples.len() as u64, SAMPLES_AT_ONCE).await.map_err(mend)?;
        let is_end = piece.is_end || piece.samples.is_empty();
        samples.extend_from_slice(&piece.samples);
        if is_end {
            return Ok(wav::encode(piece.rate_hz, &samples)?);
        }
    }
}
