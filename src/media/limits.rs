//! Limits of everything a stream holds, named once, so that a reader sees what a peer can make us keep.

use std::time::Duration;

/// Audio of one frame on our side.
pub const FRAME: Duration = Duration::from_millis(20);

/// Frames per second on our side.
pub const FRAMES_PER_SEC: u32 = 50;

/// Highest sample rate of PCM on our side.
pub const PCM_RATE_MAX: u32 = 16_000;

/// Payload types of one session that are agreed for reception.
pub const PAYLOAD_TYPES_MAX: usize = 8;

/// Longest UDP payload that is looked at, and that we send.
pub const PACKET_BYTES_MAX: usize = 1_500;

/// Events that wait for their owner; later ones are dropped and counted.
pub const EVENTS_MAX: usize = 64;

/// Packets that wait to be sent; later ones are dropped and counted.
pub const TRANSMITS_MAX: usize = 32;

/// Audio that waits to be played, in milliseconds.
pub const PLAY_MS_MAX: u32 = 2_000;

/// Digits of ours that wait to be sent.
pub const DIGITS_QUEUED_MAX: usize = 64;

/// Frames that are made up for at once after the shell's clock jumped (10 s); the rest is skipped.
pub const FRAMES_BEHIND_MAX: u32 = 500;
