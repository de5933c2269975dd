//! Rules on `allow_peers` and `deny_peers`: entries that would open the edge itself, or that do nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::reader::Notes;
use crate::tree::RelayConfig;

/// Judges both lists. `own` are all addresses of the edge; `on_loopback` says that no listener leaves the machine.
pub(crate) fn judge(relay: &RelayConfig, own: &BTreeSet<IpAddr>, on_loopback: bool, notes: &Notes) {
    if !notes.faulty("edge.relay.allow_peers") {
        for (at, network) in relay.allow_peers.iter().enumerate() {
            let key = format!("edge.relay.allow_peers[{at}]");
            judge_allowed(&key, network, own, on_loopback, notes);
            if let Some(denial) = relay.deny_peers.iter().find(|denied| contains(denied, network)) {
                let what = format!("{network} opens nothing: deny_peers holds {denial}, and is asked first");
                notes.warn(&key, what, "take one of the two out");
            }
        }
    }
}

fn judge_allowed(key: &str, network: &IpNet, own: &BTreeSet<IpAddr>, on_loopback: bool, notes: &Notes) {
    if is_loopback(network) {
        if !on_loopback {
            let remedy = "take it out: every service that listens on this machine alone would be open to clients";
            notes.error(key, format!("{network} is loopback"), remedy);
        }
    } else if let Some(form) = embedding(network) {
        let what = format!("{network} lies in {form}, whose addresses are judged by the IPv4 address within");
        notes.error(key, what, "write the IPv4 network");
    } else if never_allowed().iter().any(|never| contains(never, network)) {
        let remedy = "take it out: no unicast peer lives there";
        notes.error(key, format!("{network} can never be allowed"), remedy);
    } else if holds_only(network, own) && !on_loopback {
        let remedy = "name the workers' network instead: the edge's own addresses are never peers";
        notes.error(key, format!("{network} holds nothing but addresses of this edge"), remedy);
    } else if network.prefix_len() == 0 {
        let remedy = "name the workers' networks alone";
        notes.warn(key, format!("{network} opens every private network that this machine reaches"), remedy);
    }
}

fn is_loopback(network: &IpNet) -> bool {
    match network {
        IpNet::V4(v4) => Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).contains(v4),
        IpNet::V6(v6) => *v6 == Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
    }
}

/// The form of IPv6 address that only wraps an IPv4 one, if `network` lies in such a form.
fn embedding(network: &IpNet) -> Option<&'static str> {
    let forms = [
        ("::ffff:0:0/96", "IPv4-mapped space (::ffff:0:0/96)"),
        ("::ffff:0:0:0/96", "IPv4-translated space (::ffff:0:0:0/96)"),
        ("64:ff9b::/96", "NAT64 space (64:ff9b::/96)"),
        ("64:ff9b:1::/48", "local NAT64 space (64:ff9b:1::/48)"),
        ("2002::/16", "6to4 space (2002::/16)"),
        ("2001::/32", "Teredo space (2001::/32)"),
    ];
    let lies_in = |form: &&(&str, &'static str)| form.0.parse().is_ok_and(|form: IpNet| contains(&form, network));
    forms.iter().find(lies_in).map(|(_, name)| *name)
}

fn never_allowed() -> [IpNet; 6] {
    let v4 = |a, b, c, d, prefix| IpNet::from(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix));
    let v6 = |first, prefix| IpNet::from(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), prefix));
    [
        v4(224, 0, 0, 0, 4),
        v4(240, 0, 0, 0, 4),
        v4(169, 254, 169, 254, 32),
        v4(0, 0, 0, 0, 32),
        v6(0xff00, 8),
        v6(0, 128),
    ]
}

/// Whether every address of `network` is one of `own`. Cost: O(own).
fn holds_only(network: &IpNet, own: &BTreeSet<IpAddr>) -> bool {
    let host_bits = u32::from(network.max_prefix_len() - network.prefix_len());
    let addresses = 1_u64.checked_shl(host_bits).filter(|_| host_bits < 32);
    let held = own.iter().filter(|address| network.contains(*address)).count() as u64;
    addresses == Some(held)
}

fn contains(outer: &IpNet, inner: &IpNet) -> bool {
    match (outer, inner) {
        (IpNet::V4(outer), IpNet::V4(inner)) => outer.contains(inner),
        (IpNet::V6(outer), IpNet::V6(inner)) => outer.contains(inner),
        _ => false,
    }
}
