//! Two endpoints and others over loopback: TCP, TLS, UDP, DNS, slow and hostile peers, SIPp.

mod authority;
mod dns;
mod exchange;
mod harness;
mod lifetimes;
mod names;
mod sipp;
