//! The registry: what a scrape collects, and its text.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use crate::catalogue::{Definition, Kind};
use crate::cell_set::CellSet;
use crate::cells::gauge_sample;
use crate::edge_cells::EdgeCells;
use crate::health::Health;
use crate::{line, process};

pub(crate) const CATALOGUE: &[Definition] = &[Definition {
    name: "postern_build_info",
    help: "Version of this program.",
    kind: Kind::Gauge,
    labels: &[("version", &[env!("CARGO_PKG_VERSION")])],
}];

/// A fault of ours in the metrics themselves: two of one name, or one that the text format cannot carry.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Every metric of this process, which plays one role. Shards (or threads) and control plane hold their cells; this
/// holds all of them, to sum.
pub struct Metrics<C: CellSet = EdgeCells> {
    registry: Registry,
    shards: Vec<Arc<C>>,
    control: Arc<C>,
}

impl<C: CellSet> Metrics<C> {
    /// Cells for `shards` shards and the control plane; `health` and the process's own numbers come along.
    ///
    /// # Errors
    /// Never, unless two metrics of ours have one name.
    pub fn new(shards: usize, health: Arc<Health>) -> Result<Self, MetricsError> {
        let shards: Vec<_> = (0..shards).map(|_| Arc::new(C::default())).collect();
        let control = Arc::new(C::default());
        let all: Vec<_> = shards.iter().chain([&control]).cloned().collect();

        let registry = Registry::new();
        let register = |catalogue, collect: Box<dyn Fn() -> Vec<MetricFamily> + Send + Sync>| {
            registry.register(Box::new(Source { descriptions: describe(catalogue)?, collect }))
        };
        register(C::CATALOGUE, Box::new(move || C::families(&all)))?;
        register(C::HEALTH, Box::new(move || health.families(C::HEALTH)))?;
        register(line::CATALOGUE, Box::new(line::families))?;
        register(process::CATALOGUE, Box::new(process::families))?;
        register(CATALOGUE, Box::new(|| vec![family(&CATALOGUE[0], |_| Some(gauge_sample(1.0)))]))?;
        Ok(Self { registry, shards, control })
    }

    /// The cells of shard number `index`, `None` when there are fewer.
    pub fn shard(&self, index: usize) -> Option<Arc<C>> {
        self.shards.get(index).cloned()
    }

    /// The cells of everything that is no shard.
    pub fn control(&self) -> Arc<C> {
        Arc::clone(&self.control)
    }

    /// The whole of a scrape, in Prometheus's text format. Reads a few files of /proc: not for a shard's thread.
    ///
    /// # Errors
    /// Never, unless a metric of ours cannot be written down.
    pub fn render(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

/// One group of metrics, as the registry wants it.
struct Source {
    descriptions: Vec<Desc>,
    collect: Box<dyn Fn() -> Vec<MetricFamily> + Send + Sync>,
}

impl Collector for Source {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        (self.collect)()
    }
}

fn describe(catalogue: &[Definition]) -> Result<Vec<Desc>, prometheus::Error> {
    let describe = |definition: &Definition| {
        let labels = definition.labels.iter().map(|(name, _)| (*name).to_owned()).collect();
        Desc::new(definition.name.to_owned(), definition.help.to_owned(), labels, Default::default())
    };
    catalogue.iter().map(describe).collect()
}

/// A family with a sample for each series that `sample` has one for, its labels filled in.
pub(crate) fn family(definition: &Definition, sample: impl Fn(usize) -> Option<Metric>) -> MetricFamily {
    let samples = (0..definition.series()).filter_map(|series| {
        let mut sample = sample(series)?;
        sample.set_label(label_pairs(definition, series));
        Some(sample)
    });
    let mut family = MetricFamily::default();
    family.set_metric(samples.collect());
    family.set_name(definition.name.to_owned());
    family.set_help(definition.help.to_owned());
    family.set_field_type(match definition.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family
}

/// The labels of series number `series`, the last label running fastest.
fn label_pairs(definition: &Definition, mut series: usize) -> Vec<LabelPair> {
    let mut pairs = Vec::with_capacity(definition.labels.len());
    for (name, values) in definition.labels.iter().rev() {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(values[series % values.len()].to_owned());
        pairs.push(pair);
        series /= values.len();
    }
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::labels::{CertificateRole, Direction, Family, LabelSet, Method, Path, RequestResult, Transport};
    use crate::{Readiness, RouterCells, UmCells, WorkerCells, catalogue_of};

    fn metrics<C: CellSet>() -> Metrics<C> {
        Metrics::new(2, Arc::new(Health::new(2, Readiness::default(), || 0))).expect("metrics of ours register")
    }

    #[test]
    fn a_scrape_carries_the_sum_of_shards_and_control_plane() {
        let metrics = metrics::<EdgeCells>();
        for (index, bytes) in [(0, 100), (1, 20)] {
            let shard = metrics.shard(index).expect("two shards");
            shard.relayed_bytes.store((Direction::ToPeer, Path::Channel), bytes);
        }
        metrics.control().relayed_bytes.add((Direction::ToPeer, Path::Channel), 3);
        let text = metrics.render().expect("a scrape");
        assert!(
            text.contains("\npostern_edge_relayed_bytes_total{direction=\"to_peer\",path=\"channel\"} 123\n"),
            "{text}"
        );
        assert!(metrics.shard(2).is_none());
    }

    #[test]
    fn labels_in_a_scrape_are_those_of_the_cell_that_was_written() {
        let metrics = metrics::<EdgeCells>();
        let shard = metrics.shard(1).expect("two shards");
        for (method, result, count) in
            [(Method::ConnectionBind, RequestResult::Code508, 7), (Method::Allocate, RequestResult::Code486, 5)]
        {
            shard.requests.store((method, result), count);
        }
        let text = metrics.render().expect("a scrape");
        for line in [
            "postern_edge_requests_total{method=\"connection_bind\",result=\"508\"} 7",
            "postern_edge_requests_total{method=\"allocate\",result=\"486\"} 5",
            "postern_edge_requests_total{method=\"allocate\",result=\"500\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
        assert_eq!(text.matches("postern_edge_requests_total{").count(), <(Method, RequestResult)>::SERIES);
    }

    #[test]
    fn a_certificate_that_is_not_there_has_no_expiry() {
        let metrics = metrics::<EdgeCells>();
        metrics.control().certificate_expiry.set(CertificateRole::Edge, 1_900_000_000);
        let text = metrics.render().expect("a scrape");
        assert!(text.contains("postern_edge_certificate_expiry_timestamp_seconds{role=\"edge\"} 1900000000\n"));
        assert!(!text.contains("role=\"tokens\""));
    }

    /// What a scrape of this role holds, against its catalogue.
    fn check<C: CellSet>(metrics: &Metrics<C>) {
        let names: HashSet<_> = catalogue_of::<C>().iter().flat_map(Definition::sample_names).collect();
        let text = metrics.render().expect("a scrape");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().expect("a name");
            assert!(names.contains(name), "{name} is in no catalogue");
            let value = line.rsplit(' ').next().expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }

    #[test]
    fn every_name_in_a_scrape_is_in_the_catalogue_of_its_role() {
        let metrics = metrics::<EdgeCells>();
        metrics.control().ports_free.set(Family::V6, 1);
        metrics.control().handshake_seconds.observe(Transport::Tls, 0.002);
        check(&metrics);
        check(&self::metrics::<RouterCells>());
        check(&self::metrics::<UmCells>());
        check(&self::metrics::<WorkerCells>());
    }

    #[test]
    fn a_role_tells_nothing_of_another_roles_work() {
        let text = metrics::<RouterCells>().render().expect("a scrape");
        assert!(text.contains("\npostern_router_state_info{state=\"starting\"} 1\n"), "{text}");
        for other in ["postern_edge_", "postern_um_", "postern_worker_", "postern_mailbox_"] {
            assert!(!text.contains(other), "{other} in the scrape of a router");
        }
    }
}
