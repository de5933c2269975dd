//! The check list: which local and remote candidates make pairs, how they rank, and which waits for which
//! (RFC 8445 section 6.1.2).

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::agent::Agent;
use crate::candidate::{Candidate, Kind, pair_priority};
use crate::io::Role;
use crate::limits::PAIRS_MAX;
use crate::session::{Base, Outcome, Pair, Session};
use crate::story::{PairFailure, PairState};

impl Pair {
    pub(crate) fn new(base: Base, local: Candidate, remote: Candidate) -> Self {
        Self {
            component: local.component,
            base,
            local,
            mapped: None,
            remote,
            state: PairState::Frozen,
            nominated_early: false,
            checks_sent: 0,
            checks_received: 0,
        }
    }

    pub(crate) fn priority(&self, role: Role) -> u64 {
        match role {
            Role::Controlling => pair_priority(self.local.priority, self.remote.priority),
            Role::Controlled => pair_priority(self.remote.priority, self.local.priority),
        }
    }

    fn has_foundation_of(&self, other: &Self) -> bool {
        self.local.foundation == other.local.foundation && self.remote.foundation == other.remote.foundation
    }

    /// Whether it may still come to work.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, PairState::Frozen | PairState::Waiting | PairState::InProgress)
    }
}

impl Session {
    /// Lets one pair of each foundation begin that has none on its way (RFC 8445 section 6.1.2.6).
    fn thaw(&mut self, role: Role) {
        let mut frozen: Vec<usize> =
            (0..self.pairs.len()).filter(|at| self.pairs[*at].state == PairState::Frozen).collect();
        frozen.sort_by_key(|at| (self.pairs[*at].component, std::cmp::Reverse(self.pairs[*at].priority(role))));
        for at in frozen {
            let blocked = self.pairs.iter().any(|other| {
                matches!(other.state, PairState::Waiting | PairState::InProgress)
                    && other.has_foundation_of(&self.pairs[at])
            });
            if !blocked {
                self.pairs[at].state = PairState::Waiting;
            }
        }
    }

    /// A pair works: others of its foundation will likely (RFC 8445 section 7.2.5.3.3).
    pub(crate) fn thaw_like(&mut self, at: usize) {
        let like = self.pairs[at].clone();
        for pair in self.pairs.iter_mut().filter(|pair| pair.state == PairState::Frozen) {
            if pair.has_foundation_of(&like) {
                pair.state = PairState::Waiting;
            }
        }
    }

    /// The place of a new pair; of the worst one that nothing has come of yet when the list is full and it is better.
    fn add_pair(&mut self, pair: Pair, role: Role) -> Option<usize> {
        if self.pairs.len() < PAIRS_MAX {
            self.pairs.push(pair);
            return Some(self.pairs.len() - 1);
        }
        let idle = |at: &usize| {
            matches!(self.pairs[*at].state, PairState::Frozen | PairState::Waiting | PairState::Failed(_))
                && !self.chosen.contains(&Some(*at))
        };
        let worst = (0..self.pairs.len()).filter(idle).min_by_key(|at| self.pairs[*at].priority(role))?;
        if self.pairs[worst].is_open() && self.pairs[worst].priority(role) >= pair.priority(role) {
            return None;
        }
        self.checks.retain(|check| check.pair != worst);
        self.triggered.retain(|at| *at != worst);
        self.pairs[worst] = pair;
        Some(worst)
    }
}

impl Agent {
    /// Pairs every base with every remote candidate that it can reach and is not paired with yet. A server-reflexive
    /// candidate sends from its host: it is its host's pair (RFC 8445 section 6.1.2.4).
    pub(crate) fn form_pairs(&mut self, now: Instant) {
        if self.session.remote.is_none() || self.session.outcome == Outcome::Completed {
            return;
        }
        let mut new = Vec::new();
        for local in &self.locals {
            if !matches!(local.candidate.kind, Kind::Host | Kind::Relayed) {
                continue;
            }
            for remote in &self.session.remotes {
                if local.candidate.component == remote.component
                    && self.session.pair_at(local.base, remote.address).is_none()
                    && can_reach(&local.candidate, remote.address)
                {
                    new.push(Pair::new(local.base, local.candidate.clone(), remote.clone()));
                }
            }
        }
        let role = self.role;
        new.sort_by_key(|pair| std::cmp::Reverse(pair.priority(role)));
        for pair in new {
            self.add_pair(now, pair);
        }
        self.session.thaw(role);
        self.kick(now);
    }

    /// Adds one pair and sees to its permission.
    pub(crate) fn add_pair(&mut self, now: Instant, pair: Pair) -> Option<usize> {
        let (base, remote) = (pair.base, pair.remote.address);
        let at = self.session.add_pair(pair, self.role)?;
        if let Base::Relay(id) = base
            && let Some(relay) = self.relay_mut(id)
        {
            relay.client.permit(now, remote);
        }
        Some(at)
    }

    /// Whether a check can leave: a relay needs a permission first.
    pub(crate) fn is_ready(&self, pair: &Pair) -> bool {
        match pair.base {
            Base::Socket(_) => true,
            Base::Relay(id) => self.relay(id).is_some_and(|relay| relay.client.is_permitted(pair.remote.address.ip())),
        }
    }

    /// The next ordinary check (RFC 8445 section 6.1.4.2).
    pub(crate) fn next_ordinary(&mut self) -> Option<usize> {
        let role = self.role;
        let best = |agent: &Self| {
            let ready = |at: &usize| {
                let pair = &agent.session.pairs[*at];
                pair.state == PairState::Waiting && agent.is_ready(pair)
            };
            (0..agent.session.pairs.len()).filter(ready).max_by_key(|at| agent.session.pairs[*at].priority(role))
        };
        best(self).or_else(|| {
            self.session.thaw(role);
            best(self)
        })
    }

    /// These pairs will not work, whatever their checks may bring.
    pub(crate) fn fail_pairs(&mut self, now: Instant, why: PairFailure, which: impl Fn(&Pair) -> bool) {
        let session = &mut self.session;
        let mut failed = Vec::new();
        for (at, pair) in session.pairs.iter_mut().enumerate() {
            if which(pair) && !matches!(pair.state, PairState::Failed(_) | PairState::Cancelled) {
                pair.state = PairState::Failed(why);
                failed.push(at);
            }
        }
        session.checks.retain(|check| !failed.contains(&check.pair));
        session.triggered.retain(|at| !failed.contains(at));
        self.kick(now);
    }
}

/// Whether packets of a candidate can go to this address at all.
fn can_reach(local: &Candidate, to: SocketAddr) -> bool {
    let from = local.address.ip();
    let usable = to.port() != 0 && !to.ip().is_unspecified() && !to.ip().is_multicast();
    let same_scope = if local.kind == Kind::Relayed {
        // An edge on loopback is one to try things with: its peers are there too.
        from.is_loopback() == to.ip().is_loopback() && !is_link_local(to.ip())
    } else {
        from.is_loopback() == to.ip().is_loopback() && is_link_local(from) == is_link_local(to.ip())
    };
    usable && same_scope && from.is_ipv4() == to.is_ipv4()
}

/// IPv6 only: such addresses pair among themselves (RFC 8445 section 6.1.2.2).
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}
