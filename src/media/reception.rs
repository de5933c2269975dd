//! What a receiver keeps of one source: sequence numbers, loss and jitter (RFC 3550 appendices A.3 and A.8).

/// Counters of one source.
#[derive(Clone, Debug)]
pub struct Reception {
    ssrc: u32,
    base: u64,
    highest: u64,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    transit: Option<i32>,
    /// Sixteenths of a timestamp unit.
    jitter: u32,
    jitter_max: u32,
}

impl Reception {
    /// Starts with a source's first packet, which is to be [`count`](Self::count)ed too.
    pub fn new(ssrc: u32, sequence: u16) -> Self {
        // Some room below the first, so that a packet reordered around the start has a number.
        let base = 0x1_0000 + u64::from(sequence);
        Self {
            ssrc,
            base,
            highest: base,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            transit: None,
            jitter: 0,
            jitter_max: 0,
        }
    }

    /// The source.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Counts a packet. Returns whether it came after one with a higher number.
    pub fn count(&mut self, sequence: u16) -> bool {
        let extended = self.extend(sequence);
        let reordered = extended < self.highest;
        self.base = self.base.min(extended);
        self.highest = self.highest.max(extended);
        self.received += 1;
        reordered
    }

    /// Lets a packet's way count for jitter; `arrival` and `timestamp` are in units of the same clock.
    pub fn time(&mut self, timestamp: u32, arrival: u32) {
        let transit = arrival.wrapping_sub(timestamp) as i32;
        if let Some(former) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(former).unsigned_abs();
            // A sender that starts its timestamps anew is no jitter.
            if difference < 8_000 {
                self.jitter = (self.jitter + difference).saturating_sub((self.jitter + 8) >> 4);
                self.jitter_max = self.jitter_max.max(self.jitter);
            }
        }
    }

    fn extend(&self, sequence: u16) -> u64 {
        let distance = sequence.wrapping_sub(self.highest as u16) as i16;
        self.highest.saturating_add_signed(i64::from(distance))
    }

    /// The highest sequence number with its count of wraps, as reports carry it.
    pub fn extended_highest(&self) -> u32 {
        (self.highest - 0x1_0000) as u32
    }

    fn expected(&self) -> u64 {
        self.highest - self.base + 1
    }

    /// Packets that never came; negative with duplicates.
    pub fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    /// Share lost since the last call, in 1/256; negative counts as none.
    pub fn take_fraction_lost(&mut self) -> u8 {
        let expected = self.expected() - self.expected_prior;
        let received = self.received - self.received_prior;
        self.expected_prior = self.expected();
        self.received_prior = self.received;
        let lost = expected.saturating_sub(received);
        lost.saturating_mul(256).checked_div(expected).unwrap_or(0).min(255) as u8
    }

    /// Interarrival jitter in timestamp units.
    pub fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// The highest that [`jitter`](Self::jitter) was.
    pub fn jitter_max(&self) -> u32 {
        self.jitter_max >> 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_counted_across_the_wrap_and_reordering_is_none() {
        let mut reception = Reception::new(1, 65_530);
        for i in 0..20u16 {
            // 3 is lost, 8 and 9 come in the wrong order.
            let i = match i {
                3 => continue,
                8 => 9,
                9 => 8,
                i => i,
            };
            let reordered = reception.count(65_530u16.wrapping_add(i));
            assert_eq!(reordered, i == 8);
        }
        assert_eq!(reception.lost(), 1);
        assert_eq!(reception.extended_highest(), 65_530 + 19);
        assert_eq!(reception.take_fraction_lost(), (256 / 20) as u8);
        assert_eq!(reception.take_fraction_lost(), 0);
    }

    #[test]
    fn jitter_follows_the_standard_filter() {
        let mut reception = Reception::new(1, 0);
        for i in 0..1_000u32 {
            let late = if i % 2 == 0 { 0 } else { 80 };
            reception.time(i * 160, i * 160 + late);
        }
        assert!((75..=80).contains(&reception.jitter()), "{}", reception.jitter());
        assert!(reception.jitter_max() >= reception.jitter());
    }

    #[test]
    fn a_packet_from_before_the_first_lowers_the_base() {
        let mut reception = Reception::new(1, 5);
        reception.count(5);
        reception.count(3);
        assert_eq!(reception.lost(), 1);
    }
}
