//! What the model objects to.

/// Which of the things that should always hold did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A peer that policy or token forbid was reached, or one that they allow refused.
    Policy,
    /// A packet passed without permission or channel, or one with them did not.
    Permission,
    /// Another payload, another client or another source than it should be.
    Media,
    /// A relay port without an owner, with two, or not given back.
    Port,
    /// More allocations than the quota allows, or one refused that it allows.
    Quota,
    /// An allocation lived longer or shorter than was granted.
    Lifetime,
    /// Someone without a valid credential got something, or one with it did not.
    Authentication,
    /// A repeated request got another answer.
    Repeat,
    /// Something is kept that nobody authenticated made.
    Kept,
    /// A timer is late, or rings for nothing for ever.
    Timer,
    Bitrate,
    /// More answers to strangers, or more ICMP told, than the limit.
    Limit,
    /// The kernel's short way differs from what it may be.
    ShortWay,
    /// An answer is not what the request deserves.
    Answer,
    /// Start and end records do not tell what happened.
    Record,
}

/// A rule and what broke it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    pub what: String,
}

impl Rule {
    /// `Err` of this rule unless it held.
    pub fn holds(self, held: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
        if held { Ok(()) } else { Err(self.broken(what())) }
    }

    pub fn broken(self, what: impl Into<String>) -> Violation {
        Violation { rule: self, what: what.into() }
    }
}
