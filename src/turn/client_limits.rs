//! Limits of the clients: what a server can make them hold, and how long they wait.

use std::time::Duration;

/// First wait for an answer over UDP; it doubles with each repeat (RFC 8489 section 6.2.1).
pub const RTO: Duration = Duration::from_millis(500);

/// How often a request is sent over UDP, the first time included (Rc of RFC 8489 section 6.2.1).
pub const SENDS_MAX: u32 = 7;

/// How often a request to release is sent: the server forgets us anyway.
pub const RELEASE_SENDS_MAX: u32 = 3;

/// How many [`RTO`]s the last wait lasts (Rm of RFC 8489 section 6.2.1).
pub const LAST_WAIT_RTOS: u32 = 16;

/// How long a request over a stream waits for its answer (Ti of RFC 8489 section 6.2.3).
pub const STREAM_WAIT: Duration = Duration::from_millis(39_500);

/// Requests of one client that wait for their answers.
pub const REQUESTS_MAX: usize = 8;

/// How often one request is made anew because of a challenge: a 401, and nonces that went stale meanwhile.
pub const CHALLENGES_MAX: u32 = 3;

/// Addresses that one client has permissions for.
pub const CLIENT_PERMISSIONS_MAX: usize = 64;

/// Channels that one client binds in its life; a number serves one peer only.
pub const CLIENT_CHANNELS_MAX: usize = 64;

/// Age at which a permission of 300 s is asked for anew (RFC 8656 section 10); a channel is bound anew as often, which
/// keeps its permission.
pub const PERMISSION_REFRESH: Duration = Duration::from_secs(240);

/// Wait before something that got no answer or a passing error is asked for again.
pub const RETRY_WAIT: Duration = Duration::from_secs(2);

/// Shortest time between two refreshes, whatever lifetime the server grants.
pub const REFRESH_MIN: Duration = Duration::from_secs(1);

/// Events that a shell has not taken yet; beyond, the oldest is lost.
pub const CLIENT_EVENTS_MAX: usize = 256;
