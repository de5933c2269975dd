//! Limits of the UM service, each named once.

use std::time::Duration;

/// Between two looks at certificates, secrets and the workers' binary.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Between two signs of life and readings of gauges; below the age at which health takes the loop for stuck.
pub(crate) const BEAT_INTERVAL: Duration = Duration::from_millis(250);

/// Before a worker's socket is tried again.
pub(crate) const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Before one is tried again that speaks no version of ours.
pub(crate) const UNUSABLE_PAUSE: Duration = Duration::from_secs(5);

/// How long a write to a worker may take; a slower one is connected to anew.
pub(crate) const WRITE_TIME: Duration = Duration::from_millis(500);

/// How long what a dead worker said last may take to be read.
pub(crate) const LAST_WORDS_TIME: Duration = Duration::from_millis(50);

/// Bytes read from a worker at once.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// Orders that wait for one slot's task; more are a fault of ours and are lost.
pub(crate) const ORDERS_MAX: usize = 256;

/// News of both slots that wait; beyond, workers wait.
pub(crate) const NEWS_MAX: usize = 1024;

/// How long the lock of an earlier UM service is waited for.
pub(crate) const LOCK_TIME: Duration = Duration::from_secs(3);

/// How long a worker may take to tell a story.
pub(crate) const STORY_TIME: Duration = Duration::from_secs(5);

/// Questions about outgoing calls that wait; beyond, whoever asks waits.
pub(crate) const CALL_QUESTIONS_MAX: usize = 256;

/// Changes of outgoing calls that a listener may be behind.
pub(crate) const CALL_CHANGES_MAX: usize = 256;

/// Between two looks at what changed in the store.
pub(crate) const CHANGES_INTERVAL: Duration = Duration::from_millis(250);

/// Before a store that does not open, or could not be read, is tried again.
pub(crate) const STORE_PAUSE: Duration = Duration::from_secs(1);

/// How long a look may take; a store that is slower is taken for broken.
pub(crate) const STORE_TIME: Duration = Duration::from_secs(10);

/// Changes that wait for a listener; one that is slower looks at everything again.
pub(crate) const CHANGES_WAITING_MAX: usize = 4_096;

/// Questions to the store that wait; a SUBSCRIBE beyond gets a 503, a look at a mailbox comes later.
pub(crate) const STORE_QUESTIONS_MAX: usize = 512;
