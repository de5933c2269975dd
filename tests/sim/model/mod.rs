//! What should hold, told by somebody who does not ask the server: it reads what goes in and what comes out, knows the
//! rules, and objects.

mod answers;
mod claims;
mod data;
mod ending;
mod ledger;
mod mobility;
mod opening;
mod policy;
mod requests;
mod survey;
mod violation;

pub use ledger::Model;
pub use violation::{Rule, Violation};
