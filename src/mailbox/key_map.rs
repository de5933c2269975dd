//! Which keys mean what: data, one file per habit.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use crate::command::{
    Command, EntryCommand, GreetingCommand, MainCommand, MessageCommand, OptionsCommand, RecordingCommand,
    ReviewCommand,
};
use crate::io::Digit;
use crate::limits::{KEY_MAP_BYTES_MAX, KEYS_MAX};

const OVA: &str = include_str!("../../config/tui/ova.toml");
const ASTERISK: &str = include_str!("../../config/tui/asterisk.toml");
const CISCO: &str = include_str!("../../config/tui/cisco.toml");

/// The keys of every menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMap {
    pub greeting: Menu<GreetingCommand>,
    pub recording: Menu<RecordingCommand>,
    pub review: Menu<ReviewCommand>,
    pub entry: Menu<EntryCommand>,
    pub main: Menu<MainCommand>,
    pub message: Menu<MessageCommand>,
    pub options: Menu<OptionsCommand>,
}

/// The keys of one menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Menu<C> {
    bindings: Vec<(Vec<Digit>, C)>,
}

/// What the keys pressed so far mean in a menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match<C> {
    Command(C),
    /// A command, unless another key follows that makes it a longer one.
    CommandUnlessMore(C),
    /// The beginning of a command.
    More,
    Nothing,
}

/// What is wrong with a key map; the operator's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct KeyMapError {
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

impl KeyMap {
    /// The names of the maps that we bring along.
    pub const PRESETS: [&str; 3] = ["ova", "asterisk", "cisco"];

    /// A map that we bring along.
    pub fn preset(name: &str) -> Option<Self> {
        let text = match name {
            "ova" => return Some(Self::ova()),
            "asterisk" => ASTERISK,
            "cisco" => CISCO,
            _ => return None,
        };
        Self::parse(text).ok()
    }

    /// The map that is used when none is named.
    pub fn ova() -> Self {
        static MAP: LazyLock<KeyMap> = LazyLock::new(|| KeyMap::parse(OVA).expect("a test parses it"));
        MAP.clone()
    }

    /// Reads a map: a TOML table per menu, in it a command's keys (`"7"`, `"##"`) or a list of them.
    ///
    /// # Errors
    /// The first thing wrong with it, with its line: not TOML, an unknown menu or command, keys that are none, too
    /// many or taken, a needed command without keys.
    pub fn parse(text: &str) -> Result<Self, KeyMapError> {
        if text.len() > KEY_MAP_BYTES_MAX {
            return Err(KeyMapError { line: 1, what: format!("a key map has at most {KEY_MAP_BYTES_MAX} bytes") });
        }
        let file = File::read(text)?;
        let map = Self {
            greeting: file.menu()?,
            recording: file.menu()?,
            review: file.menu()?,
            entry: file.menu()?,
            main: file.menu()?,
            message: file.menu()?,
            options: file.menu()?,
        };
        if map.entry.bindings.iter().any(|(keys, _)| *keys != [Digit::STAR] && *keys != [Digit::POUND]) {
            return Err(file.error_at_menu(EntryCommand::MENU, "an entry is finished or cleared by \"*\" or \"#\""));
        }
        if map.recording.bindings.iter().any(|(keys, _)| keys.len() != 1) {
            return Err(file.error_at_menu(RecordingCommand::MENU, "one key ends a recording"));
        }
        Ok(map)
    }
}

impl<C: Command> Menu<C> {
    /// What `pressed` means.
    pub fn find(&self, pressed: &[Digit]) -> Match<C> {
        let exact = self.bindings.iter().find(|(keys, _)| keys == pressed).map(|&(_, command)| command);
        let longer = self.bindings.iter().any(|(keys, _)| keys.len() > pressed.len() && keys.starts_with(pressed));
        match (exact, longer) {
            (Some(command), false) => Match::Command(command),
            (Some(command), true) => Match::CommandUnlessMore(command),
            (None, true) => Match::More,
            (None, false) => Match::Nothing,
        }
    }

    /// The first keys of `command`, or none.
    pub fn keys(&self, command: C) -> Option<&[Digit]> {
        self.bindings.iter().find(|(_, bound)| *bound == command).map(|(keys, _)| &keys[..])
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Keys {
    One(String),
    Several(Vec<String>),
}

type Commands = BTreeMap<Spanned<String>, Spanned<Keys>>;

/// A key map's text and its tables by menu.
struct File<'a> {
    text: &'a str,
    menus: BTreeMap<Spanned<String>, Commands>,
}

impl<'a> File<'a> {
    fn read(text: &'a str) -> Result<Self, KeyMapError> {
        let error = |fault: toml::de::Error| KeyMapError {
            line: line(text, fault.span().map_or(0, |span| span.start)),
            what: fault.message().to_owned(),
        };
        // The names of the menus first: a stray key is then told by its name, not as a type that does not fit.
        let names: BTreeMap<Spanned<String>, IgnoredAny> = toml::from_str(text).map_err(error)?;
        let known = [
            GreetingCommand::MENU,
            RecordingCommand::MENU,
            ReviewCommand::MENU,
            EntryCommand::MENU,
            MainCommand::MENU,
            MessageCommand::MENU,
            OptionsCommand::MENU,
        ];
        if let Some(name) = names.keys().find(|name| !known.contains(&name.get_ref().as_str())) {
            let what = format!("no menu is called {:?}; there are {}", name.get_ref(), known.join(", "));
            return Err(KeyMapError { line: line(text, name.span().start), what });
        }
        Ok(Self { text, menus: toml::from_str(text).map_err(error)? })
    }

    fn menu<C: Command>(&self) -> Result<Menu<C>, KeyMapError> {
        let mut bindings: Vec<(Vec<Digit>, C)> = Vec::new();
        let commands = self.menus.iter().find(|(name, _)| name.get_ref() == C::MENU).map(|(_, commands)| commands);
        for (name, keys) in commands.into_iter().flatten() {
            let error = |what: String| KeyMapError { line: line(self.text, name.span().start), what };
            let Some(&(_, command)) = C::ALL.iter().find(|(known, _)| known == name.get_ref()) else {
                let known: Vec<_> = C::ALL.iter().map(|(name, _)| *name).collect();
                let what = format!("{} has no command {:?}; it has {}", C::MENU, name.get_ref(), known.join(", "));
                return Err(error(what));
            };
            let written = match keys.get_ref() {
                Keys::One(keys) => std::slice::from_ref(keys),
                Keys::Several(several) => several,
            };
            for keys in written {
                let digits: Option<Vec<Digit>> = keys.chars().map(Digit::new).collect();
                let Some(digits) = digits.filter(|digits| (1..=KEYS_MAX).contains(&digits.len())) else {
                    return Err(error(format!("{keys:?} is not 1 to {KEYS_MAX} keys of 0-9, * and #")));
                };
                if bindings.iter().any(|(taken, _)| *taken == digits) {
                    return Err(error(format!("{keys:?} has two meanings in {}", C::MENU)));
                }
                bindings.push((digits, command));
            }
        }
        let menu = Menu { bindings };
        match C::ALL.iter().find(|(_, command)| C::NEEDED.contains(command) && menu.keys(*command).is_none()) {
            Some((name, _)) => Err(self.error_at_menu(C::MENU, &format!("{} needs keys for {name}", C::MENU))),
            None => Ok(menu),
        }
    }

    /// An error at a menu's table, or at the end when the file has none.
    fn error_at_menu(&self, menu: &str, what: &str) -> KeyMapError {
        let at =
            self.menus.keys().find(|name| name.get_ref() == menu).map_or(self.text.len(), |name| name.span().start);
        KeyMapError { line: line(self.text, at), what: what.to_owned() }
    }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}
