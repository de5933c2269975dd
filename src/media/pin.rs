//! Whose RTP is taken: the rule of the call, and the one source that satisfied it.
//!
//! Plain RTP has nothing to show but where it comes from. It is believed from the allowed addresses at any port; three
//! consecutive packets of an agreed payload type pin address, port and SSRC, and from then on nothing else counts until
//! a new offer and answer or two seconds of silence. Whoever sends from the very host that was signalled can therefore
//! win the race for the pin; against him only SRTP helps. Authenticated media (SRTP, or what the ICE agent vouches for)
//! pins by its first packet, and may move.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::limits;
use crate::session::SourceRule;

/// What to do with an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// From the pinned source: take it.
    Take,
    /// It pins its source: take what [`Pin::take_held`] gives, then it.
    Pinned,
    /// May become the source: kept until that is known.
    Held,
    WrongSource,
    PayloadType,
}

/// The pinned source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub address: SocketAddr,
    pub ssrc: u32,
}

/// What of a packet the rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub source: SocketAddr,
    pub ssrc: u32,
    pub sequence: u16,
    /// Whether the payload type was agreed.
    pub agreed: bool,
    /// Whether SRTP or the ICE agent vouches for it.
    pub authentic: bool,
    /// In clear: kept while its source is not known.
    pub packet: &'a [u8],
}

/// The state of one stream's source.
pub struct Pin {
    rule: SourceRule,
    pinned: Option<(Source, Instant)>,
    candidates: Vec<Candidate>,
    winner: Vec<(Instant, Vec<u8>)>,
}

struct Candidate {
    source: Source,
    sequence: u16,
    held: Vec<(Instant, Vec<u8>)>,
    touched: Instant,
}

/// Consecutive packets that pin.
const CONSECUTIVE: usize = 3;

impl Pin {
    /// Nothing pinned yet.
    pub fn new(rule: SourceRule) -> Self {
        Self { rule, pinned: None, candidates: Vec::new(), winner: Vec::new() }
    }

    /// A new offer and answer: the source is found anew. Returns whether one was pinned.
    pub fn renegotiate(&mut self, rule: SourceRule) -> bool {
        self.rule = rule;
        self.candidates.clear();
        self.pinned.take().is_some()
    }

    /// The source that media is taken from.
    pub fn source(&self) -> Option<Source> {
        self.pinned.map(|(source, _)| source)
    }

    /// Whether packets that show nothing but their address are allowed from there at all. The port does not matter.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self.rule {
            SourceRule::Ice => true,
            SourceRule::Address { signalled, symmetric } => {
                signalled.to_canonical() == address || symmetric.is_some_and(|other| other.to_canonical() == address)
            }
        }
    }

    /// Forgets a source that was quiet for two seconds; returns whether it did.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let quiet = self.deadline().is_some_and(|deadline| now >= deadline);
        if quiet {
            self.pinned = None;
        }
        quiet
    }

    fn deadline(&self) -> Option<Instant> {
        self.pinned.map(|(_, heard)| heard + limits::PIN_QUIET)
    }

    /// Judges one packet.
    pub fn judge(&mut self, seen: Seen<'_>, now: Instant) -> Verdict {
        let source = Source { address: seen.source, ssrc: seen.ssrc };
        let authentic = seen.authentic || self.rule == SourceRule::Ice;
        if authentic {
            return self.judge_authentic(source, seen.agreed, now);
        }
        if !self.allows(seen.source.ip()) {
            return Verdict::WrongSource;
        }
        match &mut self.pinned {
            Some((pinned, _)) if *pinned != source => Verdict::WrongSource,
            Some(_) if !seen.agreed => Verdict::PayloadType,
            Some((_, heard)) => {
                *heard = now;
                Verdict::Take
            }
            None if !seen.agreed => {
                self.candidates.retain(|candidate| candidate.source != source);
                Verdict::PayloadType
            }
            None => self.consider(source, seen, now),
        }
    }

    fn judge_authentic(&mut self, source: Source, agreed: bool, now: Instant) -> Verdict {
        if !agreed {
            return Verdict::PayloadType;
        }
        let known = self.pinned.is_some_and(|(pinned, _)| pinned == source);
        self.pinned = Some((source, now));
        if known { Verdict::Take } else { Verdict::Pinned }
    }

    fn consider(&mut self, source: Source, seen: Seen<'_>, now: Instant) -> Verdict {
        let at = match self.candidates.iter().position(|candidate| candidate.source == source) {
            Some(at) => at,
            None => {
                if self.candidates.len() == limits::PIN_CANDIDATES_MAX {
                    // The one not heard for longest makes room.
                    let oldest = (0..self.candidates.len()).min_by_key(|at| self.candidates[*at].touched);
                    self.candidates.swap_remove(oldest.unwrap_or(0));
                }
                self.candidates.push(Candidate { source, sequence: seen.sequence, held: Vec::new(), touched: now });
                self.candidates.len() - 1
            }
        };
        let candidate = &mut self.candidates[at];
        if !candidate.held.is_empty() && seen.sequence != candidate.sequence.wrapping_add(1) {
            candidate.held.clear();
        }
        candidate.sequence = seen.sequence;
        candidate.touched = now;
        if candidate.held.len() + 1 < CONSECUTIVE {
            candidate.held.push((now, seen.packet.to_vec()));
            return Verdict::Held;
        }
        self.winner = std::mem::take(&mut candidate.held);
        self.candidates.clear();
        self.pinned = Some((source, now));
        Verdict::Pinned
    }

    /// The packets held for the source that was just pinned, with the times at which they came.
    pub fn take_held(&mut self) -> Vec<(Instant, Vec<u8>)> {
        std::mem::take(&mut self.winner)
    }

    /// How long nothing has come from the pinned source.
    pub fn quiet(&self, now: Instant) -> Option<Duration> {
        self.pinned.map(|(_, heard)| now.saturating_duration_since(heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: SourceRule =
        SourceRule::Address { signalled: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), symmetric: None };

    struct World {
        pin: Pin,
        now: Instant,
    }

    impl World {
        fn new(rule: SourceRule) -> Self {
            Self { pin: Pin::new(rule), now: Instant::now() }
        }

        fn send(&mut self, source: &str, ssrc: u32, sequence: u16) -> Verdict {
            self.now += Duration::from_millis(20);
            self.pin.handle_timeout(self.now);
            let seen = Seen {
                source: source.parse().unwrap(),
                ssrc,
                sequence,
                agreed: true,
                authentic: false,
                packet: &[sequence as u8],
            };
            self.pin.judge(seen, self.now)
        }
    }

    #[test]
    fn three_consecutive_packets_from_the_signalled_address_pin_any_port() {
        let mut world = World::new(RULE);
        assert_eq!(world.send("192.0.2.1:4000", 7, 65_534), Verdict::Held);
        assert_eq!(world.send("192.0.2.1:4000", 7, 65_535), Verdict::Held);
        assert_eq!(world.send("192.0.2.2:4000", 7, 0), Verdict::WrongSource);
        assert_eq!(world.send("192.0.2.1:4000", 7, 0), Verdict::Pinned);
        let held: Vec<u8> = world.pin.take_held().iter().map(|(_, packet)| packet[0]).collect();
        assert_eq!(held, [254, 255]);
        assert_eq!(world.send("192.0.2.1:4000", 7, 1), Verdict::Take);
        assert_eq!(world.send("192.0.2.1:4002", 7, 2), Verdict::WrongSource, "another port");
        assert_eq!(world.send("192.0.2.1:4000", 8, 2), Verdict::WrongSource, "another SSRC");
    }

    #[test]
    fn a_gap_in_the_numbers_starts_the_count_anew() {
        let mut world = World::new(RULE);
        for sequence in [1, 2, 4, 5] {
            assert_eq!(world.send("192.0.2.1:4000", 7, sequence), Verdict::Held);
        }
        assert_eq!(world.send("192.0.2.1:4000", 7, 6), Verdict::Pinned);
        assert_eq!(world.pin.take_held().len(), 2);
    }

    #[test]
    fn two_seconds_of_silence_unpin_and_less_does_not() {
        let mut world = World::new(RULE);
        for sequence in 0..3 {
            world.send("192.0.2.1:4000", 7, sequence);
        }
        world.now += Duration::from_millis(1_950);
        assert_eq!(world.send("192.0.2.1:5000", 9, 0), Verdict::WrongSource);
        world.now += Duration::from_millis(20);
        assert_eq!(world.send("192.0.2.1:5000", 9, 1), Verdict::Held);
        world.send("192.0.2.1:5000", 9, 2);
        assert_eq!(world.send("192.0.2.1:5000", 9, 3), Verdict::Pinned);
    }

    #[test]
    fn the_signalling_address_counts_only_by_setting() {
        let mut world = World::new(RULE);
        assert_eq!(world.send("198.51.100.9:1", 7, 0), Verdict::WrongSource);
        let symmetric = Some("198.51.100.9".parse().unwrap());
        let signalled = "10.0.0.1".parse().unwrap();
        let mut world = World::new(SourceRule::Address { signalled, symmetric });
        assert_eq!(world.send("[::ffff:198.51.100.9]:1", 7, 0), Verdict::Held);
        assert_eq!(world.send("10.0.0.1:1", 7, 0), Verdict::Held);
    }

    #[test]
    fn a_renegotiation_unpins() {
        let mut world = World::new(RULE);
        for sequence in 0..3 {
            world.send("192.0.2.1:4000", 7, sequence);
        }
        assert!(world.pin.renegotiate(RULE));
        assert_eq!(world.send("192.0.2.1:4444", 7, 3), Verdict::Held);
    }

    #[test]
    fn authentic_media_pins_at_once_and_may_move() {
        let mut world = World::new(RULE);
        let seen = |source: &str, agreed| Seen {
            source: source.parse().unwrap(),
            ssrc: 7,
            sequence: 0,
            agreed,
            authentic: true,
            packet: &[],
        };
        assert_eq!(world.pin.judge(seen("203.0.113.1:1", false), world.now), Verdict::PayloadType);
        assert_eq!(world.pin.judge(seen("203.0.113.1:1", true), world.now), Verdict::Pinned);
        assert_eq!(world.pin.judge(seen("203.0.113.1:1", true), world.now), Verdict::Take);
        assert_eq!(world.pin.judge(seen("203.0.113.1:2", true), world.now), Verdict::Pinned);
    }

    #[test]
    fn candidates_are_bounded() {
        let mut world = World::new(RULE);
        for port in 1..1_000 {
            world.send(&format!("192.0.2.1:{port}"), 7, 0);
        }
        assert_eq!(world.pin.candidates.len(), limits::PIN_CANDIDATES_MAX);
    }
}
