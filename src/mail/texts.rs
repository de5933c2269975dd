//! The words of letters, by language. `{caller}` and the like are filled in; nothing that is filled in is looked at again.

/// The words of one language.
pub(crate) struct Texts {
    /// BCP 47.
    tag: &'static str,
    /// As jiff's `strftime` has it.
    pub(crate) time: &'static str,
    pub(crate) greeting: &'static str,
    pub(crate) nobody: &'static str,
    pub(crate) message: Words,
    pub(crate) partial: &'static str,
    pub(crate) attached: &'static str,
    pub(crate) not_attached: &'static str,
    pub(crate) missed_call: Words,
    pub(crate) pin_reset: Words,
    pub(crate) closing: &'static str,
}

/// One kind of letter.
pub(crate) struct Words {
    pub(crate) subject: &'static str,
    pub(crate) body: &'static str,
}

const ENGLISH: Texts = Texts {
    tag: "en",
    time: "%A, %-d %B %Y, %H:%M (%Z)",
    greeting: "Hello {name},",
    nobody: "a caller who withholds the number",
    message: Words {
        subject: "Voice message from {caller} ({length})",
        body: "A voice message was left in mailbox {mailbox}.\n\nFrom: {caller}\nReceived: {time}\nLength: {length}",
    },
    partial: "Its end may be missing: the recording was cut short.",
    attached: "The message is attached. It also waits in the mailbox.",
    not_attached: "The message is too long for a mail, or cannot be read now. It waits in the mailbox.",
    missed_call: Words {
        subject: "Missed call from {caller}",
        body: "A caller reached mailbox {mailbox} and left no message.\n\nFrom: {caller}\nTime: {time}",
    },
    pin_reset: Words {
        subject: "The PIN of your mailbox was reset",
        body: "The PIN of mailbox {mailbox} was reset. The new PIN is:\n\n    {pin}\n\nIt serves for one call, in which you \
               choose another. If you did not ask for it, tell your administrator.",
    },
    closing: "This mail was written by the voice mail service; nobody reads answers to it.",
};

/// The words for a language tag: of the tag itself, of its first part, English for any other.
pub(crate) fn texts(tag: &str) -> &'static Texts {
    const ALL: [&Texts; 1] = [&ENGLISH];
    let primary = tag.split(['-', '_']).next().unwrap_or_default();
    let by = |wanted: &str| ALL.into_iter().find(|texts| texts.tag.eq_ignore_ascii_case(wanted));
    by(tag).or_else(|| by(primary)).unwrap_or(&ENGLISH)
}

/// `text` with each `{key}` replaced by its value, in one pass: a value that looks like a key stays as it is.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((key, behind)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        filled.push_str(values.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value));
        rest = behind;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_looks_like_a_key_is_not_filled_in_again() {
        let values = [("caller", "{pin}"), ("pin", "123456")];
        assert_eq!(fill("from {caller}: {nothing}.", &values), "from {pin}: .");
    }

    #[test]
    fn a_language_without_words_speaks_english() {
        for tag in ["en-US", "EN", "de-DE", ""] {
            assert_eq!(texts(tag).tag, "en");
        }
    }
}
