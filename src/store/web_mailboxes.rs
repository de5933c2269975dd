//! What the web shows and sets of a mailbox beyond what calls do.

use jiff::Timestamp;
use postern_mailbox::limits::MESSAGES_LISTED_MAX;
use postern_mailbox::{AudioId, Mailbox, MailboxId, Message, MessageId, MessageState, StoreError};
use sqlx::Row;

use crate::administration::Listed;
use crate::error::Fault;
use crate::frames::Frames;
use crate::limits::DIAL_STRING_CHARS_MAX;
use crate::mailboxes::{id_of, time_of};
use crate::messages::message_of;
use crate::recorder::path_of;
use crate::sqlite::SqliteStore;

/// How much audio there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSize {
    pub samples: u64,
    pub rate_hz: u32,
}

/// A mailbox in an administrator's list.
#[derive(Clone, Debug)]
pub struct WebListed {
    pub listed: Listed,
    /// Its owner can sign in.
    pub has_password: bool,
    /// Too many wrong passwords, until then.
    pub locked_until: Option<Timestamp>,
}

impl SqliteStore {
    /// The mailbox of this id.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn mailbox(&self, id: MailboxId) -> Result<Option<Mailbox>, StoreError> {
        let _turn = self.turn()?;
        Ok(self.mailbox_by_id(id).await?)
    }

    async fn mailbox_by_id(&self, id: MailboxId) -> Result<Option<Mailbox>, Fault> {
        let row = sqlx::query(
            "SELECT id, plan, name, language, time_zone, operator, quota_messages, quota_secs, greeting
             FROM mailboxes WHERE id = ?",
        )
        .bind(id.to_bytes().as_slice())
        .fetch_optional(&self.readers)
        .await?;
        match row {
            Some(row) => Ok(Some(self.mailbox_of(&row).await?)),
            None => Ok(None),
        }
    }

    /// A message of this mailbox, deleted ones included.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn message(&self, mailbox: MailboxId, message: MessageId) -> Result<Option<Message>, StoreError> {
        let _turn = self.turn()?;
        let row = sqlx::query(
            "SELECT id, caller_address, caller_name, received, length_nanos, state, partial FROM messages
             WHERE mailbox = ? AND id = ?",
        )
        .bind(mailbox.to_bytes().as_slice())
        .bind(message.to_bytes().as_slice())
        .fetch_optional(&self.readers)
        .await
        .map_err(Fault::from)?;
        Ok(row.as_ref().map(message_of).transpose()?)
    }

    /// The messages of a mailbox in one state, the youngest first, at most
    /// [`MESSAGES_LISTED_MAX`].
    ///
    /// # Errors
    /// The store cannot.
    pub async fn messages_in(&self, mailbox: MailboxId, state: MessageState) -> Result<Vec<Message>, StoreError> {
        let _turn = self.turn()?;
        let rows = sqlx::query(
            "SELECT id, caller_address, caller_name, received, length_nanos, state, partial FROM messages
             WHERE mailbox = ? AND state = ? ORDER BY received DESC, id DESC LIMIT ?",
        )
        .bind(mailbox.to_bytes().as_slice())
        .bind(state.name())
        .bind(MESSAGES_LISTED_MAX as i64)
        .fetch_all(&self.readers)
        .await
        .map_err(Fault::from)?;
        Ok(rows.iter().map(message_of).collect::<Result<_, Fault>>()?)
    }

    /// The number that Play on Phone calls unless another is given.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn phone_number(&self, mailbox: MailboxId) -> Result<Option<String>, StoreError> {
        let _turn = self.turn()?;
        let row = sqlx::query("SELECT play_on_phone_number FROM mailboxes WHERE id = ?")
            .bind(mailbox.to_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(Fault::from)?
            .ok_or(StoreError::Gone)?;
        Ok(row.try_get(0).map_err(Fault::from)?)
    }

    /// Sets or forgets it. Whether it may be called is judged when it is.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn set_phone_number(&self, mailbox: MailboxId, number: Option<&str>) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        let number: Option<String> = number.map(|number| number.chars().take(DIAL_STRING_CHARS_MAX).collect());
        let set = sqlx::query("UPDATE mailboxes SET play_on_phone_number = ? WHERE id = ?")
            .bind(number)
            .bind(mailbox.to_bytes().as_slice())
            .execute(&self.writer)
            .await
            .map_err(Fault::from)?;
        if set.rows_affected() == 0 { Err(StoreError::Gone) } else { Ok(()) }
    }

    /// Sets the language that a mailbox speaks, a BCP 47 tag.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn set_language(&self, mailbox: MailboxId, tag: &str) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        let set = sqlx::query("UPDATE mailboxes SET language = ? WHERE id = ?")
            .bind(tag)
            .bind(mailbox.to_bytes().as_slice())
            .execute(&self.writer)
            .await
            .map_err(Fault::from)?;
        if set.rows_affected() == 0 { Err(StoreError::Gone) } else { Ok(()) }
    }

    /// How much audio a recording has. Costs a reading of the whole file.
    ///
    /// # Errors
    /// [`StoreError::Gone`], [`StoreError::Damaged`], or the store cannot.
    pub async fn measure(&self, audio: AudioId) -> Result<AudioSize, StoreError> {
        let _turn = self.turn()?;
        let id = match audio {
            AudioId::Message(id) => id.to_bytes(),
            AudioId::Greeting(id) => id.to_bytes(),
            AudioId::Recording(id) => id.to_bytes(),
        };
        let path = path_of(&self.directory, id);
        let measured = self.blocking(move |files| {
            let mut frames = Frames::open(files, &path)?;
            while frames.next()?.is_some() {}
            Ok(AudioSize { samples: frames.place().sample, rate_hz: frames.header().rate_hz })
        });
        Ok(measured.await?)
    }

    /// All mailboxes as an administrator of the web sees them.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn web_mailboxes(&self, now: Timestamp) -> Result<Vec<WebListed>, StoreError> {
        let listed = self.mailboxes().await?;
        let rows = sqlx::query("SELECT mailbox, password IS NOT NULL AS has_password, locked_until FROM web_accounts")
            .fetch_all(&self.readers)
            .await
            .map_err(Fault::from)?;
        let mut accounts = std::collections::HashMap::new();
        for row in &rows {
            let has_password: bool = row.try_get("has_password").map_err(Fault::from)?;
            accounts.insert(id_of(row, "mailbox")?, (has_password, time_of(row, "locked_until")?));
        }
        let with_account = |listed: Listed| {
            let account = accounts.get(&listed.mailbox.id.to_bytes());
            WebListed {
                has_password: account.is_some_and(|account| account.0),
                locked_until: account.map(|account| account.1).filter(|until| *until > now),
                listed,
            }
        };
        Ok(listed.into_iter().map(with_account).collect())
    }
}
