//! What an administrator does to mailboxes.

use jiff::Timestamp;
use postern_mailbox::limits::ADDRESSES_MAX;
use postern_mailbox::{Address, Mailbox, MailboxId, MessageState, OwnQuota, Pin, PlanName, StoreError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::Fault;
use crate::letters::{LetterKind, Queued, Tidings};
use crate::limits::MAILBOXES_LISTED_MAX;
use crate::mail_address::{MailAddress, MailSettings};
use crate::mailboxes::id_of;
use crate::recordings::doom;
use crate::sqlite::SqliteStore;

/// A mailbox that is to be.
#[derive(Clone, Debug)]
pub struct NewMailbox {
    pub plan: PlanName,
    /// At least one; the first is the one that is spoken.
    pub addresses: Vec<Address>,
    pub name: String,
    /// BCP 47.
    pub language: String,
    /// IANA name.
    pub time_zone: String,
    /// As in [`Mailbox`](postern_mailbox::Mailbox).
    pub operator: Option<String>,
    pub quota: OwnQuota,
    pub mail: MailSettings,
    pub pin: Pin,
    /// The PIN serves once, to choose another.
    pub must_change: bool,
}

/// Why a mailbox was not added; the administrator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error("{0} belongs to another mailbox of the plan")]
    Taken(Address),
    #[error("a mailbox has 1 to {ADDRESSES_MAX} addresses")]
    Addresses,
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// A mailbox in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    pub mailbox: Mailbox,
    pub mail: MailSettings,
    /// Messages not heard yet, and those heard and kept.
    pub new: u32,
    pub saved: u32,
    /// Wrong PINs in a row.
    pub wrong_pins: u32,
}

/// An address that a newer database takes is none to us.
fn mail_of(row: &SqliteRow) -> Result<MailSettings, Fault> {
    let address: Option<String> = row.try_get("mail")?;
    Ok(MailSettings {
        address: address.and_then(|address| address.parse().ok()),
        missed_calls: row.try_get("missed_call_mail")?,
    })
}

impl SqliteStore {
    /// Adds a mailbox.
    ///
    /// # Errors
    /// An address is taken, or the store cannot.
    pub async fn add_mailbox(&self, new: NewMailbox) -> Result<MailboxId, AddError> {
        if new.addresses.is_empty() || new.addresses.len() > ADDRESSES_MAX {
            return Err(AddError::Addresses);
        }
        match self.add(new).await {
            Ok(Ok(id)) => Ok(id),
            Ok(Err(taken)) => Err(AddError::Taken(taken)),
            Err(fault) => Err(AddError::Store(fault.into())),
        }
    }

    async fn add(&self, new: NewMailbox) -> Result<Result<MailboxId, Address>, Fault> {
        let mut random = [0; 10];
        getrandom::fill(&mut random)?;
        let now = Timestamp::now().as_millisecond();
        let mailbox = MailboxId::new(u64::try_from(now).unwrap_or(0), random);
        let id = mailbox.to_bytes();
        let pin = new.pin;
        let kept = self.hashing(move |key| key.hash(mailbox, &pin)).await??;
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO mailboxes (id, plan, name, language, time_zone, operator, quota_messages, quota_secs,
                 mail, missed_call_mail, pin, pin_chosen, pin_must_change)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.as_slice())
        .bind(&new.plan.0)
        .bind(new.name)
        .bind(new.language)
        .bind(new.time_zone)
        .bind(new.operator)
        .bind(new.quota.messages)
        .bind(new.quota.audio_secs)
        .bind(new.mail.address.as_ref().map(MailAddress::as_str))
        .bind(new.mail.missed_calls)
        .bind(kept)
        .bind(now)
        .bind(new.must_change)
        .execute(&mut *transaction)
        .await?;
        for (rank, address) in new.addresses.into_iter().enumerate() {
            let added =
                sqlx::query("INSERT OR IGNORE INTO addresses (plan, address, mailbox, rank) VALUES (?, ?, ?, ?)")
                    .bind(&new.plan.0)
                    .bind(address.to_string())
                    .bind(id.as_slice())
                    .bind(rank as i64)
                    .execute(&mut *transaction)
                    .await?;
            if added.rows_affected() == 0 {
                return Ok(Err(address));
            }
        }
        transaction.commit().await?;
        Ok(Ok(mailbox))
    }

    /// All mailboxes, by plan and name.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn mailboxes(&self) -> Result<Vec<Listed>, StoreError> {
        Ok(self.listed().await?)
    }

    async fn listed(&self) -> Result<Vec<Listed>, Fault> {
        let rows = sqlx::query(
            "SELECT m.id, m.plan, m.name, m.language, m.time_zone, m.operator, m.quota_messages, m.quota_secs,
                 m.greeting, m.wrong_pins, m.mail, m.missed_call_mail,
                 (SELECT COUNT(*) FROM messages WHERE mailbox = m.id AND state = ?1) AS new_messages,
                 (SELECT COUNT(*) FROM messages WHERE mailbox = m.id AND state = ?2) AS saved_messages
             FROM mailboxes m ORDER BY plan, name, id LIMIT ?3",
        )
        .bind(MessageState::New.name())
        .bind(MessageState::Saved.name())
        .bind(i64::from(MAILBOXES_LISTED_MAX))
        .fetch_all(&self.readers)
        .await?;
        let mut all = Vec::new();
        for row in &rows {
            all.push(Listed {
                mailbox: self.mailbox_of(row).await?,
                mail: mail_of(row)?,
                new: row.try_get("new_messages")?,
                saved: row.try_get("saved_messages")?,
                wrong_pins: row.try_get("wrong_pins")?,
            });
        }
        Ok(all)
    }

    /// Sets a PIN for the owner of a mailbox, and unlocks it.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn reset_pin(&self, mailbox: MailboxId, pin: Pin, must_change: bool) -> Result<(), StoreError> {
        Ok(self.reset(mailbox, pin, must_change, false).await.map(|_| ())?)
    }

    /// As [`reset_pin`](Self::reset_pin), and queues the letter that tells the owner the new PIN, in one transaction. It
    /// must be changed at the first call. Unless the answer is [`Queued::Yes`], nothing has changed.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn reset_pin_by_mail(&self, mailbox: MailboxId, pin: Pin) -> Result<Queued, StoreError> {
        Ok(self.reset(mailbox, pin, true, true).await?)
    }

    async fn reset(&self, mailbox: MailboxId, pin: Pin, must_change: bool, by_mail: bool) -> Result<Queued, Fault> {
        let told = by_mail.then(|| pin.clone());
        if by_mail {
            // Asked before anything is hashed, and again when the letter is queued.
            let mut connection = self.readers.acquire().await?;
            let now = Timestamp::now().as_millisecond();
            let room = self.room_for_letter(&mut connection, mailbox, LetterKind::PinReset, now).await?;
            if room != Queued::Yes {
                return Ok(room);
            }
        }
        let kept = self.hashing(move |key| key.hash(mailbox, &pin)).await??;
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let changed = sqlx::query(
            "UPDATE mailboxes SET pin = ?, pin_chosen = ?, pin_must_change = ?, wrong_pins = 0 WHERE id = ?",
        )
        .bind(kept)
        .bind(Timestamp::now().as_millisecond())
        .bind(must_change)
        .bind(mailbox.to_bytes().as_slice())
        .execute(&mut *transaction)
        .await?;
        if changed.rows_affected() == 0 {
            return Err(StoreError::Gone.into());
        }
        if let Some(pin) = &told {
            let queued = self.queue_letter(&mut transaction, mailbox, Tidings::pin(pin)).await?;
            if queued != Queued::Yes {
                // A PIN that nobody is told would lock its owner out.
                transaction.rollback().await?;
                return Ok(queued);
            }
        }
        transaction.commit().await?;
        Ok(Queued::Yes)
    }

    /// What the owner of a mailbox is told by mail.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn mail_settings(&self, mailbox: MailboxId) -> Result<MailSettings, StoreError> {
        let row = sqlx::query("SELECT mail, missed_call_mail FROM mailboxes WHERE id = ?")
            .bind(mailbox.to_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(Fault::from)?
            .ok_or(StoreError::Gone)?;
        Ok(mail_of(&row)?)
    }

    /// Sets it. Letters that wait go to the new address, or nowhere.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn set_mail(&self, mailbox: MailboxId, mail: &MailSettings) -> Result<(), StoreError> {
        let changed = sqlx::query("UPDATE mailboxes SET mail = ?, missed_call_mail = ? WHERE id = ?")
            .bind(mail.address.as_ref().map(MailAddress::as_str))
            .bind(mail.missed_calls)
            .bind(mailbox.to_bytes().as_slice())
            .execute(&self.writer)
            .await
            .map_err(Fault::from)?;
        if changed.rows_affected() == 0 { Err(StoreError::Gone) } else { Ok(()) }
    }

    /// Lets the owner of a mailbox try PINs again.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn unlock(&self, mailbox: MailboxId) -> Result<(), StoreError> {
        let changed = sqlx::query("UPDATE mailboxes SET wrong_pins = 0 WHERE id = ?")
            .bind(mailbox.to_bytes().as_slice())
            .execute(&self.writer)
            .await
            .map_err(Fault::from)?;
        if changed.rows_affected() == 0 { Err(StoreError::Gone) } else { Ok(()) }
    }

    /// Removes a mailbox with its messages and greetings. What is being recorded into it ends with an error.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn remove_mailbox(&self, mailbox: MailboxId) -> Result<(), StoreError> {
        Ok(self.remove(mailbox).await?)
    }

    async fn remove(&self, mailbox: MailboxId) -> Result<(), Fault> {
        let id = mailbox.to_bytes();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let rows = sqlx::query(
            "SELECT id FROM messages WHERE mailbox = ?1 UNION SELECT id FROM greetings WHERE mailbox = ?1
             UNION SELECT id FROM recordings WHERE mailbox = ?1",
        )
        .bind(id.as_slice())
        .fetch_all(&mut *transaction)
        .await?;
        let files = rows.iter().map(|row| id_of(row, "id")).collect::<Result<Vec<_>, Fault>>()?;
        for file in &files {
            doom(&mut transaction, *file).await?;
        }
        let gone =
            sqlx::query("DELETE FROM mailboxes WHERE id = ?").bind(id.as_slice()).execute(&mut *transaction).await?;
        if gone.rows_affected() == 0 {
            return Err(StoreError::Gone.into());
        }
        transaction.commit().await?;
        if files.is_empty() { Ok(()) } else { self.remove_doomed(files).await }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::hashing::tests::PATIENCE;
    use crate::limits::PIN_LETTERS_PER_HOUR;
    use crate::testing::Bench;

    #[tokio::test]
    async fn a_pin_that_no_letter_will_tell_is_not_hashed() {
        let bench = Bench::new().await;
        let reset = || bench.reset_pin_by_mail(bench.mailbox, Pin::new("482615").unwrap());
        for _ in 0..PIN_LETTERS_PER_HOUR {
            assert_eq!(reset().await, Ok(Queued::Yes));
        }
        let _turns = bench.hashing.occupy();
        assert_eq!(timeout(PATIENCE, reset()).await.expect("no turn is waited for"), Ok(Queued::TooMany));
    }
}
