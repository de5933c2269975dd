//! Draining: new clients go elsewhere, the others go on.

use postern_turn::options::Alternate;

use crate::prelude::*;

fn draining(alternates: &[(&str, Option<&str>)]) -> World {
    let alternate = |(address, domain): &(&str, Option<&str>)| Alternate {
        address: at(address),
        domain: domain.map(str::to_owned),
    };
    World::with(|setup| setup.alternates = alternates.iter().map(alternate).collect())
}

fn ask_new(world: &mut World, remote: &str) -> (Endpoint, Answer) {
    let mut alice = Endpoint::new(world, remote);
    world.greet(&mut alice);
    let answer = world.ask(&mut alice, Method::Allocate, &[UDP]);
    (alice, answer)
}

#[test]
fn a_new_allocate_gets_300_with_an_alternate_of_its_family_once_authenticated() {
    let mut world = draining(&[
        ("203.0.113.20:3478", Some("edge2.example.test")),
        ("[2001:db8:10::20]:3478", Some("edge6.example.test")),
    ]);
    world.server.handle_drain(world.now);
    for (remote, address, domain) in [
        ("198.51.100.1:4000", "203.0.113.20:3478", "edge2.example.test"),
        ("[2001:db8:1::1]:4000", "[2001:db8:10::20]:3478", "edge6.example.test"),
    ] {
        let (alice, answer) = ask_new(&mut world, remote);
        assert_eq!((answer.code(), answer.integrity_for(&alice)), (Some(300), Some(IntegrityAlgorithm::Sha1)));
        assert_eq!(answer.find(AttributeType::ALTERNATE_SERVER), Some(Attribute::AlternateServer(at(address))));
        assert_eq!(answer.find(AttributeType::ALTERNATE_DOMAIN), Some(Attribute::AlternateDomain(domain.as_bytes())));
    }
    assert!(world.open_relays().is_empty());
}

#[test]
fn an_alternate_without_a_domain_is_named_by_address_alone() {
    let mut world = draining(&[("203.0.113.20:3478", None)]);
    world.server.handle_drain(world.now);
    let (_, answer) = ask_new(&mut world, "198.51.100.1:4000");
    assert_eq!(answer.code(), Some(300));
    assert!(!answer.has(AttributeType::ALTERNATE_DOMAIN));
}

#[test]
fn without_an_alternate_of_its_family_a_new_allocate_gets_508() {
    let mut world = draining(&[("[2001:db8:10::20]:3478", None)]);
    world.server.handle_drain(world.now);
    assert_eq!(ask_new(&mut world, "198.51.100.1:4000").1.code(), Some(508));
}

#[test]
fn everything_else_goes_on_while_draining() {
    let mut world = draining(&[("203.0.113.20:3478", None)]);
    let (mut alice, relayed) = allocated(&mut world);
    world.server.handle_drain(world.now);
    assert_eq!(world.ask(&mut alice, Method::Refresh, &[]).code(), None);
    permit(&mut world, &mut alice, peer());
    assert_eq!(bind(&mut world, &mut alice, 0x4000, peer()), None);
    assert!(world.deliver(relayed, peer(), b"x").is_ok());
    let request = alice.bare(Method::Binding, &[]);
    assert_eq!(world.ask_raw(alice.client, &request).unwrap().code(), None);
}

#[test]
fn a_stranger_learns_nothing_of_the_drain() {
    let mut world = draining(&[("203.0.113.20:3478", None)]);
    world.server.handle_drain(world.now);
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let request = alice.bare(Method::Allocate, &[UDP]);
    assert_eq!(world.ask_raw(alice.client, &request).unwrap().code(), Some(401));
}
