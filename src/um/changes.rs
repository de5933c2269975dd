//! The store of mailboxes as this process sees it: opened when it is there, and looked at for changes, whichever process
//! made them. One task reads; any number of listeners hear.

use std::convert::Infallible;
use std::sync::Arc;

use postern_config::{MailboxConfig, StoreLocation};
use postern_mailbox::StoreError;
use postern_store::{Change, SqliteStore};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::limits::{CHANGES_INTERVAL, CHANGES_WAITING_MAX, STORE_PAUSE, STORE_TIME};
use crate::store;

/// Whether the store can be read.
#[derive(Clone)]
pub(crate) enum Reading {
    /// It was never opened, or cannot be read now: what is known of it may not be true any more.
    Broken,
    Works(Arc<SqliteStore>),
}

/// The changes of the store, and the store itself. Its task ends with the last clone.
#[derive(Clone)]
pub(crate) struct Feed {
    changes: broadcast::Sender<Change>,
    reading: watch::Receiver<Reading>,
    _task: Arc<JoinSet<Infallible>>,
}

impl Feed {
    /// Opens the store of a configuration as soon as it is there: workers make it. To be called inside a tokio runtime.
    pub(crate) fn start(mailbox: &MailboxConfig) -> Self {
        let (changes, _) = broadcast::channel(CHANGES_WAITING_MAX);
        let (tell, reading) = watch::channel(Reading::Broken);
        let mut task = JoinSet::new();
        task.spawn(follow(mailbox.clone(), changes.clone(), tell));
        Self { changes, reading, _task: Arc::new(task) }
    }

    /// Each change from now on. Who falls behind by [`CHANGES_WAITING_MAX`] is told so, and looks at everything.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Whether the store can be read, and the store. When it works again, anything may have changed meanwhile.
    pub(crate) fn reading(&self) -> watch::Receiver<Reading> {
        self.reading.clone()
    }
}

async fn follow(
    mailbox: MailboxConfig,
    changes: broadcast::Sender<Change>,
    reading: watch::Sender<Reading>,
) -> Infallible {
    let store = Arc::new(open(&mailbox).await);
    let mut at = None;
    let mut ticks = interval(CHANGES_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fault = None;
    loop {
        ticks.tick().await;
        // A disk that hangs is as good as one that fails.
        let looked = timeout(STORE_TIME, look(&store, &mut at, &changes)).await;
        match looked.unwrap_or(Err(StoreError::Unavailable)) {
            Ok(is_other) => {
                if fault.take().is_some() {
                    tracing::info!("the store can be read again");
                }
                reading.send_if_modified(|known| {
                    let is_news = is_other || matches!(known, Reading::Broken);
                    *known = Reading::Works(Arc::clone(&store));
                    is_news
                });
            }
            // As many questions as may be are open; that says nothing of what is known.
            Err(StoreError::Busy) => {}
            Err(error) => {
                if fault != Some(error) {
                    tracing::error!(%error, "the store cannot be read; nothing is told of messages until it can");
                }
                fault = Some(error);
                reading.send_if_modified(|known| !matches!(std::mem::replace(known, Reading::Broken), Reading::Broken));
            }
        }
    }
}

/// Tells what changed since `at`; nothing at the first look. Whether it is another database than at the look before.
async fn look(
    store: &SqliteStore,
    at: &mut Option<u64>,
    changes: &broadcast::Sender<Change>,
) -> Result<bool, StoreError> {
    let Some(from) = *at else {
        *at = Some(store.changes_since(u64::MAX).await?.1);
        return Ok(false);
    };
    let (new, reached) = store.changes_since(from).await?;
    *at = Some(reached);
    for change in new {
        // Nobody listens: nobody need know.
        let _ = changes.send(change);
    }
    Ok(reached < from)
}

async fn open(mailbox: &MailboxConfig) -> SqliteStore {
    let StoreLocation::Sqlite(database) = &mailbox.store;
    let mut told = None;
    loop {
        if database.exists() {
            let opened = match store::options(mailbox) {
                Ok(options) => SqliteStore::open_beside(options).await,
                Err(error) => Err(error),
            };
            match opened {
                Ok(store) => return store,
                Err(error) => {
                    let error = error.to_string();
                    if told.as_ref() != Some(&error) {
                        tracing::error!("no message waiting yet: {error}");
                    }
                    told = Some(error);
                }
            }
        }
        sleep(STORE_PAUSE).await;
    }
}
