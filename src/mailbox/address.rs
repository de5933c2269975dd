//! How a mailbox is called within its dial plan: by extension, by E.164 number or by SIP URI.

use std::fmt;
use std::str::FromStr;

use crate::limits::{ADDRESS_CHARS_MAX, E164_DIGITS_MAX, EXTENSION_DIGITS_MAX};

/// The name of a dial plan, as the configuration gives it. Addresses are unique within one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanName(pub String);

impl fmt::Display for PlanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address of a mailbox, in one form each, so that equal addresses are equal values.
///
/// Parsed from `1001` (an extension), `+15551234567` (E.164, visual separators allowed) and `sip:alice@example.test`
/// or `alice@example.test` (a URI: without scheme, port and parameters; the host in small letters).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// Digits only.
    Extension(String),
    /// Digits only, without the plus sign.
    E164(String),
    /// `user@host`.
    Uri(String),
}

/// Why a text is no address of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("an address has at most {ADDRESS_CHARS_MAX} characters")]
    TooLong,
    #[error("an extension has 1 to {EXTENSION_DIGITS_MAX} digits")]
    Extension,
    #[error("an E.164 number has a plus sign and 4 to {E164_DIGITS_MAX} digits")]
    E164,
    #[error("a URI address has the form user@host")]
    Uri,
}

impl Address {
    /// The digits to speak, or nothing for a URI.
    pub fn digits(&self) -> Option<&str> {
        match self {
            Self::Extension(digits) | Self::E164(digits) => Some(digits),
            Self::Uri(_) => None,
        }
    }

    fn uri(text: &str) -> Result<Self, AddressError> {
        let text = ["sip:", "sips:"]
            .iter()
            .find_map(|scheme| {
                text.get(..scheme.len()).filter(|t| t.eq_ignore_ascii_case(scheme)).map(|t| &text[t.len()..])
            })
            .unwrap_or(text);
        let (user, host) = text.split_once('@').ok_or(AddressError::Uri)?;
        let host = host.split([';', '?']).next().unwrap_or_default();
        let host = match host.strip_prefix('[') {
            Some(v6) => &host[..v6.find(']').ok_or(AddressError::Uri)? + 2],
            None => host.split(':').next().unwrap_or_default(),
        };
        let plain =
            |text: &str| !text.is_empty() && text.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '@');
        if !plain(user) || !plain(host) {
            return Err(AddressError::Uri);
        }
        Ok(Self::Uri(format!("{user}@{}", host.to_ascii_lowercase())))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// # Errors
    /// The operator's or the peer's fault: the text has none of the three forms.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.chars().count() > ADDRESS_CHARS_MAX {
            return Err(AddressError::TooLong);
        }
        if text.contains('@') {
            return Self::uri(text);
        }
        if let Some(number) = text.strip_prefix('+') {
            // RFC 3966 section 5.1.1: visual separators carry no meaning.
            let digits: String = number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
            let good = (4..=E164_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            return if good { Ok(Self::E164(digits)) } else { Err(AddressError::E164) };
        }
        let good = (1..=EXTENSION_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if good { Ok(Self::Extension(text.to_owned())) } else { Err(AddressError::Extension) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extension(digits) => f.write_str(digits),
            Self::E164(digits) => write!(f, "+{digits}"),
            Self::Uri(uri) => write!(f, "sip:{uri}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_its_three_forms() {
        let read = |text: &str| text.parse::<Address>();
        assert_eq!(read("1001"), Ok(Address::Extension("1001".into())));
        assert_eq!(read("+1 (555) 123-4567"), Ok(Address::E164("15551234567".into())));
        for text in ["sip:alice@Example.test:5061;transport=tls", "alice@example.test", "SIPS:alice@example.TEST?x=y"] {
            assert_eq!(read(text), Ok(Address::Uri("alice@example.test".into())), "{text}");
        }
        assert_eq!(read("sip:alice@[2001:DB8::1]:5060"), Ok(Address::Uri("alice@[2001:db8::1]".into())));
    }

    #[test]
    fn a_written_address_reads_back_as_itself() {
        for text in ["1001", "+15551234567", "sip:alice@example.test"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, why) in [
            ("", AddressError::Extension),
            ("10a1", AddressError::Extension),
            ("+", AddressError::E164),
            ("+12x4", AddressError::E164),
            ("sip:@host", AddressError::Uri),
            ("alice@", AddressError::Uri),
            ("alice@[::1", AddressError::Uri),
            ("al ice@host", AddressError::Uri),
            ("a@b@c", AddressError::Uri),
        ] {
            assert_eq!(text.parse::<Address>(), Err(why), "{text}");
        }
        assert_eq!("1".repeat(300).parse::<Address>(), Err(AddressError::TooLong));
    }
}
