//! What a client asks for, apart from how it is written on the wire.
//!
//! The server's state machine works on a [`Request`] alone. A wire form fills it in one pass; another wire form fills the
//! same struct from other bytes.

use std::net::SocketAddr;
use std::ops::Range;

use crate::attribute::{
    Attribute, AttributeError, AttributeType, ChangeRequest, EvenPort, FamilyWish, Icmp, PasswordAlgorithms,
};
use crate::integrity::Integrity;
use crate::io::ConnectionId;
use crate::limits::{PEERS_PER_REQUEST_MAX, UNKNOWN_ATTRIBUTES_MAX};
use crate::message::{Class, Message, Method, TransactionId};

/// A request or indication of a client. Byte strings borrow from the input; of duplicate attributes the first counts;
/// what an integrity attribute does not protect is not here.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// A request or an indication; the reader takes answers too, the server drops them.
    pub class: Class,
    /// What is asked for.
    pub method: Method,
    /// Repeated in the answer.
    pub transaction_id: TransactionId,

    /// As received, not prepared.
    pub username: Option<&'a [u8]>,
    /// In place of a username, SHA-256 of it and the realm.
    pub userhash: Option<&'a [u8; 32]>,
    /// As received, not prepared.
    pub realm: Option<&'a [u8]>,
    /// As received; may be empty.
    pub nonce: Option<&'a [u8]>,
    /// Registered number and parameters of PASSWORD-ALGORITHM.
    pub password_algorithm: Option<(u16, &'a [u8])>,
    /// The list that the client says it was offered.
    pub password_algorithms: Option<PasswordAlgorithms<'a>>,
    /// The integrity attribute to judge; `None` when there is none.
    pub integrity: Option<Integrity<'a>>,

    /// IP protocol number.
    pub requested_transport: Option<u8>,
    /// REQUESTED-ADDRESS-FAMILY.
    pub requested_family: Option<FamilyWish>,
    /// ADDITIONAL-ADDRESS-FAMILY.
    pub additional_family: Option<FamilyWish>,
    /// EVEN-PORT.
    pub even_port: Option<EvenPort>,
    /// RESERVATION-TOKEN.
    pub reservation_token: Option<[u8; 8]>,
    /// DONT-FRAGMENT is there.
    pub dont_fragment: bool,
    /// LIFETIME.
    pub lifetime_secs: Option<u32>,
    /// MOBILITY-TICKET; empty asks for one.
    pub mobility_ticket: Option<&'a [u8]>,

    /// XOR-PEER-ADDRESS, all of them.
    pub peers: Peers,
    /// Any 16-bit number: whether it is a channel is judged by the server (400).
    pub channel: Option<u16>,
    /// Where DATA's value lies in the bytes that were decoded.
    pub data: Option<Range<usize>>,
    /// ICMP; only servers send it.
    pub icmp: Option<Icmp>,
    /// CONNECTION-ID.
    pub connection_id: Option<ConnectionId>,

    /// CHANGE-REQUEST.
    pub change_request: Option<ChangeRequest>,
    /// RESPONSE-PORT.
    pub response_port: Option<u16>,
    /// Length of PADDING's value.
    pub padding_bytes: Option<usize>,

    /// FINGERPRINT was there (and right): the answer carries one too.
    pub fingerprint: bool,
    /// Comprehension-required attributes that we do not know: 420, or silence for an indication.
    pub unknown: UnknownAttributes,
    /// The first attribute whose value has not the form that its type says: 400.
    pub malformed: Option<AttributeType>,
}

impl<'a> Request<'a> {
    /// Fills a request from a message in one pass over its attributes. Never fails: what is wrong with the message is
    /// part of the result, because it is judged only after authentication. No allocation.
    pub fn from_message(message: &Message<'a>) -> Self {
        let mut request = Self::empty(message);
        let mut seen = SeenTypes::default();
        for raw in message.attributes() {
            let attribute_type = raw.attribute_type.meant(request.method, raw.value);
            let repeated = seen.again(attribute_type);
            if repeated && attribute_type != AttributeType::XOR_PEER_ADDRESS {
                continue;
            }
            match Attribute::decode(attribute_type, raw.value, &request.transaction_id) {
                Ok(Attribute::Data(data)) => request.data = Some(raw.value_at..raw.value_at + data.len()),
                Ok(attribute) => request.take(attribute),
                Err(AttributeError::Unknown) => request.unknown.note(attribute_type),
                Err(AttributeError::Malformed) if is_ignored(attribute_type) => {}
                Err(AttributeError::Malformed) => {
                    request.malformed.get_or_insert(attribute_type);
                }
            }
        }
        request
    }

    fn empty(message: &Message<'a>) -> Self {
        Self {
            class: message.class(),
            method: message.method(),
            transaction_id: message.transaction_id(),
            username: None,
            userhash: None,
            realm: None,
            nonce: None,
            password_algorithm: None,
            password_algorithms: None,
            integrity: message.integrity(),
            requested_transport: None,
            requested_family: None,
            additional_family: None,
            even_port: None,
            reservation_token: None,
            dont_fragment: false,
            lifetime_secs: None,
            mobility_ticket: None,
            peers: Peers::default(),
            channel: None,
            data: None,
            icmp: None,
            connection_id: None,
            change_request: None,
            response_port: None,
            padding_bytes: None,
            fingerprint: message.has_fingerprint(),
            unknown: UnknownAttributes::default(),
            malformed: None,
        }
    }

    fn take(&mut self, attribute: Attribute<'a>) {
        match attribute {
            Attribute::Username(bytes) => self.username = Some(bytes),
            Attribute::Userhash(hash) => self.userhash = Some(hash),
            Attribute::Realm(bytes) => self.realm = Some(bytes),
            Attribute::Nonce(bytes) => self.nonce = Some(bytes),
            Attribute::PasswordAlgorithm(number, parameters) => self.password_algorithm = Some((number, parameters)),
            Attribute::PasswordAlgorithms(list) => self.password_algorithms = Some(list),
            Attribute::RequestedTransport(protocol) => self.requested_transport = Some(protocol),
            Attribute::RequestedAddressFamily(family) => self.requested_family = Some(family),
            Attribute::AdditionalAddressFamily(family) => self.additional_family = Some(family),
            Attribute::EvenPort(even) => self.even_port = Some(even),
            Attribute::ReservationToken(token) => self.reservation_token = Some(token),
            Attribute::DontFragment => self.dont_fragment = true,
            Attribute::Lifetime(secs) => self.lifetime_secs = Some(secs),
            Attribute::MobilityTicket(ticket) => self.mobility_ticket = Some(ticket),
            Attribute::XorPeerAddress(peer) => self.peers.push(peer),
            Attribute::ChannelNumber(number) => self.channel = Some(number),
            Attribute::Icmp(icmp) => self.icmp = Some(icmp),
            Attribute::ConnectionId(id) => self.connection_id = Some(id),
            Attribute::ChangeRequest(change) => self.change_request = Some(change),
            Attribute::ResponsePort(port) => self.response_port = Some(port),
            Attribute::Padding(bytes) => self.padding_bytes = Some(bytes.len()),
            // Known, but nothing that a client says to a server: ignored (RFC 8489 section 6.3.1).
            _ => {}
        }
    }
}

/// Attributes of answers and of ICE: known, but not expected from a client, so that not even their form matters
/// (RFC 8489 section 6.3.1).
fn is_ignored(attribute_type: AttributeType) -> bool {
    matches!(
        attribute_type,
        AttributeType::MAPPED_ADDRESS
            | AttributeType::ERROR_CODE
            | AttributeType::UNKNOWN_ATTRIBUTES
            | AttributeType::XOR_RELAYED_ADDRESS
            | AttributeType::XOR_MAPPED_ADDRESS
            | AttributeType::PRIORITY
            | AttributeType::USE_CANDIDATE
            | AttributeType::ADDRESS_ERROR_CODE
            | AttributeType::ALTERNATE_DOMAIN
            | AttributeType::SOFTWARE
            | AttributeType::ALTERNATE_SERVER
            | AttributeType::ICE_CONTROLLED
            | AttributeType::ICE_CONTROLLING
            | AttributeType::RESPONSE_ORIGIN
            | AttributeType::OTHER_ADDRESS
    )
}

/// Addresses of XOR-PEER-ADDRESS attributes in order, at most [`PEERS_PER_REQUEST_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    addresses: [Option<SocketAddr>; PEERS_PER_REQUEST_MAX],
    overflowed: bool,
}

impl Peers {
    /// The first one: the only one that counts but in CreatePermission.
    pub fn first(&self) -> Option<SocketAddr> {
        self.addresses[0]
    }

    /// All that are kept.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().map_while(|address| *address)
    }

    /// Whether the request names no peer.
    pub fn is_empty(&self) -> bool {
        self.addresses[0].is_none()
    }

    /// Whether the request named more peers than are kept: it cannot be served whole.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Keeps one more peer, or notes the overflow.
    pub fn push(&mut self, peer: SocketAddr) {
        match self.addresses.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(peer),
            None => self.overflowed = true,
        }
    }
}

/// Distinct unknown comprehension-required attribute types in order, at most [`UNKNOWN_ATTRIBUTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnknownAttributes {
    /// In network order, as UNKNOWN-ATTRIBUTES carries them.
    bytes: [u8; UNKNOWN_ATTRIBUTES_MAX * 2],
    len: usize,
}

impl UnknownAttributes {
    /// Whether all is known.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Value of the UNKNOWN-ATTRIBUTES attribute of the 420.
    pub fn list(&self) -> crate::attribute::UnknownList<'_> {
        crate::attribute::UnknownList(&self.bytes[..self.len])
    }

    /// Keeps the type when it is comprehension-required and new. Beyond the limit the rest is left out of the 420.
    pub fn note(&mut self, attribute_type: AttributeType) {
        let full = self.len == self.bytes.len();
        if full
            || !attribute_type.is_comprehension_required()
            || self.list().iter().any(|known| known == attribute_type)
        {
            return;
        }
        self.bytes[self.len..self.len + 2].copy_from_slice(&attribute_type.0.to_be_bytes());
        self.len += 2;
    }
}

impl Default for UnknownAttributes {
    fn default() -> Self {
        Self { bytes: [0; UNKNOWN_ATTRIBUTES_MAX * 2], len: 0 }
    }
}

impl std::fmt::Debug for UnknownAttributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list().iter()).finish()
    }
}

/// Which attribute types a message has shown already: one bit for each of 0x0000-0x003F and 0x8000-0x803F, where all
/// known types lie. An unknown type elsewhere is never "again": it is listed once by [`UnknownAttributes`].
#[derive(Default)]
struct SeenTypes {
    required: u64,
    optional: u64,
}

impl SeenTypes {
    /// Marks a type and says whether it was marked before.
    fn again(&mut self, attribute_type: AttributeType) -> bool {
        let word = match attribute_type.0 {
            0x0000..=0x003F => &mut self.required,
            0x8000..=0x803F => &mut self.optional,
            _ => return false,
        };
        let bit = 1 << (attribute_type.0 & 0x3F);
        let before = *word & bit != 0;
        *word |= bit;
        before
    }
}
