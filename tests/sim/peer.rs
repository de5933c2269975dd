//! Peers: hosts that clients want to talk to. Some are behind NATs, some answer, some begin, some are not there at all.

use std::net::SocketAddr;

use postern_turn::attribute::{Attribute, AttributeType};
use postern_turn::message::{Class, Message, MessageWriter, Method, TransactionId};

use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    Echoes,
    Listens,
    /// Writes to every relay that it ever heard from.
    Talks,
    /// Nobody listens: its host says so by ICMP.
    Closed,
}

pub const HABITS: [Habit; 4] = [Habit::Echoes, Habit::Listens, Habit::Talks, Habit::Closed];

#[derive(Debug)]
pub struct Peer {
    pub inside: SocketAddr,
    pub habit: Habit,
    /// How it is seen from outside, once it has asked.
    pub known_as: Option<SocketAddr>,
    /// Relayed addresses that it heard from.
    pub heard: Vec<SocketAddr>,
    pub received: u64,
}

impl Peer {
    pub fn new(inside: SocketAddr, habit: Habit, known_as: Option<SocketAddr>) -> Self {
        Self { inside, habit, known_as, heard: Vec::new(), received: 0 }
    }

    /// A Binding request, to learn its own address.
    pub fn ask(random: &mut Random) -> Vec<u8> {
        let mut out = Vec::new();
        let id = TransactionId::new(random.array());
        let written = MessageWriter::new(&mut out, Class::Request, Method::Binding, id).finish();
        assert!(written.is_ok(), "a header fits a message");
        out
    }

    /// A packet from the edge: an answer to its question, or data; what it sends back at once.
    pub fn on_packet(&mut self, from: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
        if let Ok(message) = Message::decode(bytes)
            && message.class() == Class::Success
        {
            if let Ok(Some(Attribute::XorMappedAddress(mapped))) = message.find(AttributeType::XOR_MAPPED_ADDRESS) {
                self.known_as = Some(mapped);
            }
            return None;
        }
        self.received += 1;
        if !self.heard.contains(&from) {
            self.heard.push(from);
        }
        (self.habit == Habit::Echoes).then(|| bytes.to_vec())
    }
}
