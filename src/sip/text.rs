//! The small pieces of SIP's grammar: tokens, quoted strings, lists (RFC 3261 section 25.1).

/// Whether a text is a token.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Splits at `separator` outside of quoted strings and angle brackets; pieces are trimmed. `None` when a quoted string
/// or a bracket does not end. Linear.
pub(crate) fn split_list(text: &str, separator: u8) -> Option<Vec<&str>> {
    let (pieces, whole) = split_leniently(text, separator);
    whole.then_some(pieces)
}

/// As [`split_list`], but what does not end is the last piece; the second value tells whether all ended.
pub(crate) fn split_leniently(text: &str, separator: u8) -> (Vec<&str>, bool) {
    let mut pieces = Vec::new();
    let (mut start, mut in_quotes, mut in_brackets, mut escaped) = (0, false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_quotes => escaped = true,
            b'"' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            b'<' => in_brackets = true,
            b'>' => in_brackets = false,
            _ if in_brackets => {}
            _ if byte == separator => {
                pieces.push(trim(&text[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(trim(&text[start..]));
    (pieces, !in_quotes && !in_brackets)
}

/// Without the white space that SIP knows around it.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Takes a quoted string from the front: its meaning and what follows it. `None` when the text does not begin with a
/// whole one.
pub(crate) fn take_quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut meaning = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((meaning, &inner[at + 1..])),
            '\\' => meaning.push(chars.next()?.1),
            _ => meaning.push(char),
        }
    }
    None
}

/// A quoted string of this meaning. What could end a header line becomes a space.
pub(crate) fn push_quoted(out: &mut String, meaning: &str) {
    out.push('"');
    for char in meaning.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\r' | '\n' | '\0' => out.push(' '),
            _ => out.push(char),
        }
    }
    out.push('"');
}

/// A decimal number of digits only, that fits.
pub(crate) fn parse_u32(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A port number: digits only, 1 to 65535.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    parse_u32(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_outside_of_quotes_and_brackets() {
        let list = r#""a, \" b" <sip:x,y@z> , c"#;
        assert_eq!(split_list(list, b','), Some(vec![r#""a, \" b" <sip:x,y@z>"#, "c"]));
        assert_eq!(split_list(r#""open, c"#, b','), None);
        assert_eq!(split_list("<open, c", b','), None);
    }

    #[test]
    fn a_quoted_string_survives_both_ways() {
        let mut out = String::new();
        push_quoted(&mut out, r#"a "b" \ c"#);
        assert_eq!(take_quoted(&out), Some((r#"a "b" \ c"#.to_owned(), "")));
    }

    #[test]
    fn a_quoted_string_cannot_end_the_line() {
        let mut out = String::new();
        push_quoted(&mut out, "a\r\nb");
        assert_eq!(out, "\"a  b\"");
    }

    #[test]
    fn numbers_have_digits_only() {
        assert_eq!(parse_u32("+1"), None);
        assert_eq!(parse_u32("4294967296"), None);
        assert_eq!(parse_port("0"), None);
        assert_eq!(parse_port("5060"), Some(5060));
    }
}
