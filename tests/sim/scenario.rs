//! What a seed stands for: the edge, its rules, who is there, and what will happen to them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use postern_turn::options::{Lifetimes, Quotas};

use crate::random::Random;
use crate::rules::Rules;

pub struct Scenario {
    pub shards: usize,
    pub rules: Rules,
    /// Ports that other programs hold.
    pub foreign: BTreeSet<u16>,
    pub clients: usize,
    pub peers: usize,
    pub minutes: u64,
    /// How late the shell comes to open a relay, and to ring a timer, at most.
    pub slowness_nanos: u64,
    /// Nanoseconds between what one client does, on average.
    pub pace_nanos: u64,
    pub reloads: u64,
    pub drains: bool,
    pub wall_steps: bool,
}

impl Scenario {
    pub fn draw(random: &mut Random) -> Self {
        let small_pool = random.once_in(4);
        let ports = if small_pool { 50_000..=50_039 } else { 50_000..=50_999 };
        let foreign = (0..random.below(6)).map(|_| 50_000 + random.below(40) as u16).collect();
        let behind_nat = random.once_in(2);
        let two_relays = random.once_in(4);
        Self {
            shards: random.within(1..5) as usize,
            rules: rules(random, behind_nat, two_relays, ports),
            foreign,
            clients: random.within(6..18) as usize,
            peers: random.within(4..9) as usize,
            minutes: random.within(6..15),
            slowness_nanos: if random.once_in(2) { 0 } else { random.within(1..300_000_000) },
            pace_nanos: random.within(400..3_000) * 1_000_000,
            reloads: random.below(4),
            drains: random.once_in(4),
            wall_steps: random.once_in(5),
        }
    }
}

fn rules(random: &mut Random, behind_nat: bool, two_relays: bool, ports: std::ops::RangeInclusive<u16>) -> Rules {
    let public = [v4(203, 0, 113, 10), v4(203, 0, 113, 11)];
    let local = if behind_nat { [v4(10, 9, 0, 10), v4(10, 9, 0, 11)] } else { public };
    let v6: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x10).into();
    let mut relays = vec![local[0], v6];
    if two_relays {
        relays.push(local[1]);
    }
    let advertise = if behind_nat { local.into_iter().zip(public).collect() } else { Vec::new() };
    Rules {
        secrets: vec![secret(1), secret(2)],
        allow_peers: if random.once_in(2) { vec![net("10.20.0.0/16")] } else { Vec::new() },
        deny_peers: if random.once_in(3) { vec![net("192.0.2.4/30")] } else { Vec::new() },
        listeners: vec![SocketAddr::new(local[0], 3_478), SocketAddr::new(v6, 3_478)],
        relays,
        advertise,
        ports,
        lifetimes: Lifetimes {
            default_secs: random.within(30..700) as u32,
            allocation_max_secs: random.within(700..3_600) as u32,
            token_max_secs: random.within(300..20_000),
        },
        quotas: Quotas {
            allocations_per_identity: random.within(1..12) as u32,
            allocations_max: random.within(2..16) as u32,
        },
        mobility: !random.once_in(4),
        alternates: if random.once_in(2) { vec![SocketAddr::from(([203, 0, 113, 99], 3_478))] } else { Vec::new() },
    }
}

/// The next generation: one or two things are different.
pub fn changed(rules: &Rules, random: &mut Random) -> Rules {
    let mut rules = rules.clone();
    for _ in 0..random.within(1..3) {
        match random.below(8) {
            0 => rules.deny_peers.push(net("192.0.2.0/28")),
            1 => rules.deny_peers.push(net("2001:db8:b::/48")),
            2 => rules.deny_peers.clear(),
            3 if rules.allow_peers.is_empty() => rules.allow_peers.push(net("10.20.0.0/16")),
            3 => rules.allow_peers.clear(),
            // The first secret goes, another comes after the last.
            4 => {
                let newest = rules.secrets.iter().filter_map(|(id, _)| id.strip_prefix('k')?.parse().ok()).max();
                rules.secrets.remove(0);
                rules.secrets.push(secret(newest.unwrap_or(0) + 1));
            }
            5 => rules.quotas.allocations_per_identity = random.within(1..4) as u32,
            6 => rules.deny_peers.push(IpNet::from(rules.outside(SocketAddr::new(rules.relays[0], 0)).ip())),
            _ => rules.lifetimes.allocation_max_secs = random.within(30..900) as u32,
        }
    }
    rules.lifetimes.default_secs = rules.lifetimes.default_secs.min(rules.lifetimes.allocation_max_secs);
    rules
}

/// Addresses that no client may reach, or only sometimes.
pub fn forbidden(rules: &Rules) -> Vec<SocketAddr> {
    let texts = [
        "0.0.0.0:9",
        "0.1.2.3:9",
        "10.0.0.1:9",
        "10.20.3.4:9",
        "100.64.0.1:9",
        "127.0.0.1:9",
        "169.254.1.1:9",
        "169.254.169.254:80",
        "172.16.0.1:9",
        "172.32.0.1:9",
        "192.0.0.8:9",
        "192.0.2.5:9",
        "192.168.1.1:9",
        "198.18.0.1:9",
        "224.0.0.1:9",
        "240.0.0.1:9",
        "255.255.255.255:9",
        "203.0.113.50:0",
        "[::]:9",
        "[::1]:9",
        "[fc00::1]:9",
        "[fe80::1]:9",
        "[fec0::1]:9",
        "[ff02::1]:9",
        "[64:ff9b:1::1]:9",
        "[2001:db8:b::5]:0",
    ];
    let mut addresses: Vec<SocketAddr> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    for relay in &rules.relays {
        let dead = SocketAddr::new(*relay, 50_001);
        addresses.extend([dead, rules.outside(dead), SocketAddr::new(*relay, 3_478), SocketAddr::new(*relay, 0)]);
    }
    addresses.extend(rules.listeners.iter().flat_map(|listener| [*listener, rules.outside(*listener)]));
    addresses
}

fn secret(number: u64) -> (String, String) {
    (format!("k{number}"), format!("secret number {number:010}"))
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}
