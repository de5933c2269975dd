//! Metric values as plain cells of a shard, one cache line never shared by two of them.
//!
//! A cell belongs to one shard (or to the control plane): writers of other shards never touch its cache line. Everything
//! is relaxed: a scrape may see one cell a moment later than another, and that is all.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::proto;

use crate::catalogue::Kind;
use crate::labels::LabelSet;

const CELLS_PER_LINE: usize = 8;

#[repr(align(64))]
#[derive(Default)]
struct Line([AtomicU64; CELLS_PER_LINE]);

/// A run of cells that shares no cache line with any other.
struct Lines(Box<[Line]>);

impl Lines {
    fn new(cells: usize, initial: u64) -> Self {
        let lines = Self((0..cells.div_ceil(CELLS_PER_LINE)).map(|_| Line::default()).collect());
        if initial != 0 {
            lines.0.iter().flat_map(|line| &line.0).for_each(|cell| cell.store(initial, Relaxed));
        }
        lines
    }

    fn cell(&self, index: usize) -> &AtomicU64 {
        &self.0[index / CELLS_PER_LINE].0[index % CELLS_PER_LINE]
    }
}

/// A metric as a shard holds it, and how the shards' values become one family.
pub(crate) trait Cells: Sized {
    type Labels: LabelSet;
    const KIND: Kind;

    fn new(buckets: &'static [f64]) -> Self;

    /// One sample for series number `series`, or none when nobody has set it.
    fn sample(shards: &[&Self], series: usize) -> Option<proto::Metric>;
}

/// A count that only rises.
///
/// Either one writer publishes a running total with [`store`](Self::store), or anybody counts with [`add`](Self::add);
/// one series must not see both.
pub struct Counter<L: LabelSet> {
    cells: Lines,
    labels: PhantomData<L>,
}

impl<L: LabelSet> Counter<L> {
    /// Publishes a running total kept elsewhere (a core's plain counters), once per turn of the loop.
    pub fn store(&self, labels: L, total: u64) {
        self.cells.cell(labels.series()).store(total, Relaxed);
    }

    /// Counts `count` events; about 5 ns while no other core writes the same cells.
    pub fn add(&self, labels: L, count: u64) {
        self.cells.cell(labels.series()).fetch_add(count, Relaxed);
    }

    /// This shard's value.
    pub fn value(&self, labels: L) -> u64 {
        self.cells.cell(labels.series()).load(Relaxed)
    }
}

impl<L: LabelSet> Cells for Counter<L> {
    type Labels = L;
    const KIND: Kind = Kind::Counter;

    fn new(_buckets: &'static [f64]) -> Self {
        Self { cells: Lines::new(L::SERIES, 0), labels: PhantomData }
    }

    fn sample(shards: &[&Self], series: usize) -> Option<proto::Metric> {
        let sum = shards.iter().map(|shard| shard.cells.cell(series).load(Relaxed)).sum::<u64>();
        let mut counter = proto::Counter::default();
        counter.set_value(sum as f64);
        let mut sample = proto::Metric::default();
        sample.set_counter(counter);
        Some(sample)
    }
}

/// A level that rises and falls; a scrape sees the sum over all shards.
///
/// What one shard took up another may give back (an allocation that moved): only the sum has to make sense.
pub struct Gauge<L: LabelSet> {
    cells: Lines,
    labels: PhantomData<L>,
}

impl<L: LabelSet> Gauge<L> {
    pub fn set(&self, labels: L, value: u64) {
        self.cells.cell(labels.series()).store(value, Relaxed);
    }

    pub fn add(&self, labels: L, count: u64) {
        self.cells.cell(labels.series()).fetch_add(count, Relaxed);
    }

    pub fn sub(&self, labels: L, count: u64) {
        self.cells.cell(labels.series()).fetch_sub(count, Relaxed);
    }

    /// This shard's value; negative when it gave back more than it took up.
    pub fn value(&self, labels: L) -> i64 {
        self.cells.cell(labels.series()).load(Relaxed) as i64
    }
}

impl<L: LabelSet> Cells for Gauge<L> {
    type Labels = L;
    const KIND: Kind = Kind::Gauge;

    fn new(_buckets: &'static [f64]) -> Self {
        Self { cells: Lines::new(L::SERIES, 0), labels: PhantomData }
    }

    fn sample(shards: &[&Self], series: usize) -> Option<proto::Metric> {
        let sum = shards.iter().fold(0u64, |sum, shard| sum.wrapping_add(shard.cells.cell(series).load(Relaxed)));
        Some(gauge_sample(sum as i64 as f64))
    }
}

/// A value that does not exist until somebody sets it: a certificate's expiry, the size of a buffer. Not summed: the
/// smallest that any writer set is what a scrape sees.
pub struct OptionalGauge<L: LabelSet> {
    cells: Lines,
    labels: PhantomData<L>,
}

const UNSET: u64 = u64::MAX;

impl<L: LabelSet> OptionalGauge<L> {
    pub fn set(&self, labels: L, value: u64) {
        self.cells.cell(labels.series()).store(value, Relaxed);
    }

    /// Takes the series away again.
    pub fn clear(&self, labels: L) {
        self.set(labels, UNSET);
    }

    /// What this writer set.
    pub fn value(&self, labels: L) -> Option<u64> {
        Some(self.cells.cell(labels.series()).load(Relaxed)).filter(|&value| value != UNSET)
    }
}

impl<L: LabelSet> Cells for OptionalGauge<L> {
    type Labels = L;
    const KIND: Kind = Kind::Gauge;

    fn new(_buckets: &'static [f64]) -> Self {
        Self { cells: Lines::new(L::SERIES, UNSET), labels: PhantomData }
    }

    fn sample(shards: &[&Self], series: usize) -> Option<proto::Metric> {
        let least = shards.iter().map(|shard| shard.cells.cell(series).load(Relaxed)).min()?;
        (least != UNSET).then(|| gauge_sample(least as f64))
    }
}

/// How observations spread over fixed buckets.
pub struct Histogram<L: LabelSet> {
    /// Upper bounds in rising order, the last one (infinity) left out.
    bounds: &'static [f64],
    /// Per series: a count for each bound, one for what lies above all, and the sum in billionths.
    cells: Lines,
    labels: PhantomData<L>,
}

const PER_UNIT: f64 = 1e9;

impl<L: LabelSet> Histogram<L> {
    /// Counts one value, not negative; what is not a number counts as nothing. Cost grows with the number of buckets.
    pub fn observe(&self, labels: L, value: f64) {
        if value.is_nan() {
            return;
        }
        let first = labels.series() * self.stride();
        let bucket = self.bounds.iter().position(|&bound| value <= bound).unwrap_or(self.bounds.len());
        self.cells.cell(first + bucket).fetch_add(1, Relaxed);
        self.cells.cell(first + self.bounds.len() + 1).fetch_add((value.max(0.0) * PER_UNIT) as u64, Relaxed);
    }

    /// How many values this shard has counted.
    pub fn count(&self, labels: L) -> u64 {
        let first = labels.series() * self.stride();
        (first..=first + self.bounds.len()).map(|index| self.cells.cell(index).load(Relaxed)).sum()
    }

    fn stride(&self) -> usize {
        self.bounds.len() + 2
    }
}

impl<L: LabelSet> Cells for Histogram<L> {
    type Labels = L;
    const KIND: Kind = Kind::Histogram;

    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, cells: Lines::new(L::SERIES * (bounds.len() + 2), 0), labels: PhantomData }
    }

    fn sample(shards: &[&Self], series: usize) -> Option<proto::Metric> {
        let shard = shards.first()?;
        let first = series * shard.stride();
        let sum_at = |index: usize| shards.iter().map(|s| s.cells.cell(first + index).load(Relaxed)).sum::<u64>();

        let mut count = 0;
        let buckets = shard.bounds.iter().enumerate().map(|(index, &bound)| {
            count += sum_at(index);
            let mut bucket = proto::Bucket::default();
            bucket.set_cumulative_count(count);
            bucket.set_upper_bound(bound);
            bucket
        });
        let buckets = buckets.collect();
        count += sum_at(shard.bounds.len());

        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum_at(shard.bounds.len() + 1) as f64 / PER_UNIT);
        let mut sample = proto::Metric::default();
        sample.set_histogram(histogram);
        Some(sample)
    }
}

pub(crate) fn gauge_sample(value: f64) -> proto::Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    proto::Metric::from_gauge(gauge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{Direction, Family};

    #[test]
    fn cells_of_two_families_share_no_cache_line() {
        let one = Counter::<Direction>::new(&[]);
        let other = Counter::<Direction>::new(&[]);
        let line = |counter: &Counter<Direction>, direction: Direction| {
            std::ptr::from_ref(counter.cells.cell(direction.series())).addr() / 64
        };
        assert_ne!(line(&one, Direction::ToPeer), line(&other, Direction::ToPeer));
        assert_eq!(line(&one, Direction::ToPeer), line(&one, Direction::ToClient));
    }

    #[test]
    fn a_scrape_sums_the_shards() {
        let shards = [Counter::<Direction>::new(&[]), Counter::new(&[])];
        shards[0].store(Direction::ToClient, 40);
        shards[1].add(Direction::ToClient, 2);
        let all = [&shards[0], &shards[1]];
        let value =
            |direction: Direction| Counter::sample(&all, direction.series()).map(|s| s.get_counter().get_value());
        assert_eq!(value(Direction::ToClient), Some(42.0));
        assert_eq!(value(Direction::ToPeer), Some(0.0));
    }

    #[test]
    fn a_gauge_may_rise_on_one_shard_and_fall_on_another() {
        let shards = [Gauge::<()>::new(&[]), Gauge::new(&[])];
        shards[0].add((), 3);
        shards[1].sub((), 1);
        assert_eq!(shards[1].value(()), -1);
        let sample = Gauge::sample(&[&shards[0], &shards[1]], 0).map(|s| s.get_gauge().get_value());
        assert_eq!(sample, Some(2.0));
    }

    #[test]
    fn a_value_nobody_set_has_no_sample() {
        let shards = [OptionalGauge::<Family>::new(&[]), OptionalGauge::new(&[])];
        let sample = |family: Family| {
            OptionalGauge::sample(&[&shards[0], &shards[1]], family.series()).map(|s| s.get_gauge().get_value())
        };
        assert_eq!(sample(Family::V4), None);
        shards[0].set(Family::V4, 9);
        shards[1].set(Family::V4, 7);
        assert_eq!(sample(Family::V4), Some(7.0));
        assert_eq!(sample(Family::V6), None);
        shards[0].clear(Family::V4);
        shards[1].clear(Family::V4);
        assert_eq!(sample(Family::V4), None);
    }

    #[test]
    fn a_histogram_counts_each_value_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::<()>::new(&[0.0, 0.5, 1.0]);
        for value in [0.0, 0.25, 0.5, 0.75, 3.0, f64::NAN] {
            histogram.observe((), value);
        }
        let sample = Histogram::sample(&[&histogram], 0).expect("a histogram always has a sample");
        let histogram_out = sample.get_histogram();
        let counts: Vec<_> = histogram_out.get_bucket().iter().map(|b| b.cumulative_count()).collect();
        assert_eq!(counts, [1, 3, 4]);
        assert_eq!(histogram_out.get_sample_count(), 5);
        assert!((histogram_out.get_sample_sum() - 4.5).abs() < 1e-6);
        assert_eq!(histogram.count(()), 5);
    }
}
