//! Upgrades. The next version of the tables is made up here: what its first start would add, under the rule that a change
//! only ever adds, with defaults.

use crate::support::*;
use postern_mailbox::{AudioId, Finished, RecordingId, Store};
use postern_store::SqliteStore;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

const NEXT: &str = "
    BEGIN IMMEDIATE;
    ALTER TABLE messages ADD COLUMN transcript TEXT NOT NULL DEFAULT '';
    ALTER TABLE recordings ADD COLUMN origin TEXT;
    ALTER TABLE mailboxes ADD COLUMN voice_print BLOB;
    CREATE TABLE calendars (id BLOB PRIMARY KEY, mailbox BLOB NOT NULL) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 6;
    COMMIT;
";

async fn speak(store: &SqliteStore, recording: RecordingId, from_second: u64, seconds: u64) {
    for second in from_second..from_second + seconds {
        store.append_audio(recording, &samples(second * u64::from(RATE), RATE as usize)).await.unwrap();
    }
}

async fn version(connection: &mut SqliteConnection) -> i64 {
    sqlx::query("PRAGMA user_version").fetch_one(connection).await.unwrap().get(0)
}

#[tokio::test]
async fn a_deposit_in_each_slot_survives_a_change_of_the_schema_between_them() {
    let scratch = Scratch::new();
    let former = open(&scratch.0).await;
    let mailbox = former.add_mailbox(alice()).await.unwrap();
    let first = begin(&former, deposit(mailbox)).await;
    speak(&former, first, 0, 1).await;

    let mut next = SqliteConnectOptions::new().filename(scratch.0.join("postern.db")).connect().await.unwrap();
    assert_eq!(version(&mut next).await, 5, "another version of the tables: this test is to begin with that one");
    sqlx::raw_sql(NEXT).execute(&mut next).await.unwrap();

    // A worker of today that starts beside the next version leaves its tables as they are, and recovers nothing that
    // somebody still writes.
    let (fresh, recovered) = SqliteStore::open(options(&scratch.0)).await.unwrap();
    assert!(recovered.messages.is_empty() && recovered.removed == 0 && recovered.set_aside == 0);
    let second = begin(&fresh, deposit(mailbox)).await;
    speak(&former, first, 1, 1).await;
    speak(&fresh, second, 0, 3).await;
    for (store, recording, seconds) in [(&former, first, 2), (&fresh, second, 3)] {
        let Finished::Message { message, .. } = finish(store, recording).await else { panic!("it is kept") };
        for reader in [&former, &fresh] {
            assert_eq!(heard(reader, AudioId::Message(message)).await, seconds * u64::from(RATE));
        }
    }
    assert_eq!(former.list_messages(mailbox).await.unwrap().len(), 2);
    assert_eq!(version(&mut next).await, 6);
    let transcripts = sqlx::query("SELECT transcript FROM messages").fetch_all(&mut next).await.unwrap();
    assert!(transcripts.iter().all(|row| row.get::<String, _>(0).is_empty()));
    next.close().await.unwrap();
}
