//! Those with no business here: garbage, spoiled copies of what others send, replays from elsewhere, injected data.

use std::net::SocketAddr;

use crate::random::Random;

/// The last datagrams of others, to be abused.
#[derive(Debug, Default)]
pub struct Overheard {
    datagrams: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
}

/// One try of a stranger at a listener.
pub struct Attempt {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

const KEPT: usize = 64;

impl Overheard {
    pub fn note(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if self.datagrams.len() == KEPT {
            self.datagrams.remove(0);
        }
        self.datagrams.push((from, to, bytes.to_vec()));
    }

    /// Something for a listener; `None` when nothing was overheard yet.
    pub fn attempt(&self, random: &mut Random) -> Option<Attempt> {
        if self.datagrams.is_empty() {
            return None;
        }
        let (from, to, bytes) = random.pick(&self.datagrams).clone();
        let elsewhere = |random: &mut Random| match from {
            SocketAddr::V4(_) => SocketAddr::from(([198, 51, 100, 200], random.within(1..65_536) as u16)),
            SocketAddr::V6(_) => SocketAddr::new(from.ip(), random.within(1..65_536) as u16),
        };
        Some(match random.below(5) {
            // Garbage of any length.
            0 => Attempt { from: elsewhere(random), to, bytes: noise(random) },
            // From the victim's very address, with some bytes changed.
            1 => Attempt { from, to, bytes: spoiled(random, bytes) },
            2 => Attempt { from: elsewhere(random), to, bytes: spoiled(random, bytes) },
            // Word for word.
            3 => Attempt { from: elsewhere(random), to, bytes },
            _ => Attempt { from, to, bytes },
        })
    }
}

fn noise(random: &mut Random) -> Vec<u8> {
    let len = random.below(200) as usize;
    random.bytes(len)
}

fn spoiled(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..random.within(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => bytes.truncate(at),
            _ => bytes.insert(at, random.below(256) as u8),
        }
    }
    bytes
}
