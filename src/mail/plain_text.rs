//! Strangers' text made fit for a header and a line.

/// At most `chars_max` characters of `text` without what ends a line, hides, or turns the direction of others: controls,
/// line and paragraph separators, bidirectional controls, zero-width characters, tags. Each run of them and of white
/// space is one space; a text that was cut ends in `…`.
pub(crate) fn plain(text: &str, chars_max: usize) -> String {
    let mut plain = String::new();
    let mut chars = 0;
    for word in text.split(|c: char| c.is_whitespace() || is_unfit(c)).filter(|word| !word.is_empty()) {
        if !plain.is_empty() {
            // A space needs room for itself and for what follows it.
            if chars + 2 >= chars_max {
                plain.push('…');
                return plain;
            }
            plain.push(' ');
            chars += 1;
        }
        // What looks like an encoded word (RFC 2047) would be decoded by who reads it.
        for c in word.replace("=?", "= ?").chars() {
            if chars + 1 >= chars_max {
                plain.push('…');
                return plain;
            }
            plain.push(c);
            chars += 1;
        }
    }
    plain
}

fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_begin_another_header_is_one_space() {
        assert_eq!(plain("Bob\r\nBcc: eve@example.test", 80), "Bob Bcc: eve@example.test");
        assert_eq!(plain("a\0\n\u{85}\u{2028}\u{2029}b", 80), "a b");
    }

    #[test]
    fn what_hides_or_turns_letters_is_gone() {
        assert_eq!(plain("\u{202e}eve\u{202c} \u{2066}x\u{2069}\u{200f}", 80), "eve x");
        assert_eq!(plain("a\u{200b}b\u{feff}", 80), "a b");
    }

    #[test]
    fn what_a_reader_would_decode_is_no_encoded_word_any_more() {
        assert_eq!(plain("=?utf-8?q?a=0D=0Ab?=", 80), "= ?utf-8?q?a=0D=0Ab?=");
    }

    #[test]
    fn other_scripts_stay() {
        for text in ["Jürgen Weiß", "Бобби", "鈴木 一郎", "نور"] {
            assert_eq!(plain(text, 80), text);
        }
    }

    #[test]
    fn a_long_text_is_cut_and_shows_it() {
        assert_eq!(plain(&"x".repeat(100), 10), "xxxxxxxxx…");
        assert_eq!(plain("xxxxxxxxx", 10), "xxxxxxxxx");
        assert_eq!(plain("", 10), "");
        assert_eq!(plain("xxxxxxxxx y", 10), "xxxxxxxxx…");
        assert!(plain(&"ab ".repeat(100), 10).chars().count() <= 10);
    }
}
