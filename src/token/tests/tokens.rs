//! Tokens at the room's boundary: what an issuer makes, a verifier judges, and what nobody can forge.

use postern_token::limits::USERNAME_BYTES_MAX;
use postern_token::{
    Claims, Credentials, Grant, Identity, IssueError, Issuer, Judgement, KEYS_MAX, KeyRing, Refused, Secret, TokenForm,
    Verifier, WhyInvalid, parse_peer,
};

const SECRET: &str = "at-least-sixteen-bytes";
const NOW: u64 = 1_699_999_000;
const EXPIRY: u64 = 1_700_000_000;

fn ring(secrets: &[(&str, &str)]) -> KeyRing {
    KeyRing::new(secrets.iter().map(|&(id, value)| Secret::new(id, value).unwrap()).collect()).unwrap()
}

fn one_key() -> KeyRing {
    ring(&[("2026a", SECRET)])
}

fn passwords(verifier: &Verifier, username: &[u8]) -> Vec<Vec<u8>> {
    let mut out = [const { None }; KEYS_MAX];
    verifier.passwords(username, &mut out);
    out.iter().flatten().map(|password| password.as_bytes().to_vec()).collect()
}

fn grant_of(verifier: &Verifier, username: &str, password: &str) -> Grant {
    match verifier.judge(username.as_bytes(), password.as_bytes(), NOW) {
        Judgement::Valid(grant) => grant,
        Judgement::Invalid(why) => panic!("{username}: {why}"),
    }
}

/// Each password by `printf '%s' USERNAME | openssl dgst -sha1 -hmac at-least-sixteen-bytes -binary | base64`, which is what
/// coturn computes with `use-auth-secret`.
#[test]
fn classic_passwords_are_those_that_coturn_computes() {
    let verifier = Verifier::new(&one_key());
    for (username, password) in [
        ("1700000000:alice", "NGXwaE2SX0ffZOzMzR//l09v56w="),
        ("1700000000", "HbKrurlv+4YvurFF38THIbkmRWE="),
        ("1700000000:a:b", "6DHHKfXvcsMF7afAFLR4ylztwqo="),
        ("1700000000:アリス", "fVTo2cI7sbvSpmpSgrla5wX/1cs="),
    ] {
        assert_eq!(passwords(&verifier, username.as_bytes()), [password.as_bytes()], "{username}");
    }
    let issued = Issuer::new(&one_key()).issue_classic(Some("alice"), EXPIRY).unwrap();
    assert_eq!((issued.username.as_str(), issued.password()), ("1700000000:alice", "NGXwaE2SX0ffZOzMzR//l09v56w="));
}

/// Computed with Python's hmac and base64 modules from the description of the form.
#[test]
fn an_extended_token_made_elsewhere_is_verified() {
    let username = "p1.2026a.eyJ1IjoiYWxpY2UiLCJlIjoxNzAwMDAwMDAwLCJjIjoiY2FsbC03IiwicCI6WyIxMC4yMC4wLjAvMjQiXSwiYiI6MTI4MDAwLCJuIjo0fQ";
    let grant = grant_of(&Verifier::new(&one_key()), username, "XxXtKxOK6k0c3xWXPeTPKz2Q6cc=");
    let want = Grant {
        identity: Identity::Name("alice".into()),
        expires_unix_secs: EXPIRY,
        key_id: "2026a".into(),
        call_id: Some("call-7".into()),
        peers: Some(vec!["10.20.0.0/24".parse().unwrap()]),
        bitrate_bps: Some(128_000),
        allocations_max: Some(4),
        extended: true,
    };
    assert_eq!(grant, want);
}

#[test]
fn an_identity_is_all_that_follows_the_first_colon() {
    let (issuer, verifier) = (Issuer::new(&one_key()), Verifier::new(&one_key()));
    let token = issuer.issue_classic(Some("1800000000:bob"), EXPIRY).unwrap();
    let grant = grant_of(&verifier, &token.username, token.password());
    assert_eq!(grant.identity, Identity::Name("1800000000:bob".into()));
    assert_eq!(grant.expires_unix_secs, EXPIRY);
}

#[test]
fn a_bare_expiry_counts_by_client_address() {
    let (issuer, verifier) = (Issuer::new(&one_key()), Verifier::new(&one_key()));
    let token = issuer.issue_classic(None, EXPIRY).unwrap();
    assert_eq!(token.username, "1700000000");
    assert_eq!(grant_of(&verifier, &token.username, token.password()).identity, Identity::ClientAddress);
}

#[test]
fn expiry_is_strict_to_the_second() {
    let (issuer, verifier) = (Issuer::new(&one_key()), Verifier::new(&one_key()));
    let classic = issuer.issue_classic(Some("alice"), EXPIRY).unwrap();
    let extended = issuer.issue_extended(&Claims::new("alice", EXPIRY)).unwrap();
    for token in [classic, extended] {
        let name = token.username.as_bytes();
        assert!(verifier.grant(name, 0, EXPIRY - 1).is_ok());
        assert_eq!(verifier.grant(name, 0, EXPIRY), Err(Refused::Expired));
        let judged = verifier.judge(name, token.password().as_bytes(), EXPIRY + 5);
        assert_eq!(judged, Judgement::Invalid(WhyInvalid::Expired { expires_unix_secs: EXPIRY, ago_secs: 5 }));
    }
}

#[test]
fn every_key_verifies_and_the_first_issues() {
    let old = ring(&[("old", "the-old-secret-of-2025")]);
    let both = ring(&[("new", SECRET), ("old", "the-old-secret-of-2025")]);
    let verifier = Verifier::new(&both);
    for issuer in [Issuer::new(&old), Issuer::new(&both)] {
        let classic = issuer.issue_classic(Some("alice"), EXPIRY).unwrap();
        let extended = issuer.issue_extended(&Claims::new("alice", EXPIRY)).unwrap();
        for token in [classic, extended] {
            assert_eq!(token.key_id, issuer.key_id());
            assert_eq!(grant_of(&verifier, &token.username, token.password()).key_id, issuer.key_id());
        }
    }
    assert_eq!(Issuer::new(&both).key_id(), "new");
    let after_rotation = Verifier::new(&ring(&[("new", SECRET)]));
    let token = Issuer::new(&old).issue_extended(&Claims::new("alice", EXPIRY)).unwrap();
    let judged = after_rotation.judge(token.username.as_bytes(), token.password().as_bytes(), NOW);
    assert_eq!(judged, Judgement::Invalid(WhyInvalid::UnknownKey { key_id: "old".into() }));
}

/// The holder of the shared secret signs whatever username it is asked for. No such password may be one that we try for
/// a username of the extended form.
#[test]
fn no_classic_issuer_can_make_an_extended_token() {
    let verifier = Verifier::new(&one_key());
    let extended = Issuer::new(&one_key()).issue_extended(&Claims::new("alice", EXPIRY)).unwrap();
    let forged = sloppy_issuer(extended.username.as_bytes());
    assert!(!passwords(&verifier, extended.username.as_bytes()).contains(&forged));
    assert!(!verifier.judge(extended.username.as_bytes(), &forged, NOW).is_valid());
    // The classic form with the extended one inside is a classic token with a strange name, without claims.
    let token = Issuer::new(&one_key()).issue_classic(Some("p1.2026a.e30"), EXPIRY).unwrap();
    let grant = grant_of(&verifier, &token.username, token.password());
    assert_eq!((grant.identity, grant.extended), (Identity::Name("p1.2026a.e30".into()), false));
}

/// base64(HMAC-SHA1(secret, username)) for any username, not only those that begin with an expiry.
fn sloppy_issuer(username: &[u8]) -> Vec<u8> {
    use base64::Engine;
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(username);
    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes()).into_bytes()
}

#[test]
fn malformed_usernames_get_passwords_that_the_secret_alone_does_not_give() {
    let verifier = Verifier::new(&one_key());
    let long = "1".repeat(USERNAME_BYTES_MAX + 1);
    for username in
        ["alice", "+17:a", "", "p1.", "p1.other.e30", "p2.2026a.e30", long.as_str(), "postern\0extended token\0v1"]
    {
        let ours = passwords(&verifier, username.as_bytes());
        assert_eq!(ours.len(), 1, "{username:?}");
        assert_ne!(ours[0], sloppy_issuer(username.as_bytes()), "{username:?}");
        assert_eq!(verifier.grant(username.as_bytes(), 0, NOW), Err(Refused::Malformed), "{username:?}");
    }
}

#[test]
fn every_username_costs_one_password_per_key() {
    let secrets: Vec<(String, String)> =
        (0..KEYS_MAX).map(|n| (format!("k{n}"), format!("a-secret-of-its-own-{n}"))).collect();
    let secrets: Vec<(&str, &str)> = secrets.iter().map(|(id, value)| (id.as_str(), value.as_str())).collect();
    let verifier = Verifier::new(&ring(&secrets));
    assert_eq!(verifier.candidates(), KEYS_MAX);
    let usernames: [&[u8]; 6] =
        [b"1700000000:alice", b"1700000000", b"p1.k3.e30", b"p1.nobody.e30", b"mallory", b"\xff\0"];
    for username in usernames {
        let all = passwords(&verifier, username);
        assert_eq!(all.len(), KEYS_MAX);
        assert!(all.iter().all(|password| password.len() == 28));
        let mut distinct = all.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), KEYS_MAX, "each key makes another password");
    }
}

#[test]
fn claims_signed_by_us_but_not_understood_are_refused() {
    use base64::Engine;
    let claims =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"u":"alice","e":1700000000,"region":"eu"}"#);
    let username = format!("p1.2026a.{claims}");
    let verifier = Verifier::new(&one_key());
    let password = passwords(&verifier, username.as_bytes()).remove(0);
    assert_eq!(verifier.grant(username.as_bytes(), 0, NOW), Err(Refused::Malformed));
    let judged = verifier.judge(username.as_bytes(), &password, NOW);
    assert!(matches!(&judged, Judgement::Invalid(WhyInvalid::Claims(_))), "{judged}");
    assert!(judged.to_string().contains("region"), "{judged}");
}

#[test]
fn an_extended_username_never_exceeds_508_bytes() {
    let issuer = Issuer::new(&one_key());
    let mut claims = Claims::new("a".repeat(128), EXPIRY);
    claims.call_id = Some("c".repeat(64));
    let token = issuer.issue_extended(&claims).unwrap();
    assert!(token.username.len() <= USERNAME_BYTES_MAX);
    claims.peers = Some(vec![parse_peer("2001:db8:1111:2222:3333:4444:5555:6666").unwrap(); 16]);
    assert!(matches!(issuer.issue_extended(&claims), Err(IssueError::TooLong { bytes: 509.. })));
}

#[test]
fn identities_that_would_break_a_log_line_are_not_issued() {
    let issuer = Issuer::new(&one_key());
    for identity in ["", "a\r\nb", "\u{1b}[2J", "a\0", &"x".repeat(129)] {
        assert!(issuer.issue_classic(Some(identity), EXPIRY).is_err(), "{identity:?}");
        assert!(issuer.issue_extended(&Claims::new(identity, EXPIRY)).is_err(), "{identity:?}");
    }
}

#[test]
fn peers_are_networks_or_single_addresses() {
    assert_eq!(parse_peer("10.20.0.9/24").unwrap(), "10.20.0.0/24".parse().unwrap());
    assert_eq!(parse_peer("10.20.0.9").unwrap(), "10.20.0.9/32".parse().unwrap());
    assert_eq!(parse_peer("2001:db8::1").unwrap(), "2001:db8::1/128".parse().unwrap());
    for text in ["", "worker.example.test", "10.20.0.0/33", "10.20.0.0:80"] {
        assert_eq!(parse_peer(text), Err(IssueError::Peer { text: text.into() }));
    }
}

#[test]
fn a_token_prints_as_json_and_its_password_only_there() {
    let token = Issuer::new(&one_key()).issue_classic(Some("alice"), EXPIRY).unwrap();
    let json = serde_json::to_value(token.to_json()).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "username": "1700000000:alice", "password": "NGXwaE2SX0ffZOzMzR//l09v56w=", "form": "classic", "key_id": "2026a",
            "expires_unix_secs": EXPIRY,
        })
    );
    assert_eq!(token.form, TokenForm::Classic);
    assert!(!format!("{token:?}").contains(token.password()));
}

#[test]
fn a_judgement_prints_as_json_with_what_is_known() {
    let verifier = Verifier::new(&one_key());
    let token = Issuer::new(&one_key()).issue_classic(Some("alice"), EXPIRY).unwrap();
    let valid = verifier.judge(token.username.as_bytes(), token.password().as_bytes(), NOW);
    assert_eq!(
        serde_json::to_value(valid.to_json(NOW)).unwrap(),
        serde_json::json!({
            "valid": true, "form": "classic", "key_id": "2026a", "identity": "alice", "expires_unix_secs": EXPIRY, "remaining_secs": 1000,
        })
    );
    let wrong = verifier.judge(token.username.as_bytes(), b"wrong", NOW).to_json(NOW);
    assert!(!wrong.valid && wrong.reason.is_some_and(|reason| reason.contains("password")));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn any_claims() -> impl Strategy<Value = Claims> {
        let net = (any::<[u8; 4]>(), 0u8..=32)
            .prop_map(|(ip, bits)| parse_peer(&format!("{}.{}.{}.{}/{bits}", ip[0], ip[1], ip[2], ip[3])).unwrap());
        let parts = (
            "[^\\p{Cc}]{1,20}",
            NOW + 1..u64::MAX,
            proptest::option::of("[^\\p{Cc}]{1,10}"),
            proptest::option::of(proptest::collection::vec(net, 0..4)),
            proptest::option::of(1..u64::MAX),
            proptest::option::of(1..u32::MAX),
        );
        parts.prop_map(|(identity, expires_unix_secs, call_id, peers, bitrate_bps, allocations)| Claims {
            identity,
            expires_unix_secs,
            call_id,
            peers,
            bitrate_bps,
            allocations,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_issued_is_granted_as_it_was_meant(claims in any_claims()) {
            let issued = Issuer::new(&one_key()).issue_extended(&claims);
            prop_assume!(!matches!(issued, Err(IssueError::TooLong { .. })));
            let token = issued.unwrap();
            let grant = grant_of(&Verifier::new(&one_key()), &token.username, token.password());
            prop_assert_eq!(grant.identity, Identity::Name(claims.identity));
            prop_assert_eq!(grant.expires_unix_secs, claims.expires_unix_secs);
            prop_assert_eq!(grant.call_id, claims.call_id);
            prop_assert_eq!(grant.peers, claims.peers);
            prop_assert_eq!(grant.bitrate_bps, claims.bitrate_bps);
            prop_assert_eq!(grant.allocations_max, claims.allocations);
        }

        #[test]
        fn a_changed_byte_of_a_username_never_keeps_its_password(claims in any_claims(), at in any::<prop::sample::Index>(), flip in 1u8..=255) {
            let issued = Issuer::new(&one_key()).issue_extended(&claims);
            prop_assume!(issued.is_ok());
            let token = issued.unwrap();
            let mut name = token.username.clone().into_bytes();
            let at = at.index(name.len());
            name[at] ^= flip;
            prop_assert!(!Verifier::new(&one_key()).judge(&name, token.password().as_bytes(), NOW).is_valid());
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic_and_at_full_cost(name in proptest::collection::vec(any::<u8>(), 0..600)) {
            let verifier = Verifier::new(&ring(&[("a", SECRET), ("b", "another-secret-of-ours")]));
            prop_assert_eq!(passwords(&verifier, &name).len(), 2);
            for index in 0..3 {
                let _ = verifier.grant(&name, index, NOW);
            }
            prop_assert!(!verifier.judge(&name, b"guess", NOW).is_valid());
        }

        #[test]
        fn any_claims_text_is_decoded_or_refused(text in "[A-Za-z0-9_-]{0,80}") {
            let name = format!("p1.2026a.{text}");
            let _ = Verifier::new(&one_key()).grant(name.as_bytes(), 0, NOW);
        }
    }
}
