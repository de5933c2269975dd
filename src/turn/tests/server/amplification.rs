//! How much a stranger gets for what it sends, in IP bytes: 2.0 for a Binding, 2.7 for a bare Allocate.

use postern_turn::options::NatDiscovery;

use crate::harness::REALM;
use crate::prelude::*;

const UDP_HEADER_BYTES: usize = 8;

fn ratio(world: &mut World, remote: &str, request: &[u8], client: postern_turn::io::Client) -> f64 {
    let ip_header_bytes = if at(remote).is_ipv4() { 20 } else { 40 };
    let overhead = ip_header_bytes + UDP_HEADER_BYTES;
    let answer = world.ask_raw(client, request).unwrap();
    (answer.bytes.len() + overhead) as f64 / (request.len() + overhead) as f64
}

const REMOTES: [&str; 2] = ["198.51.100.1:4000", "[2001:db8:1::1]:4000"];

#[test]
fn a_binding_is_answered_with_at_most_twice_its_bytes() {
    let mut world = World::new();
    for remote in REMOTES {
        for fingerprint in [false, true] {
            let mut alice = Endpoint { fingerprint, ..Endpoint::new(&world, remote) };
            let request = alice.bare(Method::Binding, &[]);
            assert!(ratio(&mut world, remote, &request, alice.client) <= 2.0);
        }
    }
}

#[test]
fn a_binding_is_answered_with_at_most_twice_its_bytes_where_discovery_is_spoken() {
    for (remote, primary, alternate) in [
        (REMOTES[0], "203.0.113.10:3478", "203.0.113.11:3479"),
        (REMOTES[1], "[2001:db8:10::10]:3478", "[2001:db8:10::11]:3479"),
    ] {
        let pair = NatDiscovery { primary: at(primary), alternate: at(alternate) };
        let mut world = World::with(|setup| setup.features.nat_discovery = Some(pair));
        let mut alice = Endpoint::new(&world, remote);
        let change = postern_turn::attribute::ChangeRequest { address: true, port: true };
        let cases: [&[Attribute<'_>]; 4] =
            [&[], &[Attribute::ChangeRequest(change)], &[Attribute::Padding(&[0; 1_400])], &[Attribute::Padding(&[])]];
        for attributes in cases {
            let request = alice.bare(Method::Binding, attributes);
            let ratio = ratio(&mut world, remote, &request, alice.client);
            assert!(ratio <= 2.0, "{ratio} over {remote} for {attributes:?}");
        }
    }
}

#[test]
fn a_bare_allocate_is_answered_with_at_most_2_7_times_its_bytes() {
    assert_eq!(REALM.len(), 12, "the limit is for a realm of this length");
    let mut world = World::with(|setup| setup.features.software = Some("Postern".into()));
    for remote in REMOTES {
        let mut alice = Endpoint::new(&world, remote);
        for attributes in [&[UDP][..], &[]] {
            let request = alice.bare(Method::Allocate, attributes);
            let ratio = ratio(&mut world, remote, &request, alice.client);
            assert!(ratio <= 2.7, "{ratio} over {remote}");
        }
    }
}

#[test]
fn no_request_of_a_stranger_is_answered_with_more() {
    let mut world = World::new();
    for remote in REMOTES {
        let mut alice = Endpoint::new(&world, remote);
        let unknown = alice.bare(Method::Binding, &[Attribute::ResponsePort(1)]);
        assert!(ratio(&mut world, remote, &unknown, alice.client) <= 2.0);
        (alice.password, alice.nonce) = (b"wrong".to_vec(), b"x".to_vec());
        let signed = alice.signed(Method::Refresh, &[]);
        assert!(ratio(&mut world, remote, &signed, alice.client) <= 2.0);
    }
}
