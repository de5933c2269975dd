//! `config/postern.toml`, the commented file that operators start from, agrees with the code.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use crate::reader::Notes;
use crate::rules::Surroundings;
use crate::testing::{machine, printed, source};
use crate::{Config, load_source, read};

const SAMPLE: &str = include_str!("../../config/postern.toml");

/// Keys whose commented value is an example: leaving them out means something else.
const EXAMPLES: &[&str] = &[
    "edge.tcp",
    "edge.tls",
    "edge.tokens.internet",
    "edge.tokens.intranet",
    "router.startup_mode",
    "router.um_services",
    "um.startup_mode",
    "um.routers",
    "worker.startup_mode",
    "dial_plan.pilots",
    "web.url",
    "web.admin_token_file",
    "mail.ca",
];

/// Tables that are off unless written, with keys that they cannot do without.
const OFF_UNLESS_WRITTEN: &[&str] =
    &["edge.tokens.", "edge.nat_discovery.", "worker.edge.", "gateway.", "hunt_group.", "web.", "mail."];

/// Certificates and keys that the sample names.
const PAIRS: &[&str] = &["edge", "edge-internal", "router", "um", "worker", "web"];

/// The sample with every key live.
fn uncommented() -> String {
    let live = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest.to_string(),
        _ => line.to_string(),
    };
    SAMPLE.lines().map(|line| live(line) + "\n").collect()
}

fn load(text: &str) -> Result<Config, Vec<crate::Finding>> {
    // One certificate for all, so that configurations compare.
    static PAIR: OnceLock<(String, String)> = OnceLock::new();
    let names = [
        "edge.example.test",
        "router.example.test",
        "um.example.test",
        "worker.example.test",
        "voicemail.example.test",
    ];
    let (certificate, key) = PAIR.get_or_init(|| crate::testing::pem_pair_for(&crate::testing::key(), &names));
    let mut source = source(text).with_file("ca.pem", certificate.as_str());
    for name in ["gateway.password", "mail.password", "admin.token"] {
        source = source.with_file(name, "a-secret-of-the-example\n");
    }
    for name in PAIRS {
        source = source.with_file(&format!("{name}.pem"), certificate.as_str());
        source = source.with_file(&format!("{name}.key"), key.as_str());
    }
    Ok(load_source(&source, &machine())?.config)
}

/// `(dotted key, line number from 0)` of each key line of `text`.
fn keys(text: &str) -> Vec<(String, usize)> {
    let mut table = "";
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_matches(['[', ']']);
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            keys.push((format!("{table}.{key}"), number));
        }
    }
    keys
}

#[test]
fn the_sample_loads_as_it_is_and_with_every_key_live() {
    for text in [SAMPLE.to_string(), uncommented()] {
        load(&text).unwrap_or_else(|errors| panic!("{}", printed(&errors)));
    }
}

#[test]
fn the_sample_holds_every_key_that_the_code_knows_and_no_other() {
    let text = uncommented();
    let source = source(&text);
    let notes = Notes::new(&source.name, &source.text);
    read(&source, &Surroundings::unknown(), &notes);
    // Keys of the inline tables within lists are written in comments.
    let known: BTreeSet<String> = notes.asked().into_iter().filter(|key| !key.contains('[')).collect();
    let written: BTreeSet<String> = keys(&text).into_iter().map(|(key, _)| key).collect();
    assert_eq!(written, known);
}

#[test]
fn the_reload_table_judges_every_key_of_the_sample() {
    let judged: BTreeSet<String> = crate::diff::keys().map(String::from).collect();
    let written: BTreeSet<String> = keys(&uncommented()).into_iter().map(|(key, _)| key).collect();
    assert_eq!(judged, written);
}

#[test]
fn the_values_behind_a_hash_are_the_defaults_of_the_code() {
    let text = uncommented();
    let whole = load(&text).unwrap_or_else(|errors| panic!("{}", printed(&errors)));
    let mut defaults = 0;
    for (key, number) in keys(&text) {
        let without: String =
            text.lines().enumerate().filter(|(at, _)| *at != number).map(|(_, line)| format!("{line}\n")).collect();
        match load(&without) {
            Err(errors) => {
                let live = SAMPLE.lines().nth(number).is_some_and(|line| !line.starts_with('#'));
                let required = live || OFF_UNLESS_WRITTEN.iter().any(|table| key.starts_with(table));
                assert!(required, "{key} stands behind a hash, but cannot be left out: {}", printed(&errors));
            }
            Ok(config) if EXAMPLES.contains(&key.as_str()) => assert_ne!(config, whole, "{key} is no example"),
            Ok(config) => {
                assert_eq!(config, whole, "{key} has another default");
                defaults += 1;
            }
        }
    }
    assert!(defaults >= 20, "only {defaults} defaults were compared");
}
