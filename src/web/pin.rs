//! A PIN that was forgotten: made up, and told by mail.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use postern_mailbox::limits::PIN_DIGITS_MAX;
use postern_mailbox::{Mailbox, Pin, PinPolicy};
use zeroize::Zeroizing;

use crate::desk::Desk;
use crate::letters::{SentPin, veiled};
use crate::limits::PIN_TRIES;
use crate::problem::Problem;
use crate::signed::Signed;

/// Fewest digits of a PIN that is made up.
const DIGITS_MIN: usize = 6;

/// POST /pin
pub(crate) async fn reset(State(desk): State<Arc<Desk>>, signed: Signed) -> Result<Response, Problem> {
    let letters = desk.letters.as_ref().ok_or(Problem::NoMail)?;
    let mailbox = desk.mailbox(signed.mailbox).await?;
    let pin = made_up(&desk.options.load().pin_policy, &mailbox)?;
    match letters.send_pin(mailbox.id, pin).await? {
        SentPin::To(address) => {
            tracing::debug!(mailbox = %mailbox.id, "a new PIN is on its way by mail");
            let sent = serde_json::json!({ "sent_to": veiled(&address) });
            Ok((StatusCode::ACCEPTED, Json(sent)).into_response())
        }
        SentPin::NoAddress => Err(Problem::NoMail),
        SentPin::TooMany => Err(Problem::TooMany { secs: 3600 }),
    }
}

/// A PIN within the policy, for this mailbox.
pub(crate) fn made_up(policy: &PinPolicy, mailbox: &Mailbox) -> Result<Pin, Problem> {
    let digits = policy.length_min.clamp(DIGITS_MIN, PIN_DIGITS_MAX);
    for _ in 0..PIN_TRIES {
        let text = random_digits(digits).map_err(|_| Problem::Unavailable)?;
        if let Some(pin) = Pin::new(&text)
            && policy.judge(&pin, mailbox).is_ok()
        {
            return Ok(pin);
        }
    }
    tracing::warn!(mailbox = %mailbox.id, "no PIN fits [mailbox.pin] and the numbers of this mailbox");
    Err(Problem::Unavailable)
}

/// Each digit as likely as any other.
fn random_digits(count: usize) -> Result<Zeroizing<String>, getrandom::Error> {
    let mut digits = Zeroizing::new(String::with_capacity(count));
    let mut random = Zeroizing::new([0; 2 * PIN_DIGITS_MAX]);
    while digits.len() < count {
        getrandom::fill(&mut *random)?;
        let fair = random.iter().filter(|byte| **byte < 250).map(|byte| char::from(b'0' + byte % 10));
        let missing = count - digits.len();
        digits.extend(fair.take(missing));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_as_many_as_asked_for_and_new_each_time() {
        let all: std::collections::HashSet<String> = (0..50).map(|_| random_digits(12).unwrap().to_string()).collect();
        assert_eq!(all.len(), 50);
        assert!(all.iter().all(|text| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())));
    }
}
