//! The tables, and how an older database becomes one of today.
//!
//! During an upgrade two workers, one of each version, use the same database. So a change of the schema only ever
//! adds, what it adds has a default, and every statement names its columns: an older program keeps working beside it.

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Row, SqliteConnection};
use std::path::Path;

use crate::error::OpenError;
use crate::limits::{DATABASE_WAIT, READERS};

/// Each step leads from its place in the list to the next version.
const STEPS: &[&str] = &[
    "
    CREATE TABLE mailboxes (
        id BLOB PRIMARY KEY,
        plan TEXT NOT NULL,
        name TEXT NOT NULL,
        language TEXT NOT NULL,
        time_zone TEXT NOT NULL,
        operator TEXT,
        greeting TEXT NOT NULL DEFAULT 'standard',
        pin BLOB NOT NULL,
        pin_chosen INTEGER NOT NULL,
        pin_must_change INTEGER NOT NULL,
        wrong_pins INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE addresses (
        plan TEXT NOT NULL,
        address TEXT NOT NULL,
        mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        rank INTEGER NOT NULL,
        PRIMARY KEY (plan, address)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX addresses_of_mailbox ON addresses (mailbox, rank);
    CREATE TABLE former_pins (
        mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        pin BLOB NOT NULL,
        PRIMARY KEY (mailbox, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE recordings (
        id BLOB PRIMARY KEY,
        mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        purpose TEXT NOT NULL,
        caller_address TEXT,
        caller_name TEXT,
        begun INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX recordings_of_mailbox ON recordings (mailbox);
    CREATE TABLE messages (
        id BLOB PRIMARY KEY,
        mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        caller_address TEXT,
        caller_name TEXT,
        received INTEGER NOT NULL,
        length_nanos INTEGER NOT NULL,
        state TEXT NOT NULL,
        state_since INTEGER NOT NULL,
        partial INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX messages_of_mailbox ON messages (mailbox, state, received);
    CREATE TABLE greetings (
        id BLOB PRIMARY KEY,
        mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        UNIQUE (mailbox, kind)
    ) STRICT, WITHOUT ROWID;
    -- Files that nothing names any more, until they are gone.
    CREATE TABLE doomed_files (id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
    -- Wrong mailbox numbers cost the same write as wrong PINs.
    CREATE TABLE strangers (id INTEGER PRIMARY KEY CHECK (id = 1), attempts INTEGER NOT NULL) STRICT;
    INSERT INTO strangers VALUES (1, 0);
",
    "
    -- Absent: as for all.
    ALTER TABLE mailboxes ADD COLUMN quota_messages INTEGER;
    ALTER TABLE mailboxes ADD COLUMN quota_secs INTEGER;
",
    "
    -- What changed last, once for each mailbox and kind of change, so that it is bounded by the mailboxes. Triggers write it:
    -- in the transaction of the change itself, and for an older program beside us too.
    CREATE TABLE changes (
        mailbox BLOB NOT NULL,
        what TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        PRIMARY KEY (mailbox, what)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX changes_by_sequence ON changes (sequence);
    CREATE TRIGGER message_arrived AFTER INSERT ON messages BEGIN
        INSERT INTO changes (mailbox, what, sequence)
        VALUES (NEW.mailbox, 'messages', (SELECT COALESCE(MAX(sequence), 0) + 1 FROM changes))
        ON CONFLICT (mailbox, what) DO UPDATE SET sequence = excluded.sequence;
    END;
    CREATE TRIGGER message_moved AFTER UPDATE OF state ON messages WHEN OLD.state <> NEW.state BEGIN
        INSERT INTO changes (mailbox, what, sequence)
        VALUES (NEW.mailbox, 'messages', (SELECT COALESCE(MAX(sequence), 0) + 1 FROM changes))
        ON CONFLICT (mailbox, what) DO UPDATE SET sequence = excluded.sequence;
    END;
    -- One that was deleted before was in no list; those of a mailbox that goes, go with it.
    CREATE TRIGGER message_gone AFTER DELETE ON messages
    WHEN OLD.state <> 'deleted' AND EXISTS (SELECT 1 FROM mailboxes WHERE id = OLD.mailbox) BEGIN
        INSERT INTO changes (mailbox, what, sequence)
        VALUES (OLD.mailbox, 'messages', (SELECT COALESCE(MAX(sequence), 0) + 1 FROM changes))
        ON CONFLICT (mailbox, what) DO UPDATE SET sequence = excluded.sequence;
    END;
    CREATE TRIGGER greeting_recorded AFTER INSERT ON greetings BEGIN
        INSERT INTO changes (mailbox, what, sequence)
        VALUES (NEW.mailbox, 'options', (SELECT COALESCE(MAX(sequence), 0) + 1 FROM changes))
        ON CONFLICT (mailbox, what) DO UPDATE SET sequence = excluded.sequence;
    END;
    -- PINs and their attempts are nobody's news.
    CREATE TRIGGER options_changed AFTER UPDATE ON mailboxes
    WHEN OLD.wrong_pins = NEW.wrong_pins AND OLD.pin = NEW.pin BEGIN
        INSERT INTO changes (mailbox, what, sequence)
        VALUES (NEW.id, 'options', (SELECT COALESCE(MAX(sequence), 0) + 1 FROM changes))
        ON CONFLICT (mailbox, what) DO UPDATE SET sequence = excluded.sequence;
    END;
    CREATE TRIGGER mailbox_added AFTER INSERT ON mailboxes BEGIN
        INSERT INTO changes (mailbox, what, sequence)
        VALUES (NEW.id, 'mailbox', (SELECT COALESCE(MAX(sequence), 0) + 1 FROM changes))
        ON CONFLICT (mailbox, what) DO UPDATE SET sequence = excluded.sequence;
    END;
    -- What is left of a mailbox that is gone: that it is, until 1000 other changes have followed.
    CREATE TRIGGER mailbox_removed AFTER DELETE ON mailboxes BEGIN
        INSERT INTO changes (mailbox, what, sequence)
        VALUES (OLD.id, 'mailbox', (SELECT COALESCE(MAX(sequence), 0) + 1 FROM changes))
        ON CONFLICT (mailbox, what) DO UPDATE SET sequence = excluded.sequence;
        DELETE FROM changes WHERE mailbox = OLD.id AND what <> 'mailbox';
        DELETE FROM changes WHERE sequence <= (SELECT MAX(sequence) FROM changes) - 1000
            AND NOT EXISTS (SELECT 1 FROM mailboxes WHERE id = changes.mailbox);
    END;
    -- Who is told of a mailbox's messages.
    CREATE TABLE subscriptions (
        id TEXT PRIMARY KEY,
        mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        dialog TEXT NOT NULL,
        expires INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX subscriptions_of_mailbox ON subscriptions (mailbox);
",
    "
    -- The dial string that Play on Phone calls unless another is given.
    ALTER TABLE mailboxes ADD COLUMN play_on_phone_number TEXT;
    -- Apart from the mailboxes: a wrong password is nobody's news.
    CREATE TABLE web_accounts (
        mailbox BLOB PRIMARY KEY REFERENCES mailboxes (id) ON DELETE CASCADE,
        password BLOB,
        wrong INTEGER NOT NULL DEFAULT 0,
        locked_until INTEGER NOT NULL DEFAULT 0,
        link BLOB UNIQUE,
        link_expires INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;
    -- Names that no mailbox has are locked out as mailboxes are, in a fixed number of places.
    CREATE TABLE web_strangers (
        place INTEGER PRIMARY KEY,
        wrong INTEGER NOT NULL,
        locked_until INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE web_sessions (
        token BLOB PRIMARY KEY,
        mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        begun INTEGER NOT NULL,
        used INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX web_sessions_of_mailbox ON web_sessions (mailbox, begun);
",
    "
    -- Absent: the owner gets no mail.
    ALTER TABLE mailboxes ADD COLUMN mail TEXT;
    ALTER TABLE mailboxes ADD COLUMN missed_call_mail INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE letters (
        id BLOB PRIMARY KEY,
        mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        message BLOB,
        caller_address TEXT,
        caller_name TEXT,
        pin BLOB,
        happened INTEGER NOT NULL,
        made INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        due INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        claim BLOB,
        claimed_until INTEGER NOT NULL DEFAULT 0,
        server_failed INTEGER NOT NULL DEFAULT 0,
        last_error TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX letters_due ON letters (state, due);
    CREATE INDEX letters_of_mailbox ON letters (mailbox, kind, made);
    -- Letters that a limit kept from being queued, since the database was made.
    CREATE TABLE letters_refused (id INTEGER PRIMARY KEY CHECK (id = 1), letters INTEGER NOT NULL) STRICT;
    INSERT INTO letters_refused VALUES (1, 0);
",
];

/// Opens the database, makes or completes its tables, and gives one pool that writes and one that reads.
///
/// # Errors
/// The operator's: the file cannot be opened, or is no database.
pub(crate) async fn open(path: &Path) -> Result<(SqlitePool, SqlitePool), OpenError> {
    let because = |source| OpenError::Database { path: path.to_owned(), source };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(DATABASE_WAIT)
        .foreign_keys(true);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(DATABASE_WAIT)
        .connect_with(options.clone())
        .await
        .map_err(because)?;
    {
        let mut connection = writer.acquire().await.map_err(because)?;
        upgrade(&mut connection).await.map_err(because)?;
    }
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(DATABASE_WAIT)
        .connect_with(options)
        .await
        .map_err(because)?;
    Ok((writer, readers))
}

/// Takes the missing steps, all of them or none.
async fn upgrade(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let version: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *transaction).await?.try_get(0)?;
    let done = usize::try_from(version).unwrap_or(0);
    for step in STEPS.iter().skip(done) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
    }
    if done < STEPS.len() {
        let statement = format!("PRAGMA user_version = {}", STEPS.len());
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;

    use super::*;

    #[tokio::test]
    async fn a_mailbox_of_the_first_version_is_completed_step_by_step() {
        let mut database = SqliteConnectOptions::new().filename(":memory:").connect().await.unwrap();
        let former = format!(
            "{} INSERT INTO mailboxes (id, plan, name, language, time_zone, pin, pin_chosen, pin_must_change)
             VALUES (x'01', 'office', 'Alice Ng', 'en', 'UTC', x'02', 0, 0); PRAGMA user_version = 1;",
            STEPS[0]
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(former)).execute(&mut database).await.unwrap();
        upgrade(&mut database).await.unwrap();
        let row = sqlx::query("SELECT quota_messages, quota_secs, mail FROM mailboxes").fetch_one(&mut database).await;
        let row = row.unwrap();
        assert_eq!(row.get::<Option<u32>, _>("quota_messages"), None);
        assert_eq!(row.get::<Option<u32>, _>("quota_secs"), None);
        assert_eq!(row.get::<Option<String>, _>("mail"), None);
        let version = sqlx::query("PRAGMA user_version").fetch_one(&mut database).await.unwrap();
        assert_eq!(version.get::<i64, _>(0), STEPS.len() as i64);
        // And again, for nothing.
        upgrade(&mut database).await.unwrap();
    }
}
