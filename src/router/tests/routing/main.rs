//! The router over loopback, between gateways and UM services of the test's own.

#[path = "../../../transport/tests/loopback/authority.rs"]
mod authority;
mod harness;
mod health;
mod proxy;
mod redirect;
mod sipp;
mod tls;
