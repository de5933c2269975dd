//! Packets that wait to be sent, in buffers that are used again.

use crate::event::Destination;
use crate::limits;
use crate::session::Component;

/// A bounded queue of packets.
pub struct Outbox {
    entries: Vec<Entry>,
    head: usize,
    queued: usize,
}

/// One packet.
pub struct Entry {
    pub component: Component,
    pub destination: Destination,
    pub packet: Vec<u8>,
}

impl Outbox {
    /// Nothing to send.
    pub fn new() -> Self {
        Self { entries: Vec::new(), head: 0, queued: 0 }
    }

    /// A buffer for one more packet, empty; `None` when too many wait.
    pub fn push(&mut self, component: Component, destination: Destination) -> Option<&mut Vec<u8>> {
        if self.queued == self.entries.len() {
            if self.entries.len() == limits::TRANSMITS_MAX {
                return None;
            }
            // A ring that has grown starts in order again.
            self.entries.rotate_left(self.head);
            self.head = 0;
            self.entries.push(Entry { component, destination, packet: Vec::with_capacity(256) });
        }
        let at = (self.head + self.queued) % self.entries.len();
        self.queued += 1;
        let entry = &mut self.entries[at];
        entry.component = component;
        entry.destination = destination;
        entry.packet.clear();
        Some(&mut entry.packet)
    }

    /// Takes back what was pushed last.
    pub fn unpush(&mut self) {
        self.queued = self.queued.saturating_sub(1);
    }

    /// The packet that waited longest; good until the next push.
    pub fn pop(&mut self) -> Option<&Entry> {
        if self.queued == 0 {
            return None;
        }
        let at = self.head;
        self.head = (self.head + 1) % self.entries.len();
        self.queued -= 1;
        Some(&self.entries[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_in_order_and_are_bounded() {
        let mut outbox = Outbox::new();
        let mut next = 0u32;
        let mut seen = 0u32;
        for round in 0..50 {
            for _ in 0..round % 7 {
                if let Some(packet) = outbox.push(Component::Rtp, Destination::IcePair) {
                    packet.extend_from_slice(&next.to_be_bytes());
                    next += 1;
                }
            }
            for _ in 0..round % 5 {
                if let Some(entry) = outbox.pop() {
                    assert_eq!(entry.packet, seen.to_be_bytes());
                    seen += 1;
                }
            }
        }
        while let Some(entry) = outbox.pop() {
            assert_eq!(entry.packet, seen.to_be_bytes());
            seen += 1;
        }
        assert_eq!(seen, next);
        let pushed = (0..100).filter(|_| outbox.push(Component::Rtp, Destination::IcePair).is_some()).count();
        assert_eq!(pushed, limits::TRANSMITS_MAX);
    }
}
