//! What a call and its mailbox can hold. Each limit is named once.

use std::time::Duration;

/// Characters of an address of a mailbox.
pub const ADDRESS_CHARS_MAX: usize = 255;

/// Digits of an extension.
pub const EXTENSION_DIGITS_MAX: usize = 20;

/// Digits of an E.164 number (ITU-T E.164: 15).
pub const E164_DIGITS_MAX: usize = 15;

/// Addresses of one mailbox.
pub const ADDRESSES_MAX: usize = 16;

/// Characters of a caller's address and of its display name that are kept.
pub const CALLER_CHARS_MAX: usize = 255;

/// Digits of a caller's number that are spoken; a longer one is no number.
pub const SPOKEN_DIGITS_MAX: usize = 20;

/// Digits of a PIN, whatever a policy says.
pub const PIN_DIGITS_MAX: usize = 24;

/// Deposits into one mailbox at once, unless the options say otherwise.
pub const DEPOSITS_MAX: u32 = 3;

/// Shortest recording that is a message: 1 s of audio.
pub const MESSAGE_MIN: Duration = Duration::from_secs(1);

/// Shortest greeting: a name can be short.
pub const GREETING_MIN: Duration = Duration::from_millis(300);

/// Digits pressed ahead of what is being said; later ones are dropped.
pub const DIGITS_AHEAD_MAX: usize = 32;

/// Digits of one entry (mailbox number or PIN); more make it wrong.
pub const ENTRY_DIGITS_MAX: usize = 24;

/// Keys of one command.
pub const KEYS_MAX: usize = 3;

/// Bytes of a key map file.
pub const KEY_MAP_BYTES_MAX: usize = 16 * 1024;

/// Messages of a mailbox in one state that a call lists; younger ones come in the next call.
pub const MESSAGES_LISTED_MAX: usize = 1000;

/// Clips of one playback.
pub const CLIPS_MAX: usize = 256;

/// How long a call waits for an answer of its store.
pub const STORE_ANSWER: Duration = Duration::from_secs(10);

/// How long a call waits for a stopped recording to end, and then asks the store what was recorded.
pub const RECORDING_END: Duration = Duration::from_secs(2);

/// How long a call waits for a playback to end after the longest it can take.
pub const PLAYBACK_SLACK: Duration = Duration::from_secs(5);

/// Longest playback without recorded audio.
pub const PROMPTS_MAX: Duration = Duration::from_secs(120);

/// Times that a store is asked to finish a recording before the call gives up; recovery then finds it.
pub const FINISH_ATTEMPTS_MAX: u32 = 3;

/// Between two of them.
pub const FINISH_PAUSE: Duration = Duration::from_millis(300);

/// How long a call waits for the result of a transfer.
pub const TRANSFER: Duration = Duration::from_secs(40);

/// Times that a caller may record again, ask for the same menu or come back from a failed transfer, each.
pub const REPEATS_MAX: u32 = 20;

/// How long a deleted message can still come back; a store forgets it not earlier.
pub const DELETED_KEPT: Duration = Duration::from_secs(24 * 3600);
