//! The client against our own server, in virtual time.

mod binding;
mod challenges;
mod edge;
mod failures;
mod life;
mod line;
mod peers;
mod silence;
