//! Which seeds to run, and for how long.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Run when nobody asks for others.
const USUAL: Range<u64> = 0..40;
/// As many are run however long it takes.
const LEAST: u64 = 8;
/// What the usual seeds may take; on a slow machine the last ones are left out.
const USUAL_TIME: Duration = Duration::from_secs(20);
const NO_END: u64 = u64::MAX;

/// Seeds in order, until they or the time are over.
pub struct Seeds {
    /// These come first, and not again.
    first: Vec<u64>,
    begun: usize,
    range: Range<u64>,
    until: Option<Instant>,
    usual: bool,
}

impl Seeds {
    /// What the environment asks for; `found_something` comes before the usual ones.
    pub fn from_environment(found_something: &[u64]) -> Self {
        let named = std::env::var("POSTERN_SIM_SEEDS").ok().map(|text| range(&text));
        let secs = std::env::var("POSTERN_SIM_SECS").ok().map(|text| number(&text));
        let until = |secs: u64| Some(Instant::now() + Duration::from_secs(secs));
        let first = found_something.to_vec();
        match (named, secs) {
            (None, None) => {
                Self { first, begun: 0, range: USUAL, until: Some(Instant::now() + USUAL_TIME), usual: true }
            }
            (None, Some(secs)) => Self { first, begun: 0, range: 0..NO_END, until: until(secs), usual: false },
            (Some(range), None) => Self { first: Vec::new(), begun: 0, range, until: None, usual: false },
            (Some(range), Some(secs)) => {
                Self { first: Vec::new(), begun: 0, range: range.start..NO_END, until: until(secs), usual: false }
            }
        }
    }

    /// Whether these were the usual seeds, and the time sufficed for them.
    pub fn were_all_usual(&self) -> bool {
        self.usual && self.range.is_empty()
    }
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if let Some(seed) = self.first.get(self.begun) {
            self.begun += 1;
            return Some(*seed);
        }
        let over = self.until.is_some_and(|until| Instant::now() >= until);
        if over && !(self.usual && self.range.start < LEAST) {
            return None;
        }
        self.range.find(|seed| !self.first.contains(seed))
    }
}

/// `7`, or `100..200` without its end.
fn range(text: &str) -> Range<u64> {
    match text.split_once("..") {
        Some((start, end)) => number(start)..number(end),
        None => number(text)..number(text) + 1,
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}
