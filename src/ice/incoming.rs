//! The peer's checks (RFC 8445 section 7.3): who is believed, what is answered, and what is learned.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_turn::error_code::ErrorCode;
use postern_turn::message::{Class, Message, Method};
use rand_chacha::rand_core::Rng;

use crate::agent::Agent;
use crate::candidate::{Candidate, Component, Kind};
use crate::io::{Event, Ignored, Input, Role};
use crate::limits::{DEAD_ENDS_MAX, EARLY_CHECKS_MAX, PEER_REFLEXIVE_MAX, REFUSALS_PER_SEC_MAX, SOURCES_MAX};
use crate::session::{Base, EarlyCheck, Pair};
use crate::story::{Happening, PairFailure, PairState};
use crate::stun::{self, Claims};

/// From where media is taken: an authentic check came from there, or was answered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) base: Base,
    pub(crate) from: SocketAddr,
}

/// How many strangers were told why they are refused within this second.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    second: Option<Instant>,
    told: u32,
}

impl Refusals {
    fn may_tell(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now >= second + Duration::from_secs(1)) {
            *self = Self { second: Some(now), told: 0 };
        }
        self.told += 1;
        self.told <= REFUSALS_PER_SEC_MAX
    }
}

impl Agent {
    /// A STUN message that came in at a base, not from a server of ours.
    pub(crate) fn on_stun(&mut self, now: Instant, base: Base, from: SocketAddr, bytes: &[u8]) -> Input {
        let Ok(message) = Message::decode(bytes) else { return Input::Ignored(Ignored::NotForUs) };
        // RFC 8445 section 7: checks carry FINGERPRINT.
        if message.method() != Method::Binding || !message.has_fingerprint() {
            return Input::Ignored(Ignored::NotForUs);
        }
        match message.class() {
            Class::Request => self.on_check(now, base, from, &message),
            Class::Success | Class::Error => self.on_check_answer(now, base, from, &message),
            // A keepalive (RFC 8445 section 11).
            Class::Indication => Input::Consumed,
        }
    }

    fn on_check(&mut self, now: Instant, base: Base, from: SocketAddr, request: &Message<'_>) -> Input {
        if self.relay_only && matches!(base, Base::Socket(_)) {
            return Input::Ignored(Ignored::NotForUs);
        }
        let id = request.transaction_id();
        let username = stun::username(request);
        let (Some(username), Some(_)) = (username, request.integrity()) else {
            return self.refuse(now, base, from, request, ErrorCode::BAD_REQUEST);
        };
        let is_present = self.session.is_named(username);
        let session = if is_present { Some(&self.session) } else { self.former.as_ref() };
        let named = session.filter(|session| session.is_named(username));
        let Some(key) = named.filter(|session| stun::is_authentic(request, &session.key)).map(|it| it.key.clone())
        else {
            return self.refuse(now, base, from, request, ErrorCode::UNAUTHENTICATED);
        };
        let unknown = stun::unknown_attributes(request);
        if !unknown.is_empty() {
            self.send_from(base, from, &stun::error(id, ErrorCode::UNKNOWN_ATTRIBUTE, &unknown, Some(&key)));
            return Input::Consumed;
        }
        let Some(claims) = Claims::of(request) else {
            self.send_from(base, from, &stun::error(id, ErrorCode::BAD_REQUEST, &[], Some(&key)));
            return Input::Consumed;
        };
        if is_present && !self.settle_roles(now, &claims) {
            self.send_from(base, from, &stun::error(id, ErrorCode::ROLE_CONFLICT, &[], Some(&key)));
            return Input::Consumed;
        }
        self.send_from(base, from, &stun::success(id, from, &key));
        self.trust(base, from);
        if !is_present {
            return Input::Consumed;
        }
        if self.session.remote.is_some() {
            self.on_authentic_check(now, EarlyCheck { base, from, claims });
            return Input::Consumed;
        }
        self.keep_early(EarlyCheck { base, from, claims })
    }

    /// A check before the description: one of each way is kept.
    fn keep_early(&mut self, check: EarlyCheck) -> Input {
        let early = &mut self.session.early;
        if let Some(known) = early.iter_mut().find(|known| known.base == check.base && known.from == check.from) {
            known.claims.use_candidate |= check.claims.use_candidate;
            return Input::Consumed;
        }
        if early.len() >= EARLY_CHECKS_MAX {
            return Input::Ignored(Ignored::TooMany);
        }
        early.push(check);
        Input::Consumed
    }

    /// What a check teaches, once it is answered (RFC 8445 sections 7.3.1.3 to 7.3.1.5).
    pub(crate) fn on_authentic_check(&mut self, now: Instant, check: EarlyCheck) {
        let EarlyCheck { base, from, claims } = check;
        let Some(component) = self.component_of(base) else { return };
        let Some(at) = self.pair_for(now, component, base, from, claims.priority) else { return };
        let decided = self.session.chosen[component.index()].is_some();
        let pair = &mut self.session.pairs[at];
        pair.checks_received = pair.checks_received.saturating_add(1);
        let nominates = claims.use_candidate && self.role == Role::Controlled;
        match pair.state {
            PairState::Succeeded if nominates => self.choose(now, at),
            PairState::Succeeded => {}
            // Once a pair is chosen only a nomination opens another.
            _ if decided && !nominates => {}
            _ => {
                pair.nominated_early |= nominates;
                self.trigger(now, at);
            }
        }
    }

    /// The pair that a check belongs to, made when there is none.
    fn pair_for(
        &mut self,
        now: Instant,
        component: Component,
        base: Base,
        from: SocketAddr,
        priority: u32,
    ) -> Option<usize> {
        if let Some(at) = self.session.pair_at(base, from) {
            return Some(at);
        }
        let local = self
            .locals
            .iter()
            .find(|local| local.base == base && matches!(local.candidate.kind, Kind::Host | Kind::Relayed))?;
        let local = local.candidate.clone();
        let remote = self.remote_at(base, component, from, priority)?;
        self.add_pair(now, Pair::new(base, local, remote))
    }

    /// The remote candidate with this address, learned when it is not known (RFC 8445 section 7.3.1.3).
    fn remote_at(&mut self, base: Base, component: Component, from: SocketAddr, priority: u32) -> Option<Candidate> {
        let remotes = &self.session.remotes;
        let known = remotes.iter().find(|known| known.component == component && known.address == from);
        if let Some(known) = known {
            return Some(known.clone());
        }
        if self.session.learned >= PEER_REFLEXIVE_MAX || self.leads_nowhere(base, from) {
            return None;
        }
        self.session.learned += 1;
        // Unlike every other: no check of it says anything of another pair.
        let foundation = format!("learned{}", self.rng.next_u32());
        let learned =
            Candidate { foundation, component, priority, address: from, kind: Kind::PeerReflexive, related: None };
        self.session.remotes.push(learned.clone());
        Some(learned)
    }

    /// Two translators that give each packet another port keep teaching each other addresses whose answers come from
    /// elsewhere: a few of those are enough.
    fn leads_nowhere(&self, base: Base, from: SocketAddr) -> bool {
        let asymmetric = PairState::Failed(PairFailure::Asymmetric);
        let dead_ends = self
            .session
            .pairs
            .iter()
            .filter(|pair| pair.base == base && pair.remote.address.ip() == from.ip() && pair.state == asymmetric);
        dead_ends.count() >= DEAD_ENDS_MAX
    }

    /// Who decides (RFC 8445 section 7.3.1.1); false when the peer has to give in.
    fn settle_roles(&mut self, now: Instant, claims: &Claims) -> bool {
        let Some((role, theirs)) = claims.role.filter(|(role, _)| *role == self.role) else { return true };
        // The larger tie-breaker is controlling.
        let stays = match role {
            Role::Controlling => self.tie_breaker >= theirs,
            Role::Controlled => self.tie_breaker < theirs,
        };
        if !stays {
            self.switch_role(now);
        }
        !stays
    }

    pub(crate) fn switch_role(&mut self, now: Instant) {
        self.role = self.role.other();
        self.diary.note(now, Happening::RoleSwitched(self.role));
        self.event(Event::RoleSwitched(self.role));
        self.nominate_if_time(now);
    }

    /// Media is taken from here on from where this came; the oldest such place is forgotten when there are many.
    pub(crate) fn trust(&mut self, base: Base, from: SocketAddr) {
        let source = Source { base, from };
        if self.sources.contains(&source) {
            return;
        }
        if self.sources.len() >= SOURCES_MAX {
            self.sources.remove(0);
        }
        self.sources.push(source);
    }

    fn refuse(&mut self, now: Instant, base: Base, from: SocketAddr, request: &Message<'_>, code: ErrorCode) -> Input {
        if !self.refusals.may_tell(now) {
            return Input::Ignored(Ignored::TooMany);
        }
        self.send_from(base, from, &stun::error(request.transaction_id(), code, &[], None));
        Input::Ignored(Ignored::Unauthentic)
    }
}
