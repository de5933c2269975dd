//! What changed in the store, whichever process did it.

use postern_mailbox::{MailboxId, StoreError};
use sqlx::Row;

use crate::error::Fault;
use crate::limits::CHANGES_READ_MAX;
use crate::mailboxes::id_of;
use crate::sqlite::SqliteStore;

/// What of a mailbox changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Changed {
    /// Messages came, went, or changed their state.
    Messages,
    /// Greetings, or what else the mailbox is set to.
    Options,
    /// It was added or removed.
    Mailbox,
}

impl Changed {
    pub const ALL: [Self; 3] = [Self::Messages, Self::Options, Self::Mailbox];

    /// The word for it, in the database and for others.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Options => "options",
            Self::Mailbox => "mailbox",
        }
    }
}

/// That a mailbox changed. Of several changes of one kind the last is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Higher than that of any change before.
    pub sequence: u64,
    pub mailbox: MailboxId,
    pub what: Changed,
}

impl SqliteStore {
    /// What changed after `sequence`, oldest first and at most [`CHANGES_READ_MAX`], and the sequence to ask from the next
    /// time. One below `sequence` says that the database is not the one of before. Costs one look into an index when
    /// nothing changed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn changes_since(&self, sequence: u64) -> Result<(Vec<Change>, u64), StoreError> {
        let _turn = self.turn()?;
        Ok(self.read_changes(sequence).await?)
    }

    async fn read_changes(&self, sequence: u64) -> Result<(Vec<Change>, u64), Fault> {
        let mut connection = self.readers.acquire().await?;
        let newest = sqlx::query("SELECT COALESCE(MAX(sequence), 0) FROM changes").fetch_one(&mut *connection).await?;
        let newest = u64::try_from(newest.try_get::<i64, _>(0)?).unwrap_or(0);
        if newest <= sequence {
            return Ok((Vec::new(), newest));
        }
        let rows =
            sqlx::query("SELECT mailbox, what, sequence FROM changes WHERE sequence > ? ORDER BY sequence LIMIT ?")
                .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
                .bind(i64::from(CHANGES_READ_MAX))
                .fetch_all(&mut *connection)
                .await?;
        let mut changes = Vec::new();
        let mut reached = newest;
        for row in &rows {
            let name: String = row.try_get("what")?;
            reached = u64::try_from(row.try_get::<i64, _>("sequence")?).unwrap_or(0);
            // A newer program may tell of more.
            if let Some(what) = Changed::ALL.into_iter().find(|known| known.name() == name) {
                let mailbox = MailboxId::from_bytes(id_of(row, "mailbox")?);
                changes.push(Change { sequence: reached, mailbox, what });
            }
        }
        Ok((changes, reached))
    }
}
