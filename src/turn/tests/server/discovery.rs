//! NAT behaviour discovery, RFC 5780: off without two addresses, and then never an answer to a third one.

use postern_turn::attribute::ChangeRequest;
use postern_turn::io::ReplyFrom;
use postern_turn::options::NatDiscovery;

use crate::prelude::*;

fn discovering() -> World {
    World::with(|setup| {
        let pair = NatDiscovery { primary: at("203.0.113.10:3478"), alternate: at("203.0.113.11:3479") };
        setup.features.nat_discovery = Some(pair);
    })
}

fn ask(world: &mut World, local: &str, attributes: &[Attribute<'_>]) -> Answer {
    let mut alice = Endpoint::new(world, "198.51.100.1:4000");
    alice.client.local = at(local);
    let request = alice.bare(Method::Binding, attributes);
    world.ask_raw(alice.client, &request).unwrap()
}

fn origin(answer: &Answer) -> SocketAddr {
    match answer.find(AttributeType::RESPONSE_ORIGIN) {
        Some(Attribute::ResponseOrigin(origin)) => origin,
        other => panic!("{other:?} is no origin"),
    }
}

fn other_address(answer: &Answer) -> SocketAddr {
    match answer.find(AttributeType::OTHER_ADDRESS) {
        Some(Attribute::OtherAddress(other)) => other,
        other => panic!("{other:?} is no other address"),
    }
}

#[test]
fn without_two_addresses_the_attributes_of_discovery_get_420() {
    let mut world = World::new();
    for attribute in [
        Attribute::ChangeRequest(ChangeRequest { address: true, port: true }),
        Attribute::ResponsePort(4001),
        Attribute::Padding(&[0; 64]),
    ] {
        let answer = ask(&mut world, "203.0.113.10:3478", &[attribute]);
        assert_eq!(answer.code(), Some(420));
        let Some(Attribute::UnknownAttributes(list)) = answer.find(AttributeType::UNKNOWN_ATTRIBUTES) else {
            panic!("a list")
        };
        assert_eq!(list.iter().collect::<Vec<_>>(), [attribute.attribute_type()]);
    }
}

#[test]
fn an_answer_names_its_origin_and_the_opposite_corner() {
    let mut world = discovering();
    for (local, other) in [
        ("203.0.113.10:3478", "203.0.113.11:3479"),
        ("203.0.113.10:3479", "203.0.113.11:3478"),
        ("203.0.113.11:3478", "203.0.113.10:3479"),
        ("203.0.113.11:3479", "203.0.113.10:3478"),
    ] {
        let answer = ask(&mut world, local, &[]);
        assert_eq!((origin(&answer), other_address(&answer)), (at(local), at(other)));
        assert_eq!(answer.from, ReplyFrom::Same);
    }
}

#[test]
fn change_request_moves_the_answer_to_the_other_address_and_port() {
    let mut world = discovering();
    for (address, port, want) in
        [(true, false, "203.0.113.11:3478"), (false, true, "203.0.113.10:3479"), (true, true, "203.0.113.11:3479")]
    {
        let answer = ask(&mut world, "203.0.113.10:3478", &[Attribute::ChangeRequest(ChangeRequest { address, port })]);
        assert_eq!(answer.from, ReplyFrom::Alternate { address, port });
        assert_eq!(origin(&answer), at(want));
        assert_eq!(answer.to, at("198.51.100.1:4000"));
    }
}

#[test]
fn a_change_request_that_changes_nothing_is_answered_from_where_it_came_to() {
    let mut world = discovering();
    let change = Attribute::ChangeRequest(ChangeRequest { address: false, port: false });
    assert_eq!(ask(&mut world, "203.0.113.10:3478", &[change]).from, ReplyFrom::Same);
}

#[test]
fn response_port_changes_the_port_and_never_the_address() {
    let mut world = discovering();
    let answer = ask(&mut world, "203.0.113.10:3478", &[Attribute::ResponsePort(9)]);
    assert_eq!(answer.to, at("198.51.100.1:9"));
    assert_eq!(answer.mapped(), Some(at("198.51.100.1:4000")));
}

#[test]
fn an_address_for_the_answer_from_the_old_protocol_is_unknown() {
    let mut world = discovering();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    let mut request = alice.bare(Method::Binding, &[]);
    // RESPONSE-ADDRESS of RFC 3489.
    request.extend_from_slice(&[0, 2, 0, 8, 0, 1, 0x0F, 0xA0, 192, 0, 2, 66]);
    request[3] = 12;
    let answer = world.ask_raw(alice.client, &request).unwrap();
    assert_eq!((answer.code(), answer.to), (Some(420), alice.client.remote));
}

#[test]
fn padding_is_answered_with_as_much_and_goes_with_no_other_port() {
    let mut world = discovering();
    for (asked, want) in [(0, 0), (64, 64), (1_500, 1_500), (9_000, 1_500)] {
        let answer = ask(&mut world, "203.0.113.10:3478", &[Attribute::Padding(&vec![0; asked])]);
        let Some(Attribute::Padding(padding)) = answer.find(AttributeType::PADDING) else { panic!("padding") };
        assert_eq!(padding.len(), want);
    }
    let answer = ask(&mut world, "203.0.113.10:3478", &[Attribute::Padding(&[0; 4]), Attribute::ResponsePort(9)]);
    assert_eq!(answer.code(), Some(400));
}

#[test]
fn discovery_is_spoken_on_its_own_listeners_and_over_udp_only() {
    let mut world = discovering();
    let change = Attribute::ChangeRequest(ChangeRequest { address: true, port: false });
    assert_eq!(ask(&mut world, "203.0.113.12:3478", &[change]).code(), Some(420));
    assert!(!ask(&mut world, "203.0.113.12:3478", &[]).has(AttributeType::OTHER_ADDRESS));
    let mut alice = Endpoint::over(&world, "alice", "198.51.100.1:4000", Transport::Tcp);
    let request = alice.bare(Method::Binding, &[change]);
    assert_eq!(world.ask_raw(alice.client, &request).unwrap().code(), Some(420));
}

#[test]
fn behind_a_one_to_one_nat_the_public_addresses_are_told() {
    let mut world = World::with(|setup| {
        setup.policy.advertise = vec![
            (at("10.0.0.5:0").ip(), at("203.0.113.10:0").ip()),
            (at("10.0.0.6:0").ip(), at("203.0.113.11:0").ip()),
        ];
        let pair = NatDiscovery { primary: at("203.0.113.10:3478"), alternate: at("203.0.113.11:3479") };
        setup.features.nat_discovery = Some(pair);
    });
    let answer = ask(&mut world, "10.0.0.5:3478", &[]);
    assert_eq!((origin(&answer), other_address(&answer)), (at("203.0.113.10:3478"), at("203.0.113.11:3479")));
}
