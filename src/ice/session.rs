//! One ICE session: credentials of both sides, the check list, and what became of it. A restart begins another.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use postern_turn::client::Repeats;
use postern_turn::integrity::IntegrityKey;
use postern_turn::message::TransactionId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::candidate::{Candidate, Component};
use crate::io::SocketId;
use crate::limits::COMPONENTS_MAX;
use crate::relays::RelayId;
use crate::sdp::Description;
use crate::secret::Password;
use crate::story::PairState;
use crate::stun::Claims;

/// Where checks and media leave and come: a socket of the host, or a relayed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Base {
    Socket(SocketId),
    Relay(RelayId),
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Open,
    Completed,
    Failed,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) ufrag: String,
    pub(crate) password: Password,
    /// What the peer signs its checks with, and we our answers.
    pub(crate) key: IntegrityKey,
    pub(crate) remote: Option<Remote>,
    pub(crate) remotes: Vec<Candidate>,
    /// How many of them were learned from checks.
    pub(crate) learned: usize,
    /// The best first is not kept up: a pair is named by its place.
    pub(crate) pairs: Vec<Pair>,
    pub(crate) checks: Vec<OpenCheck>,
    pub(crate) triggered: VecDeque<usize>,
    pub(crate) triggered_in_a_row: u32,
    pub(crate) early: Vec<EarlyCheck>,
    /// When checks began.
    pub(crate) began_at: Option<Instant>,
    pub(crate) last_check_at: Option<Instant>,
    pub(crate) next_check_at: Option<Instant>,
    pub(crate) first_valid_at: [Option<Instant>; COMPONENTS_MAX],
    /// The nominated pair of each component.
    pub(crate) chosen: [Option<usize>; COMPONENTS_MAX],
    pub(crate) outcome: Outcome,
    /// We restarted, and the peer has not answered yet.
    pub(crate) is_offered: bool,
}

/// The peer, as its description says.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) ufrag: String,
    pub(crate) password: Password,
    pub(crate) key: IntegrityKey,
}

#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) component: Component,
    pub(crate) base: Base,
    /// What checks leave from: a host or relayed candidate.
    pub(crate) local: Candidate,
    /// What the peer sees them come from, once it said so.
    pub(crate) mapped: Option<Candidate>,
    pub(crate) remote: Candidate,
    pub(crate) state: PairState,
    /// The peer nominated it before it was known to work.
    pub(crate) nominated_early: bool,
    pub(crate) checks_sent: u32,
    pub(crate) checks_received: u32,
}

/// A check without its answer.
#[derive(Debug)]
pub(crate) struct OpenCheck {
    pub(crate) id: TransactionId,
    pub(crate) pair: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) repeats: Repeats,
    pub(crate) use_candidate: bool,
    /// Not sent any more, but its answer counts.
    pub(crate) cancelled: bool,
    /// The peer refused it, perhaps because it does not know us yet.
    pub(crate) refused: bool,
}

/// A check that came before the peer's description (RFC 8445 section 7.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct EarlyCheck {
    pub(crate) base: Base,
    pub(crate) from: SocketAddr,
    pub(crate) claims: Claims,
}

impl Session {
    pub(crate) fn new(rng: &mut ChaCha8Rng) -> Self {
        let (ufrag, password) = (draw(rng, 8), Password::new(draw(rng, 24)));
        let key = IntegrityKey::short_term(password.as_str().as_bytes());
        Self {
            ufrag,
            password,
            key,
            remote: None,
            remotes: Vec::new(),
            learned: 0,
            pairs: Vec::new(),
            checks: Vec::new(),
            triggered: VecDeque::new(),
            triggered_in_a_row: 0,
            early: Vec::new(),
            began_at: None,
            last_check_at: None,
            next_check_at: None,
            first_valid_at: [None; COMPONENTS_MAX],
            chosen: [None; COMPONENTS_MAX],
            outcome: Outcome::Open,
            is_offered: false,
        }
    }

    /// Whether a check with this name is for this session: our half of it counts.
    pub(crate) fn is_named(&self, username: &[u8]) -> bool {
        username.strip_prefix(self.ufrag.as_bytes()).is_some_and(|rest| rest.first() == Some(&b':'))
    }

    /// The name that our checks go by.
    pub(crate) fn username(&self) -> Vec<u8> {
        let remote = self.remote.as_ref().map_or("", |remote| &remote.ufrag);
        format!("{remote}:{}", self.ufrag).into_bytes()
    }

    pub(crate) fn pair_at(&self, base: Base, remote: SocketAddr) -> Option<usize> {
        self.pairs.iter().position(|pair| pair.base == base && pair.remote.address == remote)
    }

    pub(crate) fn has_valid(&self, component: Component) -> bool {
        self.pairs.iter().any(|pair| pair.component == component && pair.state == PairState::Succeeded)
    }

    /// Components that the peer has candidates for; RTP always counts.
    pub(crate) fn needs(&self, component: Component) -> bool {
        component == Component::RTP || self.remotes.iter().any(|remote| remote.component == component)
    }
}

impl Remote {
    pub(crate) fn new(description: &Description) -> Self {
        Self {
            ufrag: description.ufrag.clone(),
            password: description.password.clone(),
            key: IntegrityKey::short_term(description.password.as_str().as_bytes()),
        }
    }

    pub(crate) fn is_of(&self, description: &Description) -> bool {
        self.ufrag == description.ufrag && self.password == description.password
    }
}

/// Characters of `ice-char`, six bits each.
fn draw(rng: &mut ChaCha8Rng, chars: usize) -> String {
    const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..chars).map(|_| char::from(ICE_CHARS[(rng.next_u32() & 63) as usize])).collect()
}
