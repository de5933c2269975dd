//! The way between a host and the rest of the world: late, lossy in single packets and in bursts, doubling, reordering.

use crate::clock::MILLI;
use crate::random::Random;

/// What a host's access line does to each packet, in either direction.
#[derive(Clone, Debug)]
pub struct Link {
    latency_nanos: u64,
    jitter_nanos: u64,
    loss_per_mille: u64,
    /// Gilbert-Elliott: how often a burst begins, how often it ends, and what is lost within.
    burst: Option<Burst>,
    in_burst: bool,
    double_per_mille: u64,
    /// These are held back long enough to be overtaken.
    overtaken_per_mille: u64,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    begins_per_mille: u64,
    ends_per_mille: u64,
    loss_per_mille: u64,
}

impl Link {
    pub fn draw(random: &mut Random) -> Self {
        let latency_nanos = random.within(1..120) * MILLI;
        let mut link = Self {
            latency_nanos,
            jitter_nanos: random.within(1..20) * MILLI,
            loss_per_mille: 0,
            burst: None,
            in_burst: false,
            double_per_mille: 0,
            overtaken_per_mille: 0,
        };
        if random.once_in(2) {
            link.loss_per_mille = random.within(1..150);
        }
        if random.once_in(3) {
            link.burst = Some(Burst {
                begins_per_mille: random.within(1..20),
                ends_per_mille: random.within(50..300),
                loss_per_mille: 900,
            });
        }
        if random.once_in(2) {
            link.double_per_mille = random.within(1..100);
        }
        if random.once_in(2) {
            link.overtaken_per_mille = random.within(1..150);
        }
        link
    }

    pub fn latency_nanos(&self) -> u64 {
        self.latency_nanos
    }

    /// Delays of the copies that arrive: none for a lost packet, two for a doubled one.
    pub fn pass(&mut self, random: &mut Random) -> Vec<u64> {
        if let Some(burst) = self.burst {
            let turns = if self.in_burst { burst.ends_per_mille } else { burst.begins_per_mille };
            self.in_burst ^= random.per_mille(turns);
            if self.in_burst && random.per_mille(burst.loss_per_mille) {
                return Vec::new();
            }
        }
        if random.per_mille(self.loss_per_mille) {
            return Vec::new();
        }
        let copies = if random.per_mille(self.double_per_mille) { 2 } else { 1 };
        let delay = |_| {
            let held = if random.per_mille(self.overtaken_per_mille) { 3 * self.jitter_nanos } else { 0 };
            self.latency_nanos + random.below(self.jitter_nanos) + held
        };
        (0..copies).map(delay).collect()
    }
}
