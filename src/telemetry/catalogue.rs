//! The list of every metric that a role can export, for documents, dashboards and the tests that compare them.

use crate::cell_set::CellSet;
use crate::edge_cells::EdgeCells;
use crate::router_cells::RouterCells;
use crate::um_cells::UmCells;
use crate::worker_cells::WorkerCells;
use crate::{line, metrics, process};

/// What a metric's value means to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric's name, meaning and closed label sets.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    /// Name and every possible value of each label.
    pub labels: &'static [(&'static str, &'static [&'static str])],
}

impl Definition {
    /// How many series this metric has at most (a histogram counts once).
    pub fn series(&self) -> usize {
        self.labels.iter().map(|(_, values)| values.len()).product()
    }

    /// The names under which samples appear in a scrape.
    pub fn sample_names(&self) -> Vec<String> {
        match self.kind {
            Kind::Counter | Kind::Gauge => vec![self.name.to_owned()],
            Kind::Histogram => ["_bucket", "_sum", "_count"].iter().map(|end| format!("{}{end}", self.name)).collect(),
        }
    }
}

/// What every role tells of its process.
const COMMON: [&[Definition]; 3] = [line::CATALOGUE, process::CATALOGUE, metrics::CATALOGUE];

/// Every metric of one role, in no particular order.
pub fn catalogue_of<C: CellSet>() -> Vec<Definition> {
    [&[C::CATALOGUE, C::HEALTH], COMMON.as_slice()].concat().concat()
}

/// Every metric of every role, each once.
pub fn catalogue() -> Vec<Definition> {
    let roles = [
        EdgeCells::CATALOGUE,
        EdgeCells::HEALTH,
        RouterCells::CATALOGUE,
        RouterCells::HEALTH,
        UmCells::CATALOGUE,
        UmCells::HEALTH,
        WorkerCells::CATALOGUE,
        WorkerCells::HEALTH,
    ];
    [roles.as_slice(), COMMON.as_slice()].concat().concat()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_appears_once() {
        let mut names = HashSet::new();
        for definition in catalogue() {
            assert!(names.insert(definition.name), "{} is defined twice", definition.name);
        }
    }

    #[test]
    fn names_say_whose_they_are_and_counters_end_in_total() {
        for Definition { name, help, kind, .. } in catalogue() {
            assert!(name.starts_with("postern_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(help.ends_with('.') && help.len() > 10, "{name}: {help}");
        }
    }

    #[test]
    fn label_sets_are_closed_and_small() {
        for definition in catalogue() {
            assert!(definition.series() <= 250, "{} has {} series", definition.name, definition.series());
            for (label, values) in definition.labels {
                assert!(!values.is_empty(), "{label} of {}", definition.name);
                assert_eq!(values.iter().collect::<HashSet<_>>().len(), values.len(), "{label} repeats a value");
                assert!(!["le", "quantile", "job", "instance"].contains(label), "{label} belongs to Prometheus");
            }
        }
    }
}
