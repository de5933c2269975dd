//! Who may sign in on the web: passwords, the count of wrong ones, and the links that set them.
//!
//! Lock-outs are the web's own: a wrong password locks no phone, a wrong PIN no web. A name that no mailbox has is
//! counted and locked like one that has, so that neither words nor time tell them apart.

use std::time::Duration;

use jiff::Timestamp;
use postern_mailbox::{Address, MailboxId, PlanName, StoreError};
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::Fault;
use crate::limits::{FIRST_LOCK, LINK_LIFETIME, LONGEST_LOCK, STRANGER_PLACES, WRONG_PASSWORDS_MAX};
use crate::mailboxes::{id_of, time_of};
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

/// What a password was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordVerdict {
    Right(MailboxId),
    /// Also where there is no such mailbox, or it has no password.
    Wrong,
    /// Too many wrong ones; the password was not looked at.
    Locked {
        until: Timestamp,
    },
}

/// Where an attempt is counted.
enum Counted {
    Account { mailbox: MailboxId, kept: Option<Vec<u8>> },
    Stranger,
    Locked(Timestamp),
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
        let mailbox = self.named(name).await?;
        Ok(self.judge_password(mailbox, name, password, now).await?)
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
        let name = WebName { plan: None, address: String::new() };
        Ok(self.judge_password(Some(mailbox), &name, password, now).await?)
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

    /// The mailbox that somebody means, if there is exactly one.
    async fn named(&self, name: &WebName) -> Result<Option<MailboxId>, Fault> {
        let forms = [name.address.parse::<Address>().ok(), format!("+{}", name.address).parse().ok()];
        for address in forms.into_iter().flatten() {
            let rows =
                sqlx::query("SELECT mailbox FROM addresses WHERE address = ?1 AND (?2 IS NULL OR plan = ?2) LIMIT 2")
                    .bind(address.to_string())
                    .bind(name.plan.as_ref().map(|plan| plan.0.as_str()))
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

    async fn judge_password(
        &self,
        mailbox: Option<MailboxId>,
        name: &WebName,
        password: Password,
        now: Timestamp,
    ) -> Result<PasswordVerdict, Fault> {
        let counted = match mailbox {
            Some(mailbox) => self.count_attempt(mailbox, now).await?,
            None => self.count_stranger(name, now).await?,
        };
        match counted {
            Counted::Locked(until) => Ok(PasswordVerdict::Locked { until }),
            Counted::Stranger => {
                self.compare_password(MailboxId::from_bytes([0; 16]), password, None).await?;
                Ok(PasswordVerdict::Wrong)
            }
            Counted::Account { mailbox, kept } => {
                if !self.compare_password(mailbox, password, kept).await? {
                    return Ok(PasswordVerdict::Wrong);
                }
                sqlx::query("UPDATE web_accounts SET wrong = 0, locked_until = 0 WHERE mailbox = ?")
                    .bind(mailbox.to_bytes().as_slice())
                    .execute(&self.writer)
                    .await?;
                Ok(PasswordVerdict::Right(mailbox))
            }
        }
    }

    async fn count_attempt(&self, mailbox: MailboxId, now: Timestamp) -> Result<Counted, Fault> {
        let id = mailbox.to_bytes();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let known = sqlx::query("SELECT password, wrong, locked_until FROM web_accounts WHERE mailbox = ?")
            .bind(id.as_slice())
            .fetch_optional(&mut *transaction)
            .await?;
        let next = match next_attempt(known.as_ref(), now)? {
            Ok(next) => next,
            Err(until) => return Ok(Counted::Locked(until)),
        };
        sqlx::query(
            "INSERT INTO web_accounts (mailbox, wrong, locked_until)
             SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM mailboxes WHERE id = ?1)
             ON CONFLICT (mailbox) DO UPDATE SET wrong = excluded.wrong, locked_until = excluded.locked_until",
        )
        .bind(id.as_slice())
        .bind(i64::from(next.wrong))
        .bind(next.locked_until)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let kept = known.map(|row| row.try_get("password")).transpose()?.flatten();
        Ok(Counted::Account { mailbox, kept })
    }

    async fn count_stranger(&self, name: &WebName, now: Timestamp) -> Result<Counted, Fault> {
        let plan = name.plan.as_ref().map_or("", |plan| plan.0.as_str());
        // Under the key, so that nobody can choose a place.
        let mixed =
            self.pin_key.keyed(b"postern web stranger 1", [&Sha256::digest(plan.as_bytes()), name.address.as_bytes()]);
        let place = u32::from_be_bytes([mixed[0], mixed[1], mixed[2], mixed[3]]) % STRANGER_PLACES;
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let known = sqlx::query("SELECT wrong, locked_until FROM web_strangers WHERE place = ?")
            .bind(i64::from(place))
            .fetch_optional(&mut *transaction)
            .await?;
        let next = match next_attempt(known.as_ref(), now)? {
            Ok(next) => next,
            Err(until) => return Ok(Counted::Locked(until)),
        };
        sqlx::query(
            "INSERT INTO web_strangers (place, wrong, locked_until) VALUES (?, ?, ?)
             ON CONFLICT (place) DO UPDATE SET wrong = excluded.wrong, locked_until = excluded.locked_until",
        )
        .bind(i64::from(place))
        .bind(i64::from(next.wrong))
        .bind(next.locked_until)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Counted::Stranger)
    }

    /// Whether it was stored: not if the link it comes by serves no more.
    async fn store_password(
        &self,
        mailbox: MailboxId,
        password: Password,
        by: Option<(&SessionToken, Timestamp)>,
    ) -> Result<bool, Fault> {
        let kept = self.hash_password(mailbox, password).await?;
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

/// How an attempt is counted.
struct Attempt {
    wrong: u32,
    /// Unix milliseconds.
    locked_until: i64,
}

/// The count with one more attempt, which is wrong until it proves right; or until when there are none.
fn next_attempt(known: Option<&SqliteRow>, now: Timestamp) -> Result<Result<Attempt, Timestamp>, Fault> {
    let (wrong, until) = match known {
        Some(row) => (row.try_get("wrong")?, time_of(row, "locked_until")?),
        None => (0_u32, Timestamp::UNIX_EPOCH),
    };
    if until > now {
        return Ok(Err(until));
    }
    let wrong = wrong.saturating_add(1);
    let lock = lock_after(wrong);
    Ok(Ok(Attempt { wrong, locked_until: if lock.is_zero() { 0 } else { now.as_millisecond() + millis(lock) } }))
}

/// How long so many wrong passwords in a row lock.
fn lock_after(wrong: u32) -> Duration {
    match wrong.checked_sub(WRONG_PASSWORDS_MAX) {
        None => Duration::ZERO,
        Some(more) => FIRST_LOCK.saturating_mul(1 << more.min(16)).min(LONGEST_LOCK),
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_password_after_the_tenth_locks_twice_as_long_up_to_a_day() {
        let minutes = |wrong| lock_after(wrong).as_secs() / 60;
        assert_eq!([1, 9, 10, 11, 12, 16, 17, u32::MAX].map(minutes), [0, 0, 15, 30, 60, 960, 1440, 1440]);
    }
}
