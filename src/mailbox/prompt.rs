//! The name of a prompt: what a player looks up in the recordings of a language.

use std::fmt;

/// One recorded prompt of one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prompt {
    /// BCP 47 tag, as in the name of the language's directory.
    pub language: &'static str,
    /// Its name in that language, as in the name of its file: `<name>.wav`.
    pub name: &'static str,
}

impl fmt::Display for Prompt {
    /// `en/goodbye`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.language, self.name)
    }
}
