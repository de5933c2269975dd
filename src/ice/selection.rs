//! Nomination (RFC 8445 section 8): which working pair is used, and when the list is done.

use std::time::Instant;

use crate::agent::Agent;
use crate::candidate::Component;
use crate::consent::Selected;
use crate::io::{Event, PairInfo, Role};
use crate::limits::{NOMINATION_GRACE, PATIENCE, PATIENCE_MAX, RELEASE_GRACE};
use crate::session::{Base, Outcome, Pair, Session};
use crate::story::{Happening, PairState};

impl Agent {
    /// Nominates the best pair of each component, once no better one can be hoped for (RFC 8445 section 8.1.1).
    pub(crate) fn nominate_if_time(&mut self, now: Instant) {
        if self.role != Role::Controlling {
            return;
        }
        for component in [Component::RTP, Component::RTCP] {
            let Some(at) = self.to_nominate(now, component) else { continue };
            self.send_check(now, at, true);
        }
    }

    fn to_nominate(&self, now: Instant, component: Component) -> Option<usize> {
        let session = &self.session;
        let first_valid = session.first_valid_at[component.index()]?;
        let under_way = session
            .checks
            .iter()
            .any(|check| check.use_candidate && !check.cancelled && session.pairs[check.pair].component == component);
        if session.chosen[component.index()].is_some() || under_way {
            return None;
        }
        let rank = |at: &usize| session.pairs[*at].priority(self.role);
        let places = || (0..session.pairs.len()).filter(|at| session.pairs[*at].component == component);
        let best = places().filter(|at| session.pairs[*at].state == PairState::Succeeded).max_by_key(rank)?;
        let better_may_come = places().any(|at| session.pairs[at].is_open() && rank(&at) > rank(&best));
        (!better_may_come || now >= first_valid + NOMINATION_GRACE).then_some(best)
    }

    /// When waiting for a better pair ends.
    pub(crate) fn nomination_at(&self) -> Option<Instant> {
        let session = &self.session;
        if self.role != Role::Controlling {
            return None;
        }
        let waiting = |component: &Component| {
            session.chosen[component.index()].is_none()
                && session.has_valid(*component)
                && !session.checks.iter().any(|check| {
                    check.use_candidate && !check.cancelled && session.pairs[check.pair].component == *component
                })
        };
        let waiting = [Component::RTP, Component::RTCP].into_iter().filter(waiting);
        waiting.filter_map(|component| session.first_valid_at[component.index()]).map(|at| at + NOMINATION_GRACE).min()
    }

    /// This pair is nominated and works. Of several, as an aggressive peer nominates them, the best is used.
    pub(crate) fn choose(&mut self, now: Instant, at: usize) {
        let pair = self.session.pairs[at].clone();
        let slot = pair.component.index();
        if let Some(before) = self.session.chosen[slot]
            && (before == at || self.session.pairs[before].priority(self.role) >= pair.priority(self.role))
        {
            return;
        }
        self.session.chosen[slot] = Some(at);
        self.stop_checks_beside(at);
        self.use_pair(now, &pair);
        self.complete_if_done(now);
    }

    /// Other pairs of the component are not needed; better ones that an aggressive peer may still nominate go on.
    fn stop_checks_beside(&mut self, at: usize) {
        let (component, rank) = (self.session.pairs[at].component, self.session.pairs[at].priority(self.role));
        let role = self.role;
        let session = &mut self.session;
        for (place, pair) in session.pairs.iter_mut().enumerate() {
            let worse = pair.priority(role) < rank;
            let idle = matches!(pair.state, PairState::Frozen | PairState::Waiting);
            let stops = idle || worse && pair.state == PairState::InProgress;
            if pair.component == component && place != at && stops {
                pair.state = PairState::Cancelled;
            }
        }
        let Session { pairs, checks, triggered, .. } = session;
        checks.retain(|check| pairs[check.pair].state != PairState::Cancelled);
        triggered.retain(|place| pairs[*place].state != PairState::Cancelled);
    }

    /// Media need not wait for nomination: it goes by what works first (RFC 8445 section 12.1).
    pub(crate) fn use_meanwhile(&mut self, now: Instant, at: usize) {
        let pair = self.session.pairs[at].clone();
        if self.selected[pair.component.index()].is_none() {
            self.use_pair(now, &pair);
        }
    }

    fn use_pair(&mut self, now: Instant, pair: &Pair) {
        let Some(remote) = &self.session.remote else { return };
        let info = self.info_of(pair);
        let slot = pair.component.index();
        let selected = Selected::new(now, info.clone(), pair, &self.session, remote.key.clone());
        let former = self.selected[slot].replace(selected);
        if let Base::Relay(id) = pair.base
            && let Some(relay) = self.relay_mut(id)
        {
            relay.retires_at = None;
            relay.client.bind_channel(now, pair.remote.address);
        }
        self.watch_relays(now);
        let former = former.map(|former| former.info);
        if former.as_ref() == Some(&info) {
            return;
        }
        self.diary.note(
            now,
            Happening::Selected { component: pair.component, local: info.local.kind, remote: info.remote.kind },
        );
        self.event(Event::PairSelected { component: pair.component, pair: info, former });
    }

    fn info_of(&self, pair: &Pair) -> PairInfo {
        let edge = match pair.base {
            Base::Relay(id) => self.relay(id).map(|relay| relay.edge.id),
            Base::Socket(_) => None,
        };
        let local = pair.mapped.clone().unwrap_or_else(|| pair.local.clone());
        PairInfo { local, remote: pair.remote.clone(), edge }
    }

    /// Done when every component has its pair. RTCP that finds no way holds nobody up for ever.
    pub(crate) fn complete_if_done(&mut self, now: Instant) {
        let session = &self.session;
        let Some(began) = session.began_at.filter(|_| session.outcome != Outcome::Completed) else { return };
        let late = now >= began + PATIENCE;
        let chosen = |component: Component| session.chosen[component.index()].is_some();
        let rtcp = self.mux || chosen(Component::RTCP) || !session.needs(Component::RTCP) || late;
        if chosen(Component::RTP) && rtcp {
            self.session.outcome = Outcome::Completed;
            self.event(Event::Completed);
            // Pairs of a component that the new session does not have go with the old one.
            for component in [Component::RTP, Component::RTCP] {
                if self.session.chosen[component.index()].is_none() {
                    self.selected[component.index()] = None;
                }
            }
            self.watch_relays(now);
            self.retire_relays(now + RELEASE_GRACE);
            self.forget_former_at = Some(now + RELEASE_GRACE);
            return;
        }
        let under_way = session.pairs.iter().any(|pair| pair.state == PairState::InProgress);
        let hope = under_way && now < began + PATIENCE_MAX || session.has_valid(Component::RTP);
        if late && !hope && session.outcome == Outcome::Open {
            self.session.outcome = Outcome::Failed;
            self.diary.note(now, Happening::Failed);
            let keeps_former = self.selected[Component::RTP.index()].is_some();
            self.event(Event::Failed { keeps_former });
        }
    }

    /// When patience ends.
    pub(crate) fn patience_at(&self, now: Instant) -> Option<Instant> {
        let began = self.session.began_at.filter(|_| self.session.outcome == Outcome::Open)?;
        [PATIENCE, PATIENCE_MAX].into_iter().map(|patience| began + patience).find(|at| *at > now)
    }
}
