//! What a client believes, and what it does not.

use postern_turn::attribute::{Attribute, AttributeType, PasswordAlgorithms};
use postern_turn::client::{ClientCredentials, ClientEvent, EdgeFailure, Failure};
use postern_turn::error_code::ErrorCode;
use postern_turn::integrity::{IntegrityAlgorithm, IntegrityKey};
use postern_turn::message::{Class, Message, MessageWriter, TransactionId};

use crate::edge::Wishes;
use crate::line::{Line, secs};

/// An answer of the edge with its attributes passed through `change`; signatures are left out.
fn rewritten(bytes: &[u8], change: impl Fn(AttributeType) -> Option<Vec<u8>>) -> Vec<u8> {
    let message = Message::decode(bytes).unwrap();
    let mut out = Vec::new();
    let mut writer = MessageWriter::new(&mut out, message.class(), message.method(), message.transaction_id());
    for raw in message.attributes() {
        match change(raw.attribute_type) {
            Some(value) if value.is_empty() => {}
            Some(value) => {
                writer.raw_attribute(raw.attribute_type, &value);
            }
            None => {
                writer.raw_attribute(raw.attribute_type, raw.value);
            }
        }
    }
    writer.fingerprint().finish().unwrap();
    out
}

fn error(request_id: TransactionId, bytes: &[u8], code: ErrorCode) -> Vec<u8> {
    let mut out = Vec::new();
    let method = Message::decode(bytes).unwrap().method();
    let mut writer = MessageWriter::new(&mut out, Class::Error, method, request_id);
    writer.attribute(&Attribute::ErrorCode(code, b"")).fingerprint().finish().unwrap();
    out
}

fn failure(line: &Line) -> Option<Failure> {
    line.events.iter().find_map(|event| if let ClientEvent::Failed(failure) = event { Some(*failure) } else { None })
}

#[test]
fn a_wrong_password_fails_after_one_try() {
    let mut line = Line::with(Wishes::default(), |_, settings| {
        settings.credentials = ClientCredentials::new("1999999999:worker", "not it");
    });
    line.pass(secs(5));
    assert_eq!(failure(&line).map(Failure::edge), Some(EdgeFailure::NoCredentials));
    assert_eq!(line.sent.len(), 2);
}

#[test]
fn a_hidden_list_of_algorithms_is_noticed() {
    let mut line = Line::new();
    line.tamper =
        Box::new(|bytes| vec![rewritten(&bytes, |kind| (kind == AttributeType::PASSWORD_ALGORITHMS).then(Vec::new))]);
    line.pass(secs(5));
    assert_eq!(failure(&line), Some(Failure::Algorithms));
}

#[test]
fn a_shortened_list_of_algorithms_is_noticed_by_the_server() {
    let mut line = Line::new();
    line.tamper = Box::new(|bytes| {
        vec![rewritten(&bytes, |kind| (kind == AttributeType::PASSWORD_ALGORITHMS).then(|| vec![0, 1, 0, 0]))]
    });
    line.pass(secs(5));
    assert_eq!(failure(&line), Some(Failure::Refused(ErrorCode::BAD_REQUEST)));
}

#[test]
fn algorithms_that_nobody_knows_end_the_attempt() {
    let mut line = Line::new();
    line.tamper = Box::new(|bytes| {
        vec![rewritten(&bytes, |kind| (kind == AttributeType::PASSWORD_ALGORITHMS).then(|| vec![0, 9, 0, 0]))]
    });
    line.pass(secs(5));
    assert_eq!(failure(&line), Some(Failure::Algorithms));
}

#[test]
fn an_unsigned_refusal_before_the_answer_changes_nothing() {
    let mut line = Line::new();
    line.tamper = Box::new(|bytes| {
        let message = Message::decode(&bytes).unwrap();
        vec![error(message.transaction_id(), &bytes, ErrorCode::ALLOCATION_QUOTA_REACHED), bytes]
    });
    // The bare first request may be refused by anybody; so much is in the nature of things.
    line.pass(secs(1));
    assert_eq!(failure(&line), Some(Failure::Quota));

    let mut line = Line::new();
    line.tamper = Box::new(|bytes| {
        let message = Message::decode(&bytes).unwrap();
        let spoofed = error(message.transaction_id(), &bytes, ErrorCode::ALLOCATION_QUOTA_REACHED);
        if message.integrity().is_some() { vec![spoofed, bytes] } else { vec![bytes] }
    });
    line.allocated();
}

#[test]
fn a_success_signed_with_another_key_changes_nothing() {
    let mut line = Line::new();
    line.tamper = Box::new(|bytes| {
        let message = Message::decode(&bytes).unwrap();
        if message.class() != Class::Success {
            return vec![bytes];
        }
        let mut forged = Vec::new();
        let mut writer = MessageWriter::new(&mut forged, Class::Success, message.method(), message.transaction_id());
        writer.attribute(&Attribute::XorRelayedAddress("192.0.2.66:666".parse().unwrap()));
        writer.attribute(&Attribute::Lifetime(600));
        writer.integrity(IntegrityAlgorithm::Sha256, &IntegrityKey::short_term(b"guess"));
        writer.fingerprint().finish().unwrap();
        vec![forged, bytes]
    });
    assert_eq!(line.allocated().relayed.ip(), line.edge.address.ip());
}

#[test]
fn what_nobody_proved_is_still_the_best_guess_in_the_end() {
    let mut line = Line::new();
    line.tamper = Box::new(|bytes| {
        let message = Message::decode(&bytes).unwrap();
        let unsigned = error(message.transaction_id(), &bytes, ErrorCode::ALLOCATION_QUOTA_REACHED);
        if message.integrity().is_some() { vec![unsigned] } else { vec![bytes] }
    });
    line.pass(secs(45));
    assert_eq!(failure(&line), Some(Failure::Quota));
}

#[test]
fn a_server_that_challenges_for_ever_is_given_up() {
    let mut line = Line::new();
    let mut realm_and_nonce = None;
    line.tamper = Box::new(move |bytes| {
        let message = Message::decode(&bytes).unwrap();
        let kept: &mut (Vec<u8>, Vec<u8>) = realm_and_nonce.get_or_insert_with(|| {
            let value = |wanted| message.attributes().find(|raw| raw.attribute_type == wanted).unwrap().value.to_vec();
            (value(AttributeType::REALM), value(AttributeType::NONCE))
        });
        let mut stale = Vec::new();
        let mut writer = MessageWriter::new(&mut stale, Class::Error, message.method(), message.transaction_id());
        writer.attribute(&Attribute::ErrorCode(ErrorCode::STALE_NONCE, b""));
        writer.attribute(&Attribute::Realm(&kept.0)).attribute(&Attribute::Nonce(&kept.1));
        writer.attribute(&Attribute::PasswordAlgorithms(PasswordAlgorithms::OFFERED));
        writer.fingerprint().finish().unwrap();
        vec![stale]
    });
    line.pass(secs(5));
    assert_eq!(failure(&line), Some(Failure::Credentials(ErrorCode::STALE_NONCE)));
    assert!(line.sent.len() <= 5, "{} requests", line.sent.len());
}

#[test]
fn damaged_messages_do_no_harm() {
    let mut line = Line::new();
    line.tamper = Box::new(|bytes| {
        let mut all = Vec::new();
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x55;
            all.push(damaged);
            all.push(bytes[..place].to_vec());
        }
        all.push(bytes);
        all
    });
    line.allocated();
    line.permit(crate::line::peer());
    assert!(line.client.is_permitted(crate::line::peer().ip()));
}
