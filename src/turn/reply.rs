//! Writes answers: what they take from their request, and what strangers are not told.

use crate::answer_cache::UserDigest;
use crate::attribute::Attribute;
use crate::error_code::ErrorCode;
use crate::five_tuple::FiveTuple;
use crate::integrity::{IntegrityAlgorithm, IntegrityKey};
use crate::io::Client;
use crate::message::{Class, MessageWriter, Method, TransactionId};
use crate::request::Request;

/// All that an answer needs of its request, so that it can also be written later.
#[derive(Clone, Debug)]
pub(crate) struct ReplyTo {
    pub(crate) client: Client,
    pub(crate) method: Method,
    pub(crate) transaction_id: TransactionId,
    pub(crate) fingerprint: bool,
    /// The request's own bytes in short: tells a retransmission from another request.
    pub(crate) key: RequestKey,
    /// Whose the request was; strangers are all alike, and nothing of theirs is kept.
    pub(crate) user: UserDigest,
    /// How to sign: as the request was (RFC 8489 section 9.2.4). `None` for strangers.
    pub(crate) signature: Option<(IntegrityAlgorithm, IntegrityKey)>,
    /// SOFTWARE, only for those who have authenticated.
    pub(crate) software: Option<String>,
}

/// Tells requests apart: where from, and a keyed hash of every byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestKey {
    pub(crate) tuple: FiveTuple,
    pub(crate) transaction_id: [u8; 16],
    pub(crate) digest: u64,
}

impl ReplyTo {
    pub(crate) fn stranger(client: Client, request: &Request<'_>, key: RequestKey) -> Self {
        Self {
            client,
            method: request.method,
            transaction_id: request.transaction_id,
            fingerprint: request.fingerprint,
            key,
            user: UserDigest(0),
            signature: None,
            software: None,
        }
    }

    pub(crate) fn success(&self, attributes: &[Attribute<'_>]) -> Vec<u8> {
        self.write(Class::Success, None, attributes)
    }

    /// With a reason phrase only for those who have authenticated.
    pub(crate) fn error(&self, code: ErrorCode, attributes: &[Attribute<'_>]) -> Vec<u8> {
        let reason = if self.signature.is_some() { code.reason() } else { "" };
        self.write(Class::Error, Some(Attribute::ErrorCode(code, reason.as_bytes())), attributes)
    }

    /// Empty when it would be longer than a message can be, which no answer of ours comes near.
    fn write(&self, class: Class, first: Option<Attribute<'_>>, attributes: &[Attribute<'_>]) -> Vec<u8> {
        let mut message = Vec::with_capacity(160);
        let mut writer = MessageWriter::new(&mut message, class, self.method, self.transaction_id);
        for attribute in first.iter().chain(attributes) {
            writer.attribute(attribute);
        }
        if let Some(software) = &self.software {
            writer.attribute(&Attribute::Software(software.as_bytes()));
        }
        if let Some((algorithm, key)) = &self.signature {
            writer.integrity(*algorithm, key);
        }
        if self.fingerprint {
            writer.fingerprint();
        }
        // On error the writer has taken everything back.
        let _ = writer.finish();
        message
    }
}
