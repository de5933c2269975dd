//! An edge in virtual time: our server, its broker, and a shell of a few lines. Also the edge of the ICE agent's tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_token::{Claims, Issuer, KeyRing, Secret, Token, Verifier};
use postern_turn::Server;
use postern_turn::broker::{Broker, PoolOptions};
use postern_turn::client::ClientCredentials;
use postern_turn::io::{
    Action, Client, HEADROOM, Now, OpenRelay, OpenedRelay, OpenedRelays, Peer, PeerVerdict, RelayFailure, RelayId,
    TAILROOM, Transport, Verdict,
};
use postern_turn::nonce::NonceKeys;
use postern_turn::options::{Features, Lifetimes, Options, Quotas, Shared};
use postern_turn::policy::{PeerPolicy, PolicyOptions};

/// Unix time at the start of every test.
const START_UNIX_SECS: u64 = 1_900_000_000;

/// What leaves the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    ToClient { client: Client, bytes: Vec<u8> },
    ToPeer { from: SocketAddr, to: SocketAddr, payload: Vec<u8> },
}

/// Settings that a test may change.
pub struct Wishes {
    pub ports: std::ops::RangeInclusive<u16>,
    pub quotas: Quotas,
    pub lifetimes: Lifetimes,
    pub alternate: Option<SocketAddr>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { ports: 50_000..=50_999, quotas: Quotas::default(), lifetimes: Lifetimes::default(), alternate: None }
    }
}

pub struct Edge {
    pub address: SocketAddr,
    pub server: Server,
    /// No packet passes any more.
    pub is_dead: bool,
    pub out: Vec<Out>,
    broker: Broker,
    ring: KeyRing,
    sockets: Vec<Option<OpenedRelay>>,
    fail_relays: Option<RelayFailure>,
    epoch: Instant,
}

impl Edge {
    /// Listens and relays on `address`; all edges share their secret.
    pub fn new(epoch: Instant, address: SocketAddr, wishes: Wishes) -> Self {
        let secret = Secret::new("k1".to_owned(), "a secret of sixteen".to_owned()).unwrap();
        let ring = KeyRing::new(vec![secret]).unwrap();
        let pool = PoolOptions { addresses: vec![address.ip()], ports: wishes.ports };
        let broker = Broker::new(pool, [2; 32]);
        let policy =
            PolicyOptions { listeners: vec![address], relay_addresses: vec![address.ip()], ..PolicyOptions::default() };
        let secrets: Vec<&[u8]> = ring.secrets().collect();
        let alternates = wishes.alternate.map(|address| postern_turn::options::Alternate { address, domain: None });
        let options = Options {
            realm: "example.test".to_owned(),
            credentials: Arc::new(Verifier::new(&ring)),
            nonce_keys: NonceKeys::new(&secrets),
            policy: PeerPolicy::new(&policy, broker.live_ports()),
            lifetimes: wishes.lifetimes,
            quotas: wishes.quotas,
            worker_networks: Vec::new(),
            features: Features::default(),
            alternates: alternates.into_iter().collect(),
        };
        let server = Server::new(Arc::new(options), [1; 32], Shared::new([3; 32]));
        Self {
            address,
            server,
            is_dead: false,
            out: Vec::new(),
            broker,
            ring,
            sockets: Vec::new(),
            fail_relays: None,
            epoch,
        }
    }

    /// An extended token of one call, good for `ttl` from the start of the test.
    pub fn token(&self, ttl: Duration) -> ClientCredentials {
        let mut claims = Claims::new("worker", START_UNIX_SECS + ttl.as_secs());
        claims.call_id = Some("call-7".into());
        credentials(&Issuer::new(&self.ring).issue_extended(&claims).unwrap())
    }

    /// A token that no other may succeed.
    pub fn classic_token(&self, ttl: Duration) -> ClientCredentials {
        let expires = START_UNIX_SECS + ttl.as_secs();
        credentials(&Issuer::new(&self.ring).issue_classic(Some("worker"), expires).unwrap())
    }

    /// What every request for a relay comes to from now on.
    pub fn fail_relays(&mut self, failure: Option<RelayFailure>) {
        self.fail_relays = failure;
    }

    pub fn drain(&mut self, now: Instant) {
        self.server.handle_drain(self.now(now));
    }

    /// A client's datagram.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let client = self.client(Transport::Udp, 0, from);
        let verdict = self.server.handle_datagram(self.now(now), client, 0, bytes);
        self.finish(now, verdict, bytes);
    }

    /// Bytes of a client's connection; what is left of an unfinished frame stays in `bytes`.
    pub fn handle_stream(&mut self, now: Instant, stream: u32, from: SocketAddr, bytes: &mut Vec<u8>) {
        let client = self.client(Transport::Tcp, stream, from);
        loop {
            let progress = self.server.handle_stream(self.now(now), client, bytes);
            if progress.consumed == 0 {
                return;
            }
            if let Some(verdict) = progress.verdict {
                self.finish(now, verdict, bytes);
            }
            bytes.drain(..progress.consumed);
        }
    }

    /// A peer's datagram to a relay port; false when nobody listens there.
    pub fn handle_peer(&mut self, now: Instant, relay: SocketAddr, from: SocketAddr, payload: &[u8]) -> bool {
        let found = self.sockets.iter().flatten().find(|opened| opened.local == relay).map(|opened| opened.relay);
        let (Some(id), false) = (found, self.is_dead) else { return false };
        let range = HEADROOM..HEADROOM + payload.len();
        let mut buffer = vec![0xEE; HEADROOM + payload.len() + TAILROOM];
        buffer[range.clone()].copy_from_slice(payload);
        let now_pair = self.now(now);
        let verdict = self.server.handle_peer_datagram(now_pair, id, Peer(from), 0, &mut buffer, range);
        if let PeerVerdict::ToClient { client, frame, .. } = verdict {
            self.out.push(Out::ToClient { client, bytes: buffer[frame].to_vec() });
        }
        self.carry_out(now);
        true
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let now_pair = self.now(now);
        if self.server.next_timeout().is_some_and(|at| at <= now_pair.mono_nanos) {
            self.server.handle_timeout(now_pair);
        }
        self.broker.handle_timeout(now_pair.mono_nanos);
        self.carry_out(now);
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let next = [self.server.next_timeout(), self.broker.next_timeout()].into_iter().flatten().min()?;
        Some(self.epoch + Duration::from_nanos(next.saturating_sub(1_000_000_000_000)))
    }

    fn now(&self, now: Instant) -> Now {
        let passed = now - self.epoch;
        Now { mono_nanos: 1_000_000_000_000 + passed.as_nanos() as u64, unix_secs: START_UNIX_SECS + passed.as_secs() }
    }

    fn client(&self, transport: Transport, stream: u32, remote: SocketAddr) -> Client {
        Client { transport, listener: 0, stream, local: self.address, remote }
    }

    fn finish(&mut self, now: Instant, verdict: Verdict, bytes: &[u8]) {
        if let Verdict::ToPeer { relay, peer, payload, .. } = verdict
            && let Some(opened) = self.sockets[relay.0 as usize]
        {
            self.out.push(Out::ToPeer { from: opened.local, to: peer.0, payload: bytes[payload].to_vec() });
        }
        self.carry_out(now);
    }

    fn carry_out(&mut self, now: Instant) {
        while let Some(action) = self.server.poll() {
            match action {
                Action::ToClient { client, message, .. } => self.out.push(Out::ToClient { client, bytes: message }),
                Action::OpenRelay(wish) => self.open(now, &wish),
                Action::CloseRelay { relay, lease } => {
                    self.sockets[relay.0 as usize] = None;
                    self.broker.close(self.now(now).mono_nanos, lease);
                }
                _ => {}
            }
        }
        if self.is_dead {
            self.out.clear();
        }
    }

    fn open(&mut self, now: Instant, wish: &OpenRelay) {
        let now = self.now(now);
        let drawn = match self.fail_relays {
            Some(failure) => Err(failure),
            None => self.broker.draw(now.mono_nanos, 0, wish),
        };
        let drawn = match drawn {
            Ok(drawn) => drawn,
            Err(failure) => return self.server.handle_relay_failed(now, wish.allocation, failure),
        };
        let mut relays = Vec::new();
        for port in &drawn.relays {
            self.broker.open(port.lease);
            let relay = RelayId(self.sockets.len() as u32);
            let opened = OpenedRelay { relay, local: port.local, lease: port.lease };
            self.sockets.push(Some(opened));
            relays.push(opened);
        }
        let reservation = drawn.reserved.map(|reserved| reserved.token);
        let opened = OpenedRelays { relays, reservation, failed: drawn.failed };
        self.server.handle_relay_opened(now, wish.allocation, opened);
    }
}

fn credentials(token: &Token) -> ClientCredentials {
    ClientCredentials::new(token.username.clone(), token.password())
}
