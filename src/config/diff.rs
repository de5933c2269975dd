//! What a reload changes, and what it cannot.

use crate::tree::Config;

/// The difference between the running configuration and a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Dotted keys whose values differ, in file order.
    pub changed: Vec<&'static str>,
    /// Those of [`changed`](Self::changed) that need a restart; a reload that changes one is refused whole.
    pub restart_only: Vec<&'static str>,
}

impl Diff {
    /// Whether both configurations say the same.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }
}

/// When a change of a key takes hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Reload,
    Restart,
}

/// A key, when a change of it takes hold, and whether two configurations agree on it.
type Row = (&'static str, Takes, fn(&Config, &Config) -> bool);

macro_rules! row {
    ($key:literal, $takes:ident, $($path:ident).+) => {
        ($key, Takes::$takes, |old, new| old.$($path).+ == new.$($path).+)
    };
}

/// Same, for a key of a table that may be absent; coming and going is a change of each key of it.
macro_rules! optional_row {
    ($key:literal, $takes:ident, $table:ident, $($path:ident).+) => {
        ($key, Takes::$takes, |old, new| {
            old.edge.$table.as_ref().map(|t| &t.$($path).+) == new.edge.$table.as_ref().map(|t| &t.$($path).+)
        })
    };
}

/// Every key. Restart-only is what decides the shape of the running process: its threads, its port pool with the
/// addresses in it, the realm that clients have hashed into their keys, and sockets that exist once.
const ROWS: &[Row] = &[
    row!("edge.realm", Restart, edge.realm),
    row!("edge.udp", Reload, edge.udp),
    row!("edge.tcp", Reload, edge.tcp),
    row!("edge.tls", Reload, edge.tls),
    row!("edge.dtls", Reload, edge.dtls),
    ("edge.certificate", Takes::Reload, |old, new| old.edge.certificate == new.edge.certificate),
    ("edge.private_key", Takes::Reload, |old, new| {
        old.edge.certificate.as_ref().map(|pair| &pair.private_key)
            == new.edge.certificate.as_ref().map(|pair| &pair.private_key)
    }),
    row!("edge.shards", Restart, edge.shards),
    row!("edge.advertise", Restart, edge.advertise),
    row!("edge.mobility", Reload, edge.mobility),
    row!("edge.relay.addresses", Restart, edge.relay.addresses),
    row!("edge.relay.ports", Restart, edge.relay.ports),
    row!("edge.relay.allow_peers", Reload, edge.relay.allow_peers),
    row!("edge.relay.deny_peers", Reload, edge.relay.deny_peers),
    row!("edge.relay.tcp", Reload, edge.relay.tcp),
    row!("edge.auth.secrets", Reload, edge.auth.secrets),
    row!("edge.auth.token_lifetime_max_secs", Reload, edge.auth.token_lifetime_max_secs),
    row!("edge.auth.allocation_lifetime_max_secs", Reload, edge.auth.allocation_lifetime_max_secs),
    row!("edge.auth.allocations_per_identity", Reload, edge.auth.allocations_per_identity),
    row!("edge.auth.allocations_max", Reload, edge.auth.allocations_max),
    optional_row!("edge.tokens.listen", Restart, tokens, listen),
    optional_row!("edge.tokens.certificate", Reload, tokens, certificate),
    optional_row!("edge.tokens.private_key", Reload, tokens, certificate.private_key),
    optional_row!("edge.tokens.client_ca", Reload, tokens, client_ca),
    optional_row!("edge.tokens.allowed_names", Reload, tokens, allowed_names),
    optional_row!("edge.tokens.internet", Reload, tokens, internet),
    optional_row!("edge.tokens.intranet", Reload, tokens, intranet),
    optional_row!("edge.tokens.requests_per_caller_per_sec", Reload, tokens, requests_per_caller_per_sec),
    row!("edge.drain.deadline_secs", Reload, edge.drain.deadline_secs),
    row!("edge.drain.alternate", Reload, edge.drain.alternate),
    optional_row!("edge.nat_discovery.alternate_address", Restart, nat_discovery, alternate_address),
    optional_row!("edge.nat_discovery.alternate_port", Restart, nat_discovery, alternate_port),
    row!("edge.limits.unauthenticated_answers_per_sec", Restart, edge.limits.unauthenticated_answers_per_sec),
    row!("edge.limits.handshakes_per_source", Reload, edge.limits.handshakes_per_source),
    row!("edge.sockets.listener_bytes", Restart, edge.sockets.listener_bytes),
    row!("edge.sockets.relay_bytes", Restart, edge.sockets.relay_bytes),
    row!("edge.media.clock_rates", Reload, edge.media.clock_rates),
    row!("edge.records.file", Restart, edge.records.file),
    row!("telemetry.listen", Restart, telemetry.listen),
    row!("telemetry.log", Restart, telemetry.log),
    row!("telemetry.log_format", Restart, telemetry.log_format),
];

/// Compares two configurations key by key.
pub fn diff(old: &Config, new: &Config) -> Diff {
    let mut diff = Diff::default();
    for (key, takes, same) in ROWS {
        if !same(old, new) {
            diff.changed.push(key);
            if *takes == Takes::Restart {
                diff.restart_only.push(key);
            }
        }
    }
    diff
}

#[cfg(test)]
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|(key, _, _)| *key)
}
