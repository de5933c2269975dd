//! What an administrator sees of letters, and does to them.

use jiff::Timestamp;
use postern_mailbox::{LetterId, MailboxId, MessageId, StoreError};
use sqlx::Row;

use crate::error::Fault;
use crate::letters::{LetterKind, millis};
use crate::limits::{LETTER_LIFETIME, LETTERS_MAX};
use crate::mailboxes::{id_of, time_of};
use crate::sqlite::SqliteStore;

/// A letter in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedLetter {
    pub id: LetterId,
    pub kind: LetterKind,
    /// It was given up; otherwise it waits.
    pub is_dead: bool,
    pub mailbox: MailboxId,
    /// The owner's name.
    pub name: String,
    /// Where it goes as things stand.
    pub to: Option<String>,
    pub message: Option<MessageId>,
    pub made: Timestamp,
    /// When it is tried next.
    pub due: Timestamp,
    pub attempts: u32,
    pub last_error: Option<String>,
}

/// How it stands with the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterCounts {
    /// Letters that wait.
    pub queued: u64,
    /// When the oldest of them was made.
    pub oldest: Option<Timestamp>,
    /// Letters that were given up and are still listed.
    pub dead: u64,
    /// Letters that a limit kept from being queued, since the database was made.
    pub refused: u64,
}

impl SqliteStore {
    /// All letters that wait or were given up, oldest first.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn letters(&self) -> Result<Vec<ListedLetter>, StoreError> {
        Ok(self.list_letters().await?)
    }

    async fn list_letters(&self) -> Result<Vec<ListedLetter>, Fault> {
        let rows = sqlx::query(
            "SELECT l.id, l.kind, l.state, l.mailbox, l.message, l.made, l.due, l.attempts, l.last_error, m.name, m.mail
             FROM letters l JOIN mailboxes m ON m.id = l.mailbox WHERE l.state <> 'sent' ORDER BY l.made, l.id LIMIT ?",
        )
        .bind(i64::from(LETTERS_MAX))
        .fetch_all(&self.readers)
        .await?;
        let mut letters = Vec::with_capacity(rows.len());
        for row in &rows {
            let (kind, state): (String, String) = (row.try_get("kind")?, row.try_get("state")?);
            let message: Option<Vec<u8>> = row.try_get("message")?;
            letters.push(ListedLetter {
                id: LetterId::from_bytes(id_of(row, "id")?),
                kind: LetterKind::of(&kind)?,
                is_dead: state == "dead",
                mailbox: MailboxId::from_bytes(id_of(row, "mailbox")?),
                name: row.try_get("name")?,
                to: row.try_get("mail")?,
                message: message.and_then(|id| Some(MessageId::from_bytes(id.try_into().ok()?))),
                made: time_of(row, "made")?,
                due: time_of(row, "due")?,
                attempts: row.try_get("attempts")?,
                last_error: row.try_get("last_error")?,
            });
        }
        Ok(letters)
    }

    /// Has letters tried now: this one, or all; how many. Dead ones wait again, but for those with a PIN, which is gone.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn retry_letters(&self, letter: Option<LetterId>, now: Timestamp) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE letters SET due = ?1, expires = CASE state WHEN 'dead' THEN ?2 ELSE expires END,
                 attempts = CASE state WHEN 'dead' THEN 0 ELSE attempts END, state = 'queued'
             WHERE (?3 IS NULL OR id = ?3) AND (state = 'queued' OR (state = 'dead' AND kind <> ?4))",
        )
        .bind(now.as_millisecond())
        .bind(now.as_millisecond() + millis(LETTER_LIFETIME))
        .bind(letter.map(|letter| letter.to_bytes().to_vec()))
        .bind(LetterKind::PinReset.name())
        .execute(&self.writer)
        .await
        .map_err(Fault::from)?;
        Ok(done.rows_affected())
    }

    /// Removes a letter that waits or was given up. One that is being sent at this moment may still arrive.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn remove_letter(&self, letter: LetterId) -> Result<(), StoreError> {
        let gone = sqlx::query("DELETE FROM letters WHERE id = ? AND state <> 'sent'")
            .bind(letter.to_bytes().as_slice())
            .execute(&self.writer)
            .await
            .map_err(Fault::from)?;
        if gone.rows_affected() == 0 { Err(StoreError::Gone) } else { Ok(()) }
    }

    /// How it stands with the queue.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn letter_counts(&self) -> Result<LetterCounts, StoreError> {
        Ok(self.count_letters().await?)
    }

    async fn count_letters(&self) -> Result<LetterCounts, Fault> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM letters WHERE state = 'queued') AS queued,
                 (SELECT MIN(made) FROM letters WHERE state = 'queued') AS oldest,
                 (SELECT COUNT(*) FROM letters WHERE state = 'dead') AS dead,
                 (SELECT letters FROM letters_refused WHERE id = 1) AS refused",
        )
        .fetch_one(&self.readers)
        .await?;
        let count = |column| Ok::<_, Fault>(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
        let oldest: Option<i64> = row.try_get("oldest")?;
        Ok(LetterCounts {
            queued: count("queued")?,
            oldest: oldest.and_then(|millis| Timestamp::from_millisecond(millis).ok()),
            dead: count("dead")?,
            refused: count("refused")?,
        })
    }
}
