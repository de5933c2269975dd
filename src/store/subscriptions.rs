//! Subscriptions to message waiting, kept so that the UM service may restart. What a dialog is, its owner knows.

use postern_mailbox::{MailboxId, StoreError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::Fault;
use crate::limits::SUBSCRIPTIONS_MAX;
use crate::mailboxes::id_of;
use crate::sqlite::SqliteStore;

/// A subscription as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSubscription {
    /// Unique.
    pub id: String,
    pub mailbox: MailboxId,
    /// Its state, in words of who keeps it.
    pub dialog: String,
    pub expires_unix_secs: u64,
}

impl SqliteStore {
    /// Keeps a subscription, in place of one of the same id and of those in `replaced`.
    ///
    /// # Errors
    /// [`StoreError::Gone`]: there is no such mailbox. [`StoreError::Busy`]: there are [`SUBSCRIPTIONS_MAX`]. Or the store
    /// cannot.
    pub async fn keep_subscription(&self, kept: &KeptSubscription, replaced: &[String]) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        Ok(self.write_subscription(kept, replaced).await?)
    }

    async fn write_subscription(&self, kept: &KeptSubscription, replaced: &[String]) -> Result<(), Fault> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for id in replaced {
            sqlx::query("DELETE FROM subscriptions WHERE id = ?").bind(id).execute(&mut *transaction).await?;
        }
        let others = sqlx::query("SELECT COUNT(*) FROM subscriptions WHERE id <> ?")
            .bind(&kept.id)
            .fetch_one(&mut *transaction)
            .await?;
        if others.try_get::<i64, _>(0)? >= i64::from(SUBSCRIPTIONS_MAX) {
            return Err(StoreError::Busy.into());
        }
        let written = sqlx::query(
            "INSERT INTO subscriptions (id, mailbox, dialog, expires)
             SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM mailboxes WHERE id = ?2)
             ON CONFLICT (id) DO UPDATE SET dialog = excluded.dialog, expires = excluded.expires",
        )
        .bind(&kept.id)
        .bind(kept.mailbox.to_bytes().as_slice())
        .bind(&kept.dialog)
        .bind(i64::try_from(kept.expires_unix_secs).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
        if written.rows_affected() == 0 {
            return Err(StoreError::Gone.into());
        }
        Ok(transaction.commit().await?)
    }

    /// Forgets subscriptions. One that is gone already is no error.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn forget_subscriptions(&self, ids: &[String]) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        Ok(self.delete_subscriptions(ids).await?)
    }

    async fn delete_subscriptions(&self, ids: &[String]) -> Result<(), Fault> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for id in ids {
            sqlx::query("DELETE FROM subscriptions WHERE id = ?").bind(id).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// The subscriptions that last beyond `now_unix_secs`; the others are forgotten.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn subscriptions(&self, now_unix_secs: u64) -> Result<Vec<KeptSubscription>, StoreError> {
        let _turn = self.turn()?;
        Ok(self.read_subscriptions(now_unix_secs).await?)
    }

    async fn read_subscriptions(&self, now_unix_secs: u64) -> Result<Vec<KeptSubscription>, Fault> {
        sqlx::query("DELETE FROM subscriptions WHERE expires <= ?")
            .bind(i64::try_from(now_unix_secs).unwrap_or(i64::MAX))
            .execute(&self.writer)
            .await?;
        let rows = sqlx::query("SELECT id, mailbox, dialog, expires FROM subscriptions ORDER BY expires, id LIMIT ?")
            .bind(i64::from(SUBSCRIPTIONS_MAX))
            .fetch_all(&self.readers)
            .await?;
        let read = |row: &SqliteRow| {
            let expires: i64 = row.try_get("expires")?;
            Ok(KeptSubscription {
                id: row.try_get("id")?,
                mailbox: MailboxId::from_bytes(id_of(row, "mailbox")?),
                dialog: row.try_get("dialog")?,
                expires_unix_secs: u64::try_from(expires).unwrap_or(0),
            })
        };
        rows.iter().map(read).collect()
    }
}
