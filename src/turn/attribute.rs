//! Attributes: their values in typed form (RFC 8489 section 14, RFC 8656 section 18, RFC 6062, 5780,
//! 8016, 8445).
//!
//! A typed value says what is meant, not how it is XOR-ed, padded or numbered: another wire form can carry the same.

use std::net::SocketAddr;

pub use crate::attribute_type::AttributeType;

use crate::address;
use crate::error_code::ErrorCode;
use crate::integrity::PasswordAlgorithm;
use crate::io::{ConnectionId, Family};
use crate::limits::{DOMAIN_BYTES_MAX, TEXT_BYTES_MAX, USERNAME_BYTES_MAX};
use crate::message::TransactionId;

/// Family in REQUESTED-ADDRESS-FAMILY, ADDITIONAL-ADDRESS-FAMILY and ADDRESS-ERROR-CODE. A number that nobody
/// registered is a wish that cannot be met (440), not a malformed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyWish {
    /// One of the two that exist.
    Known(Family),
    /// Any other number.
    Unknown(u8),
}

impl FamilyWish {
    fn from_byte(byte: u8) -> Self {
        match byte {
            address::FAMILY_V4 => Self::Known(Family::V4),
            address::FAMILY_V6 => Self::Known(Family::V6),
            other => Self::Unknown(other),
        }
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Known(family) => address::family_byte(family),
            Self::Unknown(other) => other,
        }
    }
}

/// EVEN-PORT (RFC 8656 section 18.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvenPort {
    /// The R bit: keep the next higher port for another allocation.
    pub reserve_next: bool,
}

/// CHANGE-REQUEST (RFC 5780 section 7.2): from where the answer shall come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeRequest {
    /// From the other address.
    pub address: bool,
    /// From the other port.
    pub port: bool,
}

/// ICMP (RFC 8656 section 18.13): 16 bits reserved, 7 bits type, 9 bits code, 4 bytes of error data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// At most 127 on the wire.
    pub icmp_type: u8,
    /// At most 511 on the wire.
    pub icmp_code: u16,
    /// The second 32 bits of the ICMP header: next-hop MTU for "fragmentation needed" and "packet too big".
    pub data: [u8; 4],
}

/// Value of PASSWORD-ALGORITHMS: the bytes, to be compared with what we sent, and an iterator over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordAlgorithms<'a>(pub &'a [u8]);

impl PasswordAlgorithms<'static> {
    /// What we offer: SHA-256 before MD5, both without parameters.
    pub const OFFERED: Self = Self(&[0, 2, 0, 0, 0, 1, 0, 0]);
}

impl<'a> PasswordAlgorithms<'a> {
    /// Number and parameters of each, in order of preference.
    pub fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (number, parameters, after) = split_algorithm(rest)?;
            rest = after;
            Some((number, parameters))
        })
    }

    fn is_whole(self) -> bool {
        let mut rest = self.0;
        while let Some((_, _, after)) = split_algorithm(rest) {
            rest = after;
        }
        rest.is_empty() && !self.0.is_empty()
    }
}

/// Number, parameters, and what follows their padding (which the last one may lack).
fn split_algorithm(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (&[a, b, c, d], rest) = bytes.split_first_chunk::<4>()?;
    let len = usize::from(u16::from_be_bytes([c, d]));
    let parameters = rest.get(..len)?;
    let after = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_be_bytes([a, b]), parameters, after))
}

/// Value of UNKNOWN-ATTRIBUTES: one number after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownList<'a>(pub &'a [u8]);

impl<'a> UnknownList<'a> {
    /// The listed types in order; an odd byte at the end does not count.
    pub fn iter(self) -> impl Iterator<Item = AttributeType> + 'a {
        self.0.as_chunks::<2>().0.iter().map(|pair| AttributeType(u16::from_be_bytes(*pair)))
    }
}

/// An attribute with its meaning. Byte strings are raw: whether they are text is the user's question.
///
/// MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT are no values of this type: they belong to the message
/// ([`Message::integrity`](crate::message::Message::integrity)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'a> {
    MappedAddress(SocketAddr),
    ChangeRequest(ChangeRequest),
    /// At most 508 bytes.
    Username(&'a [u8]),
    /// Code and reason phrase (at most 763 bytes).
    ErrorCode(ErrorCode, &'a [u8]),
    UnknownAttributes(UnknownList<'a>),
    ChannelNumber(u16),
    /// Seconds.
    Lifetime(u32),
    XorPeerAddress(SocketAddr),
    Data(&'a [u8]),
    /// At most 763 bytes.
    Realm(&'a [u8]),
    /// At most 763 bytes.
    Nonce(&'a [u8]),
    XorRelayedAddress(SocketAddr),
    RequestedAddressFamily(FamilyWish),
    EvenPort(EvenPort),
    /// IP protocol number: 17 is UDP, 6 is TCP.
    RequestedTransport(u8),
    DontFragment,
    /// Registered number, and parameters (none for those that exist).
    PasswordAlgorithm(u16, &'a [u8]),
    Userhash(&'a [u8; 32]),
    XorMappedAddress(SocketAddr),
    ReservationToken([u8; 8]),
    Priority(u32),
    UseCandidate,
    /// Filler, whatever its bytes.
    Padding(&'a [u8]),
    ResponsePort(u16),
    ConnectionId(ConnectionId),
    AdditionalAddressFamily(FamilyWish),
    /// Which of two families failed, and why.
    AddressErrorCode(FamilyWish, ErrorCode, &'a [u8]),
    PasswordAlgorithms(PasswordAlgorithms<'a>),
    /// At most 255 bytes.
    AlternateDomain(&'a [u8]),
    Icmp(Icmp),
    Software(&'a [u8]),
    AlternateServer(SocketAddr),
    IceControlled(u64),
    IceControlling(u64),
    ResponseOrigin(SocketAddr),
    OtherAddress(SocketAddr),
    MobilityTicket(&'a [u8]),
}

/// Why an attribute has no typed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// Nobody taught us this type.
    #[error("unknown attribute type")]
    Unknown,
    /// Length or content is not what its type says: a request gets 400.
    #[error("malformed attribute")]
    Malformed,
}

impl<'a> Attribute<'a> {
    /// Gives `value` (without padding) its meaning. No allocation.
    ///
    /// # Errors
    /// [`AttributeError`]; the sender's fault.
    pub fn decode(
        attribute_type: AttributeType,
        value: &'a [u8],
        transaction_id: &TransactionId,
    ) -> Result<Self, AttributeError> {
        let plain = || address::decode(value);
        let xor = || address::decode_xor(value, transaction_id);
        let attribute = match attribute_type {
            AttributeType::MAPPED_ADDRESS => plain().map(Self::MappedAddress),
            AttributeType::CHANGE_REQUEST => exact(value).map(|[_, _, _, flags]: [u8; 4]| {
                Self::ChangeRequest(ChangeRequest { address: flags & 0x04 != 0, port: flags & 0x02 != 0 })
            }),
            AttributeType::USERNAME => at_most(value, USERNAME_BYTES_MAX).map(Self::Username),
            AttributeType::ERROR_CODE => error_code(value).map(|(_, code, reason)| Self::ErrorCode(code, reason)),
            AttributeType::UNKNOWN_ATTRIBUTES => {
                (value.len().is_multiple_of(2)).then_some(Self::UnknownAttributes(UnknownList(value)))
            }
            AttributeType::CHANNEL_NUMBER => {
                exact(value).map(|[high, low, _, _]: [u8; 4]| Self::ChannelNumber(u16::from_be_bytes([high, low])))
            }
            AttributeType::LIFETIME => exact(value).map(u32::from_be_bytes).map(Self::Lifetime),
            AttributeType::XOR_PEER_ADDRESS => xor().map(Self::XorPeerAddress),
            AttributeType::DATA => Some(Self::Data(value)),
            AttributeType::REALM => at_most(value, TEXT_BYTES_MAX).map(Self::Realm),
            AttributeType::NONCE => at_most(value, TEXT_BYTES_MAX).map(Self::Nonce),
            AttributeType::XOR_RELAYED_ADDRESS => xor().map(Self::XorRelayedAddress),
            AttributeType::REQUESTED_ADDRESS_FAMILY => family(value).map(Self::RequestedAddressFamily),
            AttributeType::EVEN_PORT => {
                exact(value).map(|[bits]: [u8; 1]| Self::EvenPort(EvenPort { reserve_next: bits & 0x80 != 0 }))
            }
            AttributeType::REQUESTED_TRANSPORT => {
                exact(value).map(|[protocol, _, _, _]: [u8; 4]| Self::RequestedTransport(protocol))
            }
            AttributeType::DONT_FRAGMENT => value.is_empty().then_some(Self::DontFragment),
            AttributeType::PASSWORD_ALGORITHM => password_algorithm(value),
            AttributeType::USERHASH => value.try_into().ok().map(Self::Userhash),
            AttributeType::XOR_MAPPED_ADDRESS => xor().map(Self::XorMappedAddress),
            AttributeType::RESERVATION_TOKEN => exact(value).map(Self::ReservationToken),
            AttributeType::PRIORITY => exact(value).map(u32::from_be_bytes).map(Self::Priority),
            AttributeType::USE_CANDIDATE => value.is_empty().then_some(Self::UseCandidate),
            AttributeType::PADDING => Some(Self::Padding(value)),
            AttributeType::RESPONSE_PORT => response_port(value),
            AttributeType::CONNECTION_ID => {
                exact(value).map(|id| Self::ConnectionId(ConnectionId(u32::from_be_bytes(id))))
            }
            AttributeType::ADDITIONAL_ADDRESS_FAMILY => family(value).map(Self::AdditionalAddressFamily),
            AttributeType::ADDRESS_ERROR_CODE => error_code(value)
                .map(|(family, code, reason)| Self::AddressErrorCode(FamilyWish::from_byte(family), code, reason)),
            AttributeType::PASSWORD_ALGORITHMS => {
                Some(PasswordAlgorithms(value)).filter(|list| list.is_whole()).map(Self::PasswordAlgorithms)
            }
            AttributeType::ALTERNATE_DOMAIN => at_most(value, DOMAIN_BYTES_MAX).map(Self::AlternateDomain),
            AttributeType::ICMP => exact(value).map(icmp).map(Self::Icmp),
            AttributeType::SOFTWARE => at_most(value, TEXT_BYTES_MAX).map(Self::Software),
            AttributeType::ALTERNATE_SERVER => plain().map(Self::AlternateServer),
            AttributeType::ICE_CONTROLLED => exact(value).map(u64::from_be_bytes).map(Self::IceControlled),
            AttributeType::ICE_CONTROLLING => exact(value).map(u64::from_be_bytes).map(Self::IceControlling),
            AttributeType::RESPONSE_ORIGIN => plain().map(Self::ResponseOrigin),
            AttributeType::OTHER_ADDRESS => plain().map(Self::OtherAddress),
            AttributeType::MOBILITY_TICKET => Some(Self::MobilityTicket(value)),
            _ => return Err(AttributeError::Unknown),
        };
        attribute.ok_or(AttributeError::Malformed)
    }

    /// The type that this value belongs to.
    pub fn attribute_type(&self) -> AttributeType {
        match self {
            Self::MappedAddress(_) => AttributeType::MAPPED_ADDRESS,
            Self::ChangeRequest(_) => AttributeType::CHANGE_REQUEST,
            Self::Username(_) => AttributeType::USERNAME,
            Self::ErrorCode(..) => AttributeType::ERROR_CODE,
            Self::UnknownAttributes(_) => AttributeType::UNKNOWN_ATTRIBUTES,
            Self::ChannelNumber(_) => AttributeType::CHANNEL_NUMBER,
            Self::Lifetime(_) => AttributeType::LIFETIME,
            Self::XorPeerAddress(_) => AttributeType::XOR_PEER_ADDRESS,
            Self::Data(_) => AttributeType::DATA,
            Self::Realm(_) => AttributeType::REALM,
            Self::Nonce(_) => AttributeType::NONCE,
            Self::XorRelayedAddress(_) => AttributeType::XOR_RELAYED_ADDRESS,
            Self::RequestedAddressFamily(_) => AttributeType::REQUESTED_ADDRESS_FAMILY,
            Self::EvenPort(_) => AttributeType::EVEN_PORT,
            Self::RequestedTransport(_) => AttributeType::REQUESTED_TRANSPORT,
            Self::DontFragment => AttributeType::DONT_FRAGMENT,
            Self::PasswordAlgorithm(..) => AttributeType::PASSWORD_ALGORITHM,
            Self::Userhash(_) => AttributeType::USERHASH,
            Self::XorMappedAddress(_) => AttributeType::XOR_MAPPED_ADDRESS,
            Self::ReservationToken(_) => AttributeType::RESERVATION_TOKEN,
            Self::Priority(_) => AttributeType::PRIORITY,
            Self::UseCandidate => AttributeType::USE_CANDIDATE,
            Self::Padding(_) => AttributeType::PADDING,
            Self::ResponsePort(_) => AttributeType::RESPONSE_PORT,
            Self::ConnectionId(_) => AttributeType::CONNECTION_ID,
            Self::AdditionalAddressFamily(_) => AttributeType::ADDITIONAL_ADDRESS_FAMILY,
            Self::AddressErrorCode(..) => AttributeType::ADDRESS_ERROR_CODE,
            Self::PasswordAlgorithms(_) => AttributeType::PASSWORD_ALGORITHMS,
            Self::AlternateDomain(_) => AttributeType::ALTERNATE_DOMAIN,
            Self::Icmp(_) => AttributeType::ICMP,
            Self::Software(_) => AttributeType::SOFTWARE,
            Self::AlternateServer(_) => AttributeType::ALTERNATE_SERVER,
            Self::IceControlled(_) => AttributeType::ICE_CONTROLLED,
            Self::IceControlling(_) => AttributeType::ICE_CONTROLLING,
            Self::ResponseOrigin(_) => AttributeType::RESPONSE_ORIGIN,
            Self::OtherAddress(_) => AttributeType::OTHER_ADDRESS,
            Self::MobilityTicket(_) => AttributeType::MOBILITY_TICKET,
        }
    }

    /// Appends the value, without type, length and padding.
    pub fn encode_value(&self, transaction_id: &TransactionId, out: &mut Vec<u8>) {
        match *self {
            Self::MappedAddress(address)
            | Self::AlternateServer(address)
            | Self::ResponseOrigin(address)
            | Self::OtherAddress(address) => address::encode(address, out),
            Self::XorPeerAddress(address) | Self::XorRelayedAddress(address) | Self::XorMappedAddress(address) => {
                address::encode_xor(address, transaction_id, out)
            }
            Self::ChangeRequest(change) => {
                out.extend_from_slice(&[0, 0, 0, u8::from(change.address) << 2 | u8::from(change.port) << 1])
            }
            Self::Username(bytes)
            | Self::Data(bytes)
            | Self::Realm(bytes)
            | Self::Nonce(bytes)
            | Self::Padding(bytes)
            | Self::AlternateDomain(bytes)
            | Self::Software(bytes)
            | Self::MobilityTicket(bytes)
            | Self::UnknownAttributes(UnknownList(bytes))
            | Self::PasswordAlgorithms(PasswordAlgorithms(bytes)) => out.extend_from_slice(bytes),
            Self::ErrorCode(code, reason) => encode_error_code(0, code, reason, out),
            Self::AddressErrorCode(family, code, reason) => encode_error_code(family.to_byte(), code, reason, out),
            Self::ChannelNumber(number) => {
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(&[0, 0]);
            }
            Self::Lifetime(number) | Self::Priority(number) | Self::ConnectionId(ConnectionId(number)) => {
                out.extend_from_slice(&number.to_be_bytes())
            }
            Self::RequestedAddressFamily(family) | Self::AdditionalAddressFamily(family) => {
                out.extend_from_slice(&[family.to_byte(), 0, 0, 0])
            }
            Self::EvenPort(even) => out.push(u8::from(even.reserve_next) << 7),
            Self::RequestedTransport(protocol) => out.extend_from_slice(&[protocol, 0, 0, 0]),
            Self::DontFragment | Self::UseCandidate => {}
            Self::PasswordAlgorithm(number, parameters) => {
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(&(parameters.len() as u16).to_be_bytes());
                out.extend_from_slice(parameters);
            }
            Self::Userhash(hash) => out.extend_from_slice(hash),
            Self::ReservationToken(token) => out.extend_from_slice(&token),
            Self::ResponsePort(port) => out.extend_from_slice(&port.to_be_bytes()),
            Self::Icmp(icmp) => {
                let bits = u16::from(icmp.icmp_type & 0x7F) << 9 | icmp.icmp_code & 0x01FF;
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(&bits.to_be_bytes());
                out.extend_from_slice(&icmp.data);
            }
            Self::IceControlled(tie_breaker) | Self::IceControlling(tie_breaker) => {
                out.extend_from_slice(&tie_breaker.to_be_bytes())
            }
        }
    }
}

impl From<PasswordAlgorithm> for Attribute<'static> {
    fn from(algorithm: PasswordAlgorithm) -> Self {
        Self::PasswordAlgorithm(algorithm.number(), &[])
    }
}

fn exact<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

fn at_most(value: &[u8], bytes_max: usize) -> Option<&[u8]> {
    (value.len() <= bytes_max).then_some(value)
}

fn family(value: &[u8]) -> Option<FamilyWish> {
    exact(value).map(|[family, _, _, _]: [u8; 4]| FamilyWish::from_byte(family))
}

/// First byte (the family in ADDRESS-ERROR-CODE, reserved in ERROR-CODE), code, reason phrase.
fn error_code(value: &[u8]) -> Option<(u8, ErrorCode, &[u8])> {
    let (&[first, _, class, number], reason) = value.split_first_chunk::<4>()?;
    Some((first, ErrorCode::from_wire(class, number)?, at_most(reason, TEXT_BYTES_MAX)?))
}

fn encode_error_code(first: u8, code: ErrorCode, reason: &[u8], out: &mut Vec<u8>) {
    let [class, number] = code.to_wire();
    out.extend_from_slice(&[first, 0, class, number]);
    out.extend_from_slice(reason);
}

fn password_algorithm(value: &[u8]) -> Option<Attribute<'_>> {
    let (number, parameters, after) = split_algorithm(value)?;
    after.is_empty().then_some(Attribute::PasswordAlgorithm(number, parameters))
}

/// RFC 5780 section 7.5: sixteen bits, and two of padding that some count in the length and some do not.
fn response_port(value: &[u8]) -> Option<Attribute<'_>> {
    match *value {
        [high, low] | [high, low, _, _] => Some(Attribute::ResponsePort(u16::from_be_bytes([high, low]))),
        _ => None,
    }
}

fn icmp(value: [u8; 8]) -> Icmp {
    let [_, _, high, low, data @ ..] = value;
    let bits = u16::from_be_bytes([high, low]);
    Icmp { icmp_type: (bits >> 9) as u8, icmp_code: bits & 0x01FF, data }
}
