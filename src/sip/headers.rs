//! The header fields of a message: a list that keeps order and what it does not know.

use std::fmt::Display;

use crate::header_name::HeaderName;
use crate::limits::VALUES_MAX;
use crate::text::split_list;

/// Why a header field cannot be used; the sender's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {fault}")]
pub struct HeaderError {
    pub name: HeaderName,
    pub fault: HeaderFault,
}

/// What is wrong with a header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    #[error("is missing")]
    Missing,
    #[error("cannot be read")]
    Malformed,
    #[error("stands more than once")]
    Repeated,
    #[error("has too many values")]
    TooMany,
}

impl HeaderFault {
    pub(crate) fn of(self, name: HeaderName) -> HeaderError {
        HeaderError { name, fault: self }
    }
}

/// Header lines in order. Values are kept as text, unfolded, and read by the typed accessors when asked for; bytes that
/// are no UTF-8 became U+FFFD. Names are found without case, long or compact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    lines: Vec<(HeaderName, String)>,
}

impl Headers {
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Adds a line at the end.
    pub fn push(&mut self, name: impl Into<HeaderName>, value: impl Display) {
        self.lines.push((name.into(), one_line(value)));
    }

    /// Adds a line before all others of this name, or at the very front.
    pub fn push_first(&mut self, name: impl Into<HeaderName>, value: impl Display) {
        let name = name.into();
        let at = self.lines.iter().position(|(known, _)| *known == name).unwrap_or(0);
        self.lines.insert(at, (name, one_line(value)));
    }

    /// Makes this the only line of its name, in place of the first or at the end.
    pub fn set(&mut self, name: impl Into<HeaderName>, value: impl Display) {
        let name = name.into();
        match self.lines.iter().position(|(known, _)| *known == name) {
            Some(at) => {
                self.lines[at].1 = one_line(value);
                let mut seen = 0;
                self.lines.retain(|(known, _)| {
                    seen += usize::from(*known == name);
                    *known != name || seen == 1
                });
            }
            None => self.push(name, value),
        }
    }

    /// Removes all lines of a name.
    pub fn remove(&mut self, name: impl Into<HeaderName>) {
        let name = name.into();
        self.lines.retain(|(known, _)| *known != name);
    }

    /// The first line's value.
    pub fn value(&self, name: impl Into<HeaderName>) -> Option<&str> {
        let name = name.into();
        self.lines.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All lines' values of one name, in order, not split at commas.
    pub fn values(&self, name: impl Into<HeaderName>) -> impl Iterator<Item = &str> {
        let name = name.into();
        self.lines.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    pub fn contains(&self, name: impl Into<HeaderName>) -> bool {
        self.value(name).is_some()
    }

    /// The values of a list header over all its lines, split at commas outside of quotes and brackets; empty ones are
    /// left out, as lists may hold them.
    ///
    /// # Errors
    /// An open quote or bracket, or more than [`VALUES_MAX`] values.
    pub fn list(&self, name: impl Into<HeaderName>) -> Result<Vec<&str>, HeaderError> {
        let name = name.into();
        let mut all = Vec::new();
        for line in self.values(name.clone()) {
            let pieces = split_list(line, b',').ok_or_else(|| HeaderFault::Malformed.of(name.clone()))?;
            all.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
            if all.len() > VALUES_MAX {
                return Err(HeaderFault::TooMany.of(name));
            }
        }
        Ok(all)
    }

    /// Removes the first value of a list header and returns it: a line loses its first value, or goes with it.
    pub fn pop_first_value(&mut self, name: impl Into<HeaderName>) -> Option<String> {
        let name = name.into();
        let at = self.lines.iter().position(|(known, _)| *known == name)?;
        let line = &self.lines[at].1;
        let pieces = split_list(line, b',')?;
        let first = pieces.first()?.to_string();
        let rest = pieces[1..].join(", ");
        if rest.is_empty() {
            self.lines.remove(at);
        } else {
            self.lines[at].1 = rest;
        }
        Some(first)
    }

    /// Adds a line that was read: one line already.
    pub(crate) fn push_read(&mut self, name: HeaderName, value: String) {
        self.lines.push((name, value));
    }

    /// Copies all lines of a name behind our own.
    pub fn copy_from(&mut self, other: &Headers, name: HeaderName) {
        for value in other.values(name.clone()) {
            self.lines.push((name.clone(), value.to_owned()));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &str)> {
        self.lines.iter().map(|(name, value)| (name, value.as_str()))
    }

    /// Lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// A value never ends its line: what could becomes a space.
fn one_line(value: impl Display) -> String {
    let value = value.to_string();
    if value.contains(['\r', '\n']) { value.replace(['\r', '\n'], " ") } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Headers {
        let mut headers = Headers::new();
        headers.push("v", "a, b");
        headers.push("X-Odd", "1");
        headers.push(HeaderName::Via, "c");
        headers
    }

    #[test]
    fn values_of_a_list_are_taken_from_the_top() {
        let mut headers = sample();
        assert_eq!(headers.list("Via"), Ok(vec!["a", "b", "c"]));
        assert_eq!(headers.pop_first_value("via").as_deref(), Some("a"));
        assert_eq!(headers.pop_first_value("via").as_deref(), Some("b"));
        assert_eq!(headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["X-Odd", "Via"]);
    }

    #[test]
    fn a_line_set_stands_alone_in_the_place_of_the_first() {
        let mut headers = sample();
        headers.set("Via", "d");
        assert_eq!(headers.iter().map(|(_, value)| value).collect::<Vec<_>>(), ["d", "1"]);
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let mut headers = Headers::new();
        headers.push("Subject", "a\r\nVia: x");
        assert_eq!(headers.value("s"), Some("a  Via: x"));
    }
}
