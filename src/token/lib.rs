//! Keys, issuer and verifier of A/V authentication tokens, and the trait by which a TURN server asks for credentials.
//!
//! Two forms of token exist. A *classic* one is what coturn and its issuers know: username `expiry:identity` (or a bare
//! `expiry`), password base64(HMAC-SHA1(secret, username)). An *extended* one carries claims that narrow what it allows:
//! username `p1.<key id>.<base64url claims>`, its password made with a key of its own, derived from the secret.
//! No clock, no randomness, no I/O in here.

mod claims;
mod credentials;
mod form;
mod issuer;
mod judge;
mod keys;
pub mod limits;
mod mac;
mod verifier;

pub use claims::{Claims, ClaimsError};
pub use credentials::{Credentials, Grant, Identity, KEYS_MAX, PASSWORD_BYTES_MAX, Password, Refused};
pub use form::FormError;
pub use issuer::{IssueError, Issuer, Token, TokenForm, TokenJson, parse_peer};
pub use judge::{Judgement, JudgementJson, WhyInvalid};
pub use keys::{KeyError, KeyRing, Secret};
pub use mac::{LABEL_EXTENDED, LABEL_UNKNOWABLE, derive};
pub use verifier::Verifier;
