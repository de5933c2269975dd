//! Gateways, dial plans, hunt groups and the choice of a mailbox: what router, UM service and worker judge alike.
//!
//! [`Rules::decide`] takes an INVITE and where it came from, and says under which plan it is taken, whether somebody
//! leaves a message or hears theirs, and at which mailbox; or why it is refused. [`Seals`] carry that decision to the
//! next hop in a Contact parameter. Nothing here knows a clock, a socket or which mailboxes exist.

mod caller;
mod dial_rule;
mod dialling;
mod diversion;
mod history;
pub mod limits;
mod number;
mod onward;
mod origin;
mod peer;
mod plan;
mod reason;
mod refusal;
mod rules;
mod seal;
mod service_status;

pub use caller::Caller;
pub use dial_rule::DialRule;
pub use dialling::{DialRefusal, DialTarget};
pub use onward::{Listeners, keeps_to_tls, towards};
pub use origin::{ORIGIN_HEADER, Origin};
pub use peer::{DiversionOrder, Gateway, Peer, Status};
pub use plan::{HuntGroup, Plan, Security, UriType};
pub use reason::CallReason;
pub use refusal::Refusal;
pub use rules::{Belief, Decision, Options, Purpose, Rules, RulesError};
pub use seal::{SEAL_PARAMETER, Seals, route_key};
pub use service_status::ServiceStatus;
