//! The router over loopback, between gateways and UM services of the test's own.

mod harness;
mod health;
mod proxy;
mod redirect;
mod sipp;
mod tls;
