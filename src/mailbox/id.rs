//! Names of what is kept: 48 bits of Unix milliseconds and 80 random bits, written as 26 characters (a ULID), so that
//! they sort by age.

use std::fmt;
use std::str::FromStr;

/// Crockford's alphabet: digits and letters without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of a written id.
const CHARS: usize = 26;

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 26 characters of 0-9 and A-Z without I, L, O and U, and starts with 0-7")]
pub struct IdError;

fn write(value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0; CHARS];
    for (place, char) in text.iter_mut().rev().enumerate() {
        *char = ALPHABET[(value >> (5 * place)) as usize & 31];
    }
    f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

fn read(text: &str) -> Result<u128, IdError> {
    // 26 characters hold 130 bits: the first one has three.
    if text.len() != CHARS || !matches!(text.as_bytes()[0], b'0'..=b'7') {
        return Err(IdError);
    }
    text.bytes().try_fold(0, |value, byte| {
        let digit = ALPHABET.iter().position(|&letter| letter == byte.to_ascii_uppercase()).ok_or(IdError)?;
        Ok(value << 5 | digit as u128)
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The id made at `unix_millis` (the low 48 bits count) with 80 random bits.
            pub fn new(unix_millis: u64, random: [u8; 10]) -> Self {
                let random = random.iter().fold(0, |bits, &byte| bits << 8 | u128::from(byte));
                Self(u128::from(unix_millis & 0xffff_ffff_ffff) << 80 | random)
            }

            /// The id as a database keeps it: 16 bytes, which sort as the ids do.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The id that [`to_bytes`](Self::to_bytes) gave.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            /// Reads what `Display` wrote, in capital or small letters.
            fn from_str(text: &str) -> Result<Self, IdError> {
                read(text).map(Self)
            }
        }
    };
}

id!(
    /// A mailbox, for as long as it exists; its addresses may change.
    MailboxId
);
id!(
    /// An accepted message.
    MessageId
);
id!(
    /// A greeting that was recorded and accepted.
    GreetingId
);
id!(
    /// A recording from its beginning until it is finished (and then a message or a greeting) or discarded.
    RecordingId
);
id!(
    /// A mail about a mailbox, from the moment it waits to be sent.
    LetterId
);

/// A call's name for one question to its store; the answer carries it. Unique within a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let id = MessageId::new(1_760_000_000_000, [1, 2, 3, 4, 5, 6, 7, 8, 9, 250]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        assert_eq!(MessageId::from_bytes(id.to_bytes()), id);
    }

    #[test]
    fn ids_sort_by_age_as_text_and_as_bytes() {
        let older = MessageId::new(1_760_000_000_000, [255; 10]);
        let newer = MessageId::new(1_760_000_000_001, [0; 10]);
        assert!(older < newer && older.to_string() < newer.to_string() && older.to_bytes() < newer.to_bytes());
    }

    #[test]
    fn a_text_that_is_no_id_is_refused() {
        for text in ["", "0", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "0000000000000000000000000I", "000000000000000000000000000"]
        {
            assert_eq!(text.parse::<MessageId>(), Err(IdError), "{text}");
        }
    }
}
