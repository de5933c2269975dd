//! The web services of mailboxes: HTTPS with JSON, and the page that uses it.
//!
//! Everything that is asked of a mailbox is asked for the one that the session belongs to: no request names another.
//! What leaves the process, calls and letters, is behind the traits [`Calls`] and `Letters`, which the role gives.

mod calls;

pub use calls::{CallCause, CallId, CallIdError, CallInfo, CallPurpose, CallRefusal, CallState, Calls};
