//! How many messages wait in a mailbox.

use postern_mailbox::{Address, MailboxId, MessageState, PlanName, StoreError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::Fault;
use crate::limits::MAILBOXES_LISTED_MAX;
use crate::mailboxes::id_of;
use crate::sqlite::SqliteStore;

/// Messages of a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not heard yet.
    pub new: u32,
    /// Heard and kept.
    pub saved: u32,
}

/// A mailbox and its messages, for those who light lamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub mailbox: MailboxId,
    pub plan: PlanName,
    /// The address to be spoken first; none in a mailbox that has none.
    pub address: Option<Address>,
    pub counts: Counts,
}

/// `?1` and `?2` are the names of the states.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT m.id, m.plan,
                 (SELECT address FROM addresses WHERE mailbox = m.id ORDER BY rank LIMIT 1) AS address,
                 (SELECT COUNT(*) FROM messages WHERE mailbox = m.id AND state = ?1) AS new_messages,
                 (SELECT COUNT(*) FROM messages WHERE mailbox = m.id AND state = ?2) AS saved_messages
             FROM mailboxes m ",
            $rest
        )
    };
}

fn waiting_of(row: &SqliteRow) -> Result<Waiting, Fault> {
    let address: Option<String> = row.try_get("address")?;
    Ok(Waiting {
        mailbox: MailboxId::from_bytes(id_of(row, "id")?),
        plan: PlanName(row.try_get("plan")?),
        address: address.map(|text| text.parse()).transpose().map_err(|_| StoreError::Damaged)?,
        counts: Counts { new: row.try_get("new_messages")?, saved: row.try_get("saved_messages")? },
    })
}

impl SqliteStore {
    /// The messages of a mailbox.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot be read: then nothing is known, not even that there are none.
    pub async fn counts(&self, mailbox: MailboxId) -> Result<Counts, StoreError> {
        Ok(self.waiting(mailbox).await?.counts)
    }

    /// A mailbox's messages, and what it is called.
    ///
    /// # Errors
    /// As [`counts`](Self::counts).
    pub async fn waiting(&self, mailbox: MailboxId) -> Result<Waiting, StoreError> {
        let _turn = self.turn()?;
        Ok(self.read_waiting(mailbox).await?)
    }

    async fn read_waiting(&self, mailbox: MailboxId) -> Result<Waiting, Fault> {
        let row = sqlx::query(select!("WHERE m.id = ?3"))
            .bind(MessageState::New.name())
            .bind(MessageState::Saved.name())
            .bind(mailbox.to_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?
            .ok_or(StoreError::Gone)?;
        waiting_of(&row)
    }

    /// The messages of all mailboxes.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn all_waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let _turn = self.turn()?;
        Ok(self.read_all_waiting().await?)
    }

    async fn read_all_waiting(&self) -> Result<Vec<Waiting>, Fault> {
        let rows = sqlx::query(select!("ORDER BY m.id LIMIT ?3"))
            .bind(MessageState::New.name())
            .bind(MessageState::Saved.name())
            .bind(i64::from(MAILBOXES_LISTED_MAX))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(waiting_of).collect()
    }
}
