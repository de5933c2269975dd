//! What a password is: counted, then compared, in a task that goes on when whoever asked has gone.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use postern_mailbox::{MailboxId, StoreError};
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use crate::error::Fault;
use crate::limits::{FIRST_LOCK, LONGEST_LOCK, WRONG_PASSWORDS_FORGOTTEN, WRONG_PASSWORDS_MAX};
use crate::mailboxes::time_of;
use crate::passwords::{Password, Passwords, Waiting};
use crate::web_accounts::millis;

/// What a password was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordVerdict {
    Right(Proven),
    /// Also where there is no such mailbox, or it has no password.
    Wrong,
    /// Too many wrong ones; the password was not looked at.
    Locked {
        until: Timestamp,
    },
}

/// A mailbox whose password was right. Serves for as long as the password is the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Proven {
    pub mailbox: MailboxId,
    /// What it was compared with.
    pub(crate) kept: Vec<u8>,
}

impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proven({})", self.mailbox)
    }
}

/// Where an attempt is counted, and whose password it is compared with.
#[derive(Clone, Copy)]
pub(crate) enum Meant {
    Account(MailboxId),
    /// The address of this mailbox, but not its plan: wrong, whatever the password.
    Beside(MailboxId),
    /// A name that no mailbox has, by its place.
    Stranger(u32),
}

/// Counts and compares.
pub(crate) struct Judge {
    writer: SqlitePool,
    passwords: Passwords,
}

impl Judge {
    pub(crate) fn new(writer: SqlitePool, passwords: Passwords) -> Self {
        Self { writer, passwords }
    }

    /// The attempt is counted and synced before the comparison, and the count goes back to zero after a right one. An
    /// attempt that finds no place to wait in is not counted, and one that is counted is compared, whoever waits.
    pub(crate) async fn judge(
        self,
        meant: Meant,
        password: Password,
        now: Timestamp,
    ) -> Result<PasswordVerdict, Fault> {
        let place = self.passwords.wait()?;
        let judging = tokio::spawn(self.judge_in(place, meant, password, now));
        judging.await.map_err(|_| StoreError::Unavailable)?
    }

    async fn judge_in(
        self,
        place: Waiting,
        meant: Meant,
        password: Password,
        now: Timestamp,
    ) -> Result<PasswordVerdict, Fault> {
        let counted = match meant {
            Meant::Account(mailbox) | Meant::Beside(mailbox) => self.count_attempt(mailbox, now).await?,
            Meant::Stranger(place) => self.count_stranger(place, now).await?.map(|()| None),
        };
        let kept = match counted {
            Ok(kept) => kept,
            Err(until) => return Ok(PasswordVerdict::Locked { until }),
        };
        let (Meant::Account(mailbox), Some(kept)) = (meant, kept) else {
            // Costs the same.
            self.passwords.compare(place, MailboxId::from_bytes([0; 16]), password, None).await?;
            return Ok(PasswordVerdict::Wrong);
        };
        if !self.passwords.compare(place, mailbox, password, Some(kept.clone())).await? {
            return Ok(PasswordVerdict::Wrong);
        }
        sqlx::query("UPDATE web_accounts SET wrong = 0, locked_until = 0 WHERE mailbox = ?")
            .bind(mailbox.to_bytes().as_slice())
            .execute(&self.writer)
            .await?;
        Ok(PasswordVerdict::Right(Proven { mailbox, kept }))
    }

    /// What is kept of the mailbox's password, or until when it is locked.
    async fn count_attempt(
        &self,
        mailbox: MailboxId,
        now: Timestamp,
    ) -> Result<Result<Option<Vec<u8>>, Timestamp>, Fault> {
        let id = mailbox.to_bytes();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let known = sqlx::query("SELECT password, wrong, locked_until FROM web_accounts WHERE mailbox = ?")
            .bind(id.as_slice())
            .fetch_optional(&mut *transaction)
            .await?;
        let next = match next_attempt(known.as_ref(), now)? {
            Ok(next) => next,
            Err(until) => return Ok(Err(until)),
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
        Ok(Ok(known.map(|row| row.try_get("password")).transpose()?.flatten()))
    }

    async fn count_stranger(&self, place: u32, now: Timestamp) -> Result<Result<(), Timestamp>, Fault> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let known = sqlx::query("SELECT wrong, locked_until FROM web_strangers WHERE place = ?")
            .bind(i64::from(place))
            .fetch_optional(&mut *transaction)
            .await?;
        let next = match next_attempt(known.as_ref(), now)? {
            Ok(next) => next,
            Err(until) => return Ok(Err(until)),
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
        Ok(Ok(()))
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
    let (mut wrong, until) = match known {
        Some(row) => (row.try_get("wrong")?, time_of(row, "locked_until")?),
        None => (0_u32, Timestamp::UNIX_EPOCH),
    };
    if until > now {
        return Ok(Err(until));
    }
    let (until_ms, now_ms) = (until.as_millisecond(), now.as_millisecond());
    if until_ms > 0 && now_ms - until_ms > millis(WRONG_PASSWORDS_FORGOTTEN) {
        wrong = 0;
    }
    let wrong = wrong.saturating_add(1);
    let lock = lock_after(wrong);
    Ok(Ok(Attempt { wrong, locked_until: if lock.is_zero() { 0 } else { now_ms + millis(lock) } }))
}

/// How long so many wrong passwords in a row lock.
fn lock_after(wrong: u32) -> Duration {
    match wrong.checked_sub(WRONG_PASSWORDS_MAX) {
        None => Duration::ZERO,
        Some(more) => FIRST_LOCK.saturating_mul(1 << more.min(16)).min(LONGEST_LOCK),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::hashing::tests::PATIENCE;
    use crate::testing::Bench;
    use crate::web_accounts::WebName;

    const PASSWORD: &str = "correct horse";

    async fn verify(bench: &Bench, password: &str) -> Result<PasswordVerdict, StoreError> {
        let name = WebName { plan: None, address: "1001".into() };
        bench.verify_password(&name, Password::new(password.into()), Timestamp::now()).await
    }

    async fn with_password() -> Bench {
        let bench = Bench::new().await;
        bench.set_password(bench.mailbox, Password::new(PASSWORD.into())).await.unwrap();
        bench
    }

    async fn until_wrong_is(bench: &Bench, wanted: i64) {
        let reached = async {
            loop {
                let row = sqlx::query("SELECT wrong FROM web_accounts").fetch_one(&bench.readers).await.unwrap();
                if row.try_get::<i64, _>("wrong").unwrap() == wanted {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("the count is never {wanted}"));
    }

    #[test]
    fn each_wrong_password_after_the_tenth_locks_twice_as_long_up_to_an_hour() {
        let minutes = |wrong| lock_after(wrong).as_secs() / 60;
        assert_eq!([1, 9, 10, 11, 12, 13, u32::MAX].map(minutes), [0, 0, 15, 30, 60, 60, 60]);
    }

    #[tokio::test]
    async fn an_attempt_that_found_no_place_is_not_counted() {
        let bench = with_password().await;
        let places: Vec<_> = std::iter::from_fn(|| bench.passwords.wait().ok()).collect();
        for _ in 0..=WRONG_PASSWORDS_MAX {
            assert_eq!(verify(&bench, "a guess").await, Err(StoreError::Busy));
        }
        drop(places);
        assert!(matches!(verify(&bench, PASSWORD).await, Ok(PasswordVerdict::Right(_))));
    }

    #[tokio::test]
    async fn a_stranger_is_forgotten_a_day_after_the_lock_ended() {
        let bench = Bench::new().await;
        let name = WebName { plan: None, address: "7777".into() };
        let now = Timestamp::now();
        for _ in 0..WRONG_PASSWORDS_MAX {
            let password = Password::new("a guess".into());
            assert_eq!(bench.verify_password(&name, password, now).await, Ok(PasswordVerdict::Wrong));
        }
        let left = async |after: Duration| {
            bench.tend_sessions(now + after).await.unwrap();
            sqlx::query("SELECT wrong FROM web_strangers").fetch_all(&bench.readers).await.unwrap().len()
        };
        let day_after = FIRST_LOCK + WRONG_PASSWORDS_FORGOTTEN;
        assert_eq!(left(day_after - Duration::from_secs(1)).await, 1);
        assert_eq!(left(day_after).await, 0);
    }

    #[tokio::test]
    async fn a_right_password_resets_the_count_though_whoever_gave_it_has_gone() {
        let bench = std::sync::Arc::new(with_password().await);
        let turns = bench.passwords.hashing.occupy();
        let asked = std::sync::Arc::clone(&bench);
        let asking = tokio::spawn(async move { verify(&asked, PASSWORD).await });
        until_wrong_is(&bench, 1).await;
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        drop(turns);
        until_wrong_is(&bench, 0).await;
    }
}
