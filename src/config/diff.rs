//! What a reload changes, and what it cannot.

use crate::tree::{Config, Role};

/// The difference between the running configuration and a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Dotted keys whose values differ, in file order.
    pub changed: Vec<&'static str>,
    /// Those of [`changed`](Self::changed) that need a restart of whoever reads them.
    pub restart_only: Vec<&'static str>,
}

impl Diff {
    /// Whether both configurations say the same.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Those of [`restart_only`](Self::restart_only) that a process of this role reads; a reload of it that changes one is
    /// refused whole. What other roles of the same file would need a restart for is theirs.
    pub fn restart_only_of(&self, role: Role) -> Vec<&'static str> {
        let tables: &[&str] = match role {
            Role::Edge => &["edge.", "telemetry."],
            Role::Router => &["router.", "sip.", "telemetry.log"],
            // A fresh worker must not take another store while its predecessor still writes to the former one.
            Role::Um | Role::Worker => &["um.", "web.", "mail.", "worker.", "mailbox.", "sip.", "telemetry.log"],
        };
        let is_read = |key: &&'static str| tables.iter().any(|table| key.starts_with(table));
        self.restart_only.iter().copied().filter(is_read).collect()
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

/// Same, for a key of a role's table.
macro_rules! role_row {
    ($key:literal, $takes:ident, $role:ident, $($path:ident).+) => {
        ($key, Takes::$takes, |old, new| {
            old.$role.as_ref().map(|t| &t.$($path).+) == new.$role.as_ref().map(|t| &t.$($path).+)
        })
    };
}

/// Same, for the identity of a role.
macro_rules! identity_row {
    ($key:literal, $takes:ident, $role:ident, $($path:ident).+) => {
        ($key, Takes::$takes, |old, new| {
            let of = |config: &Config| {
                let identity = config.$role.as_ref().and_then(|t| t.identity.as_ref());
                identity.map(|identity| identity.$($path).+.clone())
            };
            of(old) == of(new)
        })
    };
}

/// Same, for a key of each table of a list.
macro_rules! list_row {
    ($key:literal, $takes:ident, $list:ident, $($path:ident).+) => {
        ($key, Takes::$takes, |old, new| {
            old.$list.iter().map(|t| &t.$($path).+).eq(new.$list.iter().map(|t| &t.$($path).+))
        })
    };
}

/// Same, for a key of each `[[worker.edge]]`.
macro_rules! worker_edge_row {
    ($key:literal, $($path:ident).+) => {
        ($key, Takes::Reload, |old, new| {
            let of = |config: &Config| {
                let edges = config.worker.iter().flat_map(|worker| &worker.edges);
                edges.map(|edge| edge.$($path).+.clone()).collect::<Vec<_>>()
            };
            of(old) == of(new)
        })
    };
}

/// Every key. Restart-only is what decides the shape of the running process: its threads, its port pool with the
/// addresses in it, the realm that clients have hashed into their keys, and sockets that exist once. What only workers
/// read takes hold by a recycle.
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
    row!("edge.limits.worker_networks", Reload, edge.limits.worker_networks),
    row!("edge.limits.handshakes_per_source", Restart, edge.limits.handshakes_per_source),
    row!("edge.sockets.listener_bytes", Restart, edge.sockets.listener_bytes),
    row!("edge.sockets.relay_bytes", Restart, edge.sockets.relay_bytes),
    row!("edge.media.clock_rates", Reload, edge.media.clock_rates),
    row!("edge.records.file", Restart, edge.records.file),
    row!("sip.contact_secrets", Reload, sip.contact_secrets),
    row!("sip.connections_max", Restart, sip.connections_max),
    row!("sip.connections_per_source_max", Restart, sip.connections_per_source_max),
    row!("sip.message_bytes_max", Restart, sip.message_bytes_max),
    row!("sip.session_expires_secs", Reload, sip.session_expires_secs),
    row!("sip.diversions_max", Reload, sip.diversions_max),
    role_row!("router.startup_mode", Restart, router, startup_mode),
    role_row!("router.tcp", Restart, router, tcp),
    role_row!("router.tls", Restart, router, tls),
    role_row!("router.udp", Restart, router, udp),
    identity_row!("router.host", Restart, router, host),
    identity_row!("router.certificate", Reload, router, certificate),
    identity_row!("router.private_key", Reload, router, certificate.private_key),
    identity_row!("router.client_ca", Reload, router, client_ca),
    role_row!("router.um_services", Reload, router, um_services),
    role_row!("router.mode", Reload, router, mode),
    role_row!("router.contacts", Reload, router, contacts),
    role_row!("router.health_interval_ms", Reload, router, health_interval_ms),
    role_row!("router.health_timeout_ms", Reload, router, health_timeout_ms),
    role_row!("router.retry_after_secs", Reload, router, retry_after_secs),
    role_row!("router.timer_c_secs", Restart, router, timer_c_secs),
    role_row!("router.metrics", Restart, router, metrics),
    role_row!("um.startup_mode", Restart, um, startup_mode),
    role_row!("um.tcp", Restart, um, tcp),
    role_row!("um.tls", Restart, um, tls),
    identity_row!("um.host", Reload, um, host),
    identity_row!("um.certificate", Reload, um, certificate),
    identity_row!("um.private_key", Reload, um, certificate.private_key),
    identity_row!("um.client_ca", Reload, um, client_ca),
    role_row!("um.max_calls", Reload, um, max_calls),
    role_row!("um.outcalls_per_hour", Reload, um, outcalls_per_hour),
    role_row!("um.routers", Reload, um, routers),
    role_row!("um.runtime_directory", Restart, um, runtime_directory),
    role_row!("um.retry_after_secs", Reload, um, retry_after_secs),
    role_row!("um.metrics", Restart, um, metrics),
    role_row!("um.recycle.age_secs", Reload, um, recycle.age_secs),
    role_row!("um.recycle.memory_mib", Reload, um, recycle.memory_mib),
    role_row!("um.recycle.new_binary", Reload, um, recycle.new_binary),
    role_row!("um.recycle.interval_secs_min", Reload, um, recycle.interval_secs_min),
    role_row!("worker.startup_mode", Restart, worker, startup_mode),
    role_row!("worker.addresses", Restart, worker, addresses),
    role_row!("worker.slots", Restart, worker, slots),
    identity_row!("worker.host", Reload, worker, host),
    identity_row!("worker.certificate", Reload, worker, certificate),
    identity_row!("worker.private_key", Reload, worker, certificate.private_key),
    identity_row!("worker.client_ca", Reload, worker, client_ca),
    role_row!("worker.rtp_ports", Reload, worker, rtp_ports),
    role_row!("worker.rtp_rest_secs", Reload, worker, rtp_rest_secs),
    role_row!("worker.routers", Reload, worker, routers),
    role_row!("worker.codecs", Reload, worker, codecs),
    role_row!("worker.media_threads", Reload, worker, media_threads),
    role_row!("worker.media_timeout_secs", Reload, worker, media_timeout_secs),
    role_row!("worker.ring_secs", Reload, worker, ring_secs),
    role_row!("worker.recent_calls", Reload, worker, recent_calls),
    role_row!("worker.recent_calls_mib", Reload, worker, recent_calls_mib),
    role_row!("worker.metrics", Reload, worker, metrics),
    ("worker.edge.tokens", Takes::Reload, |old, new| {
        let of = |config: &Config| {
            let edges = config.worker.iter().flat_map(|worker| &worker.edges);
            edges.map(|edge| (edge.host.clone(), edge.port)).collect::<Vec<_>>()
        };
        of(old) == of(new)
    }),
    worker_edge_row!("worker.edge.certificate", certificate),
    worker_edge_row!("worker.edge.private_key", certificate.private_key),
    worker_edge_row!("worker.edge.ca", ca),
    worker_edge_row!("worker.edge.location", location),
    worker_edge_row!("worker.edge.token_lifetime_secs", token_lifetime_secs),
    role_row!("worker.records.json", Reload, worker, records.json),
    role_row!("worker.records.csv", Reload, worker, records.csv),
    role_row!("mailbox.store", Restart, mailbox, store),
    role_row!("mailbox.recordings", Restart, mailbox, recordings),
    role_row!("mailbox.pin_key_file", Reload, mailbox, pin_key_file),
    role_row!("mailbox.prompts", Reload, mailbox, prompts),
    role_row!("mailbox.key_map", Reload, mailbox, key_map),
    role_row!("mailbox.quota_messages", Reload, mailbox, quota_messages),
    role_row!("mailbox.quota_minutes", Reload, mailbox, quota_minutes),
    role_row!("mailbox.deposits_max", Reload, mailbox, deposits_max),
    role_row!("mailbox.greeting_secs_max", Reload, mailbox, greeting_secs_max),
    role_row!("mailbox.pin.length_min", Reload, mailbox, pin.length_min),
    role_row!("mailbox.pin.lifetime_days", Reload, mailbox, pin.lifetime_days),
    role_row!("mailbox.pin.history", Reload, mailbox, pin.history),
    role_row!("mailbox.pin.attempts_max", Reload, mailbox, pin.attempts_max),
    role_row!("mailbox.pin.common_patterns", Reload, mailbox, pin.common_patterns),
    list_row!("gateway.address", Reload, gateways, peer),
    list_row!("gateway.name", Reload, gateways, peer),
    list_row!("gateway.dial_plan", Reload, gateways, dial_plan),
    list_row!("gateway.status", Reload, gateways, status),
    list_row!("gateway.symmetric_rtp", Reload, gateways, symmetric_rtp),
    list_row!("gateway.diversion", Reload, gateways, diversion),
    list_row!("gateway.contacts", Reload, gateways, contacts),
    list_row!("gateway.target", Reload, gateways, target),
    list_row!("gateway.outcalls", Reload, gateways, outcalls),
    list_row!("gateway.mwi", Reload, gateways, mwi),
    list_row!("gateway.username", Reload, gateways, credentials),
    list_row!("gateway.password_file", Reload, gateways, credentials),
    list_row!("dial_plan.name", Reload, dial_plans, name),
    list_row!("dial_plan.uri_type", Reload, dial_plans, uri_type),
    list_row!("dial_plan.security", Reload, dial_plans, security),
    list_row!("dial_plan.pilots", Reload, dial_plans, pilots),
    list_row!("dial_plan.digits", Reload, dial_plans, digits),
    list_row!("dial_plan.country_code", Reload, dial_plans, country_code),
    list_row!("dial_plan.national_prefix", Reload, dial_plans, national_prefix),
    list_row!("dial_plan.international_prefix", Reload, dial_plans, international_prefix),
    list_row!("dial_plan.domains", Reload, dial_plans, domains),
    list_row!("dial_plan.allow", Reload, dial_plans, allow),
    list_row!("dial_plan.operator", Reload, dial_plans, operator),
    list_row!("dial_plan.language", Reload, dial_plans, language),
    list_row!("dial_plan.time_zone", Reload, dial_plans, time_zone),
    list_row!("dial_plan.call_secs_max", Reload, dial_plans, call_secs_max),
    list_row!("dial_plan.recording_secs_max", Reload, dial_plans, recording_secs_max),
    list_row!("dial_plan.recording_idle_secs", Reload, dial_plans, recording_idle_secs),
    list_row!("dial_plan.input_failures_max", Reload, dial_plans, input_failures_max),
    list_row!("dial_plan.logon_failures_max", Reload, dial_plans, logon_failures_max),
    list_row!("hunt_group.gateway", Reload, hunt_groups, gateway),
    list_row!("hunt_group.pilot", Reload, hunt_groups, pilot),
    list_row!("hunt_group.dial_plan", Reload, hunt_groups, dial_plan),
    role_row!("web.listen", Restart, web, listen),
    role_row!("web.certificate", Reload, web, certificate),
    role_row!("web.private_key", Reload, web, certificate.private_key),
    role_row!("web.url", Reload, web, url),
    role_row!("web.admin_token_file", Reload, web, admin_tokens),
    role_row!("mail.smtp", Reload, mail, server),
    role_row!("mail.from", Reload, mail, from),
    role_row!("mail.username", Reload, mail, credentials),
    role_row!("mail.password_file", Reload, mail, credentials),
    role_row!("mail.ca", Reload, mail, ca),
    role_row!("mail.queue", Restart, mail, queue),
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
    use crate::testing::{BASE, CALL, TOKENS, call_with, key, machine, pem_pair, source};
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
    fn a_role_needs_a_restart_for_what_it_reads_and_not_for_what_others_do() {
        let former = Diff { restart_only: ROWS.iter().map(|(key, ..)| *key).collect(), ..Diff::default() };
        let tables = |role| {
            let mut tables: Vec<&str> =
                former.restart_only_of(role).iter().filter_map(|key| key.split('.').next()).collect();
            tables.dedup();
            tables
        };
        assert_eq!(tables(Role::Edge), ["edge", "telemetry"]);
        assert_eq!(tables(Role::Router), ["sip", "router", "telemetry"]);
        assert_eq!(tables(Role::Um), ["sip", "um", "worker", "mailbox", "web", "mail", "telemetry"]);
        // Only the edge listens there; the log is everybody's.
        let telemetry = |role| former.restart_only_of(role).iter().filter(|key| key.starts_with("telemetry.")).count();
        assert_eq!([Role::Edge, Role::Router, Role::Um].map(telemetry), [3, 2, 2]);
    }

    #[test]
    fn what_another_role_needs_a_restart_for_lets_an_edge_reload() {
        let old = format!("{BASE}{CALL}");
        let new = old.replace("um_services", "metrics = \"127.0.0.1:9652\"\num_services");
        let diff = changes(&old, &new);
        assert_eq!(diff.restart_only, ["router.metrics"]);
        assert!(diff.restart_only_of(Role::Edge).is_empty());
        assert_eq!(diff.restart_only_of(Role::Router), ["router.metrics"]);
    }

    #[test]
    fn switching_the_token_service_on_needs_a_restart() {
        assert_eq!(changes(BASE, &format!("{BASE}{TOKENS}")).restart_only, ["edge.tokens.listen"]);
    }

    #[test]
    fn the_web_services_come_and_go_at_a_restart_alone() {
        const WEB: &str =
            "[web]\nlisten = \"10.20.0.20:8444\"\ncertificate = \"call.pem\"\nprivate_key = \"call.key\"\n";
        let (without, with) = (load(&source(CALL)), load(&source(&format!("{CALL}{WEB}"))));
        for (old, new) in [(&without, &with), (&with, &without)] {
            assert_eq!(diff(old, new).restart_only_of(Role::Um), ["web.listen"]);
        }
    }

    #[test]
    fn the_router_s_own_name_needs_a_restart_and_the_um_service_s_does_not() {
        let restart_only = |new: &str| diff(&load(&source(CALL)), &load(&source(new))).restart_only;
        let router = call_with("host = \"router.example.test\"", "host = \"worker.example.test\"");
        assert_eq!(restart_only(&router), ["router.host"]);
        let um = call_with("host = \"um.example.test\"", "host = \"worker.example.test\"");
        assert!(restart_only(&um).is_empty());
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
