//! Telephone numbers as gateways write them, brought to one form.

use crate::limits::ADDRESS_BYTES_MAX;

/// Digits (and `*`, `#`) of a number, with a leading `+` kept: visual separators and what follows `;` are left out
/// (RFC 3966 section 3). `None` when something else is among them, or there is none.
pub(crate) fn digits_of(text: &str) -> Option<String> {
    let text = text.split(';').next().unwrap_or_default();
    if text.len() > ADDRESS_BYTES_MAX {
        return None;
    }
    let mut digits = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match c {
            '+' if at == 0 => digits.push(c),
            '0'..='9' | '*' | '#' => digits.push(c),
            '-' | '.' | '(' | ')' | ' ' => {}
            _ => return None,
        }
    }
    digits.bytes().any(|byte| byte != b'+').then_some(digits)
}

/// `+`, country code and national number. `None` when the number has no such form: service codes (`*97`), or more than
/// 15 digits (E.164 section 6).
pub(crate) fn to_e164(digits: &str, country_code: &str, national: &str, international: &str) -> Option<String> {
    let number = if digits.starts_with('+') {
        digits.to_string()
    } else if let Some(rest) = prefixed(digits, international) {
        format!("+{rest}")
    } else if let Some(rest) = prefixed(digits, national) {
        format!("+{country_code}{rest}")
    } else if has_country_code(digits, country_code) {
        format!("+{digits}")
    } else {
        format!("+{country_code}{digits}")
    };
    let plain = number[1..].bytes().all(|byte| byte.is_ascii_digit());
    (plain && (2..=16).contains(&number.len())).then_some(number)
}

fn prefixed<'t>(digits: &'t str, prefix: &str) -> Option<&'t str> {
    digits.strip_prefix(prefix).filter(|rest| !prefix.is_empty() && !rest.is_empty())
}

/// Whether a number without `+` has its country code all the same: nothing else makes it so long.
fn has_country_code(digits: &str, country_code: &str) -> bool {
    country_code.is_empty() || (digits.starts_with(country_code) && digits.len() > 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_taken_out_of_what_surrounds_them() {
        for (text, digits) in [
            ("7000", Some("7000")),
            ("+1 (555) 01-00", Some("+15550100")),
            ("1001;phone-context=example.test", Some("1001")),
            ("*97", Some("*97")),
            ("", None),
            ("+", None),
            ("alice", None),
            ("1001a", None),
            ("1+001", None),
        ] {
            assert_eq!(digits_of(text).as_deref(), digits, "{text}");
        }
    }

    #[test]
    fn national_and_international_numbers_become_one() {
        for (dialled, number) in [
            ("+4930123456", Some("+4930123456")),
            ("004930123456", Some("+4930123456")),
            ("030123456", Some("+4930123456")),
            ("30123456", Some("+4930123456")),
            ("4930123456789", Some("+4930123456789")),
            ("*97", None),
            ("+1234567890123456", None),
        ] {
            assert_eq!(to_e164(dialled, "49", "0", "00").as_deref(), number, "{dialled}");
        }
        assert_eq!(to_e164("15550100", "", "", "").as_deref(), Some("+15550100"));
    }
}
