//! Connectivity checks on the wire (RFC 8445 sections 7.1 and 7.3): Binding with the short-term mechanism.

use std::net::SocketAddr;

use postern_turn::attribute::{Attribute, AttributeType, UnknownList};
use postern_turn::error_code::ErrorCode;
use postern_turn::integrity::{IntegrityAlgorithm, IntegrityKey};
use postern_turn::message::{Class, Message, MessageWriter, Method, TransactionId};

use crate::io::Role;

/// What a check of ours says.
pub(crate) struct Check<'a> {
    pub(crate) id: TransactionId,
    /// The peer's name and ours: `remote:local`.
    pub(crate) username: &'a [u8],
    /// The peer's password.
    pub(crate) key: &'a IntegrityKey,
    /// What a peer-reflexive candidate learned from it shall have.
    pub(crate) priority: u32,
    pub(crate) role: Role,
    pub(crate) tie_breaker: u64,
    pub(crate) use_candidate: bool,
}

impl Check<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        let mut writer = MessageWriter::new(&mut bytes, Class::Request, Method::Binding, self.id);
        writer.attribute(&Attribute::Username(self.username)).attribute(&Attribute::Priority(self.priority));
        writer.attribute(&match self.role {
            Role::Controlling => Attribute::IceControlling(self.tie_breaker),
            Role::Controlled => Attribute::IceControlled(self.tie_breaker),
        });
        if self.use_candidate {
            writer.attribute(&Attribute::UseCandidate);
        }
        finish(&mut writer, Some(self.key));
        bytes
    }
}

/// What a check of the peer says, once it is known to be authentic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claims {
    pub(crate) priority: u32,
    pub(crate) use_candidate: bool,
    /// The role that the sender takes, with its tie-breaker.
    pub(crate) role: Option<(Role, u64)>,
}

impl Claims {
    /// `None` when PRIORITY is missing, or what there is is malformed: 400.
    pub(crate) fn of(request: &Message<'_>) -> Option<Self> {
        let priority = match request.find(AttributeType::PRIORITY).ok()? {
            Some(Attribute::Priority(priority)) => priority,
            _ => return None,
        };
        let controlling = match request.find(AttributeType::ICE_CONTROLLING).ok()? {
            Some(Attribute::IceControlling(tie_breaker)) => Some((Role::Controlling, tie_breaker)),
            _ => None,
        };
        let controlled = match request.find(AttributeType::ICE_CONTROLLED).ok()? {
            Some(Attribute::IceControlled(tie_breaker)) => Some((Role::Controlled, tie_breaker)),
            _ => None,
        };
        let use_candidate = request.find(AttributeType::USE_CANDIDATE).ok()?.is_some();
        Some(Self { priority, use_candidate, role: controlling.or(controlled) })
    }
}

/// Attributes that a receiver must know and we do not.
pub(crate) fn unknown_attributes(request: &Message<'_>) -> Vec<u8> {
    const KNOWN: [AttributeType; 3] = [AttributeType::USERNAME, AttributeType::PRIORITY, AttributeType::USE_CANDIDATE];
    let unknown = |kind: &AttributeType| kind.is_comprehension_required() && !KNOWN.contains(kind);
    let types = request.attributes().map(|raw| raw.attribute_type).filter(unknown).take(16);
    types.flat_map(|kind| kind.0.to_be_bytes()).collect()
}

pub(crate) fn success(id: TransactionId, mapped: SocketAddr, key: &IntegrityKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    let mut writer = MessageWriter::new(&mut bytes, Class::Success, Method::Binding, id);
    writer.attribute(&Attribute::XorMappedAddress(mapped));
    finish(&mut writer, Some(key));
    bytes
}

/// `unknown` is the list of a 420; `key` is there once the sender is known.
pub(crate) fn error(id: TransactionId, code: ErrorCode, unknown: &[u8], key: Option<&IntegrityKey>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    let mut writer = MessageWriter::new(&mut bytes, Class::Error, Method::Binding, id);
    writer.attribute(&Attribute::ErrorCode(code, code.reason().as_bytes()));
    if !unknown.is_empty() {
        writer.attribute(&Attribute::UnknownAttributes(UnknownList(unknown)));
    }
    finish(&mut writer, key);
    bytes
}

fn finish(writer: &mut MessageWriter<'_>, key: Option<&IntegrityKey>) {
    if let Some(key) = key {
        writer.integrity(IntegrityAlgorithm::Sha1, key);
    }
    // A username has at most 513 bytes: never too long.
    let _ = writer.fingerprint().finish();
}

/// Whether a message carries MESSAGE-INTEGRITY made with this password.
pub(crate) fn is_authentic(message: &Message<'_>, key: &IntegrityKey) -> bool {
    message.integrity_by(IntegrityAlgorithm::Sha1).is_some_and(|integrity| integrity.matches(key))
}

/// XOR-MAPPED-ADDRESS of an answer.
pub(crate) fn mapped(answer: &Message<'_>) -> Option<SocketAddr> {
    match answer.find(AttributeType::XOR_MAPPED_ADDRESS) {
        Ok(Some(Attribute::XorMappedAddress(address))) => Some(address),
        _ => None,
    }
}

pub(crate) fn error_code(answer: &Message<'_>) -> Option<ErrorCode> {
    match answer.find(AttributeType::ERROR_CODE) {
        Ok(Some(Attribute::ErrorCode(code, _))) => Some(code),
        _ => None,
    }
}

pub(crate) fn username<'a>(request: &Message<'a>) -> Option<&'a [u8]> {
    match request.find(AttributeType::USERNAME) {
        Ok(Some(Attribute::Username(username))) => Some(username),
        _ => None,
    }
}
