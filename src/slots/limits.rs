//! Limits of the messages and of the supervision, each named once.

use std::time::Duration;

/// Version of the messages. A field or message more is no new version: readers pass over what they do not know.
pub const VERSION: u32 = 1;

/// Longest line, its end included. The longest that is written is a part of a story, all of it escaped.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Text in one part of a story.
pub const STORY_PART_BYTES_MAX: usize = 8 * 1024;

/// Longest story; what is longer is cut.
pub const STORY_BYTES_MAX: usize = 512 * 1024;

/// Calls in one part of an answer: few enough for a line, whatever their names.
pub const RECENT_CALLS_PART_MAX: usize = 32;

/// Calls in one answer; older ones are left out.
pub const RECENT_CALLS_MAX: usize = 16_384;

/// Longest [`CallKey`](crate::CallKey), in characters.
pub const CALL_KEY_CHARS_MAX: usize = 256;

/// Addresses of one worker that are kept.
pub const CONTACTS_MAX: usize = 16;

/// Longest path of a Unix socket (unix(7)), in bytes.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Calls of one worker that are told apart; a worker says no more of them than it may have.
pub const CALLS_PER_SLOT_MAX: usize = 65_536;

/// Between two statuses of a worker.
pub const HEARTBEAT: Duration = Duration::from_millis(500);

/// A worker not heard of for so long gets no more calls.
pub const SILENCE_MAX: Duration = Duration::from_secs(2);

/// A worker not heard of for so long is killed. Its recordings survive that; its callers would not wait longer.
pub const HUNG_MAX: Duration = Duration::from_secs(10);

/// From its start, or from being found, to a worker's first status.
pub const START_TIME: Duration = Duration::from_secs(10);

/// From being told to end to the end of a worker's process.
pub const RETIRE_TIME: Duration = Duration::from_secs(5);

/// A call counts for so long after its 302, until its worker has it.
pub const RESERVATION: Duration = Duration::from_secs(10);

/// Wait before the start after the second failure in a row; doubled for each further one. The first is not waited for.
pub const BACK_OFF: Duration = Duration::from_millis(500);

/// Longest wait before a start.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// A worker that was there for so long has not failed to start.
pub const STABLE_TIME: Duration = Duration::from_secs(60);

/// Events that wait to be polled; the oldest is lost beyond.
pub const EVENTS_MAX: usize = 256;

/// Longest text in an order of an outgoing call, in bytes; a dial string is no longer.
pub const ORDER_TEXT_BYTES_MAX: usize = 512;

/// Gateways that one order names.
pub const ORDER_GATEWAYS_MAX: usize = 16;

/// Outgoing calls that are remembered, those under way and those that are over.
pub const OUTCALLS_MAX: usize = 4096;

/// How long an outgoing call is remembered after its end.
pub const OUTCALL_MEMORY: Duration = Duration::from_secs(600);

/// A worker says by then that it has an order, or it is given up.
pub const ORDER_TAKEN_TIME: Duration = Duration::from_secs(5);

/// The time in which a mailbox may place no more than so many calls.
pub const OUTCALL_HOUR: Duration = Duration::from_secs(3600);

/// Times that outgoing calls were placed at, of all mailboxes together, that are remembered for an hour.
pub const PLACINGS_MAX: usize = 65_536;
