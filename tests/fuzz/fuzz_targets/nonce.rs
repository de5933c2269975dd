//! Nobody without the secret makes a fresh nonce.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_turn::io::Transport;
use postern_turn::nonce::{Features, NonceKeys, NonceVerdict, features, issue_time};

fuzz_target!(|input: &[u8]| {
    let keys = NonceKeys::new(&[b"a secret that no input holds"]);
    let client = ([192, 0, 2, 1], 40_000).into();
    let verdict = keys.verify(input, 1_800_000_000, Transport::Udp, client);
    let issued = keys.issue(1_800_000_000, Features::default(), Transport::Udp, client);
    assert!(!matches!(verdict, NonceVerdict::Fresh(_)) || input == issued);
    features(input);
    std::str::from_utf8(input).ok().and_then(issue_time);
});
