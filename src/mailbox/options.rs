//! What an operator sets for all calls of a dial plan.

use std::sync::Arc;
use std::time::Duration;

use crate::key_map::KeyMap;
use crate::limits;
use crate::mailbox::{Mailbox, Quota};
use crate::pin::PinPolicy;

/// Settings of a call. The role makes one from its configuration and shares it between calls.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest call.
    pub call_max: Duration,
    /// Longest message.
    pub message_max: Duration,
    /// Longest greeting.
    pub greeting_max: Duration,
    /// Silence that ends a recording.
    pub silence: Duration,
    /// Inputs in a row that were wrong or missing before we hang up.
    pub input_failures_max: u32,
    /// Wrong PINs in one call before we hang up.
    pub logon_failures_max: u32,
    /// How long we wait for a first key.
    pub first_key: Duration,
    /// How long we wait for the next key of an entry or of a command of several keys.
    pub next_key: Duration,
    pub pin: PinPolicy,
    pub quota: Quota,
    /// Calls that may record to one mailbox at once.
    pub deposits_max: u32,
    pub keys: Arc<KeyMap>,
    /// BCP 47 tag of the language before the mailbox is known.
    pub language: String,
    /// Whom the operator key reaches in mailboxes that do not say; none: nobody.
    pub operator: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            call_max: Duration::from_secs(30 * 60),
            message_max: Duration::from_secs(20 * 60),
            greeting_max: Duration::from_secs(5 * 60),
            silence: Duration::from_secs(5),
            input_failures_max: 3,
            logon_failures_max: 3,
            first_key: Duration::from_secs(5),
            next_key: Duration::from_secs(3),
            pin: PinPolicy::default(),
            quota: Quota::default(),
            deposits_max: limits::DEPOSITS_MAX,
            keys: Arc::new(KeyMap::ova()),
            language: "en".to_owned(),
            operator: None,
        }
    }
}

impl Options {
    /// Whom the operator key of `mailbox` reaches.
    pub(crate) fn operator_of<'o>(&'o self, mailbox: &'o Mailbox) -> Option<&'o str> {
        let target = mailbox.operator.as_deref().or(self.operator.as_deref());
        target.filter(|target| !target.is_empty())
    }
}
