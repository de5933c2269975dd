//! Mailboxes, PINs, messages and greetings on SQLite and files: the [`Store`](postern_mailbox::Store) of one machine.
//!
//! The database says what there is; audio lies in one file per recording, named by its id, from its first sample to
//! the message's end. An id keeps its value when a recording becomes a message or a greeting, so that nothing is ever
//! moved or copied, and finishing twice gives the same answer.
//!
//! The order that makes it safe: a file is made and its directory synced before the database names it; its samples
//! are synced before the database calls it a message; the database forgets it before the file is removed.

mod administration;
mod audio;
mod changes;
mod error;
mod files;
mod frames;
mod hashing;
mod letters;
mod letters_listed;
pub mod limits;
mod mail_address;
mod mailboxes;
mod messages;
mod password_verdict;
mod passwords;
mod pins;
mod recorder;
mod recordings;
mod recovery;
mod schema;
mod sqlite;
mod subscriptions;
#[cfg(test)]
mod testing;
mod waiting;
mod web_accounts;
mod web_mailboxes;
mod web_sessions;

pub use administration::{AddError, Listed, NewMailbox};
pub use changes::{Change, Changed};
pub use error::OpenError;
pub use files::{Appending, Files, SystemFiles};
pub use letters::{Blame, Claim, Claimed, Letter, LetterKind, News, Queued, Wanted};
pub use letters_listed::{LetterCounts, ListedLetter};
pub use mail_address::{MailAddress, MailAddressError, MailSettings};
pub use password_verdict::{PasswordVerdict, Proven};
pub use passwords::Password;
pub use pins::{KEY_BYTES_MIN, PinKey};
pub use recovery::Recovered;
pub use sqlite::{Options, SqliteStore};
pub use subscriptions::KeptSubscription;
pub use waiting::{Counts, Waiting};
pub use web_accounts::WebName;
pub use web_mailboxes::{AudioSize, WebListed};
pub use web_sessions::{SessionToken, WebSession};
