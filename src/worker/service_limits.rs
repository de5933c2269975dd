//! How much is kept of what surrounds calls, and how long it is waited for. Each limit is named once.

use std::time::Duration;

/// A token must be there by then, connecting included.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest answer of a token service, head and body.
pub const TOKEN_ANSWER_BYTES_MAX: usize = 32 * 1024;

/// Relay URIs of one answer that are looked at.
pub const RELAY_URIS_MAX: usize = 16;

/// Addresses of one edge.
pub const RELAY_ADDRESSES_MAX: usize = 4;

/// Names of relays are looked up again after so long.
pub const RELAYS_AGE_MAX: Duration = Duration::from_secs(60);

/// Tokens that wait for calls to come, per edge.
pub const TOKENS_READY: usize = 4;

/// Calls that have tokens of their own; beyond it calls do without the edge.
pub const CALLS_WITH_TOKENS_MAX: usize = 8192;

/// How long a call waits for its first token when none is ready.
pub const TOKEN_WAIT: Duration = Duration::from_millis(500);

/// A token that ends sooner is of no use to a call that begins.
pub const TOKEN_LEFT_MIN: Duration = Duration::from_secs(10);

/// First and longest pause after a token service gave nothing.
pub const TOKEN_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Renewed credentials that a call has not taken yet.
pub const CREDENTIALS_QUEUE: usize = 8;

/// Between two probes of an edge that calls use.
pub const PROBE_IN_USE: Duration = Duration::from_secs(1);

/// Between two probes of an edge that nobody uses: while it answers, and at most while it does not.
pub const PROBE_IDLE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// A probe is answered by then, or not at all.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Unanswered probes in a row that make an edge dead.
pub const PROBES_UNANSWERED: u32 = 2;

/// An edge that failed a call stays out at least so long, whatever it answers meanwhile.
pub const FAILED_FOR: Duration = Duration::from_secs(3);

/// An edge without free ports, or that refused a token, is asked last for so long.
pub const IMPAIRED_FOR: Duration = Duration::from_secs(10);

/// Records that wait for the disk; more go to the log.
pub const RECORDS_QUEUE: usize = 8192;

/// Longest text of one column, in characters.
pub const RECORD_TEXT_MAX: usize = 256;

/// Lines of one call's story that are kept: half of them its first ones, half its last.
pub const STORY_LINES_MAX: usize = 128;

/// Longest line of a story, in characters.
pub const STORY_LINE_MAX: usize = 200;

/// Longest part of a story that is told at a call's end: candidates, pairs and counters, in bytes.
pub const STORY_END_BYTES_MAX: usize = 32 * 1024;

/// Calls under way that have a story; those beyond it have none.
pub const STORIES_UNDER_WAY_MAX: usize = 8192;
