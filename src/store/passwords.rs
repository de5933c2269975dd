//! Passwords of the web: kept as PINs are, and hashed on threads of their own.

use std::fmt;
use std::sync::Arc;

use postern_mailbox::{MailboxId, StoreError};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use crate::error::Fault;
use crate::hashing::Hashing;
use crate::limits::{PASSWORDS_AT_ONCE, PASSWORDS_WAITING_MAX};
use crate::pins::{HASH_BYTES, PinKey, SALT_BYTES};

const PURPOSE: &[u8] = b"postern web password 1";

/// First byte of a kept password: which parameters made it.
const FORM: u8 = 1;
const KEPT_BYTES: usize = 1 + SALT_BYTES + HASH_BYTES;

/// A password in clear, in UTF-8. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Any text; whether it is a good password is for who sets it to judge.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for whoever judges it.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// Who may hash now, and who may wait for it.
#[derive(Clone)]
pub(crate) struct Passwords {
    waiting: Arc<Semaphore>,
    pub(crate) hashing: Hashing,
}

/// A place among those who hash or wait for it.
pub(crate) struct Waiting(OwnedSemaphorePermit);

impl Passwords {
    pub(crate) fn new(key: PinKey) -> Self {
        Self { waiting: Arc::new(Semaphore::new(PASSWORDS_WAITING_MAX)), hashing: Hashing::new(key, PASSWORDS_AT_ONCE) }
    }

    /// # Errors
    /// [`StoreError::Busy`].
    pub(crate) fn wait(&self) -> Result<Waiting, Fault> {
        let place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| StoreError::Busy)?;
        Ok(Waiting(place))
    }

    /// What is kept of `password`.
    pub(crate) async fn hash(&self, mailbox: MailboxId, password: Password) -> Result<Vec<u8>, Fault> {
        let place = self.wait()?;
        self.run(place, move |key| key.keep_password(mailbox, &password)).await?
    }

    /// Whether `kept` is of `password`.
    pub(crate) async fn compare(
        &self,
        place: Waiting,
        mailbox: MailboxId,
        password: Password,
        kept: Option<Vec<u8>>,
    ) -> Result<bool, Fault> {
        self.run(place, move |key| key.is_password(mailbox, &password, kept.as_deref())).await
    }

    async fn run<T: Send + 'static>(
        &self,
        place: Waiting,
        work: impl FnOnce(&PinKey) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let work = move |key: &PinKey| {
            let _place = place.0;
            work(key)
        };
        self.hashing.run(work).await
    }
}

impl PinKey {
    fn keep_password(&self, mailbox: MailboxId, password: &Password) -> Result<Vec<u8>, Fault> {
        let mut kept = vec![FORM; KEPT_BYTES];
        getrandom::fill(&mut kept[1..=SALT_BYTES])?;
        let hash = self.stretch(PURPOSE, mailbox, password.text().as_bytes(), &kept[1..=SALT_BYTES]);
        kept[1 + SALT_BYTES..].copy_from_slice(&*hash);
        Ok(kept)
    }

    /// Costs the same for whatever is kept, and for nothing kept.
    fn is_password(&self, mailbox: MailboxId, password: &Password, kept: Option<&[u8]>) -> bool {
        let good = kept.filter(|kept| kept.len() == KEPT_BYTES && kept[0] == FORM);
        let kept = good.unwrap_or(&[0; KEPT_BYTES]);
        let hash = self.stretch(PURPOSE, mailbox, password.text().as_bytes(), &kept[1..=SALT_BYTES]);
        bool::from(hash.ct_eq(&kept[1 + SALT_BYTES..])) && good.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_what_was_kept_of_it_and_of_nothing_else() {
        let key = PinKey::new(vec![7; 32]).unwrap();
        let mailbox = MailboxId::from_bytes([1; 16]);
        let password = |text: &str| Password::new(text.into());
        let kept = key.keep_password(mailbox, &password("correct horse")).unwrap();
        assert!(key.is_password(mailbox, &password("correct horse"), Some(&kept)));
        assert!(!key.is_password(mailbox, &password("correct horsf"), Some(&kept)));
        assert!(!key.is_password(MailboxId::from_bytes([2; 16]), &password("correct horse"), Some(&kept)));
        assert!(!key.is_password(mailbox, &password("correct horse"), None));
        assert_eq!(format!("{:?}", password("correct horse")), "Password");
    }
}
