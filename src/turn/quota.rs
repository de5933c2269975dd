//! Allocations counted by identity: exact, and a unit is free the moment its allocation ends.

use hashbrown::HashMap;

use crate::io::QuotaKey;

/// Counts per identity. What is kept is bounded by allocations and reservations: an identity without any is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    counts: HashMap<QuotaKey, Count>,
    units: HashMap<u64, Unit>,
    next_unit: u64,
}

#[derive(Debug, Default)]
struct Count {
    allocations: u32,
    /// Ports kept by EVEN-PORT that no allocation uses yet.
    reservations: u32,
}

/// One allocation; with two families it has two leases.
#[derive(Debug)]
struct Unit {
    quota: QuotaKey,
    leases: u32,
}

impl Quotas {
    /// Whether one more allocation fits; `max` 0 is no limit.
    pub(crate) fn has_room(&self, quota: &QuotaKey, max: u32) -> bool {
        max == 0 || self.used(quota) < max
    }

    /// Whether one more reservation fits: as many as allocations. Otherwise who reserves, releases and starts again would drain the
    /// pool in spite of the quota.
    pub(crate) fn may_reserve(&self, quota: &QuotaKey, max: u32) -> bool {
        max == 0 || self.counts.get(quota).is_none_or(|count| count.reservations < max)
    }

    pub(crate) fn used(&self, quota: &QuotaKey) -> u32 {
        self.counts.get(quota).map_or(0, |count| count.allocations)
    }

    /// Takes a unit that ends when `leases` leases have released it.
    pub(crate) fn take(&mut self, quota: &QuotaKey, leases: u32) -> u64 {
        self.counts.entry_ref(quota).or_default().allocations += 1;
        let unit = self.next_unit;
        self.next_unit += 1;
        self.units.insert(unit, Unit { quota: quota.clone(), leases });
        unit
    }

    /// One lease of the unit is over.
    pub(crate) fn release(&mut self, unit: u64) {
        let Some(state) = self.units.get_mut(&unit) else {
            return;
        };
        state.leases -= 1;
        if state.leases == 0
            && let Some(state) = self.units.remove(&unit)
        {
            self.lower(&state.quota, |count| count.allocations -= 1);
        }
    }

    pub(crate) fn reserve(&mut self, quota: &QuotaKey) {
        self.counts.entry_ref(quota).or_default().reservations += 1;
    }

    pub(crate) fn unreserve(&mut self, quota: &QuotaKey) {
        self.lower(quota, |count| count.reservations -= 1);
    }

    fn lower(&mut self, quota: &QuotaKey, lower: impl FnOnce(&mut Count)) {
        let Some(count) = self.counts.get_mut(quota) else {
            return;
        };
        lower(count);
        if count.allocations == 0 && count.reservations == 0 {
            self.counts.remove(quota);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> QuotaKey {
        QuotaKey::Identity("alice".into())
    }

    #[test]
    fn a_unit_with_two_leases_ends_with_the_second() {
        let mut quotas = Quotas::default();
        let unit = quotas.take(&alice(), 2);
        quotas.release(unit);
        assert!(!quotas.has_room(&alice(), 1));
        quotas.release(unit);
        assert!(quotas.has_room(&alice(), 1));
        quotas.release(unit);
        assert_eq!(quotas.used(&alice()), 0);
    }

    #[test]
    fn an_identity_without_allocations_is_forgotten() {
        let mut quotas = Quotas::default();
        let unit = quotas.take(&alice(), 1);
        quotas.reserve(&alice());
        quotas.release(unit);
        assert_eq!(quotas.counts.len(), 1);
        quotas.unreserve(&alice());
        assert!(quotas.counts.is_empty() && quotas.units.is_empty());
    }

    #[test]
    fn a_limit_of_zero_is_no_limit() {
        let mut quotas = Quotas::default();
        for _ in 0..100 {
            assert!(quotas.has_room(&alice(), 0) && quotas.may_reserve(&alice(), 0));
            quotas.take(&alice(), 1);
            quotas.reserve(&alice());
        }
        assert!(!quotas.has_room(&alice(), 100) && !quotas.may_reserve(&alice(), 100));
        assert!(quotas.has_room(&alice(), 101));
    }
}
