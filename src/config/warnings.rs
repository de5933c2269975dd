//! What is accepted, but told: each warning with the line that it names.

use crate::decode::decode;
use crate::files::Files;
use crate::reader::{Notes, Table};
use crate::rules::{self, Surroundings};
use crate::testing::{BASE, TOKENS, call_with, load_text, machine, printed, source, warns, with};

#[test]
fn a_turns_host_that_is_not_in_the_certificate_is_warned_of() {
    let internet = |uri: &str| format!("{BASE}{TOKENS}internet = [\"turn:other.example.test\", \"{uri}\"]\n");
    warns(&internet("turns:other.example.test:443"), "26: edge.tokens.internet[1]", "other.example.test is not in");
    warns(&internet("turns:203.0.113.11:443"), "26: edge.tokens.internet[1]", "203.0.113.11 is not in");
    warns(&internet("turns:a.b.relay.example.test"), "26: edge.tokens.internet[1]", "is not in");
    for named in ["edge.example.test", "EDGE.example.test", "a.relay.example.test", "203.0.113.10"] {
        let loaded = load_text(&internet(&format!("turns:{named}:443?transport=tcp"))).expect("well");
        assert_eq!(printed(&loaded.warnings), "");
    }
}

#[test]
fn addresses_of_no_interface_are_warned_of() {
    warns(
        &with("203.0.113.10:443", "203.0.113.12:443"),
        "5: edge.tls[0]",
        "203.0.113.12 is no address of this machine",
    );
    let relay = with("[\"203.0.113.10\", \"2001", "[\"203.0.113.12\", \"2001");
    warns(&relay, "11: edge.relay.addresses[0]", "no address of this machine; add it to an interface");
    assert!(printed(&load_text(&relay).expect("well").warnings).contains("edge.advertise"));
    let router = call_with("udp = [\"10.20.0.21:5060\"]", "udp = [\"10.20.0.99:5060\"]");
    warns(&router, "5: router.udp[0]", "10.20.0.99 is no address of this machine");
    assert!(!printed(&load_text(&router).expect("well").warnings).contains("edge.advertise"), "it has no such key");
}

#[test]
fn a_network_with_host_bits_is_taken_as_its_network() {
    warns(&with("10.20.0.0/24", "10.20.0.1/24"), "13: edge.relay.allow_peers[0]", "10.20.0.0/24 is meant");
}

#[test]
fn an_allowed_network_within_a_denied_one_is_warned_of() {
    let text = with("deny_peers = []", "deny_peers = [\"10.0.0.0/8\"]");
    warns(&text, "13: edge.relay.allow_peers[0]", "deny_peers holds 10.0.0.0/8");
}

#[test]
fn opening_everything_is_warned_of() {
    warns(&with("10.20.0.0/24", "0.0.0.0/0"), "13: edge.relay.allow_peers[0]", "opens every private network");
}

#[test]
fn a_loopback_relay_behind_outward_listeners_is_warned_of() {
    let text = with("[\"203.0.113.10\", \"2001", "[\"127.0.0.1\", \"2001");
    warns(&text, "11: edge.relay.addresses[0]", "is loopback");
}

#[test]
fn the_secret_of_the_documentation_is_warned_of() {
    let text = with("sixteen-bytes-at-the-least", "at-least-sixteen-bytes");
    warns(&text, "17: edge.auth.secrets[0].value", "known to everybody");
}

#[test]
fn one_value_under_two_key_ids_is_warned_of() {
    let text = with("secrets = [", "secrets = [{ id = \"old\", value = \"sixteen-bytes-at-the-least\" }, ");
    warns(&text, "17: edge.auth.secrets[1]", "the value of a secret before it");
}

#[test]
fn quotas_that_contradict_each_other_are_warned_of() {
    let text = with("\n[telemetry]", "allocations_max = 10\n[telemetry]");
    warns(&text, "16: edge.auth.allocations_per_identity", "above allocations_max");
    let text = with("\n[telemetry]", "allocation_lifetime_max_secs = 60\n[telemetry]");
    warns(&text, "18: edge.auth.allocation_lifetime_max_secs", "600 s");
}

#[test]
fn metrics_on_an_outward_address_are_warned_of() {
    warns(&format!("{BASE}listen = \"203.0.113.10:9641\"\n"), "20: telemetry.listen", "may be reached from outside");
}

#[test]
fn a_certificate_is_warned_of_before_and_after_its_time() {
    // The certificates of these tests begin in 1975 and end in 4096.
    const DAY: i64 = 86_400;
    let not_after = crate::testing::accepted(BASE).edge.certificate.expect("there").material.not_after_unix_secs;
    for (now_unix_secs, what) in [
        (not_after + 3 * DAY, "edge.pem expired 3 days ago"),
        (not_after - 13 * DAY, "edge.pem expires in 13 days"),
        (0, "edge.pem is not valid for another 1826 days"),
    ] {
        let (source, own_addresses) = (source(BASE), machine());
        let notes = Notes::new(&source.name, &source.text);
        let document = toml::de::DeTable::parse(&source.text).expect("TOML");
        let mut draft = decode(Table::root(document.get_ref(), &notes), &notes, &Files::new(&source, &notes));
        rules::apply(
            &mut draft,
            &Surroundings { own_addresses: &own_addresses, now_unix_secs, ..Surroundings::unknown() },
            &notes,
        );
        let warnings = notes.verdict().expect("no error");
        assert!(warnings.len() == 1 && warnings[0].line == 7, "{}", printed(&warnings));
        assert!(warnings[0].what.contains(what), "{}", printed(&warnings));
    }
}

#[cfg(unix)]
#[test]
fn secrets_and_keys_that_everybody_can_read_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let directory = crate::testing::Scratch::new();
    let (certificate, key) = crate::testing::pem_pair(&crate::testing::key());
    let text = with("value = \"sixteen-bytes-at-the-least\"", "file = \"turn.secret\"");
    let files = [
        ("edge.toml", text.as_str()),
        ("edge.pem", &certificate),
        ("edge.key", &key),
        ("turn.secret", "a-secret-in-a-file-of-its-own\n"),
    ];
    for (name, contents) in files {
        directory.write(name, contents);
    }
    let warned = |mode: u32| {
        for name in ["edge.key", "turn.secret"] {
            std::fs::set_permissions(directory.path(name), std::fs::Permissions::from_mode(mode)).expect("own files");
        }
        let loaded =
            crate::load(&directory.path("edge.toml"), &machine()).unwrap_or_else(|e| panic!("{}", printed(&e)));
        loaded.warnings.iter().map(|finding| (finding.line, finding.key.clone())).collect::<Vec<_>>()
    };
    assert_eq!(warned(0o640), []);
    assert_eq!(warned(0o644), [(8, "edge.private_key".into()), (17, "edge.auth.secrets[0].file".into())]);
}

#[test]
fn every_file_beside_the_configuration_is_watched_as_it_was_before_it_was_read() {
    let directory = crate::testing::Scratch::new();
    let (certificate, key) = crate::testing::pem_pair(&crate::testing::key());
    directory.write("edge.toml", &with("value = \"sixteen-bytes-at-the-least\"", "file = \"turn.secret\""));
    let files =
        [("edge.key", key.as_str()), ("edge.pem", &certificate), ("turn.secret", "a-secret-in-a-file-of-its-own")];
    for (name, contents) in files {
        directory.write(name, contents);
    }
    let config =
        crate::load(&directory.path("edge.toml"), &machine()).unwrap_or_else(|e| panic!("{}", printed(&e))).config;
    assert_eq!(config.files, ["edge.key", "edge.pem", "turn.secret"].map(|name| directory.path(name)));
    assert_eq!(config.fingerprint, crate::Fingerprint::of(&config.files));
    directory.write("turn.secret", "another-secret-in-the-same-file");
    assert_eq!(config.fingerprint.changed(&config.fingerprint.refreshed()), [directory.path("turn.secret")]);
}
