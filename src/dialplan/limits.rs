//! Limits of what a message may make us look at or carry on.

/// Diversion or History-Info entries of one INVITE that are looked at; the rest is as if it were not there.
pub const ENTRIES_MAX: usize = 64;

/// Longest address of a mailbox or caller, in bytes: longer ones name nobody.
pub const ADDRESS_BYTES_MAX: usize = 128;

/// Longest display name of a caller that is kept, in bytes.
pub const DISPLAY_NAME_BYTES_MAX: usize = 128;

/// How long a sealed decision is believed, in seconds.
pub const SEAL_LIFETIME_SECS: u64 = 30;

/// How far in the future a seal's time may lie, in seconds: skew between machines that share secrets.
pub const SEAL_SKEW_SECS: u64 = 5;

/// Secrets that a seal is verified with.
pub const SEAL_KEYS_MAX: usize = 8;

/// Longest seal that is looked at, in characters.
pub const SEAL_CHARS_MAX: usize = 1024;

/// Addresses of one worker that a UM service tells.
pub const STATUS_WORKERS_MAX: usize = 8;

/// Longest dialled number, in bytes with its separators, and longest pattern of one.
pub const DIALLED_BYTES_MAX: usize = 64;

/// Rules of one plan on what may be dialled.
pub const DIAL_RULES_MAX: usize = 256;
