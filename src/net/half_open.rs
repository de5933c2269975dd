//! What a client may hold before it has sent a whole message.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{FIRST_MESSAGE_TIMEOUT, HALF_OPEN_MAX, HALF_OPEN_PER_SOURCE_MAX};
use crate::places::{Cap, Place, Places};

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

/// The half-open connections of all listeners together.
#[derive(Debug)]
pub struct HalfOpen {
    pub limits: ListenerLimits,
    places: Arc<Places>,
}

impl HalfOpen {
    /// One count, to be shared by all listeners.
    pub fn new(limits: ListenerLimits) -> Arc<HalfOpen> {
        let places = Places::new(limits.half_open_max, limits.half_open_per_source_max);
        Arc::new(HalfOpen { limits, places })
    }

    /// How many there are now.
    pub fn count(&self) -> usize {
        self.places.count()
    }

    /// Counts one more from `peer` until the answer is dropped.
    ///
    /// # Errors
    /// [`Cap`]: the bound that refuses it.
    pub fn enter(&self, peer: IpAddr) -> Result<Place, Cap> {
        self.places.enter(peer)
    }
}
