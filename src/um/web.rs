//! The web services of mailboxes, in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use postern_config::{Config, MailboxConfig};
use postern_mailbox::PinPolicy;
use postern_store::SqliteStore;
use postern_telemetry::UmCells;
use postern_web::{AdminTokens, Options, Parts, Tls, Web, tls_config};
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use crate::error::UmError;
use crate::outcalls::Outcalls;
use crate::owner_calls::{OwnerCalls, tell_changes};

/// What the services take from a configuration, made ready.
pub(crate) struct Settings {
    listen: Vec<SocketAddr>,
    tls: Tls,
    options: Options,
}

/// The services, for as long as they are kept.
pub(crate) struct Served {
    web: Web,
    /// Tells browsers of calls.
    _calls: JoinSet<()>,
}

/// What the services are to be; none without `[web]`.
///
/// # Errors
/// The operator's: a certificate or token that cannot serve, or no `[mailbox]` to serve.
pub(crate) fn settings(config: &Config) -> Result<Option<Settings>, UmError> {
    let Some(web) = &config.web else { return Ok(None) };
    let mailbox = config.mailbox.as_ref().ok_or(UmError::WebWithoutMailboxes)?;
    let material = &web.certificate.material;
    Ok(Some(Settings {
        listen: web.listen.clone(),
        tls: tls_config(material.chain.clone(), material.key.clone_key())?,
        options: Options {
            url: web.url.clone(),
            admin_tokens: AdminTokens::new(web.admin_tokens.iter().map(|token| token.expose()))?,
            pin_policy: pin_policy(mailbox),
        },
    }))
}

impl Served {
    /// Binds, and serves the mailboxes of `store`.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub(crate) async fn start(
        settings: Settings,
        store: Arc<SqliteStore>,
        outcalls: Outcalls,
        cells: Arc<UmCells>,
    ) -> Result<Self, UmError> {
        let (news, _) = broadcast::channel(postern_web::limits::NEWS_MAX);
        let mut calls = JoinSet::new();
        calls.spawn(tell_changes(outcalls.changes(), news.clone()));
        let parts = Parts {
            store: Arc::clone(&store),
            calls: Some(Arc::new(OwnerCalls { outcalls, store })),
            news,
            cells,
            clock: Arc::new(Timestamp::now),
        };
        let Settings { listen, tls, options } = settings;
        let web = Web::start(&listen, tls, options, parts)
            .await
            .map_err(|(address, error)| UmError::WebListen { address, error })?;
        Ok(Self { web, _calls: calls })
    }

    /// Goes on with another certificate and other options.
    pub(crate) fn set(&self, settings: Settings) {
        self.web.set_tls(settings.tls);
        self.web.set_options(settings.options);
    }
}

fn pin_policy(mailbox: &MailboxConfig) -> PinPolicy {
    let pin = &mailbox.pin;
    PinPolicy {
        length_min: pin.length_min as usize,
        lifetime: (pin.lifetime_days > 0).then(|| Duration::from_secs(u64::from(pin.lifetime_days) * 86_400)),
        history: pin.history,
        allow_common_patterns: pin.common_patterns,
        attempts_max: pin.attempts_max,
    }
}
