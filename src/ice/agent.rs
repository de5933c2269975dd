//! The agent: one media stream's candidates, checks and chosen pairs. Everything goes in and comes out here.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Instant;

use postern_turn::client::ClientCredentials;
use postern_turn::framer::{self, Datagram};
use postern_turn::message::TransactionId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::candidate::{Candidate, Component, Kind};
use crate::consent::Selected;
use crate::gathering::{Gathering, LocalCandidate};
use crate::incoming::{Refusals, Source};
use crate::io::{
    Action, EdgeId, EdgeServer, Event, HEADROOM, Ignored, Input, LocalSocket, Outgoing, PairInfo, RemoteChange, Role,
    Settings, SocketId, StreamId, StreamProgress, TAILROOM, Transmit, Way,
};
use crate::limits::{
    COMPONENTS_MAX, EDGES_MAX, EVENTS_MAX, QUIET_AFTER, RELEASE_GRACE, REMOTE_CANDIDATES_MAX, SOCKETS_MAX,
    STUN_SERVERS_MAX,
};
use crate::relays::Relay;
use crate::sdp::Description;
use crate::session::{Base, Outcome, Remote, Session};
use crate::story::{Diary, Happening, PairTried, Story};

/// An ICE agent of one media stream, without sockets or clocks.
///
/// One mutation, then drain: after each `handle_*` or command, take [`poll_action`](Self::poll_action) and
/// [`poll_event`](Self::poll_event) until both answer `None`. An [`Input::Media`] and [`send`](Self::send) queue
/// nothing. The usual order of a call:
///
/// ```text
/// new ──> Gathered ──> description() into the offer or answer ──> set_remote(peer's) ──> PairSelected, Completed
/// ```
/// The answerer calls [`set_remote`](Self::set_remote) before, at any time.
#[derive(Debug)]
pub struct Agent {
    pub(crate) mux: bool,
    pub(crate) relay_only: bool,
    pub(crate) sockets: Vec<LocalSocket>,
    pub(crate) stun_servers: Vec<SocketAddr>,
    pub(crate) edges: Vec<EdgeServer>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) role: Role,
    pub(crate) tie_breaker: u64,
    pub(crate) locals: Vec<LocalCandidate>,
    /// What foundations stand for, by number.
    pub(crate) foundations: Vec<(Kind, IpAddr, Option<IpAddr>)>,
    pub(crate) relays: Vec<Relay>,
    pub(crate) last_relay: u32,
    pub(crate) last_stream: u32,
    pub(crate) gathering: Option<Gathering>,
    pub(crate) session: Session,
    /// The one of before a restart: its checks are still answered.
    pub(crate) former: Option<Session>,
    pub(crate) forget_former_at: Option<Instant>,
    pub(crate) selected: [Option<Selected>; COMPONENTS_MAX],
    pub(crate) sources: Vec<Source>,
    pub(crate) refusals: Refusals,
    pub(crate) diary: Diary,
    closing: bool,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    deadline: Option<Instant>,
}

impl Agent {
    /// Begins to gather at once. `seed` comes from the operating system, or from the test. Sockets, servers and edges
    /// beyond their limits are left out.
    pub fn new(now: Instant, settings: Settings, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let tie_breaker = rng.next_u64();
        let session = Session::new(&mut rng);
        let mut agent = Self {
            mux: settings.mux,
            relay_only: settings.relay_only,
            sockets: settings.sockets.into_iter().take(SOCKETS_MAX).collect(),
            stun_servers: settings.stun_servers.into_iter().take(STUN_SERVERS_MAX).collect(),
            edges: settings.edges.into_iter().take(EDGES_MAX).collect(),
            rng,
            role: settings.role,
            tie_breaker,
            locals: Vec::new(),
            foundations: Vec::new(),
            relays: Vec::new(),
            last_relay: 0,
            last_stream: 0,
            gathering: None,
            session,
            former: None,
            forget_former_at: None,
            selected: [const { None }; COMPONENTS_MAX],
            sources: Vec::new(),
            refusals: Refusals::default(),
            diary: Diary::new(now),
            closing: false,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            deadline: None,
        };
        agent.gather(now);
        agent.settle(now);
        agent
    }

    /// A datagram that came to a socket. Media of the chosen pair costs a few compares.
    pub fn handle_datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, bytes: &[u8]) -> Input {
        let from = canonical(from);
        let way = Way::Socket(socket);
        let input = match framer::classify_datagram(bytes) {
            Datagram::Other => match self.component_of(Base::Socket(socket)) {
                Some(component) => self.on_media(now, Base::Socket(socket), component, from, 0..bytes.len()),
                None => Input::Ignored(Ignored::NotForUs),
            },
            Datagram::ChannelData => match self.relay_behind(way, from) {
                Some(at) => {
                    let input = self.relays[at].client.handle_datagram(now, bytes);
                    self.on_relay_input(now, at, bytes, input)
                }
                None => Input::Ignored(Ignored::NotForUs),
            },
            Datagram::Stun => self.on_stun_datagram(now, socket, from, bytes),
        };
        self.settle_after(now, &input);
        input
    }

    fn on_stun_datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, bytes: &[u8]) -> Input {
        if self.gathering.as_mut().is_some_and(|gathering| gathering.handle_datagram(socket, from, bytes)) {
            return Input::Consumed;
        }
        if let Some(at) = self.relay_behind(Way::Socket(socket), from) {
            let input = self.relays[at].client.handle_datagram(now, bytes);
            let input = self.on_relay_input(now, at, bytes, input);
            if input != Input::Ignored(Ignored::NotForUs) {
                return input;
            }
        }
        self.on_stun(now, Base::Socket(socket), from, bytes)
    }

    /// The accumulated, not yet consumed bytes of a connection to an edge. Takes at most one frame: deal with the input,
    /// take `consumed` bytes off, call again until nothing is consumed.
    pub fn handle_stream(&mut self, now: Instant, stream: StreamId, bytes: &[u8]) -> StreamProgress {
        let Some(at) = self.relays.iter().position(|relay| relay.way == Way::Stream(stream)) else {
            return StreamProgress { consumed: bytes.len(), input: Input::Ignored(Ignored::NotForUs) };
        };
        let progress = self.relays[at].client.handle_stream(now, bytes);
        if progress.consumed == 0 {
            return StreamProgress { consumed: 0, input: Input::Ignored(Ignored::NotForUs) };
        }
        let input = self.on_relay_input(now, at, bytes, progress.input);
        self.settle_after(now, &input);
        StreamProgress { consumed: progress.consumed, input }
    }

    /// The connection that [`Action::Connect`] asked for stands, TLS included.
    pub fn handle_connected(&mut self, now: Instant, stream: StreamId) {
        if let Some(relay) = self.relays.iter_mut().find(|relay| relay.way == Way::Stream(stream)) {
            relay.client.start(now);
        }
        self.settle(now);
    }

    /// A connection ended, or could not be made.
    pub fn handle_closed(&mut self, now: Instant, stream: StreamId) {
        if let Some(relay) = self.relays.iter_mut().find(|relay| relay.way == Way::Stream(stream)) {
            relay.client.handle_closed();
        }
        self.settle(now);
    }

    /// To be called when [`next_timeout`](Self::next_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.run_relays(now);
        self.drain_relays(now);
        self.run_checks(now);
        self.nominate_if_time(now);
        self.run_consent(now);
        if self.forget_former_at.is_some_and(|at| at <= now) {
            self.forget_former_at = None;
            self.former = None;
        }
        self.settle(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest. Known without work.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// What the peer says of itself, in an offer or an answer, the first time and every time.
    pub fn set_remote(&mut self, now: Instant, description: &Description) -> RemoteChange {
        let change = match &self.session.remote {
            Some(remote) if remote.is_of(description) => RemoteChange::Same,
            Some(_) => {
                self.renew_session(now, false);
                self.gather(now);
                RemoteChange::Restarted
            }
            None => self.answer_to_restart(description),
        };
        if change != RemoteChange::Same {
            self.diary.note(
                now,
                Happening::RemoteDescription { candidates: description.candidates.len(), lite: description.lite },
            );
            self.session.remote = Some(Remote::new(description));
            self.session.is_offered = false;
            // RFC 8445 section 6.1.1: a lite peer never decides.
            if description.lite && self.role == Role::Controlled {
                self.switch_role(now);
            }
        }
        self.add_remotes(&description.candidates);
        for check in std::mem::take(&mut self.session.early) {
            self.on_authentic_check(now, check);
        }
        self.begin_checks(now);
        self.settle(now);
        change
    }

    /// A peer that knows no restart answers with what it said before: then our former credentials are the ones it knows.
    fn answer_to_restart(&mut self, description: &Description) -> RemoteChange {
        let former = self.former.as_ref().filter(|_| self.session.is_offered);
        let same = former.filter(|former| former.remote.as_ref().is_some_and(|remote| remote.is_of(description)));
        let Some(former) = same else { return RemoteChange::Taken };
        self.session.ufrag = former.ufrag.clone();
        self.session.password = former.password.clone();
        self.session.key = former.key.clone();
        RemoteChange::RestartIgnored
    }

    fn add_remotes(&mut self, candidates: &[Candidate]) {
        for candidate in candidates.iter().take(REMOTE_CANDIDATES_MAX) {
            let remotes = &mut self.session.remotes;
            let same = |known: &Candidate| known.component == candidate.component && known.address == candidate.address;
            match remotes.iter().position(same) {
                // Learned from a check before it was told.
                Some(at) if remotes[at].kind == Kind::PeerReflexive => remotes[at] = candidate.clone(),
                Some(_) => {}
                None if remotes.len() < 2 * REMOTE_CANDIDATES_MAX => remotes.push(candidate.clone()),
                None => {}
            }
        }
    }

    /// Restarts ICE (RFC 8445 section 9) with these edges, in their order: new credentials, candidates gathered anew,
    /// and after [`Event::Gathered`] a new [`description`](Self::description) for a re-INVITE. Allocations of edges that
    /// are named again are kept. The pair in use stays until the new session has chosen its own.
    pub fn restart(&mut self, now: Instant, edges: Vec<EdgeServer>) {
        self.edges = edges.into_iter().take(EDGES_MAX).collect();
        self.renew_session(now, true);
        self.gather(now);
        self.settle(now);
    }

    /// Another session with new credentials. Candidates of servers are asked for anew; relays that are no longer wanted
    /// are not told any more.
    fn renew_session(&mut self, now: Instant, by_us: bool) {
        self.diary.note(now, Happening::Restart { by_us });
        let session = std::mem::replace(&mut self.session, Session::new(&mut self.rng));
        self.session.is_offered = by_us;
        // The one whose pairs are in use is worth keeping, not one that never came to anything.
        if self.former.is_none() || session.outcome == Outcome::Completed {
            self.former = Some(session);
        }
        self.forget_former_at = None;
        let wanted: Vec<EdgeId> = self.edges.iter().map(|edge| edge.id).collect();
        let relays = &self.relays;
        self.locals.retain(|local| match local.base {
            Base::Socket(_) => local.candidate.kind == Kind::Host,
            Base::Relay(id) => relays.iter().any(|relay| relay.id == id && wanted.contains(&relay.edge.id)),
        });
    }

    /// What we say of ourselves: complete after [`Event::Gathered`]. Once pairs are chosen these alone are told, the
    /// chosen addresses as default ones (RFC 8839 section 4.4.1.2.2).
    pub fn description(&self) -> Description {
        let mut candidates: Vec<Candidate> = match self.session.outcome {
            Outcome::Completed => self.selected.iter().flatten().map(|selected| selected.info.local.clone()).collect(),
            Outcome::Open | Outcome::Failed => self.locals.iter().map(|local| local.candidate.clone()).collect(),
        };
        candidates.sort_by_key(|candidate| (candidate.component, std::cmp::Reverse(candidate.priority)));
        let defaults = [Component::RTP, Component::RTCP].into_iter().filter_map(|component| {
            let of_component = candidates.iter().filter(|candidate| candidate.component == component);
            // The one that most likely works (RFC 8445 section 5.1.4): the last kind's best.
            of_component.rev().max_by_key(|candidate| candidate.kind).map(|best| (component, best.address))
        });
        let defaults = defaults.collect();
        let done = self.session.outcome == Outcome::Completed && self.role == Role::Controlling;
        let chosen = self.selected.iter().flatten().filter(|_| done).map(|selected| &selected.info.remote);
        let remote_candidates = chosen.map(|remote| (remote.component, remote.address)).collect();
        Description {
            ufrag: self.session.ufrag.clone(),
            password: self.session.password.clone(),
            lite: false,
            candidates,
            complete: true,
            defaults,
            remote_candidates,
        }
    }

    /// The best local address of this kind, for a peer without ICE.
    pub fn local_address(&self, component: Component, kind: Kind) -> Option<SocketAddr> {
        let of_kind = self
            .locals
            .iter()
            .map(|local| &local.candidate)
            .filter(|candidate| candidate.component == component && candidate.kind == kind);
        of_kind.max_by_key(|candidate| candidate.priority).map(|candidate| candidate.address)
    }

    /// Readies media for the chosen pair: `payload` is its place in `buffer`, with
    /// [`HEADROOM`](crate::io::HEADROOM) bytes free before it and [`TAILROOM`](crate::io::TAILROOM) after it for the
    /// edge's header, written in place. `None` as long as no pair is chosen, and when the peer's consent is lost.
    #[inline]
    pub fn send(&mut self, component: Component, buffer: &mut [u8], payload: Range<usize>) -> Option<Outgoing> {
        let selected = self.selected[component.index()].as_ref().filter(|selected| selected.may_send())?;
        let remote = selected.remote;
        match selected.base {
            Base::Socket(socket) => Some(Outgoing { way: Way::Socket(socket), to: remote, frame: payload }),
            Base::Relay(id) => {
                let relay = self.relay_mut(id)?;
                let frame = relay.client.wrap(remote, buffer, payload)?;
                Some(Outgoing { way: relay.way, to: relay.client.server(), frame })
            }
        }
    }

    /// New credentials for an edge, before the former ones expire.
    pub fn set_edge_credentials(&mut self, now: Instant, edge: EdgeId, credentials: &ClientCredentials) {
        for known in self.edges.iter_mut().filter(|known| known.id == edge) {
            known.credentials = credentials.clone();
        }
        for relay in self.relays.iter_mut().filter(|relay| relay.edge.id == edge) {
            relay.edge.credentials = credentials.clone();
            relay.client.set_credentials(now, credentials.clone());
        }
        self.settle(now);
    }

    /// The call is over: allocations are given back. Go on polling until [`is_closed`](Self::is_closed).
    pub fn close(&mut self, now: Instant) {
        self.closing = true;
        self.gathering = None;
        self.selected = [const { None }; COMPONENTS_MAX];
        self.session = Session::new(&mut self.rng);
        self.former = None;
        for relay in &mut self.relays {
            relay.client.release(now);
        }
        self.settle(now);
    }

    /// Whether everything is given back.
    pub fn is_closed(&self) -> bool {
        self.closing && self.relays.is_empty()
    }

    /// Work for the shell, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether servers and edges are still waited for.
    pub fn is_gathering(&self) -> bool {
        self.gathering.is_some()
    }

    /// The pair that media of a component goes by.
    pub fn selected(&self, component: Component) -> Option<&PairInfo> {
        self.selected[component.index()].as_ref().map(|selected| &selected.info)
    }

    /// All that was tried, for the record of the call.
    pub fn story(&self) -> Story {
        let mut pairs: Vec<&crate::session::Pair> = self.session.pairs.iter().collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.priority(self.role)));
        let selected = |pair: &crate::session::Pair| {
            let chosen = &self.selected[pair.component.index()];
            chosen.as_ref().is_some_and(|chosen| chosen.base == pair.base && chosen.remote == pair.remote.address)
        };
        let tried = pairs.into_iter().map(|pair| PairTried {
            component: pair.component,
            local: pair.mapped.clone().unwrap_or_else(|| pair.local.clone()),
            remote: pair.remote.clone(),
            state: pair.state,
            checks_sent: pair.checks_sent,
            checks_received: pair.checks_received,
            selected: selected(pair),
        });
        let tried = tried.collect();
        let local = self.locals.iter().map(|local| local.candidate.clone()).collect();
        self.diary.tell(local, self.session.remotes.clone(), tried)
    }

    /// RTP, RTCP or DTLS: from the chosen pair as a rule, from another place that passed a check otherwise.
    #[inline]
    pub(crate) fn on_media(
        &mut self,
        now: Instant,
        base: Base,
        component: Component,
        from: SocketAddr,
        payload: Range<usize>,
    ) -> Input {
        if let Some(selected) = &mut self.selected[component.index()]
            && selected.base == base
            && selected.remote == from
        {
            selected.heard_at = now;
            if selected.look_at.is_none() {
                let look_at = now + QUIET_AFTER;
                selected.look_at = Some(look_at);
                self.deadline = self.deadline.into_iter().chain([look_at]).min();
            }
            return Input::Media { component, from, payload };
        }
        if self.sources.contains(&Source { base, from }) {
            // The peer may send by another pair than ours: its relay is not given back as long as it does.
            if let Base::Relay(id) = base
                && let Some(retires_at) = self.relay_mut(id).and_then(|relay| relay.retires_at.as_mut())
            {
                *retires_at = (*retires_at).max(now + RELEASE_GRACE);
            }
            return Input::Media { component, from, payload };
        }
        Input::Ignored(Ignored::UnknownSource)
    }

    pub(crate) fn component_of(&self, base: Base) -> Option<Component> {
        match base {
            Base::Socket(socket) => self.sockets.get(usize::from(socket.0)).map(|socket| socket.component),
            Base::Relay(id) => self.relay(id).map(|relay| relay.component),
        }
    }

    /// Sends a message of ours from a base; a relay without a permission for `to` sends nothing.
    pub(crate) fn send_from(&mut self, base: Base, to: SocketAddr, bytes: &[u8]) {
        match base {
            Base::Socket(socket) => self.transmit(Way::Socket(socket), to, bytes.to_vec()),
            Base::Relay(id) => {
                let Some(relay) = self.relay_mut(id) else { return };
                let mut buffer = vec![0; HEADROOM + bytes.len() + TAILROOM];
                let payload = HEADROOM..HEADROOM + bytes.len();
                buffer[payload.clone()].copy_from_slice(bytes);
                let Some(frame) = relay.client.wrap(to, &mut buffer, payload) else { return };
                let (way, server) = (relay.way, relay.client.server());
                buffer.truncate(frame.end);
                buffer.drain(..frame.start);
                self.transmit(way, server, buffer);
            }
        }
    }

    pub(crate) fn transmit(&mut self, way: Way, to: SocketAddr, bytes: Vec<u8>) {
        self.act(Action::Transmit(Transmit { way, to, bytes }));
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn event(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    pub(crate) fn draw_id(&mut self) -> TransactionId {
        let mut id = [0; 12];
        self.rng.fill_bytes(&mut id);
        TransactionId::new(id)
    }

    /// Media and nonsense change nothing that would have to be settled.
    #[inline]
    fn settle_after(&mut self, now: Instant, input: &Input) {
        match input {
            Input::Media { .. } | Input::Ignored(_) => {}
            Input::Consumed => self.settle(now),
        }
    }

    /// Draws all conclusions of what changed, and the next deadline.
    fn settle(&mut self, now: Instant) {
        self.drain_relays(now);
        self.run_gathering(now);
        // Gathering's end may have asked for permissions.
        self.drain_relays(now);
        self.complete_if_done(now);
        self.drain_relays(now);
        self.deadline = self.next_deadline(now);
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let relays = self.relays.iter().flat_map(|relay| [relay.client.next_timeout(), relay.retires_at]);
        let checks = self.session.checks.iter().map(|check| check.repeats.at()).min();
        let consent = self.selected.iter().flatten().map(Selected::next_timeout).min();
        let gathering = self.gathering.as_ref().map(Gathering::next_timeout);
        let rest = [
            checks,
            consent,
            gathering,
            self.session.next_check_at,
            self.nomination_at(),
            self.patience_at(now),
            self.forget_former_at,
        ];
        relays.chain(rest).flatten().min()
    }
}

/// Whether a payload claims to be STUN.
#[inline]
pub(crate) fn is_stun(bytes: &[u8]) -> bool {
    framer::classify_datagram(bytes) == Datagram::Stun
}

/// An IPv4 peer of a dual-stack socket is an IPv4 peer.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
