//! The `turn` crate's client as the doctor's endpoint over UDP and IPv4.

use std::any::Any;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use stun_rs::attributes::turn::{LifeTime, XorPeerAddress};
use stun_rs::methods::{ALLOCATE, CHANNEL_BIND};
use stun_rs::{MessageClass, StunMessage};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

use crate::doctor_failure::Failure;
use crate::doctor_leg::Leg;
use crate::doctor_message::{self as message, Credentials};
use crate::doctor_wire::bind_like;

/// How long an allocation, a permission or a channel may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(6);

/// Sent to a peer to make the client ask for a permission and a channel; no RTP packet begins like it.
const PROBE: &[u8] = b"probe";

/// Spacing of probes while a channel is being bound.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// An allocation made and used by the `turn` crate.
pub struct CrateAllocation {
    client: Client,
    relay: Arc<dyn Conn + Send + Sync>,
    spy: Arc<Spy>,
    relayed: SocketAddr,
}

impl CrateAllocation {
    /// Allocates on `server`, which must be an IPv4 address.
    ///
    /// # Errors
    /// When the server refuses it or nobody answers.
    pub async fn new(server: SocketAddr, credentials: &Credentials) -> Result<Self, Failure> {
        let spy = Arc::new(Spy::new(bind_like(server).await?));
        let config = ClientConfig {
            stun_serv_addr: server.to_string(),
            turn_serv_addr: server.to_string(),
            username: credentials.username.clone(),
            password: credentials.password.clone(),
            realm: String::new(),
            software: String::new(),
            rto_in_ms: 0,
            conn: spy.clone(),
            vnet: None,
        };
        let failed = |error: turn::Error| Failure::protocol(format!("the turn client: {error}"));
        let client = Client::new(config).await.map_err(failed)?;
        client.listen().await.map_err(failed)?;
        let silence = || Failure::Unreachable(format!("no allocation within {} s", STEP_TIMEOUT.as_secs()));
        let outcome = timeout(STEP_TIMEOUT, client.allocate()).await.map_err(|_| silence());
        let relay = match outcome {
            Ok(Ok(relay)) => relay,
            Ok(Err(error)) => {
                // The crate turns the answer into prose; the code was seen on the wire.
                return Err(match spy.refusal(ALLOCATE_ERROR) {
                    Some(code) if code != 401 || spy.asked_with_credentials() => {
                        Failure::Refused { request: "Allocate", code }
                    }
                    _ => failed(error),
                });
            }
            Err(silence) => return Err(silence),
        };
        let relayed = relay.local_addr().map_err(|error| Failure::protocol(error.to_string()))?;
        Ok(Self { client, relay: Arc::new(relay), spy, relayed })
    }

    /// As granted by the server.
    pub fn lifetime_secs(&self) -> u32 {
        u32::try_from(self.spy.lifetime_secs.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }
}

#[async_trait]
impl Leg for CrateAllocation {
    fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    fn mapped(&self) -> Option<SocketAddr> {
        *guard(&self.spy.mapped)
    }

    async fn permit(&self, peer: SocketAddr) -> Result<(), Failure> {
        // The crate asks for a permission when it first sends, and binds a channel while it is at it.
        self.spy.forget(PERMISSION_ERROR);
        let sent = timeout(STEP_TIMEOUT, self.relay.send_to(PROBE, peer))
            .await
            .map_err(|_| Failure::Unreachable("no answer to CreatePermission".into()))?;
        match (sent, self.spy.refusal(PERMISSION_ERROR)) {
            (Ok(_), _) => Ok(()),
            (Err(_), Some(code)) => Err(Failure::Refused { request: "CreatePermission", code }),
            (Err(error), None) => Err(Failure::protocol(format!("the turn client: {error}"))),
        }
    }

    async fn bind(&self, peer: SocketAddr) -> Result<(), Failure> {
        let sent_before = self.spy.sent_by_channel.load(Ordering::Relaxed);
        let deadline = Instant::now() + STEP_TIMEOUT;
        // Bound once a probe leaves as ChannelData.
        while Instant::now() < deadline {
            self.permit(peer).await?;
            if self.spy.sent_by_channel.load(Ordering::Relaxed) > sent_before {
                return Ok(());
            }
            // The crate does not ask again for a peer that was refused, with the permission or now.
            if let Some(code) = guard(&self.spy.channels).refused.get(&peer).copied() {
                return Err(Failure::Refused { request: "ChannelBind", code });
            }
            sleep(PROBE_INTERVAL).await;
        }
        Err(Failure::Unreachable("no answer to ChannelBind".into()))
    }

    async fn send(&self, peer: SocketAddr, payload: &[u8]) -> Result<(), Failure> {
        let sent = self.relay.send_to(payload, peer).await;
        sent.map(drop).map_err(|error| Failure::Unreachable(error.to_string()))
    }

    async fn receive(&self) -> Result<(SocketAddr, Vec<u8>), Failure> {
        let mut bytes = vec![0; 2048];
        let (length, peer) =
            self.relay.recv_from(&mut bytes).await.map_err(|error| Failure::Unreachable(error.to_string()))?;
        bytes.truncate(length);
        Ok((peer, bytes))
    }

    fn received_by_channel(&self) -> u64 {
        self.spy.received_by_channel.load(Ordering::Relaxed)
    }

    async fn release(&self) {
        // The allocation ends by itself when this does not reach the server.
        let _ = timeout(STEP_TIMEOUT, async {
            let _ = self.relay.close().await;
            let _ = self.client.close().await;
        })
        .await;
    }
}

// Types of error answers on the wire (RFC 8489 section 5).
const ALLOCATE_ERROR: u16 = 0x0113;
const PERMISSION_ERROR: u16 = 0x0118;

/// The client's socket, with an eye on what passes: the crate's API shows neither error codes nor channels.
struct Spy {
    socket: UdpSocket,
    mapped: Mutex<Option<SocketAddr>>,
    lifetime_secs: AtomicU64,
    sent_by_channel: AtomicU64,
    received_by_channel: AtomicU64,
    allocates_sent: AtomicU64,
    /// Last error codes of Allocate and CreatePermission; 0 is none.
    refusals: [AtomicU16; 2],
    channels: Mutex<Channels>,
}

/// ChannelBind requests by peer; a run of the doctor makes a handful.
#[derive(Default)]
struct Channels {
    asked: HashMap<[u8; 12], SocketAddr>,
    refused: HashMap<SocketAddr, u16>,
}

impl Spy {
    fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            mapped: Mutex::default(),
            lifetime_secs: AtomicU64::new(0),
            sent_by_channel: AtomicU64::new(0),
            received_by_channel: AtomicU64::new(0),
            allocates_sent: AtomicU64::new(0),
            refusals: Default::default(),
            channels: Mutex::default(),
        }
    }

    fn slot(kind: u16) -> Option<usize> {
        [ALLOCATE_ERROR, PERMISSION_ERROR].iter().position(|known| *known == kind)
    }

    fn refusal(&self, kind: u16) -> Option<u16> {
        let code = self.refusals[Self::slot(kind)?].load(Ordering::Relaxed);
        (code != 0).then_some(code)
    }

    fn forget(&self, kind: u16) {
        if let Some(slot) = Self::slot(kind) {
            self.refusals[slot].store(0, Ordering::Relaxed);
        }
    }

    fn asked_with_credentials(&self) -> bool {
        self.allocates_sent.load(Ordering::Relaxed) > 0
    }

    fn on_sent(&self, bytes: &[u8]) {
        match bytes.first() {
            Some(first) if first >> 6 == 1 => {
                self.sent_by_channel.fetch_add(1, Ordering::Relaxed);
            }
            Some(0) => {
                if let Ok(request) = message::decode(bytes) {
                    self.on_request(&request);
                }
            }
            _ => {}
        }
    }

    fn on_request(&self, request: &StunMessage) {
        if request.method() == ALLOCATE && message::challenge(request).is_some() {
            self.allocates_sent.fetch_add(1, Ordering::Relaxed);
        }
        let peer = request.get::<XorPeerAddress>().and_then(|attribute| attribute.as_xor_peer_address().ok());
        if let (CHANNEL_BIND, Some(peer)) = (request.method(), peer) {
            guard(&self.channels).asked.insert(*request.transaction_id().as_bytes(), *peer.socket_address());
        }
    }

    fn on_received(&self, bytes: &[u8]) {
        let Some(kind) = bytes.first_chunk::<2>().map(|head| u16::from_be_bytes(*head)) else {
            return;
        };
        if kind >> 14 == 1 {
            self.received_by_channel.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Ok(answer) = message::decode(bytes) else {
            return;
        };
        if let (Some(slot), MessageClass::ErrorResponse) = (Self::slot(kind), answer.class()) {
            self.refusals[slot].store(message::error_code(&answer), Ordering::Relaxed);
        }
        if answer.class() == MessageClass::ErrorResponse && answer.method() == CHANNEL_BIND {
            let mut channels = guard(&self.channels);
            if let Some(peer) = channels.asked.remove(answer.transaction_id().as_bytes()) {
                channels.refused.insert(peer, message::error_code(&answer));
            }
        }
        if answer.class() == MessageClass::SuccessResponse && answer.method() == ALLOCATE {
            *guard(&self.mapped) = message::mapped_address(&answer);
            let lifetime = answer.get::<LifeTime>().and_then(|attribute| attribute.as_life_time().ok());
            self.lifetime_secs.store(lifetime.map_or(0, |lifetime| lifetime.as_u32()).into(), Ordering::Relaxed);
        }
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Conn for Spy {
    async fn connect(&self, addr: SocketAddr) -> Result<(), webrtc_util::Error> {
        Ok(self.socket.connect(addr).await?)
    }

    async fn recv(&self, buf: &mut [u8]) -> Result<usize, webrtc_util::Error> {
        Ok(self.recv_from(buf).await?.0)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), webrtc_util::Error> {
        let (length, from) = self.socket.recv_from(buf).await?;
        self.on_received(&buf[..length]);
        Ok((length, from))
    }

    async fn send(&self, buf: &[u8]) -> Result<usize, webrtc_util::Error> {
        self.on_sent(buf);
        Ok(self.socket.send(buf).await?)
    }

    async fn send_to(&self, buf: &[u8], target: SocketAddr) -> Result<usize, webrtc_util::Error> {
        self.on_sent(buf);
        Ok(self.socket.send_to(buf, target).await?)
    }

    fn local_addr(&self) -> Result<SocketAddr, webrtc_util::Error> {
        Ok(self.socket.local_addr()?)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}
