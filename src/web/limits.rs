//! What the web services hold and how long they wait. Each limit is named once.

use std::time::Duration;

/// Connections at once, those in their handshake included; further ones are closed when they come.
pub const CONNECTIONS_MAX: usize = 512;

/// Of these, from one address, or from one network of 64 bits of IPv6.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 64;

/// The TLS handshake must be over by then.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// A request's header must be complete by then, and a connection that idles as long is closed.
pub const HEADER: Duration = Duration::from_secs(10);

/// A request's body must be complete by then.
pub const BODY: Duration = Duration::from_secs(10);

/// A connection ends whose peer takes nothing of what is sent to it for this long.
pub const WRITE: Duration = Duration::from_secs(30);

/// Even a busy connection ends then; a browser opens another.
pub const CONNECTION: Duration = Duration::from_secs(3600);

/// Longest header of a request.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Longest body of a request.
pub const BODY_BYTES_MAX: usize = 8 * 1024;

/// Pause after an accept that failed (descriptors exhausted), so that it is not tried in a tight loop.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Attempts to prove something (password, link, administrator's token) that one address has at once.
pub const ATTEMPTS_AT_ONCE: u32 = 20;

/// One more attempt after each of these.
pub const ATTEMPT_EVERY: Duration = Duration::from_secs(3);

/// Addresses whose attempts are remembered; when there are more, those longest without one are forgotten.
pub const SOURCES_MAX: usize = 4096;

/// Fewest characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 10;

/// Most characters of a password.
pub const PASSWORD_CHARS_MAX: usize = 128;

/// Fewest different characters of a password.
pub const PASSWORD_KINDS_MIN: usize = 5;

/// Fewest bytes of an administrator's token.
pub const ADMIN_TOKEN_BYTES_MIN: usize = 16;

/// Tokens of administrators at once: the new one and the one that it follows.
pub const ADMIN_TOKENS_MAX: usize = 2;

/// Characters of a mailbox's or a plan's name as somebody types it.
pub const NAME_CHARS_MAX: usize = 255;

/// Characters of a dial string.
pub const DIAL_STRING_CHARS_MAX: usize = 128;

/// Peaks of a waveform.
pub const PEAKS_MAX: usize = 200;

/// Recordings that are read for their waveform or length at once.
pub const READINGS_AT_ONCE: usize = 2;

/// Waveforms that are remembered.
pub const WAVEFORMS_KEPT: usize = 256;

/// Samples read from the store at once while audio is sent: a second at 16 kHz.
pub const SAMPLES_AT_ONCE: usize = 16_000;

/// Browsers of one mailbox that are told of changes.
pub const STREAMS_PER_MAILBOX: u32 = 10;

/// Browsers of all mailboxes that are told of changes.
pub const STREAMS_MAX: usize = 256;

/// News that wait for the slowest of them; beyond, it is told that anything may have changed.
pub const NEWS_MAX: usize = 1024;

/// Between two comments in a stream of events, each after a look whether the session still lives.
pub const STREAM_BEAT: Duration = Duration::from_secs(15);

/// Between two looks at what changed in the store.
pub const FEED_INTERVAL: Duration = Duration::from_millis(250);

/// Between two rounds of forgetting what is over.
pub const TEND_INTERVAL: Duration = Duration::from_secs(60);

/// Tries to make up a PIN that a policy takes.
pub const PIN_TRIES: usize = 100;
