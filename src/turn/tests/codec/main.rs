//! The wire form, tested from outside.

mod differential;
mod framing;
mod mutation;
mod nonces;
mod round_trip;
mod support;
mod vectors;
mod wire;
