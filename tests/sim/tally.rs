//! What a run has seen, to know that it did not idle.

/// How often things happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub allocations: u64,
    pub granted: u64,
    pub refused: u64,
    pub challenged: u64,
    pub repeats: u64,
    pub to_peer: u64,
    pub to_client: u64,
    pub dropped: u64,
    pub forbidden: u64,
    pub quota_refusals: u64,
    pub expiries: u64,
    pub moves: u64,
    pub handovers: u64,
    pub redeemed: u64,
    pub bitrate_drops: u64,
    pub icmp_told: u64,
}

impl Tally {
    fn counts(&mut self) -> [(&'static str, &mut u64); 16] {
        [
            ("allocations", &mut self.allocations),
            ("requests granted", &mut self.granted),
            ("requests refused", &mut self.refused),
            ("challenges", &mut self.challenged),
            ("repeated requests", &mut self.repeats),
            ("packets to peers", &mut self.to_peer),
            ("packets to clients", &mut self.to_client),
            ("packets that went nowhere", &mut self.dropped),
            ("forbidden peers", &mut self.forbidden),
            ("full quotas", &mut self.quota_refusals),
            ("expiries", &mut self.expiries),
            ("moves", &mut self.moves),
            ("moves between shards", &mut self.handovers),
            ("redeemed reservations", &mut self.redeemed),
            ("packets beyond a bit rate", &mut self.bitrate_drops),
            ("ICMP errors told", &mut self.icmp_told),
        ]
    }

    pub fn add(&mut self, mut other: Self) {
        for ((_, sum), (_, count)) in self.counts().into_iter().zip(other.counts()) {
            *sum += *count;
        }
    }

    /// What never happened.
    pub fn missing(mut self) -> Vec<&'static str> {
        self.counts().into_iter().filter(|(_, count)| **count == 0).map(|(name, _)| name).collect()
    }
}
