//! The budget of file descriptors: each one in use is a value that gives its place back when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits;

/// Descriptors that relay sockets, streams and peer connections may use together. Clients' connections may go further than
/// relay sockets, into a part of the reserve: whoever is in a call must be able to come back when no new one fits.
pub(crate) struct DescriptorBudget {
    used: Arc<AtomicU64>,
    max: u64,
}

/// A place in the budget, to be kept with the socket that it stands for.
#[derive(Debug)]
pub(crate) struct Descriptor {
    used: Arc<AtomicU64>,
}

impl DescriptorBudget {
    pub(crate) fn new(max: u64) -> Self {
        Self { used: Arc::default(), max }
    }

    /// One more descriptor, unless the reserve would be touched.
    pub(crate) fn take(&self) -> Option<Descriptor> {
        self.take_below(self.max)
    }

    /// One more descriptor for a client's connection.
    pub(crate) fn take_for_client(&self) -> Option<Descriptor> {
        self.take_below(self.max + limits::DESCRIPTORS_FOR_CLIENTS)
    }

    fn take_below(&self, max: u64) -> Option<Descriptor> {
        let taken = Descriptor { used: Arc::clone(&self.used) };
        // What is beyond `max` goes back with the drop.
        (self.used.fetch_add(1, Ordering::Relaxed) < max).then_some(taken)
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_refuses_the_descriptor_beyond_it_and_takes_one_given_back() {
        let budget = DescriptorBudget::new(2);
        let (one, _other) = (budget.take().expect("the first"), budget.take().expect("the second"));
        assert!(budget.take().is_none());
        assert_eq!(budget.used(), 2, "what was refused is not counted");
        drop(one);
        assert!(budget.take().is_some());
        assert_eq!(budget.used(), 1);
    }

    #[test]
    fn clients_still_come_in_when_no_relay_socket_fits() {
        let budget = DescriptorBudget::new(1);
        let _relay = budget.take().expect("there is one");
        let clients: Vec<_> = (0..limits::DESCRIPTORS_FOR_CLIENTS).map_while(|_| budget.take_for_client()).collect();
        assert_eq!(clients.len() as u64, limits::DESCRIPTORS_FOR_CLIENTS);
        assert!(budget.take_for_client().is_none() && budget.take().is_none());
    }
}
