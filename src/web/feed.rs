//! What the services do by themselves: look for changes of the store, and forget what is over.

use std::convert::Infallible;
use std::sync::Arc;

use postern_store::{Change, Changed};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::desk::Desk;
use crate::events::News;
use crate::limits::{FEED_INTERVAL, TEND_INTERVAL};

/// Tells browsers of each change of the store, whichever process made it, and tends sessions, for as long as the
/// future lives.
pub(crate) async fn run(desk: Arc<Desk>) -> Infallible {
    let mut looks = interval(FEED_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reached = None;
    let mut tended: Option<Instant> = None;
    loop {
        looks.tick().await;
        if tended.is_none_or(|last| last.elapsed() >= TEND_INTERVAL) {
            tended = Some(Instant::now());
            tend(&desk).await;
        }
        // What happened before the first look, every page has read by itself.
        match desk.store.changes_since(reached.unwrap_or(i64::MAX as u64)).await {
            Ok((changes, sequence)) => {
                reached = Some(sequence);
                for change in changes {
                    // Nobody may be listening.
                    let _ = desk.news.send(news_of(change));
                }
            }
            Err(error) => tracing::debug!(%error, "changes of the store cannot be read"),
        }
    }
}

fn news_of(change: Change) -> News {
    match change.what {
        Changed::Messages => News::Messages(change.mailbox),
        Changed::Options | Changed::Mailbox => News::Options(change.mailbox),
    }
}

async fn tend(desk: &Desk) {
    match desk.store.tend_sessions(desk.now()).await {
        Ok(living) => desk.cells.web_sessions.set((), living),
        Err(error) => tracing::debug!(%error, "sessions that are over cannot be forgotten"),
    }
}
