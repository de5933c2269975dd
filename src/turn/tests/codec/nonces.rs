//! Stateless nonces, and the preparation of names.

use std::net::SocketAddr;

use postern_turn::io::Transport;
use postern_turn::limits::NONCE_CHARS;
use postern_turn::nonce::{Features, NonceKeys, NonceVerdict, StaleReason, features, issue_time};
use postern_turn::opaque_string;

const NOW: u64 = 1_800_000_000;
const OLD: &[u8] = b"the secret of yesterday";
const NEW: &[u8] = b"the secret of tomorrow!";

fn client() -> SocketAddr {
    "198.51.100.7:40000".parse().unwrap()
}

fn issued(keys: &NonceKeys) -> [u8; NONCE_CHARS] {
    keys.issue(NOW, Features::PASSWORD_ALGORITHMS, Transport::Udp, client())
}

fn verdict(keys: &NonceKeys, nonce: &[u8], now: u64) -> NonceVerdict {
    keys.verify(nonce, now, Transport::Udp, client())
}

const FRESH: NonceVerdict = NonceVerdict::Fresh(Features::PASSWORD_ALGORITHMS);

#[test]
fn nonce_is_at_most_forty_characters_and_begins_with_the_cookie() {
    let nonce = issued(&NonceKeys::new(&[NEW]));
    assert!(nonce.len() <= 40);
    assert!(nonce.starts_with(b"obMatJos2gAAA"));
    assert!(nonce.iter().all(|c| c.is_ascii_alphanumeric() || b"-_+/".contains(c)));
    let bits = features(&nonce).unwrap();
    assert!(bits.contains(Features::PASSWORD_ALGORITHMS) && !bits.contains(Features::USERNAME_ANONYMITY));
}

#[test]
fn nonce_is_good_for_ten_minutes_and_not_a_second_longer() {
    let keys = NonceKeys::new(&[NEW]);
    let nonce = issued(&keys);
    assert_eq!(verdict(&keys, &nonce, NOW), FRESH);
    assert_eq!(verdict(&keys, &nonce, NOW + 599), FRESH);
    assert_eq!(verdict(&keys, &nonce, NOW + 600), NonceVerdict::Stale(StaleReason::Expired));
}

#[test]
fn nonce_of_an_edge_thirty_seconds_ahead_is_good_and_one_more_is_not() {
    let keys = NonceKeys::new(&[NEW]);
    let nonce = issued(&keys);
    assert_eq!(verdict(&keys, &nonce, NOW - 30), FRESH);
    assert_eq!(verdict(&keys, &nonce, NOW - 31), NonceVerdict::Stale(StaleReason::Future));
}

#[test]
fn nonce_from_another_address_port_or_transport_is_stale() {
    let keys = NonceKeys::new(&[NEW]);
    let nonce = issued(&keys);
    let stale = NonceVerdict::Stale(StaleReason::Mac);
    for other in ["198.51.100.8:40000", "198.51.100.7:40001", "[2001:db8::1]:40000"] {
        assert_eq!(keys.verify(&nonce, NOW, Transport::Udp, other.parse().unwrap()), stale);
    }
    for other in [Transport::Tcp, Transport::Tls, Transport::Dtls] {
        assert_eq!(keys.verify(&nonce, NOW, other, client()), stale);
    }
}

#[test]
fn ipv4_client_on_a_dual_stack_listener_is_the_same_client() {
    let keys = NonceKeys::new(&[NEW]);
    let mapped = "[::ffff:198.51.100.7]:40000".parse().unwrap();
    assert_eq!(keys.verify(&issued(&keys), NOW, Transport::Udp, mapped), FRESH);
}

#[test]
fn nonce_of_any_secret_verifies_and_the_first_secret_issues() {
    let (old, new) = (NonceKeys::new(&[OLD]), NonceKeys::new(&[NEW]));
    let both = NonceKeys::new(&[NEW, OLD]);
    assert_eq!(verdict(&both, &issued(&old), NOW), FRESH);
    assert_eq!(issued(&both), issued(&new));
    assert_eq!(verdict(&old, &issued(&both), NOW), NonceVerdict::Stale(StaleReason::Mac));
}

#[test]
fn nonce_with_any_changed_character_is_stale() {
    let keys = NonceKeys::new(&[NEW]);
    let nonce = issued(&keys);
    for at in 0..nonce.len() {
        for changed in b'!'..=b'~' {
            let mut other = nonce;
            other[at] = changed;
            assert_eq!(verdict(&keys, &other, NOW) == FRESH, other == nonce, "{at} {changed}");
        }
    }
}

#[test]
fn feature_bits_cannot_be_bid_down() {
    let keys = NonceKeys::new(&[NEW]);
    let mut nonce = issued(&keys);
    nonce[9..13].copy_from_slice(b"AAAA");
    assert_eq!(verdict(&keys, &nonce, NOW), NonceVerdict::Stale(StaleReason::Mac));
}

#[test]
fn empty_nonce_and_those_of_others_are_stale_by_form() {
    let keys = NonceKeys::new(&[NEW]);
    let nonce = issued(&keys);
    let longer = [&nonce[..], b"A"].concat();
    for other in [&b""[..], b"f//499k954d6OL34oL9FSTvy64sA", &nonce[..38], &longer, &[0xFF; NONCE_CHARS]] {
        assert_eq!(verdict(&keys, other, NOW), NonceVerdict::Stale(StaleReason::Form));
    }
}

#[test]
fn without_secrets_nothing_is_fresh() {
    let none = NonceKeys::new(&[]);
    assert_eq!(verdict(&none, &issued(&none), NOW), NonceVerdict::Stale(StaleReason::Mac));
}

#[test]
fn issue_time_is_readable_without_a_key() {
    let nonce = issued(&NonceKeys::new(&[NEW]));
    let text = std::str::from_utf8(&nonce).unwrap();
    assert_eq!(issue_time(text), Some(NOW));
    assert_eq!(issue_time("f//499k954d6OL34oL9FSTvy64sA"), None);
}

#[test]
fn keys_are_hidden_from_debug_output() {
    assert_eq!(format!("{:?}", NonceKeys::new(&[OLD, NEW])), "NonceKeys(2 keys)");
}

#[test]
fn other_spaces_become_spaces_and_letters_are_composed() {
    assert_eq!(opaque_string::enforce("a\u{3000}b".as_bytes()).unwrap(), "a b");
    assert_eq!(opaque_string::enforce("cafe\u{301}".as_bytes()).unwrap(), "caf\u{e9}");
    assert_eq!(opaque_string::enforce(b"Plain name:1").unwrap(), "Plain name:1");
}

#[test]
fn a_name_is_judged_after_its_normalisation() {
    // U+0387 becomes U+00B7, which may stand between two l only.
    assert_eq!(opaque_string::enforce("%li\u{387}ce".as_bytes()), Err(opaque_string::NotOpaque));
    assert_eq!(opaque_string::enforce("l\u{B7}l".as_bytes()).as_deref(), Ok("l\u{B7}l"));
}

#[test]
fn names_with_control_characters_or_broken_utf8_are_refused() {
    for name in [&b""[..], b"a\r\nb", b"\x1b[31m", b"nul\0", b"\xff\xfe", "\u{200e}".as_bytes()] {
        assert!(opaque_string::enforce(name).is_err(), "{name:?}");
    }
}
