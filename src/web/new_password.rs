//! What a new password must be. Length is what counts; what anybody would try first is refused.

use std::collections::HashSet;

use postern_mailbox::Mailbox;

use crate::limits::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, PASSWORD_KINDS_MIN};
use crate::problem::Problem;

/// Judges a new password for `mailbox`.
pub(crate) fn judge(password: &str, mailbox: &Mailbox) -> Result<(), Problem> {
    let chars = password.chars().count();
    if chars < PASSWORD_CHARS_MIN {
        return Err(Problem::Weak("it needs at least 10 characters"));
    }
    if chars > PASSWORD_CHARS_MAX || password.chars().any(char::is_control) {
        return Err(Problem::Weak("it may have 128 characters, none of them a control character"));
    }
    let lower = password.to_lowercase();
    if lower.chars().collect::<HashSet<_>>().len() < PASSWORD_KINDS_MIN {
        return Err(Problem::Weak("it repeats few characters; use at least 5 different ones"));
    }
    let known = mailbox.addresses.iter().map(ToString::to_string).chain([mailbox.name.clone()]);
    let shows = |known: String| {
        let known = known.to_lowercase();
        // Without what is known, too little is left to guess.
        known.chars().count() >= 3
            && lower.contains(&known)
            && lower.replace(&known, "").chars().count() < PASSWORD_CHARS_MIN / 2
    };
    if known.into_iter().any(shows) {
        return Err(Problem::Weak("it is little more than your number or name"));
    }
    if is_sequence(&lower) {
        return Err(Problem::Weak("it is a sequence that anybody would try"));
    }
    Ok(())
}

/// 1234567890, abcdefghij, qwertyuiop and their like, forwards or backwards.
fn is_sequence(lower: &str) -> bool {
    const ROWS: [&str; 5] = [
        "01234567890123456789",
        "abcdefghijklmnopqrstuvwxyz",
        "qwertyuiopasdfghjklzxcvbnm",
        "qwertzuiopasdfghjkl",
        "azertyuiopqsdfghjklm",
    ];
    let backwards: String = lower.chars().rev().collect();
    ROWS.iter().any(|row| row.contains(lower) || row.contains(&backwards))
}

#[cfg(test)]
mod tests {
    use postern_mailbox::{GreetingInUse, MailboxId, OwnQuota, PlanName};

    use super::*;

    #[test]
    fn a_long_password_is_taken_and_what_anybody_would_try_is_not() {
        let mailbox = Mailbox {
            id: MailboxId::from_bytes([0; 16]),
            plan: PlanName("office".into()),
            addresses: vec!["1001".parse().unwrap(), "+15551234567".parse().unwrap()],
            name: "Alice Wonder".into(),
            language: "en".into(),
            time_zone: postern_mailbox::time_zone("UTC").unwrap(),
            operator: None,
            quota: OwnQuota::default(),
            greeting: GreetingInUse::Standard,
            recorded: Vec::new(),
        };
        for good in ["correct horse", "häuser und gärten", "1001 nights of tea"] {
            assert_eq!(judge(good, &mailbox), Ok(()), "{good}");
        }
        let long = "ab3d5 ".repeat(30);
        for weak in [
            "short one",
            "1234567890",
            "QWERTYUIOP",
            "aaaaaaaaaaaa",
            "abababababab",
            "alice wonder1",
            "+15551234567!",
            &long,
        ] {
            assert!(matches!(judge(weak, &mailbox), Err(Problem::Weak(_))), "{weak}");
        }
    }
}
