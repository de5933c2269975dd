//! Connections and transactions in virtual time.

mod announcer;
mod client;
mod connections;
mod harness;
mod notifier;
mod resolution;
mod server;
mod trace;
