//! What message waiting asks of the store. A task answers one question after the other: what is kept of a subscription
//! never comes after the word that it is over.

use std::sync::Arc;

use postern_mailbox::{Address, MailboxId, PlanName, Store, StoreError};
use postern_net::system::unix_secs;
use postern_sip::notifier_io::{AskId, Kept};
use postern_store::{KeptSubscription, SqliteStore, Waiting};
use tokio::sync::{mpsc, watch};

use crate::changes::Reading;

/// Which mailbox.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    Known(MailboxId),
    /// As a plan calls it.
    Called(PlanName, String),
}

/// What is asked.
pub(crate) enum Question {
    /// The state of a mailbox for one who subscribes, once his subscription is kept.
    Subscribe { ask: AskId, which: Which, kept: Option<Kept> },
    /// What is kept of a subscription becomes this.
    Keep { mailbox: MailboxId, kept: Kept },
    /// Subscriptions are over.
    Forget { ids: Vec<String> },
    /// The state of a mailbox.
    Look { mailbox: MailboxId },
    /// Everything.
    Load,
}

/// What came of it. A mailbox that is not there is none.
pub(crate) enum Found {
    Subscribed { ask: AskId, state: Result<Option<Waiting>, StoreError> },
    Looked { mailbox: MailboxId, state: Result<Option<Waiting>, StoreError> },
    Loaded(Result<Loaded, StoreError>),
}

/// Everything that message waiting lives by.
pub(crate) struct Loaded {
    pub(crate) mailboxes: Vec<Waiting>,
    pub(crate) subscriptions: Vec<KeptSubscription>,
    pub(crate) now_unix_secs: u64,
}

/// Answers questions until nobody asks any more.
pub(crate) async fn serve(
    reading: watch::Receiver<Reading>,
    mut questions: mpsc::Receiver<Question>,
    found: mpsc::Sender<Found>,
) {
    while let Some(question) = questions.recv().await {
        let store = match &*reading.borrow() {
            Reading::Works(store) => Ok(Arc::clone(store)),
            Reading::Broken => Err(StoreError::Unavailable),
        };
        let answer = match question {
            Question::Subscribe { ask, which, kept } => {
                let state = match &store {
                    Ok(store) => subscribe(store, which, kept).await,
                    Err(error) => Err(*error),
                };
                Some(Found::Subscribed { ask, state })
            }
            Question::Look { mailbox } => {
                let state = match &store {
                    Ok(store) => waiting(store, mailbox).await,
                    Err(error) => Err(*error),
                };
                Some(Found::Looked { mailbox, state })
            }
            Question::Load => Some(Found::Loaded(match &store {
                Ok(store) => load(store).await,
                Err(error) => Err(*error),
            })),
            Question::Keep { mailbox, kept } => {
                let kept = match &store {
                    Ok(store) => store.keep_subscription(&words(mailbox, kept), &[]).await,
                    Err(error) => Err(*error),
                };
                told(kept);
                None
            }
            Question::Forget { ids } => {
                let forgotten = match &store {
                    Ok(store) => store.forget_subscriptions(&ids).await,
                    Err(error) => Err(*error),
                };
                told(forgotten);
                None
            }
        };
        if let Some(answer) = answer
            && found.send(answer).await.is_err()
        {
            return;
        }
    }
}

/// What is not written now costs at worst one NOTIFY that is refused after a restart.
fn told(written: Result<(), StoreError>) {
    match written {
        Ok(()) | Err(StoreError::Gone) => {}
        Err(error) => tracing::warn!(%error, "a subscription's state could not be kept"),
    }
}

async fn subscribe(store: &SqliteStore, which: Which, kept: Option<Kept>) -> Result<Option<Waiting>, StoreError> {
    let mailbox = match which {
        Which::Known(mailbox) => mailbox,
        Which::Called(plan, number) => {
            let Ok(address) = number.parse::<Address>() else { return Ok(None) };
            match store.find_mailbox(&plan, &address).await? {
                Some(mailbox) => mailbox.id,
                None => return Ok(None),
            }
        }
    };
    if let Some(kept) = kept {
        match store.keep_subscription(&words(mailbox, kept), &[]).await {
            Err(StoreError::Gone) => return Ok(None),
            other => other?,
        }
    }
    // Read after it is kept: a change from here on is told by the feed.
    waiting(store, mailbox).await
}

async fn waiting(store: &SqliteStore, mailbox: MailboxId) -> Result<Option<Waiting>, StoreError> {
    match store.waiting(mailbox).await {
        Err(StoreError::Gone) => Ok(None),
        other => other.map(Some),
    }
}

async fn load(store: &SqliteStore) -> Result<Loaded, StoreError> {
    let now_unix_secs = unix_secs();
    let subscriptions = store.subscriptions(now_unix_secs).await?;
    Ok(Loaded { mailboxes: store.all_waiting().await?, subscriptions, now_unix_secs })
}

fn words(mailbox: MailboxId, kept: Kept) -> KeptSubscription {
    let expires_unix_secs = unix_secs() + kept.lasts.as_secs();
    KeptSubscription { id: kept.id, mailbox, dialog: kept.text, expires_unix_secs }
}
