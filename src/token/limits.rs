//! Every bound of this room, in one place.

/// Shortest secret in bytes: 128 bits, below which guessing offline from one captured request is thinkable.
pub const SECRET_BYTES_MIN: usize = 16;

/// Longest secret in bytes; more than an HMAC block adds nothing.
pub const SECRET_BYTES_MAX: usize = 1024;

/// Longest id of a secret in bytes; it is part of every extended username.
pub const KEY_ID_BYTES_MAX: usize = 32;

/// Longest username in bytes (RFC 8489 section 14.3: fewer than 509).
pub const USERNAME_BYTES_MAX: usize = 508;

/// Longest identity in bytes that we issue for; others may issue longer ones, up to what a username holds.
pub const IDENTITY_BYTES_MAX: usize = 128;

/// Longest call id in bytes.
pub const CALL_ID_BYTES_MAX: usize = 64;

/// Most networks in a `peers` claim.
pub const CLAIM_PEERS_MAX: usize = 16;

/// Most digits of an expiry: what a `u64` holds.
pub const EXPIRY_DIGITS_MAX: usize = 20;
