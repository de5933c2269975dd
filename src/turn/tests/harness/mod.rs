//! A server with a broker and a pretended shell, in virtual time; clients that sign; peers that are addresses.
//!
//! The shell does at once what the server asks for, but for what a test holds back.

mod answer;
mod endpoint;
mod setup;

use std::net::SocketAddr;

use postern_turn::Server;
use postern_turn::broker::Broker;
use postern_turn::io::{
    Action, Client, ConnectionId, DropReason, HEADROOM, Now, OpenRelay, OpenedRelay, OpenedRelays, Peer, PeerVerdict,
    RelayFailure, RelayId, ReplyFrom, TAILROOM, Transport, Verdict,
};
use postern_turn::message::{Class, Message, Method};
use postern_turn::options::Shared;

pub use answer::{Answer, Delivered};
pub use endpoint::{Endpoint, REALM, channel_data, token};
pub use setup::{FixedUser, Setup, edge_v4, edge_v6};

pub const SECOND: u64 = 1_000_000_000;

/// Unix time at the start of every test.
pub const START_UNIX_SECS: u64 = 1_900_000_000;

/// A datagram that the server told the shell to send to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// Relayed transport address that it leaves from, before `advertise`.
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub payload: Vec<u8>,
    pub tos: u8,
    pub dont_fragment: bool,
}

/// A control message on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub client: Client,
    pub to: SocketAddr,
    pub from: ReplyFrom,
    pub message: Vec<u8>,
}

pub struct World {
    pub setup: Setup,
    pub server: Server,
    pub broker: Broker,
    pub now: Now,
    pub shared: Shared,
    /// Messages to clients that no test has looked at yet.
    pub told: Vec<Told>,
    /// Every other action, in order.
    pub actions: Vec<Action>,
    /// While true the shell lets `OpenRelay` wait in `held`.
    pub hold_relays: bool,
    pub held: Vec<OpenRelay>,
    /// What the next `OpenRelay` comes to, instead of a socket.
    pub fail_relays: Option<RelayFailure>,
    sockets: Vec<Option<OpenedRelay>>,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        Self::on_shard(setup, Shared::new([3; 32]))
    }

    /// Another shard of the same process with its own clients, and with a broker of its own.
    pub fn sibling(&self, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        Self::on_shard(setup, self.shared.for_shard(self.shared.shard + 1))
    }

    fn on_shard(setup: Setup, shared: Shared) -> Self {
        let broker = Broker::new(setup.pool(), [2 + shared.shard; 32]);
        let server = Server::new(setup.options(broker.live_ports()), [1 + shared.shard; 32], shared.clone());
        let now = Now { mono_nanos: 1_000 * SECOND + 1, unix_secs: START_UNIX_SECS };
        Self {
            setup,
            server,
            broker,
            now,
            shared,
            told: Vec::new(),
            actions: Vec::new(),
            hold_relays: false,
            held: Vec::new(),
            fail_relays: None,
            sockets: Vec::new(),
        }
    }

    /// Changes the settings and hands them to the server, as a reload does.
    pub fn reload(&mut self, change: impl FnOnce(&mut Setup)) {
        change(&mut self.setup);
        self.server.handle_options(self.now, self.setup.options(self.broker.live_ports()));
        self.pump();
    }

    /// Lets time pass; every timeout on the way is served at its moment.
    pub fn pass_nanos(&mut self, nanos: u64) {
        let target = self.now.mono_nanos + nanos;
        loop {
            let next = [self.server.next_timeout(), self.broker.next_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= target) else { break };
            self.set_mono(next.max(self.now.mono_nanos));
            if self.server.next_timeout().is_some_and(|at| at <= self.now.mono_nanos) {
                self.server.handle_timeout(self.now);
            }
            self.broker.handle_timeout(self.now.mono_nanos);
            self.pump();
        }
        self.set_mono(target);
    }

    pub fn pass_secs(&mut self, secs: u64) {
        self.pass_nanos(secs * SECOND);
    }

    /// Lets time pass without a single timeout being served: what is over must be seen at use.
    pub fn jump_nanos(&mut self, nanos: u64) {
        self.set_mono(self.now.mono_nanos + nanos);
    }

    fn set_mono(&mut self, mono_nanos: u64) {
        self.now = Now { mono_nanos, unix_secs: START_UNIX_SECS + (mono_nanos - 1_000 * SECOND) / SECOND };
    }

    /// Hands client bytes in (one whole frame) and carries out what follows.
    pub fn send_with_tos(&mut self, client: Client, tos: u8, bytes: &[u8]) -> Verdict {
        let verdict = match client.transport {
            Transport::Udp | Transport::Dtls => self.server.handle_datagram(self.now, client, tos, bytes),
            Transport::Tcp | Transport::Tls => {
                let progress = self.server.handle_stream(self.now, client, bytes);
                assert_eq!(progress.consumed, bytes.len(), "one whole frame");
                progress.verdict.expect("a whole frame has a verdict")
            }
        };
        self.pump();
        verdict
    }

    pub fn send(&mut self, client: Client, bytes: &[u8]) -> Verdict {
        self.send_with_tos(client, 0, bytes)
    }

    /// Hands media in and says what reaches a peer.
    pub fn relay(&mut self, client: Client, bytes: &[u8]) -> Result<Relayed, DropReason> {
        self.relay_with_tos(client, 0, bytes)
    }

    pub fn relay_with_tos(&mut self, client: Client, tos: u8, bytes: &[u8]) -> Result<Relayed, DropReason> {
        match self.send_with_tos(client, tos, bytes) {
            Verdict::ToPeer { relay, peer, payload, tos, dont_fragment } => Ok(Relayed {
                from: self.local(relay),
                to: peer.0,
                payload: bytes[payload].to_vec(),
                tos,
                dont_fragment,
            }),
            Verdict::Drop(reason) => Err(reason),
            Verdict::Control => panic!("media was taken for control"),
        }
    }

    /// Hands a peer's datagram in at the relay socket with this local address and says what reaches the client.
    pub fn deliver(&mut self, relay: SocketAddr, peer: SocketAddr, payload: &[u8]) -> Result<Delivered, DropReason> {
        self.deliver_with_tos(relay, peer, 0, payload)
    }

    pub fn deliver_with_tos(
        &mut self,
        relay: SocketAddr,
        peer: SocketAddr,
        tos: u8,
        payload: &[u8],
    ) -> Result<Delivered, DropReason> {
        let relay = self.relay_id(relay).ok_or(DropReason::UnknownRelay)?;
        let range = HEADROOM..HEADROOM + payload.len();
        let mut buffer = vec![0xEE; HEADROOM + payload.len() + TAILROOM];
        buffer[range.clone()].copy_from_slice(payload);
        let verdict = self.server.handle_peer_datagram(self.now, relay, Peer(peer), tos, &mut buffer, range);
        self.pump();
        match verdict {
            PeerVerdict::ToClient { client, frame, tos } => {
                Ok(Delivered { client, frame: buffer[frame].to_vec(), tos })
            }
            PeerVerdict::Drop(reason) => Err(reason),
        }
    }

    /// Sends a signed request and takes its answer; `None` when there is none.
    pub fn try_ask(
        &mut self,
        endpoint: &mut Endpoint,
        method: Method,
        attributes: &[postern_turn::attribute::Attribute<'_>],
    ) -> Option<Answer> {
        let request = endpoint.signed(method, attributes);
        self.send(endpoint.client, &request);
        self.take_answer(&request)
    }

    pub fn ask(
        &mut self,
        endpoint: &mut Endpoint,
        method: Method,
        attributes: &[postern_turn::attribute::Attribute<'_>],
    ) -> Answer {
        self.try_ask(endpoint, method, attributes).expect("an answer")
    }

    /// Sends finished bytes of a request and takes the answer to it.
    pub fn ask_raw(&mut self, client: Client, request: &[u8]) -> Option<Answer> {
        self.send(client, request);
        self.take_answer(request)
    }

    /// The answer to this request among what was told; it is taken out.
    pub fn take_answer(&mut self, request: &[u8]) -> Option<Answer> {
        let is_answer = |told: &Told| {
            let message = Message::decode(&told.message).expect("the server sends well-formed messages");
            matches!(message.class(), Class::Success | Class::Error) && told.message[4..20] == request[4..20]
        };
        let at = self.told.iter().position(is_answer)?;
        Some(Answer::new(self.told.remove(at)))
    }

    /// Indications to this client, taken out.
    pub fn take_indications(&mut self, client: Client) -> Vec<Answer> {
        let of_client = |told: &mut Told| {
            let class = Message::decode(&told.message).expect("the server sends well-formed messages").class();
            told.client == client && class == Class::Indication
        };
        self.told.extract_if(.., of_client).map(Answer::new).collect()
    }

    /// Fetches a nonce of now as a client does: by a request without credentials.
    pub fn greet(&mut self, endpoint: &mut Endpoint) {
        let request = endpoint.bare(Method::Allocate, &[endpoint::UDP]);
        let challenge = self.ask_raw(endpoint.client, &request).expect("a challenge");
        assert_eq!(challenge.code(), Some(401));
        endpoint.nonce = challenge.nonce().expect("a nonce");
    }

    /// Makes a UDP allocation and returns the relayed address that the client was told.
    pub fn allocate(&mut self, endpoint: &mut Endpoint) -> SocketAddr {
        self.allocate_with(endpoint, &[])
    }

    pub fn allocate_with(
        &mut self,
        endpoint: &mut Endpoint,
        more: &[postern_turn::attribute::Attribute<'_>],
    ) -> SocketAddr {
        if endpoint.nonce.is_empty() {
            self.greet(endpoint);
        }
        let mut attributes = vec![endpoint::UDP];
        attributes.extend_from_slice(more);
        let answer = self.ask(endpoint, Method::Allocate, &attributes);
        assert_eq!(answer.code(), None, "{answer:?}");
        answer.relayed()[0]
    }

    /// Answers the `OpenRelay` that was held back longest.
    pub fn release_relay(&mut self) {
        let wish = self.held.remove(0);
        self.open_relay(&wish);
        self.pump();
    }

    /// Local relayed addresses of all open relay sockets.
    pub fn open_relays(&self) -> Vec<SocketAddr> {
        self.sockets.iter().flatten().map(|opened| opened.local).collect()
    }

    pub fn relay_id(&self, local: SocketAddr) -> Option<RelayId> {
        self.sockets.iter().flatten().find(|opened| opened.local == local).map(|opened| opened.relay)
    }

    /// Hands a relay socket to another shard.
    pub fn give_socket(&mut self, relay: RelayId) -> OpenedRelay {
        self.sockets[relay.0 as usize].take().expect("an open relay socket")
    }

    /// Takes a relay socket over from another shard.
    pub fn take_socket(&mut self, opened: OpenedRelay) -> RelayId {
        self.add_socket(opened.lease, opened.local).relay
    }

    /// Actions since the last call.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The connection that the shell was last asked to make.
    pub fn asked_connection(&self) -> Option<ConnectionId> {
        self.actions.iter().rev().find_map(|action| match action {
            Action::ConnectPeer { connection, .. } => Some(*connection),
            _ => None,
        })
    }

    fn local(&self, relay: RelayId) -> SocketAddr {
        self.sockets[relay.0 as usize].expect("an open relay socket").local
    }

    /// Carries out what the server asks for.
    pub fn pump(&mut self) {
        while let Some(action) = self.server.poll() {
            match action {
                Action::ToClient { client, to, from, message } => self.told.push(Told { client, to, from, message }),
                Action::OpenRelay(wish) if self.hold_relays => self.held.push(wish),
                Action::OpenRelay(wish) => self.open_relay(&wish),
                Action::CloseRelay { relay, lease } => {
                    let socket = self.sockets[relay.0 as usize].take();
                    assert_eq!(socket.map(|opened| opened.lease), Some(lease), "closed once, under its own lease");
                    self.broker.close(self.now.mono_nanos, lease);
                }
                other => self.actions.push(other),
            }
        }
    }

    fn open_relay(&mut self, wish: &OpenRelay) {
        if let Some(failure) = self.fail_relays {
            return self.server.handle_relay_failed(self.now, wish.allocation, failure);
        }
        match self.broker.draw(self.now.mono_nanos, 0, wish) {
            Err(failure) => self.server.handle_relay_failed(self.now, wish.allocation, failure),
            Ok(drawn) => {
                let mut relays = Vec::new();
                for port in &drawn.relays {
                    self.broker.open(port.lease);
                    relays.push(self.add_socket(port.lease, port.local));
                }
                let reservation = drawn.reserved.map(|reserved| reserved.token);
                let opened = OpenedRelays { relays, reservation, failed: drawn.failed };
                self.server.handle_relay_opened(self.now, wish.allocation, opened);
            }
        }
    }

    fn add_socket(&mut self, lease: u64, local: SocketAddr) -> OpenedRelay {
        let at = self.sockets.iter().position(Option::is_none).unwrap_or(self.sockets.len());
        if at == self.sockets.len() {
            self.sockets.push(None);
        }
        let opened = OpenedRelay { relay: RelayId(at as u32), local, lease };
        self.sockets[at] = Some(opened);
        opened
    }
}
