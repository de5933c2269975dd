//! The peer policy as tables: which addresses are closed, what opens them, and what nothing opens.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use postern_turn::broker::{Broker, PoolOptions};
use postern_turn::io::{AllocationId, Family, OpenRelay, PortWish, QuotaKey};
use postern_turn::live_ports::LivePorts;
use postern_turn::policy::{PeerPolicy, PolicyOptions, Purpose, Ruling};

const PURPOSES: [Purpose; 4] = [Purpose::Permission, Purpose::Channel, Purpose::Send, Purpose::Connect];

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// An edge with public addresses, as in the example configuration.
fn options() -> PolicyOptions {
    PolicyOptions {
        own_addresses: ips(&["203.0.113.10", "2001:db8::10", "10.20.0.10"]),
        listeners: vec!["203.0.113.10:3478".parse().unwrap(), "[2001:db8::10]:3478".parse().unwrap()],
        services: vec!["10.20.0.10:8443".parse().unwrap()],
        relay_addresses: ips(&["203.0.113.10", "2001:db8::10"]),
        ..PolicyOptions::default()
    }
}

fn policy(options: &PolicyOptions) -> PeerPolicy {
    PeerPolicy::new(options, LivePorts::new(&options.relay_addresses))
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// Closed on every way: 403 for what has an answer, silence for a Send.
fn is_closed(policy: &PeerPolicy, ip: &str) -> bool {
    PURPOSES.iter().all(|&purpose| {
        let want = if purpose == Purpose::Send { Ruling::NothingSent } else { Ruling::Forbidden };
        policy.judge(at(ip, 5000), None, purpose) == want
    })
}

fn is_open(policy: &PeerPolicy, ip: &str) -> bool {
    PURPOSES.iter().all(|&purpose| policy.judge(at(ip, 5000), None, purpose) == Ruling::Allowed)
}

const ALWAYS_DENIED: &[&str] = &[
    "127.0.0.1",
    "127.255.255.255",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "169.254.169.254",
    "0.0.0.0",
    "::",
    "::1",
    "ff02::1",
    "ff0e::1",
    "64:ff9b:1::1",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
];

const PRIVATE: &[&str] = &[
    "0.0.0.1",
    "0.255.255.255",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.255",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "feff::1",
];

const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.2.1",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.100.1",
    "203.0.113.11",
    "223.255.255.255",
    "2001:db8::11",
    "2606:4700::1111",
    "fbff::1",
    "64:ff9b:2::1",
    "::2:0:0:0:1",
];

#[test]
fn private_and_reserved_addresses_are_closed_by_default() {
    let policy = policy(&options());
    for ip in ALWAYS_DENIED.iter().chain(PRIVATE) {
        assert!(is_closed(&policy, ip), "{ip}");
    }
}

#[test]
fn public_and_documentation_addresses_are_open_by_default() {
    let policy = policy(&options());
    for ip in PUBLIC {
        assert!(is_open(&policy, ip), "{ip}");
    }
}

#[test]
fn allow_peers_opens_private_addresses_and_never_those_always_denied() {
    let policy = policy(&PolicyOptions { allow_peers: nets(&["0.0.0.0/0", "::/0"]), ..options() });
    for ip in PRIVATE {
        assert!(is_open(&policy, ip), "{ip}");
    }
    for ip in ALWAYS_DENIED.iter() {
        assert!(is_closed(&policy, ip), "{ip}");
    }
    assert!(is_closed(&policy, "10.20.0.10"), "an own address that is no relay address");
}

#[test]
fn deny_peers_comes_before_allow_peers() {
    let both = PolicyOptions {
        allow_peers: nets(&["10.0.0.0/8", "1.0.0.0/8"]),
        deny_peers: nets(&["10.1.0.0/16", "1.1.1.1/32"]),
        ..options()
    };
    let policy = policy(&both);
    assert!(is_open(&policy, "10.2.0.1"));
    assert!(is_closed(&policy, "10.1.0.1"));
    assert!(is_closed(&policy, "1.1.1.1"));
}

#[test]
fn networks_with_host_bits_mean_their_whole_network() {
    let policy = policy(&PolicyOptions {
        allow_peers: nets(&["10.20.0.77/24"]),
        deny_peers: nets(&["8.8.8.8/13", "2606:4700::99/40"]),
        ..options()
    });
    for ip in ["8.8.0.0", "8.15.255.255", "2606:4700::", "2606:4700:ff:ffff::"] {
        assert!(is_closed(&policy, ip), "{ip}");
    }
    assert!(is_open(&policy, "8.16.0.0") && is_open(&policy, "2606:4700:100::"));
    assert!(is_open(&policy, "10.20.0.0") && is_open(&policy, "10.20.0.255") && is_closed(&policy, "10.20.1.0"));
}

/// The IPv4 address as each mapping writes it, a.b.c.d in hexadecimal.
fn mappings_of(v4: [u8; 4]) -> Vec<String> {
    let [a, b, c, d] = v4;
    let hex = format!("{a:02x}{b:02x}:{c:02x}{d:02x}");
    let inverted = format!("{:02x}{:02x}:{:02x}{:02x}", !a, !b, !c, !d);
    vec![
        format!("::ffff:{hex}"),
        format!("::{hex}"),
        format!("::ffff:0:{hex}"),
        format!("64:ff9b::{hex}"),
        format!("2002:{hex}::1"),
        format!("2001:0:808:808:0:0:{inverted}"),
        format!("2001:0:{hex}:0:0:f7f7:f7f7"),
        format!("2606:4700::5efe:{hex}"),
        format!("2606:4700::200:5efe:{hex}"),
    ]
}

#[test]
fn an_ipv4_address_inside_an_ipv6_one_is_what_gets_judged() {
    let policy = policy(&PolicyOptions { deny_peers: nets(&["9.9.9.0/24"]), ..options() });
    for closed in [
        [127, 0, 0, 1],
        [10, 0, 0, 1],
        [169, 254, 169, 254],
        [192, 168, 1, 1],
        [203, 0, 113, 10],
        [10, 20, 0, 10],
        [9, 9, 9, 9],
        [224, 0, 0, 1],
    ] {
        for ip in mappings_of(closed) {
            assert!(is_closed(&policy, &ip), "{ip} holds {closed:?}");
        }
    }
    for ip in mappings_of([1, 1, 1, 1]) {
        assert!(is_open(&policy, &ip), "{ip}");
    }
}

#[test]
fn allow_peers_never_opens_a_private_address_inside_an_ipv6_one() {
    let policy =
        policy(&PolicyOptions { allow_peers: nets(&["0.0.0.0/0", "::/0", "64:ff9b::/96", "2002::/16"]), ..options() });
    assert!(is_open(&policy, "10.0.0.1"));
    for ip in mappings_of([10, 0, 0, 1]) {
        assert!(is_closed(&policy, &ip), "{ip}");
    }
}

#[test]
fn port_zero_is_nobody() {
    let policy = policy(&options());
    assert_eq!(policy.judge(at("1.1.1.1", 0), None, Purpose::Permission), Ruling::Allowed);
    assert_eq!(policy.judge(at("1.1.1.1", 0), None, Purpose::Channel), Ruling::Forbidden);
    assert_eq!(policy.judge(at("1.1.1.1", 0), None, Purpose::Connect), Ruling::Forbidden);
    assert_eq!(policy.judge(at("1.1.1.1", 0), None, Purpose::Send), Ruling::NothingSent);
}

/// A broker with one open relay on each address and transport, and those relays.
fn broker_with_relays(addresses: &[&str]) -> (Broker, Vec<(SocketAddr, bool)>) {
    let mut broker = Broker::new(PoolOptions { addresses: ips(addresses), ports: 50_000..=59_999 }, [7; 32]);
    let mut relays = Vec::new();
    for (family, tcp) in [(Family::V4, false), (Family::V6, false), (Family::V4, true), (Family::V6, true)] {
        let quota = QuotaKey::Identity("alice".into());
        let wish = OpenRelay {
            allocation: AllocationId(0),
            quota,
            quota_max: 0,
            tcp,
            families: vec![family],
            port: PortWish::Any,
        };
        let Ok(drawn) = broker.draw(0, 0, &wish) else {
            continue;
        };
        broker.open(drawn.relays[0].lease);
        relays.push((drawn.relays[0].local, tcp));
    }
    (broker, relays)
}

#[test]
fn a_live_relay_port_of_this_edge_is_a_peer() {
    let (broker, relays) = broker_with_relays(&["203.0.113.10", "2001:db8::10"]);
    let policy = PeerPolicy::new(&options(), broker.live_ports());
    assert_eq!(relays.len(), 4);
    for (relay, tcp) in relays {
        assert_eq!(policy.judge(relay, None, Purpose::Permission), Ruling::Allowed);
        let [udp_ruling, tcp_ruling] =
            if tcp { [Ruling::Forbidden, Ruling::Allowed] } else { [Ruling::Allowed, Ruling::NothingSent] };
        assert_eq!(policy.judge(relay, None, Purpose::Channel), udp_ruling, "{relay}");
        assert_eq!(policy.judge(relay, None, Purpose::Connect), tcp_ruling, "{relay}");
        let send = policy.judge(relay, None, Purpose::Send);
        assert_eq!(send == Ruling::Allowed, !tcp, "{relay}");
    }
}

#[test]
fn another_port_of_a_relay_address_is_403_for_a_channel_and_silence_else() {
    let policy = policy(&options());
    for port in [50_000, 22] {
        let peer = at("203.0.113.10", port);
        assert_eq!(policy.judge(peer, None, Purpose::Permission), Ruling::Allowed, "a permission is by address");
        assert_eq!(policy.judge(peer, None, Purpose::Channel), Ruling::Forbidden);
        assert_eq!(policy.judge(peer, None, Purpose::Send), Ruling::NothingSent);
        assert_eq!(policy.judge(peer, None, Purpose::Connect), Ruling::NothingSent);
    }
}

#[test]
fn a_relay_never_reaches_a_listener() {
    let policy = policy(&PolicyOptions { allow_peers: nets(&["0.0.0.0/0", "::/0"]), ..options() });
    for listener in [at("203.0.113.10", 3478), at("2001:db8::10", 3478), at("203.0.113.10", 8443)] {
        assert_eq!(policy.judge(listener, None, Purpose::Channel), Ruling::Forbidden);
        assert_eq!(policy.judge(listener, None, Purpose::Send), Ruling::NothingSent);
        assert_eq!(policy.judge(listener, None, Purpose::Connect), Ruling::Forbidden);
    }
}

#[test]
fn a_relay_port_that_closed_is_no_peer_any_more() {
    let mut broker = Broker::new(PoolOptions { addresses: ips(&["203.0.113.10"]), ports: 50_000..=59_999 }, [7; 32]);
    let policy = PeerPolicy::new(&options(), broker.live_ports());
    let quota = QuotaKey::Identity("alice".into());
    let wish = OpenRelay {
        allocation: AllocationId(0),
        quota,
        quota_max: 0,
        tcp: false,
        families: vec![Family::V4],
        port: PortWish::Any,
    };
    let relay = broker.draw(0, 0, &wish).unwrap().relays[0];
    assert_eq!(policy.judge(relay.local, None, Purpose::Channel), Ruling::Forbidden, "not bound yet");
    broker.open(relay.lease);
    assert_eq!(policy.judge(relay.local, None, Purpose::Channel), Ruling::Allowed);
    broker.close(0, relay.lease);
    assert_eq!(policy.judge(relay.local, None, Purpose::Channel), Ruling::Forbidden);
}

/// Behind a 1:1 NAT: 10.0.0.5 is known as 203.0.113.10.
fn behind_nat() -> PolicyOptions {
    PolicyOptions {
        own_addresses: ips(&["10.0.0.5"]),
        listeners: vec![at("10.0.0.5", 3478)],
        relay_addresses: ips(&["10.0.0.5"]),
        advertise: vec![("10.0.0.5".parse().unwrap(), "203.0.113.10".parse().unwrap())],
        ..PolicyOptions::default()
    }
}

#[test]
fn a_relay_is_a_peer_by_its_public_name_and_translated_before_sending() {
    let (broker, relays) = broker_with_relays(&["10.0.0.5"]);
    let policy = PeerPolicy::new(&behind_nat(), broker.live_ports());
    let (local, _) = relays[0];
    let public = policy.advertise().outside(local);
    assert_eq!(public, at("203.0.113.10", local.port()));
    assert_eq!(policy.judge(public, None, Purpose::Channel), Ruling::Allowed);
    assert_eq!(policy.advertise().inside(public), local);
    assert_eq!(policy.judge(at("203.0.113.10", 3478), None, Purpose::Connect), Ruling::Forbidden);
    assert_eq!(policy.judge(at("203.0.113.10", 50_001), None, Purpose::Send), Ruling::NothingSent);
}

#[test]
fn an_advertised_address_of_a_listener_alone_is_closed() {
    let mut options = behind_nat();
    options.listeners.push(at("10.0.0.6", 3478));
    options.advertise.push(("10.0.0.6".parse().unwrap(), "203.0.113.20".parse().unwrap()));
    let policy = policy(&options);
    assert!(is_closed(&policy, "203.0.113.20") && is_closed(&policy, "10.0.0.6"));
    assert!(is_closed(&policy, "::ffff:203.0.113.20"));
}

#[test]
fn deny_peers_closes_relay_to_relay_too() {
    let (broker, relays) = broker_with_relays(&["203.0.113.10"]);
    let policy =
        PeerPolicy::new(&PolicyOptions { deny_peers: nets(&["203.0.113.0/24"]), ..options() }, broker.live_ports());
    assert_eq!(policy.judge(relays[0].0, None, Purpose::Channel), Ruling::Forbidden);
    assert_eq!(policy.judge(relays[0].0, None, Purpose::Permission), Ruling::Forbidden);
}

#[test]
fn both_names_of_a_relay_address_are_judged_alike() {
    let (broker, relays) = broker_with_relays(&["10.0.0.5"]);
    let (local, _) = relays[0];
    for (deny, ruling) in [("10.0.0.0/8", Ruling::Allowed), ("203.0.113.0/24", Ruling::Forbidden)] {
        let options = PolicyOptions { deny_peers: nets(&[deny]), ..behind_nat() };
        let policy = PeerPolicy::new(&options, broker.live_ports());
        let public = policy.advertise().outside(local);
        assert_eq!(policy.judge(public, None, Purpose::Channel), ruling, "{deny}");
        assert_eq!(policy.judge(local, None, Purpose::Channel), ruling, "{deny}");
    }
}

#[test]
fn a_claim_narrows_what_the_policy_allows_and_never_widens_it() {
    let policy = policy(&PolicyOptions { allow_peers: nets(&["10.20.0.0/24"]), ..options() });
    let claim = nets(&["10.20.0.0/28", "10.99.0.0/16", "2606:4700::/32"]);
    for (ip, ruling) in [
        ("10.20.0.3", Ruling::Allowed),
        ("2606:4700::1", Ruling::Allowed),
        ("10.20.0.20", Ruling::Forbidden),
        ("10.99.0.1", Ruling::Forbidden),
        ("1.1.1.1", Ruling::Forbidden),
        ("203.0.113.10", Ruling::Forbidden),
    ] {
        assert_eq!(policy.judge(at(ip, 5000), Some(&claim), Purpose::Permission), ruling, "{ip}");
    }
    assert_eq!(
        policy.judge(at("1.1.1.1", 5000), Some(&[]), Purpose::Channel),
        Ruling::Forbidden,
        "an empty claim allows nobody"
    );
}

#[test]
fn a_claim_may_name_a_relay_by_either_of_its_names() {
    let (broker, relays) = broker_with_relays(&["10.0.0.5"]);
    let policy = PeerPolicy::new(&behind_nat(), broker.live_ports());
    let public = policy.advertise().outside(relays[0].0);
    for claim in [nets(&["203.0.113.10/32"]), nets(&["10.0.0.5/32"])] {
        assert_eq!(policy.judge(public, Some(&claim), Purpose::Channel), Ruling::Allowed);
    }
    assert_eq!(policy.judge(public, Some(&nets(&["10.0.0.6/32"])), Purpose::Channel), Ruling::Forbidden);
}

/// `postern up`: everything on one machine.
fn loopback() -> PolicyOptions {
    PolicyOptions {
        allow_peers: nets(&["127.0.0.0/8", "::1/128"]),
        own_addresses: ips(&["127.0.0.1", "::1", "192.0.2.7"]),
        listeners: vec![at("127.0.0.1", 3478), at("::1", 3478)],
        services: vec![at("127.0.0.1", 9641)],
        relay_addresses: ips(&["127.0.0.1", "::1"]),
        ..PolicyOptions::default()
    }
}

#[test]
fn with_every_listener_on_loopback_allow_peers_opens_loopback() {
    let open = policy(&loopback());
    for ip in ["127.0.0.1", "127.0.0.9", "::1"] {
        assert!(is_open(&open, ip), "{ip}");
    }
    assert!(is_closed(&open, "192.0.2.7"), "an own address that allow_peers does not name");
    let with_own = policy(&PolicyOptions { allow_peers: nets(&["192.0.2.7/32"]), ..loopback() });
    assert!(is_open(&with_own, "192.0.2.7"));
    let without = policy(&PolicyOptions { allow_peers: vec![], ..loopback() });
    assert!(is_closed(&without, "127.0.0.9"));
    let exposed =
        policy(&PolicyOptions { listeners: vec![at("127.0.0.1", 3478), at("192.0.2.7", 3478)], ..loopback() });
    assert!(is_closed(&exposed, "127.0.0.9"), "one listener elsewhere closes loopback again");
}

#[test]
fn on_loopback_no_relay_reaches_a_socket_of_ours() {
    let policy = policy(&PolicyOptions { allow_peers: nets(&["0.0.0.0/0", "::/0"]), ..loopback() });
    for ip in ["127.0.0.1", "127.0.0.9", "::1", "192.0.2.7"] {
        for port in [3478, 9641, 0] {
            assert_eq!(policy.judge(at(ip, port), None, Purpose::Channel), Ruling::Forbidden, "{ip} {port}");
            assert_eq!(policy.judge(at(ip, port), None, Purpose::Connect), Ruling::Forbidden, "{ip} {port}");
            assert_eq!(policy.judge(at(ip, port), None, Purpose::Send), Ruling::NothingSent, "{ip} {port}");
        }
    }
    assert!(is_open(&policy, "1.1.1.1"));
    assert_eq!(
        policy.judge(at("1.1.1.1", 3478), None, Purpose::Channel),
        Ruling::Allowed,
        "someone else's port of that number"
    );
}

#[test]
fn on_loopback_what_is_always_denied_stays_so() {
    let policy = policy(&PolicyOptions { allow_peers: nets(&["0.0.0.0/0", "::/0"]), ..loopback() });
    for ip in [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "169.254.169.254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.7",
        "64:ff9b::7f00:1",
    ] {
        assert!(is_closed(&policy, ip), "{ip}");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn any_ip() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_claim_only_ever_takes_away(ip in any_ip(), port: u16, claim in proptest::collection::vec((any_ip(), 0u8..=32), 0..4)) {
            let claim: Vec<IpNet> = claim.into_iter().map(|(ip, bits)| IpNet::new(ip, bits).unwrap()).collect();
            let policy = policy(&PolicyOptions { allow_peers: nets(&["10.0.0.0/8", "fd00::/8"]), ..options() });
            for purpose in PURPOSES {
                let peer = SocketAddr::new(ip, port);
                if policy.judge(peer, Some(&claim), purpose) == Ruling::Allowed {
                    prop_assert_eq!(policy.judge(peer, None, purpose), Ruling::Allowed);
                    prop_assert!(claim.iter().any(|net| net.contains(&ip)));
                }
            }
        }

        #[test]
        fn every_mapping_of_an_ipv4_address_is_at_most_as_open_as_itself(v4: [u8; 4]) {
            let policy = policy(&options());
            for text in mappings_of(v4) {
                let plain = policy.judge(SocketAddr::new(v4.into(), 5000), None, Purpose::Channel);
                let mapped = policy.judge(at(&text, 5000), None, Purpose::Channel);
                prop_assert!(mapped == Ruling::Forbidden || plain == Ruling::Allowed, "{} is {:?}, plain {:?}", text, mapped, plain);
            }
        }
    }
}
