//! Mail to owners of mailboxes: this process sends what workers and web services queue.

use std::sync::Arc;

use jiff::Timestamp;
use postern_config::{Config, MailSecurity};
use postern_mail::{Event, Login, Security, Sender, Server, ServerError, Settings};
use postern_store::{Blame, LetterCounts, LetterKind, MailAddress, SqliteStore};
use postern_telemetry::UmCells;
use postern_telemetry::call_labels::{self, LetterResult, LetterState};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::UmError;

/// The sender, for as long as it is kept.
pub(crate) struct Mail {
    settings: watch::Sender<Option<Settings>>,
    _task: JoinSet<()>,
}

impl Mail {
    /// Starts to send the letters of `store`.
    pub(crate) fn start(settings: Settings, store: Arc<SqliteStore>, cells: Arc<UmCells>) -> Self {
        let (sender, receiver) = watch::channel(Some(settings));
        let mut teller = Teller { cells, server_failed: false, store_failed: false };
        let mut task = JoinSet::new();
        task.spawn(postern_mail::run(store, receiver, move |event| teller.on_event(&event)));
        Self { settings: sender, _task: task }
    }

    /// Goes on with these; without any, letters wait.
    pub(crate) fn set(&self, settings: Option<Settings>) {
        self.settings.send_replace(settings);
    }
}

/// How letters are sent under a configuration; none without `[mail]`.
///
/// # Errors
/// The operator's: the server cannot be used.
pub(crate) fn settings(config: &Config) -> Result<Option<Settings>, UmError> {
    let Some(mail) = &config.mail else { return Ok(None) };
    let address: MailAddress = mail.from.parse().map_err(|error| UmError::Sender { from: mail.from.clone(), error })?;
    let security = match mail.server.security {
        MailSecurity::Tls => Security::Tls,
        MailSecurity::StartTls => Security::StartTls,
        MailSecurity::Plain => Security::Plain,
    };
    let login = mail.credentials.as_ref().map(|credentials| Login {
        username: credentials.username.clone(),
        password: credentials.password.expose().to_owned().into(),
    });
    let roots = mail.ca.as_ref().map(|ca| ca.iter().map(|root| root.to_vec()).collect::<Vec<_>>());
    let server: Result<Server, ServerError> =
        Server::new(&mail.server.host, mail.server.port, security, login, roots.as_deref(), address.domain());
    Ok(Some(Settings { sender: Sender { address }, carrier: Arc::new(server?), queue: mail.queue.clone() }))
}

/// Counts and logs what happens to letters. Whose they are, only `postern mail list` tells.
struct Teller {
    cells: Arc<UmCells>,
    server_failed: bool,
    store_failed: bool,
}

impl Teller {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Sent { letter, kind } => {
                self.count(*kind, LetterResult::Sent);
                tracing::debug!(%letter, kind = kind.name(), "mail was taken");
                if std::mem::take(&mut self.server_failed) {
                    tracing::info!("the mail server takes mail again");
                }
            }
            Event::Delayed { letter, kind, blame, until, why } => {
                self.count(*kind, LetterResult::Delayed);
                tracing::debug!(%letter, kind = kind.name(), %until, why, "mail waits");
                if *blame == Blame::Server && !std::mem::replace(&mut self.server_failed, true) {
                    tracing::warn!(why, "mail waits until the mail server takes it; see [mail]");
                }
            }
            Event::GivenUp { letter, kind, why } => {
                self.count(*kind, LetterResult::GivenUp);
                tracing::warn!(%letter, kind = kind.name(), "mail was given up: `postern mail list` says why");
                tracing::debug!(%letter, why, "why it was given up");
            }
            Event::Dropped { kind } => self.count(*kind, LetterResult::Dropped),
            Event::StoreFailed(error) => {
                if !std::mem::replace(&mut self.store_failed, true) {
                    tracing::warn!(%error, "no mail is sent: the store cannot be asked for it");
                }
            }
            Event::FolderFailed { why } => tracing::warn!(why, "dead letters cannot be kept; see mail.queue"),
            Event::Counts(counts) => {
                if std::mem::take(&mut self.store_failed) {
                    tracing::info!("the store can be asked for mail again");
                }
                self.read(counts);
            }
        }
    }

    fn count(&self, kind: LetterKind, result: LetterResult) {
        let kind = match kind {
            LetterKind::Message => call_labels::LetterKind::Message,
            LetterKind::MissedCall => call_labels::LetterKind::MissedCall,
            LetterKind::PinReset => call_labels::LetterKind::PinReset,
        };
        self.cells.letter_attempts.add((kind, result), 1);
    }

    fn read(&self, counts: &LetterCounts) {
        self.cells.letters.set(LetterState::Queued, counts.queued);
        self.cells.letters.set(LetterState::Dead, counts.dead);
        self.cells.letters_refused.store((), counts.refused);
        let age = counts.oldest.map(|oldest| Timestamp::now().duration_since(oldest).as_secs());
        self.cells.letter_age.set((), age.and_then(|secs| u64::try_from(secs).ok()).unwrap_or(0));
    }
}
