//! What the codec alone decides of RFC 8489 and RFC 8656, sentence by sentence.

use crate::support::{OPEN, SHA1, SHA1_FINGERPRINTED, SHA256, TRANSACTION_ID, key, v4, v6, write};
use postern_turn::attribute::{Attribute, AttributeType, EvenPort, FamilyWish, UnknownList};
use postern_turn::error_code::ErrorCode;
use postern_turn::integrity::{IntegrityAlgorithm, IntegrityKey, PasswordAlgorithm};
use postern_turn::io::Family;
use postern_turn::limits::{PEERS_PER_REQUEST_MAX, UNKNOWN_ATTRIBUTES_MAX};
use postern_turn::message::{Class, DecodeError, Message, MessageWriter, Method, TooLong};
use postern_turn::request::Request;

/// Adds an attribute behind a finished message, as an attacker on the path would.
fn append(message: &mut Vec<u8>, attribute_type: AttributeType, value: &[u8]) {
    message.extend_from_slice(&attribute_type.0.to_be_bytes());
    message.extend_from_slice(&(value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
    crate::support::repair(message);
}

fn request<'a>(bytes: &'a [u8]) -> Request<'a> {
    Request::from_message(&Message::decode(bytes).unwrap())
}

#[test]
fn message_with_a_top_bit_set_is_not_stun() {
    for bit in [0x80, 0x40] {
        let mut bytes = write(Class::Request, Method::Binding, &[], OPEN);
        bytes[0] |= bit;
        assert_eq!(Message::decode(&bytes).unwrap_err(), DecodeError::NotStun);
    }
}

#[test]
fn message_without_the_cookie_is_not_stun() {
    for at in 4..8 {
        let mut bytes = write(Class::Request, Method::Binding, &[], OPEN);
        bytes[at] ^= 1;
        assert_eq!(Message::decode(&bytes).unwrap_err(), DecodeError::NotStun);
    }
}

#[test]
fn message_whose_length_is_no_multiple_of_four_is_not_stun() {
    for extra in 1..4 {
        let mut bytes = write(Class::Request, Method::Binding, &[], OPEN);
        bytes.resize(20 + extra, 0);
        bytes[3] = extra as u8;
        assert_eq!(Message::decode(&bytes).unwrap_err(), DecodeError::NotStun);
    }
}

#[test]
fn datagram_longer_or_shorter_than_its_length_field_is_refused() {
    let bytes = write(Class::Request, Method::Allocate, &[Attribute::RequestedTransport(17)], OPEN);
    for end in 0..bytes.len() {
        let expected = if end < 20 { DecodeError::NotStun } else { DecodeError::Length };
        assert_eq!(Message::decode(&bytes[..end]).unwrap_err(), expected);
    }
    let longer = [&bytes[..], &[0; 4]].concat();
    assert_eq!(Message::decode(&longer).unwrap_err(), DecodeError::Length);
}

#[test]
fn attribute_that_reaches_beyond_the_message_is_refused() {
    let mut bytes = write(Class::Request, Method::Allocate, &[Attribute::RequestedTransport(17)], OPEN);
    bytes[23] = 5;
    assert_eq!(Message::decode(&bytes).unwrap_err(), DecodeError::Truncated);
}

#[test]
fn every_method_and_class_survives_its_type_field() {
    for number in 0..=0x0FFF {
        for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
            let bytes = write(class, Method::from_number(number), &[], OPEN);
            let message = Message::decode(&bytes).unwrap();
            assert_eq!((message.class(), message.method().number()), (class, number));
        }
    }
}

#[test]
fn of_duplicate_attributes_the_first_counts() {
    let bytes = write(
        Class::Request,
        Method::Refresh,
        &[Attribute::Lifetime(600), Attribute::Lifetime(0), Attribute::Realm(b"a"), Attribute::Realm(b"b")],
        OPEN,
    );
    let request = request(&bytes);
    assert_eq!((request.lifetime_secs, request.realm), (Some(600), Some(&b"a"[..])));
}

#[test]
fn malformed_first_attribute_is_not_replaced_by_a_good_second_one() {
    let mut bytes = write(Class::Request, Method::Refresh, &[], OPEN);
    append(&mut bytes, AttributeType::LIFETIME, &[0, 0, 1]);
    append(&mut bytes, AttributeType::LIFETIME, &[0, 0, 0, 9]);
    let request = request(&bytes);
    assert_eq!((request.lifetime_secs, request.malformed), (None, Some(AttributeType::LIFETIME)));
}

#[test]
fn malformed_second_attribute_does_not_count() {
    let mut bytes = write(Class::Request, Method::Refresh, &[Attribute::Lifetime(9)], OPEN);
    append(&mut bytes, AttributeType::LIFETIME, &[0, 0, 1]);
    let request = request(&bytes);
    assert_eq!((request.lifetime_secs, request.malformed), (Some(9), None));
}

#[test]
fn what_follows_message_integrity_is_ignored() {
    let mut bytes = write(Class::Request, Method::CreatePermission, &[Attribute::XorPeerAddress(v4())], SHA1);
    append(&mut bytes, AttributeType::LIFETIME, &[0, 0, 0, 0]);
    append(&mut bytes, AttributeType::XOR_PEER_ADDRESS, &[0, 1, 1, 2, 3, 4, 5, 6]);
    append(&mut bytes, AttributeType(0x7777), b"unknown");
    let request = request(&bytes);
    assert_eq!(request.peers.iter().collect::<Vec<_>>(), [v4()]);
    assert_eq!(request.lifetime_secs, None);
    assert!(request.unknown.is_empty());
    assert!(request.integrity.unwrap().matches(&key(PasswordAlgorithm::Md5)));
}

#[test]
fn what_follows_message_integrity_sha256_is_ignored_but_the_fingerprint() {
    let mut bytes = write(Class::Request, Method::Refresh, &[Attribute::Lifetime(5)], SHA256);
    append(&mut bytes, AttributeType::MESSAGE_INTEGRITY, &[0; 20]);
    append(&mut bytes, AttributeType::DONT_FRAGMENT, &[]);
    append(&mut bytes, AttributeType::FINGERPRINT, &[0; 4]);
    let at = bytes.len() - 8;
    let value = postern_turn::fingerprint::value_of(&bytes[..at]);
    bytes[at + 4..].copy_from_slice(&value.to_be_bytes());
    let message = Message::decode(&bytes).unwrap();
    assert!(message.integrity_by(IntegrityAlgorithm::Sha1).is_none());
    let request = Request::from_message(&message);
    assert!(request.fingerprint && !request.dont_fragment);
    assert!(request.integrity.unwrap().matches(&key(PasswordAlgorithm::Sha256)));
}

#[test]
fn both_integrity_attributes_are_found_and_sha256_is_the_one_to_judge() {
    let mut bytes = Vec::new();
    MessageWriter::new(&mut bytes, Class::Request, Method::Refresh, TRANSACTION_ID)
        .attribute(&Attribute::Lifetime(5))
        .integrity(IntegrityAlgorithm::Sha1, &key(PasswordAlgorithm::Md5))
        .integrity(IntegrityAlgorithm::Sha256, &key(PasswordAlgorithm::Md5))
        .fingerprint()
        .finish()
        .unwrap();
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.integrity().unwrap().algorithm(), IntegrityAlgorithm::Sha256);
    for algorithm in [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256] {
        assert!(message.integrity_by(algorithm).unwrap().matches(&key(PasswordAlgorithm::Md5)), "{algorithm:?}");
        assert!(!message.integrity_by(algorithm).unwrap().matches(&key(PasswordAlgorithm::Sha256)));
    }
}

#[test]
fn any_changed_bit_before_the_integrity_attribute_breaks_it() {
    for tail in [SHA1, SHA256] {
        let good =
            write(Class::Request, Method::Refresh, &[Attribute::Username(b"user"), Attribute::Lifetime(5)], tail);
        let (_, password) = tail.integrity.unwrap();
        let covered = good.len() - Message::decode(&good).unwrap().integrity().unwrap().algorithm().mac_bytes() - 4;
        for at in (0..covered).filter(|at| ![2, 3].contains(at)) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x04;
            let matched = Message::decode(&bytes).ok().and_then(|message| message.integrity());
            assert!(!matched.is_some_and(|integrity| integrity.matches(&key(password))), "byte {at}");
        }
    }
}

#[test]
fn truncated_sha256_does_not_match_in_turn_but_is_known_to_other_usages() {
    let whole = write(Class::Request, Method::Refresh, &[], OPEN);
    let key = key(PasswordAlgorithm::Sha256);
    for len in 0..=36 {
        // The MAC covers a length field that counts the shorter attribute, so it differs for each length.
        let mut bytes = whole.clone();
        append(&mut bytes, AttributeType::MESSAGE_INTEGRITY_SHA256, &vec![0; len]);
        let mac = hmac_sha256(key.as_bytes(), &bytes[..20]);
        let copied = len.min(32);
        bytes[24..24 + copied].copy_from_slice(&mac[..copied]);
        let integrity = Message::decode(&bytes).unwrap().integrity().unwrap();
        assert_eq!(integrity.matches(&key), len == 32, "{len}");
        assert_eq!(integrity.matches_truncated(&key, 0), [16, 20, 24, 28, 32].contains(&len), "{len}");
        assert_eq!(integrity.matches_truncated(&key, 24), [24, 28, 32].contains(&len), "{len}");
    }
}

fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

#[test]
fn message_integrity_of_another_length_than_twenty_never_matches() {
    for len in [0, 16, 19, 21, 24, 32] {
        let mut bytes = write(Class::Request, Method::Refresh, &[], OPEN);
        append(&mut bytes, AttributeType::MESSAGE_INTEGRITY, &vec![0; len]);
        assert!(!Message::decode(&bytes).unwrap().integrity().unwrap().matches(&key(PasswordAlgorithm::Md5)));
    }
}

#[test]
fn wrong_fingerprint_is_refused() {
    let good = write(Class::Request, Method::Binding, &[Attribute::Software(b"x")], SHA1_FINGERPRINTED);
    assert!(Message::decode(&good).unwrap().has_fingerprint());
    for at in (8..good.len() - 8).chain(good.len() - 4..good.len()) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert!(Message::decode(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn fingerprint_that_is_not_last_is_refused() {
    let mut bytes = write(Class::Request, Method::Binding, &[], crate::support::FINGERPRINTED);
    append(&mut bytes, AttributeType::SOFTWARE, b"late");
    assert_eq!(Message::decode(&bytes).unwrap_err(), DecodeError::Fingerprint);
}

#[test]
fn every_unknown_required_attribute_is_listed_once_and_no_optional_one() {
    let mut bytes = write(Class::Request, Method::Binding, &[], OPEN);
    for number in [0x7F00, 0x0002, 0x9000, 0x7F00, 0x0030, 0xFFFF, 0x0002] {
        append(&mut bytes, AttributeType(number), &[1]);
    }
    let request = request(&bytes);
    assert_eq!(request.unknown.list(), UnknownList(&[0x7F, 0x00, 0x00, 0x02, 0x00, 0x30]));
    assert_eq!(request.malformed, None);
}

#[test]
fn list_of_unknown_attributes_is_bounded() {
    let mut bytes = write(Class::Request, Method::Binding, &[], OPEN);
    for number in 0x7000..0x7100 {
        append(&mut bytes, AttributeType(number), &[]);
    }
    assert_eq!(request(&bytes).unknown.list().iter().count(), UNKNOWN_ATTRIBUTES_MAX);
}

#[test]
fn attributes_of_answers_and_of_ice_are_ignored_in_a_request_whatever_their_form() {
    let mut bytes = write(Class::Request, Method::Binding, &[Attribute::Priority(1), Attribute::UseCandidate], OPEN);
    append(&mut bytes, AttributeType::ERROR_CODE, &[1]);
    append(&mut bytes, AttributeType::XOR_MAPPED_ADDRESS, &[1]);
    append(&mut bytes, AttributeType::SOFTWARE, &[b'x'; 800]);
    let request = request(&bytes);
    assert!(request.unknown.is_empty());
    assert_eq!(request.malformed, None);
}

#[test]
fn several_peers_are_kept_in_order_and_too_many_are_noted() {
    let peers = vec![Attribute::XorPeerAddress(v4()); PEERS_PER_REQUEST_MAX - 1];
    let mut attributes = vec![Attribute::XorPeerAddress(v6())];
    attributes.extend(peers);
    let bytes = write(Class::Request, Method::CreatePermission, &attributes, SHA1);
    let kept = request(&bytes).peers;
    assert_eq!((kept.first(), kept.iter().count(), kept.overflowed()), (Some(v6()), PEERS_PER_REQUEST_MAX, false));

    attributes.push(Attribute::XorPeerAddress(v4()));
    let bytes = write(Class::Request, Method::CreatePermission, &attributes, SHA1);
    let kept = request(&bytes).peers;
    assert_eq!((kept.iter().count(), kept.overflowed()), (PEERS_PER_REQUEST_MAX, true));
}

#[test]
fn peer_address_of_no_family_is_malformed() {
    let mut bytes = write(Class::Request, Method::CreatePermission, &[Attribute::XorPeerAddress(v4())], OPEN);
    append(&mut bytes, AttributeType::XOR_PEER_ADDRESS, &[0, 3, 1, 2, 3, 4, 5, 6]);
    assert_eq!(request(&bytes).malformed, Some(AttributeType::XOR_PEER_ADDRESS));
}

#[test]
fn requested_family_that_nobody_registered_is_no_malformed_request() {
    let mut bytes = write(Class::Request, Method::Allocate, &[], OPEN);
    append(&mut bytes, AttributeType::REQUESTED_ADDRESS_FAMILY, &[7, 0, 0, 0]);
    append(&mut bytes, AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 9, 9, 9]);
    let request = request(&bytes);
    assert_eq!(request.requested_family, Some(FamilyWish::Unknown(7)));
    assert_eq!(request.additional_family, Some(FamilyWish::Known(Family::V6)));
    assert_eq!(request.malformed, None);
}

#[test]
fn reserved_bits_of_even_port_do_not_count() {
    for (bits, reserve_next) in [(0x80, true), (0xFF, true), (0x7F, false), (0x00, false)] {
        let mut bytes = write(Class::Request, Method::Allocate, &[], OPEN);
        append(&mut bytes, AttributeType::EVEN_PORT, &[bits]);
        assert_eq!(request(&bytes).even_port, Some(EvenPort { reserve_next }));
    }
}

#[test]
fn username_may_have_508_bytes_and_realm_and_nonce_763() {
    for (attribute_type, bytes_max) in
        [(AttributeType::USERNAME, 508), (AttributeType::REALM, 763), (AttributeType::NONCE, 763)]
    {
        for (len, malformed) in [(bytes_max, None), (bytes_max + 1, Some(attribute_type))] {
            let mut bytes = write(Class::Request, Method::Allocate, &[], OPEN);
            append(&mut bytes, attribute_type, &vec![b'a'; len]);
            assert_eq!(request(&bytes).malformed, malformed);
        }
    }
}

#[test]
fn empty_nonce_is_there_and_empty() {
    let bytes = write(Class::Request, Method::Allocate, &[Attribute::Nonce(b"")], OPEN);
    assert_eq!(request(&bytes).nonce, Some(&b""[..]));
}

#[test]
fn response_port_is_understood_with_its_padding_counted_and_not() {
    for value in [&[0x0F, 0xA0][..], &[0x0F, 0xA0, 0, 0]] {
        let mut bytes = write(Class::Request, Method::Binding, &[], OPEN);
        append(&mut bytes, AttributeType::RESPONSE_PORT, value);
        assert_eq!(request(&bytes).response_port, Some(4000));
    }
}

#[test]
fn data_is_a_range_of_the_input() {
    let bytes = write(
        Class::Indication,
        Method::Send,
        &[Attribute::XorPeerAddress(v4()), Attribute::Data(b"five!"), Attribute::DontFragment],
        OPEN,
    );
    let request = request(&bytes);
    assert_eq!(&bytes[request.data.unwrap()], b"five!");
    assert!(request.dont_fragment);
}

#[test]
fn padding_is_zero_even_in_a_buffer_that_was_used_before() {
    let mut out = vec![0xAA; 100];
    out.clear();
    MessageWriter::new(&mut out, Class::Request, Method::Binding, TRANSACTION_ID)
        .attribute(&Attribute::Software(b"a"))
        .finish()
        .unwrap();
    assert_eq!(out[20..], [0x80, 0x22, 0, 1, b'a', 0, 0, 0]);
}

#[test]
fn writer_appends_behind_what_the_buffer_holds() {
    let mut out = vec![1, 2, 3];
    let alone = write(Class::Request, Method::Binding, &[Attribute::Lifetime(1)], SHA1_FINGERPRINTED);
    let length = MessageWriter::new(&mut out, Class::Request, Method::Binding, TRANSACTION_ID)
        .attribute(&Attribute::Lifetime(1))
        .integrity(IntegrityAlgorithm::Sha1, &key(PasswordAlgorithm::Md5))
        .fingerprint()
        .finish();
    assert_eq!(length, Ok(alone.len()));
    assert_eq!((&out[..3], &out[3..]), (&[1, 2, 3][..], &alone[..]));
}

#[test]
fn message_that_would_be_too_long_is_not_written() {
    for (len, fits) in [(65_528, true), (65_529, false), (65_536, false), (200_000, false)] {
        let mut out = vec![7];
        let result = MessageWriter::new(&mut out, Class::Indication, Method::Data, TRANSACTION_ID)
            .attribute(&Attribute::Data(&vec![0; len]))
            .finish();
        assert_eq!(result, if fits { Ok(20 + 4 + len) } else { Err(TooLong) });
        assert_eq!(out.len(), if fits { 1 + 24 + len } else { 1 });
    }
}

#[test]
fn error_code_is_class_and_number_and_its_reserved_bits_do_not_count() {
    let bytes = write(Class::Error, Method::Allocate, &[Attribute::ErrorCode(ErrorCode::STALE_NONCE, b"why")], OPEN);
    assert_eq!(bytes[20..31], [0, 9, 0, 7, 0, 0, 4, 38, b'w', b'h', b'y']);
    let reserved = [0xFF, 0xFF, 0xFC, 38];
    let decoded = Attribute::decode(AttributeType::ERROR_CODE, &reserved, &TRANSACTION_ID);
    assert_eq!(decoded, Ok(Attribute::ErrorCode(ErrorCode::STALE_NONCE, b"")));
    for (class, number) in [(2, 99), (7, 0), (4, 100)] {
        assert!(Attribute::decode(AttributeType::ERROR_CODE, &[0, 0, class, number], &TRANSACTION_ID).is_err());
    }
    assert_eq!((ErrorCode::new(299), ErrorCode::new(700)), (None, None));
}

#[test]
fn key_is_hidden_from_debug_output() {
    let shown = format!("{:?} {:?}", key(PasswordAlgorithm::Md5), IntegrityKey::short_term(b"hunter2"));
    assert_eq!(shown, "IntegrityKey(..) IntegrityKey(..)");
}
