//! Where mail for the owner of a mailbox goes.

use std::fmt;
use std::str::FromStr;

use crate::limits::MAIL_ADDRESS_CHARS_MAX;

/// A mail address that can stand in an SMTP command and a header as it is: a dot-string of ASCII and a host name
/// (RFC 5321 section 4.1.2). Quoted local parts, address literals and other scripts are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAddress(String);

/// Why a text is no mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mail address is like alice@example.test, in ASCII and of at most {MAIL_ADDRESS_CHARS_MAX} characters")]
pub struct MailAddressError;

impl MailAddress {
    /// The address as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host name behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl FromStr for MailAddress {
    type Err = MailAddressError;

    fn from_str(text: &str) -> Result<Self, MailAddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(MailAddressError)?;
        let is_atom_text = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        // RFC 5321 section 4.5.3.1.1 for the 64.
        let local_is_good =
            local.len() <= 64 && local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_text));
        let label_is_good = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let good = text.len() <= MAIL_ADDRESS_CHARS_MAX && local_is_good && domain.split('.').all(label_is_good);
        if good { Ok(Self(text.to_owned())) } else { Err(MailAddressError) }
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the owner of a mailbox is told by mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailSettings {
    /// Where mail goes; without it there is none.
    pub address: Option<MailAddress>,
    /// Also calls that left no message.
    pub missed_calls: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_a_header_or_a_command_can_bear_is_taken() {
        for text in ["alice@example.test", "a.b+voice=mail@mx-1.example.test", "o'neil@localhost"] {
            assert_eq!(text.parse::<MailAddress>().unwrap().as_str(), text);
        }
        assert_eq!("a@b.example.test".parse::<MailAddress>().unwrap().domain(), "b.example.test");
    }

    #[test]
    fn an_address_that_would_end_a_line_or_a_command_is_refused() {
        let long = format!("{}@example.test", "a".repeat(65));
        for text in [
            "",
            "alice",
            "@example.test",
            "alice@",
            "alice@example.test\r\nBcc: eve@example.test",
            "alice@example.test> SIZE=1",
            "<alice@example.test>",
            "Alice <alice@example.test>",
            "alice@example.test,eve@example.test",
            "alice bob@example.test",
            "\"alice\"@example.test",
            "alice@[127.0.0.1]",
            "alice@-example.test",
            "alice..b@example.test",
            "alice@example..test",
            "älice@example.test",
            long.as_str(),
        ] {
            assert_eq!(text.parse::<MailAddress>(), Err(MailAddressError), "{text:?}");
        }
    }
}
