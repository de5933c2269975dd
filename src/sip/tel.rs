//! `tel:` URIs (RFC 3966).

use std::fmt;

use crate::escape::{IN_PARAM, normalize};
use crate::params::Params;

/// A telephone number with its parameters (`phone-context`, `ext`, `isub` and others).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelUri {
    number: String,
    pub params: Params,
}

/// Characters for the eye only (RFC 3966 section 3).
fn is_visual_separator(char: char) -> bool {
    "-.()".contains(char)
}

impl TelUri {
    pub(crate) fn parse_rest(rest: &str) -> Option<TelUri> {
        let mut pieces = rest.split(';');
        let number = pieces.next()?;
        let digits = number.strip_prefix('+').unwrap_or(number);
        let in_number = |char: char| char.is_ascii_hexdigit() || "*#".contains(char) || is_visual_separator(char);
        if !digits.contains(|char: char| char.is_ascii_hexdigit() || "*#".contains(char))
            || !digits.chars().all(in_number)
        {
            return None;
        }
        let mut params = Params::new();
        for piece in pieces {
            let (name, value) = match piece.split_once('=') {
                Some((name, value)) => (name, Some(normalize(value, IN_PARAM)?)),
                None => (piece, None),
            };
            let name = normalize(name, IN_PARAM)?;
            if name.is_empty() {
                return None;
            }
            params.take_in(&name, value.as_deref())?;
        }
        Some(TelUri { number: number.to_owned(), params })
    }

    /// The number as written, with visual separators; global ones begin with `+`.
    pub fn number(&self) -> &str {
        &self.number
    }

    /// The number without visual separators.
    pub fn digits(&self) -> String {
        self.number.chars().filter(|char| !is_visual_separator(*char)).collect()
    }

    pub(crate) fn is_equivalent(&self, other: &TelUri) -> bool {
        let same = |(name, value): (&str, Option<&str>)| {
            other.params.contains(name)
                && value.unwrap_or("").eq_ignore_ascii_case(other.params.value(name).unwrap_or(""))
        };
        self.digits().eq_ignore_ascii_case(&other.digits())
            && self.params.len() == other.params.len()
            && self.params.iter().all(same)
    }
}

impl fmt::Display for TelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut params = String::new();
        self.params.push_uri(&mut params);
        write!(f, "tel:{}{params}", self.number)
    }
}
