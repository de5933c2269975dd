//! The keys of a telephone, as events of RFC 4733 section 3.2.

use std::fmt;

/// One of the sixteen DTMF keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digit(u8);

impl Digit {
    const KEYS: &'static [u8; 16] = b"0123456789*#ABCD";

    /// The key of an event code 0..=15; others (flash, tones) are no keys.
    pub fn from_code(code: u8) -> Option<Self> {
        (code < 16).then_some(Self(code))
    }

    /// The key of `0`-`9`, `*`, `#`, `A`-`D` (or `a`-`d`).
    pub fn from_char(key: char) -> Option<Self> {
        let key = u8::try_from(key).ok()?.to_ascii_uppercase();
        Self::KEYS.iter().position(|k| *k == key).map(|code| Self(code as u8))
    }

    /// Event code of RFC 4733.
    pub fn code(self) -> u8 {
        self.0
    }

    /// Its character.
    pub fn as_char(self) -> char {
        Self::KEYS[usize::from(self.0 & 15)] as char
    }
}

/// Shows no key: digits may be a PIN, and must not reach a log by way of an event's `Debug`.
impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digit(_)")
    }
}
