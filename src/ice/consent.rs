//! The pair in use: consent (RFC 7675), signs of life, and keepalives, which are the same checks.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use postern_turn::integrity::IntegrityKey;
use postern_turn::message::{Class, Message, TransactionId};
use rand_chacha::rand_core::Rng;

use crate::agent::Agent;
use crate::candidate::Component;
use crate::checks::reflexive_priority;
use crate::io::{Event, Ignored, Input, PairInfo};
use crate::limits::{CONSENT_CHECKS_MAX, CONSENT_INTERVAL, CONSENT_LIFETIME, QUIET_AFTER, QUIET_INTERVAL, QUIET_LIMIT};
use crate::relays::RelayId;
use crate::session::{Base, Pair, Session};
use crate::story::Happening;
use crate::stun;

/// A pair that media goes by. It has all that its consent needs, so that a restart does not touch it.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) info: PairInfo,
    pub(crate) base: Base,
    pub(crate) remote: SocketAddr,
    username: Vec<u8>,
    key: IntegrityKey,
    priority: u32,
    /// Checks without answers, the newest last.
    open: VecDeque<TransactionId>,
    next_check_at: Instant,
    ends_at: Instant,
    /// Since nomination.
    ever_answered: bool,
    lost: bool,
    /// Media or an answer came.
    pub(crate) heard_at: Instant,
    /// There while media flows: when to look whether it still does.
    pub(crate) look_at: Option<Instant>,
}

impl Selected {
    pub(crate) fn new(now: Instant, info: PairInfo, pair: &Pair, session: &Session, key: IntegrityKey) -> Self {
        Self {
            info,
            base: pair.base,
            remote: pair.remote.address,
            username: session.username(),
            key,
            priority: reflexive_priority(&pair.local),
            open: VecDeque::new(),
            // The first one soon: whether the peer answers at all is worth knowing.
            next_check_at: now + QUIET_INTERVAL,
            ends_at: now + CONSENT_LIFETIME,
            ever_answered: false,
            lost: false,
            heard_at: now,
            look_at: None,
        }
    }

    pub(crate) fn relay(&self) -> Option<RelayId> {
        match self.base {
            Base::Relay(id) => Some(id),
            Base::Socket(_) => None,
        }
    }

    /// Whether media may be sent: consent of a peer that gave it and then withdrew it ends that.
    #[inline]
    pub(crate) fn may_send(&self) -> bool {
        !(self.lost && self.ever_answered)
    }

    /// When there is something to check, to look at, or to give up.
    pub(crate) fn next_timeout(&self) -> Instant {
        let ends_at = if self.lost { self.next_check_at } else { self.ends_at };
        self.look_at.into_iter().fold(self.next_check_at.min(ends_at), Instant::min)
    }
}

impl Agent {
    pub(crate) fn run_consent(&mut self, now: Instant) {
        for component in [Component::RTP, Component::RTCP] {
            let slot = component.index();
            if self.selected[slot].as_ref().is_none_or(|selected| selected.next_timeout() > now) {
                continue;
            }
            self.look_for_life(now, component);
            let Some(selected) = &mut self.selected[slot] else { continue };
            if now >= selected.ends_at && !selected.lost {
                selected.lost = true;
                let ever_answered = selected.ever_answered;
                self.diary.note(now, Happening::ConsentLost { component, ever_answered });
                self.event(Event::ConsentLost { component, ever_answered });
            }
            if self.selected[slot].as_ref().is_some_and(|selected| selected.next_check_at <= now) {
                self.send_consent_check(now, component);
            }
        }
    }

    /// Media flowed: does it still, and if not, does the peer answer?
    fn look_for_life(&mut self, now: Instant, component: Component) {
        let Some(selected) = &mut self.selected[component.index()] else { return };
        let Some(_) = selected.look_at.filter(|at| *at <= now) else { return };
        let quiet_at = selected.heard_at + QUIET_AFTER;
        if now < quiet_at {
            selected.look_at = Some(quiet_at);
            return;
        }
        if now < selected.heard_at + QUIET_LIMIT {
            selected.look_at = Some(now + QUIET_INTERVAL);
            return self.send_consent_check(now, component);
        }
        selected.look_at = None;
        if selected.ever_answered {
            let pair = selected.info.clone();
            self.diary.note(now, Happening::PairQuiet { component });
            self.event(Event::PairQuiet { component, pair });
        }
    }

    fn send_consent_check(&mut self, now: Instant, component: Component) {
        let id = self.draw_id();
        // Between 0.8 and 1.2 of the interval (RFC 7675 section 5.1).
        let wait = CONSENT_INTERVAL * (800 + self.rng.next_u32() % 401) / 1_000;
        let (role, tie_breaker) = (self.role, self.tie_breaker);
        let Some(selected) = &mut self.selected[component.index()] else { return };
        let check = stun::Check {
            id,
            username: &selected.username,
            key: &selected.key,
            priority: selected.priority,
            role,
            tie_breaker,
            use_candidate: false,
        };
        let (base, to, bytes) = (selected.base, selected.remote, check.encode());
        if selected.open.len() >= CONSENT_CHECKS_MAX {
            selected.open.pop_front();
        }
        selected.open.push_back(id);
        if selected.next_check_at <= now {
            selected.next_check_at = now + wait;
        }
        self.send_from(base, to, &bytes);
    }

    /// An answer to no check of the list: perhaps to one of these.
    pub(crate) fn on_consent_answer(
        &mut self,
        now: Instant,
        base: Base,
        from: SocketAddr,
        answer: &Message<'_>,
    ) -> Input {
        let id = answer.transaction_id();
        let mut all = self.selected.iter_mut().flatten();
        let Some(selected) = all.find(|selected| selected.open.contains(&id)) else {
            return Input::Ignored(Ignored::NotForUs);
        };
        let same_way = selected.base == base && selected.remote == from;
        if !same_way || answer.class() != Class::Success || !stun::is_authentic(answer, &selected.key) {
            return Input::Ignored(Ignored::Unauthentic);
        }
        selected.open.clear();
        selected.ever_answered = true;
        selected.lost = false;
        selected.ends_at = now + CONSENT_LIFETIME;
        selected.heard_at = now;
        // Quiet, but alive: media that flows again is looked after again.
        selected.look_at = None;
        Input::Consumed
    }

    /// Whether a pair in use goes by this base.
    pub(crate) fn is_in_use(&self, base: Base) -> bool {
        self.selected.iter().flatten().any(|selected| selected.base == base)
    }
}
