//! Strings from strangers, made fit for one line of a terminal or a log.

use std::fmt::{self, Debug, Display, Formatter, Write};

/// Longest text that [`Clean`] lets through, in bytes, before it is cut.
pub const CLEAN_BYTES_MAX: usize = 256;

/// Shows a value with everything escaped that could start a new line, move a cursor or turn the reading direction, and
/// cut after [`CLEAN_BYTES_MAX`] bytes.
///
/// Meant for text that is built into a message; the fields of a log event need it not, the log escapes them itself.
pub struct Clean<T>(pub T);

/// [`Clean`] for a value's `Debug` form.
pub struct CleanDebug<T>(pub T);

impl<T: Display> Display for Clean<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = Escaped::new(f, CLEAN_BYTES_MAX, Quoting::None);
        write!(out, "{}", self.0)?;
        out.finish()
    }
}

impl<T: Debug> Display for CleanDebug<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = Escaped::new(f, CLEAN_BYTES_MAX, Quoting::None);
        write!(out, "{:?}", self.0)?;
        out.finish()
    }
}

/// Whether the text stands between quotes, which it then must not end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    None,
    Double,
}

/// Passes text on with dangerous characters escaped, up to a limit; the rest is counted as cut.
pub(crate) struct Escaped<'a, W: Write + ?Sized> {
    out: &'a mut W,
    left: usize,
    cut: bool,
    quoting: Quoting,
}

pub(crate) const CUT_MARK: &str = "...";

impl<'a, W: Write + ?Sized> Escaped<'a, W> {
    pub(crate) fn new(out: &'a mut W, bytes_max: usize, quoting: Quoting) -> Self {
        Self { out, left: bytes_max, cut: false, quoting }
    }

    /// Marks the end of what was cut.
    pub(crate) fn finish(self) -> fmt::Result {
        if self.cut { self.out.write_str(CUT_MARK) } else { Ok(()) }
    }

    fn put(&mut self, text: &str) -> fmt::Result {
        if self.cut || text.len() > self.left {
            self.cut = true;
            return Ok(());
        }
        self.left -= text.len();
        self.out.write_str(text)
    }
}

impl<W: Write + ?Sized> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.cut {
                break;
            }
            let mut buffer = [0; 4];
            match character {
                '\n' => self.put("\\n")?,
                '\r' => self.put("\\r")?,
                '\t' => self.put("\\t")?,
                '"' if self.quoting == Quoting::Double => self.put("\\\"")?,
                '\\' if self.quoting == Quoting::Double => self.put("\\\\")?,
                dangerous if is_dangerous(dangerous) => self.put(&dangerous.escape_unicode().to_string())?,
                harmless => self.put(harmless.encode_utf8(&mut buffer))?,
            }
        }
        Ok(())
    }
}

/// Control characters, and what makes a line read otherwise than it is: separators, directions, invisible marks.
pub(crate) fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_nul_and_escapes_become_visible_text() {
        let hostile = "a\r\nb\0c\x1b[2Jd\u{7f}\u{85}\u{9b}e\u{2028}f\u{202e}g%n%s";
        let shown = Clean(hostile).to_string();
        assert_eq!(shown, "a\\r\\nb\\u{0}c\\u{1b}[2Jd\\u{7f}\\u{85}\\u{9b}e\\u{2028}f\\u{202e}g%n%s");
    }

    #[test]
    fn four_kilobytes_are_cut_and_say_so() {
        let shown = Clean("x".repeat(4096)).to_string();
        assert_eq!(shown.len(), CLEAN_BYTES_MAX + CUT_MARK.len());
        assert!(shown.ends_with(CUT_MARK));
    }

    #[test]
    fn a_cut_never_splits_a_character_or_an_escape() {
        for fill in ["\u{e4}", "\u{1f600}", "\n", "\0"] {
            for lead in 0..8 {
                let shown = Clean(format!("{}{}", "x".repeat(lead), fill.repeat(400))).to_string();
                let body = shown.strip_suffix(CUT_MARK).expect("cut");
                assert!(body.len() <= CLEAN_BYTES_MAX);
                assert!(!body.ends_with('\\') && !body.ends_with('{'), "{body}");
            }
        }
    }

    #[test]
    fn ordinary_text_in_any_script_stays_as_it_is() {
        for text in ["alice@example.test", "[2001:db8::1]:3478", "über", "电话", ""] {
            assert_eq!(Clean(text).to_string(), text);
        }
    }
}
