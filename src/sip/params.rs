//! Parameters as URIs and header fields carry them: `;name=value;flag`.

use crate::limits::PARAMS_MAX;
use crate::text::{is_token_byte, push_quoted, split_list, take_quoted, trim};

/// Parameters in order, one per name: a repeated one counts as its last (`;transport=tcp;transport=tcp` is common).
/// Names are compared without case. In a header field a value is the meaning of a quoted string; in a URI it is its
/// escaped form, with nothing escaped that need not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    list: Vec<(String, Option<String>)>,
}

impl Params {
    pub fn new() -> Params {
        Params::default()
    }

    /// The value of a parameter; `None` when it is absent or has none.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.entry(name)?.1.as_deref()
    }

    /// Whether the parameter is there, with or without a value.
    pub fn contains(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    fn entry(&self, name: &str) -> Option<&(String, Option<String>)> {
        self.list.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// Sets a parameter, in the place where it stands or else at the end.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self.list.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some(entry) => entry.1 = value,
            None => self.list.push((name.to_owned(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.list.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.list.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Adds one that was read. `None` when there are too many; repeated ones count.
    pub(crate) fn take_in(&mut self, name: &str, value: Option<&str>) -> Option<()> {
        if self.list.len() >= PARAMS_MAX {
            return None;
        }
        self.set(name, value);
        Some(())
    }

    /// Reads what follows a header field's value, from its first `;` on. A trailing `;` is forgiven, an empty
    /// parameter elsewhere is not, nor is a repeated name among `once`.
    pub(crate) fn parse_header(text: &str, once: &[&str]) -> Option<Params> {
        let mut params = Params::new();
        let text = trim(text);
        if text.is_empty() {
            return Some(params);
        }
        let text = text.strip_prefix(';')?;
        let mut pieces = split_list(text, b';')?;
        if pieces.len() > 1 && pieces.last() == Some(&"") {
            pieces.pop();
        }
        for piece in pieces {
            let (name, value) = match piece.split_once('=') {
                Some((name, value)) => (trim(name), Some(parse_value(trim(value))?)),
                None => (piece, None),
            };
            if name.is_empty() || !name.bytes().all(is_token_byte) {
                return None;
            }
            if params.contains(name) && once.iter().any(|once| once.eq_ignore_ascii_case(name)) {
                return None;
            }
            params.take_in(name, value.as_deref())?;
        }
        Some(params)
    }

    /// Writes them behind a header field's value, quoted where they must be.
    pub(crate) fn push_header(&self, out: &mut String) {
        for (name, value) in self.iter() {
            out.push(';');
            out.push_str(name);
            if let Some(value) = value {
                out.push('=');
                if !value.is_empty() && value.bytes().all(is_plain_value_byte) {
                    out.push_str(value);
                } else {
                    push_quoted(out, value);
                }
            }
        }
    }

    /// Writes them into a URI: they hold their escaped form.
    pub(crate) fn push_uri(&self, out: &mut String) {
        for (name, value) in self.iter() {
            out.push(';');
            out.push_str(name);
            if let Some(value) = value {
                out.push('=');
                out.push_str(value);
            }
        }
    }
}

/// Tokens and hosts: what needs no quotes.
fn is_plain_value_byte(byte: u8) -> bool {
    is_token_byte(byte) || b"[]:".contains(&byte)
}

fn parse_value(text: &str) -> Option<String> {
    if text.starts_with('"') {
        let (meaning, rest) = take_quoted(text)?;
        return trim(rest).is_empty().then_some(meaning);
    }
    // Lenient: clients write more than tokens and hosts without quotes.
    let plain = !text.is_empty() && !text.bytes().any(|byte| byte <= b' ' || b"\",;<>\x7f".contains(&byte));
    plain.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_repeated_parameter_counts() {
        let params = Params::parse_header(";a=1;b;A=\"x;y\"", &["tag"]).unwrap();
        assert_eq!(params.iter().collect::<Vec<_>>(), [("a", Some("x;y")), ("b", None)]);
    }

    #[test]
    fn a_repeated_parameter_that_identifies_something_is_refused() {
        assert_eq!(Params::parse_header(";tag=1;tag=2", &["tag"]), None);
    }

    #[test]
    fn empty_parameters_are_refused_but_for_a_trailing_semicolon() {
        assert!(Params::parse_header(";a;", &[]).is_some());
        assert!(Params::parse_header(";;a", &[]).is_none());
        assert!(Params::parse_header(";", &[]).is_none());
    }

    #[test]
    fn values_are_quoted_where_they_must_be() {
        let mut params = Params::new();
        params.set("a", Some("x y"));
        params.set("received", Some("[::1]"));
        let mut out = String::new();
        params.push_header(&mut out);
        assert_eq!(out, ";a=\"x y\";received=[::1]");
    }
}
