//! A stream means the same however it is cut: the first byte says into pieces of which size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_sip::framer::{Frame, Framer};

fn frames(stream: &[u8], size: usize) -> Vec<Frame> {
    let mut framer = Framer::new(4096);
    let mut frames = Vec::new();
    for chunk in stream.chunks(size) {
        framer.push(chunk);
        frames.extend(std::iter::from_fn(|| framer.pop()));
    }
    frames
}

fuzz_target!(|input: &[u8]| {
    let Some((size, stream)) = input.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    let pieces = frames(stream, usize::from(*size).max(1));
    // A stream that is too long may be broken off with more or less of it seen; all before is the same.
    let messages = |frames: &[Frame]| {
        frames.iter().filter(|frame| !matches!(frame, Frame::Broken(_))).cloned().collect::<Vec<_>>()
    };
    assert_eq!(messages(&whole), messages(&pieces));
    let broken = |frames: &[Frame]| frames.iter().any(|frame| matches!(frame, Frame::Broken(_)));
    assert_eq!(broken(&whole), broken(&pieces));
});
