//! The call router: redirects, proxies, touches no media.
//!
//! One task owns a transport and a SIP proxy, and answers or forwards each request that belongs to no dialog; another
//! asks the UM services how they are. No state outlives a restart: any number of routers may stand beside one another.

mod contact;
mod error;
mod generation;
mod health;
mod limits;
mod process;
mod serve;
mod services;

pub use error::RouterError;
pub use process::{Origin, run, stop_by_signal};
