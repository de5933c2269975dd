//! What a worker holds and how long it waits. Each limit is named once.

use std::time::Duration;

/// Calls of one media thread.
pub const CALLS_PER_THREAD: usize = 4096;

/// Commands that wait for a media thread; a full queue refuses the call that asks.
pub const COMMANDS_MAX: usize = 16 * 1024;

/// Events of one call's media that wait for its control; a call that does not read them is closed.
pub const MEDIA_EVENTS_MAX: usize = 256;

/// Datagrams taken from one socket before the next has its turn.
pub const DATAGRAMS_PER_TURN: usize = 8;

/// A datagram that lay longer than this in its socket is taken for one that lay so long: the time of day may have been
/// set meanwhile.
pub const DATAGRAM_AGE_MAX: Duration = Duration::from_secs(10);

/// Datagrams taken from each socket before a frame that is late: more than come in its time, fewer than would fill the
/// jitter buffer.
pub const DATAGRAMS_PER_LATE_FRAME: usize = 2;

/// Sockets of one call: RTP and RTCP of two address families.
pub const SOCKETS_PER_CALL: usize = 4;

/// Audio that is handed to the stream ahead of its time.
pub const PLAY_AHEAD: Duration = Duration::from_millis(400);

/// Audio that is asked for when a playback that goes on has less than this left.
pub const PLAY_LOW: Duration = Duration::from_millis(1500);

/// Recorded audio in one piece: `kill -9` costs at most this much, and one piece on its way to the disk.
pub const RECORDED_PIECE: Duration = Duration::from_millis(100);

/// How long a recording waits whether what is missing was lost or is late only.
pub const UNSETTLED_MAX: Duration = Duration::from_secs(4);

/// Frames that a recording takes at its end of what was not yet due: more than the jitter buffer holds.
pub const REST_FRAMES_MAX: usize = postern_media::limits::JITTER_SLOTS + 22;

/// Pieces of recorded audio that wait for the disk; more is a disk that does not keep up.
pub const RECORDED_PIECES_MAX: usize = 64;

/// How long a closed call may take to give its relay back.
pub const RELEASE: Duration = Duration::from_secs(3);

/// DSCP EF (RFC 3246) in the traffic class field.
pub const TRAFFIC_CLASS: u8 = 46 << 2;

/// Receive and send buffer of a media socket.
pub const SOCKET_BYTES: usize = 128 * 1024;

/// Commands of calls that wait for the signalling loop.
pub const CALL_COMMANDS_MAX: usize = 4096;

/// Messages of signalling that wait for one call.
pub const CALL_MESSAGES_MAX: usize = 64;

/// Retry-After of a worker that takes no calls: a gateway sends nothing while it lasts.
pub const RETRY_AFTER_SECS: u32 = 2;

/// How long a worker that leaves waits for what its peers still have to say on calls that it has ended.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// How long a worker waits for its predecessor in the slot to end.
pub const LOCK_TIME: Duration = Duration::from_secs(1);

/// Connections to the slot's socket: two UM services, one leaving and one coming, and those that ask for stories.
pub const SLOT_CONNECTIONS_MAX: usize = 8;

/// Messages of them that wait for the signalling loop.
pub const SLOT_MESSAGES_MAX: usize = 64;

/// Writes that wait for one of them; one that is further behind is closed.
pub const SLOT_LINES_MAX: usize = 1024;

/// Read from one of them at once.
pub const SLOT_READ_BYTES: usize = 16 * 1024;

/// One that takes nothing for so long is closed.
pub const SLOT_WRITE_TIME: Duration = Duration::from_secs(2);

/// Between two looks at whether the store can be written to.
pub const PROBE_STORE: Duration = Duration::from_secs(2);

/// The store answers by then, or counts as not writable.
pub const PROBE_STORE_TIME: Duration = Duration::from_secs(5);

/// Between two looks at what is counted as a level.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Between two times that deleted messages are forgotten.
pub const FORGET_INTERVAL: Duration = Duration::from_secs(600);

/// How long a gateway may take to answer anything at all to a call or question of ours before the next one is tried.
pub const GATEWAY_ANSWER_TIME: Duration = Duration::from_secs(4);

/// How much longer than it may ring a call of ours is waited for, should its end not be told.
pub const DIAL_END_TIME: Duration = Duration::from_secs(5);

/// Between two questions to a gateway how it is.
pub const GATEWAY_PING_INTERVAL: Duration = Duration::from_secs(20);
