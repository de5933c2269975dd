//! A TURN client without sockets or clocks: one allocation of one server over one 5-tuple (RFC 8656).
//!
//! Bytes of the server and the time go in, bytes for the server and events come out. One mutation, then drain: after
//! each call but [`wrap`](TurnClient::wrap), take [`poll_transmit`](TurnClient::poll_transmit) and
//! [`poll_event`](TurnClient::poll_event) until both answer `None`.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub use crate::client_binding::{BindingClient, BindingEvent};
pub use crate::client_io::{
    Allocated, ClientCredentials, ClientEvent, ClientInput, ClientProgress, ClientSettings, EdgeFailure, Failure,
    IntegrityWish, Refusal,
};
pub use crate::client_transaction::{Due, Repeats};

use crate::attribute::{Attribute, EvenPort, FamilyWish};
use crate::channel_data::{self, Padding};
use crate::client_limits::{CLIENT_EVENTS_MAX, RELEASE_SENDS_MAX, REQUESTS_MAX, RTO};
use crate::client_peers::Peers;
use crate::client_session::{Session, Signature};
use crate::data_indication;
use crate::framer::{self, Datagram, Frame};
use crate::io::{PortWish, Transport};
use crate::limits::HEADER_BYTES;
use crate::message::{Class, Message, MessageWriter, Method, TransactionId, message_type};

/// IP protocol number of REQUESTED-TRANSPORT.
const PROTOCOL_UDP: u8 = 17;

/// A client of one TURN server, with at most one allocation.
#[derive(Debug)]
pub struct TurnClient {
    pub(crate) settings: ClientSettings,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) state: State,
    pub(crate) session: Option<Session>,
    /// Credentials that the allocation still goes by while newer ones are tried.
    pub(crate) former: Option<ClientCredentials>,
    pub(crate) requests: Vec<Request>,
    pub(crate) peers: Peers,
    pub(crate) redirected: bool,
    /// A left-over allocation of our 5-tuple was given back once already.
    pub(crate) cleared: bool,
    pub(crate) watch: Option<Watch>,
    /// To be given back as soon as it is there.
    pub(crate) unwanted: bool,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<ClientEvent>,
}

/// Where the allocation stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Not started, or waiting for a connection to the server that the former one named.
    Idle,
    Allocating,
    Live(Live),
    Releasing,
    Ended,
}

/// An allocation.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) allocated: Allocated,
    pub(crate) ends_at: Instant,
    /// `None` while a Refresh is on its way.
    pub(crate) refresh_at: Option<Instant>,
}

/// How a dead server is noticed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    /// Silence for this long is death.
    pub(crate) limit: Duration,
    pub(crate) heard_at: Instant,
    pub(crate) probe_at: Instant,
    pub(crate) probe: Option<TransactionId>,
}

/// A request without its answer.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) ask: Ask,
    pub(crate) id: TransactionId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) repeats: Repeats,
    /// `None` for one without credentials.
    pub(crate) signature: Option<Signature>,
    /// How often it was made anew because of a challenge.
    pub(crate) challenges: u32,
    /// An answer that was not signed as it must be: not believed, but the best guess when nothing else comes.
    pub(crate) hint: Option<crate::error_code::ErrorCode>,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Allocate,
    Refresh,
    /// A Refresh that ends what an earlier owner of our 5-tuple left behind.
    Clear,
    Release,
    Permit(Vec<SocketAddr>),
    Bind {
        channel: u16,
        peer: SocketAddr,
    },
}

impl Ask {
    pub(crate) fn method(&self) -> Method {
        match self {
            Self::Allocate => Method::Allocate,
            Self::Refresh | Self::Clear | Self::Release => Method::Refresh,
            Self::Permit(_) => Method::CreatePermission,
            Self::Bind { .. } => Method::ChannelBind,
        }
    }
}

impl TurnClient {
    /// `seed` comes from the operating system, or from the test. Nothing is sent before [`start`](Self::start).
    pub fn new(settings: ClientSettings, seed: [u8; 32]) -> Self {
        Self {
            settings,
            rng: ChaCha8Rng::from_seed(seed),
            state: State::Idle,
            session: None,
            former: None,
            requests: Vec::new(),
            peers: Peers::default(),
            redirected: false,
            cleared: false,
            watch: None,
            unwanted: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Asks for the allocation; over a stream once the connection stands, and again on a new one after
    /// [`ClientEvent::Redirected`].
    pub fn start(&mut self, now: Instant) {
        if matches!(self.state, State::Idle) {
            self.state = State::Allocating;
            self.ask(now, Ask::Allocate);
        }
    }

    /// A datagram that came from [`server`](Self::server). Media costs a look at the channels, nothing more.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> ClientInput {
        match framer::classify_datagram(datagram) {
            Datagram::ChannelData => self.on_channel_data(now, datagram),
            Datagram::Stun => self.on_message(now, datagram),
            Datagram::Other => ClientInput::Ignored,
        }
    }

    /// The accumulated, not yet consumed bytes of the connection to the server. Takes at most one frame: deal with the
    /// input, take `consumed` bytes off, call again until nothing is consumed. Bytes that are no frame end the client
    /// ([`Failure::Answer`]).
    pub fn handle_stream(&mut self, now: Instant, bytes: &[u8]) -> ClientProgress {
        match framer::frame_stream(bytes) {
            Frame::Incomplete { .. } => ClientProgress { consumed: 0, input: ClientInput::Ignored },
            Frame::Stun { bytes: len } => ClientProgress { consumed: len, input: self.on_message(now, &bytes[..len]) },
            Frame::ChannelData { bytes: len, padded_bytes } => {
                ClientProgress { consumed: padded_bytes, input: self.on_channel_data(now, &bytes[..len]) }
            }
            Frame::Invalid => {
                self.fail(Failure::Answer);
                ClientProgress { consumed: bytes.len(), input: ClientInput::Consumed }
            }
        }
    }

    /// The connection to the server is gone, or was never made.
    pub fn handle_closed(&mut self) {
        match self.state {
            State::Releasing => self.finish(ClientEvent::Released),
            State::Ended => {}
            _ => self.fail(Failure::Closed),
        }
    }

    /// To be called when [`next_timeout`](Self::next_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.repeat_requests(now);
        self.watch_server(now);
        if let State::Live(live) = &mut self.state {
            if now >= live.ends_at {
                return self.fail(Failure::NoAnswer);
            }
            if live.refresh_at.is_some_and(|at| at <= now) {
                live.refresh_at = None;
                self.ask(now, Ask::Refresh);
            }
        }
        self.ask_for_peers(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        let requests = self.requests.iter().map(|request| request.repeats.at()).min();
        let (live, peers) = match &self.state {
            State::Live(live) => {
                let room = self.requests.len() < REQUESTS_MAX;
                (Some(live.refresh_at.unwrap_or(live.ends_at)), self.peers.next_due().filter(|_| room))
            }
            _ => (None, None),
        };
        let watch = self.watch.filter(|_| self.is_live()).map(|watch| watch.probe_at.min(watch.heard_at + watch.limit));
        [requests, live, peers, watch].into_iter().flatten().min()
    }

    /// Uses these credentials from now on and refreshes the allocation with them, so that it lasts as long as they do.
    /// Refused ones (401, 441) leave the former in use: [`ClientEvent::CredentialsRefused`].
    pub fn set_credentials(&mut self, now: Instant, credentials: ClientCredentials) {
        if credentials == self.settings.credentials {
            return;
        }
        let former = std::mem::replace(&mut self.settings.credentials, credentials);
        if let Some(session) = &mut self.session {
            session.use_credentials(&self.settings.credentials);
        }
        if let State::Live(live) = &mut self.state {
            live.refresh_at = None;
            self.former = self.former.take().or(Some(former));
            self.ask(now, Ask::Refresh);
        }
    }

    /// Makes the server's address reachable to `peer`, whatever its port, and keeps it so. Answered by
    /// [`ClientEvent::Permitted`] or [`ClientEvent::PermissionRefused`]; before the allocation is there it waits.
    pub fn permit(&mut self, now: Instant, peer: SocketAddr) {
        match self.peers.want_permission(now, peer) {
            Ok(()) => self.ask_for_peers(now),
            Err(why) => self.event(ClientEvent::PermissionRefused { peer: peer.ip(), why }),
        }
    }

    /// Binds a channel to `peer` and keeps it bound, so that data needs 4 bytes more instead of 36.
    pub fn bind_channel(&mut self, now: Instant, peer: SocketAddr) {
        match self.peers.want_channel(now, peer) {
            Ok(()) => self.ask_for_peers(now),
            Err(why) => self.event(ClientEvent::ChannelRefused { peer, why }),
        }
    }

    /// Whether data can be sent to this address.
    pub fn is_permitted(&self, ip: IpAddr) -> bool {
        self.is_live() && self.peers.is_permitted(ip)
    }

    /// Writes the header of ChannelData, or of a Send indication as long as there is no channel, into the bytes before
    /// `payload` and returns the range to send to the server. Needs [`HEADROOM`](crate::io::HEADROOM) bytes before and
    /// [`TAILROOM`](crate::io::TAILROOM) after. `None` without allocation or permission; then nothing is written.
    #[inline]
    pub fn wrap(&mut self, peer: SocketAddr, buffer: &mut [u8], payload: Range<usize>) -> Option<Range<usize>> {
        if !self.is_live() {
            return None;
        }
        if let Some(channel) = self.peers.channel_of(peer) {
            let padding = if self.is_stream() { Padding::ToFour } else { Padding::None };
            return channel_data::encode_in_place(buffer, payload, channel, padding);
        }
        if !self.peers.is_permitted(peer.ip()) {
            return None;
        }
        let id = self.draw_id();
        // Send and Data indications differ in their method alone.
        let frame = data_indication::encode_in_place(buffer, payload, peer, id)?;
        let head = buffer.get_mut(frame.clone())?.first_chunk_mut::<2>()?;
        *head = message_type(Class::Indication, Method::Send).to_be_bytes();
        Some(frame)
    }

    /// From now on the server counts as dead when nothing comes from it for `limit`
    /// ([`Failure::Silent`]): after a quarter of that it is asked for a sign of life, and again every sixteenth. `None`
    /// leaves it to the requests of every few minutes.
    pub fn watch(&mut self, now: Instant, limit: Option<Duration>) {
        self.watch = limit.map(|limit| Watch { limit, heard_at: now, probe_at: now + limit / 4, probe: None });
    }

    /// Whether [`watch`](Self::watch) is on.
    pub fn is_watching(&self) -> bool {
        self.watch.is_some()
    }

    /// Gives the allocation back; [`ClientEvent::Released`] when that is done.
    pub fn release(&mut self, now: Instant) {
        match self.state {
            State::Live(_) => {
                self.state = State::Releasing;
                self.requests.clear();
                self.ask(now, Ask::Release);
            }
            // The server may have allocated already: what comes is given back.
            State::Allocating => self.unwanted = true,
            State::Idle => self.finish(ClientEvent::Released),
            State::Releasing | State::Ended => {}
        }
    }

    /// Bytes for the server: a datagram, or what comes next on the stream.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Where our bytes go; another one after a redirection.
    pub fn server(&self) -> SocketAddr {
        self.settings.server
    }

    /// The allocation, while there is one.
    pub fn allocated(&self) -> Option<Allocated> {
        match &self.state {
            State::Live(live) => Some(live.allocated),
            _ => None,
        }
    }

    /// Whether it is over: nothing will come out of this client any more.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.settings.transport, Transport::Tcp | Transport::Tls)
    }

    /// Sends a new request.
    pub(crate) fn ask(&mut self, now: Instant, ask: Ask) {
        self.ask_again(now, ask, 0);
    }

    /// Sends a request that was challenged so often.
    pub(crate) fn ask_again(&mut self, now: Instant, ask: Ask, challenges: u32) {
        let id = self.draw_id();
        let mut bytes = Vec::with_capacity(256);
        let mut writer = MessageWriter::new(&mut bytes, Class::Request, ask.method(), id);
        self.write_attributes(&ask, &mut writer);
        let signature = self.session.as_ref().map(|session| session.sign(&mut writer));
        writer.fingerprint();
        // Too long only with a username and a realm that no server of ours takes; then it will have no answer.
        let _ = writer.finish();
        let repeats = match ask {
            _ if self.is_stream() => Repeats::stream(now),
            Ask::Release => Repeats::with(now, RTO, RELEASE_SENDS_MAX, RTO * 2),
            _ => Repeats::datagram(now),
        };
        self.transmits.push_back(bytes.clone());
        self.requests.push(Request { ask, id, bytes, repeats, signature, challenges, hint: None });
    }

    fn write_attributes(&self, ask: &Ask, writer: &mut MessageWriter<'_>) {
        match ask {
            Ask::Allocate => {
                writer.attribute(&Attribute::RequestedTransport(PROTOCOL_UDP));
                match self.settings.port {
                    PortWish::Any => {}
                    PortWish::Even { reserve } => {
                        writer.attribute(&Attribute::EvenPort(EvenPort { reserve_next: reserve }));
                    }
                    PortWish::Reserved(token) => {
                        writer.attribute(&Attribute::ReservationToken(token));
                    }
                }
                if let (Some(family), false) =
                    (self.settings.family, matches!(self.settings.port, PortWish::Reserved(_)))
                {
                    writer.attribute(&Attribute::RequestedAddressFamily(FamilyWish::Known(family)));
                }
                self.write_lifetime(writer);
            }
            Ask::Refresh => self.write_lifetime(writer),
            Ask::Clear | Ask::Release => {
                writer.attribute(&Attribute::Lifetime(0));
            }
            Ask::Permit(peers) => {
                for peer in peers {
                    writer.attribute(&Attribute::XorPeerAddress(*peer));
                }
            }
            Ask::Bind { channel, peer } => {
                writer.attribute(&Attribute::ChannelNumber(*channel));
                writer.attribute(&Attribute::XorPeerAddress(*peer));
            }
        }
    }

    fn write_lifetime(&self, writer: &mut MessageWriter<'_>) {
        if let Some(secs) = self.settings.lifetime_secs {
            writer.attribute(&Attribute::Lifetime(secs));
        }
    }

    /// Asks for the permissions and channels that are due, as far as requests may be on their way.
    pub(crate) fn ask_for_peers(&mut self, now: Instant) {
        while self.is_live() && self.requests.len() < REQUESTS_MAX {
            let permissions = self.peers.take_permissions(now);
            if !permissions.is_empty() {
                self.ask(now, Ask::Permit(permissions));
            } else if let Some((channel, peer)) = self.peers.take_channel(now) {
                self.ask(now, Ask::Bind { channel, peer });
            } else {
                break;
            }
        }
    }

    fn repeat_requests(&mut self, now: Instant) {
        let mut given_up = Vec::new();
        let transmits = &mut self.transmits;
        self.requests.retain_mut(|request| match request.repeats.due(now) {
            Due::Nothing => true,
            Due::Repeat => {
                transmits.push_back(request.bytes.clone());
                true
            }
            Due::GiveUp => {
                given_up.push((request.ask.clone(), request.hint));
                false
            }
        });
        for (ask, hint) in given_up {
            self.on_no_answer(now, ask, hint);
        }
    }

    /// Asks a quiet server for a sign of life, and gives up on one that gave none.
    fn watch_server(&mut self, now: Instant) {
        let (true, Some(mut watch)) = (self.is_live(), self.watch) else { return };
        if now >= watch.heard_at + watch.limit {
            return self.fail(Failure::Silent);
        }
        if now >= watch.probe_at {
            let quiet_at = watch.heard_at + watch.limit / 4;
            if now < quiet_at {
                // Something came meanwhile: not quiet yet.
                watch.probe_at = quiet_at;
            } else {
                let id = *watch.probe.get_or_insert_with(|| self.draw_id());
                watch.probe_at = now + watch.limit / 16;
                self.transmits.push_back(binding_request(id));
            }
            self.watch = Some(watch);
        }
    }

    /// The server is alive.
    #[inline]
    pub(crate) fn heard(&mut self, now: Instant) {
        if let Some(watch) = &mut self.watch {
            watch.heard_at = now;
            watch.probe = None;
        }
    }

    #[inline]
    fn on_channel_data(&mut self, now: Instant, bytes: &[u8]) -> ClientInput {
        let data = channel_data::decode(bytes).filter(|_| self.is_live());
        let Some((peer, payload)) = data.and_then(|data| Some((self.peers.peer_of(data.channel)?, data.payload)))
        else {
            return ClientInput::Ignored;
        };
        self.heard(now);
        ClientInput::Data { peer, payload }
    }

    fn on_message(&mut self, now: Instant, bytes: &[u8]) -> ClientInput {
        let Ok(message) = Message::decode(bytes) else { return ClientInput::Ignored };
        match message.class() {
            Class::Indication => self.on_indication(now, &message),
            Class::Success | Class::Error => self.on_answer(now, &message),
            Class::Request => ClientInput::Ignored,
        }
    }

    /// The end, for this reason.
    pub(crate) fn fail(&mut self, failure: Failure) {
        if !self.is_ended() {
            self.finish(if self.unwanted { ClientEvent::Released } else { ClientEvent::Failed(failure) });
        }
    }

    pub(crate) fn finish(&mut self, event: ClientEvent) {
        self.state = State::Ended;
        self.requests.clear();
        self.event(event);
    }

    pub(crate) fn event(&mut self, event: ClientEvent) {
        if self.events.len() >= CLIENT_EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    pub(crate) fn draw_id(&mut self) -> TransactionId {
        let mut id = [0; 12];
        self.rng.fill_bytes(&mut id);
        TransactionId::new(id)
    }
}

/// A Binding request, the smallest thing that a server answers.
pub(crate) fn binding_request(id: TransactionId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 8);
    // A bare header is never too long.
    let _ = MessageWriter::new(&mut bytes, Class::Request, Method::Binding, id).fingerprint().finish();
    bytes
}
