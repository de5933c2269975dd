//! The forms that a username may have. Form alone decides which key judges it, before anything inside is believed.

use crate::limits::{EXPIRY_DIGITS_MAX, KEY_ID_BYTES_MAX, USERNAME_BYTES_MAX};

/// What every extended username begins with. A classic one begins with a digit, so that the two never meet.
pub(crate) const EXTENDED_PREFIX: &str = "p1.";

/// A username taken apart at its separators; nothing is decoded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form<'a> {
    /// `expiry:identity`, or a bare `expiry` that names nobody.
    Classic { expires_unix_secs: u64, identity: Option<&'a str> },
    /// `p1.<key id>.<base64url claims>`.
    Extended { key_id: &'a str, claims: &'a str },
}

/// Why a username is of neither form, for people; on the wire every one of these looks like a wrong password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("the username is empty")]
    Empty,
    #[error("the username is longer than {USERNAME_BYTES_MAX} bytes")]
    TooLong,
    #[error("the username is not UTF-8")]
    NotUtf8,
    #[error("the username begins neither with an expiry in plain digits nor with \"p1.\"")]
    NoExpiry,
    #[error("the expiry before the first colon is not plain digits")]
    ExpiryNotDigits,
    #[error("the expiry is beyond what 64 bits hold")]
    ExpiryTooLarge,
    #[error("an extended username needs a key id and claims: p1.<key id>.<claims>")]
    ExtendedParts,
}

impl<'a> Form<'a> {
    /// Cost is that of one pass over the username, and depends on nothing secret.
    pub(crate) fn parse(username: &'a [u8]) -> Result<Self, FormError> {
        if username.is_empty() {
            return Err(FormError::Empty);
        }
        if username.len() > USERNAME_BYTES_MAX {
            return Err(FormError::TooLong);
        }
        let username = std::str::from_utf8(username).map_err(|_| FormError::NotUtf8)?;
        match username.strip_prefix(EXTENDED_PREFIX) {
            Some(rest) => Self::parse_extended(rest),
            None => Self::parse_classic(username),
        }
    }

    fn parse_extended(rest: &'a str) -> Result<Self, FormError> {
        let (key_id, claims) = rest.split_once('.').ok_or(FormError::ExtendedParts)?;
        if key_id.is_empty() || key_id.len() > KEY_ID_BYTES_MAX || claims.is_empty() {
            return Err(FormError::ExtendedParts);
        }
        Ok(Self::Extended { key_id, claims })
    }

    fn parse_classic(username: &'a str) -> Result<Self, FormError> {
        let (expiry, identity) = match username.split_once(':') {
            Some((expiry, identity)) => (expiry, Some(identity).filter(|name| !name.is_empty())),
            None => (username, None),
        };
        // Rust's own parser would also take a sign, and a lenient one would take blanks: both are other usernames.
        if !expiry.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(FormError::NoExpiry);
        }
        if !expiry.bytes().all(|b| b.is_ascii_digit()) {
            return Err(FormError::ExpiryNotDigits);
        }
        if expiry.len() > EXPIRY_DIGITS_MAX {
            return Err(FormError::ExpiryTooLarge);
        }
        let expires_unix_secs = expiry.parse().map_err(|_| FormError::ExpiryTooLarge)?;
        Ok(Self::Classic { expires_unix_secs, identity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classic_username_splits_at_its_first_colon() {
        let form = Form::parse(b"1700000000:alice:phone:2").unwrap();
        assert_eq!(form, Form::Classic { expires_unix_secs: 1_700_000_000, identity: Some("alice:phone:2") });
    }

    #[test]
    fn a_bare_expiry_and_an_empty_name_name_nobody() {
        for username in ["1700000000", "1700000000:"] {
            let form = Form::parse(username.as_bytes()).unwrap();
            assert_eq!(form, Form::Classic { expires_unix_secs: 1_700_000_000, identity: None }, "{username}");
        }
    }

    #[test]
    fn an_expiry_is_plain_digits_only() {
        for (username, error) in [
            ("+17:a", FormError::NoExpiry),
            ("-17:a", FormError::NoExpiry),
            (" 17:a", FormError::NoExpiry),
            (":a", FormError::NoExpiry),
            ("alice", FormError::NoExpiry),
            ("17 :a", FormError::ExpiryNotDigits),
            ("1_7:a", FormError::ExpiryNotDigits),
            ("0x17:a", FormError::ExpiryNotDigits),
            ("1e9:a", FormError::ExpiryNotDigits),
            ("1٣:a", FormError::ExpiryNotDigits),
            ("17\0:a", FormError::ExpiryNotDigits),
            ("18446744073709551616:a", FormError::ExpiryTooLarge),
            ("000000000000000000017:a", FormError::ExpiryTooLarge),
            ("", FormError::Empty),
        ] {
            assert_eq!(Form::parse(username.as_bytes()), Err(error), "{username:?}");
        }
    }

    #[test]
    fn the_prefix_alone_makes_a_username_extended() {
        let form = Form::parse(b"p1.2026a.eyJ1Ijoi").unwrap();
        assert_eq!(form, Form::Extended { key_id: "2026a", claims: "eyJ1Ijoi" });
        for username in ["p1.", "p1.a", "p1.a.", "p1..x", &format!("p1.{}.x", "k".repeat(33))] {
            assert_eq!(Form::parse(username.as_bytes()), Err(FormError::ExtendedParts), "{username}");
        }
        // A name that looks extended stays a classic name.
        let form = Form::parse(b"1700000000:p1.2026a.eyJ1Ijoi").unwrap();
        assert_eq!(form, Form::Classic { expires_unix_secs: 1_700_000_000, identity: Some("p1.2026a.eyJ1Ijoi") });
    }

    #[test]
    fn usernames_beyond_508_bytes_or_outside_utf8_are_of_no_form() {
        let longest = format!("17:{}", "a".repeat(USERNAME_BYTES_MAX - 3));
        assert!(Form::parse(longest.as_bytes()).is_ok());
        assert_eq!(Form::parse(format!("{longest}a").as_bytes()), Err(FormError::TooLong));
        assert_eq!(Form::parse(b"17:\xff"), Err(FormError::NotUtf8));
    }
}
