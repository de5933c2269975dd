//! A request stays within its limits and its input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_turn::limits::{PEERS_PER_REQUEST_MAX, UNKNOWN_ATTRIBUTES_MAX};
use postern_turn::message::Message;
use postern_turn::request::Request;

fuzz_target!(|input: &[u8]| {
    let Ok(message) = Message::decode(input) else {
        return;
    };
    let request = Request::from_message(&message);
    if let Some(data) = request.data.clone() {
        assert!(input.get(data).is_some());
    }
    assert!(request.peers.iter().count() <= PEERS_PER_REQUEST_MAX);
    assert!(request.unknown.list().iter().count() <= UNKNOWN_ATTRIBUTES_MAX);
});
