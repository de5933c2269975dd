//! Candidate lines and descriptions as they stand in SDP (RFC 8839).

use std::net::SocketAddr;

use postern_ice::candidate::{Candidate, CandidateError, Component, Kind, pair_priority, priority};
use postern_ice::limits::REMOTE_CANDIDATES_MAX;
use postern_ice::sdp::{Attributes, NoIce};

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn attributes(lines: &[(&str, &str)]) -> Attributes {
    let mut attributes = Attributes::default();
    for (name, value) in lines {
        assert!(attributes.take(name, value), "{name}");
    }
    attributes
}

const CREDENTIALS: [(&str, &str); 2] = [("ice-ufrag", "8hhY"), ("ice-pwd", "asd88fgpdd777uzjYhagZg")];

#[test]
fn candidate_lines_survive_reading_and_writing() {
    for line in [
        "1 1 UDP 2130706431 203.0.113.141 8998 typ host",
        "2 2 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
        "H/+ab 1 UDP 16777215 2001:db8::7 50000 typ relay raddr :: rport 9",
        "p 1 UDP 1 198.51.100.7 9 typ prflx raddr 10.0.0.1 rport 1",
    ] {
        let candidate: Candidate = line.parse().unwrap();
        assert_eq!(candidate.to_string(), line);
    }
}

#[test]
fn the_forms_of_other_stacks_are_read() {
    for line in [
        "a=candidate:Hc0a80a02 1 UDP 2130706431 192.0.2.10 40000 typ host",
        "candidate:842163049 1 udp 1677729535 192.0.2.10 40000 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag x network-cost 999",
        " 1 1 Udp 5 192.0.2.10 40000 TYP HOST extension",
        "1 1 UDP 5 192.0.2.10 40000 typ srflx rport 7",
    ] {
        let candidate: Candidate = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!((candidate.address, candidate.component), (at("192.0.2.10:40000"), Component::RTP));
    }
}

#[test]
fn lines_that_are_of_no_use_are_left_out_with_a_reason() {
    let table = [
        ("", CandidateError::Syntax),
        ("1 1 UDP 5 192.0.2.10 40000", CandidateError::Syntax),
        ("1 1 UDP +5 192.0.2.10 40000 typ host", CandidateError::Syntax),
        ("1 1 UDP 4294967296 192.0.2.10 40000 typ host", CandidateError::Syntax),
        ("1 1 UDP 5 192.0.2.10 65536 typ host", CandidateError::Syntax),
        ("1 1 UDP 5 192.0.2.10 40000 kind host", CandidateError::Syntax),
        ("o\u{308}ther 1 UDP 5 192.0.2.10 40000 typ host", CandidateError::Syntax),
        ("123456789012345678901234567890123 1 UDP 5 192.0.2.10 40000 typ host", CandidateError::Syntax),
        ("1 1 TCP 5 192.0.2.10 9 typ host tcptype active", CandidateError::Transport),
        ("1 1 UDP 5 b6f2ad1e-9c4a.local 40000 typ host", CandidateError::Name),
        ("1 1 UDP 5 fe80::1%eth0 40000 typ host", CandidateError::Name),
        ("1 1 UDP 5 192.0.2.10 40000 typ other", CandidateError::Kind),
        ("1 3 UDP 5 192.0.2.10 40000 typ host", CandidateError::Component),
        ("1 0 UDP 5 192.0.2.10 40000 typ host", CandidateError::Component),
    ];
    for (line, expected) in table {
        assert_eq!(line.parse::<Candidate>(), Err(expected), "{line}");
    }
    let long = format!("1 1 UDP 5 192.0.2.10 40000 typ host {}", "x ".repeat(1_000));
    assert_eq!(long.parse::<Candidate>(), Err(CandidateError::Syntax));
}

#[test]
fn priorities_are_those_of_the_standard() {
    assert_eq!(priority(Kind::Host, u16::MAX, Component::RTP), 2_130_706_431);
    assert_eq!(priority(Kind::ServerReflexive, u16::MAX, Component::RTP), 1_694_498_815);
    assert_eq!(priority(Kind::Relayed, u16::MAX, Component::RTCP), 16_777_214);
    assert_eq!(pair_priority(2, 1), (1 << 32) + 4 + 1);
    assert_eq!(pair_priority(1, 2), (1 << 32) + 4);
    assert_eq!(pair_priority(u32::MAX, u32::MAX), u64::MAX);
}

#[test]
fn a_description_needs_credentials_of_the_right_form() {
    assert_eq!(attributes(&CREDENTIALS[..1]).description(Vec::new()), Err(NoIce::Absent));
    assert!(attributes(&CREDENTIALS).description(Vec::new()).is_ok());
    for (ufrag, password) in [
        ("abc", CREDENTIALS[1].1),
        ("ab:cd", CREDENTIALS[1].1),
        ("abcd", "123456789012345678901"),
        ("abcd", "12345678901234567890123 "),
        ("abcd", "1234567890123456789012\u{e9}"),
    ] {
        let taken = attributes(&[("ice-ufrag", ufrag), ("ice-pwd", password)]).description(Vec::new());
        let trimmed = password.trim().len() < password.len();
        assert_eq!(taken.is_ok(), trimmed, "{ufrag} {password}");
    }
}

#[test]
fn flags_and_options_are_read() {
    let mut lines = CREDENTIALS.to_vec();
    lines.extend([
        ("ice-lite", ""),
        ("ice-options", "ice2 trickle"),
        ("remote-candidates", "1 192.0.2.3 45664 2 192.0.2.3 45665 3 x"),
    ]);
    let mut attributes = attributes(&lines);
    assert!(attributes.lite && attributes.trickle);
    assert_eq!(
        attributes.remote_candidates,
        [(Component::RTP, at("192.0.2.3:45664")), (Component::RTCP, at("192.0.2.3:45665"))]
    );
    assert!(!attributes.description(Vec::new()).unwrap().complete);
    assert!(attributes.take("end-of-candidates", ""));
    assert!(attributes.description(Vec::new()).unwrap().complete);
    assert!(!attributes.take("rtpmap", "0 PCMU/8000"));
}

#[test]
fn a_default_address_that_is_no_candidate_is_a_mismatch() {
    let mut lines = CREDENTIALS.to_vec();
    lines.push(("candidate", "1 1 UDP 5 192.0.2.10 40000 typ host"));
    let taken = attributes(&lines);
    let judge = |defaults: &[(Component, &str)]| {
        taken.description(defaults.iter().map(|(component, address)| (*component, at(address))).collect()).err()
    };
    assert_eq!(judge(&[(Component::RTP, "192.0.2.10:40000")]), None);
    assert_eq!(judge(&[(Component::RTP, "203.0.113.99:40000")]), Some(NoIce::Mismatch));
    assert_eq!(judge(&[(Component::RTP, "192.0.2.10:40002")]), Some(NoIce::Mismatch));
    // Held, not yet known, or of a component without candidates.
    assert_eq!(judge(&[(Component::RTP, "0.0.0.0:40000")]), None);
    assert_eq!(judge(&[(Component::RTP, "192.0.2.10:9")]), None);
    assert_eq!(judge(&[(Component::RTCP, "192.0.2.10:40001")]), None);
    // A name may well stand for it.
    lines.push(("candidate", "1 1 UDP 5 b6f2ad1e.local 40002 typ host"));
    assert!(attributes(&lines).description(vec![(Component::RTP, at("192.0.2.10:40002"))]).is_ok());
    lines.push(("ice-mismatch", ""));
    assert_eq!(attributes(&lines).description(Vec::new()), Err(NoIce::Mismatch));
}

#[test]
fn candidates_beyond_the_limit_are_left_out() {
    let mut attributes = attributes(&CREDENTIALS);
    for port in 1..=500 {
        attributes.take("candidate", &format!("1 1 UDP 5 192.0.2.10 {port} typ host"));
        attributes.take("candidate", &format!("1 1 TCP 5 192.0.2.10 {port} typ host"));
    }
    assert_eq!(
        (attributes.candidates.len(), attributes.left_out.len()),
        (REMOTE_CANDIDATES_MAX, REMOTE_CANDIDATES_MAX)
    );
}

#[test]
fn passwords_do_not_show() {
    let shown = format!("{:?}", attributes(&CREDENTIALS));
    assert!(!shown.contains(CREDENTIALS[1].1), "{shown}");
}
