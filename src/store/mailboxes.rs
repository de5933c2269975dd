//! Mailboxes as the database holds them, and their PINs.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use postern_mailbox::{
    Address, GreetingId, GreetingInUse, GreetingKind, Mailbox, MailboxId, OwnQuota, PinAttempt, PinChange, PinChanged,
    PinVerdict, PlanName, RecordedGreeting, StoreError,
};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::Fault;
use crate::sqlite::SqliteStore;

/// Reads a column of 16 bytes.
pub(crate) fn id_of(row: &SqliteRow, column: &str) -> Result<[u8; 16], Fault> {
    let bytes: Vec<u8> = row.try_get(column)?;
    Ok(bytes.try_into().map_err(|_| StoreError::Damaged)?)
}

/// Reads a column of Unix milliseconds.
pub(crate) fn time_of(row: &SqliteRow, column: &str) -> Result<Timestamp, Fault> {
    Ok(Timestamp::from_millisecond(row.try_get(column)?).map_err(|_| StoreError::Damaged)?)
}

impl SqliteStore {
    pub(crate) async fn mailbox_at(&self, plan: &PlanName, address: &Address) -> Result<Option<Mailbox>, Fault> {
        let row = sqlx::query(
            "SELECT m.id, m.plan, m.name, m.language, m.time_zone, m.operator, m.quota_messages, m.quota_secs,
                 m.greeting
             FROM mailboxes m JOIN addresses a ON a.mailbox = m.id WHERE a.plan = ? AND a.address = ?",
        )
        .bind(&plan.0)
        .bind(address.to_string())
        .fetch_optional(&self.readers)
        .await?;
        match row {
            Some(row) => Ok(Some(self.mailbox_of(&row).await?)),
            None => Ok(None),
        }
    }

    /// The mailbox of a row, with its addresses and greetings.
    pub(crate) async fn mailbox_of(&self, row: &SqliteRow) -> Result<Mailbox, Fault> {
        let id = id_of(row, "id")?;
        let addresses = sqlx::query("SELECT address FROM addresses WHERE mailbox = ? ORDER BY rank")
            .bind(id.as_slice())
            .fetch_all(&self.readers)
            .await?;
        let addresses = addresses.iter().map(|row| {
            let text: String = row.try_get(0)?;
            Ok(text.parse().map_err(|_| StoreError::Damaged)?)
        });
        let greetings = sqlx::query("SELECT id, kind FROM greetings WHERE mailbox = ?")
            .bind(id.as_slice())
            .fetch_all(&self.readers)
            .await?;
        let recorded = greetings.iter().map(|row| {
            let name: String = row.try_get("kind")?;
            let kind = GreetingKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or(StoreError::Damaged)?;
            Ok(RecordedGreeting { kind, id: GreetingId::from_bytes(id_of(row, "id")?) })
        });
        let greeting: String = row.try_get("greeting")?;
        let time_zone: String = row.try_get("time_zone")?;
        Ok(Mailbox {
            id: MailboxId::from_bytes(id),
            plan: PlanName(row.try_get("plan")?),
            addresses: addresses.collect::<Result<_, Fault>>()?,
            name: row.try_get("name")?,
            language: row.try_get("language")?,
            // A zone that a newer database knew is no reason to refuse a call.
            time_zone: postern_mailbox::time_zone(&time_zone).unwrap_or(TimeZone::UTC),
            operator: row.try_get("operator")?,
            quota: OwnQuota { messages: row.try_get("quota_messages")?, audio_secs: row.try_get("quota_secs")? },
            greeting: GreetingInUse::ALL.into_iter().find(|known| known.name() == greeting).unwrap_or_default(),
            recorded: recorded.collect::<Result<_, Fault>>()?,
        })
    }

    pub(crate) async fn choose_greeting(&self, mailbox: MailboxId, greeting: GreetingInUse) -> Result<(), Fault> {
        let changed = sqlx::query("UPDATE mailboxes SET greeting = ? WHERE id = ?")
            .bind(greeting.name())
            .bind(mailbox.to_bytes().as_slice())
            .execute(&self.writer)
            .await?;
        if changed.rows_affected() == 0 { Err(StoreError::Gone.into()) } else { Ok(()) }
    }

    /// The attempt is counted first: whoever cuts the power while it is judged gains no attempt.
    pub(crate) async fn judge_pin(&self, attempt: PinAttempt) -> Result<PinVerdict, Fault> {
        let Some(mailbox) = attempt.mailbox else {
            sqlx::query("UPDATE strangers SET attempts = attempts + 1 WHERE id = 1").execute(&self.writer).await?;
            let nobody = MailboxId::from_bytes([0; 16]);
            self.hashing(move |key| key.matches(nobody, &attempt.pin, None)).await?;
            return Ok(PinVerdict::Wrong);
        };
        let id = mailbox.to_bytes();
        let row = sqlx::query(
            "UPDATE mailboxes SET wrong_pins = wrong_pins + 1 WHERE id = ? AND wrong_pins < ?
             RETURNING pin, pin_chosen, pin_must_change, wrong_pins",
        )
        .bind(id.as_slice())
        .bind(i64::from(attempt.attempts_max))
        .fetch_optional(&self.writer)
        .await?;
        let Some(row) = row else {
            let known = sqlx::query("SELECT 1 FROM mailboxes WHERE id = ?")
                .bind(id.as_slice())
                .fetch_optional(&self.readers)
                .await?;
            return if known.is_some() { Ok(PinVerdict::Locked) } else { Err(StoreError::Gone.into()) };
        };
        let kept: Vec<u8> = row.try_get("pin")?;
        let right = self.hashing(move |key| key.matches(mailbox, &attempt.pin, Some(&kept))).await?;
        if !right {
            return Ok(PinVerdict::Wrong);
        }
        sqlx::query("UPDATE mailboxes SET wrong_pins = 0 WHERE id = ?")
            .bind(id.as_slice())
            .execute(&self.writer)
            .await?;
        Ok(PinVerdict::Right { chosen: time_of(&row, "pin_chosen")?, must_change: row.try_get("pin_must_change")? })
    }

    pub(crate) async fn choose_pin(&self, change: PinChange) -> Result<PinChanged, Fault> {
        let PinChange { mailbox, pin, history, chosen } = change;
        let id = mailbox.to_bytes();
        let row = sqlx::query("SELECT pin FROM mailboxes WHERE id = ?")
            .bind(id.as_slice())
            .fetch_optional(&self.readers)
            .await?
            .ok_or(StoreError::Gone)?;
        let present: Vec<u8> = row.try_get("pin")?;
        let former = sqlx::query("SELECT pin FROM former_pins WHERE mailbox = ? ORDER BY number DESC LIMIT ?")
            .bind(id.as_slice())
            .bind(i64::from(history.saturating_sub(1)))
            .fetch_all(&self.readers)
            .await?;
        let mut used = vec![present.clone()];
        for row in &former {
            used.push(row.try_get("pin")?);
        }
        used.truncate(history as usize);
        let kept = self
            .hashing(move |key| {
                if used.iter().any(|kept| key.matches(mailbox, &pin, Some(kept))) {
                    return Ok(None);
                }
                key.hash(mailbox, &pin).map(Some)
            })
            .await??;
        let Some(kept) = kept else { return Ok(PinChanged::UsedBefore) };
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO former_pins (mailbox, number, pin)
             SELECT ?1, COALESCE(MAX(number), 0) + 1, ?2 FROM former_pins WHERE mailbox = ?1",
        )
        .bind(id.as_slice())
        .bind(present)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "DELETE FROM former_pins WHERE mailbox = ?1 AND number <=
             (SELECT MAX(number) FROM former_pins WHERE mailbox = ?1) - ?2",
        )
        .bind(id.as_slice())
        .bind(i64::from(history))
        .execute(&mut *transaction)
        .await?;
        sqlx::query("UPDATE mailboxes SET pin = ?, pin_chosen = ?, pin_must_change = 0 WHERE id = ?")
            .bind(kept)
            .bind(chosen.as_millisecond())
            .bind(id.as_slice())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(PinChanged::Changed)
    }
}
