//! Who may hold how many connections that have not yet sent a whole message.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::limits::{FIRST_MESSAGE_TIMEOUT, HALF_OPEN_MAX, HALF_OPEN_PER_SOURCE_MAX};

/// Bounds before a client has said anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Time from accept to the end of the first whole message, TLS handshake included.
    pub first_message: Duration,
    pub half_open_max: usize,
    /// Per source: an IPv4 address, or an IPv6 /64.
    pub half_open_per_source_max: usize,
}

impl Default for ListenerLimits {
    fn default() -> ListenerLimits {
        ListenerLimits {
            first_message: FIRST_MESSAGE_TIMEOUT,
            half_open_max: HALF_OPEN_MAX,
            half_open_per_source_max: HALF_OPEN_PER_SOURCE_MAX,
        }
    }
}

/// The half-open connections of all listeners together. Its memory is bounded by `half_open_max`.
#[derive(Debug)]
pub struct HalfOpen {
    pub limits: ListenerLimits,
    by_source: Mutex<BySource>,
}

#[derive(Debug, Default)]
struct BySource {
    total: usize,
    counts: HashMap<IpAddr, usize>,
}

/// Which bound refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    Source,
    Total,
}

impl HalfOpen {
    /// One count, to be shared by all listeners.
    pub fn new(limits: ListenerLimits) -> Arc<HalfOpen> {
        Arc::new(HalfOpen { limits, by_source: Mutex::default() })
    }

    /// How many there are now.
    pub fn count(&self) -> usize {
        self.lock().total
    }

    /// Counts one more from `peer` until the answer is dropped.
    ///
    /// # Errors
    /// [`Cap`]: the bound that refuses it.
    pub fn enter(self: &Arc<HalfOpen>, peer: IpAddr) -> Result<Entered, Cap> {
        let source = source_of(peer);
        let mut held = self.lock();
        if held.total >= self.limits.half_open_max {
            return Err(Cap::Total);
        }
        let of_source = held.counts.get(&source).copied().unwrap_or(0);
        if of_source >= self.limits.half_open_per_source_max {
            return Err(Cap::Source);
        }
        held.counts.insert(source, of_source + 1);
        held.total += 1;
        Ok(Entered { half_open: Arc::clone(self), source })
    }

    fn leave(&self, source: IpAddr) {
        let mut held = self.lock();
        held.total -= 1;
        if let Some(count) = held.counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                held.counts.remove(&source);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BySource> {
        // Nothing in here can panic half-way.
        self.by_source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counted connection.
#[derive(Debug)]
pub struct Entered {
    half_open: Arc<HalfOpen>,
    source: IpAddr,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.half_open.leave(self.source);
    }
}

/// What counts as one source: an IPv4 address, or an IPv6 /64.
pub(crate) fn source_of(peer: IpAddr) -> IpAddr {
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

    fn count(total: usize, per_source: usize) -> Arc<HalfOpen> {
        let limits =
            ListenerLimits { half_open_max: total, half_open_per_source_max: per_source, ..ListenerLimits::default() };
        HalfOpen::new(limits)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_capped_alone_and_freed_again() {
        let half_open = count(10, 2);
        let held = [half_open.enter(ip("192.0.2.1")).unwrap(), half_open.enter(ip("192.0.2.1")).unwrap()];
        assert_eq!(half_open.enter(ip("192.0.2.1")).unwrap_err(), Cap::Source);
        assert!(half_open.enter(ip("192.0.2.2")).is_ok());
        drop(held);
        assert!(half_open.enter(ip("192.0.2.1")).is_ok());
        assert_eq!(half_open.count(), 0);
        assert!(half_open.lock().counts.is_empty());
    }

    #[test]
    fn neighbours_in_one_ipv6_network_are_one_source() {
        let half_open = count(10, 1);
        let _held = half_open.enter(ip("2001:db8::1")).unwrap();
        assert_eq!(half_open.enter(ip("2001:db8::ffff")).unwrap_err(), Cap::Source);
        assert!(half_open.enter(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn all_sources_together_are_capped() {
        let half_open = count(2, 2);
        let _held = [half_open.enter(ip("192.0.2.1")).unwrap(), half_open.enter(ip("192.0.2.2")).unwrap()];
        assert_eq!(half_open.enter(ip("192.0.2.3")).unwrap_err(), Cap::Total);
    }
}
