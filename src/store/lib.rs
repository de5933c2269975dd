//! Mailboxes, messages, PINs and recordings on SQLite and files.
