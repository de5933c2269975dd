//! Rules on the token service, drain, NAT discovery, media, records and telemetry, with the line that each names.

use crate::testing::{BASE, TOKENS, accepted, load_text, printed, refuses, warns, with};

fn tokens(old: &str, new: &str) -> String {
    assert!(TOKENS.contains(old));
    format!("{BASE}{}", TOKENS.replacen(old, new, 1))
}

#[test]
fn a_token_service_lacking_its_keys_is_refused_for_each_of_them() {
    let errors = load_text(&format!("{BASE}[edge.tokens]\n")).expect_err("nothing is there");
    let keys: Vec<(usize, &str)> = errors.iter().map(|error| (error.line, error.key.as_str())).collect();
    let expected = ["listen", "certificate", "private_key", "client_ca", "allowed_names"];
    assert_eq!(
        keys,
        expected.map(|key| (20, ["edge.tokens.", key].concat())).each_ref().map(|(l, k)| (*l, k.as_str()))
    );
}

#[test]
fn a_token_service_without_private_key_is_refused_once() {
    refuses(&tokens("private_key = \"edge.key\"\n", ""), "20: edge.tokens.private_key", "is missing");
}

#[test]
fn callers_must_be_named_and_lead_to_an_authority() {
    refuses(&tokens("[\"worker.example.test\"]", "[]"), "25: edge.tokens.allowed_names", "is empty");
    refuses(&tokens("worker.example.test", "*.example.test"), "25: edge.tokens.allowed_names[0]", "is no name");
    refuses(
        &tokens("client_ca = \"edge.pem\"", "client_ca = \"edge.key\""),
        "24: edge.tokens.client_ca",
        "no certificate",
    );
}

#[test]
fn what_is_no_relay_uri_is_refused() {
    for uri in ["stun:edge.example.test", "turn:", "turn:a:0", "turn:a:x", "turn:a?transport=sctp", "turn:[::1", "edge"]
    {
        let text = format!("{BASE}{TOKENS}internet = [\"{uri}\"]\n");
        refuses(&text, "26: edge.tokens.internet[0]", uri);
    }
    refuses(&format!("{BASE}{TOKENS}intranet = []\n"), "26: edge.tokens.intranet", "is empty");
}

#[test]
fn wildcard_listeners_alone_need_written_relays() {
    let wild = BASE
        .replace("203.0.113.10:3478", "0.0.0.0:3478")
        .replace("203.0.113.10:443", "0.0.0.0:443")
        .replace("[2001:db8::10]:3478", "[::]:3478");
    refuses(&format!("{wild}{TOKENS}"), "20: edge.tokens", "no listener has a public or advertised address");
    accepted(&format!("{wild}{TOKENS}internet = [\"turn:edge.example.test\"]\n"));
}

#[test]
fn an_edge_whose_listeners_are_all_private_needs_written_relays() {
    let private = |address: &str| {
        let text = BASE.replace("\"203.0.113.10:", &format!("\"{address}:"));
        text.replace(", \"[2001:db8::10]:3478\"", "").replace("[\"203.0.113.10\", ", &format!("[\"{address}\", "))
    };
    for address in ["10.20.0.10", "127.0.0.1", "169.254.7.7"] {
        let text = format!("{}{TOKENS}", private(address));
        refuses(&text, "20: edge.tokens", "no listener has a public or advertised address");
        accepted(&format!("{text}internet = [\"turn:edge.example.test\"]\n"));
    }
    let advertised = private("10.20.0.10").replace("dtls = []", "advertise = { \"10.20.0.10\" = \"198.51.100.7\" }");
    let tokens = accepted(&format!("{advertised}{TOKENS}")).edge.tokens.expect("on");
    assert!(tokens.internet.iter().all(|relay| relay.host == "198.51.100.7" || relay.host == "edge.example.test"));
}

#[test]
fn a_private_address_among_relays_for_the_internet_is_warned_of() {
    let text = format!("{BASE}{TOKENS}internet = [\"turn:edge.example.test\", \"turn:10.20.0.10\"]\n");
    warns(&text, "26: edge.tokens.internet[1]", "10.20.0.10 is no public address");
}

#[test]
fn an_alternate_serves_what_is_written_else_what_this_edge_serves_on_that_port() {
    use crate::RelayTransport::{Dtls, Tcp, Tls, Udp};
    let transports = |alternate: &str| {
        let drain = accepted(&format!("{BASE}[edge.drain]\nalternate = [{alternate}]\n")).edge.drain;
        drain.alternate[0].transports.clone()
    };
    assert_eq!(transports("{ address = \"203.0.113.20:3478\" }"), [Udp, Tcp]);
    assert_eq!(transports("{ address = \"203.0.113.20:443\" }"), [Tls]);
    assert_eq!(transports("{ address = \"203.0.113.20:5000\" }"), [Udp]);
    let written = "{ address = \"203.0.113.20:443\", transports = [\"tls\", \"dtls\"] }";
    assert_eq!(transports(written), [Tls, Dtls]);
    let wrong = written.replace("dtls", "sctp");
    refuses(
        &format!("{BASE}[edge.drain]\nalternate = [{wrong}]\n"),
        "21: edge.drain.alternate[0].transports[1]",
        "\"sctp\" is no transport",
    );
}

#[test]
fn an_alternate_must_be_another_edge() {
    let drain = |alternate: &str| format!("{BASE}[edge.drain]\nalternate = [{alternate}]\n");
    refuses(&drain("{ address = \"203.0.113.10:443\" }"), "21: edge.drain.alternate[0]", "is edge.tls[0] of this edge");
    refuses(&drain("{ domain = \"edge2.example.test\" }"), "21: edge.drain.alternate[0].address", "is missing");
    refuses(&drain("{ address = \"0.0.0.0:443\" }"), "21: edge.drain.alternate[0].address", "is a wildcard");
    refuses(
        &drain("{ address = \"203.0.113.20:443\", domain = \"a b\" }"),
        "21: edge.drain.alternate[0].domain",
        "no name",
    );
    let advertised = drain("{ address = \"198.51.100.7:443\" }")
        .replace("dtls = []", "advertise = { \"203.0.113.10\" = \"198.51.100.7\" }");
    refuses(&advertised, "21: edge.drain.alternate[0]", "of this edge");
}

#[test]
fn nat_discovery_needs_a_second_address_and_port_beside_a_udp_listener() {
    let nat = |address: &str, port: u32| {
        format!("{BASE}[edge.nat_discovery]\nalternate_address = \"{address}\"\nalternate_port = {port}\n")
    };
    let found = accepted(&nat("203.0.113.11", 3479)).edge.nat_discovery.expect("on");
    assert_eq!(found.primary.to_string(), "203.0.113.10:3478");
    let (address, port) = ("21: edge.nat_discovery.alternate_address", "22: edge.nat_discovery.alternate_port");
    refuses(&nat("203.0.113.10", 3479), address, "is the address of the listener itself");
    refuses(&nat("203.0.113.11", 3478), port, "is the port of the listener");
    refuses(&nat("203.0.113.11", 65536), port, "out of bounds");
    let v4_only = nat("2001:db8::11", 3479).replace(", \"[2001:db8::10]:3478\"", "");
    refuses(&v4_only, address, "no UDP listener over IPv6");
    let wild = nat("203.0.113.11", 3479).replace("udp = [\"203.0.113.10:3478\"", "udp = [\"0.0.0.0:3478\"");
    refuses(&wild, address, "is a wildcard");
    refuses(
        &nat("203.0.113.11", 50_001),
        "12: edge.relay.ports",
        "holds the port of edge.nat_discovery.alternate_address",
    );
}

#[test]
fn clock_rates_are_of_payload_types() {
    let rates = |map: &str| format!("{BASE}[edge.media]\nclock_rates = {map}\n");
    assert_eq!(accepted(&rates("{ 111 = 48000 }")).edge.media.clock_rates[&111], 48000);
    refuses(&rates("{ 128 = 48000 }"), "21: edge.media.clock_rates.128", "no RTP payload type");
    refuses(&rates("{ opus = 48000 }"), "21: edge.media.clock_rates.opus", "no RTP payload type");
    refuses(&rates("{ 111 = 0 }"), "21: edge.media.clock_rates.111", "out of bounds");
}

#[test]
fn a_record_file_in_no_directory_is_refused() {
    let text = format!("{BASE}[edge.records]\nfile = \"records.jsonl\"\n");
    refuses(&text, "21: edge.records.file", "/nonexistent is no directory");
}

#[test]
fn the_log_takes_levels_and_directives_only() {
    let log = |text: &str| with("[telemetry]\n", &format!("[telemetry]\nlog = \"{text}\"\n"));
    for text in ["loud", "", "info,", "postern_turn=", "=info", "a b=info"] {
        refuses(&log(text), "20: telemetry.log", "is no log level");
    }
    assert_eq!(accepted(&log("info,postern_turn=debug")).telemetry.log, "info,postern_turn=debug");
    refuses(&format!("{BASE}log_format = \"xml\"\n"), "20: telemetry.log_format", "no log format");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_by_itself() {
    let errors = crate::load(std::path::Path::new("/nonexistent/postern.toml"), &[]).expect_err("nothing is there");
    assert!(printed(&errors).starts_with("/nonexistent/postern.toml:1: does not exist; name a readable"));
}
