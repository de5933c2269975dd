//! The store over its trait: what it keeps, what it refuses, and what survives kills and power loss.

mod feed;
mod kills;
mod power_loss;
mod records;
mod support;
mod upgrade;
