//! How many relay ports are free, as metrics.

use postern_telemetry::EdgeCells;
use postern_telemetry::labels::Family;
use postern_turn::broker::Broker;

/// Sums UDP ports over the addresses of each family; a family without relay addresses has no value.
pub(crate) fn publish(broker: &Broker, cells: &EdgeCells) {
    for &family in Family::ALL {
        let uses = broker.port_use().filter(|ports| !ports.tcp && (family == Family::V4) == ports.address.is_ipv4());
        let sum = uses.fold(None, |sum: Option<(u64, u64)>, ports| {
            let (free, total) = sum.unwrap_or_default();
            Some((free + u64::from(ports.available), total + u64::from(ports.total)))
        });
        if let Some((free, total)) = sum {
            cells.ports_free.set(family, free);
            cells.ports.set(family, total);
        }
    }
}
