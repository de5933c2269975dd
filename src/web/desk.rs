//! What every request is answered with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use postern_mailbox::{Mailbox, MailboxId};
use postern_store::SqliteStore;
use postern_telemetry::UmCells;
use tokio::sync::{Semaphore, broadcast};

use crate::calls::Calls;
use crate::events::News;
use crate::letters::Letters;
use crate::limits::{READINGS_AT_ONCE, STREAMS_MAX};
use crate::options::{Clock, Options, Parts};
use crate::problem::Problem;
use crate::strangers::Strangers;
use crate::waveform::Waveforms;

/// The services' state.
pub(crate) struct Desk {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) calls: Option<Arc<dyn Calls>>,
    pub(crate) letters: Option<Arc<dyn Letters>>,
    pub(crate) news: broadcast::Sender<News>,
    pub(crate) cells: Arc<UmCells>,
    pub(crate) options: ArcSwap<Options>,
    pub(crate) strangers: Strangers,
    pub(crate) waveforms: Waveforms,
    /// Who reads whole recordings.
    pub(crate) readings: Semaphore,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) streams_of: Mutex<HashMap<MailboxId, u32>>,
    clock: Clock,
}

impl Desk {
    pub(crate) fn new(options: Options, parts: Parts) -> Self {
        Self {
            store: parts.store,
            calls: parts.calls,
            letters: parts.letters,
            news: parts.news,
            cells: parts.cells,
            options: ArcSwap::from_pointee(options),
            strangers: Strangers::default(),
            waveforms: Waveforms::default(),
            readings: Semaphore::new(READINGS_AT_ONCE),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            streams_of: Mutex::default(),
            clock: parts.clock,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The mailbox of a session. One that was removed meanwhile has none.
    pub(crate) async fn mailbox(&self, id: MailboxId) -> Result<Mailbox, Problem> {
        self.store.mailbox(id).await?.ok_or(Problem::SignedOut)
    }

    /// Where the owner of a mailbox sets a password.
    pub(crate) async fn link(&self, mailbox: MailboxId) -> Result<String, Problem> {
        let token = self.store.make_link(mailbox, self.now()).await?;
        Ok(format!("{}/#/link/{}", self.options.load().url, token.reveal()))
    }
}
