//! The STUN message: header, reader without copies, and writer (RFC 8489 section 5).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |0 0|   method and class        |  length of what follows, 4*n  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                    magic cookie 0x2112A442                    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 transaction id (96 bits)                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::attribute::{Attribute, AttributeError, AttributeType};
use crate::fingerprint;
use crate::integrity::{Integrity, IntegrityAlgorithm, IntegrityKey};
use crate::limits::{HEADER_BYTES, MESSAGE_BYTES_MAX};

/// First four bytes of a [`TransactionId`] in the standard wire form.
pub const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// What a message is for (RFC 8489 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// Method of a message; every 12-bit value has exactly one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Binding,
    Allocate,
    Refresh,
    Send,
    Data,
    CreatePermission,
    ChannelBind,
    Connect,
    ConnectionBind,
    ConnectionAttempt,
    /// A method that we do not speak: such a message is discarded (RFC 8489 section 6.3).
    Unknown(u16),
}

impl Method {
    /// The method with this number; only the low 12 bits count.
    pub fn from_number(number: u16) -> Self {
        match number & 0x0FFF {
            0x001 => Self::Binding,
            0x003 => Self::Allocate,
            0x004 => Self::Refresh,
            0x006 => Self::Send,
            0x007 => Self::Data,
            0x008 => Self::CreatePermission,
            0x009 => Self::ChannelBind,
            0x00A => Self::Connect,
            0x00B => Self::ConnectionBind,
            0x00C => Self::ConnectionAttempt,
            other => Self::Unknown(other),
        }
    }

    /// The registered number, at most 0x0FFF.
    pub fn number(self) -> u16 {
        match self {
            Self::Binding => 0x001,
            Self::Allocate => 0x003,
            Self::Refresh => 0x004,
            Self::Send => 0x006,
            Self::Data => 0x007,
            Self::CreatePermission => 0x008,
            Self::ChannelBind => 0x009,
            Self::Connect => 0x00A,
            Self::ConnectionBind => 0x00B,
            Self::ConnectionAttempt => 0x00C,
            Self::Unknown(other) => other & 0x0FFF,
        }
    }
}

/// Bytes 4 to 19 of a message, magic cookie included.
///
/// All sixteen bytes are the mask of XOR-ed addresses (RFC 8489 section 14.2), and a wire form without a cookie has a
/// transaction id of sixteen bytes at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 16]);

impl TransactionId {
    /// Puts the magic cookie in front of twelve bytes, which the caller drew at random.
    pub fn new(id: [u8; 12]) -> Self {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&MAGIC_COOKIE);
        bytes[4..].copy_from_slice(&id);
        Self(bytes)
    }
}

/// Joins method and class to the first two bytes of a message; the class bits lie at 4 and 8.
pub fn message_type(class: Class, method: Method) -> u16 {
    let class_bits = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    let number = method.number();
    (number & 0x000F) | (number & 0x0070) << 1 | (number & 0x0F80) << 2 | class_bits
}

/// Takes the first two bytes of a message apart; their top two bits do not count.
pub fn split_message_type(message_type: u16) -> (Class, Method) {
    let class = match message_type & 0x0110 {
        0x0000 => Class::Request,
        0x0010 => Class::Indication,
        0x0100 => Class::Success,
        _ => Class::Error,
    };
    let number = (message_type & 0x000F) | (message_type & 0x00E0) >> 1 | (message_type & 0x3E00) >> 2;
    (class, Method::from_number(number))
}

/// Why bytes are no STUN message. All are the sender's fault; none is answered (RFC 8489 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("top bits, cookie or length are not those of a STUN message")]
    NotStun,
    #[error("the length field differs from the bytes at hand")]
    Length,
    #[error("an attribute reaches beyond the message")]
    Truncated,
    #[error("FINGERPRINT is not last, not 4 bytes, or does not match")]
    Fingerprint,
}

/// A whole message, structurally sound: every attribute lies inside, FINGERPRINT (when there) is last and right.
///
/// Borrows from the input and is cheap to copy. Integrity is not judged here: see [`integrity`](Self::integrity).
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    /// Where the attributes that count end: at the first integrity attribute, at FINGERPRINT, or at the end.
    attributes_end: usize,
    sha1_at: Option<usize>,
    sha256_at: Option<usize>,
    fingerprint: bool,
}

impl<'a> Message<'a> {
    /// Reads one message, which must fill `bytes` exactly. One walk over the attributes; no allocation.
    ///
    /// # Errors
    /// [`DecodeError`]; the sender's fault, and never answered.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(DecodeError::NotStun)?;
        let message_type = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if message_type & 0xC000 != 0 || length % 4 != 0 || header[4..8] != MAGIC_COOKIE {
            return Err(DecodeError::NotStun);
        }
        if HEADER_BYTES + length != bytes.len() {
            return Err(DecodeError::Length);
        }
        let (class, method) = split_message_type(message_type);
        let mut message = Self {
            bytes,
            class,
            method,
            attributes_end: bytes.len(),
            sha1_at: None,
            sha256_at: None,
            fingerprint: false,
        };
        message.walk()?;
        Ok(message)
    }

    fn walk(&mut self) -> Result<(), DecodeError> {
        let mut at = HEADER_BYTES;
        while at < self.bytes.len() {
            let (attribute_type, value_len) = tlv_at(self.bytes, at).ok_or(DecodeError::Truncated)?;
            let next = at + 4 + padded(value_len);
            if next > self.bytes.len() {
                return Err(DecodeError::Truncated);
            }
            match attribute_type {
                AttributeType::FINGERPRINT => {
                    // RFC 8489 section 14.7: the last attribute; its CRC covers all that is before it.
                    if next != self.bytes.len() || value_len != 4 || !fingerprint::matches(self.bytes, at) {
                        return Err(DecodeError::Fingerprint);
                    }
                    self.fingerprint = true;
                    self.attributes_end = self.attributes_end.min(at);
                }
                AttributeType::MESSAGE_INTEGRITY if self.sha1_at.is_none() && self.sha256_at.is_none() => {
                    self.sha1_at = Some(at);
                    self.attributes_end = at;
                }
                AttributeType::MESSAGE_INTEGRITY_SHA256 if self.sha256_at.is_none() => {
                    self.sha256_at = Some(at);
                    self.attributes_end = self.attributes_end.min(at);
                }
                _ => {}
            }
            at = next;
        }
        Ok(())
    }

    /// Request, indication, success or error.
    pub fn class(&self) -> Class {
        self.class
    }

    /// What it is about.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Cookie and transaction id: the mask of XOR-ed addresses.
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.bytes[4..HEADER_BYTES]);
        TransactionId(id)
    }

    /// The whole message as it came.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes that count, in order, undecoded: what follows an integrity attribute is left out
    /// (RFC 8489 sections 14.5 and 14.6), and so are the integrity attributes and FINGERPRINT themselves.
    pub fn attributes(&self) -> RawAttributes<'a> {
        RawAttributes { bytes: self.bytes, at: HEADER_BYTES, end: self.attributes_end }
    }

    /// The first attribute of this type that counts, decoded; `None` when there is none.
    ///
    /// # Errors
    /// [`AttributeError`] when its value has another form than its type says.
    pub fn find(&self, wanted: AttributeType) -> Result<Option<Attribute<'a>>, AttributeError> {
        match self.attributes().find(|raw| raw.attribute_type == wanted) {
            Some(raw) => Attribute::decode(wanted, raw.value, &self.transaction_id()).map(Some),
            None => Ok(None),
        }
    }

    /// MESSAGE-INTEGRITY-SHA256 when there, else MESSAGE-INTEGRITY when there. Present says nothing about right.
    pub fn integrity(&self) -> Option<Integrity<'a>> {
        self.integrity_by(IntegrityAlgorithm::Sha256).or_else(|| self.integrity_by(IntegrityAlgorithm::Sha1))
    }

    /// The integrity attribute of one kind.
    pub fn integrity_by(&self, algorithm: IntegrityAlgorithm) -> Option<Integrity<'a>> {
        let at = match algorithm {
            IntegrityAlgorithm::Sha1 => self.sha1_at?,
            IntegrityAlgorithm::Sha256 => self.sha256_at?,
        };
        let (_, value_len) = tlv_at(self.bytes, at)?;
        let mac = self.bytes.get(at + 4..at + 4 + value_len)?;
        Some(Integrity::new(algorithm, &self.bytes[..at], mac))
    }

    /// Whether FINGERPRINT is there (and then right): the answer mirrors it.
    pub fn has_fingerprint(&self) -> bool {
        self.fingerprint
    }
}

/// An attribute before its value is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAttribute<'a> {
    /// Known to us or not.
    pub attribute_type: AttributeType,
    /// Without padding.
    pub value: &'a [u8],
    /// Where `value` begins in the message.
    pub value_at: usize,
}

/// Iterator over the attributes of a message, made by [`Message::attributes`].
#[derive(Clone, Debug)]
pub struct RawAttributes<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Iterator for RawAttributes<'a> {
    type Item = RawAttribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let (attribute_type, value_len) = tlv_at(self.bytes, self.at)?;
        let value_at = self.at + 4;
        let value = self.bytes.get(value_at..value_at + value_len)?;
        self.at = value_at + padded(value_len);
        Some(RawAttribute { attribute_type, value, value_at })
    }
}

fn tlv_at(bytes: &[u8], at: usize) -> Option<(AttributeType, usize)> {
    let head = bytes.get(at..)?.first_chunk::<4>()?;
    let value_len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    Some((AttributeType(u16::from_be_bytes([head[0], head[1]])), value_len))
}

/// The next multiple of 4.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// The message would be longer than its length field can say: our fault, nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message longer than {MESSAGE_BYTES_MAX} bytes")]
pub struct TooLong;

/// Writes one message at the end of a caller's `Vec`, which keeps its capacity from message to message.
///
/// The order is the caller's: attributes first, then [`integrity`](Self::integrity), then
/// [`fingerprint`](Self::fingerprint). Padding is zero. The length field is right after every step.
#[derive(Debug)]
pub struct MessageWriter<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    transaction_id: TransactionId,
    too_long: bool,
}

impl<'b> MessageWriter<'b> {
    /// Begins a message behind what `out` already holds.
    pub fn new(out: &'b mut Vec<u8>, class: Class, method: Method, transaction_id: TransactionId) -> Self {
        let start = out.len();
        out.extend_from_slice(&message_type(class, method).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&transaction_id.0);
        Self { out, start, transaction_id, too_long: false }
    }

    /// Adds one attribute with its padding.
    pub fn attribute(&mut self, attribute: &Attribute<'_>) -> &mut Self {
        let transaction_id = self.transaction_id;
        self.tlv(attribute.attribute_type(), |out| attribute.encode_value(&transaction_id, out))
    }

    /// Adds an attribute from its bytes; for types that [`Attribute`] does not know.
    pub fn raw_attribute(&mut self, attribute_type: AttributeType, value: &[u8]) -> &mut Self {
        self.tlv(attribute_type, |out| out.extend_from_slice(value))
    }

    /// Adds MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 over what is written so far (RFC 8489 sections 14.5, 14.6).
    pub fn integrity(&mut self, algorithm: IntegrityAlgorithm, key: &IntegrityKey) -> &mut Self {
        let mac_bytes = algorithm.mac_bytes();
        self.set_length(self.out.len() - self.start - HEADER_BYTES + 4 + mac_bytes);
        let mac = algorithm.mac(key, &[&self.out[self.start..]]);
        self.raw_attribute(algorithm.attribute_type(), &mac[..mac_bytes])
    }

    /// Adds FINGERPRINT; nothing may follow (RFC 8489 section 14.7).
    pub fn fingerprint(&mut self) -> &mut Self {
        self.set_length(self.out.len() - self.start - HEADER_BYTES + 8);
        let value = fingerprint::value_of(&self.out[self.start..]);
        self.raw_attribute(AttributeType::FINGERPRINT, &value.to_be_bytes())
    }

    /// Ends the message and says how many bytes it has.
    ///
    /// # Errors
    /// [`TooLong`]; `out` is then as it was before [`new`](Self::new).
    pub fn finish(&mut self) -> Result<usize, TooLong> {
        if self.too_long {
            self.out.truncate(self.start);
            return Err(TooLong);
        }
        Ok(self.out.len() - self.start)
    }

    fn tlv(&mut self, attribute_type: AttributeType, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        if self.too_long {
            return self;
        }
        let at = self.out.len();
        self.out.extend_from_slice(&attribute_type.0.to_be_bytes());
        self.out.extend_from_slice(&[0, 0]);
        write(self.out);
        let value_len = self.out.len() - at - 4;
        self.out.resize(at + 4 + padded(value_len), 0);
        let length = self.out.len() - self.start - HEADER_BYTES;
        match u16::try_from(value_len) {
            Ok(value_len) if length <= MESSAGE_BYTES_MAX - HEADER_BYTES => {
                self.out[at + 2..at + 4].copy_from_slice(&value_len.to_be_bytes());
                self.set_length(length);
            }
            _ => self.too_long = true,
        }
        self
    }

    fn set_length(&mut self, length: usize) {
        match u16::try_from(length) {
            Ok(length) => self.out[self.start + 2..self.start + 4].copy_from_slice(&length.to_be_bytes()),
            Err(_) => self.too_long = true,
        }
    }
}
