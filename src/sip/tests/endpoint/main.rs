//! Connections and transactions in virtual time.

mod client;
mod connections;
mod harness;
mod resolution;
mod server;
mod trace;
