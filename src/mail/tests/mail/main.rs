//! Letters from the store to whoever takes them: as bytes, over SMTP, and again.

mod letters;
mod outbox;
mod server;
mod support;
