//! A STUN client that asks a server for our own address (RFC 8489 section 3): one Binding request, one answer.

use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::attribute::{Attribute, AttributeType};
use crate::client::binding_request;
use crate::client_transaction::{Due, Repeats};
use crate::error_code::ErrorCode;
use crate::message::{Class, Message, Method, TransactionId};

/// What became of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingEvent {
    /// Our address as the server sees it.
    Mapped(SocketAddr),
    Refused(ErrorCode),
    /// Nothing usable came back in 39.5 s.
    NoAnswer,
}

/// One question to one server over UDP. Ends with one [`BindingEvent`].
#[derive(Debug)]
pub struct BindingClient {
    id: TransactionId,
    repeats: Repeats,
    to_send: bool,
    event: Option<BindingEvent>,
    ended: bool,
}

impl BindingClient {
    /// Asks now. `seed` comes from the operating system, or from the test.
    pub fn new(now: Instant, seed: [u8; 32]) -> Self {
        let mut id = [0; 12];
        ChaCha8Rng::from_seed(seed).fill_bytes(&mut id);
        let (id, repeats) = (TransactionId::new(id), Repeats::datagram(now));
        Self { id, repeats, to_send: true, event: None, ended: false }
    }

    /// A datagram from the server; whether it was the answer.
    pub fn handle_datagram(&mut self, datagram: &[u8]) -> bool {
        let Ok(message) = Message::decode(datagram) else { return false };
        if self.ended || message.method() != Method::Binding || message.transaction_id() != self.id {
            return false;
        }
        let event = match message.class() {
            Class::Success => mapped(&message).map(BindingEvent::Mapped),
            Class::Error => match message.find(AttributeType::ERROR_CODE) {
                Ok(Some(Attribute::ErrorCode(code, _))) => Some(BindingEvent::Refused(code)),
                _ => None,
            },
            Class::Request | Class::Indication => None,
        };
        let Some(event) = event else { return false };
        self.end(event);
        true
    }

    /// To be called when [`next_timeout`](Self::next_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        match self.repeats.due(now) {
            Due::Nothing => {}
            Due::Repeat => self.to_send = true,
            Due::GiveUp => self.end(BindingEvent::NoAnswer),
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest; `None` when it is over.
    pub fn next_timeout(&self) -> Option<Instant> {
        (!self.ended).then(|| self.repeats.at())
    }

    /// A datagram for the server.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.to_send).then(|| binding_request(self.id))
    }

    /// How it ended, once.
    pub fn poll_event(&mut self) -> Option<BindingEvent> {
        self.event.take()
    }

    fn end(&mut self, event: BindingEvent) {
        self.ended = true;
        self.to_send = false;
        self.event = Some(event);
    }
}

/// XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS of an old server (RFC 8489 section 12).
fn mapped(message: &Message<'_>) -> Option<SocketAddr> {
    let plain = match message.find(AttributeType::MAPPED_ADDRESS) {
        Ok(Some(Attribute::MappedAddress(address))) => Some(address),
        _ => None,
    };
    match message.find(AttributeType::XOR_MAPPED_ADDRESS) {
        Ok(Some(Attribute::XorMappedAddress(address))) => Some(address),
        _ => plain,
    }
}
