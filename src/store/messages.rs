//! Messages and their states.

use std::time::Duration;

use jiff::Timestamp;
use postern_mailbox::limits::{DELETED_KEPT, MESSAGES_LISTED_MAX};
use postern_mailbox::{Caller, MailboxId, Message, MessageId, MessageState, StoreError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::Fault;
use crate::mailboxes::{id_of, time_of};
use crate::recordings::doom;
use crate::sqlite::SqliteStore;

pub(crate) fn message_of(row: &SqliteRow) -> Result<Message, Fault> {
    let state: String = row.try_get("state")?;
    let nanos: i64 = row.try_get("length_nanos")?;
    Ok(Message {
        id: MessageId::from_bytes(id_of(row, "id")?),
        caller: Caller { address: row.try_get("caller_address")?, name: row.try_get("caller_name")? },
        received: time_of(row, "received")?,
        length: Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)),
        state: MessageState::ALL.into_iter().find(|known| known.name() == state).ok_or(StoreError::Damaged)?,
        partial: row.try_get("partial")?,
    })
}

impl SqliteStore {
    pub(crate) async fn messages_of(&self, mailbox: MailboxId) -> Result<Vec<Message>, Fault> {
        let mut messages = Vec::new();
        for state in [MessageState::New, MessageState::Saved] {
            let rows = sqlx::query(
                "SELECT id, caller_address, caller_name, received, length_nanos, state, partial FROM messages
                 WHERE mailbox = ? AND state = ? ORDER BY received, id LIMIT ?",
            )
            .bind(mailbox.to_bytes().as_slice())
            .bind(state.name())
            .bind(MESSAGES_LISTED_MAX as i64)
            .fetch_all(&self.readers)
            .await?;
            for row in &rows {
                messages.push(message_of(row)?);
            }
        }
        messages.sort_by_key(|message| (message.received, message.id));
        Ok(messages)
    }

    pub(crate) async fn move_message(
        &self,
        mailbox: MailboxId,
        message: MessageId,
        state: MessageState,
    ) -> Result<(), Fault> {
        let moved = sqlx::query("UPDATE messages SET state = ?, state_since = ? WHERE id = ? AND mailbox = ?")
            .bind(state.name())
            .bind(Timestamp::now().as_millisecond())
            .bind(message.to_bytes().as_slice())
            .bind(mailbox.to_bytes().as_slice())
            .execute(&self.writer)
            .await?;
        if moved.rows_affected() == 0 { Err(StoreError::Gone.into()) } else { Ok(()) }
    }

    /// Forgets messages that were deleted longer than [`DELETED_KEPT`] ago, at most 1000 at once, and returns how
    /// many.
    ///
    /// # Errors
    /// What failed; what was not forgotten yet is next time.
    pub async fn forget_deleted(&self, now: Timestamp) -> Result<usize, StoreError> {
        let before = now.as_millisecond() - i64::try_from(DELETED_KEPT.as_millis()).unwrap_or(i64::MAX);
        Ok(self.forget_deleted_before(before).await?)
    }

    async fn forget_deleted_before(&self, before: i64) -> Result<usize, Fault> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let rows = sqlx::query(
            "DELETE FROM messages WHERE id IN
             (SELECT id FROM messages WHERE state = ? AND state_since <= ? LIMIT 1000) RETURNING id",
        )
        .bind(MessageState::Deleted.name())
        .bind(before)
        .fetch_all(&mut *transaction)
        .await?;
        let ids = rows.iter().map(|row| id_of(row, "id")).collect::<Result<Vec<_>, Fault>>()?;
        for id in &ids {
            doom(&mut transaction, *id).await?;
        }
        transaction.commit().await?;
        let count = ids.len();
        if count > 0 {
            self.remove_doomed(ids).await?;
        }
        Ok(count)
    }
}
