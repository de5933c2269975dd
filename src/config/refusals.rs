//! Each rule that refuses a file, with the line that it names.

use crate::testing::{BASE, TOKENS, accepted, load_text, printed, refuses, warns, with};

#[test]
fn the_base_of_these_tests_is_accepted_without_a_warning() {
    let loaded = load_text(BASE).unwrap_or_else(|errors| panic!("{}", printed(&errors)));
    assert_eq!(printed(&loaded.warnings), "");
    let loaded = load_text(&format!("{BASE}{TOKENS}")).unwrap_or_else(|errors| panic!("{}", printed(&errors)));
    assert_eq!(printed(&loaded.warnings), "");
}

#[test]
fn every_error_is_told_at_once_in_line_order() {
    let text = r#"[edge]
realm = ""
udp = ["203.0.113.10", "203.0.113.10:3478"]
tls = ["203.0.113.10:443"]
shards = "two"
sharps = 2

[edge.relay]
addresses = ["0.0.0.0"]
ports = "50000-40000"

[edge.auth]
secrets = [{ id = "a", value = "short" }, { id = "b c", value = "sixteen-bytes-at-the-least" }]

[telemetri]
"#;
    let errors = load_text(text).expect_err("ten faults");
    let places: Vec<String> = errors.iter().map(|error| format!("{} {}", error.line, error.key)).collect();
    let expected = [
        "2 edge.realm",
        "3 edge.udp[0]",
        "4 edge.tls",
        "5 edge.shards",
        "6 edge.sharps",
        "9 edge.relay.addresses[0]",
        "10 edge.relay.ports",
        "13 edge.auth.secrets[0].value",
        "13 edge.auth.secrets[1].id",
        "15 telemetri",
    ];
    assert_eq!(places, expected, "{}", printed(&errors));
    assert!(errors.iter().all(|error| !error.what.is_empty() && !error.remedy.is_empty()));
}

#[test]
fn a_finding_is_printed_as_file_line_key_what_and_remedy() {
    let errors = load_text(&with("dtls = []", "shards = 1000")).expect_err("too many");
    assert_eq!(printed(&errors), "edge.toml:6: edge.shards: 1000 is out of bounds; choose 0 to 256\n");
}

#[test]
fn broken_syntax_is_told_with_its_line() {
    refuses(&with("dtls = []", "dtls = ["), "7", "is not TOML: unexpected `=` in array");
    refuses(&with("dtls = []", "dtls"), "6", "is not TOML");
}

#[test]
fn faults_before_broken_syntax_are_told_with_it() {
    let errors = load_text(&with("dtls = []", "dtls = [").replace("\"example.test\"", "12")).expect_err("two faults");
    let places: Vec<String> = errors.iter().map(|error| format!("{} {}", error.line, error.key)).collect();
    assert_eq!(places, ["2 edge.realm", "7 "], "{}", printed(&errors));
}

#[test]
fn an_empty_file_configures_no_role() {
    refuses("", "1", "configures no role; add [edge], [router], or [um] with [worker]");
}

#[test]
fn an_empty_edge_lacks_realm_relay_addresses_secrets_and_a_listener() {
    let errors = load_text("[edge]\n").expect_err("nothing is there");
    let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(keys, ["edge.realm", "edge.relay.addresses", "edge.auth.secrets", "edge.udp"]);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    refuses(&with("allow_peers", "allow_peer"), "13: edge.relay.allow_peer", "did you mean allow_peers?");
    refuses(&format!("{BASE}colour = 1\n"), "20: telemetry.colour", "known here: listen, log, log_format");
}

#[test]
fn a_key_written_twice_is_refused() {
    refuses(&with("dtls = []", "realm = \"b\""), "6", "is not TOML: duplicate key");
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    refuses(&with("\"example.test\"", "12"), "2: edge.realm", "is of type integer");
    refuses(&with("dtls = []", "mobility = \"yes\""), "6: edge.mobility", "true or false");
    refuses(&with("dtls = []", "dtls = \"\""), "6: edge.dtls", "a list");
    refuses(&with("[telemetry]", "[[telemetry]]"), "19: telemetry", "write a table");
}

#[test]
fn a_realm_longer_than_the_rfc_allows_is_refused() {
    refuses(&with("example.test", &"x".repeat(128)), "2: edge.realm", "128 characters");
    accepted(&with("example.test", &"x".repeat(127)));
    refuses(&with("\"example.test\"", "'a\"b'"), "2: edge.realm", "quote");
}

#[test]
fn no_listener_at_all_is_refused() {
    let text = with("udp = [\"203.0.113.10:3478\", \"[2001:db8::10]:3478\"]", "udp = []");
    let text = text.replace("tcp = [\"203.0.113.10:3478\"]", "").replace("tls = [\"203.0.113.10:443\"]", "");
    refuses(&text, "3: edge.udp", "no listener");
}

#[test]
fn a_listener_without_port_or_with_port_0_is_refused() {
    refuses(&with("\"203.0.113.10:3478\", ", "\"203.0.113.10\", "), "3: edge.udp[0]", "is not an address with port");
    refuses(&with("203.0.113.10:443", "203.0.113.10:0"), "5: edge.tls[0]", "port 0");
}

#[test]
fn an_ipv4_mapped_listener_is_refused_with_the_plain_form() {
    refuses(&with("[2001:db8::10]:3478", "[::ffff:203.0.113.9]:3478"), "3: edge.udp[1]", "write 203.0.113.9");
}

#[test]
fn a_multicast_listener_is_refused() {
    refuses(&with("203.0.113.10:443", "224.0.0.1:443"), "5: edge.tls[0]", "no unicast address");
}

#[test]
fn two_listeners_on_one_socket_are_refused() {
    refuses(&with("203.0.113.10:443", "203.0.113.10:3478"), "5: edge.tls[0]", "taken by edge.tcp[0] (line 4)");
    refuses(&with("203.0.113.10:443", "0.0.0.0:3478"), "5: edge.tls[0]", "taken by edge.tcp[0]");
    refuses(&format!("{BASE}listen = \"203.0.113.10:443\"\n"), "20: telemetry.listen", "taken by edge.tls[0]");
    let tokens = TOKENS.replace("10.20.0.10:8443", "203.0.113.10:443");
    refuses(&format!("{BASE}{tokens}"), "21: edge.tokens.listen", "taken by edge.tls[0]");
}

#[test]
fn a_tls_listener_without_certificate_is_refused() {
    let text = with("certificate = \"edge.pem\"\n", "").replace("private_key = \"edge.key\"\n", "");
    refuses(&text, "5: edge.tls", "needs a certificate");
}

#[test]
fn a_certificate_without_key_is_refused() {
    refuses(&with("private_key = \"edge.key\"", ""), "7: edge.certificate", "stands without private_key");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    refuses(&with("edge.key", "other.key"), "8: edge.private_key", "does not belong to the certificate");
}

#[test]
fn an_unreadable_certificate_or_key_is_refused() {
    refuses(&with("edge.pem", "absent.pem"), "7: edge.certificate", "/nonexistent/absent.pem does not exist");
    refuses(&with("edge.key", "absent.key"), "8: edge.private_key", "does not exist");
    refuses(&with("edge.pem", "junk.pem"), "7: edge.certificate", "holds no certificate");
    refuses(&with("edge.key", "junk.pem"), "8: edge.private_key", "holds no private key");
}

#[test]
fn a_wildcard_relay_address_is_refused() {
    refuses(&with("[\"203.0.113.10\", \"2001", "[\"0.0.0.0\", \"2001"), "11: edge.relay.addresses[0]", "is a wildcard");
    refuses(&with("\"2001:db8::10\"]\np", "\"::\"]\np"), "11: edge.relay.addresses[1]", "is a wildcard");
}

#[test]
fn no_relay_address_and_a_repeated_one_are_refused() {
    refuses(&with("[\"203.0.113.10\", \"2001:db8::10\"]", "[]"), "11: edge.relay.addresses", "is empty");
    let twice = with("\"203.0.113.10\", \"2001:db8::10\"]\n", "\"203.0.113.10\", \"203.0.113.10\"]\n");
    refuses(&twice, "11: edge.relay.addresses[1]", "is there twice");
}

#[test]
fn a_port_range_over_a_listener_is_refused() {
    let text = with("203.0.113.10:443", "203.0.113.10:50443");
    refuses(&text, "12: edge.relay.ports", "holds the port of edge.tls[0] (203.0.113.10:50443, line 5)");
    refuses(&with("203.0.113.10:443", "0.0.0.0:50443"), "12: edge.relay.ports", "edge.tls[0]");
    accepted(&with("203.0.113.10:443", "127.0.0.1:50443"));
}

#[test]
fn a_port_range_must_be_two_ordered_unprivileged_ports() {
    for (range, what) in [
        ("50000", "no range"),
        ("50000-", "no range"),
        ("50000-70000", "no range"),
        ("+50000-59999", "no range"),
        ("59999-50000", "ends before it starts"),
        ("1023-2000", "privileged"),
        ("50000-50000", "single port"),
    ] {
        refuses(&with("50000-59999", range), "12: edge.relay.ports", what);
    }
}

#[test]
fn loopback_as_allowed_peer_is_refused() {
    for network in ["127.0.0.0/8", "127.0.0.1", "127.1.0.0/16", "::1", "::1/128"] {
        refuses(&with("10.20.0.0/24", network), "13: edge.relay.allow_peers[0]", "is loopback");
    }
}

#[test]
fn an_allowed_network_of_own_addresses_alone_is_refused() {
    for network in ["10.20.0.10", "10.20.0.10/32", "203.0.113.10", "2001:db8::10"] {
        refuses(&with("10.20.0.0/24", network), "13: edge.relay.allow_peers[0]", "nothing but addresses of this edge");
    }
    accepted(&with("10.20.0.0/24", "10.20.0.10/31"));
}

#[test]
fn an_advertised_address_counts_as_own() {
    let text = with("dtls = []", "advertise = { \"203.0.113.10\" = \"198.51.100.7\" }");
    refuses(&text.replace("10.20.0.0/24", "198.51.100.7"), "13: edge.relay.allow_peers[0]", "nothing but addresses");
}

#[test]
fn loopback_peers_are_accepted_where_every_listener_is_on_loopback() {
    let text =
        BASE.replace("203.0.113.10", "127.0.0.1").replace("2001:db8::10", "::1").replace("10.20.0.0/24", "127.0.0.0/8");
    assert_eq!(accepted(&text).edge.relay.allow_peers.len(), 1);
}

#[test]
fn an_allowed_network_that_only_wraps_ipv4_is_refused() {
    for network in ["::ffff:10.20.0.0/120", "64:ff9b::a14:0/120", "2002:a14::/32", "2001::/32", "64:ff9b:1::/64"] {
        refuses(&with("10.20.0.0/24", network), "13: edge.relay.allow_peers[0]", "write the IPv4 network");
    }
}

#[test]
fn an_allowed_network_without_unicast_peers_is_refused() {
    for network in ["224.0.0.0/4", "239.1.2.3", "255.255.255.255", "169.254.169.254", "ff02::1", "::"] {
        refuses(&with("10.20.0.0/24", network), "13: edge.relay.allow_peers[0]", "can never be allowed");
    }
}

#[test]
fn what_is_no_network_is_refused() {
    refuses(&with("10.20.0.0/24", "workers"), "13: edge.relay.allow_peers[0]", "is no network");
    refuses(
        &with("deny_peers = []", "deny_peers = [\"10.0.0.0/33\"]"),
        "14: edge.relay.deny_peers[0]",
        "is no network",
    );
}

#[test]
fn a_secret_of_fifteen_bytes_is_refused() {
    let text = with("sixteen-bytes-at-the-least", "fifteen-bytes-!");
    refuses(&text, "17: edge.auth.secrets[0].value", "is a secret of 15 bytes");
    let text = with("value = \"sixteen-bytes-at-the-least\"", "file = \"short.secret\"");
    refuses(&text, "17: edge.auth.secrets[0].file", "is a secret of 15 bytes");
    accepted(&with("sixteen-bytes-at-the-least", "sixteen-bytes-!!"));
}

#[test]
fn a_refused_secret_is_not_printed() {
    let errors = load_text(&with("sixteen-bytes-at-the-least", "hush-hush")).expect_err("too short");
    assert!(!printed(&errors).contains("hush"));
}

#[test]
fn a_secret_needs_exactly_one_of_value_and_file() {
    refuses(
        &with(", value = \"sixteen-bytes-at-the-least\"", ""),
        "17: edge.auth.secrets[0]",
        "neither value nor file",
    );
    let text = with("id = \"2026a\"", "id = \"2026a\", file = \"turn.secret\"");
    refuses(&text, "17: edge.auth.secrets[0]", "both value and file");
}

#[test]
fn no_secret_and_nine_secrets_are_refused() {
    let one = "{ id = \"2026a\", value = \"sixteen-bytes-at-the-least\" }";
    refuses(&with(one, ""), "17: edge.auth.secrets", "there is no anonymous mode");
    let of = |count: usize| -> String {
        (0..count).map(|n| format!("{{ id = \"k{n}\", value = \"sixteen-bytes-at-the-least-{n}\" }},")).collect()
    };
    refuses(&with(one, &of(9)), "17: edge.auth.secrets", "has 9 entries");
    assert_eq!(accepted(&with(one, &of(8))).edge.auth.secrets.len(), 8);
}

#[test]
fn key_ids_are_unique_and_of_a_safe_charset() {
    let two = with("secrets = [", "secrets = [\n{ id = \"2026a\", value = \"another-value-of-some-length\" },\n");
    refuses(&two, "19: edge.auth.secrets[1].id", "the id 2026a is there twice");
    for id in ["", "a.b", "a b", "ä", &"x".repeat(33)] {
        refuses(&with("2026a", id), "17: edge.auth.secrets[0].id", "is no key id");
    }
}

#[test]
fn numbers_out_of_bounds_are_refused() {
    for line in [
        "token_lifetime_max_secs = 0",
        "allocation_lifetime_max_secs = 86401",
        "allocations_per_identity = -1",
        "allocations_max = 0",
        "allocations_max = 99999999999999999999",
    ] {
        let key = line.split_once(' ').expect("a key").0;
        refuses(
            &with("\n[telemetry]", &format!("{line}\n[telemetry]")),
            &format!("18: edge.auth.{key}"),
            "out of bounds",
        );
    }
}

#[test]
fn numbers_may_be_written_with_underscores_and_in_hexadecimal() {
    let text = format!("{BASE}[edge.sockets]\nlistener_bytes = 0x20_0000\nrelay_bytes = 131_072\n");
    let sockets = accepted(&text).edge.sockets;
    assert_eq!((sockets.listener_bytes, sockets.relay_bytes), (2 << 20, 128 << 10));
}

#[test]
fn a_dtls_listener_beside_udp_on_one_port_is_refused() {
    refuses(&with("dtls = []", "dtls = [\"203.0.113.10:3478\"]"), "6: edge.dtls[0]", "taken by edge.udp[0]");
}

#[test]
fn advertise_maps_one_to_one_within_a_family() {
    let mapped = |map: &str| with("dtls = []", &format!("advertise = {map}"));
    refuses(&mapped("{ \"203.0.113.10\" = \"2001:db8::7\" }"), "6: edge.advertise.203.0.113.10", "different families");
    refuses(&mapped("{ \"edge\" = \"198.51.100.7\" }"), "6: edge.advertise.edge", "no address");
    refuses(&mapped("{ \"203.0.113.10\" = \"0.0.0.0\" }"), "6: edge.advertise.203.0.113.10", "wildcard");
    let twice = "{ \"203.0.113.10\" = \"198.51.100.7\", \"203.0.113.11\" = \"198.51.100.7\" }";
    let errors = load_text(&mapped(twice)).expect_err("not one to one");
    assert!(printed(&errors).contains("stands for two local addresses"));
    warns(
        &mapped("{ \"10.9.9.9\" = \"198.51.100.7\" }"),
        "6: edge.advertise.10.9.9.9",
        "neither a listener's nor a relay",
    );
}
