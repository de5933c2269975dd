//! How a call's media comes about: sockets, candidates, offer and answer, and a new way when one is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_ice::candidate::Component;
use postern_ice::io::{EdgeId, EdgeServer, LocalSocket, Role, Settings};
use postern_ice::limits::GATHER_TIMEOUT;
use postern_ice::sdp::Description;
use postern_mailbox::Input;
use postern_net::UdpSocket;
use postern_sip::StatusCode;
use postern_sip::offer_answer::{IceReview, OfferAnswer};
use postern_sip::offer_answer_capabilities::Local;
use postern_sip::offer_answer_media::{Media, Refusal};
use postern_sip::sdp::SessionDescription;
use postern_sip::sdp_media::Direction;
use postern_sip::user_agent_io::CallHandle;
use postern_telemetry::call_labels::RestartResult;
use postern_turn::client::EdgeFailure;
use tokio::sync::mpsc;

use crate::agreement;
use crate::call::{Arrival, Call, symmetric_of};
use crate::call_io::FromCall;
use crate::media::{Command, MediaEvent, Opening};
use crate::ports::PortPair;
use crate::shared::Shared;

/// How long a call waits for its candidates before it does without ICE. The agent tells what it has well before.
const GATHERING: Duration = GATHER_TIMEOUT.saturating_add(Duration::from_secs(1));

/// What the peer waits for until ICE has gathered again.
pub(crate) enum Owed {
    Answer(Box<SessionDescription>),
    /// A re-INVITE of ours.
    Reoffer,
}

/// What the edges have for a call.
#[derive(Default)]
struct Relays {
    servers: Vec<EdgeServer>,
    /// Why there is nothing, where an edge is to blame.
    failure: Option<EdgeFailure>,
}

impl Relays {
    async fn of(shared: &Shared, seat: &str) -> Self {
        if !shared.edges.is_configured() {
            return Self::default();
        }
        let servers = shared.edges.servers(seat).await;
        let failure = if servers.is_empty() { shared.edges.failure() } else { None };
        Self { servers, failure }
    }
}

/// What a call's media begins with.
pub(crate) struct Ground {
    pub(crate) address: std::net::IpAddr,
    pub(crate) with_ice: bool,
    /// RTCP may share RTP's port from the start.
    pub(crate) mux: bool,
}

/// Why a call is not taken.
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) warning: Option<String>,
    pub(crate) retry_after_secs: Option<u32>,
}

impl Refused {
    pub(crate) fn busy() -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, warning: None, retry_after_secs: Some(1) }
    }

    fn of(refusal: Refusal, host: std::net::IpAddr) -> Self {
        let warning = format!("{} {host} \"{refusal}\"", refusal.warning_code());
        Self { status: StatusCode::NOT_ACCEPTABLE_HERE, warning: Some(warning), retry_after_secs: None }
    }
}

impl Call {
    /// Makes everything ready for a call and answers it.
    pub(crate) async fn accept(
        shared: Arc<Shared>,
        arrival: Arrival,
        commands: mpsc::Sender<(CallHandle, FromCall)>,
    ) -> Result<Self, Refused> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| Refused::busy())?;
        let capabilities =
            agreement::capabilities(&shared.codecs, arrival.plan.security, arrival.over_tls, &shared.identity);
        let negotiation = OfferAnswer::new(capabilities, seed);
        let review = arrival.offer.as_ref().map(|offer| negotiation.review(offer));
        let wants_ipv6 = review.and_then(|review| review.wants_ipv6);
        let address = shared
            .address_for(arrival.local, wants_ipv6)
            .ok_or_else(|| Refused::of(Refusal::AddressFamily, arrival.local))?;
        let with_ice = match review {
            Some(review) => review.ice != IceReview::Absent,
            // Our own offer names relayed candidates where there are edges.
            None => shared.edges.is_configured(),
        };
        let mux = arrival
            .offer
            .as_ref()
            .is_some_and(|offer| offer.media.iter().find(|media| media.is_audio()).is_some_and(|media| media.rtcp_mux));
        let ground = Ground { address, with_ice, mux };
        let mut call = Self::open(shared, arrival, negotiation, ground, commands).await?;
        call.answer().await?;
        Ok(call)
    }

    /// Takes ports and a place on a media thread, and finds our candidates where ICE is wanted.
    pub(crate) async fn open(
        shared: Arc<Shared>,
        arrival: Arrival,
        negotiation: OfferAnswer,
        ground: Ground,
        commands: mpsc::Sender<(CallHandle, FromCall)>,
    ) -> Result<Self, Refused> {
        let Ground { address, with_ice, mux } = ground;
        let pair = shared.ports.lease(address).map_err(|_| Refused::busy())?;
        let sockets = [pair.rtp.local_addr(), pair.rtcp.local_addr()];
        let mut pairs = vec![pair];
        if with_ice && let Some(other) = shared.address_for(arrival.local, Some(address.is_ipv4())) {
            // ICE finds out by which family the peer is reached; without a second pair it is the first.
            pairs.extend(shared.ports.lease(other));
        }
        let (mut bound, mut leases) = (Vec::new(), Vec::new());
        for PortPair { rtp, rtcp, lease } in pairs {
            bound.extend([(Component::RTP, rtp), (Component::RTCP, rtcp)]);
            leases.push(lease);
        }
        let relays = if with_ice { Relays::of(&shared, &arrival.seat()).await } else { Relays::default() };
        let credentials = with_ice.then(|| shared.edges.credentials(&arrival.seat()));
        let settings = with_ice.then(|| ice_settings(&arrival, mux, &bound, relays.servers));
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| Refused::busy())?;
        let opening = Opening { sockets: bound, leases, ice: settings, seed };
        let (media, events) = shared.media.open(opening).map_err(|_| Refused::busy())?;
        let mut call = Self::new(shared, arrival, negotiation, media, events, commands, sockets);
        call.credentials = credentials;
        call.end.edge_failure = relays.failure;
        if with_ice {
            call.gather().await;
        }
        Ok(call)
    }

    /// Waits for our candidates.
    async fn gather(&mut self) {
        let given_up = tokio::time::Instant::now() + GATHERING;
        while let Ok(Some(event)) = tokio::time::timeout_at(given_up, self.events.recv()).await {
            match event {
                MediaEvent::Gathered(description) => {
                    self.description = Some(*description);
                    return;
                }
                MediaEvent::EdgeFailed { edge, why, .. } => self.on_edge_failed(edge, why),
                _ => {}
            }
        }
    }

    fn on_edge_failed(&mut self, edge: EdgeId, why: EdgeFailure) {
        self.end.edge_failure = Some(why);
        self.shared.edges.note(edge, why);
    }

    /// Answers the INVITE: with our answer, or with our offer.
    async fn answer(&mut self) -> Result<(), Refused> {
        // An offer of ours may be answered without ICE: then a relay is given back, and the host address remains.
        let local = self.local(Direction::SendRecv, self.arrival.offer.is_some());
        let text = match self.arrival.offer.take() {
            Some(offer) => {
                let refused = |refusal| Refused::of(refusal, self.arrival.local);
                let (media, text) = self.negotiation.answer(&offer, &local).map_err(refused)?;
                self.agree(&media).map_err(|()| Refused::of(Refusal::NoKeying, self.arrival.local))?;
                text
            }
            None => {
                self.waits_for_answer = true;
                self.negotiation.offer(&local)
            }
        };
        self.end.answered_at = Some(Instant::now());
        self.say(FromCall::Answer(text)).await;
        Ok(())
    }

    /// Our addresses, candidates and will for an offer or answer.
    /// Whoever has no ICE reads the default candidate alone, which is a relayed one only with `names_relay`.
    pub(crate) fn local(&self, direction: Direction, names_relay: bool) -> Local {
        let default = |component: Component, socket: SocketAddr| {
            let description = self.description.as_ref().filter(|_| names_relay);
            description.and_then(|description| description.default_of(component)).unwrap_or(socket)
        };
        Local {
            rtp: default(Component::RTP, self.sockets[0]),
            rtcp: default(Component::RTCP, self.sockets[1]),
            ice: self.description.as_ref().map(agreement::local_ice),
            direction,
        }
    }

    /// Tells media and ICE what was agreed on.
    fn agree(&mut self, media: &Media) -> Result<(), ()> {
        let symmetric = symmetric_of(&self.arrival);
        let session = agreement::session(media, &self.shared.identity, symmetric, self.session.as_ref());
        let session = session.map_err(|_| ())?;
        // The stream keeps the rate that it began with, also when the codec changes.
        let rate_hz = *self.rate_hz.get_or_insert(session.codec.rate());
        let options = self.shared.stream_options(rate_hz).map_err(|_| ())?;
        match &media.ice {
            Some(ice) => self.ask(Command::Remote(Box::new(agreement::remote_ice(ice, media)))),
            None => {
                self.description = None;
                self.credentials = None;
                self.ask(Command::DropIce);
            }
        }
        self.ask(Command::Agree(Box::new(options), Box::new(session.clone())));
        self.session = Some(session);
        Ok(())
    }

    /// The answer to an offer of ours.
    pub(crate) async fn on_answer(&mut self, answer: &SessionDescription) {
        let first = std::mem::take(&mut self.waits_for_answer);
        let agreed = self.negotiation.on_answer(answer).map_err(|_| ()).and_then(|media| {
            self.agree(&media)?;
            Ok(media.is_on_hold())
        });
        match agreed {
            Ok(held) => self.on_hold(held).await,
            // RFC 3261 section 13.2.2.4: acknowledge, then hang up.
            Err(()) if first => self.input(Input::MediaLost).await,
            Err(()) => {}
        }
    }

    /// The peer offers again.
    pub(crate) async fn on_offer(&mut self, offer: SessionDescription) {
        if self.negotiation.review(&offer).ice == IceReview::Restarts {
            let edges = self.edges().await;
            self.ask(Command::RestartIce(edges));
            self.owed = Some(Owed::Answer(Box::new(offer)));
            return;
        }
        self.answer_offer(&offer).await;
    }

    async fn answer_offer(&mut self, offer: &SessionDescription) {
        let local = self.local(Direction::SendRecv, self.negotiation.review(offer).ice != IceReview::Absent);
        let agreed = self.negotiation.answer(offer, &local);
        let held = match agreed {
            Ok((media, text)) if self.agree(&media).is_ok() => {
                self.say(FromCall::AnswerOffer(text)).await;
                media.is_on_hold()
            }
            _ => return self.say(FromCall::RefuseOffer).await,
        };
        self.on_hold(held).await;
    }

    /// The peer wants our offer.
    pub(crate) async fn on_offer_wanted(&mut self) {
        let text = self.negotiation.offer(&self.local(Direction::SendRecv, true));
        self.say(FromCall::AnswerOffer(text)).await;
    }

    pub(crate) fn on_offer_refused(&mut self) {
        self.negotiation.on_offer_failed();
    }

    /// Offers what we have.
    pub(crate) async fn reoffer(&mut self) {
        let text = self.negotiation.offer(&self.local(Direction::SendRecv, true));
        self.say(FromCall::Reoffer(text)).await;
    }

    async fn edges(&mut self) -> Vec<EdgeServer> {
        let relays = Relays::of(&self.shared, &self.arrival.seat()).await;
        // A receiver that is there may hold some that the relays need.
        self.credentials.get_or_insert_with(|| self.shared.edges.credentials(&self.arrival.seat()));
        self.end.edge_failure = relays.failure.or(self.end.edge_failure);
        if let Some(failure) = relays.failure {
            self.note(&format!("no relay to be had: {failure}"));
        }
        relays.servers
    }

    /// What ICE tells.
    pub(crate) async fn on_ice(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Gathered(description) => self.on_gathered(*description).await,
            MediaEvent::IceCompleted => {
                if self.recovery.is_under_way() {
                    self.shared.meters.restarted(RestartResult::Restored);
                    self.note("media has another way");
                    (self.end.restart_failed, self.end.edge_died) = (false, false);
                }
                self.recovery.end();
            }
            MediaEvent::PairSelected(component, pair) => {
                if let Some(edge) = pair.edge {
                    self.shared.edges.note_ok(edge);
                }
                if component == Component::RTP {
                    let (local, remote) = (&pair.local, &pair.remote);
                    self.note(&format!(
                        "RTP goes by {} {} and {} {}",
                        local.kind.name(),
                        local.address,
                        remote.kind.name(),
                        remote.address
                    ));
                    (self.end.way, self.end.edge) = (pair.local.kind, pair.edge);
                }
            }
            MediaEvent::RemoteChanged(_) => {}
            // Its relay lives on until the former ones expire.
            MediaEvent::CredentialsRefused(_) => self.note("the edge refuses renewed credentials"),
            MediaEvent::IceFailed { keeps_former } => {
                self.end.restart_failed = self.recovery.is_under_way();
                if !keeps_former && !self.recovery.is_under_way() {
                    self.input(Input::MediaLost).await;
                }
            }
            MediaEvent::ConsentLost { ever_answered: true } => self.look_for_another_way().await,
            MediaEvent::ConsentLost { ever_answered: false } => {}
            MediaEvent::PairQuiet => self.look_for_another_way().await,
            MediaEvent::EdgeFailed { edge, why, in_use } => {
                self.on_edge_failed(edge, why);
                if in_use {
                    self.end.edge_died = true;
                    self.look_for_another_way().await;
                }
            }
            _ => {}
        }
    }

    /// Restarts ICE through the edges that live.
    async fn look_for_another_way(&mut self) {
        if !self.recovery.begin(Instant::now()) {
            return;
        }
        self.note("the way of media is lost; ICE restarts");
        let edges = self.edges().await;
        self.ask(Command::RestartIce(edges));
        self.owed = Some(Owed::Reoffer);
    }

    async fn on_gathered(&mut self, description: Description) {
        self.description = Some(description);
        match self.owed.take() {
            Some(Owed::Answer(offer)) => self.answer_offer(&offer).await,
            Some(Owed::Reoffer) => self.reoffer().await,
            None => {}
        }
    }
}

fn ice_settings(arrival: &Arrival, mux: bool, sockets: &[(Component, UdpSocket)], edges: Vec<EdgeServer>) -> Settings {
    let local = |(component, socket): &(Component, UdpSocket)| LocalSocket {
        component: *component,
        address: socket.local_addr(),
    };
    Settings {
        // RFC 8445 section 6.1.1: the offerer controls.
        role: if arrival.offer.is_some() { Role::Controlled } else { Role::Controlling },
        mux,
        sockets: sockets.iter().map(local).collect(),
        stun_servers: Vec::new(),
        edges,
        relay_only: false,
    }
}
