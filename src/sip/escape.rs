//! Escapes in URIs (RFC 3261 section 19.1.2, RFC 2396 section 2).

use std::borrow::Cow;
use std::fmt::Write;

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte)
}

/// What may stand in a user part besides unreserved characters.
pub(crate) const IN_USER: &[u8] = b"&=+$,;?/";
/// What may stand in a password besides unreserved characters.
pub(crate) const IN_PASSWORD: &[u8] = b"&=+$,";
/// What may stand in a URI parameter besides unreserved characters.
pub(crate) const IN_PARAM: &[u8] = b"[]/:&+$";
/// What may stand in a URI's header part besides unreserved characters.
pub(crate) const IN_HEADER: &[u8] = b"[]/?:+$";

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// Brings an escaped text to its one form: what need not be escaped is not, hexadecimal digits are upper case. `None`
/// for characters that may not stand here, and for `%` without two digits.
pub(crate) fn normalize(text: &str, allowed: &[u8]) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == b'%' {
            let value = hex(*bytes.get(at + 1)?)? * 16 + hex(*bytes.get(at + 2)?)?;
            push(&mut out, value, b"");
            at += 3;
        } else if is_unreserved(byte) || allowed.contains(&byte) {
            out.push(byte as char);
            at += 1;
        } else {
            return None;
        }
    }
    Some(out)
}

fn push(out: &mut String, byte: u8, allowed: &[u8]) {
    if is_unreserved(byte) || allowed.contains(&byte) {
        out.push(byte as char);
    } else {
        // Writing to a String does not fail.
        let _ = write!(out, "%{byte:02X}");
    }
}

/// Escapes what may not stand as it is.
pub(crate) fn escape(text: &str, allowed: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        push(&mut out, byte, allowed);
    }
    out
}

/// The meaning of an escaped text. Bytes that are no UTF-8 become U+FFFD.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped =
            (bytes[at] == b'%').then(|| Some(hex(*bytes.get(at + 1)?)? * 16 + hex(*bytes.get(at + 2)?)?)).flatten();
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_text_has_one_form() {
        assert_eq!(normalize("%61%2f%2F%25", IN_USER).as_deref(), Some("a%2F%2F%25"));
        for wrong in ["%", "%4", "%4g", "a b", "é", "<"] {
            assert_eq!(normalize(wrong, IN_USER), None, "{wrong}");
        }
    }

    #[test]
    fn meaning_survives_escaping() {
        for text in ["a b", "sips:user@example.com", "Grüße", "\0", "100%", "<>;,"] {
            assert_eq!(unescape(&escape(text, IN_USER)), text);
        }
    }
}
