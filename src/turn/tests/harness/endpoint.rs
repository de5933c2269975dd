//! A TURN client that signs what it is told to send.

use std::net::SocketAddr;

use postern_token::{Issuer, Token};
use postern_turn::attribute::{Attribute, PasswordAlgorithms};
use postern_turn::integrity::{IntegrityAlgorithm, IntegrityKey, PasswordAlgorithm};
use postern_turn::io::{Client, Transport};
use postern_turn::message::{Class, MessageWriter, Method, TransactionId};

use super::setup::{Setup, edge_v4, edge_v6};
use super::{START_UNIX_SECS, World};

pub const REALM: &str = "example.test";

/// REQUESTED-TRANSPORT of UDP.
pub const UDP: Attribute<'static> = Attribute::RequestedTransport(17);

/// A classic token of the first secret, good for `ttl_secs` from the start of the test.
pub fn token(setup: &Setup, identity: &str, ttl_secs: u64) -> Token {
    Issuer::new(&setup.ring()).issue_classic(Some(identity), START_UNIX_SECS + ttl_secs).unwrap()
}

#[derive(Clone)]
pub struct Endpoint {
    pub client: Client,
    pub username: Vec<u8>,
    pub password: Vec<u8>,
    pub realm: Vec<u8>,
    /// Empty before the first challenge.
    pub nonce: Vec<u8>,
    /// `None` says nothing about algorithms, which means MD5.
    pub algorithm: Option<PasswordAlgorithm>,
    pub integrity: IntegrityAlgorithm,
    pub fingerprint: bool,
    /// Goes instead of USERNAME.
    pub userhash: Option<[u8; 32]>,
    /// Counts transaction ids.
    pub last_id: u64,
}

impl Endpoint {
    /// `alice` with a token for ten hours, over UDP.
    pub fn new(world: &World, remote: &str) -> Self {
        Self::named(world, "alice", remote)
    }

    pub fn named(world: &World, identity: &str, remote: &str) -> Self {
        Self::over(world, identity, remote, Transport::Udp)
    }

    pub fn over(world: &World, identity: &str, remote: &str, transport: Transport) -> Self {
        Self::with_token(&token(&world.setup, identity, 36_000), remote, transport)
    }

    pub fn with_token(token: &Token, remote: &str, transport: Transport) -> Self {
        let remote: SocketAddr = remote.parse().unwrap();
        let local = if remote.is_ipv4() { edge_v4() } else { edge_v6() };
        // Streams are told apart by their number, which a shell never gives to two at once.
        let stream = if matches!(transport, Transport::Tcp | Transport::Tls) { u32::from(remote.port()) } else { 0 };
        Self {
            client: Client { transport, listener: 0, stream, local, remote },
            username: token.username.clone().into_bytes(),
            password: token.password().as_bytes().to_vec(),
            realm: REALM.as_bytes().to_vec(),
            nonce: Vec::new(),
            algorithm: None,
            integrity: IntegrityAlgorithm::Sha1,
            fingerprint: false,
            userhash: None,
            last_id: u64::from(remote.port()) << 32,
        }
    }

    /// From now on another token, the same 5-tuple.
    pub fn use_token(&mut self, token: &Token) {
        self.username = token.username.clone().into_bytes();
        self.password = token.password().as_bytes().to_vec();
    }

    pub fn key(&self) -> IntegrityKey {
        let algorithm = self.algorithm.unwrap_or(PasswordAlgorithm::Md5);
        IntegrityKey::long_term(algorithm, &self.username, &self.realm, &self.password)
    }

    /// A request without credentials.
    pub fn bare(&mut self, method: Method, attributes: &[Attribute<'_>]) -> Vec<u8> {
        self.write(Class::Request, method, attributes, false)
    }

    /// A request with credentials and integrity.
    pub fn signed(&mut self, method: Method, attributes: &[Attribute<'_>]) -> Vec<u8> {
        let id = self.next_id();
        let mut all = attributes.to_vec();
        match &self.userhash {
            Some(hash) => all.push(Attribute::Userhash(hash)),
            None => all.push(Attribute::Username(&self.username)),
        }
        all.extend([Attribute::Realm(&self.realm), Attribute::Nonce(&self.nonce)]);
        if let Some(algorithm) = self.algorithm {
            all.extend([Attribute::PasswordAlgorithms(PasswordAlgorithms::OFFERED), algorithm.into()]);
        }
        self.write_as(id, Class::Request, method, &all, true)
    }

    pub fn indication(&mut self, method: Method, attributes: &[Attribute<'_>]) -> Vec<u8> {
        self.write(Class::Indication, method, attributes, false)
    }

    /// A Send indication.
    pub fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        self.indication(Method::Send, &[Attribute::XorPeerAddress(peer), Attribute::Data(payload)])
    }

    /// Any message, with the attributes as they are given and integrity if wanted.
    pub fn write(&mut self, class: Class, method: Method, attributes: &[Attribute<'_>], sign: bool) -> Vec<u8> {
        let id = self.next_id();
        self.write_as(id, class, method, attributes, sign)
    }

    fn write_as(
        &self,
        id: TransactionId,
        class: Class,
        method: Method,
        attributes: &[Attribute<'_>],
        sign: bool,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out, class, method, id);
        for attribute in attributes {
            writer.attribute(attribute);
        }
        if sign {
            writer.integrity(self.integrity, &self.key());
        }
        if self.fingerprint {
            writer.fingerprint();
        }
        writer.finish().unwrap();
        out
    }

    fn next_id(&mut self) -> TransactionId {
        self.last_id += 1;
        let mut id = [7; 12];
        id[4..].copy_from_slice(&self.last_id.to_be_bytes());
        TransactionId::new(id)
    }
}

/// ChannelData as it goes in a datagram.
pub fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
