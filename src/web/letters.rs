//! Mail to the owner of a mailbox, as the web services ask for it.

use async_trait::async_trait;
use postern_mailbox::{MailboxId, Pin, StoreError};

/// Who sends mail for mailboxes.
#[async_trait]
pub trait Letters: Send + Sync + 'static {
    /// What the owner is told by mail.
    ///
    /// # Errors
    /// The store cannot.
    async fn choice(&self, mailbox: MailboxId) -> Result<MailChoice, StoreError>;

    /// Sets whether mail tells of calls that left no message.
    ///
    /// # Errors
    /// The store cannot.
    async fn set_missed_calls(&self, mailbox: MailboxId, wanted: bool) -> Result<(), StoreError>;

    /// Gives the mailbox this PIN, to be changed at the next call, and queues the letter that tells it: both or
    /// neither.
    ///
    /// # Errors
    /// The store cannot; the PIN is the former one.
    async fn send_pin(&self, mailbox: MailboxId, pin: Pin) -> Result<SentPin, StoreError>;
}

/// What the owner of a mailbox is told by mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailChoice {
    /// There is an address to write to.
    pub has_address: bool,
    /// Also calls that left no message.
    pub missed_calls: bool,
}

/// Whether a letter with a PIN is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentPin {
    /// To this address.
    To(String),
    NoAddress,
    /// Too many within an hour, or too many letters wait.
    TooMany,
}

/// As much of an address as its owner recognises: `a…@example.test`.
pub(crate) fn veiled(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{}…@{domain}", local.chars().take(1).collect::<String>()),
        None => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_its_first_letter_and_its_domain_are_shown() {
        assert_eq!(veiled("alice@example.test"), "a…@example.test");
        assert_eq!(veiled("@example.test"), "…@example.test");
        assert_eq!(veiled("nobody"), "…");
    }
}
