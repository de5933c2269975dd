//! The A/V authentication service over real connections: a CA of its own, callers with certificates, and what they are told.

mod auditing;
mod connecting;
mod issuing;
mod refusing;
mod reloading;
mod support;
