//! The web services of mailboxes: HTTPS with JSON, and the page that uses it.
//!
//! Everything that is asked of a mailbox is asked for the one that the session belongs to: no request names another.
//! Calls are placed behind the trait [`Calls`], which the role gives; letters are queued in the store.
//!
//! `openapi.json` is the contract; a test walks every route that it names.

mod admin;
mod admin_tokens;
mod assets;
mod audio;
mod body;
mod calls;
mod desk;
mod events;
mod feed;
mod greetings;
pub mod limits;
mod messages;
mod new_password;
mod openapi;
mod options;
mod phone;
mod pin;
mod problem;
mod range;
mod router;
mod service;
mod settings;
mod sign_in;
mod signed;
mod strangers;
mod unstalled;
mod waveform;

pub use admin_tokens::{AdminTokenError, AdminTokens};
pub use calls::{CallCause, CallId, CallIdError, CallInfo, CallPurpose, CallRefusal, CallState, Calls};
pub use events::News;
pub use openapi::DOCUMENT;
pub use options::{Clock, Options, Parts};
pub use router::router;
pub use service::{Source, Tls, TlsError, Web, tls_config};
