//! What one role counts, as a set of cells: declared once, summed by a scrape.

use std::sync::Arc;

use prometheus::proto::MetricFamily;

use crate::catalogue::Definition;

/// The cells of one role. Each thread of it that counts has a set of its own; a scrape sums them.
pub trait CellSet: Default + Send + Sync + 'static {
    /// Every metric of the set.
    const CATALOGUE: &'static [Definition];
    /// Told from [`Health`](crate::Health): how far the process is; then, for a role with threads of its own that must
    /// not stand still, how many there are and how many of them turn.
    const HEALTH: &'static [Definition];

    /// One family per metric, its samples summed over `sets`.
    fn families(sets: &[Arc<Self>]) -> Vec<MetricFamily>;
}

/// Declares the struct, the list of its definitions, and how a scrape sums it field by field.
macro_rules! cells {
    ($(#[$doc:meta])* pub struct $name:ident as $health:expr => {
        $($(#[$field_doc:meta])* $field:ident: $cells:ident<$labels:ty> = $metric:literal, $help:literal $(, $buckets:ident)?;)+
    }) => {
        $(#[$doc])*
        pub struct $name {
            $(#[doc = $help] $(#[$field_doc])* pub $field: $crate::$cells<$labels>,)+
        }

        impl Default for $name {
            /// All counts zero, all optional values unset.
            fn default() -> Self {
                Self { $($field: $crate::cells::Cells::new($crate::cell_set::cells!(@buckets $($buckets)?)),)+ }
            }
        }

        impl $crate::CellSet for $name {
            const CATALOGUE: &'static [$crate::Definition] = &[$($crate::Definition {
                name: $metric,
                help: $help,
                kind: <$crate::$cells<$labels> as $crate::cells::Cells>::KIND,
                labels: <$labels as $crate::labels::LabelSet>::LABELS,
            },)+];
            const HEALTH: &'static [$crate::Definition] = $health;

            fn families(sets: &[std::sync::Arc<Self>]) -> Vec<prometheus::proto::MetricFamily> {
                let mut definitions = Self::CATALOGUE.iter();
                let mut families = Vec::with_capacity(Self::CATALOGUE.len());
                $(if let Some(definition) = definitions.next() {
                    let cells: Vec<_> = sets.iter().map(|set| &set.$field).collect();
                    families.push($crate::metrics::family(definition, |series| {
                        $crate::cells::Cells::sample(&cells, series)
                    }));
                })+
                families
            }
        }
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

pub(crate) use cells;
