//! How long sending may take and how much a letter holds. Each limit is named once.

use std::time::Duration;

/// For a connection to be ready: name, TCP, TLS, greeting, login.
pub const CONNECT_TIME: Duration = Duration::from_secs(30);

/// For a letter to be taken, its audio included.
pub const TRANSFER_TIME: Duration = Duration::from_secs(240);

/// For a connection to be ended in good manners.
pub const QUIT_TIME: Duration = Duration::from_secs(2);

/// How long a letter is held by the process that sends it: longer than all of the above together, and reading its audio.
pub const HOLD: Duration = Duration::from_secs(360);

/// Before a letter is tried again for the first time; doubled each time, to at most [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_secs(60);

/// Longest time between two attempts, but for the jitter.
pub const BACKOFF_MAX: Duration = Duration::from_secs(3600);

/// Before any letter is tried after the server failed; doubled each time, to at most [`PAUSE_MAX`].
pub const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest of these pauses: so long after its recovery, a server gets the letters that waited for it.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Between two looks for letters; another process may have queued one.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Letters sent between two looks at the clock and the settings.
pub const LETTERS_PER_TURN: usize = 20;

/// Between two times of forgetting what is old.
pub const TEND_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of a WAV file that is attached: 6 minutes at 16 kHz. A longer message is told without its audio.
pub const ATTACHED_BYTES_MAX: usize = 12_000_000;

/// Characters of a caller's name or number in a letter.
pub const CALLER_CHARS_MAX: usize = 80;

/// Characters of what a server said that are kept.
pub const REPLY_CHARS_MAX: usize = 200;

/// A file of the dead letters' folder that no letter belongs to is removed when it is older: until then, the letter may
/// be about to be given up.
pub const STRAY_FILE_KEPT: Duration = Duration::from_secs(600);

/// Files looked at when that folder is swept.
pub const DEAD_FILES_MAX: usize = 20_000;
