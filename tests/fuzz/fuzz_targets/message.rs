//! What is read is written again and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_turn::attribute::Attribute;
use postern_turn::message::{Message, MessageWriter, RawAttribute};

fuzz_target!(|input: &[u8]| {
    let Ok(message) = Message::decode(input) else {
        return;
    };
    let id = message.transaction_id();
    let decode = |raw: &RawAttribute<'_>| {
        format!(
            "{:?}",
            Attribute::decode(raw.attribute_type, raw.value, &id)
        )
    };
    let mut again = Vec::new();
    let mut writer = MessageWriter::new(&mut again, message.class(), message.method(), id);
    for raw in message.attributes() {
        match Attribute::decode(raw.attribute_type, raw.value, &id) {
            Ok(attribute) => writer.attribute(&attribute),
            Err(_) => writer.raw_attribute(raw.attribute_type, raw.value),
        };
    }
    if writer.finish().is_err() {
        panic!("a message that was read is too long to be written");
    }
    let second = Message::decode(&again).expect("a message that was written is not read");
    let words = |message: &Message<'_>| {
        message
            .attributes()
            .map(|raw| decode(&raw))
            .collect::<Vec<_>>()
    };
    assert_eq!(words(&message), words(&second));
});
