//! What an operator sees: log lines, Prometheus metrics, `/metrics`, `/healthz`, `/readyz`; and what systemd is told.
//!
//! Counters live where the work is: each shard owns one set of its role's cells ([`EdgeCells`], [`RouterCells`],
//! [`UmCells`], [`WorkerCells`]) and the control plane one more; nothing is shared on the packet path, and a scrape sums
//! them. Every label comes from a closed set in [`labels`] or [`call_labels`]. A role exports its own metrics alone.

pub mod call_labels;
mod catalogue;
mod cell_set;
mod cells;
mod clean;
mod edge_cells;
#[cfg(test)]
mod grafana;
mod health;
pub mod labels;
mod line;
mod log;
mod metrics;
mod process;
mod repeat;
mod router_cells;
mod server;
pub mod service_manager;
mod um_cells;
mod worker_cells;
mod writer;

pub use catalogue::{Definition, Kind, catalogue, catalogue_of};
pub use cell_set::CellSet;
pub use cells::{Counter, Gauge, Histogram, OptionalGauge};
pub use clean::{CLEAN_BYTES_MAX, Clean, CleanDebug};
pub use edge_cells::EdgeCells;
pub use health::{HEARTBEAT_AGE_MAX_MILLIS, Health, Heartbeat, Readiness};
pub use line::{AUDIT_TARGET, Format, LINE_BYTES_MAX, RECORD_TARGET, VALUE_BYTES_MAX};
pub use log::{LogError, Logging, init, record};
pub use metrics::{Metrics, MetricsError};
pub use repeat::{RepeatLimit, Repeats};
pub use router_cells::RouterCells;
pub use server::{CONNECTIONS_MAX, HEADER_TIMEOUT, serve};
pub use um_cells::UmCells;
pub use worker_cells::WorkerCells;
