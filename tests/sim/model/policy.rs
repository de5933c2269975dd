//! The law on peers, written down a second time: with numbers and masks, apart from the server's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::rules::Rules;

/// What a client wants with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A permission: the port does not matter.
    Permit,
    /// A channel, or a packet.
    Reach,
}

/// Whether `peer`, as the client names it, is allowed to a client with this `peers` claim. `is_live` says whether a
/// local transport address is a relayed one right now.
pub fn allows(
    rules: &Rules,
    claim: Option<&[IpNet]>,
    peer: SocketAddr,
    wish: Wish,
    is_live: impl Fn(SocketAddr) -> bool,
) -> bool {
    let inside = rules.inside(peer);
    if rules.relays.contains(&inside.ip()) {
        let names = [inside.ip(), rules.outside(inside).ip()];
        let named_in = |nets: &[IpNet]| nets.iter().any(|net| names.iter().any(|name| net.contains(name)));
        let closed = named_in(&rules.deny_peers) || !claim.is_none_or(named_in);
        return !closed && (wish == Wish::Permit || is_live(inside));
    }
    let ip = peer.ip();
    let claimed = claim.is_none_or(|nets| nets.iter().any(|net| net.contains(&ip)));
    claimed && is_open(rules, ip) && (wish == Wish::Permit || peer.port() != 0)
}

fn is_open(rules: &Rules, ip: IpAddr) -> bool {
    let hidden = match ip {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(v6) => hidden_v4(v6),
    };
    let meant = || std::iter::once(ip).chain(hidden.iter().copied().map(IpAddr::V4));
    let own = |ip: IpAddr| {
        rules.listeners.iter().any(|listener| listener.ip() == ip)
            || rules.relays.contains(&ip)
            || rules.advertise.iter().any(|pair| pair.0 == ip || pair.1 == ip)
    };
    let listed = |nets: &[IpNet], ip: IpAddr| nets.iter().any(|net| net.contains(&ip));
    if meant().any(|ip| never(ip) || own(ip) || listed(&rules.deny_peers, ip)) {
        return false;
    }
    // allow_peers opens what it names, never what hides in something else.
    if hidden.iter().any(|v4| unless_allowed(IpAddr::V4(*v4))) {
        return false;
    }
    listed(&rules.allow_peers, ip) || !unless_allowed(ip)
}

fn never(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, ..] = v4.octets();
            a == 127 || a >= 224 || v4 == Ipv4Addr::new(169, 254, 169, 254) || v4.is_unspecified()
        }
        IpAddr::V6(v6) => {
            let s = v6.segments();
            v6.to_bits() <= 1 || s[0] >> 8 == 0xff || s[..3] == [0x64, 0xff9b, 1]
        }
    }
}

fn unless_allowed(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            [0 | 10, ..] | [169, 254, ..] | [192, 168, ..] | [192, 0, 0, _] => true,
            [100, b, ..] => b & 0xC0 == 64,
            [172, b, ..] => b & 0xF0 == 16,
            [198, b, ..] => b & 0xFE == 18,
            _ => false,
        },
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            first & 0xFE00 == 0xFC00 || first & 0xFFC0 == 0xFE80 || first & 0xFFC0 == 0xFEC0
        }
    }
}

/// IPv4 addresses that a packet to this IPv6 address may end up at.
fn hidden_v4(v6: Ipv6Addr) -> Vec<Ipv4Addr> {
    let bits = v6.to_bits();
    let v4 = |bits: u128| Ipv4Addr::from_bits(bits as u32);
    let mut hidden = Vec::new();
    let prefix_96 = bits >> 32;
    let compatible = prefix_96 == 0 && bits > 1;
    let mapped = prefix_96 == 0xFFFF;
    let translated = prefix_96 == 0xFFFF_0000;
    let nat64 = prefix_96 == 0x0064_FF9B << 64;
    if compatible || mapped || translated || nat64 {
        hidden.push(v4(bits));
    }
    if bits >> 112 == 0x2002 {
        hidden.push(v4(bits >> 80));
    }
    if bits >> 96 == 0x2001_0000 {
        hidden.extend([v4(bits >> 64), v4(!bits)]);
    }
    // ISATAP: 0000:5efe with the universal and group bits as they like.
    if (bits >> 32) & 0xFCFF_FFFF == 0x5EFE {
        hidden.push(v4(bits));
    }
    hidden
}
