//! One deadline per owner, the nearest in O(1) of the sorted set.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Deadlines by owner. Setting one costs O(log n).
#[derive(Debug)]
pub(crate) struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_owner: BTreeMap<K, Instant>,
}

impl<K: Copy + Ord> Timers<K> {
    pub(crate) fn new() -> Timers<K> {
        Timers { by_time: BTreeSet::new(), by_owner: BTreeMap::new() }
    }

    /// Sets, moves or (with `None`) takes away an owner's deadline.
    pub(crate) fn set(&mut self, owner: K, at: Option<Instant>) {
        if self.by_owner.get(&owner).copied() == at {
            return;
        }
        if let Some(old) = self.by_owner.remove(&owner) {
            self.by_time.remove(&(old, owner));
        }
        if let Some(at) = at {
            self.by_owner.insert(owner, at);
            self.by_time.insert((at, owner));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one owner whose deadline has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, owner) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.set(owner, None);
        Some(owner)
    }
}
