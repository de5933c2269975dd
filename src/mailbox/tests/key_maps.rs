//! Key maps: the ones that we bring along, and what is wrong with others.

use postern_mailbox::{Digit, EntryCommand, KeyMap, MainCommand, Match, MessageCommand};

const OVA: &str = include_str!("../../../config/tui/ova.toml");

fn keys(text: &str) -> Vec<Digit> {
    text.chars().map(|key| Digit::new(key).unwrap()).collect()
}

#[test]
fn every_preset_is_a_key_map() {
    for name in KeyMap::PRESETS {
        let text = std::fs::read_to_string(format!("{}/../../config/tui/{name}.toml", env!("CARGO_MANIFEST_DIR")));
        assert_eq!(KeyMap::parse(&text.unwrap()).as_ref(), Ok(&KeyMap::preset(name).unwrap()), "{name}");
    }
    assert_eq!(KeyMap::preset("none"), None);
}

#[test]
fn a_longer_command_waits_for_its_second_key() {
    let map = KeyMap::ova();
    assert_eq!(map.message.find(&keys("#")), Match::CommandUnlessMore(MessageCommand::Next));
    assert_eq!(map.message.find(&keys("##")), Match::Command(MessageCommand::Next));
    assert_eq!(map.message.find(&keys("1")), Match::More);
    assert_eq!(map.message.find(&keys("11")), Match::Command(MessageCommand::Previous));
    assert_eq!(map.message.find(&keys("12")), Match::Nothing);
    assert_eq!(map.main.find(&keys("1")), Match::Command(MainCommand::HearNew));
    assert_eq!(map.entry.find(&keys("5")), Match::Nothing);
    assert_eq!(map.entry.keys(EntryCommand::Finish), Some(&keys("#")[..]));
}

#[test]
fn what_is_wrong_with_a_key_map_is_told_with_its_line() {
    let line_of = |menu: &str| 1 + OVA.lines().position(|line| line.starts_with(menu)).unwrap();
    let main_line = line_of("[main]");
    let replaced = |from: &str, to: &str| {
        assert!(OVA.contains(from));
        OVA.replacen(from, to, 1)
    };
    for (text, line, what) in [
        (replaced("[main]", "[mian]"), main_line, "no menu is called \"mian\""),
        (replaced("hear_saved = \"8\"", "hear_old = \"8\""), main_line + 2, "main has no command \"hear_old\""),
        (replaced("hear_saved = \"8\"", "hear_saved = \"8a\""), main_line + 2, "\"8a\" is not 1 to 3 keys"),
        (replaced("hear_saved = \"8\"", "hear_saved = \"8888\""), main_line + 2, "\"8888\" is not 1 to 3 keys"),
        (replaced("hear_saved = \"8\"", "hear_saved = \"\""), main_line + 2, "\"\" is not 1 to 3 keys"),
        (replaced("hear_saved = \"8\"", "hear_saved = 8"), main_line + 2, ""),
        (replaced("hear_saved = \"8\"", "hear_saved = "), main_line + 2, ""),
        (replaced("hear_saved = \"8\"", "hear_saved = \"6\""), main_line + 3, "\"6\" has two meanings in main"),
        (replaced("hear_new = \"1\"\n", ""), main_line, "main needs keys for hear_new"),
        (format!("stray = 1\n{OVA}"), 1, "no menu is called \"stray\""),
        (replaced("clear = \"*\"", "clear = \"5\""), line_of("[entry]"), "an entry is finished or cleared"),
        (replaced("finish = \"#\"", "finish = \"##\""), line_of("[recording]"), "one key ends a recording"),
        (String::new(), 1, "recording needs keys for finish"),
        (format!("{OVA}# {}", "x".repeat(20_000)), 1, "at most"),
    ] {
        let error = KeyMap::parse(&text).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.what.starts_with(what) || error.what.contains(what), "{error}");
        assert!(!error.what.is_empty());
    }
}
