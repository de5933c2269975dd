//! A TURN client over the doctor's own connections, its messages made and read by `stun-rs`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use stun_rs::attributes::StunAttribute;
use stun_rs::attributes::turn::{
    ChannelNumber, Data, LifeTime, RequestedAddressFamily, RequestedTrasport, XorPeerAddress, XorRelayedAddress,
};
use stun_rs::methods::{ALLOCATE, CHANNEL_BIND, CREATE_PERMMISSION, DATA, REFRESH, SEND};
use stun_rs::{AddressFamily, MessageClass, MessageMethod, StunMessage, protocols};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::doctor_failure::Failure;
use crate::doctor_leg::Leg;
use crate::doctor_message::{self as message, Challenge, Credentials, Outgoing, Signature};
use crate::doctor_wire::{Reader, Wire, Writer};

/// Spacing of the repeats of a request over UDP; a little over 5 s in all.
const REPEATS: [Duration; 4] =
    [Duration::from_millis(400), Duration::from_millis(800), Duration::from_millis(1600), Duration::from_millis(2400)];

/// How long a request over a stream may go unanswered.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// Fresh nonces that one request may ask for.
const NONCES_MAX: usize = 2;

/// Datagrams from peers kept for a slow reader; more are dropped, as a socket would.
const INBOUND_MAX: usize = 1024;

const CHANNEL_FIRST: u16 = 0x4000;

/// A connection to a server that can ask it questions.
pub struct Client {
    shared: Arc<Shared>,
    writer: AsyncMutex<Writer>,
    lossy: bool,
    reader: JoinHandle<()>,
    inbound: AsyncMutex<mpsc::Receiver<(SocketAddr, Vec<u8>)>>,
    next_channel: AtomicU16,
}

struct Shared {
    waiting: Mutex<HashMap<[u8; 12], oneshot::Sender<Vec<u8>>>>,
    channels: Mutex<HashMap<u16, SocketAddr>>,
    by_channel: AtomicU64,
    /// Why reading ended, once it has.
    ended: Mutex<Option<Failure>>,
}

/// What a server says to a request that carries no credentials.
pub struct Unauthenticated {
    /// Error code of the answer; 0 when it was a success.
    pub code: u16,
    pub challenge: Option<Challenge>,
}

impl Client {
    /// Starts to read from `wire`.
    pub fn new(wire: Wire) -> Self {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            channels: Mutex::default(),
            by_channel: AtomicU64::new(0),
            ended: Mutex::default(),
        });
        let (sender, inbound) = mpsc::channel(INBOUND_MAX);
        let reader = tokio::spawn(read(wire.reader, wire.lossy, shared.clone(), sender));
        Self {
            shared,
            writer: AsyncMutex::new(wire.writer),
            lossy: wire.lossy,
            reader,
            inbound: AsyncMutex::new(inbound),
            next_channel: AtomicU16::new(CHANNEL_FIRST),
        }
    }

    /// Asks for an allocation without credentials, to be told realm and nonce.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn ask_unauthenticated(&self) -> Result<Unauthenticated, Failure> {
        let transport = vec![RequestedTrasport::new(protocols::UDP).into()];
        let request = message::encode(ALLOCATE, MessageClass::Request, transport, None)?;
        let answer = message::decode(&self.ask(request).await?)?;
        let code = if answer.class() == MessageClass::SuccessResponse { 0 } else { message::error_code(&answer) };
        Ok(Unauthenticated { code, challenge: message::challenge(&answer) })
    }

    /// Makes an allocation whose relay address is of `family`, or of the family the server prefers.
    ///
    /// # Errors
    /// When the server refuses it, nobody answers, or the answer cannot be trusted.
    pub async fn allocate(
        self,
        credentials: Credentials,
        challenge: &Challenge,
        family: Option<AddressFamily>,
    ) -> Result<Allocation, Failure> {
        let session = Session { signature: Mutex::new(Signature::new(&credentials, challenge)?), credentials };
        let mut attributes: Vec<StunAttribute> = vec![RequestedTrasport::new(protocols::UDP).into()];
        attributes.extend(family.map(|family| RequestedAddressFamily::new(family).into()));
        let answer = self.ask_signed(&session, "Allocate", ALLOCATE, attributes).await?;
        let relayed = answer
            .get::<XorRelayedAddress>()
            .and_then(|attribute| attribute.as_xor_relayed_address().ok())
            .map(|address| *address.socket_address())
            .ok_or_else(|| Failure::protocol("an Allocate answer carries no XOR-RELAYED-ADDRESS"))?;
        let lifetime_secs = answer
            .get::<LifeTime>()
            .and_then(|attribute| attribute.as_life_time().ok())
            .map(|lifetime| lifetime.as_u32())
            .ok_or_else(|| Failure::protocol("an Allocate answer carries no LIFETIME"))?;
        let mapped = message::mapped_address(&answer);
        Ok(Allocation { client: self, session, relayed, mapped, lifetime_secs, bound: Mutex::default() })
    }

    /// Sends a signed request, with the server's newest nonce when it says that ours is stale.
    async fn ask_signed(
        &self,
        session: &Session,
        name: &'static str,
        method: MessageMethod,
        attributes: Vec<StunAttribute>,
    ) -> Result<StunMessage, Failure> {
        for _ in 0..=NONCES_MAX {
            let signature = lock(&session.signature).clone();
            let request = message::encode(method, MessageClass::Request, attributes.clone(), Some(&signature))?;
            let bytes = self.ask(request).await?;
            let answer = message::decode(&bytes)?;
            if answer.class() == MessageClass::SuccessResponse {
                return message::decode_authenticated(&bytes, signature.key());
            }
            match (message::error_code(&answer), message::challenge(&answer)) {
                (438, Some(challenge)) => {
                    *lock(&session.signature) = Signature::new(&session.credentials, &challenge)?;
                }
                (code, _) => return Err(Failure::Refused { request: name, code }),
            }
        }
        Err(Failure::Refused { request: name, code: 438 })
    }

    /// Sends a request and waits for its answer.
    async fn ask(&self, request: Outgoing) -> Result<Vec<u8>, Failure> {
        let (sender, mut answer) = oneshot::channel();
        lock(&self.shared.waiting).insert(request.transaction, sender);
        let waits: &[Duration] = if self.lossy { &REPEATS } else { &[STREAM_TIMEOUT] };
        for wait in waits {
            if let Some(failure) = lock(&self.shared.ended).clone() {
                return Err(failure);
            }
            self.write(&request.bytes).await?;
            match timeout(*wait, &mut answer).await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(_)) => break,
                Err(_) => {}
            }
        }
        lock(&self.shared.waiting).remove(&request.transaction);
        let silence = || Failure::Unreachable(format!("no answer within {:.0?}", waits.iter().sum::<Duration>()));
        Err(lock(&self.shared.ended).clone().unwrap_or_else(silence))
    }

    async fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        // A server that reads nothing must not hold the doctor up.
        timeout(STREAM_TIMEOUT, async { self.writer.lock().await.send(bytes).await })
            .await
            .map_err(|_| Failure::Unreachable("the server does not read what is sent to it".into()))?
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Takes in what the server sends, until the connection ends.
async fn read(mut reader: Reader, lossy: bool, shared: Arc<Shared>, sender: mpsc::Sender<(SocketAddr, Vec<u8>)>) {
    let mut refusals = 0;
    loop {
        let bytes = match reader.next().await {
            Ok(bytes) => bytes,
            // One ICMP error says that a datagram was refused; a second one that the port is closed.
            Err(Failure::Unreachable(_)) if lossy && refusals < 2 => {
                refusals += 1;
                continue;
            }
            Err(failure) => {
                *lock(&shared.ended) = Some(failure);
                lock(&shared.waiting).clear();
                return;
            }
        };
        if let Some(received) = shared.take_in(&bytes) {
            // A full queue drops, as a socket's buffer would.
            let _ = sender.try_send(received);
        }
    }
}

impl Shared {
    /// Sorts a message: an answer to its request, a peer's datagram to the reader, anything else nowhere.
    fn take_in(&self, bytes: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        let number = u16::from_be_bytes([head[0], head[1]]);
        if head[0] >> 6 == 1 {
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let peer = *lock(&self.channels).get(&number)?;
            self.by_channel.fetch_add(1, Ordering::Relaxed);
            return Some((peer, rest.get(..length)?.to_vec()));
        }
        let decoded = message::decode(bytes).ok()?;
        if decoded.class() == MessageClass::Indication && decoded.method() == DATA {
            let peer = *decoded.get::<XorPeerAddress>()?.as_xor_peer_address().ok()?.socket_address();
            return Some((peer, decoded.get::<Data>()?.as_data().ok()?.as_bytes().to_vec()));
        }
        let waiting = lock(&self.waiting).remove(decoded.transaction_id().as_bytes())?;
        // Whoever asked may have given up meanwhile.
        let _ = waiting.send(bytes.to_vec());
        None
    }
}

struct Session {
    credentials: Credentials,
    signature: Mutex<Signature>,
}

/// An allocation over one of the doctor's own connections.
pub struct Allocation {
    client: Client,
    session: Session,
    relayed: SocketAddr,
    mapped: Option<SocketAddr>,
    /// As granted by the server.
    pub lifetime_secs: u32,
    bound: Mutex<HashMap<SocketAddr, u16>>,
}

#[async_trait]
impl Leg for Allocation {
    fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    fn mapped(&self) -> Option<SocketAddr> {
        self.mapped
    }

    async fn permit(&self, peer: SocketAddr) -> Result<(), Failure> {
        let peer = vec![XorPeerAddress::from(peer).into()];
        self.client.ask_signed(&self.session, "CreatePermission", CREATE_PERMMISSION, peer).await.map(drop)
    }

    async fn bind(&self, peer: SocketAddr) -> Result<(), Failure> {
        let number = self.client.next_channel.fetch_add(1, Ordering::Relaxed);
        let attributes = vec![ChannelNumber::new(number).into(), XorPeerAddress::from(peer).into()];
        // The first datagram may overtake the answer.
        lock(&self.client.shared.channels).insert(number, peer);
        self.client.ask_signed(&self.session, "ChannelBind", CHANNEL_BIND, attributes).await?;
        lock(&self.bound).insert(peer, number);
        Ok(())
    }

    async fn send(&self, peer: SocketAddr, payload: &[u8]) -> Result<(), Failure> {
        let bound = lock(&self.bound).get(&peer).copied();
        if let Some(number) = bound {
            let mut bytes = Vec::with_capacity(4 + payload.len());
            bytes.extend(number.to_be_bytes());
            bytes.extend((payload.len() as u16).to_be_bytes());
            bytes.extend(payload);
            return self.client.write(&bytes).await;
        }
        let attributes = vec![XorPeerAddress::from(peer).into(), Data::new(payload).into()];
        let indication = message::encode(SEND, MessageClass::Indication, attributes, None)?;
        self.client.write(&indication.bytes).await
    }

    async fn receive(&self) -> Result<(SocketAddr, Vec<u8>), Failure> {
        let received = self.client.inbound.lock().await.recv().await;
        let ended = || lock(&self.client.shared.ended).clone();
        received.ok_or_else(|| ended().unwrap_or_else(|| Failure::Unreachable("the connection ended".into())))
    }

    fn received_by_channel(&self) -> u64 {
        self.client.shared.by_channel.load(Ordering::Relaxed)
    }

    async fn release(&self) {
        let zero = vec![LifeTime::new(0).into()];
        // The allocation ends by itself when this does not reach the server.
        let _ = self.client.ask_signed(&self.session, "Refresh", REFRESH, zero).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
