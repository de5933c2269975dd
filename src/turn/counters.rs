//! Plain counters of one server, summed by whoever reads them.

/// Everything a server counts since its birth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers to unauthenticated senders that were withheld (20 per second and source).
    pub stranger_limited: u64,
}
