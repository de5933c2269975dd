//! What a store finds at its start: recordings that nobody finished, files that nothing names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use postern_mailbox::limits::MESSAGE_MIN;
use postern_mailbox::{Finished, MessageId, RecordingId};
use sqlx::Row;

use crate::error::Fault;
use crate::files::{Appending, Files};
use crate::frames::Place;
use crate::mailboxes::id_of;
use crate::recorder::{Length, measure, path_of};
use crate::recordings::{Begun, doom};
use crate::sqlite::SqliteStore;

/// Name of the directory for recordings that nothing names, though they hold audio: they may belong to a database
/// that was restored from an older copy.
const LOST: &str = "lost";

/// What was recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Messages made of recordings whose process ended; their end may be missing.
    pub messages: Vec<MessageId>,
    /// Recordings too short to be a message, and unfinished greetings: removed.
    pub removed: usize,
    /// Files with audio that no message and no greeting names: set aside in the directory `lost`.
    pub set_aside: usize,
}

/// A file that nobody else holds, held by us while we judge it.
struct Found {
    _lock: Box<dyn Appending>,
    length: Option<Length>,
}

/// Looks at a file: none when somebody works on it. A tail that is not whole is cut off, so that it can never be
/// taken for more.
fn examine(files: &dyn Files, path: &Path) -> Result<Option<Found>, Fault> {
    let mut lock = match files.lock(path) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let length = match measure(files, path) {
        Ok((length, Place { offset, .. })) => {
            lock.truncate(offset)?;
            lock.sync()?;
            Some(length)
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Found { _lock: lock, length }))
}

impl SqliteStore {
    /// Finishes what the processes before could not. Others may be at work beside us: what they hold is left alone.
    pub(crate) async fn recover(&self) -> Result<Recovered, Fault> {
        let mut recovered = Recovered::default();
        let rows = sqlx::query("SELECT id, mailbox, purpose, caller_address, caller_name, begun FROM recordings")
            .fetch_all(&self.readers)
            .await?;
        for row in &rows {
            self.recover_recording(&Begun::of(row)?, &mut recovered).await?;
        }
        let doomed = sqlx::query("SELECT id FROM doomed_files").fetch_all(&self.readers).await?;
        let doomed = doomed.iter().map(|row| id_of(row, "id")).collect::<Result<Vec<_>, Fault>>()?;
        if !doomed.is_empty() {
            self.remove_doomed(doomed).await?;
        }
        self.sweep(&mut recovered).await?;
        Ok(recovered)
    }

    async fn recover_recording(&self, begun: &Begun, recovered: &mut Recovered) -> Result<(), Fault> {
        let path = path_of(&self.directory, begun.id);
        let found = self
            .blocking(move |files| match examine(files, &path) {
                Err(Fault::Files(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(Some(None)),
                other => Ok(other?.map(Some)),
            })
            .await?;
        // Somebody is still recording it.
        let Some(found) = found else { return Ok(()) };
        let length = found.as_ref().and_then(|found| found.length);
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let still = sqlx::query("SELECT 1 FROM recordings WHERE id = ?")
            .bind(begun.id.as_slice())
            .fetch_optional(&mut *transaction)
            .await?;
        if still.is_none() {
            // Its process finished it between our two looks.
            return Ok(());
        }
        let message = length.filter(|length| begun.greeting.is_none() && length.duration() >= MESSAGE_MIN);
        if let Some(length) = message {
            let (finished, _) = self.accept(&mut transaction, begun, length.duration(), true).await?;
            transaction.commit().await?;
            if let Finished::Message { message, .. } = finished {
                recovered.messages.push(message);
            }
            return Ok(());
        }
        sqlx::query("DELETE FROM recordings WHERE id = ?").bind(begun.id.as_slice()).execute(&mut *transaction).await?;
        doom(&mut transaction, begun.id).await?;
        transaction.commit().await?;
        recovered.removed += 1;
        Ok(())
    }

    /// Files that nothing names: one without audio is the trace of a beginning that was cut short.
    async fn sweep(&self, recovered: &mut Recovered) -> Result<(), Fault> {
        let directory = self.directory.clone();
        let paths = self.blocking(move |files| Ok(files.list(&directory)?)).await?;
        for path in paths {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if name.starts_with("probe-") {
                self.remove_unheld(path).await?;
                continue;
            }
            let Some(id) = name.strip_suffix(".pvm").and_then(|stem| stem.parse::<RecordingId>().ok()) else {
                continue;
            };
            if self.is_named(id.to_bytes()).await? {
                continue;
            }
            let found = {
                let path = path.clone();
                self.blocking(move |files| match examine(files, &path) {
                    Err(Fault::Files(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    other => other,
                })
                .await?
            };
            // A recording is named after its file is made: only what nobody holds can have been left behind.
            let Some(found) = found else { continue };
            if self.is_named(id.to_bytes()).await? {
                continue;
            }
            if found.length.is_some_and(|length| length.duration() >= MESSAGE_MIN) {
                self.set_aside(path).await?;
                recovered.set_aside += 1;
            } else {
                self.blocking(move |files| Ok(files.remove(&path)?)).await?;
                recovered.removed += 1;
            }
        }
        Ok(())
    }

    async fn is_named(&self, id: [u8; 16]) -> Result<bool, Fault> {
        let row = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM messages WHERE id = ?1) OR EXISTS (SELECT 1 FROM greetings WHERE id = ?1)
                 OR EXISTS (SELECT 1 FROM recordings WHERE id = ?1)",
        )
        .bind(id.as_slice())
        .fetch_one(&self.readers)
        .await?;
        Ok(row.try_get(0)?)
    }

    async fn remove_unheld(&self, path: PathBuf) -> Result<(), Fault> {
        self.blocking(move |files| match files.lock(&path) {
            Ok(Some(_lock)) => Ok(files.remove(&path)?),
            Ok(None) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        })
        .await
    }

    async fn set_aside(&self, path: PathBuf) -> Result<(), Fault> {
        let lost = self.directory.join(LOST);
        let directory = self.directory.clone();
        self.blocking(move |files| {
            files.create_directory(&lost)?;
            let name = path.file_name().unwrap_or_default();
            files.rename(&path, &lost.join(name))?;
            files.sync_directory(&lost)?;
            Ok(files.sync_directory(&directory)?)
        })
        .await
    }
}
