//! Packets in the order of their sequence numbers, until their time has come. Fixed slots, no allocation once warm.

use crate::codec::Codec;
use crate::limits;

/// What a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Audio(Codec),
    ComfortNoise,
    /// A telephone-event: handled when it came, here only so that its number is not missed.
    Event,
}

/// What became of a packet that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    Stored,
    Duplicate,
    /// Its turn was over.
    Late,
    /// Stored, but so far ahead that older ones, this many, fell out.
    Pushed(u32),
}

/// One stored packet.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Extended sequence number; 0 marks a free slot.
    extended: u64,
    pub timestamp: u32,
    pub content: Content,
    pub payload: Vec<u8>,
}

/// The buffer of one source.
pub struct JitterBuffer {
    slots: Vec<Slot>,
    stored: usize,
    /// Number of the next packet to be played; those below had their turn.
    next: u64,
    highest: u64,
    /// Bit n is set when `next - 1 - n` was played rather than missed.
    played: u64,
}

const SLOTS: u64 = limits::JITTER_SLOTS as u64;

impl Default for JitterBuffer {
    fn default() -> Self {
        let free = Slot { extended: 0, timestamp: 0, content: Content::Event, payload: Vec::new() };
        Self { slots: vec![free; limits::JITTER_SLOTS], stored: 0, next: 0, highest: 0, played: 0 }
    }
}

impl JitterBuffer {
    /// Forgets everything: the next packet starts anew.
    pub fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.extended = 0);
        self.stored = 0;
        self.next = 0;
        self.highest = 0;
        self.played = 0;
    }

    /// Takes a packet.
    pub fn insert(&mut self, sequence: u16, timestamp: u32, content: Content, payload: &[u8]) -> Inserted {
        if self.next == 0 {
            self.next = 0x1_0000 + u64::from(sequence);
            self.highest = self.next;
        }
        let distance = sequence.wrapping_sub(self.highest as u16) as i16;
        let extended = self.highest.saturating_add_signed(i64::from(distance));
        if extended < self.next {
            let nothing_played = self.played == 0;
            if nothing_played && self.highest - extended < SLOTS {
                // Reordered around the start.
                self.next = extended;
            } else {
                let age = self.next - 1 - extended;
                let duplicate = age < 64 && self.played >> age & 1 == 1;
                return if duplicate { Inserted::Duplicate } else { Inserted::Late };
            }
        }
        let mut pushed = 0;
        while extended >= self.next + SLOTS {
            pushed += self.skip_to(extended + 1 - SLOTS);
        }
        let slot = &mut self.slots[(extended % SLOTS) as usize];
        if slot.extended == extended {
            return Inserted::Duplicate;
        }
        slot.extended = extended;
        slot.timestamp = timestamp;
        slot.content = content;
        slot.payload.clear();
        slot.payload.extend_from_slice(payload);
        self.stored += 1;
        self.highest = self.highest.max(extended);
        if pushed > 0 { Inserted::Pushed(pushed) } else { Inserted::Stored }
    }

    /// Gives up all below `next`; returns how many stored ones that cost.
    fn skip_to(&mut self, next: u64) -> u32 {
        let mut cost = 0;
        for extended in self.next..next.min(self.next + SLOTS) {
            let slot = &mut self.slots[(extended % SLOTS) as usize];
            if slot.extended == extended {
                slot.extended = 0;
                self.stored -= 1;
                cost += 1;
            }
        }
        let skipped = next - self.next;
        self.played = self.played.checked_shl(skipped.min(64) as u32).unwrap_or(0);
        self.next = next;
        cost
    }

    /// The earliest packet, and how many before it are missing.
    pub fn peek(&self) -> Option<(&Slot, u64)> {
        if self.stored == 0 {
            return None;
        }
        (self.next..=self.highest)
            .map(|extended| &self.slots[(extended % SLOTS) as usize])
            .find(|slot| slot.extended >= self.next)
            .map(|slot| (slot, slot.extended - self.next))
    }

    /// Takes the earliest packet out; what is missing before it is given up. Its slot stays readable until the next
    /// insertion.
    pub fn pop(&mut self) -> Option<&Slot> {
        let extended = self.peek()?.0.extended;
        self.skip_to(extended);
        self.next = extended + 1;
        self.played = self.played << 1 | 1;
        self.stored -= 1;
        let slot = &mut self.slots[(extended % SLOTS) as usize];
        slot.extended = 0;
        Some(slot)
    }

    /// Packets stored.
    pub fn len(&self) -> usize {
        self.stored
    }

    /// Whether none is stored.
    pub fn is_empty(&self) -> bool {
        self.stored == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(buffer: &mut JitterBuffer, sequence: u16) -> Inserted {
        buffer.insert(sequence, u32::from(sequence), Content::Audio(Codec::Pcmu), &sequence.to_be_bytes())
    }

    fn drain(buffer: &mut JitterBuffer) -> Vec<u16> {
        std::iter::from_fn(|| buffer.pop().map(|slot| u16::from_be_bytes([slot.payload[0], slot.payload[1]]))).collect()
    }

    #[test]
    fn packets_come_out_in_order_across_the_wrap() {
        let mut buffer = JitterBuffer::default();
        for sequence in [65_534, 0, 65_535, 2, 1, 65_533] {
            assert_eq!(insert(&mut buffer, sequence), Inserted::Stored);
        }
        assert_eq!(insert(&mut buffer, 0), Inserted::Duplicate);
        assert_eq!(drain(&mut buffer), [65_533, 65_534, 65_535, 0, 1, 2]);
        assert_eq!(insert(&mut buffer, 1), Inserted::Duplicate);
    }

    #[test]
    fn a_missing_packet_that_comes_after_its_turn_is_late() {
        let mut buffer = JitterBuffer::default();
        insert(&mut buffer, 10);
        insert(&mut buffer, 12);
        assert_eq!(buffer.pop().map(|slot| slot.timestamp), Some(10));
        assert_eq!(buffer.peek().map(|(slot, missing)| (slot.timestamp, missing)), Some((12, 1)));
        buffer.pop();
        assert_eq!(insert(&mut buffer, 11), Inserted::Late);
        assert_eq!(insert(&mut buffer, 12), Inserted::Duplicate);
        assert_eq!(insert(&mut buffer, 13), Inserted::Stored);
    }

    #[test]
    fn a_jump_ahead_pushes_out_what_does_not_fit() {
        let mut buffer = JitterBuffer::default();
        for sequence in 0..10 {
            insert(&mut buffer, sequence);
        }
        let jump = limits::JITTER_SLOTS as u16 + 4;
        assert_eq!(insert(&mut buffer, jump), Inserted::Pushed(5));
        assert_eq!(drain(&mut buffer), [5, 6, 7, 8, 9, jump]);
        assert_eq!(insert(&mut buffer, 20_000), Inserted::Stored);
        assert_eq!(drain(&mut buffer), [20_000]);
        assert!(buffer.is_empty());
    }
}
