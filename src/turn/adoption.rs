//! Allocations on their way from another shard (RFC 8016): which 5-tuples wait for one.

use hashbrown::HashMap;

use crate::five_tuple::{FiveTuple, SeededHash};
use crate::limits::{ADOPTION_WAIT_NANOS, ADOPTIONS_MAX};

/// The 5-tuples to which an allocation is on its way. Each is kept free for it until it comes, or until it is clear that
/// it does not.
///
/// Only a Refresh that was authenticated and judged enters one; bounded in time and number.
#[derive(Debug)]
pub(crate) struct Adoptions(HashMap<FiveTuple, Awaited, SeededHash>);

#[derive(Clone, Copy, Debug)]
struct Awaited {
    /// Of the allocation.
    serial: u64,
    until_nanos: u64,
}

impl Adoptions {
    pub(crate) fn new(hash: SeededHash) -> Self {
        Self(HashMap::with_hasher(hash))
    }

    /// From here on `tuple` waits for this allocation, and for no other that it waited for before. False when too many
    /// wait already.
    pub(crate) fn begin(&mut self, now_nanos: u64, tuple: FiveTuple, serial: u64) -> bool {
        if self.0.len() >= ADOPTIONS_MAX {
            self.0.retain(|_, awaited| now_nanos < awaited.until_nanos);
        }
        let room = self.0.len() < ADOPTIONS_MAX || self.0.contains_key(&tuple);
        if room {
            self.0.insert(tuple, Awaited { serial, until_nanos: now_nanos + ADOPTION_WAIT_NANOS });
        }
        room
    }

    /// The allocation that `tuple` waits for.
    pub(crate) fn awaited(&self, now_nanos: u64, tuple: &FiveTuple) -> Option<u64> {
        let awaited = self.0.get(tuple).filter(|awaited| now_nanos < awaited.until_nanos)?;
        Some(awaited.serial)
    }

    /// It has come, or nobody waits for it any more.
    pub(crate) fn end(&mut self, tuple: &FiveTuple) {
        self.0.remove(tuple);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::*;
    use crate::five_tuple::seeded_hash;
    use crate::io::{Client, Transport};

    fn tuple(number: u32) -> FiveTuple {
        let local = SocketAddr::from(([203, 0, 113, 10], 3_478));
        let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(number)), 4_000);
        FiveTuple::of(&Client { transport: Transport::Udp, listener: 0, stream: 0, local, remote })
    }

    #[test]
    fn a_5_tuple_waits_for_a_second_and_no_longer() {
        let mut adoptions = Adoptions::new(seeded_hash(1));
        assert!(adoptions.begin(5, tuple(1), 77));
        assert_eq!(adoptions.awaited(5 + ADOPTION_WAIT_NANOS - 1, &tuple(1)), Some(77));
        assert_eq!(adoptions.awaited(5 + ADOPTION_WAIT_NANOS, &tuple(1)), None);
        assert_eq!(adoptions.awaited(5, &tuple(2)), None);
    }

    #[test]
    fn beyond_the_limit_none_waits_until_others_have_waited_long_enough() {
        let mut adoptions = Adoptions::new(seeded_hash(1));
        let most = ADOPTIONS_MAX as u32;
        assert!((0..most).all(|number| adoptions.begin(u64::from(number), tuple(number), 1)));
        assert!(!adoptions.begin(u64::from(most), tuple(most), 1));
        assert!(adoptions.begin(u64::from(most), tuple(7), 2), "one that waits already may wait for another");
        assert!(adoptions.begin(ADOPTION_WAIT_NANOS, tuple(most), 1), "the first one waited long enough");
        assert_eq!(adoptions.0.len(), ADOPTIONS_MAX);
    }
}
