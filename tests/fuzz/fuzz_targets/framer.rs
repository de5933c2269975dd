//! A frame is the same however much of the stream has arrived.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_turn::channel_data;
use postern_turn::framer::{Frame, classify_datagram, frame_stream};

fuzz_target!(|input: &[u8]| {
    classify_datagram(input);
    if let Some(data) = channel_data::decode(input) {
        assert!(input.get(data.payload).is_some());
    }
    let whole = frame_stream(input);
    let taken = match whole {
        Frame::Stun { bytes } => bytes,
        Frame::ChannelData { padded_bytes, .. } => padded_bytes,
        Frame::Incomplete { .. } => input.len() + 1,
        Frame::Invalid => return,
    };
    for end in 0..input.len() {
        let frame = frame_stream(&input[..end]);
        assert!(if end < taken {
            matches!(frame, Frame::Incomplete { .. })
        } else {
            frame == whole
        });
    }
});
