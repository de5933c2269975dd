//! Rules that hold between keys: each speaks only where the keys it compares are well in themselves.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::decode::{Draft, Listener, ListenerKind, repeated};
use crate::drawn_ports::DrawnPorts;
use crate::peers;
use crate::reader::Notes;
use crate::rules_call;
use crate::rules_owner;
use crate::tree::{CertifiedPair, Role};
use crate::uri::{Location, RelayTransport, is_public, relays_from_listeners};

/// RFC 8656 section 7.2: a server grants no less than the default lifetime when asked for nothing else.
const LIFETIME_DEFAULT_SECS: u32 = 600;
/// A certificate with less than this left is warned of.
const EXPIRY_WARNING_SECS: i64 = 14 * 86_400;

/// What surrounds the file: inputs of the rules.
pub(crate) struct Surroundings<'a> {
    /// Addresses of this machine's interfaces; empty when not known.
    pub(crate) own_addresses: &'a [IpAddr],
    pub(crate) now_unix_secs: i64,
    /// The role that is to run, if one is.
    pub(crate) role: Option<Role>,
    pub(crate) drawn: DrawnPorts,
}

#[cfg(test)]
impl Surroundings<'_> {
    pub(crate) fn unknown() -> Self {
        Self { own_addresses: &[], now_unix_secs: 0, role: None, drawn: DrawnPorts::default() }
    }
}

/// Completes `draft` with what follows from other keys, and notes every rule that it breaks.
pub(crate) fn apply(draft: &mut Draft, surroundings: &Surroundings<'_>, notes: &Notes) {
    nat_discovery(draft, notes);
    clashes(draft, notes);
    on_this_machine(draft, surroundings, notes);
    certificates(draft, surroundings, notes);
    metrics(draft, notes);
    if draft.roles.edge {
        edge(draft, surroundings, notes);
    }
    rules_call::apply(draft, surroundings, notes);
    rules_owner::apply(draft, notes);
}

fn edge(draft: &mut Draft, surroundings: &Surroundings<'_>, notes: &Notes) {
    listeners(draft, notes);
    relay(draft, notes);
    advertise(draft, notes);
    peers::judge(&draft.edge.relay, &own(draft, surroundings), on_loopback(draft), notes);
    auth(draft, notes);
    tokens(draft, notes);
    drain(draft, notes);
}

/// Whether every listener of clients is on loopback, as with `postern up`.
fn on_loopback(draft: &Draft) -> bool {
    let mut clients = draft.listeners.iter().filter(|listener| listener.kind.serves_clients());
    clients.all(|listener| listener.address.ip().is_loopback())
}

/// Every address that leads to this edge.
fn own(draft: &Draft, surroundings: &Surroundings<'_>) -> BTreeSet<IpAddr> {
    let listening = draft.listeners.iter().filter(|listener| listener.kind.is_of_the_edge());
    let listening = listening.map(|listener| listener.address.ip());
    let advertised = draft.edge.advertise.iter().flat_map(|(local, public)| [*local, *public]);
    let relaying = draft.edge.relay.addresses.iter().copied();
    let own = surroundings.own_addresses.iter().copied();
    own.chain(listening).chain(advertised).chain(relaying).filter(|address| !address.is_unspecified()).collect()
}

fn nat_discovery(draft: &mut Draft, notes: &Notes) {
    let Some((address, port)) = draft.nat_discovery else { return };
    let key = "edge.nat_discovery.alternate_address";
    let Some(found) = &draft.edge.nat_discovery else {
        if !notes.faulty("edge.udp") {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let remedy = "add one to edge.udp: the discovery compares two addresses of one family";
            notes.error(key, format!("there is no UDP listener over {family} beside {address}"), remedy);
        }
        return;
    };
    let primary = found.primary;
    if primary.ip().is_unspecified() {
        notes.error(key, format!("the UDP listener {primary} is a wildcard"), "name its address in edge.udp");
        return;
    }
    if primary.ip() == address {
        notes.error(key, format!("{address} is the address of the listener itself"), "name a second address");
        return;
    }
    if primary.port() == port {
        let key = "edge.nat_discovery.alternate_port";
        notes.error(key, format!("{port} is the port of the listener {primary} itself"), "choose another port");
        return;
    }
    let sockets = found.sockets();
    for address in sockets {
        if !draft.listeners.iter().any(|other| other.kind == ListenerKind::Udp && other.address == address) {
            draft.listeners.push(Listener { key: key.into(), address, kind: ListenerKind::NatDiscovery });
        }
    }
}

fn listeners(draft: &Draft, notes: &Notes) {
    let none = !draft.listeners.iter().any(|listener| listener.kind.serves_clients());
    if none && !["udp", "tcp", "tls", "dtls"].iter().any(|kind| notes.faulty(&format!("edge.{kind}"))) {
        notes.error("edge.udp", "no listener is configured", "write udp = [\"ADDRESS:3478\"]");
    }
    let secured = |kind| draft.listeners.iter().find(|listener| listener.kind == kind);
    for (kind, key) in [(ListenerKind::Tls, "edge.tls"), (ListenerKind::Dtls, "edge.dtls")] {
        if secured(kind).is_none() {
            continue;
        }
        match &draft.edge.certificate {
            None if notes.faulty("edge.certificate") || notes.faulty("edge.private_key") => {}
            None => notes.error(key, "needs a certificate", "add edge.certificate and edge.private_key"),
            Some(pair) if kind == ListenerKind::Dtls && !pair.material.elliptic => {
                let remedy = "use a certificate with an ECDSA key (P-256)";
                notes.error(key, "needs a certificate with an ECDSA key, and edge.certificate has another", remedy);
            }
            Some(_) => {}
        }
    }
}

fn clashes(draft: &Draft, notes: &Notes) {
    for (at, later) in draft.listeners.iter().enumerate() {
        for earlier in &draft.listeners[..at] {
            if later.kind.is_udp() != earlier.kind.is_udp() || !clash(later.address, earlier.address) {
                continue;
            }
            let what = format!("{} is taken by {} (line {})", later.address, earlier.key, notes.line(&earlier.key));
            let remedy = match (earlier.kind, later.kind) {
                (ListenerKind::Tcp, ListenerKind::Tls) => "keep it in edge.tls alone, which also answers plain STUN",
                _ => "choose another port or address",
            };
            notes.error(&later.key, what, remedy);
        }
    }
}

/// Whether two sockets of one transport cannot be open at the same time.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let wildcard = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && (wildcard || one.ip() == other.ip())
}

fn relay(draft: &Draft, notes: &Notes) {
    let relay = &draft.edge.relay;
    if relay.addresses.is_empty() && !notes.faulty("edge.relay.addresses") {
        notes.error("edge.relay.addresses", "is empty", "name the addresses that media is relayed from");
    }
    if !notes.faulty("edge.relay.addresses") {
        for (at, address) in repeated(relay.addresses.iter().copied()) {
            notes.error(&format!("edge.relay.addresses[{at}]"), format!("{address} is there twice"), "take one out");
        }
        for (at, address) in relay.addresses.iter().enumerate() {
            if address.is_loopback() && !on_loopback(draft) {
                let what = format!("{address} is loopback: nothing beyond this machine can be reached from it");
                notes.warn(&format!("edge.relay.addresses[{at}]"), what, "name an outward address");
            }
        }
    }
    if notes.faulty("edge.relay.ports") {
        return;
    }
    for listener in &draft.listeners {
        let shares_address = relay.addresses.iter().any(|address| {
            let ip = listener.address.ip();
            *address == ip || (ip.is_unspecified() && ip.is_ipv4() == address.is_ipv4())
        });
        if shares_address && relay.ports.contains(listener.address.port()) {
            let line = notes.line(&listener.key);
            let what =
                format!("{} holds the port of {} ({}, line {line})", relay.ports, listener.key, listener.address);
            notes.error("edge.relay.ports", what, "move the listener or the range");
        }
    }
}

fn advertise(draft: &Draft, notes: &Notes) {
    let key = |local: &IpAddr| format!("edge.advertise.{local}");
    let mut publics = BTreeSet::new();
    for (local, public) in &draft.edge.advertise {
        if local.is_ipv4() != public.is_ipv4() {
            let what = format!("{local} and {public} are of different families");
            notes.error(&key(local), what, "map an address to one of its own family");
        }
        if !publics.insert(public) {
            let remedy = "give each local address a public one of its own: peers are translated back by it";
            notes.error(&key(local), format!("{public} stands for two local addresses"), remedy);
        }
        let listens = draft.listeners.iter().any(|listener| {
            let ip = listener.address.ip();
            listener.kind.serves_clients() && (ip == *local || (ip.is_unspecified() && ip.is_ipv4() == local.is_ipv4()))
        });
        if !listens && !draft.edge.relay.addresses.contains(local) {
            let what = format!("{local} is neither a listener's nor a relay address");
            notes.warn(&key(local), what, "write the local address on the left");
        }
    }
}

fn on_this_machine(draft: &Draft, surroundings: &Surroundings<'_>, notes: &Notes) {
    let own = surroundings.own_addresses;
    if own.is_empty() {
        return;
    }
    let foreign = |ip: IpAddr| !ip.is_unspecified() && !ip.is_loopback() && !own.contains(&ip);
    // Only the edge can tell others another address than its own.
    let here = "add it to an interface, or correct it";
    let behind_nat = "add it to an interface, or correct it; behind a NAT write the local address, and edge.advertise";
    let bound = draft.listeners.iter().filter(|listener| !listener.kind.is_of_a_slot());
    for listener in bound.filter(|listener| foreign(listener.address.ip())) {
        let remedy = if listener.kind.is_of_the_edge() { behind_nat } else { here };
        notes.warn(&listener.key, format!("{} is no address of this machine", listener.address.ip()), remedy);
    }
    for (at, address) in draft.edge.relay.addresses.iter().enumerate() {
        if foreign(*address) {
            let key = format!("edge.relay.addresses[{at}]");
            notes.warn(&key, format!("{address} is no address of this machine"), behind_nat);
        }
    }
}

fn certificates(draft: &Draft, surroundings: &Surroundings<'_>, notes: &Notes) {
    let internal = draft.edge.tokens.as_ref().map(|tokens| &tokens.certificate);
    let identities = [
        ("router.certificate", draft.router.as_ref().and_then(|router| router.identity.as_ref())),
        ("um.certificate", draft.um.as_ref().and_then(|um| um.identity.as_ref())),
        ("worker.certificate", draft.worker.as_ref().and_then(|worker| worker.identity.as_ref())),
    ];
    let pairs = [("edge.certificate", draft.edge.certificate.as_ref()), ("edge.tokens.certificate", internal)];
    let web = draft.web.as_ref().map(|web| &web.certificate);
    let pairs = pairs.into_iter().chain([("web.certificate", web)]);
    let pairs = pairs.chain(identities.map(|(key, identity)| (key, identity.map(|i| &i.certificate))));
    for (key, pair) in pairs {
        if let Some(pair) = pair {
            certificate(key, pair, surroundings.now_unix_secs, notes);
        }
    }
    let edges = draft.worker.iter().flat_map(|worker| &worker.edges).enumerate();
    for (at, edge) in edges {
        certificate(&format!("worker.edge[{at}].certificate"), &edge.certificate, surroundings.now_unix_secs, notes);
    }
}

fn certificate(key: &str, pair: &CertifiedPair, now_unix_secs: i64, notes: &Notes) {
    let path = pair.certificate.display();
    let left_secs = pair.material.not_after_unix_secs - now_unix_secs;
    if left_secs < 0 {
        let what = format!("{path} expired {} ago", span(-left_secs));
        notes.warn(key, what, "renew it: clients refuse it");
    } else if left_secs < EXPIRY_WARNING_SECS {
        notes.warn(
            key,
            format!("{path} expires in {}", span(left_secs)),
            "renew it; a changed file is taken up at once",
        );
    }
    if pair.material.not_before_unix_secs > now_unix_secs {
        let what =
            format!("{path} is not valid for another {}", span(pair.material.not_before_unix_secs - now_unix_secs));
        notes.warn(key, what, "check the clock of this machine, or wait");
    }
    if pair.material.names.is_empty() && pair.material.addresses.is_empty() {
        let what = format!("{path} names no host in subjectAltName");
        notes.warn(key, what, "have one made with the names that clients use");
    }
}

fn span(secs: i64) -> String {
    match secs {
        0..=7199 => format!("{} minutes", secs / 60),
        7200..=172_799 => format!("{} hours", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}

fn auth(draft: &Draft, notes: &Notes) {
    let auth = &draft.edge.auth;
    if !notes.faulty("edge.auth.secrets") {
        for (at, id) in repeated(auth.secrets.iter().map(|secret| secret.id.as_str())) {
            let what = format!("the id {id} is there twice");
            notes.error(&format!("edge.auth.secrets[{at}].id"), what, "give each secret an id of its own");
        }
        for (at, _) in repeated(auth.secrets.iter().map(|secret| secret.value.expose())) {
            let key = format!("edge.auth.secrets[{at}]");
            notes.warn(&key, "has the value of a secret before it", "a rotation needs a new value");
        }
    }
    if auth.allocations_per_identity > auth.allocations_max {
        let what = format!("{} is above allocations_max = {}", auth.allocations_per_identity, auth.allocations_max);
        notes.warn(
            "edge.auth.allocations_per_identity",
            what,
            "raise allocations_max: no token can ask for more than it",
        );
    }
    if auth.allocation_lifetime_max_secs < LIFETIME_DEFAULT_SECS {
        let what = format!("is below the {LIFETIME_DEFAULT_SECS} s that clients expect (RFC 8656)");
        notes.warn("edge.auth.allocation_lifetime_max_secs", what, "raise it, unless for a test");
    }
}

fn tokens(draft: &mut Draft, notes: &Notes) {
    if let Some(pair) = &draft.edge.certificate {
        for (key, relay) in &draft.relay_uris {
            if relay.transport.is_secure()
                && key.starts_with("edge.tokens.internet")
                && !pair.material.covers(&relay.host)
            {
                let what = format!("{} is not in {}", relay.host, pair.certificate.display());
                notes.warn(key, what, "clients will refuse it: use a name of the certificate, or have the name added");
            }
        }
    }
    if !on_loopback(draft) {
        for (key, relay) in draft.relay_uris.iter().filter(|(key, _)| key.starts_with("edge.tokens.internet")) {
            if relay.host.parse().is_ok_and(|ip: IpAddr| !is_public(ip)) {
                let what = format!("{} is no public address: no client on the internet reaches it", relay.host);
                notes.warn(key, what, "write the public address or name, or move it to intranet");
            }
        }
    }
    let from_listeners = relays_from_listeners(&draft.edge, Location::Internet);
    let inside = relays_from_listeners(&draft.edge, Location::Intranet);
    let Some(tokens) = &mut draft.edge.tokens else { return };
    if draft.derived.internet {
        if let Some(pair) = &draft.edge.certificate {
            for relay in from_listeners.iter().filter(|relay| relay.transport.is_secure()) {
                if !pair.material.covers(&relay.host) {
                    let what =
                        format!("{relay} would be named, and {} is not in {}", relay.host, pair.certificate.display());
                    notes.warn("edge.tokens", what, "write edge.tokens.internet with a name of the certificate");
                }
            }
        }
        if from_listeners.is_empty()
            && !["udp", "tcp", "tls", "dtls"].iter().any(|k| notes.faulty(&format!("edge.{k}")))
        {
            let what = "internet is missing, and no listener has a public or advertised address to derive it from";
            let remedy = "write internet = [\"turn:edge.example.test:3478\"], or edge.advertise behind a 1:1 NAT";
            notes.error("edge.tokens", what, remedy);
        }
        tokens.internet = from_listeners;
    }
    if draft.derived.intranet {
        tokens.intranet = if draft.derived.internet { inside } else { tokens.internet.clone() };
    }
}

fn drain(draft: &mut Draft, notes: &Notes) {
    // Edges of one site are configured alike: what this one serves on a port, so does the other.
    let served = |port: u16| {
        let edge = &draft.edge;
        let lists = [
            (&edge.udp, RelayTransport::Udp),
            (&edge.tcp, RelayTransport::Tcp),
            (&edge.tls, RelayTransport::Tls),
            (&edge.dtls, RelayTransport::Dtls),
        ];
        let serves = |list: &[SocketAddr]| list.iter().any(|listener| listener.port() == port);
        let served: Vec<_> = lists.iter().filter(|(list, _)| serves(list)).map(|(_, transport)| *transport).collect();
        if served.is_empty() { vec![RelayTransport::Udp] } else { served }
    };
    let resolved: Vec<_> = draft.edge.drain.alternate.iter().map(|other| served(other.address.port())).collect();
    for (alternate, served) in draft.edge.drain.alternate.iter_mut().zip(resolved) {
        if alternate.transports.is_empty() {
            alternate.transports = served;
        }
    }
    for (at, alternate) in draft.edge.drain.alternate.iter().enumerate() {
        let public = |listener: &Listener| {
            let ip = listener.address.ip();
            SocketAddr::new(draft.edge.advertise.get(&ip).copied().unwrap_or(ip), listener.address.port())
        };
        let here = |l: &&Listener| {
            l.kind.serves_clients() && (l.address == alternate.address || public(l) == alternate.address)
        };
        if let Some(listener) = draft.listeners.iter().find(here) {
            let what = format!("{} is {} of this edge", alternate.address, listener.key);
            notes.error(&format!("edge.drain.alternate[{at}]"), what, "name another edge");
        }
    }
}

fn metrics(draft: &Draft, notes: &Notes) {
    let served = |listener: &&Listener| matches!(listener.kind, ListenerKind::Telemetry | ListenerKind::Metrics);
    for listener in draft.listeners.iter().filter(served) {
        let ip = listener.address.ip();
        let inside = match ip {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        if !inside {
            let what = format!("{ip} may be reached from outside, and metrics ask for no password");
            notes.warn(&listener.key, what, "listen on an inside address, or close the port in the firewall");
        }
    }
}
