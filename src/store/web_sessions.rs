//! Sessions of the web: random tokens, of which the database has only the hash.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use postern_mailbox::{MailboxId, StoreError};
use sha2::{Digest, Sha256};
use sqlx::{Row, Sqlite, Transaction};
use zeroize::Zeroizing;

use crate::error::Fault;
use crate::limits::{SESSION_IDLE, SESSION_LIFETIME, SESSION_TOUCH, SESSIONS_PER_MAILBOX, WRONG_PASSWORDS_FORGOTTEN};
use crate::mailboxes::id_of;
use crate::password_verdict::Proven;
use crate::sqlite::SqliteStore;
use crate::web_accounts::millis;

const TOKEN_BYTES: usize = 32;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// 256 random bits that prove a session or a link. Written as 43 characters of base64url (RFC 4648 section 5). Wiped
/// when dropped; its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(Zeroizing<[u8; TOKEN_BYTES]>);

impl SessionToken {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        getrandom::fill(&mut *bytes)?;
        Ok(Self(bytes))
    }

    /// What is kept of it. The token has all its entropy: there is nothing to be slow for.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(*self.0).into()
    }

    /// Another secret of the same session, which tells nothing of the token.
    pub fn derived(&self, purpose: &str) -> String {
        let mut digest = Sha256::new();
        digest.update(b"postern derived ");
        digest.update(purpose.as_bytes());
        digest.update([0]);
        digest.update(*self.0);
        written(&digest.finalize())
    }

    /// The token as whoever it is for gets it.
    pub fn reveal(&self) -> String {
        written(&*self.0)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken")
    }
}

/// What is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has 43 characters of base64url")]
pub struct TokenError;

impl FromStr for SessionToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        let (mut bits, mut held, mut filled) = (0_u32, 0, 0);
        if text.len() != (TOKEN_BYTES * 8).div_ceil(6) {
            return Err(TokenError);
        }
        for letter in text.bytes() {
            let value = ALPHABET.iter().position(|known| *known == letter).ok_or(TokenError)?;
            bits = (bits << 6 | value as u32) & 0xffff;
            held += 6;
            if held >= 8 && filled < TOKEN_BYTES {
                held -= 8;
                bytes[filled] = (bits >> held) as u8;
                filled += 1;
            }
        }
        // One token has one form.
        if bits & ((1 << held) - 1) == 0 { Ok(Self(bytes)) } else { Err(TokenError) }
    }
}

fn written(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 1);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in bytes {
        bits = (bits << 8 | u32::from(*byte)) & 0xffff;
        held += 8;
        while held >= 6 {
            held -= 6;
            text.push(char::from(ALPHABET[(bits >> held & 63) as usize]));
        }
    }
    if held > 0 {
        text.push(char::from(ALPHABET[(bits << (6 - held) & 63) as usize]));
    }
    text
}

/// A session that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSession {
    pub mailbox: MailboxId,
}

impl SqliteStore {
    /// Begins a session; where the mailbox has too many, the oldest ends. None: the password that was right is so no
    /// more.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn begin_session(&self, proven: &Proven, now: Timestamp) -> Result<Option<SessionToken>, StoreError> {
        let _turn = self.turn()?;
        Ok(self.insert_session(proven, now).await?)
    }

    async fn insert_session(&self, proven: &Proven, now: Timestamp) -> Result<Option<SessionToken>, Fault> {
        let token = SessionToken::random()?;
        let id = proven.mailbox.to_bytes();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let begun = sqlx::query(
            "INSERT INTO web_sessions (token, mailbox, begun, used)
             SELECT ?1, ?2, ?3, ?3 WHERE EXISTS (SELECT 1 FROM web_accounts WHERE mailbox = ?2 AND password = ?4)",
        )
        .bind(token.hash().as_slice())
        .bind(id.as_slice())
        .bind(now.as_millisecond())
        .bind(proven.kept.as_slice())
        .execute(&mut *transaction)
        .await?;
        if begun.rows_affected() == 0 {
            return Ok(None);
        }
        sqlx::query(
            "DELETE FROM web_sessions WHERE mailbox = ?1 AND token <> ?2 AND token NOT IN
             (SELECT token FROM web_sessions WHERE mailbox = ?1 AND token <> ?2 ORDER BY begun DESC, token LIMIT ?3)",
        )
        .bind(id.as_slice())
        .bind(token.hash().as_slice())
        .bind(i64::from(SESSIONS_PER_MAILBOX) - 1)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Some(token))
    }

    /// The session of a token, if it lives; it is then in use.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn session(&self, token: &SessionToken, now: Timestamp) -> Result<Option<WebSession>, StoreError> {
        let _turn = self.turn()?;
        Ok(self.find_session(token, now, true).await?)
    }

    /// As [`session`](Self::session), but to look at it is no use of it.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn peek_session(&self, token: &SessionToken, now: Timestamp) -> Result<Option<WebSession>, StoreError> {
        let _turn = self.turn()?;
        Ok(self.find_session(token, now, false).await?)
    }

    async fn find_session(
        &self,
        token: &SessionToken,
        now: Timestamp,
        is_used: bool,
    ) -> Result<Option<WebSession>, Fault> {
        let now = now.as_millisecond();
        let row = sqlx::query("SELECT mailbox, used FROM web_sessions WHERE token = ? AND begun > ? AND used > ?")
            .bind(token.hash().as_slice())
            .bind(now - millis(SESSION_LIFETIME))
            .bind(now - millis(SESSION_IDLE))
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let used: i64 = row.try_get("used")?;
        if is_used && now - used >= millis(SESSION_TOUCH) {
            sqlx::query("UPDATE web_sessions SET used = ? WHERE token = ?")
                .bind(now)
                .bind(token.hash().as_slice())
                .execute(&self.writer)
                .await?;
        }
        Ok(Some(WebSession { mailbox: MailboxId::from_bytes(id_of(&row, "mailbox")?) }))
    }

    /// Ends a session. One that has ended is no error.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn end_session(&self, token: &SessionToken) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        let ended = sqlx::query("DELETE FROM web_sessions WHERE token = ?").bind(token.hash().as_slice());
        ended.execute(&self.writer).await.map_err(Fault::from)?;
        Ok(())
    }

    /// Forgets sessions that have ended by themselves, and links and lock-outs that are over; how many sessions live.
    ///
    /// # Errors
    /// The store cannot; what was not forgotten is next time.
    pub async fn tend_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        let _turn = self.turn()?;
        Ok(self.forget_sessions(now.as_millisecond()).await?)
    }

    async fn forget_sessions(&self, now: i64) -> Result<u64, Fault> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM web_sessions WHERE begun <= ? OR used <= ?")
            .bind(now - millis(SESSION_LIFETIME))
            .bind(now - millis(SESSION_IDLE))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("UPDATE web_accounts SET link = NULL WHERE link IS NOT NULL AND link_expires <= ?")
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM web_strangers WHERE locked_until BETWEEN 1 AND ?")
            .bind(now - millis(WRONG_PASSWORDS_FORGOTTEN))
            .execute(&mut *transaction)
            .await?;
        let row = sqlx::query("SELECT COUNT(*) FROM web_sessions").fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
    }
}

/// Ends all sessions of a mailbox.
pub(crate) async fn end_sessions(transaction: &mut Transaction<'_, Sqlite>, mailbox: MailboxId) -> Result<(), Fault> {
    sqlx::query("DELETE FROM web_sessions WHERE mailbox = ?")
        .bind(mailbox.to_bytes().as_slice())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_written_reads_back_and_has_one_form() {
        for fill in [0, 1, 0x80, 0xa5, 0xff] {
            let token = SessionToken(Zeroizing::new([fill; 32]));
            let text = token.reveal();
            assert_eq!(text.len(), 43);
            assert_eq!(text.parse(), Ok(token));
        }
        let text = SessionToken(Zeroizing::new([0; 32])).reveal();
        assert_eq!(text, "A".repeat(43));
        for other in ["", "A", &"A".repeat(42), &"A".repeat(44), &format!("{}B", "A".repeat(42)), &"=".repeat(43)] {
            assert_eq!(other.parse::<SessionToken>(), Err(TokenError), "{other}");
        }
        // RFC 4648 section 10.
        assert_eq!(written(b"foob"), "Zm9vYg");
    }

    #[test]
    fn what_is_derived_of_a_token_differs_by_purpose_and_is_not_the_token() {
        let token = SessionToken(Zeroizing::new([3; 32]));
        assert_ne!(token.derived("a"), token.derived("b"));
        assert_ne!(token.derived("a"), token.reveal());
        assert_eq!(format!("{token:?}"), "SessionToken");
    }
}
