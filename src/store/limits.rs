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

/// Passwords of the web compared at once, apart from PINs, so that who floods one does not keep the other waiting.
pub const PASSWORDS_AT_ONCE: usize = 2;

/// Passwords waiting to be compared; one more is [`StoreError::Busy`](postern_mailbox::StoreError::Busy).
pub const PASSWORDS_WAITING_MAX: usize = 32;

/// Wrong passwords in a row that lock a mailbox's sign-in on the web for a time.
pub const WRONG_PASSWORDS_MAX: u32 = 10;

/// The first of these locks; each wrong password after it locks for twice as long.
pub const FIRST_LOCK: Duration = Duration::from_secs(15 * 60);

/// The longest of them: to keep an owner out must not be cheap.
pub const LONGEST_LOCK: Duration = Duration::from_secs(3600);

/// Wrong passwords are counted anew so long after the last lock ended.
pub const WRONG_PASSWORDS_FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// Places in which wrong passwords are counted for names that no mailbox has.
pub const STRANGER_PLACES: u32 = 4096;

/// How long a one-time link serves.
pub const LINK_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A session ends so long after its sign-in.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// A session that nobody uses ends after this.
pub const SESSION_IDLE: Duration = Duration::from_secs(3600);

/// That a session is used is written at most this often.
pub const SESSION_TOUCH: Duration = Duration::from_secs(60);

/// Sessions of one mailbox; one more ends the oldest.
pub const SESSIONS_PER_MAILBOX: u32 = 10;

/// Characters of a dial string that is kept.
pub const DIAL_STRING_CHARS_MAX: usize = 128;
/// Characters of a mail address (RFC 5321 section 4.5.3.1.3: a path has 256 octets, its brackets included).
pub const MAIL_ADDRESS_CHARS_MAX: usize = 254;

/// Letters of all mailboxes that wait; beyond, none is queued.
pub const LETTERS_MAX: u32 = 10_000;

/// Letters of one mailbox that wait, so that a busy one leaves room for others while the mail server is down.
pub const LETTERS_PER_MAILBOX_MAX: u32 = 300;

/// Letters about new messages that one mailbox gets in an hour.
pub const MESSAGE_LETTERS_PER_HOUR: u32 = 100;

/// Letters about missed calls that one mailbox gets in an hour: calls that leave nothing are cheap to make.
pub const MISSED_CALL_LETTERS_PER_HOUR: u32 = 20;

/// Letters with a PIN that one mailbox gets in an hour.
pub const PIN_LETTERS_PER_HOUR: u32 = 5;

/// How long a letter is tried before it is given up.
pub const LETTER_LIFETIME: Duration = Duration::from_secs(3 * 24 * 3600);

/// How long one with a PIN is: its reader waits for it, and nobody else is to find it later.
pub const PIN_LETTER_LIFETIME: Duration = Duration::from_secs(3600);

/// How long a letter that was sent counts for the limits of an hour.
pub const SENT_LETTERS_KEPT: Duration = Duration::from_secs(3600);

/// How long a letter that was given up is listed.
pub const DEAD_LETTERS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Letters of one mailbox that were given up and are listed: the youngest ones.
pub const DEAD_LETTERS_PER_MAILBOX_MAX: u32 = 50;

/// No letter is put off or held for so long: what is, was so before the clock was set back.
pub const LETTER_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);

/// Characters of an error that are kept with a letter.
pub const LETTER_ERROR_CHARS_MAX: usize = 300;
