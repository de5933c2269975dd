//! From a recording's beginning to the message or greeting that it becomes.

use std::time::Duration;

use jiff::Timestamp;
use postern_mailbox::{
    Began, Beginning, Caller, Finished, Finishing, GreetingId, GreetingKind, MailboxId, MessageId, MessageState,
    Purpose, Quota, RecordingId, StoreError, limits::CALLER_CHARS_MAX,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, Sqlite, Transaction};

use crate::error::Fault;
use crate::frames::Header;
use crate::letters::Tidings;
use crate::mailboxes::{id_of, time_of};
use crate::recorder::path_of;
use crate::sqlite::SqliteStore;

/// The purpose of a recording that is to be a message; a greeting's is its kind.
pub(crate) const DEPOSIT: &str = "deposit";

/// A row of the table `recordings`.
pub(crate) struct Begun {
    pub(crate) id: [u8; 16],
    pub(crate) mailbox: MailboxId,
    /// None is a deposit.
    pub(crate) greeting: Option<GreetingKind>,
    pub(crate) caller: Caller,
    pub(crate) begun: Timestamp,
}

impl Begun {
    pub(crate) fn of(row: &SqliteRow) -> Result<Self, Fault> {
        let purpose: String = row.try_get("purpose")?;
        Ok(Self {
            id: id_of(row, "id")?,
            mailbox: MailboxId::from_bytes(id_of(row, "mailbox")?),
            greeting: GreetingKind::ALL.into_iter().find(|kind| kind.name() == purpose),
            caller: Caller { address: row.try_get("caller_address")?, name: row.try_get("caller_name")? },
            begun: time_of(row, "begun")?,
        })
    }
}

impl SqliteStore {
    pub(crate) async fn begin(&self, beginning: Beginning) -> Result<Began, Fault> {
        let audio_max = match &beginning.purpose {
            Purpose::Deposit { quota, deposits_max, replaces, .. } => {
                match self.room_for_deposit(beginning.mailbox, *quota, *deposits_max, *replaces).await? {
                    Ok(audio_max) => audio_max,
                    Err(refused) => return Ok(refused),
                }
            }
            Purpose::Greeting(_) => Duration::MAX,
        };
        let mut random = [0; 10];
        getrandom::fill(&mut random)?;
        let millis = beginning.begun.as_millisecond();
        let recording = RecordingId::new(u64::try_from(millis).unwrap_or(0), random);
        self.recorders.begin(recording, Header { rate_hz: beginning.rate_hz, begun_unix_ms: millis }).await?;
        match self.insert(recording, &beginning).await {
            Ok(None) => Ok(Began::Recording { recording, audio_max }),
            Ok(Some(refused)) => {
                self.abandon(recording).await?;
                Ok(refused)
            }
            Err(fault) => {
                self.abandon(recording).await?;
                Err(fault)
            }
        }
    }

    /// How much audio a deposit may have, or why it may not begin.
    async fn room_for_deposit(
        &self,
        mailbox: MailboxId,
        quota: Quota,
        deposits_max: u32,
        replaces: Option<RecordingId>,
    ) -> Result<Result<Duration, Began>, Fault> {
        let row = sqlx::query(
            "SELECT COUNT(*), COALESCE(SUM(length_nanos), 0) FROM messages WHERE mailbox = ? AND state <> ?",
        )
        .bind(mailbox.to_bytes().as_slice())
        .bind(MessageState::Deleted.name())
        .fetch_one(&self.readers)
        .await?;
        let (messages, nanos): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let used = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        let left = Duration::from_secs(u64::from(quota.audio_secs)).saturating_sub(used);
        if messages >= i64::from(quota.messages) || left < postern_mailbox::limits::MESSAGE_MIN {
            return Ok(Err(Began::MailboxFull));
        }
        let mut connection = self.readers.acquire().await?;
        let running = deposits(&mut connection, mailbox, replaces).await?;
        Ok(if running >= i64::from(deposits_max) { Err(Began::TooManyDeposits) } else { Ok(left) })
    }

    /// Names the file in the database; deposits are counted once more, now that no other can come between.
    async fn insert(&self, recording: RecordingId, beginning: &Beginning) -> Result<Option<Began>, Fault> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let nobody = Caller::default();
        let (purpose, caller) = match &beginning.purpose {
            Purpose::Deposit { caller, deposits_max, replaces, .. } => {
                let running = deposits(&mut transaction, beginning.mailbox, *replaces).await?;
                if running >= i64::from(*deposits_max) {
                    return Ok(Some(Began::TooManyDeposits));
                }
                (DEPOSIT, caller)
            }
            Purpose::Greeting(kind) => (kind.name(), &nobody),
        };
        let inserted = sqlx::query(
            "INSERT INTO recordings (id, mailbox, purpose, caller_address, caller_name, begun)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM mailboxes WHERE id = ?2)",
        )
        .bind(recording.to_bytes().as_slice())
        .bind(beginning.mailbox.to_bytes().as_slice())
        .bind(purpose)
        .bind(caller.address.as_deref().map(shortened))
        .bind(caller.name.as_deref().map(shortened))
        .bind(beginning.begun.as_millisecond())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        if inserted.rows_affected() == 0 { Err(StoreError::Gone.into()) } else { Ok(None) }
    }

    /// Removes the file of a recording that the database never named.
    async fn abandon(&self, recording: RecordingId) -> Result<(), Fault> {
        self.recorders.close(recording).await?;
        let path = path_of(&self.directory, recording.to_bytes());
        self.blocking(move |files| Ok(files.remove(&path)?)).await
    }

    pub(crate) async fn finish(&self, finishing: Finishing) -> Result<Finished, Fault> {
        let recording = finishing.recording;
        if let Some(done) = self.already_finished(recording).await? {
            return Ok(done);
        }
        let length = self.recorders.finish(recording).await?.duration();
        if length < finishing.audio_min {
            self.discard(recording).await?;
            return Ok(Finished::TooShort);
        }
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let row =
            sqlx::query("SELECT id, mailbox, purpose, caller_address, caller_name, begun FROM recordings WHERE id = ?")
                .bind(recording.to_bytes().as_slice())
                .fetch_optional(&mut *transaction)
                .await?
                .ok_or(StoreError::Gone)?;
        let begun = Begun::of(&row)?;
        let (finished, replaced) = self.accept(&mut transaction, &begun, length, false).await?;
        transaction.commit().await?;
        self.recorders.close(recording).await?;
        if let Some(replaced) = replaced {
            self.remove_doomed(vec![replaced]).await?;
        }
        Ok(finished)
    }

    /// What became of a recording that was finished before.
    async fn already_finished(&self, recording: RecordingId) -> Result<Option<Finished>, Fault> {
        let id = recording.to_bytes();
        let message = sqlx::query("SELECT length_nanos FROM messages WHERE id = ?")
            .bind(id.as_slice())
            .fetch_optional(&self.readers)
            .await?;
        if let Some(row) = message {
            let nanos: i64 = row.try_get(0)?;
            let length = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
            return Ok(Some(Finished::Message { message: MessageId::from_bytes(id), length }));
        }
        let greeting = sqlx::query("SELECT 1 FROM greetings WHERE id = ?")
            .bind(id.as_slice())
            .fetch_optional(&self.readers)
            .await?;
        Ok(greeting.map(|_| Finished::Greeting(GreetingId::from_bytes(id))))
    }

    pub(crate) async fn discard(&self, recording: RecordingId) -> Result<(), Fault> {
        let id = recording.to_bytes();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let gone =
            sqlx::query("DELETE FROM recordings WHERE id = ?").bind(id.as_slice()).execute(&mut *transaction).await?;
        if gone.rows_affected() > 0 {
            doom(&mut transaction, id).await?;
        }
        transaction.commit().await?;
        self.recorders.close(recording).await?;
        if gone.rows_affected() > 0 { self.remove_doomed(vec![id]).await } else { Ok(()) }
    }

    /// Removes files that the database has forgotten, and then the memory of them.
    pub(crate) async fn remove_doomed(&self, ids: Vec<[u8; 16]>) -> Result<(), Fault> {
        let directory = self.directory.clone();
        let places = self.places.clone();
        let ids = self
            .blocking(move |files| {
                for id in &ids {
                    places.lock().unwrap_or_else(std::sync::PoisonError::into_inner).forget(*id);
                    match files.remove(&path_of(&directory, *id)) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                        _ => {}
                    }
                }
                files.sync_directory(&directory)?;
                Ok(ids)
            })
            .await?;
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for id in ids {
            sqlx::query("DELETE FROM doomed_files WHERE id = ?").bind(id.as_slice()).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// Deposits into a mailbox that are under way, but for one.
async fn deposits(
    connection: &mut SqliteConnection,
    mailbox: MailboxId,
    but: Option<RecordingId>,
) -> Result<i64, Fault> {
    let row = sqlx::query("SELECT COUNT(*) FROM recordings WHERE mailbox = ? AND purpose = ? AND id <> ?")
        .bind(mailbox.to_bytes().as_slice())
        .bind(DEPOSIT)
        .bind(but.map_or([0; 16], RecordingId::to_bytes).as_slice())
        .fetch_one(connection)
        .await?;
    Ok(row.try_get(0)?)
}

impl SqliteStore {
    /// Makes a message or a greeting of a recording whose samples are synced, and tells the owner by mail who wants it.
    /// The second value is the file of the greeting that it takes the place of.
    pub(crate) async fn accept(
        &self,
        transaction: &mut Transaction<'_, Sqlite>,
        begun: &Begun,
        length: Duration,
        partial: bool,
    ) -> Result<(Finished, Option<[u8; 16]>), Fault> {
        let (finished, replaced) = accept(transaction, begun, length, partial).await?;
        if let Finished::Message { message, .. } = finished {
            let tidings = Tidings::message(message.to_bytes(), begun.begun);
            self.queue_letter(transaction, begun.mailbox, tidings).await?;
        }
        Ok((finished, replaced))
    }
}

async fn accept(
    transaction: &mut Transaction<'_, Sqlite>,
    begun: &Begun,
    length: Duration,
    partial: bool,
) -> Result<(Finished, Option<[u8; 16]>), Fault> {
    let mailbox = begun.mailbox.to_bytes();
    sqlx::query("DELETE FROM recordings WHERE id = ?").bind(begun.id.as_slice()).execute(&mut **transaction).await?;
    let Some(kind) = begun.greeting else {
        sqlx::query(
            "INSERT INTO messages (id, mailbox, caller_address, caller_name, received, length_nanos, state, state_since,
                 partial)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(begun.id.as_slice())
        .bind(mailbox.as_slice())
        .bind(&begun.caller.address)
        .bind(&begun.caller.name)
        .bind(begun.begun.as_millisecond())
        .bind(i64::try_from(length.as_nanos()).unwrap_or(i64::MAX))
        .bind(MessageState::New.name())
        .bind(Timestamp::now().as_millisecond())
        .bind(partial)
        .execute(&mut **transaction)
        .await?;
        return Ok((Finished::Message { message: MessageId::from_bytes(begun.id), length }, None));
    };
    let former = sqlx::query("DELETE FROM greetings WHERE mailbox = ? AND kind = ? RETURNING id")
        .bind(mailbox.as_slice())
        .bind(kind.name())
        .fetch_optional(&mut **transaction)
        .await?;
    let former = former.map(|row| id_of(&row, "id")).transpose()?;
    if let Some(former) = former {
        doom(transaction, former).await?;
    }
    sqlx::query("INSERT INTO greetings (id, mailbox, kind) VALUES (?, ?, ?)")
        .bind(begun.id.as_slice())
        .bind(mailbox.as_slice())
        .bind(kind.name())
        .execute(&mut **transaction)
        .await?;
    Ok((Finished::Greeting(GreetingId::from_bytes(begun.id)), former))
}

/// Notes that a file is to go once the transaction has ended.
pub(crate) async fn doom(transaction: &mut Transaction<'_, Sqlite>, id: [u8; 16]) -> Result<(), Fault> {
    sqlx::query("INSERT OR IGNORE INTO doomed_files (id) VALUES (?)")
        .bind(id.as_slice())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// As much of a caller's text as is kept.
fn shortened(text: &str) -> String {
    text.chars().take(CALLER_CHARS_MAX).collect()
}
