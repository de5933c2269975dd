//! What the store holds and how long it waits. Each limit is named once.

use std::time::Duration;

/// Questions answered or waiting at once; one more is [`StoreError::Busy`](postern_mailbox::StoreError::Busy).
pub const QUESTIONS_MAX: usize = 512;

/// Connections to the database that read.
pub const READERS: u32 = 4;

/// How long a question waits for a lock of the database, which the other worker may hold.
pub const DATABASE_WAIT: Duration = Duration::from_secs(5);

/// PINs compared at once: each takes 19 MB of memory and tens of milliseconds of a core.
pub const PINS_AT_ONCE: usize = 2;

/// Threads that write recordings.
pub const RECORDERS: usize = 4;

/// Commands waiting for one of them.
pub const RECORDER_QUEUE: usize = 1024;

/// Recordings open on one of them.
pub const RECORDINGS_PER_RECORDER: usize = 1024;

/// What was appended is synced at the latest after this long, counted from the first byte that is not.
pub const SYNC_AFTER: Duration = Duration::from_millis(700);

/// Recordings whose place for reading on is remembered.
pub const PLACES_KEPT: usize = 1024;

/// Samples read at once, whatever was asked for: 10 s at 16 kHz.
pub const SAMPLES_READ_MAX: usize = 160_000;

/// Samples appended at once: 1 s at 16 kHz.
pub const SAMPLES_APPENDED_MAX: usize = 16_000;

/// Mailboxes listed at once.
pub const MAILBOXES_LISTED_MAX: u32 = 100_000;

/// Changes told at once; the rest is told when asked again.
pub const CHANGES_READ_MAX: u32 = 1_000;

/// Subscriptions that are kept; one more is not.
pub const SUBSCRIPTIONS_MAX: u32 = 20_000;
