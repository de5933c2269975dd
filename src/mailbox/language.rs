//! How a language says numbers, dates and choices: the grammar that its recorded words are put together by.

use jiff::civil::{Date, Time};

use crate::english::English;
use crate::io::Digit;
use crate::phrase::Phrase;

/// A grammar over recorded words. Names are those of the language's prompts; all of them are in
/// [`names`](Self::names).
pub trait Language: Send + Sync {
    /// Its BCP 47 tag: also the name of its files.
    fn tag(&self) -> &'static str;

    /// Its prompts, each with its name and the WAV file (16 kHz, mono, 16 bits) that we bring along.
    fn recordings(&self) -> &'static [(&'static str, &'static [u8])];

    /// The names that the functions below can give.
    fn names(&self) -> Vec<&'static str>;

    /// A phrase.
    fn phrase(&self, phrase: Phrase, words: &mut Vec<&'static str>);

    /// A telephone number, digit by digit. Other characters are left out.
    fn digits(&self, digits: &str, words: &mut Vec<&'static str>);

    /// "From 1 0 0 1".
    fn from(&self, digits: &str, words: &mut Vec<&'static str>);

    /// "Two new messages and no saved messages".
    fn counts(&self, new: usize, saved: usize, words: &mut Vec<&'static str>);

    /// "Received yesterday at 3 15 p.m.": `today` is the listener's.
    fn received(&self, date: Date, time: Time, today: Date, words: &mut Vec<&'static str>);

    /// "At least 6 digits".
    fn digits_at_least(&self, count: usize, words: &mut Vec<&'static str>);

    /// "To delete it, press 7": the choice, then how to make it.
    fn press(&self, choice: Phrase, keys: &[Digit], words: &mut Vec<&'static str>);
}

/// The language of a tag: of the tag itself or of its first part (`en-US`: `en`); English for any other.
pub fn language(tag: &str) -> &'static dyn Language {
    const LANGUAGES: [&dyn Language; 1] = [&English];
    let primary = tag.split(['-', '_']).next().unwrap_or_default();
    let by = |wanted: &str| LANGUAGES.into_iter().find(|language| language.tag().eq_ignore_ascii_case(wanted));
    by(tag).or_else(|| by(primary)).unwrap_or(&English)
}

/// The recording that we bring along for a prompt: a WAV file, 16 kHz, mono, 16 bits. A player may put others in its
/// place.
pub fn recording(prompt: crate::Prompt) -> Option<&'static [u8]> {
    let recordings = language(prompt.language).recordings();
    recordings.iter().find(|(name, _)| *name == prompt.name).map(|(_, wav)| *wav)
}
