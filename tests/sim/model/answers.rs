//! Answers as a client would read them, and what each must look like.

use std::net::SocketAddr;

use postern_turn::attribute::{Attribute, AttributeType};
use postern_turn::integrity::{IntegrityKey, PasswordAlgorithm};
use postern_turn::io::Client;
use postern_turn::message::{Class, Message};
use postern_turn::request::Request;

use super::ledger::Model;
use super::violation::{Rule, Violation};
use crate::effect::Effect;
use crate::rules::REALM;

/// An answer, decoded.
pub struct Answer<'a> {
    pub bytes: &'a [u8],
    message: Message<'a>,
}

impl<'a> Answer<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, Violation> {
        let message = Message::decode(bytes).map_err(|error| Rule::Answer.broken(format!("unreadable: {error}")))?;
        Ok(Self { bytes, message })
    }

    /// `None` for a success.
    pub fn code(&self) -> Option<u16> {
        match self.find(AttributeType::ERROR_CODE)? {
            Attribute::ErrorCode(code, _) => Some(code.number()),
            _ => None,
        }
    }

    pub fn is_signed(&self) -> bool {
        self.message.integrity().is_some()
    }

    pub fn find(&self, wanted: AttributeType) -> Option<Attribute<'a>> {
        self.message.find(wanted).ok().flatten()
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

    pub fn nonce(&self) -> Option<Vec<u8>> {
        match self.find(AttributeType::NONCE)? {
            Attribute::Nonce(nonce) => Some(nonce.to_vec()),
            _ => None,
        }
    }

    pub fn relayed(&self) -> Vec<SocketAddr> {
        let id = self.message.transaction_id();
        let relayed = self.message.attributes().filter(|raw| raw.attribute_type == AttributeType::XOR_RELAYED_ADDRESS);
        let decode = |raw: postern_turn::message::RawAttribute<'_>| match Attribute::decode(
            raw.attribute_type,
            raw.value,
            &id,
        ) {
            Ok(Attribute::XorRelayedAddress(address)) => Some(address),
            _ => None,
        };
        relayed.filter_map(decode).collect()
    }
}

/// The answers among the effects, which must all be for `client` and answer `request`.
pub fn answers<'a>(effects: &'a [Effect], client: &Client, request: &[u8]) -> Result<Vec<Answer<'a>>, Violation> {
    let mut answers = Vec::new();
    for effect in effects {
        let Effect::Answer { client: to, message } = effect else { continue };
        Rule::Answer.holds(to == client, || format!("an answer for {client:?} went to {to:?}"))?;
        let answer = Answer::decode(message)?;
        let class = matches!(answer.message.class(), Class::Success | Class::Error);
        let same = message[4..20] == request[4..20] && answer.message.method() == method_of(request);
        Rule::Answer.holds(class && same, || "an answer to some other request".into())?;
        answers.push(answer);
    }
    Ok(answers)
}

/// A request has one answer at most.
pub fn at_most_one<'a>(mut answers: Vec<Answer<'a>>) -> Result<Option<Answer<'a>>, Violation> {
    Rule::Answer.holds(answers.len() <= 1, || format!("{} answers to one request", answers.len()))?;
    Ok(answers.pop())
}

fn method_of(request: &[u8]) -> postern_turn::message::Method {
    postern_turn::message::split_message_type(u16::from_be_bytes([request[0], request[1]])).1
}

impl Model {
    /// An authenticated answer carries integrity by the key of the request.
    pub(super) fn check_signature(
        &self,
        answer: &Answer<'_>,
        token: usize,
        request: &Request<'_>,
    ) -> Result<(), Violation> {
        let key = self.key(token, algorithm(request).unwrap_or(PasswordAlgorithm::Md5));
        let fits = answer.message.integrity().is_some_and(|integrity| {
            Some(integrity.algorithm()) == request.integrity.map(|asked| asked.algorithm()) && integrity.matches(&key)
        });
        Rule::Answer.holds(fits, || format!("an answer with code {:?} is not signed as it should be", answer.code()))
    }

    pub(super) fn key(&self, token: usize, algorithm: PasswordAlgorithm) -> IntegrityKey {
        let issued = &self.issued[token];
        IntegrityKey::long_term(algorithm, &issued.username, REALM.as_bytes(), &issued.password)
    }
}

/// Which hash the request's key is made with; `None` when it says nothing sensible.
pub fn algorithm(request: &Request<'_>) -> Option<PasswordAlgorithm> {
    use postern_turn::attribute::PasswordAlgorithms;
    match (request.password_algorithm, request.password_algorithms) {
        (None, None) => Some(PasswordAlgorithm::Md5),
        (Some((number, [])), Some(PasswordAlgorithms::OFFERED)) => PasswordAlgorithm::from_number(number),
        _ => None,
    }
}
