//! What is to be said, put together clip by clip.

use std::time::Duration;

use crate::command::Command;
use crate::io::Clip;
use crate::key_map::Menu;
use crate::language::Language;
use crate::limits::CLIPS_MAX;
use crate::phrase::Phrase;
use crate::prompt::Prompt;
use crate::store::AudioId;

/// Between two sentences, and between two choices of a menu.
const PAUSE: Duration = Duration::from_millis(250);

/// A playback in the making.
pub(crate) struct Speech {
    language: &'static dyn Language,
    clips: Vec<Clip>,
}

impl Speech {
    pub(crate) fn new(language: &'static dyn Language) -> Self {
        Self { language, clips: Vec::new() }
    }

    pub(crate) fn phrase(self, phrase: Phrase) -> Self {
        self.words(|language, words| language.phrase(phrase, words))
    }

    /// A phrase, and time to take it in.
    pub(crate) fn sentence(self, phrase: Phrase) -> Self {
        self.phrase(phrase).pause()
    }

    /// What the language makes of something.
    pub(crate) fn words(mut self, say: impl FnOnce(&dyn Language, &mut Vec<&'static str>)) -> Self {
        let mut names = Vec::new();
        say(self.language, &mut names);
        let language = self.language.tag();
        self.clips.extend(names.into_iter().map(|name| Clip::Prompt(Prompt { language, name })));
        self
    }

    /// How to ask for `command`, if it has keys and is spoken of.
    pub(crate) fn choice<C: Command>(self, menu: &Menu<C>, command: C) -> Self {
        match (command.phrase(), menu.keys(command)) {
            (Some(phrase), Some(keys)) => self.words(|language, words| language.press(phrase, keys, words)).pause(),
            _ => self,
        }
    }

    /// All choices of a menu but those that `hides` says.
    pub(crate) fn menu<C: Command>(self, menu: &Menu<C>, hides: impl Fn(C) -> bool) -> Self {
        let shown = C::ALL.iter().filter(|(_, command)| !hides(*command));
        shown.fold(self, |speech, &(_, command)| speech.choice(menu, command))
    }

    /// "...press pound", after a phrase that asks for an entry.
    pub(crate) fn entry<C: Command>(self, phrase: Phrase, menu: &Menu<C>, finish: C) -> Self {
        let keys = menu.keys(finish).unwrap_or_default();
        self.words(|language, words| language.press(phrase, keys, words))
    }

    pub(crate) fn pause(self) -> Self {
        self.clip(Clip::Pause(PAUSE))
    }

    pub(crate) fn audio(self, audio: AudioId) -> Self {
        self.clip(Clip::Audio(audio))
    }

    pub(crate) fn clip(mut self, clip: Clip) -> Self {
        self.clips.push(clip);
        self
    }

    pub(crate) fn into_clips(mut self) -> Vec<Clip> {
        self.clips.truncate(CLIPS_MAX);
        self.clips
    }
}
