//! What a call is known by on both sides of the socket.

use serde::{Deserialize, Serialize};

use crate::limits::CALL_KEY_CHARS_MAX;

/// A call's Call-ID, which a caller that follows a redirect keeps (RFC 3261 section 8.1.3.4). Of one that is too long,
/// the beginning and the end. A caller that takes another Call-ID counts twice until its reservation has lapsed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct CallKey(String);

impl CallKey {
    pub fn of(call_id: &str) -> Self {
        let chars = call_id.chars().count();
        if chars <= CALL_KEY_CHARS_MAX {
            return Self(call_id.to_owned());
        }
        let half = CALL_KEY_CHARS_MAX / 2;
        Self(call_id.chars().take(half).chain(call_id.chars().skip(chars - half)).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for CallKey {
    fn from(text: String) -> Self {
        Self::of(&text)
    }
}

impl From<CallKey> for String {
    fn from(key: CallKey) -> Self {
        key.0
    }
}
