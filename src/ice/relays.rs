//! Relayed candidates: one client of an edge for each component, over a host socket or a connection of its own.

use std::net::SocketAddr;
use std::time::Instant;

use postern_turn::client::{Allocated, ClientEvent, ClientSettings, EdgeFailure, Failure, TurnClient};
use postern_turn::io::PortWish;
use rand_chacha::rand_core::Rng;

use crate::agent::Agent;
use crate::candidate::{Component, Kind};
use crate::io::{Action, EdgeId, EdgeServer, Event, Ignored, Input, SocketId, StreamId, Transport, Way};
use crate::limits::{EDGE_SILENCE, RELAYS_MAX};
use crate::session::Base;
use crate::story::{Happening, PairFailure};

/// Names a relay for as long as the agent lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RelayId(pub(crate) u32);

/// An allocation, or the way to one.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) id: RelayId,
    pub(crate) edge: EdgeServer,
    /// Place of the edge in the order of preference.
    pub(crate) rank: u16,
    pub(crate) component: Component,
    pub(crate) way: Way,
    pub(crate) port: PortWish,
    pub(crate) client: TurnClient,
    /// Given back at this moment.
    pub(crate) retires_at: Option<Instant>,
    /// Its edge was too slow: nobody waits for it, and what it still gets is given back.
    pub(crate) abandoned: bool,
}

impl Relay {
    /// Whether it has an allocation, or may get one.
    fn is_usable(&self) -> bool {
        !self.client.is_ended() && !self.abandoned
    }

    /// Whether gathering waits for it.
    pub(crate) fn is_pending(&self) -> bool {
        self.client.allocated().is_none() && self.is_usable()
    }
}

impl Agent {
    /// Asks every edge that has no allocation of ours yet.
    pub(crate) fn start_relays(&mut self, now: Instant) {
        for (rank, edge) in self.edges.clone().into_iter().enumerate() {
            let living = self.relays.iter_mut().filter(|relay| is_same(&relay.edge, &edge) && relay.is_usable());
            let mut has_one = false;
            for relay in living {
                relay.retires_at = None;
                has_one = true;
            }
            if !has_one {
                let port = if self.mux { PortWish::Any } else { PortWish::Even { reserve: true } };
                self.start_relay(now, edge, rank as u16, Component::RTP, port);
            }
        }
    }

    fn start_relay(&mut self, now: Instant, edge: EdgeServer, rank: u16, component: Component, port: PortWish) {
        if self.relays.len() >= RELAYS_MAX {
            return;
        }
        let way = match edge.transport {
            Transport::Udp | Transport::Dtls => match self.socket_for(component, edge.server) {
                Some(socket) => Way::Socket(socket),
                // No socket of that family: this edge is none for us.
                None => return,
            },
            Transport::Tcp | Transport::Tls => Way::Stream(self.connect(&edge, edge.server)),
        };
        let settings = ClientSettings {
            port,
            family: edge.family,
            ..ClientSettings::new(edge.server, edge.transport, edge.credentials.clone())
        };
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut client = TurnClient::new(settings, seed);
        if matches!(way, Way::Socket(_)) {
            client.start(now);
        }
        self.last_relay += 1;
        let id = RelayId(self.last_relay);
        self.relays.push(Relay { id, edge, rank, component, way, port, client, retires_at: None, abandoned: false });
    }

    fn connect(&mut self, edge: &EdgeServer, server: SocketAddr) -> StreamId {
        self.last_stream += 1;
        let stream = StreamId(self.last_stream);
        self.act(Action::Connect { stream, edge: edge.id, server, transport: edge.transport });
        stream
    }

    /// The socket of a component by which an address of this family is reached.
    pub(crate) fn socket_for(&self, component: Component, to: SocketAddr) -> Option<SocketId> {
        let fits =
            |socket: &crate::io::LocalSocket| socket.component == component && socket.address.is_ipv4() == to.is_ipv4();
        self.sockets.iter().position(fits).map(|at| SocketId(at as u8))
    }

    pub(crate) fn relay(&self, id: RelayId) -> Option<&Relay> {
        self.relays.iter().find(|relay| relay.id == id)
    }

    pub(crate) fn relay_mut(&mut self, id: RelayId) -> Option<&mut Relay> {
        self.relays.iter_mut().find(|relay| relay.id == id)
    }

    /// The relay whose server sent these bytes.
    #[inline]
    pub(crate) fn relay_behind(&self, way: Way, from: SocketAddr) -> Option<usize> {
        self.relays
            .iter()
            .position(|relay| relay.way == way && (matches!(way, Way::Stream(_)) || relay.client.server() == from))
    }

    /// Carries out what the clients want sent, and takes what they tell.
    pub(crate) fn drain_relays(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(relay) = self.relays.get_mut(at) {
            let (id, way, to) = (relay.id, relay.way, relay.client.server());
            if let Some(bytes) = relay.client.poll_transmit() {
                self.transmit(way, to, bytes);
            } else if let Some(event) = relay.client.poll_event() {
                self.on_relay_event(now, id, event);
                // The table may be another now; whoever was drained has nothing more to say.
                at = 0;
            } else {
                at += 1;
            }
        }
    }

    fn on_relay_event(&mut self, now: Instant, id: RelayId, event: ClientEvent) {
        match event {
            ClientEvent::Allocated(allocated) => self.on_allocated(now, id, allocated),
            ClientEvent::Redirected { server } => self.on_redirected(id, server),
            ClientEvent::Permitted(_) => self.kick(now),
            ClientEvent::PermissionRefused { peer, .. } => {
                self.fail_pairs(now, PairFailure::Forbidden, |pair| {
                    pair.base == Base::Relay(id) && pair.remote.address.ip() == peer
                });
            }
            ClientEvent::CredentialsRefused(code) => {
                if let Some(edge) = self.relay(id).map(|relay| relay.edge.id) {
                    self.event(Event::EdgeCredentialsRefused { edge, code });
                }
            }
            ClientEvent::Released => self.remove_relay(now, id),
            ClientEvent::Failed(failure) => self.on_relay_failed(now, id, failure),
            // Data goes by indications as long as there is no channel; an ICMP error says less than checks do.
            ClientEvent::ChannelBound { .. }
            | ClientEvent::ChannelRefused { .. }
            | ClientEvent::CredentialsTaken
            | ClientEvent::PeerUnreachable { .. } => {}
        }
    }

    fn on_allocated(&mut self, now: Instant, id: RelayId, allocated: Allocated) {
        let Some(relay) = self.relay(id) else { return };
        let (edge, rank, component, way) = (relay.edge.clone(), relay.rank, relay.component, relay.way);
        self.add_relayed(now, id, &allocated);
        if let (Way::Socket(socket), Some(mapped)) = (way, allocated.mapped) {
            self.add_reflexive(socket, edge.server, mapped);
        }
        if component == Component::RTP && !self.mux {
            let port = allocated.reservation.map_or(PortWish::Any, PortWish::Reserved);
            self.start_relay(now, edge, rank, Component::RTCP, port);
        }
        self.hurry(now);
    }

    fn on_redirected(&mut self, id: RelayId, server: SocketAddr) {
        let Some(relay) = self.relay(id) else { return };
        let (Way::Stream(former), edge) = (relay.way, relay.edge.clone()) else { return };
        self.act(Action::Close { stream: former });
        let stream = self.connect(&edge, server);
        if let Some(relay) = self.relay_mut(id) {
            relay.way = Way::Stream(stream);
        }
    }

    fn on_relay_failed(&mut self, now: Instant, id: RelayId, failure: Failure) {
        let Some(relay) = self.relay(id) else { return };
        let (edge, rank, component, port) = (relay.edge.clone(), relay.rank, relay.component, relay.port);
        let (in_use, abandoned) = (self.is_in_use(Base::Relay(id)), relay.abandoned);
        self.remove_relay(now, id);
        if abandoned {
            return;
        }
        // A port of any kind is better than none: ICE tells both addresses anyway.
        let port_is_why = matches!(failure, Failure::Capacity | Failure::Refused(_));
        if port != PortWish::Any && port_is_why && self.gathering.is_some() {
            return self.start_relay(now, edge, rank, component, PortWish::Any);
        }
        self.tell_edge_failure(now, edge.id, component, failure, in_use);
    }

    pub(crate) fn tell_edge_failure(
        &mut self,
        now: Instant,
        edge: EdgeId,
        component: Component,
        detail: Failure,
        in_use: bool,
    ) {
        let why = detail.edge();
        self.note_edge_failure(now, edge, why);
        self.event(Event::EdgeFailed { edge, component, why, detail, in_use });
    }

    /// Puts a failure into the story that the shell knows of: no token was to be had for this edge, or the edge was not
    /// even asked because it is known to be down.
    pub fn note_edge_failure(&mut self, now: Instant, edge: EdgeId, why: EdgeFailure) {
        self.diary.note(now, Happening::EdgeFailed { edge, why });
    }

    /// Whether an edge has given a relay for each component.
    pub(crate) fn has_relays(&self) -> bool {
        let given = |component: Component| {
            let of_component = move |relay: &&Relay| relay.component == component && relay.is_usable();
            self.relays.iter().filter(of_component).filter(|relay| relay.client.allocated().is_some())
        };
        given(Component::RTP).any(|rtp| self.mux || given(Component::RTCP).any(|rtcp| is_same(&rtp.edge, &rtcp.edge)))
    }

    /// Waits no more for who has not answered; whoever had all the time counts as down.
    pub(crate) fn give_up_pending(&mut self, now: Instant, had_time: bool) {
        while let Some(relay) = self.relays.iter_mut().find(|relay| relay.is_pending()) {
            let (edge, component) = (relay.edge.id, relay.component);
            relay.abandoned = true;
            relay.client.release(now);
            if had_time {
                self.tell_edge_failure(now, edge, component, Failure::NoAnswer, false);
            }
        }
    }

    /// Forgets a relay with its candidates and pairs.
    fn remove_relay(&mut self, now: Instant, id: RelayId) {
        let Some(at) = self.relays.iter().position(|relay| relay.id == id) else { return };
        let relay = self.relays.remove(at);
        if let Way::Stream(stream) = relay.way {
            self.act(Action::Close { stream });
        }
        self.locals.retain(|local| local.base != Base::Relay(id));
        self.sources.retain(|source| source.base != Base::Relay(id));
        self.fail_pairs(now, PairFailure::RelayLost, |pair| pair.base == Base::Relay(id));
    }

    /// Watches the edges that media goes through, one relay of each, and no others.
    pub(crate) fn watch_relays(&mut self, now: Instant) {
        let mut watched: Vec<(EdgeId, Transport)> = Vec::new();
        let in_use: Vec<RelayId> = self.selected.iter().flatten().filter_map(|selected| selected.relay()).collect();
        for relay in &mut self.relays {
            let key = (relay.edge.id, relay.edge.transport);
            let wanted = in_use.contains(&relay.id) && !watched.contains(&key);
            if wanted {
                watched.push(key);
            }
            if wanted != relay.client.is_watching() {
                relay.client.watch(now, wanted.then_some(EDGE_SILENCE));
            }
        }
    }

    /// Gives back what no selected pair needs, after a while.
    pub(crate) fn retire_relays(&mut self, at: Instant) {
        let in_use: Vec<RelayId> = self.selected.iter().flatten().filter_map(|selected| selected.relay()).collect();
        for relay in self.relays.iter_mut().filter(|relay| !in_use.contains(&relay.id)) {
            relay.retires_at = relay.retires_at.or(Some(at));
        }
    }

    pub(crate) fn run_relays(&mut self, now: Instant) {
        for relay in &mut self.relays {
            if relay.client.next_timeout().is_some_and(|at| at <= now) {
                relay.client.handle_timeout(now);
            }
            if relay.retires_at.is_some_and(|at| at <= now) {
                relay.retires_at = None;
                relay.client.release(now);
            }
        }
    }

    /// What an edge's client made of bytes.
    pub(crate) fn on_relay_input(
        &mut self,
        now: Instant,
        at: usize,
        bytes: &[u8],
        input: postern_turn::client::ClientInput,
    ) -> Input {
        use postern_turn::client::ClientInput;
        let (id, component) = (self.relays[at].id, self.relays[at].component);
        match input {
            ClientInput::Data { peer, payload } => match bytes.get(payload.clone()) {
                Some(inner) if crate::agent::is_stun(inner) => self.on_stun(now, Base::Relay(id), peer, inner),
                Some(_) => self.on_media(now, Base::Relay(id), component, peer, payload),
                None => Input::Ignored(Ignored::NotForUs),
            },
            ClientInput::Consumed => Input::Consumed,
            ClientInput::Ignored => Input::Ignored(Ignored::NotForUs),
        }
    }

    /// Kinds of local candidates at hand.
    pub(crate) fn count_locals(&self, kind: Kind) -> usize {
        self.locals.iter().filter(|local| local.candidate.kind == kind).count()
    }
}

/// Whether an allocation at one will do for the other.
fn is_same(one: &EdgeServer, other: &EdgeServer) -> bool {
    (one.id, one.server, one.transport, one.family) == (other.id, other.server, other.transport, other.family)
}
