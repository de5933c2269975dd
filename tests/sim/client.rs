//! A TURN client: what it knows, what it asks for, what it repeats, and what it makes of the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use postern_turn::attribute::{Attribute, AttributeType, EvenPort, FamilyWish, PasswordAlgorithms};
use postern_turn::integrity::{IntegrityAlgorithm, IntegrityKey, PasswordAlgorithm};
use postern_turn::io::Family;
use postern_turn::message::{Class, Message, MessageWriter, Method, TransactionId};

use crate::clock::{MILLI, SECOND};
use crate::random::Random;
use crate::rules::{Issued, REALM};
use crate::temper::Temper;

/// What those use who know no better.
pub const WRONG_PASSWORD: &[u8] = b"not the password of anybody!";

/// First wait for an answer, and how often a request is sent.
const RTO_NANOS: u64 = 500 * MILLI;
const TRIES: u32 = 5;

/// A request, apart from credentials and transaction id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Allocate {
        families: Families,
        even: Option<bool>,
        reservation: Option<[u8; 8]>,
        lifetime: Option<u32>,
        mobile: bool,
    },
    Refresh {
        lifetime: Option<u32>,
        family: Option<Family>,
        ticket: Option<Vec<u8>>,
    },
    Permit(Vec<SocketAddr>),
    Bind(u16, SocketAddr),
    /// Well signed, and wrong in some way or other.
    Odd(Odd),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    Default,
    V6,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    TransportTcp,
    NoTransport,
    UnknownAttribute,
    PermitNobody,
    PermitMany,
    ChannelOutOfRange,
    UnknownFamily,
    EvenAndBoth,
    Connect,
    MalformedLifetime,
}

impl Ask {
    pub fn method(&self) -> Method {
        match self {
            Self::Allocate { .. } => Method::Allocate,
            Self::Refresh { .. } => Method::Refresh,
            Self::Permit(_) => Method::CreatePermission,
            Self::Bind(..) => Method::ChannelBind,
            Self::Odd(odd) => match odd {
                Odd::PermitNobody | Odd::PermitMany => Method::CreatePermission,
                Odd::ChannelOutOfRange => Method::ChannelBind,
                Odd::Connect => Method::Connect,
                Odd::MalformedLifetime => Method::Refresh,
                _ => Method::Allocate,
            },
        }
    }
}

/// A request whose answer has not come yet.
#[derive(Debug)]
struct Open {
    ask: Ask,
    id: [u8; 12],
    bytes: Vec<u8>,
    tries: u32,
    due: u64,
    /// The second one, after a challenge.
    again: bool,
}

#[derive(Debug)]
pub struct Client {
    pub inside: SocketAddr,
    /// Of ours, as the world knows it.
    pub server: SocketAddr,
    /// 0 is UDP.
    pub stream: u32,
    pub temper: Temper,
    pub identity: usize,
    pub token: Issued,
    pub nonce: Vec<u8>,
    pub sha256: bool,
    pub relayed: Vec<SocketAddr>,
    pub ends: u64,
    pub permitted: BTreeMap<SocketAddr, u64>,
    pub channels: BTreeMap<u16, SocketAddr>,
    pub ticket: Option<Vec<u8>>,
    pub reservation: Option<[u8; 8]>,
    pub sent: u64,
    pub received: u64,
    open: Vec<Open>,
}

impl Client {
    pub fn new(inside: SocketAddr, server: SocketAddr, stream: u32, temper: Temper, token: Issued) -> Self {
        Self {
            inside,
            server,
            stream,
            temper,
            identity: 0,
            token,
            nonce: Vec::new(),
            sha256: false,
            relayed: Vec::new(),
            ends: 0,
            permitted: BTreeMap::new(),
            channels: BTreeMap::new(),
            ticket: None,
            reservation: None,
            sent: 0,
            received: 0,
            open: Vec::new(),
        }
    }

    pub fn is_asking(&self, method: Method) -> bool {
        self.open.iter().any(|open| open.ask.method() == method)
    }

    pub fn has_allocation(&self) -> bool {
        !self.relayed.is_empty()
    }

    /// The bytes of a new request, to be sent now and repeated until it is answered.
    pub fn ask(&mut self, now: u64, random: &mut Random, ask: Ask) -> Vec<u8> {
        self.begin(now, random, ask, false)
    }

    /// Requests that are due once more.
    pub fn repeats(&mut self, now: u64) -> Vec<Vec<u8>> {
        let mut repeats = Vec::new();
        self.open.retain_mut(|open| {
            if open.due > now {
                return true;
            }
            open.tries += 1;
            open.due = now + (RTO_NANOS << open.tries);
            if open.tries < TRIES {
                repeats.push(open.bytes.clone());
            }
            open.tries < TRIES
        });
        repeats
    }

    pub fn next_repeat(&self) -> Option<u64> {
        self.open.iter().map(|open| open.due).min()
    }

    /// An answer that reached the client; returns what it sends at once.
    pub fn on_answer(&mut self, now: u64, random: &mut Random, bytes: &[u8]) -> Option<Vec<u8>> {
        let message = Message::decode(bytes).ok()?;
        let at = self.open.iter().position(|open| open.id == bytes[8..20])?;
        let open = self.open.swap_remove(at);
        match message.class() {
            Class::Success => self.on_success(now, open.ask, &message),
            Class::Error => return self.on_error(now, random, open, &message),
            Class::Request | Class::Indication => {}
        }
        None
    }

    /// Everything about the allocation is gone.
    pub fn forget(&mut self) {
        self.relayed.clear();
        self.permitted.clear();
        self.channels.clear();
        self.ticket = None;
    }

    /// From another port, or another connection: what the server knows is another client.
    pub fn leave(&mut self, inside: SocketAddr) {
        self.inside = inside;
        self.open.clear();
        self.nonce.clear();
    }

    pub fn indication(&mut self, random: &mut Random, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer =
            MessageWriter::new(&mut out, Class::Indication, Method::Send, TransactionId::new(random.array()));
        writer.attribute(&Attribute::XorPeerAddress(peer)).attribute(&Attribute::Data(payload));
        let written = writer.finish();
        assert!(written.is_ok(), "a payload fits a message");
        out
    }

    pub fn channel_data(&self, number: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend((payload.len() as u16).to_be_bytes());
        bytes.extend(payload);
        if self.stream != 0 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn begin(&mut self, now: u64, random: &mut Random, ask: Ask, again: bool) -> Vec<u8> {
        let id = random.array();
        let bytes = self.write(&ask, id);
        self.open.push(Open { ask, id, bytes: bytes.clone(), tries: 0, due: now + RTO_NANOS, again });
        bytes
    }

    fn write(&self, ask: &Ask, id: [u8; 12]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out, Class::Request, ask.method(), TransactionId::new(id));
        write_ask(&mut writer, ask);
        if !self.nonce.is_empty() {
            let algorithm = if self.sha256 { PasswordAlgorithm::Sha256 } else { PasswordAlgorithm::Md5 };
            let guess = self.temper == Temper::Guesser;
            let password = if guess { WRONG_PASSWORD } else { self.token.password.as_slice() };
            let key = IntegrityKey::long_term(algorithm, &self.token.username, REALM.as_bytes(), password);
            writer.attribute(&Attribute::Username(&self.token.username));
            writer.attribute(&Attribute::Realm(REALM.as_bytes())).attribute(&Attribute::Nonce(&self.nonce));
            if self.sha256 {
                writer.attribute(&Attribute::PasswordAlgorithms(PasswordAlgorithms::OFFERED));
                writer.attribute(&algorithm.into());
                writer.integrity(IntegrityAlgorithm::Sha256, &key);
            } else {
                writer.integrity(IntegrityAlgorithm::Sha1, &key);
            }
        }
        let written = writer.finish();
        assert!(written.is_ok(), "a request fits a message");
        out
    }

    fn on_success(&mut self, now: u64, ask: Ask, message: &Message<'_>) {
        let lifetime = match message.find(AttributeType::LIFETIME) {
            Ok(Some(Attribute::Lifetime(secs))) => u64::from(secs),
            _ => 0,
        };
        let ticket = match message.find(AttributeType::MOBILITY_TICKET) {
            Ok(Some(Attribute::MobilityTicket(ticket))) => Some(ticket.to_vec()),
            _ => None,
        };
        match ask {
            Ask::Allocate { .. } => {
                let id = message.transaction_id();
                let relayed = message.attributes().filter_map(|raw| {
                    match Attribute::decode(raw.attribute_type, raw.value, &id) {
                        Ok(Attribute::XorRelayedAddress(address)) => Some(address),
                        _ => None,
                    }
                });
                self.forget();
                self.relayed = relayed.collect();
                self.ends = now + lifetime * SECOND;
                self.ticket = ticket;
                if let Ok(Some(Attribute::ReservationToken(token))) = message.find(AttributeType::RESERVATION_TOKEN) {
                    self.reservation = Some(token);
                }
            }
            Ask::Refresh { family: Some(family), lifetime: Some(0), .. } if self.relayed.len() > 1 => {
                self.relayed.retain(|relayed| relayed.is_ipv4() != (family == Family::V4));
            }
            Ask::Refresh { lifetime: Some(0), .. } => self.forget(),
            Ask::Refresh { .. } => {
                self.ends = now + lifetime * SECOND;
                self.ticket = ticket.or(self.ticket.take());
            }
            Ask::Permit(peers) => self.permitted.extend(peers.into_iter().map(|peer| (peer, now))),
            Ask::Bind(number, peer) => {
                self.permitted.insert(peer, now);
                self.channels.insert(number, peer);
            }
            Ask::Odd(_) => {}
        }
    }

    fn on_error(&mut self, now: u64, random: &mut Random, open: Open, message: &Message<'_>) -> Option<Vec<u8>> {
        let code = match message.find(AttributeType::ERROR_CODE) {
            Ok(Some(Attribute::ErrorCode(code, _))) => code.number(),
            _ => return None,
        };
        match code {
            401 | 438 => {
                if let Ok(Some(Attribute::Nonce(nonce))) = message.find(AttributeType::NONCE) {
                    self.nonce = nonce.to_vec();
                }
                (!open.again).then(|| self.begin(now, random, open.ask, true))
            }
            437 if open.ask.method() != Method::Allocate => {
                self.forget();
                None
            }
            // One that we have forgotten, or that somebody had at this address before us.
            437 => Some(self.begin(now, random, Ask::Refresh { lifetime: Some(0), family: None, ticket: None }, false)),
            _ => None,
        }
    }
}

fn write_ask(writer: &mut MessageWriter<'_>, ask: &Ask) {
    let udp = Attribute::RequestedTransport(17);
    match ask {
        Ask::Allocate { families, even, reservation, lifetime, mobile } => {
            writer.attribute(&udp);
            match families {
                Families::Default => {}
                Families::V6 => {
                    writer.attribute(&Attribute::RequestedAddressFamily(FamilyWish::Known(Family::V6)));
                }
                Families::Both => {
                    writer.attribute(&Attribute::AdditionalAddressFamily(FamilyWish::Known(Family::V6)));
                }
            }
            if let Some(reserve_next) = *even {
                writer.attribute(&Attribute::EvenPort(EvenPort { reserve_next }));
            }
            if let Some(token) = *reservation {
                writer.attribute(&Attribute::ReservationToken(token));
            }
            if let Some(secs) = *lifetime {
                writer.attribute(&Attribute::Lifetime(secs));
            }
            if *mobile {
                writer.attribute(&Attribute::MobilityTicket(&[]));
            }
        }
        Ask::Refresh { lifetime, family, ticket } => {
            if let Some(secs) = *lifetime {
                writer.attribute(&Attribute::Lifetime(secs));
            }
            if let Some(family) = *family {
                writer.attribute(&Attribute::RequestedAddressFamily(FamilyWish::Known(family)));
            }
            if let Some(ticket) = ticket {
                writer.attribute(&Attribute::MobilityTicket(ticket));
            }
        }
        Ask::Permit(peers) => {
            for peer in peers {
                writer.attribute(&Attribute::XorPeerAddress(*peer));
            }
        }
        Ask::Bind(number, peer) => {
            writer.attribute(&Attribute::ChannelNumber(*number)).attribute(&Attribute::XorPeerAddress(*peer));
        }
        Ask::Odd(odd) => write_odd(writer, *odd),
    }
}

fn write_odd(writer: &mut MessageWriter<'_>, odd: Odd) {
    let peer = |last: u8| Attribute::XorPeerAddress(SocketAddr::from(([192, 0, 2, last], 9)));
    let udp = Attribute::RequestedTransport(17);
    match odd {
        Odd::TransportTcp => writer.attribute(&Attribute::RequestedTransport(6)),
        Odd::NoTransport | Odd::PermitNobody => writer,
        Odd::UnknownAttribute => writer.attribute(&udp).raw_attribute(AttributeType(0x0077), &[1, 2, 3, 4]),
        Odd::PermitMany => (1..=17).fold(writer, |writer, last| writer.attribute(&peer(last))),
        Odd::ChannelOutOfRange => writer.attribute(&Attribute::ChannelNumber(0x5000)).attribute(&peer(1)),
        Odd::UnknownFamily => {
            writer.attribute(&udp).attribute(&Attribute::RequestedAddressFamily(FamilyWish::Unknown(9)))
        }
        Odd::EvenAndBoth => writer
            .attribute(&udp)
            .attribute(&Attribute::EvenPort(EvenPort { reserve_next: true }))
            .attribute(&Attribute::AdditionalAddressFamily(FamilyWish::Known(Family::V6))),
        Odd::Connect => writer.attribute(&peer(1)),
        Odd::MalformedLifetime => writer.raw_attribute(AttributeType::LIFETIME, &[1, 2, 3]),
    };
}
