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

/// Packets of one RTCP compound; a longer one is malformed.
pub const RTCP_PACKETS_MAX: usize = 16;

/// SSRCs under one SRTP master key; packets of others are dropped.
pub const SRTP_SOURCES_MAX: usize = 16;

/// Packets that a replay window reaches back.
pub const SRTP_REPLAY_WINDOW: usize = 128;

/// How long an event without its end may be quiet before it counts as ended.
pub const DIGIT_QUIET: Duration = Duration::from_millis(250);

/// Shortest and longest digit that we send; the longest fits into one segment of RFC 4733.
pub const DIGIT_MIN: Duration = Duration::from_millis(40);
pub const DIGIT_MAX: Duration = Duration::from_millis(8_000);

/// End packets of a digit (RFC 4733 section 2.5.1.4).
pub const DIGIT_ENDS: u8 = 3;

/// Packets that a jitter buffer holds: of 20 ms each, five seconds, as much as may come at once while somebody records.
pub const JITTER_SLOTS: usize = 256;

/// How long the first packet waits before it is played: jitter below it costs nothing.
pub const PLAYOUT_DELAY: Duration = Duration::from_millis(80);

/// Longest delay that jitter may build up, unless somebody records; what comes later still is dropped.
pub const PLAYOUT_DELAY_MAX: Duration = Duration::from_millis(1_000);

/// Time to spare of the latest packet, over some seconds, beyond which silence is shortened.
pub const PLAYOUT_SPARE_MAX: Duration = Duration::from_millis(140);

/// Sources that may become the pinned one at the same time.
pub const PIN_CANDIDATES_MAX: usize = 4;

/// How long the pinned source must be silent before another may take its place.
pub const PIN_QUIET: Duration = Duration::from_secs(2);

/// Datagrams that one DTLS association may take: its library keeps some of what comes before its time.
pub const DTLS_DATAGRAMS_MAX: u32 = 256;

/// Handshakes that may go wrong, other than by silence, before DTLS is given up.
pub const DTLS_ATTEMPTS_MAX: u32 = 4;

/// How often a flight is repeated.
pub const DTLS_FLIGHT_INTERVAL: Duration = Duration::from_millis(500);

/// How long DTLS may take, from the moment it was agreed on.
pub const DTLS_TIME_MAX: Duration = Duration::from_secs(20);

/// Mean time between RTCP reports (RFC 3550 section 6.2).
pub const RTCP_INTERVAL: Duration = Duration::from_secs(5);

/// Longest round trip that is believed, in seconds.
pub const ROUND_TRIP_SECS_MAX: u32 = 30;
