//! The event package message-summary: how many messages wait (RFC 3842).

use std::fmt;

use crate::uri::SipUri;

/// Name of the package in Event.
pub const PACKAGE: &str = "message-summary";

/// Content-Type of its bodies.
pub const CONTENT_TYPE: &str = "application/simple-message-summary";

/// What a voice mailbox holds. `Display` writes the body (RFC 3842 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSummary {
    /// Whose mailbox it is.
    pub account: SipUri,
    /// Messages not heard yet.
    pub new: u32,
    /// Those heard and kept.
    pub old: u32,
}

impl fmt::Display for MessageSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = if self.new > 0 { "yes" } else { "no" };
        write!(f, "Messages-Waiting: {waiting}\r\nMessage-Account: {}\r\n", self.account)?;
        // No message is urgent here.
        write!(f, "Voice-Message: {}/{} (0/0)\r\n", self.new, self.old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn only_new_messages_wait() {
        let account = SipUri::new(Host::parse("um.example.test").expect("a host")).with_user("1001");
        let body = |new, old| MessageSummary { account: account.clone(), new, old }.to_string();
        let rest = "Message-Account: sip:1001@um.example.test\r\nVoice-Message:";
        assert_eq!(body(2, 8), format!("Messages-Waiting: yes\r\n{rest} 2/8 (0/0)\r\n"));
        assert_eq!(body(0, 8), format!("Messages-Waiting: no\r\n{rest} 0/8 (0/0)\r\n"));
    }
}
