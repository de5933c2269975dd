//! Sending connectivity checks and taking their answers (RFC 8445 sections 6.1.4 and 7.2).

use std::net::SocketAddr;
use std::time::Instant;

use postern_turn::client::{Due, Repeats};
use postern_turn::error_code::ErrorCode;
use postern_turn::message::{Class, Message};
use rand_chacha::rand_core::Rng;

use crate::agent::Agent;
use crate::candidate::{Candidate, Kind, priority};
use crate::io::{Ignored, Input, Role};
use crate::limits::{
    CHECK_LAST_WAIT, CHECK_RTO_MIN, CHECK_SENDS_MAX, PAIRS_MAX, TA, TRIGGERED_IN_A_ROW_MAX, TRIGGERED_MAX,
};
use crate::session::{Base, OpenCheck, Outcome};
use crate::story::{PairFailure, PairState};
use crate::stun;

/// Checks that wait for answers; cancelled ones go first when there are more.
const CHECKS_MAX: usize = 2 * PAIRS_MAX;

impl Agent {
    /// Checks can begin: both descriptions are there.
    pub(crate) fn begin_checks(&mut self, now: Instant) {
        if self.session.remote.is_none() || self.gathering.is_some() {
            return;
        }
        self.session.began_at = self.session.began_at.or(Some(now));
        self.form_pairs(now);
    }

    /// There may be something to check: the pace begins anew unless it goes on.
    pub(crate) fn kick(&mut self, now: Instant) {
        if self.session.began_at.is_some() && self.session.next_check_at.is_none() {
            let paced = self.session.last_check_at.map_or(now, |last| last + TA);
            self.session.next_check_at = Some(paced.max(now));
        }
    }

    pub(crate) fn run_checks(&mut self, now: Instant) {
        self.repeat_checks(now);
        if self.session.next_check_at.is_none_or(|at| at > now) {
            return;
        }
        self.session.next_check_at = None;
        // Triggered checks first, but not so that a peer could keep us from ordinary ones.
        let fair = self.session.triggered_in_a_row < TRIGGERED_IN_A_ROW_MAX;
        let triggered = if fair { self.next_triggered() } else { None };
        self.session.triggered_in_a_row = if triggered.is_some() { self.session.triggered_in_a_row + 1 } else { 0 };
        let next = triggered.or_else(|| self.next_ordinary()).or_else(|| self.next_triggered());
        if let Some(at) = next {
            self.send_check(now, at, false);
            self.session.next_check_at = Some(now + TA);
        }
    }

    fn next_triggered(&mut self) -> Option<usize> {
        let ready = |at: &usize| self.is_ready(&self.session.pairs[*at]);
        let place = self.session.triggered.iter().position(ready)?;
        self.session.triggered.remove(place)
    }

    /// A check of this pair has precedence over the ordinary ones (RFC 8445 section 6.1.4.1).
    pub(crate) fn trigger(&mut self, now: Instant, at: usize) {
        let session = &mut self.session;
        for check in session.checks.iter_mut().filter(|check| check.pair == at) {
            check.cancelled = true;
        }
        session.pairs[at].state = PairState::Waiting;
        if !session.triggered.contains(&at) && session.triggered.len() < TRIGGERED_MAX {
            session.triggered.push_back(at);
        }
        self.kick(now);
    }

    /// Sends a check on this pair now.
    pub(crate) fn send_check(&mut self, now: Instant, at: usize, use_candidate: bool) {
        let id = self.draw_id();
        let Some(remote) = &self.session.remote else { return };
        let session = &self.session;
        let pair = &session.pairs[at];
        let (base, to) = (pair.base, pair.remote.address);
        let bytes = stun::Check {
            id,
            username: &session.username(),
            key: &remote.key,
            priority: reflexive_priority(&pair.local),
            role: self.role,
            tie_breaker: self.tie_breaker,
            use_candidate,
        }
        .encode();
        let busy = session.pairs.iter().filter(|pair| matches!(pair.state, PairState::Waiting | PairState::InProgress));
        // RFC 8445 section 14.3.
        let rto = CHECK_RTO_MIN.max(TA * busy.count() as u32);
        let repeats = Repeats::with(now, rto, CHECK_SENDS_MAX, CHECK_LAST_WAIT);
        self.send_from(base, to, &bytes);
        let session = &mut self.session;
        if session.checks.len() >= CHECKS_MAX {
            let oldest = session.checks.iter().position(|check| check.cancelled).unwrap_or(0);
            session.checks.remove(oldest);
        }
        session.checks.push(OpenCheck {
            id,
            pair: at,
            bytes,
            repeats,
            use_candidate,
            cancelled: false,
            refused: false,
        });
        session.last_check_at = Some(now);
        let pair = &mut session.pairs[at];
        pair.checks_sent += 1;
        if pair.state != PairState::Succeeded {
            pair.state = PairState::InProgress;
        }
    }

    fn repeat_checks(&mut self, now: Instant) {
        let mut repeated = Vec::new();
        let mut given_up = Vec::new();
        self.session.checks.retain_mut(|check| match check.repeats.due(now) {
            Due::Nothing => true,
            Due::Repeat => {
                if !check.cancelled {
                    repeated.push((check.pair, check.bytes.clone()));
                }
                true
            }
            Due::GiveUp => {
                if !check.cancelled {
                    given_up.push((check.pair, check.refused));
                }
                false
            }
        });
        for (at, bytes) in repeated {
            let pair = &mut self.session.pairs[at];
            pair.checks_sent += 1;
            let (base, to) = (pair.base, pair.remote.address);
            self.send_from(base, to, &bytes);
        }
        for (at, refused) in given_up {
            let why = if refused { PairFailure::Refused } else { PairFailure::NoAnswer };
            self.session.pairs[at].state = PairState::Failed(why);
            self.kick(now);
        }
    }

    /// An answer to one of our checks, or to nothing of ours.
    pub(crate) fn on_check_answer(
        &mut self,
        now: Instant,
        base: Base,
        from: SocketAddr,
        answer: &Message<'_>,
    ) -> Input {
        let id = answer.transaction_id();
        let Some(place) = self.session.checks.iter().position(|check| check.id == id) else {
            return self.on_consent_answer(now, base, from, answer);
        };
        let Some(remote) = &self.session.remote else { return Input::Ignored(Ignored::NotForUs) };
        let authentic = stun::is_authentic(answer, &remote.key);
        match (answer.class(), stun::error_code(answer)) {
            (Class::Success, _) if authentic => {
                let check = self.session.checks.swap_remove(place);
                self.on_check_success(now, check, base, from, answer);
            }
            (Class::Error, Some(ErrorCode::ROLE_CONFLICT)) if authentic => {
                let check = self.session.checks.swap_remove(place);
                self.on_role_conflict(now, &check);
            }
            // The peer may not have our description yet: the check goes on.
            (Class::Error, Some(_)) => self.session.checks[place].refused = true,
            _ => return Input::Ignored(Ignored::Unauthentic),
        }
        Input::Consumed
    }

    fn on_check_success(&mut self, now: Instant, check: OpenCheck, base: Base, from: SocketAddr, answer: &Message<'_>) {
        let at = check.pair;
        let pair = &self.session.pairs[at];
        // RFC 8445 section 7.2.5.2.1: media must go the way that the answer came.
        if pair.base != base || pair.remote.address != from {
            self.session.pairs[at].state = PairState::Failed(PairFailure::Asymmetric);
            return self.kick(now);
        }
        let component = pair.component;
        let mapped = stun::mapped(answer).and_then(|mapped| self.local_at(at, mapped));
        let pair = &mut self.session.pairs[at];
        pair.mapped = mapped;
        pair.state = PairState::Succeeded;
        let nominated = check.use_candidate || pair.nominated_early;
        self.session.checks.retain(|other| other.pair != at || other.use_candidate);
        self.session.triggered.retain(|other| *other != at);
        self.session.first_valid_at[component.index()].get_or_insert(now);
        self.session.thaw_like(at);
        self.trust(base, from);
        if nominated {
            self.choose(now, at);
        }
        self.use_meanwhile(now, at);
        self.nominate_if_time(now);
        self.kick(now);
    }

    /// The candidate that the peer saw: one of ours, or a peer-reflexive one (RFC 8445 section 7.2.5.3.1).
    fn local_at(&mut self, at: usize, mapped: SocketAddr) -> Option<Candidate> {
        let pair = &self.session.pairs[at];
        let (component, base, local) = (pair.component, pair.base, pair.local.clone());
        if local.address == mapped {
            return None;
        }
        let known = self.locals.iter().find(|known| {
            known.base == base && known.candidate.component == component && known.candidate.address == mapped
        });
        if let Some(known) = known {
            return Some(known.candidate.clone());
        }
        let foundation = self.foundation(Kind::PeerReflexive, local.address.ip(), None);
        Some(Candidate {
            foundation,
            component,
            priority: reflexive_priority(&local),
            address: mapped,
            kind: Kind::PeerReflexive,
            related: Some(local.address),
        })
    }

    /// 487: the peer insists on our role (RFC 8445 section 7.2.5.1).
    fn on_role_conflict(&mut self, now: Instant, check: &OpenCheck) {
        // Switched already because of another check: no second time.
        if role_of(&check.bytes) == Some(self.role) {
            self.tie_breaker = self.rng.next_u64();
            self.switch_role(now);
        }
        if self.session.outcome != Outcome::Completed {
            self.trigger(now, check.pair);
        }
    }
}

/// PRIORITY of our checks: that of a peer-reflexive candidate of the same base (RFC 8445 section 7.1.1).
pub(crate) fn reflexive_priority(local: &Candidate) -> u32 {
    priority(Kind::PeerReflexive, (local.priority >> 8) as u16, local.component)
}

fn role_of(check: &[u8]) -> Option<Role> {
    stun::Claims::of(&Message::decode(check).ok()?)?.role.map(|(role, _)| role)
}
