//! Ports of one relay address and transport: which are taken, which rest, and how one is drawn.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::RangeInclusive;

const WORDS: usize = 65_536 / 64;

/// One bit for each even port. An even port and its successor always share a word.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// What a drawn port must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Even,
    /// Even, and the next port is drawn with it.
    Pair,
}

/// A port is free, resting (released not long ago) or busy. Ports outside the range are busy for ever.
#[derive(Debug)]
pub(crate) struct PortPool {
    pub(crate) address: IpAddr,
    pub(crate) tcp: bool,
    busy: Box<[u64]>,
    resting: Box<[u64]>,
    /// Exactly the resting ports, longest-rested first, with the end of their rest.
    rests: VecDeque<(u64, u16)>,
    range: RangeInclusive<u16>,
    /// Words that hold the range.
    words: RangeInclusive<usize>,
    taken: u32,
}

impl PortPool {
    /// A pool over a range; port 0 is never part of it.
    pub(crate) fn new(address: IpAddr, tcp: bool, range: &RangeInclusive<u16>) -> Self {
        let (first, last) = (*range.start().max(&1), *range.end());
        let mut busy = vec![u64::MAX; WORDS].into_boxed_slice();
        for port in first..=last {
            busy[word(port)] &= !bit(port);
        }
        Self {
            address,
            tcp,
            busy,
            resting: vec![0; WORDS].into_boxed_slice(),
            rests: VecDeque::new(),
            range: first..=last,
            words: word(first)..=word(last),
            taken: 0,
        }
    }

    /// How many ports of the range there are.
    pub(crate) fn total(&self) -> u32 {
        self.range.len() as u32
    }

    /// How many of them carry no lease, resting ones included.
    pub(crate) fn available(&self) -> u32 {
        self.total() - self.taken
    }

    /// Frees the ports whose rest is over. Cost is linear in their number.
    pub(crate) fn end_rests(&mut self, now_nanos: u64) {
        while let Some(&(until, port)) = self.rests.front() {
            if until > now_nanos {
                break;
            }
            self.resting[word(port)] &= !bit(port);
            self.rests.pop_front();
        }
    }

    /// How many choices [`take_free`](Self::take_free) has. Costs one pass over the range's bitmap.
    pub(crate) fn choices(&self, kind: Kind) -> u32 {
        self.words.clone().map(|at| self.mask(at, kind).count_ones()).sum()
    }

    /// Takes choice number `nth` among the free ports in ascending order.
    pub(crate) fn take_free(&mut self, kind: Kind, mut nth: u32) -> Option<u16> {
        for at in self.words.clone() {
            let mask = self.mask(at, kind);
            let ones = mask.count_ones();
            if nth < ones {
                let port = (at * 64) as u16 + nth_one(mask, nth) as u16;
                self.occupy(port, kind);
                return Some(port);
            }
            nth -= ones;
        }
        None
    }

    /// Takes the port that has rested longest, for when nothing is free. Cost is linear in the number of resting ports.
    pub(crate) fn take_resting(&mut self, kind: Kind) -> Option<u16> {
        let fit = |&(_, port): &(u64, u16)| match kind {
            Kind::Any => Some(port),
            Kind::Even => (port % 2 == 0).then_some(port),
            Kind::Pair => {
                let even = port & !1;
                (self.busy[word(even)] & (bit(even) | bit(even + 1)) == 0).then_some(even)
            }
        };
        let port = self.rests.iter().find_map(fit)?;
        self.occupy(port, kind);
        Some(port)
    }

    /// Gives a taken port back; it rests until `until_nanos`, which never lies before an earlier one.
    pub(crate) fn release(&mut self, port: u16, until_nanos: u64) {
        debug_assert!(self.busy[word(port)] & bit(port) != 0, "a port is released once");
        self.busy[word(port)] &= !bit(port);
        self.resting[word(port)] |= bit(port);
        self.rests.push_back((until_nanos, port));
        self.taken -= 1;
    }

    fn occupy(&mut self, port: u16, kind: Kind) {
        let ports = if kind == Kind::Pair { port..=port + 1 } else { port..=port };
        for port in ports {
            self.busy[word(port)] |= bit(port);
            self.taken += 1;
            if self.resting[word(port)] & bit(port) != 0 {
                self.resting[word(port)] &= !bit(port);
                self.rests.retain(|&(_, resting)| resting != port);
            }
        }
    }

    /// Free ports of `kind` in one word of the bitmap.
    fn mask(&self, at: usize, kind: Kind) -> u64 {
        let free = !(self.busy[at] | self.resting[at]);
        match kind {
            Kind::Any => free,
            Kind::Even => free & EVEN,
            Kind::Pair => free & (free >> 1) & EVEN,
        }
    }
}

fn word(port: u16) -> usize {
    usize::from(port / 64)
}

fn bit(port: u16) -> u64 {
    1 << (port % 64)
}

/// Place of the `nth` one of `mask`, which has more than `nth` of them.
fn nth_one(mut mask: u64, nth: u32) -> u32 {
    for _ in 0..nth {
        mask &= mask - 1;
    }
    mask.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(range: RangeInclusive<u16>) -> PortPool {
        PortPool::new("192.0.2.1".parse().unwrap(), false, &range)
    }

    #[test]
    fn every_port_of_the_range_is_a_choice_and_no_other() {
        let mut pool = pool(60..=130);
        assert_eq!((pool.choices(Kind::Any), pool.choices(Kind::Even), pool.choices(Kind::Pair)), (71, 36, 35));
        let mut drawn: Vec<u16> = std::iter::from_fn(|| pool.take_free(Kind::Any, 0)).collect();
        assert_eq!(drawn.len(), 71);
        drawn.sort_unstable();
        assert_eq!(drawn, (60..=130).collect::<Vec<_>>());
        assert_eq!(pool.available(), 0);
    }

    #[test]
    fn port_zero_is_never_drawn_and_the_last_port_is() {
        let mut low = pool(0..=1);
        assert_eq!((low.total(), low.take_free(Kind::Any, 0), low.take_free(Kind::Any, 0)), (1, Some(1), None));
        let mut high = pool(65_534..=65_535);
        assert_eq!(high.take_free(Kind::Pair, 0), Some(65_534));
        assert_eq!(high.choices(Kind::Any), 0);
    }

    #[test]
    fn a_released_port_rests_and_is_used_when_nothing_else_is_left() {
        let mut pool = pool(100..=101);
        assert_eq!(pool.take_free(Kind::Any, 0), Some(100));
        pool.release(100, 60);
        assert_eq!(pool.choices(Kind::Any), 1);
        assert_eq!(pool.take_free(Kind::Any, 0), Some(101));
        assert_eq!(pool.take_free(Kind::Any, 0), None);
        assert_eq!(pool.take_resting(Kind::Any), Some(100));
        assert_eq!(pool.take_resting(Kind::Any), None);
        pool.release(101, 70);
        pool.end_rests(69);
        assert_eq!(pool.choices(Kind::Any), 0);
        pool.end_rests(70);
        assert_eq!(pool.choices(Kind::Any), 1);
    }

    #[test]
    fn a_resting_pair_needs_both_its_ports() {
        let mut pool = pool(100..=103);
        for _ in 0..4 {
            pool.take_free(Kind::Any, 0);
        }
        pool.release(101, 60);
        pool.release(102, 60);
        assert_eq!(pool.take_resting(Kind::Pair), None);
        pool.release(103, 60);
        assert_eq!(pool.take_resting(Kind::Pair), Some(102));
        assert_eq!(pool.available(), 1);
    }
}
