//! What people run beside an edge: certificates for development, a doctor that proves a relay from outside.

pub mod certs;
mod scratch;
