//! What an operator should mend on this machine before the first busy hour, said once at start.

use postern_config::Config;
use postern_net::system;
use postern_telemetry::EdgeCells;
use postern_telemetry::labels::{BufferSide, SocketRole};

use crate::listeners::Prepared;

/// Warns, with the remedy, of what the kernel gives less of than asked. What cannot be read is passed over: a container may hide it.
pub(crate) fn warn(config: &Config, prepared: &Prepared, cells: &EdgeCells, descriptors_max: u64) {
    descriptors(config, descriptors_max);
    buffers(config, prepared, cells);
    ephemeral_ports(config);
    connection_tracking(config);
}

fn descriptors(config: &Config, descriptors_max: u64) {
    let ports = u64::from(config.edge.relay.ports.count()) * config.edge.relay.addresses.len() as u64;
    if descriptors_max < ports {
        tracing::warn!(
            allocations = descriptors_max,
            relay_ports = ports,
            "the descriptor limit allows fewer allocations than there are relay ports; raise LimitNOFILE"
        );
    } else {
        tracing::info!(allocations = descriptors_max.min(ports), relay_ports = ports, "capacity");
    }
}

fn buffers(config: &Config, prepared: &Prepared, cells: &EdgeCells) {
    let asked = config.edge.sockets.listener_bytes as usize;
    let Some(granted) = prepared.smallest_receive_buffer() else { return };
    cells.socket_buffer_bytes.set((SocketRole::Listener, BufferSide::Receive), granted as u64);
    if granted < asked {
        tracing::warn!(
            asked_bytes = asked,
            granted_bytes = granted,
            "the kernel gave a listener a smaller buffer; set net.core.rmem_max={asked} in /etc/sysctl.d/"
        );
    }
}

fn ephemeral_ports(config: &Config) {
    let ports = config.edge.relay.ports;
    let (Ok(ephemeral), Ok(reserved)) = (system::ephemeral_ports(), system::reserved_ports()) else { return };
    let taken = |port: &u16| ephemeral.contains(port) && !reserved.iter().any(|range| range.contains(port));
    let overlap = (ports.first..=ports.last).filter(taken).count();
    if overlap > 0 {
        tracing::warn!(
            overlap,
            "relay ports lie in the kernel's ephemeral range; set net.ipv4.ip_local_reserved_ports={ports} in /etc/sysctl.d/"
        );
    }
}

fn connection_tracking(config: &Config) {
    let Some(tracking) = system::conntrack() else { return };
    let ports = config.edge.relay.ports;
    // Two entries per two-way flow at most; what the kernel may hold must exceed what we may open.
    if tracking.max < u64::from(ports.count()) * 2
        || system::conntrack_entries_in(&(ports.first..=ports.last)).is_some_and(|count| count > 0)
    {
        tracing::warn!(
            entries_max = tracking.max,
            "connection tracking covers the relay ports and costs CPU on every packet; add notrack rules (postern firewall prints them)"
        );
    }
}
