//! What the role gives the web services to work with.

use std::sync::Arc;

use jiff::Timestamp;
use postern_mailbox::PinPolicy;
use postern_store::SqliteStore;
use postern_telemetry::UmCells;
use tokio::sync::broadcast;

use crate::admin_tokens::AdminTokens;
use crate::calls::Calls;
use crate::events::News;
use crate::letters::Letters;

/// What an operator sets; replaced as a whole by a reload.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where browsers find the page: `https://host[:port]` without a slash at the end.
    pub url: String,
    pub admin_tokens: AdminTokens,
    pub pin_policy: PinPolicy,
}

/// Tells the time of day, which sessions, links and lock-outs are judged by.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the services live on for as long as they run.
pub struct Parts {
    pub store: Arc<SqliteStore>,
    /// None: nothing can be played on a phone.
    pub calls: Option<Arc<dyn Calls>>,
    /// None: no mail is sent.
    pub letters: Option<Arc<dyn Letters>>,
    /// Whoever knows of calls sends what becomes of them; changes of the store are looked for by the services.
    pub news: broadcast::Sender<News>,
    pub cells: Arc<UmCells>,
    pub clock: Clock,
}
