//! Who may sign in on the web: passwords, the count of wrong ones, and the links that set them.
//!
//! Lock-outs are the web's own: a wrong password locks no phone, a wrong PIN no web. A name that no mailbox has is
//! counted and locked like one that has, so that neither words nor time tell them apart.

use std::time::Duration;

use jiff::Timestamp;
use postern_mailbox::{Address, MailboxId, PlanName, StoreError};

use crate::error::Fault;
use crate::limits::{LINK_LIFETIME, STRANGER_PLACES};
use crate::mailboxes::id_of;
use crate::password_verdict::{Judge, Meant, PasswordVerdict};
use crate::passwords::Password;
use crate::sqlite::SqliteStore;
use crate::web_sessions::{SessionToken, end_sessions};

/// A mailbox as somebody named it who wants to sign in.
#[derive(Clone, Debug)]
pub struct WebName {
    /// None: the only plan that has the address.
    pub plan: Option<PlanName>,
    /// As it was typed.
    pub address: String,
}

impl SqliteStore {
    /// Compares a password. The attempt is counted and synced before the comparison, and the count goes back to zero
    /// after a right one, so that attempts at once and restarts gain nothing.
    ///
    /// # Errors
    /// The store cannot, or too many wait.
    pub async fn verify_password(
        &self,
        name: &WebName,
        password: Password,
        now: Timestamp,
    ) -> Result<PasswordVerdict, StoreError> {
        let _turn = self.turn()?;
        let meant = self.meant(name).await?;
        Ok(self.judge().judge(meant, password, now).await?)
    }

    /// As [`verify_password`](Self::verify_password), of a mailbox that is known.
    ///
    /// # Errors
    /// As there.
    pub async fn verify_password_of(
        &self,
        mailbox: MailboxId,
        password: Password,
        now: Timestamp,
    ) -> Result<PasswordVerdict, StoreError> {
        let _turn = self.turn()?;
        Ok(self.judge().judge(Meant::Account(mailbox), password, now).await?)
    }

    /// Sets a password, unlocks the sign-in, and ends all sessions and the link.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn set_password(&self, mailbox: MailboxId, password: Password) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        Ok(self.store_password(mailbox, password, None).await.map(|_| ())?)
    }

    /// Makes the one link by which the owner of a mailbox sets a password; an earlier one serves no more. Only its
    /// hash is kept. It lives for [`LINK_LIFETIME`](crate::limits::LINK_LIFETIME).
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn make_link(&self, mailbox: MailboxId, now: Timestamp) -> Result<SessionToken, StoreError> {
        let _turn = self.turn()?;
        let token = SessionToken::random().map_err(Fault::from)?;
        let expires = now.as_millisecond() + millis(LINK_LIFETIME);
        let made = sqlx::query(
            "INSERT INTO web_accounts (mailbox, link, link_expires)
             SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM mailboxes WHERE id = ?1)
             ON CONFLICT (mailbox) DO UPDATE SET link = excluded.link, link_expires = excluded.link_expires",
        )
        .bind(mailbox.to_bytes().as_slice())
        .bind(token.hash().as_slice())
        .bind(expires)
        .execute(&self.writer)
        .await
        .map_err(Fault::from)?;
        if made.rows_affected() == 0 { Err(StoreError::Gone) } else { Ok(token) }
    }

    /// Whose password the link sets. None: it was used, is too old, or never was.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn mailbox_of_link(&self, link: &SessionToken, now: Timestamp) -> Result<Option<MailboxId>, StoreError> {
        let _turn = self.turn()?;
        let row = sqlx::query("SELECT mailbox FROM web_accounts WHERE link = ? AND link_expires > ?")
            .bind(link.hash().as_slice())
            .bind(now.as_millisecond())
            .fetch_optional(&self.readers)
            .await
            .map_err(Fault::from)?;
        Ok(row.map(|row| id_of(&row, "mailbox").map(MailboxId::from_bytes)).transpose()?)
    }

    /// Sets a password by a link and uses it up. False: somebody was faster, or it is too old.
    ///
    /// # Errors
    /// The store cannot; the link still serves.
    pub async fn use_link(
        &self,
        mailbox: MailboxId,
        link: &SessionToken,
        password: Password,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let _turn = self.turn()?;
        Ok(self.store_password(mailbox, password, Some((link, now))).await?)
    }

    /// Lets the owner of a mailbox try passwords again.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or the store cannot.
    pub async fn unlock_web(&self, mailbox: MailboxId) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        let changed = sqlx::query(
            "INSERT INTO web_accounts (mailbox) SELECT ?1 WHERE EXISTS (SELECT 1 FROM mailboxes WHERE id = ?1)
             ON CONFLICT (mailbox) DO UPDATE SET wrong = 0, locked_until = 0",
        )
        .bind(mailbox.to_bytes().as_slice())
        .execute(&self.writer)
        .await
        .map_err(Fault::from)?;
        if changed.rows_affected() == 0 { Err(StoreError::Gone) } else { Ok(()) }
    }

    /// Which mailbox somebody means, or where it is counted that there is none. Locks are to tell no more than
    /// verdicts: whatever is counted as one for a mailbox (plans right, wrong or left out, `+` or none) is one for
    /// strangers too.
    async fn meant(&self, name: &WebName) -> Result<Meant, Fault> {
        let bare = name.address.strip_prefix('+').unwrap_or(&name.address);
        let as_typed = name.address.parse::<Address>().ok();
        let international = format!("+{bare}").parse::<Address>().ok();
        let typed = [as_typed, international.clone()];
        if let Some(mailbox) = self.only_one_at(typed.clone(), name.plan.as_ref()).await? {
            return Ok(Meant::Account(mailbox));
        }
        if let Some(mailbox) = self.only_one_at(typed, None).await? {
            return Ok(Meant::Beside(mailbox));
        }
        if let Some(mailbox) = self.only_one_at([bare.parse().ok(), None], None).await? {
            return Ok(Meant::Beside(mailbox));
        }
        let written = bare.parse::<Address>().ok().or(international).map(|address| address.to_string());
        let written = written.as_deref().unwrap_or(bare);
        let written = written.strip_prefix('+').unwrap_or(written);
        // Under the key, so that nobody can choose a place.
        let mixed = self.pin_key.keyed(b"postern web stranger 2", [written.as_bytes(), b""]);
        Ok(Meant::Stranger(u32::from_be_bytes([mixed[0], mixed[1], mixed[2], mixed[3]]) % STRANGER_PLACES))
    }

    /// The mailbox with the first of these addresses that any has, in this plan or in all, if there is exactly one.
    async fn only_one_at(
        &self,
        addresses: [Option<Address>; 2],
        plan: Option<&PlanName>,
    ) -> Result<Option<MailboxId>, Fault> {
        for address in addresses.into_iter().flatten() {
            let rows =
                sqlx::query("SELECT mailbox FROM addresses WHERE address = ?1 AND (?2 IS NULL OR plan = ?2) LIMIT 2")
                    .bind(address.to_string())
                    .bind(plan.map(|plan| plan.0.as_str()))
                    .fetch_all(&self.readers)
                    .await?;
            match &rows[..] {
                [] => {}
                [row] => return Ok(Some(MailboxId::from_bytes(id_of(row, "mailbox")?))),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    fn judge(&self) -> Judge {
        Judge::new(self.writer.clone(), self.passwords.clone())
    }

    /// Whether it was stored: not if the link it comes by serves no more.
    async fn store_password(
        &self,
        mailbox: MailboxId,
        password: Password,
        by: Option<(&SessionToken, Timestamp)>,
    ) -> Result<bool, Fault> {
        let kept = self.passwords.hash(mailbox, password).await?;
        let id = mailbox.to_bytes();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        if let Some((link, now)) = by {
            let used =
                sqlx::query("UPDATE web_accounts SET link = NULL WHERE mailbox = ? AND link = ? AND link_expires > ?")
                    .bind(id.as_slice())
                    .bind(link.hash().as_slice())
                    .bind(now.as_millisecond())
                    .execute(&mut *transaction)
                    .await?;
            if used.rows_affected() == 0 {
                return Ok(false);
            }
        }
        let stored = sqlx::query(
            "INSERT INTO web_accounts (mailbox, password)
             SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM mailboxes WHERE id = ?1)
             ON CONFLICT (mailbox) DO UPDATE
             SET password = excluded.password, wrong = 0, locked_until = 0, link = NULL",
        )
        .bind(id.as_slice())
        .bind(kept)
        .execute(&mut *transaction)
        .await?;
        if stored.rows_affected() == 0 {
            return Err(StoreError::Gone.into());
        }
        end_sessions(&mut transaction, mailbox).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
