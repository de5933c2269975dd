//! A store with one mailbox, for tests that look behind what the store shows.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use postern_mailbox::{MailboxId, OwnQuota, Pin, PlanName};

use crate::administration::NewMailbox;
use crate::mail_address::MailSettings;
use crate::pins::PinKey;
use crate::sqlite::{Options, SqliteStore};

pub(crate) struct Bench {
    pub(crate) store: SqliteStore,
    pub(crate) mailbox: MailboxId,
    directory: PathBuf,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("postern-store-unit-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let key = PinKey::new(vec![7; 32]).unwrap();
        let options = Options::new(directory.join("postern.db"), directory.join("recordings"), key);
        let (store, _) = SqliteStore::open(Options { sends_letters: true, ..options }).await.unwrap();
        let mailbox = NewMailbox {
            plan: PlanName("office".into()),
            addresses: vec!["1001".parse().unwrap()],
            name: "Alice Ng".into(),
            language: "en".into(),
            time_zone: "Europe/Berlin".into(),
            operator: None,
            quota: OwnQuota::default(),
            mail: MailSettings { address: Some("alice@example.test".parse().unwrap()), missed_calls: false },
            pin: Pin::new("271828").unwrap(),
            must_change: false,
        };
        let mailbox = store.add_mailbox(mailbox).await.unwrap();
        Self { store, mailbox, directory }
    }
}

impl Deref for Bench {
    type Target = SqliteStore;

    fn deref(&self) -> &SqliteStore {
        &self.store
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
