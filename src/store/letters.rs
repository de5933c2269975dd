//! Letters: mail to owners of mailboxes, queued in the transaction of what it tells, and claimed by whoever sends it.
//!
//! A claim holds for a time: two processes never have the same letter, and what a dead one held becomes free. An
//! attempt is counted when it is claimed. Only the one who claimed a letter settles it.

use std::time::Duration;

use jiff::Timestamp;
use postern_mailbox::{Caller, LetterId, Mailbox, MailboxId, Message, MessageState, Pin, StoreError};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use crate::error::Fault;
use crate::limits;
use crate::mail_address::MailAddress;
use crate::mailboxes::{id_of, time_of};
use crate::messages::message_of;
use crate::sqlite::SqliteStore;

/// What a letter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LetterKind {
    /// A message was left.
    Message,
    /// A caller left none.
    MissedCall,
    /// The mailbox has another PIN.
    PinReset,
}

impl LetterKind {
    pub const ALL: [Self; 3] = [Self::Message, Self::MissedCall, Self::PinReset];

    /// The kind's name in a database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::MissedCall => "missed-call",
            Self::PinReset => "pin-reset",
        }
    }

    fn per_hour(self) -> u32 {
        match self {
            Self::Message => limits::MESSAGE_LETTERS_PER_HOUR,
            Self::MissedCall => limits::MISSED_CALL_LETTERS_PER_HOUR,
            Self::PinReset => limits::PIN_LETTERS_PER_HOUR,
        }
    }

    fn lifetime(self) -> Duration {
        match self {
            Self::Message | Self::MissedCall => limits::LETTER_LIFETIME,
            Self::PinReset => limits::PIN_LETTER_LIFETIME,
        }
    }

    pub(crate) fn of(name: &str) -> Result<Self, Fault> {
        Ok(Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(StoreError::Damaged)?)
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Message(Message),
    MissedCall { caller: Caller, at: Timestamp },
    PinReset(Pin),
}

impl News {
    pub fn kind(&self) -> LetterKind {
        match self {
            Self::Message(_) => LetterKind::Message,
            Self::MissedCall { .. } => LetterKind::MissedCall,
            Self::PinReset(_) => LetterKind::PinReset,
        }
    }
}

/// A letter that its holder may send.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    pub id: LetterId,
    pub claim: Claim,
    pub mailbox: Mailbox,
    pub to: MailAddress,
    pub news: News,
    /// When it was queued.
    pub made: Timestamp,
    /// From then on it is given up instead of tried.
    pub expires: Timestamp,
    /// How often it was claimed, this time included.
    pub attempts: u32,
    /// Of the attempt before.
    pub last_error: Option<String>,
}

/// Proof that a letter is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim([u8; 16]);

/// What a claim gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Claimed {
    Letter(Box<Letter>),
    /// There was nothing to tell any more (the message was deleted, the owner wants no mail), and the letter is gone.
    Void(LetterKind),
}

/// Which letters are claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those whose time for an attempt has come, the one that waits longest first.
    Due,
    /// Those of them whose time is over: to be given up.
    Expired,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The server cannot be reached or takes nothing: other letters fare no better, and this one is well again when
    /// the server is.
    Server,
    /// It did not take this one now.
    Letter,
}

/// Whether a letter was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    Yes,
    /// The owner has no mail address, does not want such letters, or nobody sends any.
    NotWanted,
    /// The mailbox had too many of the kind within an hour, or the queue is full.
    TooMany,
}

/// What goes into a letter that is queued.
pub(crate) struct Tidings<'t> {
    pub(crate) kind: LetterKind,
    pub(crate) message: Option<[u8; 16]>,
    pub(crate) caller: Option<&'t Caller>,
    pub(crate) pin: Option<&'t Pin>,
    pub(crate) happened: Timestamp,
}

impl SqliteStore {
    /// Queues a letter within the transaction of what it tells.
    pub(crate) async fn queue_letter(
        &self,
        transaction: &mut Transaction<'_, Sqlite>,
        mailbox: MailboxId,
        tidings: Tidings<'_>,
    ) -> Result<Queued, Fault> {
        let now = Timestamp::now().as_millisecond();
        match self.room_for_letter(transaction, mailbox, tidings.kind, now).await? {
            Queued::Yes => {}
            Queued::NotWanted => return Ok(Queued::NotWanted),
            Queued::TooMany => {
                sqlx::query("UPDATE letters_refused SET letters = letters + 1 WHERE id = 1")
                    .execute(&mut **transaction)
                    .await?;
                return Ok(Queued::TooMany);
            }
        }
        let mailbox = mailbox.to_bytes();
        let mut random = [0; 10];
        getrandom::fill(&mut random)?;
        let id = LetterId::new(u64::try_from(now).unwrap_or(0), random);
        sqlx::query(
            "INSERT INTO letters (id, mailbox, kind, state, message, caller_address, caller_name, pin, happened, made,
                 expires, due)
             VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.to_bytes().as_slice())
        .bind(mailbox.as_slice())
        .bind(tidings.kind.name())
        .bind(tidings.message.as_ref().map(<[u8; 16]>::as_slice))
        .bind(tidings.caller.and_then(|caller| caller.address.as_deref()))
        .bind(tidings.caller.and_then(|caller| caller.name.as_deref()))
        .bind(tidings.pin.map(|pin| self.pin_key.seal(id, pin)))
        .bind(tidings.happened.as_millisecond())
        .bind(now)
        .bind(now + millis(tidings.kind.lifetime()))
        .bind(now)
        .execute(&mut **transaction)
        .await?;
        Ok(Queued::Yes)
    }

    /// What would come of queueing a letter at this Unix time in milliseconds.
    pub(crate) async fn room_for_letter(
        &self,
        connection: &mut SqliteConnection,
        mailbox: MailboxId,
        kind: LetterKind,
        now: i64,
    ) -> Result<Queued, Fault> {
        let mailbox = mailbox.to_bytes();
        if !self.sends_letters || !wants(connection, mailbox, kind).await? {
            return Ok(Queued::NotWanted);
        }
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM letters WHERE mailbox = ?1 AND kind = ?2 AND made > ?3),
                 (SELECT COUNT(*) FROM letters WHERE mailbox = ?1 AND state = 'queued'),
                 (SELECT COUNT(*) FROM letters WHERE state = 'queued')",
        )
        .bind(mailbox.as_slice())
        .bind(kind.name())
        .bind(now - millis(limits::SENT_LETTERS_KEPT))
        .fetch_one(connection)
        .await?;
        let (of_the_hour, of_the_mailbox, of_all): (i64, i64, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let is_full = of_the_hour >= i64::from(kind.per_hour())
            || of_the_mailbox >= i64::from(limits::LETTERS_PER_MAILBOX_MAX)
            || of_all >= i64::from(limits::LETTERS_MAX);
        Ok(if is_full { Queued::TooMany } else { Queued::Yes })
    }

    pub(crate) async fn queue_missed_call(
        &self,
        mailbox: MailboxId,
        caller: &Caller,
        at: Timestamp,
    ) -> Result<(), Fault> {
        if !self.sends_letters {
            return Ok(());
        }
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let caller = Some(caller);
        let tidings = Tidings { kind: LetterKind::MissedCall, message: None, caller, pin: None, happened: at };
        self.queue_letter(&mut transaction, mailbox, tidings).await?;
        Ok(transaction.commit().await?)
    }

    /// Holds the next letter for `hold`, counted from `now`. A hold must be longer than an attempt can take.
    ///
    /// # Errors
    /// The store cannot; the letter, if one was held, becomes free by itself.
    pub async fn claim_letter(
        &self,
        now: Timestamp,
        hold: Duration,
        wanted: Wanted,
    ) -> Result<Option<Claimed>, StoreError> {
        Ok(self.claim(now, hold, wanted).await?)
    }

    async fn claim(&self, now: Timestamp, hold: Duration, wanted: Wanted) -> Result<Option<Claimed>, Fault> {
        let mut claim = [0; 16];
        getrandom::fill(&mut claim)?;
        let now_ms = now.as_millisecond();
        // A time far ahead was written before the clock was set back.
        let condition = match wanted {
            Wanted::Due => "",
            Wanted::Expired => "AND expires <= ?1",
        };
        let statement = format!(
            "UPDATE letters SET claim = ?2, claimed_until = ?3, attempts = attempts + 1
             WHERE id = (SELECT id FROM letters WHERE state = 'queued' AND (due <= ?1 OR due > ?4)
                 {condition} AND (claimed_until <= ?1 OR claimed_until > ?4) ORDER BY due, id LIMIT 1)
             RETURNING id, mailbox, kind, message, caller_address, caller_name, pin, happened, made, expires, attempts,
                 last_error"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(now_ms)
            .bind(claim.as_slice())
            .bind(now_ms + millis(hold))
            .bind(now_ms + millis(limits::LETTER_AHEAD_MAX))
            .fetch_optional(&self.writer)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let kind: String = row.try_get("kind")?;
        let kind = LetterKind::of(&kind)?;
        match self.letter_of(&row, kind, Claim(claim)).await? {
            Some(letter) => Ok(Some(Claimed::Letter(Box::new(letter)))),
            None => {
                let id = LetterId::from_bytes(id_of(&row, "id")?);
                self.forget_letter(id, Claim(claim)).await?;
                Ok(Some(Claimed::Void(kind)))
            }
        }
    }

    /// The letter of a row; none where there is nothing to tell, or nobody to be told.
    async fn letter_of(&self, row: &SqliteRow, kind: LetterKind, claim: Claim) -> Result<Option<Letter>, Fault> {
        let id = LetterId::from_bytes(id_of(row, "id")?);
        let owner = sqlx::query(
            "SELECT id, plan, name, language, time_zone, operator, quota_messages, quota_secs, greeting, mail
             FROM mailboxes WHERE id = ?",
        )
        .bind(id_of(row, "mailbox")?.as_slice())
        .fetch_optional(&self.readers)
        .await?;
        let Some(owner) = owner else { return Ok(None) };
        let address: Option<String> = owner.try_get("mail")?;
        let Some(to) = address.and_then(|address| address.parse().ok()) else { return Ok(None) };
        let news = match kind {
            LetterKind::Message => match self.message_to_tell(id_of(row, "message")?).await? {
                Some(message) => News::Message(message),
                None => return Ok(None),
            },
            LetterKind::MissedCall => News::MissedCall {
                caller: Caller { address: row.try_get("caller_address")?, name: row.try_get("caller_name")? },
                at: time_of(row, "happened")?,
            },
            LetterKind::PinReset => {
                let sealed: Option<Vec<u8>> = row.try_get("pin")?;
                match sealed.and_then(|sealed| self.pin_key.open(id, &sealed)) {
                    Some(pin) => News::PinReset(pin),
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(Letter {
            id,
            claim,
            mailbox: self.mailbox_of(&owner).await?,
            to,
            news,
            made: time_of(row, "made")?,
            expires: time_of(row, "expires")?,
            attempts: row.try_get("attempts")?,
            last_error: row.try_get("last_error")?,
        }))
    }

    async fn message_to_tell(&self, id: [u8; 16]) -> Result<Option<Message>, Fault> {
        let row = sqlx::query(
            "SELECT id, caller_address, caller_name, received, length_nanos, state, partial FROM messages
             WHERE id = ? AND state <> ?",
        )
        .bind(id.as_slice())
        .bind(MessageState::Deleted.name())
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(message_of).transpose()
    }

    /// The letter is sent; of its PIN nothing is left.
    ///
    /// # Errors
    /// The store cannot: the letter may be sent again.
    pub async fn letter_sent(&self, letter: &Letter) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE letters SET state = 'sent', pin = NULL, caller_address = NULL, caller_name = NULL, last_error = NULL
             WHERE id = ? AND claim = ?",
        )
        .bind(letter.id.to_bytes().as_slice())
        .bind(letter.claim.0.as_slice())
        .execute(&self.writer)
        .await
        .map_err(Fault::from)?;
        Ok(())
    }

    /// The letter waits until `due`.
    ///
    /// # Errors
    /// The store cannot: the letter waits until the claim has ended.
    pub async fn letter_delayed(
        &self,
        letter: &Letter,
        due: Timestamp,
        blame: Blame,
        why: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE letters SET claim = NULL, claimed_until = 0, due = ?, server_failed = ?, last_error = ?
             WHERE id = ? AND claim = ?",
        )
        .bind(due.as_millisecond())
        .bind(blame == Blame::Server)
        .bind(shortened(why))
        .bind(letter.id.to_bytes().as_slice())
        .bind(letter.claim.0.as_slice())
        .execute(&self.writer)
        .await
        .map_err(Fault::from)?;
        Ok(())
    }

    /// The letter is given up: listed, and of its PIN nothing left. Whether it was still held.
    ///
    /// # Errors
    /// The store cannot: the letter is tried again.
    pub async fn letter_dead(&self, letter: &Letter, why: &str) -> Result<bool, StoreError> {
        let given_up = sqlx::query(
            "UPDATE letters SET state = 'dead', claim = NULL, claimed_until = 0, pin = NULL, last_error = ?
             WHERE id = ? AND claim = ?",
        )
        .bind(shortened(why))
        .bind(letter.id.to_bytes().as_slice())
        .bind(letter.claim.0.as_slice())
        .execute(&self.writer)
        .await
        .map_err(Fault::from)?;
        Ok(given_up.rows_affected() > 0)
    }

    async fn forget_letter(&self, id: LetterId, claim: Claim) -> Result<(), Fault> {
        sqlx::query("DELETE FROM letters WHERE id = ? AND claim = ?")
            .bind(id.to_bytes().as_slice())
            .bind(claim.0.as_slice())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// The server takes letters again: those that waited for it are due.
    ///
    /// # Errors
    /// The store cannot: they wait their time.
    pub async fn hasten_letters(&self, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE letters SET due = ?1, server_failed = 0 WHERE state = 'queued' AND server_failed = 1 AND due > ?1",
        )
        .bind(now.as_millisecond())
        .execute(&self.writer)
        .await
        .map_err(Fault::from)?;
        Ok(())
    }

    /// Forgets letters that were sent an hour ago, and dead ones that are too old, too many, or whose message is deleted.
    ///
    /// # Errors
    /// The store cannot; what was not forgotten yet is next time.
    pub async fn tend_letters(&self, now: Timestamp) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        sqlx::query(
            "DELETE FROM letters WHERE (state = 'sent' AND made <= ?1) OR (state = 'dead' AND (made <= ?2
                 OR (message IS NOT NULL AND message NOT IN (SELECT id FROM messages WHERE state <> ?3))
                 OR (SELECT COUNT(*) FROM letters younger WHERE younger.mailbox = letters.mailbox
                     AND younger.state = 'dead' AND younger.id > letters.id) >= ?4))",
        )
        .bind(now - millis(limits::SENT_LETTERS_KEPT))
        .bind(now - millis(limits::DEAD_LETTERS_KEPT))
        .bind(MessageState::Deleted.name())
        .bind(i64::from(limits::DEAD_LETTERS_PER_MAILBOX_MAX))
        .execute(&self.writer)
        .await
        .map_err(Fault::from)?;
        Ok(())
    }
}

impl<'t> Tidings<'t> {
    pub(crate) fn message(id: [u8; 16], received: Timestamp) -> Self {
        Self { kind: LetterKind::Message, message: Some(id), caller: None, pin: None, happened: received }
    }

    pub(crate) fn pin(pin: &'t Pin) -> Self {
        Self { kind: LetterKind::PinReset, message: None, caller: None, pin: Some(pin), happened: Timestamp::now() }
    }
}

/// Whether the owner is told of such things by mail.
async fn wants(connection: &mut SqliteConnection, mailbox: [u8; 16], kind: LetterKind) -> Result<bool, Fault> {
    let row = sqlx::query("SELECT missed_call_mail FROM mailboxes WHERE id = ? AND mail IS NOT NULL")
        .bind(mailbox.as_slice())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(false) };
    let missed_calls: bool = row.try_get(0)?;
    Ok(kind != LetterKind::MissedCall || missed_calls)
}

pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn shortened(why: &str) -> String {
    why.chars().take(limits::LETTER_ERROR_CHARS_MAX).collect()
}
