//! The broker in virtual time: ports, pairs, reservations and quotas.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use postern_turn::broker::{Broker, Drawn, LeasedPort, PoolOptions};
use postern_turn::io::{AllocationId, Family, OpenRelay, PortWish, QuotaKey, RelayFailure};
use postern_turn::limits::{DRAWS_MAX, PORT_REST_NANOS, RESERVATION_NANOS};

const ANY: PortWish = PortWish::Any;
const EVEN: PortWish = PortWish::Even { reserve: false };
const PAIR: PortWish = PortWish::Even { reserve: true };

fn pool(addresses: &[&str], ports: RangeInclusive<u16>) -> PoolOptions {
    PoolOptions { addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(), ports }
}

fn broker(ports: RangeInclusive<u16>) -> Broker {
    Broker::new(pool(&["192.0.2.1"], ports), [1; 32])
}

fn wish(who: &str, quota_max: u32, port: PortWish) -> OpenRelay {
    let quota = QuotaKey::Identity(who.into());
    OpenRelay { allocation: AllocationId(0), quota, quota_max, tcp: false, families: vec![Family::V4], port }
}

fn draw(broker: &mut Broker, now: u64, port: PortWish) -> Result<Drawn, RelayFailure> {
    broker.draw(now, 0, &wish("alice", 0, port))
}

fn draw_one(broker: &mut Broker, now: u64) -> LeasedPort {
    let port = draw(broker, now, ANY).unwrap().relays[0];
    broker.open(port.lease);
    port
}

fn available(broker: &Broker) -> u32 {
    broker.port_use().filter(|one| !one.tcp).map(|one| one.available).sum()
}

#[test]
fn every_port_is_drawn_once_and_then_there_is_none() {
    let mut broker = broker(50_000..=50_049);
    let ports: HashSet<u16> = (0..50).map(|_| draw_one(&mut broker, 0).local.port()).collect();
    assert_eq!(ports, (50_000..=50_049).collect());
    assert_eq!(draw(&mut broker, 0, ANY), Err(RelayFailure::NoPort));
    assert_eq!(available(&broker), 0);
    assert_eq!(broker.allocations_of(&QuotaKey::Identity("alice".into())), 50, "the refused one took no unit");
}

#[test]
fn ports_come_from_the_whole_range_in_no_order() {
    let mut broker = broker(50_000..=59_999);
    let ports: Vec<u16> = (0..200).map(|_| draw_one(&mut broker, 0).local.port()).collect();
    assert!(ports.iter().any(|&port| port < 51_000) && ports.iter().any(|&port| port >= 59_000));
    let ascending = ports.windows(2).filter(|two| two[0] < two[1]).count();
    assert!((60..140).contains(&ascending), "{ascending} of 199 steps go up");
}

#[test]
fn the_same_seed_draws_the_same_ports_and_another_draws_others() {
    let ports = |seed: u8| -> Vec<SocketAddr> {
        let mut broker = Broker::new(pool(&["192.0.2.1"], 50_000..=59_999), [seed; 32]);
        (0..20).map(|_| draw_one(&mut broker, 0).local).collect()
    };
    assert_eq!(ports(1), ports(1));
    assert_ne!(ports(1), ports(2));
}

#[test]
fn a_released_port_rests_while_others_are_free() {
    let mut broker = broker(50_000..=50_009);
    let first = draw_one(&mut broker, 0);
    broker.close(0, first.lease);
    for _ in 0..9 {
        assert_ne!(draw_one(&mut broker, PORT_REST_NANOS - 1).local, first.local);
    }
    let forced = draw_one(&mut broker, PORT_REST_NANOS - 1);
    assert_eq!(forced.local, first.local, "used rather than refused");
}

#[test]
fn a_port_is_drawn_like_any_other_after_its_rest() {
    let mut broker = broker(50_000..=50_001);
    let first = draw_one(&mut broker, 0);
    broker.close(5, first.lease);
    let seeds = (0..64).map(|seed| {
        let mut broker = Broker::new(pool(&["192.0.2.1"], 50_000..=50_001), [seed; 32]);
        let first = draw_one(&mut broker, 0);
        broker.close(5, first.lease);
        draw_one(&mut broker, 5 + PORT_REST_NANOS).local == first.local
    });
    let again = seeds.filter(|&same| same).count();
    assert!((16..48).contains(&again), "{again} of 64");
}

#[test]
fn the_port_that_rested_longest_is_used_first() {
    let mut broker = broker(50_000..=50_002);
    let all: Vec<LeasedPort> = (0..3).map(|_| draw_one(&mut broker, 0)).collect();
    for (now, at) in [(1, 2), (2, 0), (3, 1)] {
        broker.close(now, all[at].lease);
    }
    let order: Vec<SocketAddr> = (0..3).map(|_| draw_one(&mut broker, 4).local).collect();
    assert_eq!(order, [all[2].local, all[0].local, all[1].local]);
}

#[test]
fn udp_and_tcp_ports_are_apart() {
    let mut broker = broker(50_000..=50_000);
    let udp = draw(&mut broker, 0, ANY).unwrap().relays[0];
    let tcp = broker.draw(0, 0, &OpenRelay { tcp: true, ..wish("alice", 0, ANY) }).unwrap().relays[0];
    assert_eq!(udp.local, tcp.local);
    broker.open(tcp.lease);
    let live = broker.live_ports();
    assert!(live.is_live(tcp.local, true) && !live.is_live(udp.local, false));
    broker.close(0, tcp.lease);
    assert!(!live.is_live(tcp.local, true));
}

#[test]
fn even_port_without_reservation_takes_one_even_port_and_reserves_nothing() {
    let mut broker = broker(50_000..=50_049);
    for _ in 0..25 {
        let drawn = draw(&mut broker, 0, EVEN).unwrap();
        assert_eq!(drawn.relays[0].local.port() % 2, 0);
        assert_eq!(drawn.reserved, None);
    }
    assert_eq!(draw(&mut broker, 0, EVEN), Err(RelayFailure::NoPort));
    assert_eq!(available(&broker), 25, "every odd port is still to be had");
    for _ in 0..25 {
        assert!(draw(&mut broker, 0, ANY).is_ok());
    }
}

#[test]
fn even_port_with_reservation_keeps_the_next_port_for_its_token() {
    let mut broker = broker(50_000..=50_049);
    let drawn = broker.draw(0, 3, &wish("alice", 0, PAIR)).unwrap();
    let (relay, reserved) = (drawn.relays[0], drawn.reserved.unwrap());
    assert_eq!(relay.local.port() % 2, 0);
    assert_eq!(reserved.port.local.port(), relay.local.port() + 1);
    assert_eq!(available(&broker), 48);
    broker.open(relay.lease);
    assert!(!broker.live_ports().is_live(reserved.port.local, false), "no allocation has it yet");
    let redeemed = draw(&mut broker, RESERVATION_NANOS - 1, PortWish::Reserved(reserved.token)).unwrap();
    assert_eq!((redeemed.relays, redeemed.held_by), (vec![reserved.port], Some(3)));
    broker.open(reserved.port.lease);
    assert!(broker.live_ports().is_live(reserved.port.local, false));
    assert_eq!(broker.next_timeout(), None);
}

#[test]
fn a_token_is_good_once() {
    let mut broker = broker(50_000..=50_049);
    let token = draw(&mut broker, 0, PAIR).unwrap().reserved.unwrap().token;
    assert!(draw(&mut broker, 1, PortWish::Reserved(token)).is_ok());
    assert_eq!(draw(&mut broker, 2, PortWish::Reserved(token)), Err(RelayFailure::BadReservation));
    assert_eq!(draw(&mut broker, 2, PortWish::Reserved([0; 8])), Err(RelayFailure::BadReservation));
}

#[test]
fn a_token_is_worth_nothing_to_another_identity() {
    let mut broker = broker(50_000..=50_049);
    let token = draw(&mut broker, 0, PAIR).unwrap().reserved.unwrap().token;
    assert_eq!(broker.draw(1, 0, &wish("mallory", 0, PortWish::Reserved(token))), Err(RelayFailure::BadReservation));
    assert!(draw(&mut broker, 1, PortWish::Reserved(token)).is_ok(), "and the attempt does not use it up");
}

#[test]
fn a_token_is_void_after_30_s_and_its_port_comes_back() {
    let mut broker = broker(50_000..=50_001);
    let drawn = broker.draw(7, 3, &wish("alice", 0, PAIR)).unwrap();
    let reserved = drawn.reserved.unwrap();
    broker.open(drawn.relays[0].lease);
    assert_eq!(broker.next_timeout(), Some(7 + RESERVATION_NANOS));
    assert_eq!(
        draw(&mut broker, 7 + RESERVATION_NANOS, PortWish::Reserved(reserved.token)),
        Err(RelayFailure::BadReservation)
    );
    assert!(broker.handle_timeout(6 + RESERVATION_NANOS).is_empty());
    let expired = broker.handle_timeout(7 + RESERVATION_NANOS);
    assert_eq!(expired.len(), 1);
    assert_eq!((expired[0].port, expired[0].held_by), (reserved.port, 3));
    assert_eq!(available(&broker), 1);
    assert_eq!((broker.next_timeout(), broker.handle_timeout(u64::MAX).len()), (None, 0));
    broker.close(8 + RESERVATION_NANOS, reserved.port.lease);
    assert_eq!(available(&broker), 1, "a lease ends once");
}

#[test]
fn a_reservation_outlives_the_allocation_that_made_it() {
    let mut broker = broker(50_000..=50_049);
    let drawn = draw(&mut broker, 0, PAIR).unwrap();
    broker.open(drawn.relays[0].lease);
    broker.close(1, drawn.relays[0].lease);
    assert!(draw(&mut broker, 2, PortWish::Reserved(drawn.reserved.unwrap().token)).is_ok());
}

#[test]
fn an_allocation_that_never_opened_leaves_no_reservation() {
    let mut broker = broker(50_000..=50_049);
    let drawn = draw(&mut broker, 0, PAIR).unwrap();
    broker.close(0, drawn.relays[0].lease);
    assert_eq!(available(&broker), 50);
    assert_eq!(
        draw(&mut broker, 1, PortWish::Reserved(drawn.reserved.unwrap().token)),
        Err(RelayFailure::BadReservation)
    );
}

#[test]
fn a_pair_whose_reserved_half_expired_while_binding_is_drawn_again_alone() {
    let mut broker = broker(50_000..=50_009);
    let relay = draw(&mut broker, 0, PAIR).unwrap().relays[0];
    assert_eq!(broker.handle_timeout(RESERVATION_NANOS).len(), 1);
    let again = broker.taken_by_others(RESERVATION_NANOS, relay.lease).unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].lease, again[0].local.port() % 2), (relay.lease, 0));
    assert_eq!(available(&broker), 9);
}

#[test]
fn a_quota_is_exact_and_its_unit_back_at_release() {
    let mut broker = broker(50_000..=50_049);
    let leases: Vec<u64> = (0..3).map(|_| broker.draw(0, 0, &wish("alice", 3, ANY)).unwrap().relays[0].lease).collect();
    assert_eq!(broker.draw(0, 0, &wish("alice", 3, ANY)), Err(RelayFailure::Quota));
    assert!(broker.draw(0, 0, &wish("bob", 3, ANY)).is_ok(), "another identity has its own");
    broker.close(0, leases[1]);
    assert!(broker.draw(0, 0, &wish("alice", 3, ANY)).is_ok());
    assert_eq!(broker.draw(0, 0, &wish("alice", 3, ANY)), Err(RelayFailure::Quota));
    assert!(broker.draw(0, 0, &wish("alice", 4, ANY)).is_ok(), "a token may raise it");
    assert_eq!(broker.draw(0, 0, &wish("alice", 2, ANY)), Err(RelayFailure::Quota), "a lowered quota stops new ones");
}

#[test]
fn reservations_do_not_get_around_the_quota() {
    let mut broker = broker(50_000..=50_049);
    for _ in 0..2 {
        let drawn = broker.draw(0, 0, &wish("alice", 2, PAIR)).unwrap();
        broker.open(drawn.relays[0].lease);
        broker.close(0, drawn.relays[0].lease);
    }
    assert_eq!(broker.draw(0, 0, &wish("alice", 2, PAIR)), Err(RelayFailure::Quota), "two reservations wait already");
    assert!(broker.draw(0, 0, &wish("alice", 2, EVEN)).is_ok());
    assert!(broker.draw(0, 0, &wish("alice", 2, ANY)).is_ok());
    broker.handle_timeout(RESERVATION_NANOS);
    assert_eq!(broker.draw(RESERVATION_NANOS, 0, &wish("alice", 2, PAIR)), Err(RelayFailure::Quota), "two allocations");
    assert!(broker.draw(RESERVATION_NANOS, 0, &wish("alice", 3, PAIR)).is_ok());
}

#[test]
fn redeeming_a_token_counts_against_the_quota() {
    let mut broker = broker(50_000..=50_049);
    let drawn = broker.draw(0, 0, &wish("alice", 1, PAIR)).unwrap();
    let token = PortWish::Reserved(drawn.reserved.unwrap().token);
    assert_eq!(broker.draw(0, 0, &wish("alice", 1, token)), Err(RelayFailure::Quota));
    assert!(broker.draw(0, 0, &wish("alice", 2, token)).is_ok(), "the token survives the refusal");
}

fn dual(quota_max: u32) -> OpenRelay {
    OpenRelay { families: vec![Family::V4, Family::V6], ..wish("alice", quota_max, ANY) }
}

#[test]
fn a_dual_allocation_is_two_leases_and_one_quota_unit() {
    let mut broker = Broker::new(pool(&["192.0.2.1", "2001:db8::1"], 50_000..=50_049), [1; 32]);
    let drawn = broker.draw(0, 0, &dual(1)).unwrap();
    assert!(drawn.relays[0].local.is_ipv4() && drawn.relays[1].local.is_ipv6() && drawn.failed.is_empty());
    for relay in &drawn.relays {
        assert_eq!(broker.draw(0, 0, &dual(1)), Err(RelayFailure::Quota));
        broker.close(0, relay.lease);
    }
    assert!(broker.draw(0, 0, &dual(1)).is_ok());
}

#[test]
fn a_dual_allocation_proceeds_with_the_family_that_can_be_had() {
    let mut only_v4 = broker(50_000..=50_000);
    let drawn = only_v4.draw(0, 0, &dual(1)).unwrap();
    assert_eq!(drawn.relays.len(), 1);
    assert_eq!(drawn.failed, [(Family::V6, RelayFailure::Family)]);
    only_v4.close(0, drawn.relays[0].lease);
    assert_eq!(only_v4.allocations_of(&QuotaKey::Identity("alice".into())), 0);

    let mut full_v4 = Broker::new(pool(&["192.0.2.1", "2001:db8::1"], 50_000..=50_000), [1; 32]);
    draw_one(&mut full_v4, 0);
    let drawn = full_v4.draw(0, 0, &dual(0)).unwrap();
    assert!(drawn.relays[0].local.is_ipv6());
    assert_eq!(drawn.failed, [(Family::V4, RelayFailure::NoPort)]);
    assert_eq!(full_v4.draw(0, 0, &dual(0)), Err(RelayFailure::NoPort));
}

#[test]
fn a_family_without_a_relay_address_is_named() {
    let mut broker = broker(50_000..=50_049);
    let v6 = OpenRelay { families: vec![Family::V6], ..wish("alice", 0, ANY) };
    assert_eq!(broker.draw(0, 0, &v6), Err(RelayFailure::Family));
    assert_eq!(broker.draw(0, 0, &OpenRelay { families: vec![], ..v6 }), Err(RelayFailure::Family));
}

#[test]
fn several_addresses_of_a_family_share_the_load() {
    let mut broker = Broker::new(pool(&["192.0.2.1", "192.0.2.2"], 50_000..=50_099), [1; 32]);
    let drawn: Vec<IpAddr> = (0..100).map(|_| draw_one(&mut broker, 0).local.ip()).collect();
    let first = drawn.iter().filter(|ip| ip.to_string() == "192.0.2.1").count();
    assert!((30..70).contains(&first), "{first} of 100");
    let rest: HashSet<SocketAddr> = (0..100).map(|_| draw_one(&mut broker, 0).local).collect();
    assert_eq!(rest.len(), 100);
    assert_eq!(draw(&mut broker, 0, ANY), Err(RelayFailure::NoPort));
}

#[test]
fn a_port_held_by_another_program_costs_another_draw() {
    let mut broker = broker(50_000..=50_009);
    let relay = draw(&mut broker, 0, ANY).unwrap().relays[0];
    let again = broker.taken_by_others(0, relay.lease).unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].lease, relay.lease);
    assert_ne!(again[0].local, relay.local);
    assert_eq!(available(&broker), 9, "still one lease");
    broker.open(relay.lease);
    assert!(broker.live_ports().is_live(again[0].local, false) && !broker.live_ports().is_live(relay.local, false));
}

#[test]
fn a_pair_is_drawn_again_whichever_half_is_held_by_another_program() {
    for half in 0..2 {
        let mut broker = broker(50_000..=50_009);
        let drawn = draw(&mut broker, 0, PAIR).unwrap();
        let leases = [drawn.relays[0].lease, drawn.reserved.unwrap().port.lease];
        let again = broker.taken_by_others(0, leases[half]).unwrap();
        assert_eq!(again.iter().map(|port| port.lease).collect::<Vec<_>>(), leases);
        assert_eq!(again[0].local.port() % 2, 0);
        assert_eq!(again[1].local.port(), again[0].local.port() + 1);
        assert_ne!(again[0].local, drawn.relays[0].local);
        assert_eq!(available(&broker), 8);
        let redeemed = draw(&mut broker, 1, PortWish::Reserved(drawn.reserved.unwrap().token)).unwrap();
        assert_eq!(redeemed.relays, [again[1]]);
    }
}

#[test]
fn drawing_again_ends_and_gives_everything_back() {
    let mut broker = broker(50_000..=50_001);
    let lease = broker.draw(0, 0, &wish("alice", 1, PAIR)).unwrap().relays[0].lease;
    assert_eq!(broker.taken_by_others(0, lease), Err(RelayFailure::NoPort), "there is no second pair");
    assert_eq!(available(&broker), 2);
    let lease = broker.draw(0, 0, &wish("alice", 1, ANY)).unwrap().relays[0].lease;
    let redraws = (0..).take_while(|_| broker.taken_by_others(0, lease).is_ok()).count();
    assert_eq!(redraws as u32, DRAWS_MAX - 1);
    assert_eq!((available(&broker), broker.allocations_of(&QuotaKey::Identity("alice".into()))), (2, 0));
    assert_eq!(broker.taken_by_others(0, lease), Err(RelayFailure::NoPort));
}

mod properties {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Clone, Debug)]
    enum Step {
        Draw { who: u8, port: u8, tcp: bool, dual: bool },
        Redeem { which: prop::sample::Index, who: u8 },
        Taken { which: prop::sample::Index },
        Open { which: prop::sample::Index },
        Close { which: prop::sample::Index },
        Wait { secs: u8 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let which = any::<prop::sample::Index>;
        prop_oneof![
            4 => (0u8..3, 0u8..3, any::<bool>(), any::<bool>()).prop_map(|(who, port, tcp, dual)| Step::Draw { who, port, tcp, dual }),
            1 => (which(), 0u8..3).prop_map(|(which, who)| Step::Redeem { which, who }),
            1 => which().prop_map(|which| Step::Taken { which }),
            2 => which().prop_map(|which| Step::Open { which }),
            3 => which().prop_map(|which| Step::Close { which }),
            1 => (0u8..40).prop_map(|secs| Step::Wait { secs }),
        ]
    }

    /// What a shell knows.
    #[derive(Default)]
    struct Shell {
        /// By lease: where it is, over what, whose allocation, whether it is open.
        held: HashMap<u64, (SocketAddr, bool, Option<u32>, bool)>,
        /// Allocation to its owner; an allocation with no lease left is over.
        owners: Vec<u8>,
        tokens: Vec<([u8; 8], u64, u8)>,
        unopened_pairs: HashMap<u64, u64>,
    }

    const QUOTA: u32 = 4;

    impl Shell {
        fn allocations_of(&self, who: u8) -> u32 {
            let mut own: Vec<u32> =
                self.held.values().filter_map(|held| held.2).filter(|&one| self.owners[one as usize] == who).collect();
            own.sort_unstable();
            own.dedup();
            own.len() as u32
        }

        fn pick(&self, which: &prop::sample::Index) -> Option<u64> {
            let mut leases: Vec<u64> = self.held.keys().copied().collect();
            leases.sort_unstable();
            (!leases.is_empty()).then(|| leases[which.index(leases.len())])
        }

        fn drop_lease(&mut self, lease: u64) {
            self.held.remove(&lease);
            if let Some(reserved) = self.unopened_pairs.remove(&lease) {
                self.held.remove(&reserved);
            }
            self.unopened_pairs.retain(|_, reserved| *reserved != lease);
        }
    }

    fn name(who: u8) -> QuotaKey {
        QuotaKey::Identity(format!("user{who}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_port_is_leased_twice_and_counts_are_exact(seed: [u8; 32], steps in proptest::collection::vec(step(), 1..120)) {
            let mut broker = Broker::new(pool(&["192.0.2.1", "2001:db8::1"], 50_001..=50_012), seed);
            let mut shell = Shell::default();
            let mut now = 0u64;
            for step in steps {
                match step {
                    Step::Wait { secs } => {
                        now += u64::from(secs) * 1_000_000_000;
                        for expired in broker.handle_timeout(now) {
                            shell.drop_lease(expired.port.lease);
                        }
                    }
                    Step::Draw { who, port, tcp, dual } => {
                        let port = [ANY, EVEN, PAIR][usize::from(port)];
                        let families = if dual && port != PAIR { vec![Family::V4, Family::V6] } else { vec![Family::V4] };
                        let wish = OpenRelay { allocation: AllocationId(0), quota: name(who), quota_max: QUOTA, tcp, families, port };
                        let before = shell.allocations_of(who);
                        match broker.draw(now, 0, &wish) {
                            Ok(drawn) => {
                                prop_assert!(before < QUOTA);
                                let allocation = shell.owners.len() as u32;
                                shell.owners.push(who);
                                for relay in &drawn.relays {
                                    shell.held.insert(relay.lease, (relay.local, tcp, Some(allocation), false));
                                }
                                if let Some(reserved) = drawn.reserved {
                                    shell.held.insert(reserved.port.lease, (reserved.port.local, tcp, None, false));
                                    shell.tokens.push((reserved.token, reserved.port.lease, who));
                                    shell.unopened_pairs.insert(drawn.relays[0].lease, reserved.port.lease);
                                }
                            }
                            Err(RelayFailure::Quota) => prop_assert!(before == QUOTA || port == PAIR),
                            Err(_) => prop_assert!(before < QUOTA),
                        }
                    }
                    Step::Redeem { which, who } => {
                        if shell.tokens.is_empty() { continue }
                        let (token, lease, owner) = shell.tokens[which.index(shell.tokens.len())];
                        // A shell tells the token only once the pair is open.
                        if shell.unopened_pairs.values().any(|&reserved| reserved == lease) { continue }
                        let wish = OpenRelay { allocation: AllocationId(0), quota: name(who), quota_max: QUOTA, tcp: false, families: vec![], port: PortWish::Reserved(token) };
                        let before = shell.allocations_of(who);
                        if let Ok(drawn) = broker.draw(now, 0, &wish) {
                            prop_assert!(owner == who && before < QUOTA);
                            prop_assert_eq!(drawn.relays[0].lease, lease);
                            let held = shell.held.get_mut(&lease).unwrap();
                            prop_assert_eq!(held.2, None, "redeemed once");
                            held.2 = Some(shell.owners.len() as u32);
                            shell.owners.push(who);
                        }
                    }
                    Step::Taken { which } => {
                        let Some(lease) = shell.pick(&which) else { continue };
                        if shell.held[&lease].3 { continue }
                        match broker.taken_by_others(now, lease) {
                            Ok(ports) => for port in ports {
                                shell.held.get_mut(&port.lease).unwrap().0 = port.local;
                            },
                            // A lone reservation is not being bound: nothing happens to it.
                            Err(_) if shell.held[&lease].2.is_none() && !shell.unopened_pairs.values().any(|&r| r == lease) => {}
                            Err(_) => {
                                let owner = shell.unopened_pairs.iter().find(|(_, reserved)| **reserved == lease).map_or(lease, |(owner, _)| *owner);
                                shell.drop_lease(owner);
                            }
                        }
                    }
                    Step::Open { which } => {
                        let Some(lease) = shell.pick(&which) else { continue };
                        broker.open(lease);
                        if shell.held[&lease].2.is_some() {
                            shell.held.get_mut(&lease).unwrap().3 = true;
                            shell.unopened_pairs.remove(&lease);
                        }
                    }
                    Step::Close { which } => {
                        let Some(lease) = shell.pick(&which) else { continue };
                        broker.close(now, lease);
                        shell.drop_lease(lease);
                    }
                }
                let places: HashSet<(SocketAddr, bool)> = shell.held.values().map(|held| (held.0, held.1)).collect();
                prop_assert_eq!(places.len(), shell.held.len(), "one lease per port");
                prop_assert!(places.iter().all(|(at, _)| (50_001..=50_012).contains(&at.port())));
                let free: u32 = broker.port_use().map(|one| one.available).sum();
                prop_assert_eq!(free as usize, 4 * 12 - shell.held.len());
                let live = broker.live_ports();
                for (local, tcp, _, open) in shell.held.values() {
                    prop_assert_eq!(live.is_live(*local, *tcp), *open, "{}", local);
                }
                for who in 0..3 {
                    prop_assert_eq!(broker.allocations_of(&name(who)), shell.allocations_of(who));
                }
            }
            let mut leases: Vec<u64> = shell.held.keys().copied().collect();
            leases.sort_unstable();
            for lease in leases {
                broker.close(now, lease);
            }
            prop_assert!(broker.port_use().all(|one| one.available == one.total));
            prop_assert_eq!(broker.next_timeout(), None);
            prop_assert!((0..3).all(|who| broker.allocations_of(&name(who)) == 0));
        }
    }
}
