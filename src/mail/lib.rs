//! Mail to owners of mailboxes: letters are rendered, sent over SMTP, tried again, and given up into a folder.
//!
//! The queue itself is a table of the store, written in the transaction of what a letter tells ([`postern_store::Letter`]).
//! An [`Outbox`] claims a letter, renders it, hands it to a [`Carrier`] and settles it; nothing else keeps a state. A
//! letter is made of the same bytes at each attempt, its Message-ID included, so that one that arrives twice (the answer
//! to the first was lost) can be told to be the same.

mod attachment;
mod backoff;
mod compose;
mod dead_letters;
pub mod limits;
mod outbox;
mod plain_text;
mod server;
mod texts;

pub use attachment::{AudioError, wav_of};
pub use compose::{ComposeError, Composed, Sender};
pub use dead_letters::DeadLetters;
pub use outbox::{Event, Outbox, Settings, run};
pub use server::{Carrier, Failure, Login, Security, Server, ServerError};
