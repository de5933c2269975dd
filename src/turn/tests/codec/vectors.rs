//! The published test vectors: RFC 5769, and RFC 8489 appendix B.1 with its verified erratum 6268.

use postern_turn::attribute::{Attribute, AttributeType};
use postern_turn::integrity::{IntegrityAlgorithm, IntegrityKey, PasswordAlgorithm, userhash};
use postern_turn::message::{Class, Message, MessageWriter, Method, TransactionId};
use postern_turn::nonce::{self, Features};
use postern_turn::request::Request;

const SHORT_TERM_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const USERNAME: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
const REALM: &str = "example.org";
const PASSWORD: &str = "TheMatrIX";

const REQUEST: &str = "
    00010058 2112a442 b7e7a701bc34d686fa87dfae
    80220010 5354554e207465737420636c69656e74
    00240004 6e0001ff
    80290008 932ff9b151263b36
    00060009 6576746a3a68367659202020
    00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
    80280004 e57a3bcf";

const RESPONSE_V4: &str = "
    0101003c 2112a442 b7e7a701bc34d686fa87dfae
    8022000b 7465737420766563746f7220
    00200008 0001a147e112a643
    00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
    80280004 c07d4c96";

const RESPONSE_V6: &str = "
    01010048 2112a442 b7e7a701bc34d686fa87dfae
    8022000b 7465737420766563746f7220
    00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9
    00080014 a382954e4be67bf11784c97c8292c275bfe3ed41
    80280004 c8fb0b4c";

const LONG_TERM_REQUEST: &str = "
    00010060 2112a442 78ad3433c6ad72c029da412e
    00060012 e3839ee38388e383aae38383e382afe382b90000
    0015001c 662f2f3439396b39353464364f4c33346f4c39465354767936347341
    0014000b 6578616d706c652e6f726700
    00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666";

const SHA256_REQUEST: &str = "
    00010090 2112a442 78ad3433c6ad72c029da412e
    001e0020 4a3cf38fef6992bda952c6780417da0f2481941556 9e60b205c46e41407f1704
    00150029 6f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c39465354767936347341000000
    0014000b 6578616d706c652e6f726700
    001d0004 00020000
    001c0020 b5c7bf005b6c52a21c51c5e892f819241362 96cb927c43149309278cc6518e65";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

#[test]
fn rfc_5769_request_decodes_and_its_integrity_and_fingerprint_match() {
    let bytes = bytes(REQUEST);
    let message = Message::decode(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, Method::Binding));
    assert!(message.has_fingerprint());
    assert_eq!(message.find(AttributeType::USERNAME), Ok(Some(Attribute::Username(b"evtj:h6vY"))));
    assert_eq!(message.find(AttributeType::PRIORITY), Ok(Some(Attribute::Priority(0x6E00_01FF))));
    assert_eq!(message.find(AttributeType::ICE_CONTROLLED), Ok(Some(Attribute::IceControlled(0x932F_F9B1_5126_3B36))));
    assert_eq!(message.find(AttributeType::SOFTWARE), Ok(Some(Attribute::Software(b"STUN test client"))));
    let integrity = message.integrity().unwrap();
    assert!(integrity.matches(&IntegrityKey::short_term(SHORT_TERM_PASSWORD)));
    assert!(!integrity.matches(&IntegrityKey::short_term(b"VOkJxbRl1RmTxUk/WvJxBu")));
}

#[test]
fn rfc_5769_responses_decode_and_are_written_byte_for_byte_but_for_their_padding() {
    let expected = [("192.0.2.1:32853", RESPONSE_V4), ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", RESPONSE_V6)];
    for (mapped, hex) in expected {
        let published = bytes(hex);
        let message = Message::decode(&published).unwrap();
        let mapped = mapped.parse().unwrap();
        assert_eq!(message.find(AttributeType::XOR_MAPPED_ADDRESS), Ok(Some(Attribute::XorMappedAddress(mapped))));
        assert!(message.has_fingerprint());
        let key = IntegrityKey::short_term(SHORT_TERM_PASSWORD);
        assert!(message.integrity().unwrap().matches(&key));

        // The vectors pad with spaces where RFC 8489 wants zeros: with that byte counted as value, all bytes agree.
        let mut out = Vec::new();
        MessageWriter::new(&mut out, Class::Success, Method::Binding, message.transaction_id())
            .attribute(&Attribute::Software(b"test vector "))
            .attribute(&Attribute::XorMappedAddress(mapped))
            .finish()
            .unwrap();
        let attributes_end = published.len() - 24 - 8;
        assert_eq!(out[24..], published[24..attributes_end]);
        assert_eq!(out[4..22], published[4..22]);
    }
}

#[test]
fn rfc_5769_long_term_request_is_written_byte_for_byte() {
    let published = bytes(LONG_TERM_REQUEST);
    let message = Message::decode(&published).unwrap();
    let key =
        IntegrityKey::long_term(PasswordAlgorithm::Md5, USERNAME.as_bytes(), REALM.as_bytes(), PASSWORD.as_bytes());
    assert!(message.integrity().unwrap().matches(&key));

    let mut out = Vec::new();
    let length = MessageWriter::new(&mut out, Class::Request, Method::Binding, message.transaction_id())
        .attribute(&Attribute::Username(USERNAME.as_bytes()))
        .attribute(&Attribute::Nonce(b"f//499k954d6OL34oL9FSTvy64sA"))
        .attribute(&Attribute::Realm(REALM.as_bytes()))
        .integrity(IntegrityAlgorithm::Sha1, &key)
        .finish();
    assert_eq!(length, Ok(published.len()));
    assert_eq!(out, published);
}

#[test]
fn rfc_8489_userhash_and_sha256_request_is_written_byte_for_byte() {
    let published = bytes(SHA256_REQUEST);
    let message = Message::decode(&published).unwrap();
    let request = Request::from_message(&message);
    let hash = userhash(USERNAME.as_bytes(), REALM.as_bytes());
    assert_eq!(request.userhash, Some(&hash));
    assert_eq!(request.password_algorithm, Some((PasswordAlgorithm::Sha256.number(), &[][..])));
    assert_eq!(request.malformed, None);
    assert!(request.unknown.is_empty());
    let key =
        IntegrityKey::long_term(PasswordAlgorithm::Sha256, USERNAME.as_bytes(), REALM.as_bytes(), PASSWORD.as_bytes());
    let integrity = request.integrity.unwrap();
    assert_eq!(integrity.algorithm(), IntegrityAlgorithm::Sha256);
    assert!(integrity.matches(&key));

    let mut out = Vec::new();
    MessageWriter::new(&mut out, Class::Request, Method::Binding, message.transaction_id())
        .attribute(&Attribute::Userhash(&hash))
        .attribute(&Attribute::Nonce(b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"))
        .attribute(&Attribute::Realm(REALM.as_bytes()))
        .attribute(&PasswordAlgorithm::Sha256.into())
        .integrity(IntegrityAlgorithm::Sha256, &key)
        .finish()
        .unwrap();
    assert_eq!(out, published);
}

#[test]
fn nonce_cookie_of_the_vector_is_recognised_and_its_bits_are_counted_from_the_left() {
    // The vector was made with the bits counted from the right; the text of section 18.1 counts from the left.
    let features = nonce::features(b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA").unwrap();
    assert!(!features.contains(Features::PASSWORD_ALGORITHMS));
    assert!(!features.contains(Features::USERNAME_ANONYMITY));
    let features = nonce::features(b"obMatJos2gAAA").unwrap();
    assert!(features.contains(Features::PASSWORD_ALGORITHMS));
    assert!(!features.contains(Features::USERNAME_ANONYMITY));
    assert_eq!(nonce::features(b"f//499k954d6OL34oL9FSTvy64sA"), None);
}

#[test]
fn transaction_id_holds_the_cookie_in_front() {
    let message_bytes = bytes(REQUEST);
    let id: [u8; 12] = message_bytes[8..20].try_into().unwrap();
    assert_eq!(Message::decode(&message_bytes).unwrap().transaction_id(), TransactionId::new(id));
}
