//! Who may hold how many of something that is bounded, connections above all: together, and of one source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places, some of which are taken. Its memory is bounded by their number.
#[derive(Debug)]
pub struct Places {
    total_max: usize,
    per_source_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// Which bound refused a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    Source,
    Total,
}

impl Places {
    /// So many together, and so many of one source: an IPv4 address, or an IPv6 /64.
    pub fn new(total_max: usize, per_source_max: usize) -> Arc<Places> {
        Arc::new(Places { total_max, per_source_max, taken: Mutex::default() })
    }

    /// How many are taken now.
    pub fn count(&self) -> usize {
        self.lock().total
    }

    /// Takes one for `peer` until the answer is dropped.
    ///
    /// # Errors
    /// [`Cap`]: the bound that refuses it.
    pub fn enter(self: &Arc<Places>, peer: IpAddr) -> Result<Place, Cap> {
        let source = source_of(peer);
        let mut taken = self.lock();
        if taken.total >= self.total_max {
            return Err(Cap::Total);
        }
        let of_source = taken.by_source.get(&source).copied().unwrap_or(0);
        if of_source >= self.per_source_max {
            return Err(Cap::Source);
        }
        taken.by_source.insert(source, of_source + 1);
        taken.total += 1;
        Ok(Place { places: Arc::clone(self), source })
    }

    fn leave(&self, source: IpAddr) {
        let mut taken = self.lock();
        taken.total -= 1;
        if let Some(count) = taken.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                taken.by_source.remove(&source);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing in here can panic half-way.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place that is taken.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.leave(self.source);
    }
}

/// What counts as one source: an IPv4 address, or an IPv6 /64.
pub fn source_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => {
            const NETWORK: u128 = !0 << 64;
            IpAddr::V6((u128::from(v6) & NETWORK).into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_capped_alone_and_freed_again() {
        let places = Places::new(10, 2);
        let held = [places.enter(ip("192.0.2.1")).unwrap(), places.enter(ip("192.0.2.1")).unwrap()];
        assert_eq!(places.enter(ip("192.0.2.1")).unwrap_err(), Cap::Source);
        assert!(places.enter(ip("192.0.2.2")).is_ok());
        drop(held);
        assert!(places.enter(ip("192.0.2.1")).is_ok());
        assert_eq!(places.count(), 0);
        assert!(places.lock().by_source.is_empty());
    }

    #[test]
    fn neighbours_in_one_ipv6_network_are_one_source() {
        let places = Places::new(10, 1);
        let _held = places.enter(ip("2001:db8::1")).unwrap();
        assert_eq!(places.enter(ip("2001:db8::ffff")).unwrap_err(), Cap::Source);
        assert!(places.enter(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn all_sources_together_are_capped() {
        let places = Places::new(2, 2);
        let _held = [places.enter(ip("192.0.2.1")).unwrap(), places.enter(ip("192.0.2.2")).unwrap()];
        assert_eq!(places.enter(ip("192.0.2.3")).unwrap_err(), Cap::Total);
    }
}
