//! What an agent tried, in words for the record of a call: bounded, and without secrets.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use postern_turn::client::EdgeFailure;

use crate::candidate::{Candidate, Component, Kind};
use crate::io::{EdgeId, Role};
use crate::limits::STORY_ENTRIES_MAX;

/// How a pair ended, or where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PairState {
    /// Waits for a pair of the same foundation.
    Frozen,
    Waiting,
    InProgress,
    Succeeded,
    Failed(PairFailure),
    /// Another one was chosen before this one had its turn.
    Cancelled,
}

/// Why a pair does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PairFailure {
    NoAnswer,
    /// The answer came from elsewhere: no way for media.
    Asymmetric,
    /// The edge forbids this peer.
    Forbidden,
    /// The relay that it goes by is gone.
    RelayLost,
    /// The peer refuses our checks.
    Refused,
}

impl fmt::Display for PairState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frozen => "frozen",
            Self::Waiting => "waiting",
            Self::InProgress => "in progress",
            Self::Succeeded => "succeeded",
            Self::Failed(PairFailure::NoAnswer) => "failed: no answer",
            Self::Failed(PairFailure::Asymmetric) => "failed: answered from elsewhere",
            Self::Failed(PairFailure::Forbidden) => "failed: forbidden by the edge",
            Self::Failed(PairFailure::RelayLost) => "failed: relay lost",
            Self::Failed(PairFailure::Refused) => "failed: refused by the peer",
            Self::Cancelled => "not needed",
        })
    }
}

/// One pair of the present session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairTried {
    pub component: Component,
    pub local: Candidate,
    pub remote: Candidate,
    pub state: PairState,
    /// Checks that were sent, repeats included.
    pub checks_sent: u32,
    /// Authentic checks of the peer that came on it.
    pub checks_received: u32,
    pub selected: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Number of candidates by kind: host, server-reflexive, relayed.
    Gathered {
        host: usize,
        server_reflexive: usize,
        relayed: usize,
    },
    EdgeFailed {
        edge: EdgeId,
        why: EdgeFailure,
    },
    RemoteDescription {
        candidates: usize,
        lite: bool,
    },
    RoleSwitched(Role),
    Selected {
        component: Component,
        local: Kind,
        remote: Kind,
    },
    Restart {
        by_us: bool,
    },
    ConsentLost {
        component: Component,
        ever_answered: bool,
    },
    PairQuiet {
        component: Component,
    },
    Failed,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gathered { host, server_reflexive, relayed } => {
                write!(f, "gathered {host} host, {server_reflexive} srflx, {relayed} relay")
            }
            Self::EdgeFailed { edge, why } => write!(f, "edge {}: {why}", edge.0),
            Self::RemoteDescription { candidates, lite } => {
                write!(f, "remote description with {candidates} candidates{}", if *lite { ", lite" } else { "" })
            }
            Self::RoleSwitched(Role::Controlling) => f.write_str("now controlling"),
            Self::RoleSwitched(Role::Controlled) => f.write_str("now controlled"),
            Self::Selected { component, local, remote } => {
                write!(f, "component {}: {} to {}", component.number(), local.name(), remote.name())
            }
            Self::Restart { by_us } => write!(f, "restart by {}", if *by_us { "us" } else { "the peer" }),
            Self::ConsentLost { component, ever_answered } => {
                let ever = if *ever_answered { "" } else { ", never answered since nomination" };
                write!(f, "component {}: consent lost{ever}", component.number())
            }
            Self::PairQuiet { component } => write!(f, "component {}: went quiet", component.number()),
            Self::Failed => f.write_str("no pair works"),
        }
    }
}

/// A happening with its time since the agent's birth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at: Duration,
    pub what: Happening,
}

/// All that is known of why media flows, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The first ones and the last ones, when there were too many.
    pub entries: Vec<Entry>,
    /// How many are missing in between.
    pub left_out: u64,
    pub local: Vec<Candidate>,
    pub remote: Vec<Candidate>,
    /// Pairs of the present session, the best first.
    pub pairs: Vec<PairTried>,
    /// What went wrong with edges; each way once.
    pub edge_failures: Vec<EdgeFailure>,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{:>8.3} s  {}", entry.at.as_secs_f64(), entry.what)?;
        }
        for candidate in &self.local {
            writeln!(f, "local   {candidate}")?;
        }
        for candidate in &self.remote {
            writeln!(f, "remote  {candidate}")?;
        }
        for pair in &self.pairs {
            writeln!(
                f,
                "pair    {} {} {} -> {} {}  {}{}, {} sent, {} received",
                pair.component.number(),
                pair.local.kind.name(),
                pair.local.address,
                pair.remote.kind.name(),
                pair.remote.address,
                pair.state,
                if pair.selected { ", selected" } else { "" },
                pair.checks_sent,
                pair.checks_received,
            )?;
        }
        Ok(())
    }
}

/// Where happenings are kept: half of the room for the first ones, half for the last.
#[derive(Debug)]
pub(crate) struct Diary {
    born: Instant,
    first: Vec<Entry>,
    last: VecDeque<Entry>,
    left_out: u64,
    edge_failures: Vec<EdgeFailure>,
}

impl Diary {
    pub(crate) fn new(born: Instant) -> Self {
        Self { born, first: Vec::new(), last: VecDeque::new(), left_out: 0, edge_failures: Vec::new() }
    }

    pub(crate) fn note(&mut self, now: Instant, what: Happening) {
        if let Happening::EdgeFailed { why, .. } = what
            && !self.edge_failures.contains(&why)
        {
            self.edge_failures.push(why);
        }
        let entry = Entry { at: now.saturating_duration_since(self.born), what };
        if self.first.len() < STORY_ENTRIES_MAX / 2 {
            return self.first.push(entry);
        }
        if self.last.len() >= STORY_ENTRIES_MAX / 2 {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(entry);
    }

    pub(crate) fn tell(&self, local: Vec<Candidate>, remote: Vec<Candidate>, pairs: Vec<PairTried>) -> Story {
        Story {
            entries: self.first.iter().chain(&self.last).cloned().collect(),
            left_out: self.left_out,
            local,
            remote,
            pairs,
            edge_failures: self.edge_failures.clone(),
        }
    }
}
