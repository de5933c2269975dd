//! How the limit of open descriptors is shared out.

use crate::limits::{DESCRIPTORS_HALF_OPEN_MAX, DESCRIPTORS_RESERVED};

/// The shares of one limit. Strangers' connections have one of their own, so that they take none from allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorShares {
    /// Connections before their first whole message: an eighth of the limit, and at most [`DESCRIPTORS_HALF_OPEN_MAX`].
    pub half_open: u64,
    /// Relay sockets and the connections of clients and peers.
    pub allocations: u64,
}

impl DescriptorShares {
    /// The shares of this limit, [`DESCRIPTORS_RESERVED`] taken off.
    pub fn of(limit: u64) -> Self {
        let half_open = DESCRIPTORS_HALF_OPEN_MAX.min(limit / 8);
        Self { half_open, allocations: limit.saturating_sub(DESCRIPTORS_RESERVED + half_open) }
    }

    /// The least limit that leaves so many for allocations.
    pub fn limit_for(allocations: u64) -> u64 {
        let rest = allocations.saturating_add(DESCRIPTORS_RESERVED);
        // Where strangers get an eighth, the rest are seven of eight parts.
        rest.saturating_add(DESCRIPTORS_HALF_OPEN_MAX.min((rest - 1) / 7))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_an_eighth_up_to_their_bound() {
        assert_eq!(DescriptorShares::of(1024), DescriptorShares { half_open: 128, allocations: 1024 - 256 - 128 });
        let wide = DescriptorShares::of(1 << 20);
        assert_eq!(wide.half_open, DESCRIPTORS_HALF_OPEN_MAX);
        assert_eq!(DescriptorShares::of(100).allocations, 0);
    }

    #[test]
    fn the_limit_for_a_number_of_allocations_is_the_least_that_leaves_them() {
        for allocations in [1, 2, 100, 767, 768, 10_000, 28_415, 28_416, 28_417, 60_000, 1_000_000] {
            let limit = DescriptorShares::limit_for(allocations);
            assert!(DescriptorShares::of(limit).allocations >= allocations, "{allocations}: {limit} is too little");
            assert!(DescriptorShares::of(limit - 1).allocations < allocations, "{allocations}: {limit} is too much");
        }
    }
}
