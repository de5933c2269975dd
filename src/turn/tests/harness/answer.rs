//! What reached a client, taken apart.

use std::net::SocketAddr;

use postern_turn::attribute::{Attribute, AttributeType};
use postern_turn::integrity::IntegrityAlgorithm;
use postern_turn::io::{Client, ReplyFrom};
use postern_turn::message::{Message, Method};

use super::Told;
use super::endpoint::Endpoint;

/// An answer or an indication.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub client: Client,
    pub to: SocketAddr,
    pub from: ReplyFrom,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn new(told: Told) -> Self {
        Self { client: told.client, to: told.to, from: told.from, bytes: told.message }
    }

    pub fn message(&self) -> Message<'_> {
        Message::decode(&self.bytes).unwrap()
    }

    pub fn method(&self) -> Method {
        self.message().method()
    }

    pub fn find(&self, wanted: AttributeType) -> Option<Attribute<'_>> {
        self.message().find(wanted).unwrap()
    }

    pub fn has(&self, wanted: AttributeType) -> bool {
        self.find(wanted).is_some()
    }

    /// All attribute types in order, integrity and fingerprint left out.
    pub fn types(&self) -> Vec<AttributeType> {
        self.message().attributes().map(|raw| raw.attribute_type).collect()
    }

    /// The error code; `None` for a success or an indication.
    pub fn code(&self) -> Option<u16> {
        match self.find(AttributeType::ERROR_CODE)? {
            Attribute::ErrorCode(code, _) => Some(code.number()),
            other => panic!("{other:?} is no error code"),
        }
    }

    pub fn reason(&self) -> Vec<u8> {
        match self.find(AttributeType::ERROR_CODE) {
            Some(Attribute::ErrorCode(_, reason)) => reason.to_vec(),
            _ => Vec::new(),
        }
    }

    pub fn nonce(&self) -> Option<Vec<u8>> {
        match self.find(AttributeType::NONCE)? {
            Attribute::Nonce(nonce) => Some(nonce.to_vec()),
            _ => None,
        }
    }

    pub fn lifetime(&self) -> Option<u32> {
        match self.find(AttributeType::LIFETIME)? {
            Attribute::Lifetime(secs) => Some(secs),
            _ => None,
        }
    }

    pub fn mapped(&self) -> Option<SocketAddr> {
        match self.find(AttributeType::XOR_MAPPED_ADDRESS)? {
            Attribute::XorMappedAddress(address) => Some(address),
            _ => None,
        }
    }

    /// All relayed addresses, in order.
    pub fn relayed(&self) -> Vec<SocketAddr> {
        let message = self.message();
        let id = message.transaction_id();
        let relayed = message.attributes().filter(|raw| raw.attribute_type == AttributeType::XOR_RELAYED_ADDRESS);
        let addresses = relayed.map(|raw| match Attribute::decode(raw.attribute_type, raw.value, &id) {
            Ok(Attribute::XorRelayedAddress(address)) => address,
            other => panic!("{other:?} is no relayed address"),
        });
        addresses.collect()
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        match self.find(AttributeType::XOR_PEER_ADDRESS)? {
            Attribute::XorPeerAddress(address) => Some(address),
            _ => None,
        }
    }

    pub fn ticket(&self) -> Option<Vec<u8>> {
        match self.find(AttributeType::MOBILITY_TICKET)? {
            Attribute::MobilityTicket(ticket) => Some(ticket.to_vec()),
            _ => None,
        }
    }

    pub fn reservation(&self) -> Option<[u8; 8]> {
        match self.find(AttributeType::RESERVATION_TOKEN)? {
            Attribute::ReservationToken(token) => Some(token),
            _ => None,
        }
    }

    /// Which integrity it carries; panics when that is not the endpoint's.
    pub fn integrity_for(&self, endpoint: &Endpoint) -> Option<IntegrityAlgorithm> {
        let message = self.message();
        let integrity = message.integrity()?;
        assert!(integrity.matches(&endpoint.key()), "signed with another key");
        Some(integrity.algorithm())
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({:?}, code {:?}, {:?})", self.method(), self.code(), self.types())
    }
}

/// A peer's payload as it reached the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub client: Client,
    pub frame: Vec<u8>,
    pub tos: u8,
}

impl Delivered {
    /// The frame as a Data indication: peer and payload.
    pub fn indication(&self) -> (SocketAddr, Vec<u8>) {
        let message = Message::decode(&self.frame).expect("a Data indication");
        assert_eq!(message.method(), Method::Data);
        let peer = match message.find(AttributeType::XOR_PEER_ADDRESS) {
            Ok(Some(Attribute::XorPeerAddress(peer))) => peer,
            other => panic!("{other:?} is no peer"),
        };
        match message.find(AttributeType::DATA) {
            Ok(Some(Attribute::Data(data))) => (peer, data.to_vec()),
            other => panic!("{other:?} is no data"),
        }
    }
}
