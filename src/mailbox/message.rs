//! A message in a mailbox, and who left it.

use std::time::Duration;

use jiff::Timestamp;

use crate::id::MessageId;

/// A message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: MessageId,
    pub caller: Caller,
    /// When the call reached the mailbox.
    pub received: Timestamp,
    pub length: Duration,
    pub state: MessageState,
    /// Its end may be missing: it was recovered from a recording that nobody finished, or its store failed meanwhile.
    pub partial: bool,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageState {
    /// Not heard yet.
    New,
    /// Heard and kept.
    Saved,
    /// Deleted by its owner: out of all lists and out of the quota, but not yet forgotten, so that it can come back.
    Deleted,
}

impl MessageState {
    pub const ALL: [Self; 3] = [Self::New, Self::Saved, Self::Deleted];

    /// The state's name in a database.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Saved => "saved",
            Self::Deleted => "deleted",
        }
    }
}

/// Who calls, as signalling says; nothing in it is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Number or URI; none for an anonymous caller. At most
    /// [`CALLER_CHARS_MAX`](crate::limits::CALLER_CHARS_MAX) characters are kept.
    pub address: Option<String>,
    /// Display name.
    pub name: Option<String>,
}

impl Caller {
    /// The caller with what is too long cut off.
    pub(crate) fn shortened(self) -> Self {
        let shorten = |text: String| text.chars().take(crate::limits::CALLER_CHARS_MAX).collect();
        Self { address: self.address.map(shorten), name: self.name.map(shorten) }
    }

    /// The digits to speak: of a number, or of a URI whose user part is one.
    pub fn digits(&self) -> Option<String> {
        let address = self.address.as_deref()?;
        let address = address.strip_prefix("sips:").or_else(|| address.strip_prefix("sip:")).unwrap_or(address);
        let user = address.strip_prefix("tel:").unwrap_or(address).split(['@', ';']).next()?;
        let digits: String = user.chars().filter(|c| !matches!(c, '+' | '-' | '.' | '(' | ')' | ' ')).collect();
        let good = !digits.is_empty()
            && digits.len() <= crate::limits::SPOKEN_DIGITS_MAX
            && digits.bytes().all(|b| b.is_ascii_digit());
        good.then_some(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_with_a_number_has_digits_to_speak() {
        let digits = |address: &str| Caller { address: Some(address.into()), name: None }.digits();
        assert_eq!(digits("+1 555-1234").as_deref(), Some("15551234"));
        assert_eq!(digits("sip:1001@example.test").as_deref(), Some("1001"));
        assert_eq!(digits("tel:+15551234;phone-context=x").as_deref(), Some("15551234"));
        assert_eq!(digits("sip:alice@example.test"), None);
        assert_eq!(digits(&"1".repeat(40)), None);
        assert_eq!(Caller::default().digits(), None);
    }
}
