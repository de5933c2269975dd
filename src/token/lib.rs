//! Keys, issuer and verifier of A/V authentication tokens, and the trait by which a TURN server asks for credentials.

mod credentials;

pub use credentials::{Credentials, Grant, Identity, KEYS_MAX, PASSWORD_BYTES_MAX, Password, Refused};
