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
    row!("edge.limits.handshakes_per_source", Restart, edge.limits.handshakes_per_source),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BASE, TOKENS, key, machine, pem_pair, source};
    use crate::{Source, load_source};

    /// Loads with certificates that stay the same between calls of one test.
    fn load(source: &Source) -> Config {
        load_source(source, &machine()).expect("well").config
    }

    fn changes(old: &str, new: &str) -> Diff {
        let (certificate, key) = pem_pair(&key());
        let with_pair = |text: &str| {
            load(&source(text).with_file("edge.pem", certificate.as_str()).with_file("edge.key", key.as_str()))
        };
        diff(&with_pair(old), &with_pair(new))
    }

    #[test]
    fn a_file_does_not_differ_from_itself() {
        assert!(changes(BASE, BASE).is_empty());
    }

    #[test]
    fn what_a_reload_takes_up_is_named() {
        let new = BASE
            .replace("10.20.0.0/24", "10.20.1.0/24")
            .replace("[\"203.0.113.10:443\"]", "[]")
            .replace("2026a", "2026b");
        let diff = changes(BASE, &new);
        assert_eq!(diff.changed, ["edge.tls", "edge.relay.allow_peers", "edge.auth.secrets"]);
        assert!(diff.restart_only.is_empty());
    }

    #[test]
    fn what_needs_a_restart_is_named_apart() {
        let new = BASE.replace("dtls = []", "shards = 2\nmobility = true").replace("50000", "50002");
        let diff = changes(BASE, &new);
        assert_eq!(diff.changed, ["edge.shards", "edge.mobility", "edge.relay.ports"]);
        assert_eq!(diff.restart_only, ["edge.shards", "edge.relay.ports"]);
    }

    #[test]
    fn switching_the_token_service_on_needs_a_restart() {
        assert_eq!(changes(BASE, &format!("{BASE}{TOKENS}")).restart_only, ["edge.tokens.listen"]);
    }

    #[test]
    fn a_renewed_certificate_is_a_change_for_a_reload() {
        let (old, new) = (load(&source(BASE)), load(&source(BASE)));
        let diff = diff(&old, &new);
        assert_eq!(diff.changed, ["edge.certificate"]);
        assert!(diff.restart_only.is_empty());
    }

    #[test]
    fn a_changed_secret_value_is_a_change_that_shows_nothing() {
        let diff = changes(BASE, &BASE.replace("sixteen-bytes-at-the-least", "sixteen-bytes-at-the-most"));
        assert_eq!(diff.changed, ["edge.auth.secrets"]);
        assert!(!format!("{:?}", crate::testing::accepted(BASE)).contains("sixteen-bytes"));
    }
}
