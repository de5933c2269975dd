//! The web services over their router, in virtual time, and once over TLS.

mod administration;
mod contract;
mod events;
mod lock_out;
mod messages;
mod over_tls;
mod phone;
mod settings;
mod sign_in;
mod support;
