//! What is read is written and read as the same, and every reading of it can be asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_sip::{Message, StatusCode, Target};

fuzz_target!(|input: &[u8]| {
    let message = match Message::parse(input) {
        Ok(message) => message,
        Err(malformed) => {
            malformed.answer().map(|answer| answer.encode());
            return;
        }
    };
    let headers = message.headers();
    let _ = (headers.diversions(), headers.history_info(), headers.asserted_identities(), headers.refer_to());
    let _ = (headers.session_expires(), headers.event(), headers.content_type(), headers.reasons());
    if let Message::Request(request) = &message {
        let _ = (Target::of(request), request.response(StatusCode::OK, Some("x")).encode());
        assert!(request.uri.is_equivalent(&request.uri));
    }
    let written = message.encode();
    let again = Message::parse(&written).expect("a message that was written is not read");
    assert_eq!(again.encode(), written);
});
