//! Limits and times of the router, each named once.

use std::time::Duration;

/// How often the files of the configuration are looked at.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// How long one address of a UM service or worker may take to answer anything at all to a forwarded INVITE.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(2);

/// How often the loop shows that it lives.
pub(crate) const BEAT_INTERVAL: Duration = Duration::from_millis(250);
