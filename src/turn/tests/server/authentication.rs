//! The long-term credential mechanism, RFC 8489 section 9.2, in the order in which a server judges.

use std::sync::Arc;

use postern_turn::attribute::PasswordAlgorithms;
use postern_turn::integrity::userhash;
use postern_turn::nonce::{self, Features, NonceKeys};

use crate::harness::{FixedUser, REALM};
use crate::prelude::*;

fn alice(world: &mut World) -> Endpoint {
    let mut alice = Endpoint::new(world, "198.51.100.1:4000");
    world.greet(&mut alice);
    alice
}

fn allocate_code(world: &mut World, endpoint: &mut Endpoint) -> Option<u16> {
    world.ask(endpoint, Method::Allocate, &[UDP]).code()
}

/// A request that leaves one of the credentials out.
fn without(endpoint: &mut Endpoint, left_out: AttributeType) -> Vec<u8> {
    let parts = endpoint.clone();
    let all =
        [UDP, Attribute::Username(&parts.username), Attribute::Realm(&parts.realm), Attribute::Nonce(&parts.nonce)];
    let kept: Vec<_> = all.into_iter().filter(|attribute| attribute.attribute_type() != left_out).collect();
    endpoint.write(Class::Request, Method::Allocate, &kept, true)
}

#[test]
fn a_request_without_credentials_gets_401_with_realm_and_nonce_and_no_more() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    for method in [
        Method::Allocate,
        Method::Refresh,
        Method::CreatePermission,
        Method::ChannelBind,
        Method::Connect,
        Method::ConnectionBind,
    ] {
        let request = alice.bare(method, &[UDP]);
        let answer = world.ask_raw(alice.client, &request).unwrap();
        let types =
            [AttributeType::ERROR_CODE, AttributeType::REALM, AttributeType::NONCE, AttributeType::PASSWORD_ALGORITHMS];
        assert_eq!((answer.code(), answer.types()), (Some(401), types.to_vec()), "{method:?}");
        assert!(answer.message().integrity().is_none());
        assert_eq!(answer.reason(), b"");
    }
}

#[test]
fn the_nonce_is_short_and_its_cookie_offers_password_algorithms() {
    let mut world = World::new();
    let alice = alice(&mut world);
    assert!(alice.nonce.len() <= 40);
    assert!(alice.nonce.starts_with(b"obMatJos2"));
    let features = nonce::features(&alice.nonce).unwrap();
    assert!(features.contains(Features::PASSWORD_ALGORITHMS));
    assert!(!features.contains(Features::USERNAME_ANONYMITY));
}

#[test]
fn integrity_without_username_realm_or_nonce_gets_400_without_either() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    for left_out in [AttributeType::USERNAME, AttributeType::REALM, AttributeType::NONCE] {
        let request = without(&mut alice, left_out);
        let answer = world.ask_raw(alice.client, &request).unwrap();
        assert_eq!((answer.code(), answer.types()), (Some(400), vec![AttributeType::ERROR_CODE]), "{left_out:?}");
        assert!(answer.message().integrity().is_none());
    }
}

#[test]
fn a_username_realm_or_nonce_beyond_its_limit_gets_400() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    let long = [b'a'; 764];
    let oversize = [
        Endpoint { username: long[..509].to_vec(), ..alice.clone() },
        Endpoint { realm: long.to_vec(), ..alice.clone() },
        Endpoint { nonce: long.to_vec(), ..alice.clone() },
    ];
    for mut endpoint in oversize {
        assert_eq!(allocate_code(&mut world, &mut endpoint), Some(400));
    }
    alice.username = long[..508].to_vec();
    assert_eq!(allocate_code(&mut world, &mut alice), Some(401), "long, but whole");
}

#[test]
fn an_unknown_user_looks_exactly_like_a_wrong_password() {
    let mut world = World::new();
    let alice = alice(&mut world);
    let mut wrong_password = Endpoint { password: b"wrong".to_vec(), ..alice.clone() };
    let mut unknown_user = Endpoint { username: b"nobody".to_vec(), ..alice.clone() };
    let mut hostile_user = Endpoint { username: b"1999999999:al\r\nice\0%n".to_vec(), ..alice.clone() };
    let first = world.ask(&mut wrong_password, Method::Allocate, &[UDP]);
    for endpoint in [&mut unknown_user, &mut hostile_user] {
        let answer = world.ask(endpoint, Method::Allocate, &[UDP]);
        assert_eq!(answer.code(), Some(401));
        assert!(!answer.has(AttributeType::USERNAME));
        // The transaction id is the client's; the rest is the same, byte for byte.
        assert_eq!(answer.bytes[..4], first.bytes[..4]);
        assert_eq!(answer.bytes[20..], first.bytes[20..]);
    }
}

#[test]
fn a_name_that_is_no_opaque_string_is_nobody_even_with_its_own_password() {
    let mut world = World::new();
    world.setup.credentials = Some(Arc::new(FixedUser { username: "al\nice".into(), password: "secret".into() }));
    world.reload(|_| {});
    let mut alice = alice(&mut world);
    (alice.username, alice.password) = (b"al\nice".to_vec(), b"secret".to_vec());
    assert_eq!(allocate_code(&mut world, &mut alice), Some(401));
}

#[test]
fn username_and_realm_are_prepared_before_they_are_compared() {
    let mut world = World::new();
    world.setup.credentials = Some(Arc::new(FixedUser { username: "r\u{e9}mi".into(), password: "secret".into() }));
    world.reload(|_| {});
    let mut alice = alice(&mut world);
    (alice.username, alice.password) = ("r\u{e9}mi".into(), b"secret".to_vec());
    let key = alice.key();
    // The same name in decomposed form, the key made of the composed one.
    let decomposed = "re\u{301}mi".as_bytes();
    let attributes = [
        UDP,
        Attribute::Username(decomposed),
        Attribute::Realm(REALM.as_bytes()),
        Attribute::Nonce(&alice.nonce.clone()),
    ];
    let request = alice.write(Class::Request, Method::Allocate, &attributes, true);
    let answer = world.ask_raw(alice.client, &request).unwrap();
    assert_eq!(answer.code(), None);
    assert!(answer.message().integrity().unwrap().matches(&key));
}

#[test]
fn another_realm_gets_401() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    alice.realm = b"elsewhere.test".to_vec();
    assert_eq!(allocate_code(&mut world, &mut alice), Some(401));
    // Also when the key was made with ours.
    let (username, nonce) = (alice.username.clone(), alice.nonce.clone());
    alice.realm = REALM.as_bytes().to_vec();
    let attributes =
        [UDP, Attribute::Username(&username), Attribute::Realm(b"elsewhere.test"), Attribute::Nonce(&nonce)];
    let request = alice.write(Class::Request, Method::Allocate, &attributes, true);
    assert_eq!(world.ask_raw(alice.client, &request).unwrap().code(), Some(401));
}

#[test]
fn a_stale_nonce_gets_438_with_a_fresh_one_that_works() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    world.pass_secs(600);
    let answer = world.ask(&mut alice, Method::Allocate, &[UDP]);
    let types =
        [AttributeType::ERROR_CODE, AttributeType::REALM, AttributeType::NONCE, AttributeType::PASSWORD_ALGORITHMS];
    assert_eq!((answer.code(), answer.types(), answer.reason()), (Some(438), types.to_vec(), Vec::new()));
    alice.nonce = answer.nonce().unwrap();
    assert_eq!(allocate_code(&mut world, &mut alice), None);
}

#[test]
fn a_nonce_is_good_for_ten_minutes_less_a_moment() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    world.pass_nanos(599 * SECOND);
    assert_eq!(allocate_code(&mut world, &mut alice), None);
}

#[test]
fn an_empty_or_foreign_nonce_gets_438() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    let other_key = NonceKeys::new(&[b"another secret of ours"]);
    let foreign =
        other_key.issue(world.now.unix_secs, Features::PASSWORD_ALGORITHMS, Transport::Udp, alice.client.remote);
    for nonce in [&b""[..], b"abc", &foreign] {
        alice.nonce = nonce.to_vec();
        assert_eq!(allocate_code(&mut world, &mut alice), Some(438), "{nonce:?}");
    }
}

#[test]
fn a_nonce_of_another_address_port_or_transport_gets_438() {
    let mut world = World::new();
    let alice = alice(&mut world);
    for (remote, transport) in [
        ("198.51.100.2:4000", Transport::Udp),
        ("198.51.100.1:4001", Transport::Udp),
        ("198.51.100.1:4000", Transport::Tcp),
    ] {
        let mut thief = Endpoint::over(&world, "alice", remote, transport);
        thief.nonce.clone_from(&alice.nonce);
        assert_eq!(allocate_code(&mut world, &mut thief), Some(438), "{remote} {transport:?}");
    }
}

#[test]
fn a_captured_request_from_another_address_gets_438() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    let request = alice.signed(Method::Allocate, &[UDP]);
    let thief = Endpoint::new(&world, "198.51.100.66:4000");
    assert_eq!(world.ask_raw(thief.client, &request).unwrap().code(), Some(438));
    assert!(world.open_relays().is_empty());
}

#[test]
fn a_nonce_of_another_edge_with_the_same_secrets_is_good() {
    let mut elsewhere = World::new();
    let alice = alice(&mut elsewhere);
    let mut world = World::new();
    let mut moved = alice.clone();
    moved.client.local = at("203.0.113.99:3478");
    assert_eq!(allocate_code(&mut world, &mut moved), None);
}

#[test]
fn wrong_integrity_with_a_stale_nonce_gets_401() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    alice.nonce = b"old".to_vec();
    alice.password = b"wrong".to_vec();
    assert_eq!(allocate_code(&mut world, &mut alice), Some(401));
}

#[test]
fn success_and_error_carry_the_integrity_that_the_request_had() {
    for (integrity, algorithm) in [
        (IntegrityAlgorithm::Sha1, None),
        (IntegrityAlgorithm::Sha256, None),
        (IntegrityAlgorithm::Sha256, Some(PasswordAlgorithm::Sha256)),
        (IntegrityAlgorithm::Sha256, Some(PasswordAlgorithm::Md5)),
        (IntegrityAlgorithm::Sha1, Some(PasswordAlgorithm::Sha256)),
    ] {
        let mut world = World::new();
        let mut alice = alice(&mut world);
        (alice.integrity, alice.algorithm) = (integrity, algorithm);
        for code in [None, Some(437)] {
            let answer = world.ask(&mut alice, Method::Allocate, &[UDP]);
            assert_eq!((answer.code(), answer.integrity_for(&alice)), (code, Some(integrity)));
            assert!(
                !answer.has(AttributeType::NONCE)
                    && !answer.has(AttributeType::REALM)
                    && !answer.has(AttributeType::USERNAME)
            );
        }
    }
}

#[test]
fn a_truncated_sha256_integrity_gets_401() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    alice.integrity = IntegrityAlgorithm::Sha256;
    let mut request = alice.signed(Method::Allocate, &[UDP]);
    let (mac_at, cut) = (request.len() - 32, 16);
    request.truncate(request.len() - cut);
    request[mac_at - 1] = 16;
    let length = (request.len() - 20) as u16;
    request[2..4].copy_from_slice(&length.to_be_bytes());
    // Right for a usage that allows truncation: the MAC is over the shorter length.
    let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(alice.key().as_bytes()).unwrap();
    hmac::Mac::update(&mut mac, &request[..mac_at - 4]);
    request.truncate(mac_at);
    request.extend_from_slice(&hmac::Mac::finalize(mac).into_bytes()[..16]);
    assert_eq!(world.ask_raw(alice.client, &request).unwrap().code(), Some(401));
}

#[test]
fn a_changed_or_half_sent_list_of_password_algorithms_gets_400() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    let parts = alice.clone();
    let changed = PasswordAlgorithms(&[0, 1, 0, 0]);
    let chosen = Attribute::from(PasswordAlgorithm::Md5);
    let cases: [&[Attribute<'_>]; 5] = [
        &[Attribute::PasswordAlgorithms(PasswordAlgorithms::OFFERED)],
        &[chosen],
        &[Attribute::PasswordAlgorithms(changed), chosen],
        &[Attribute::PasswordAlgorithms(PasswordAlgorithms::OFFERED), Attribute::PasswordAlgorithm(9, &[])],
        &[Attribute::PasswordAlgorithms(PasswordAlgorithms::OFFERED), Attribute::PasswordAlgorithm(1, &[1, 2, 3, 4])],
    ];
    for case in cases {
        let mut attributes = vec![
            UDP,
            Attribute::Username(&parts.username),
            Attribute::Realm(&parts.realm),
            Attribute::Nonce(&parts.nonce),
        ];
        attributes.extend_from_slice(case);
        let request = alice.write(Class::Request, Method::Allocate, &attributes, true);
        assert_eq!(world.ask_raw(alice.client, &request).unwrap().code(), Some(400), "{case:?}");
    }
}

#[test]
fn a_nonce_whose_feature_bits_were_cleared_on_the_way_gets_438() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    alice.nonce[9..13].copy_from_slice(b"AAAA");
    assert_eq!(allocate_code(&mut world, &mut alice), Some(438));
}

#[test]
fn userhash_stands_for_the_username_where_its_bit_is_set() {
    let user = || Arc::new(FixedUser { username: "alice".into(), password: "secret".into() });
    let mut world = World::with(|setup| setup.credentials = Some(user()));
    let mut alice = alice(&mut world);
    assert!(nonce::features(&alice.nonce).unwrap().contains(Features::USERNAME_ANONYMITY));
    (alice.username, alice.password) = (b"alice".to_vec(), b"secret".to_vec());
    alice.userhash = Some(userhash(b"alice", REALM.as_bytes()));
    assert_eq!(allocate_code(&mut world, &mut alice), None);
    let mut nobody = Endpoint { userhash: Some([9; 32]), ..Endpoint::new(&world, "198.51.100.2:4000") };
    world.greet(&mut nobody);
    assert_eq!(allocate_code(&mut world, &mut nobody), Some(401));
}

#[test]
fn userhash_gets_400_where_its_bit_is_clear() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    alice.userhash = Some(userhash(&alice.username, REALM.as_bytes()));
    assert_eq!(allocate_code(&mut world, &mut alice), Some(400));
}

#[test]
fn all_secrets_verify_and_the_first_makes_nonces() {
    let mut world = World::new();
    let old = alice(&mut world);
    world.reload(|setup| setup.secrets.insert(0, ("k2".into(), "the second of our secrets".into())));
    let mut with_old_token = old.clone();
    assert_eq!(allocate_code(&mut world, &mut with_old_token), None);
    let mut with_new_token = Endpoint::named(&world, "bob", "198.51.100.2:4000");
    world.greet(&mut with_new_token);
    assert_eq!(allocate_code(&mut world, &mut with_new_token), None);
}

#[test]
fn software_is_told_only_to_those_who_have_authenticated() {
    let mut world = World::with(|setup| setup.features.software = Some("Postern".into()));
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    for method in [Method::Binding, Method::Allocate] {
        let request = alice.bare(method, &[UDP]);
        assert!(!world.ask_raw(alice.client, &request).unwrap().has(AttributeType::SOFTWARE));
    }
    world.greet(&mut alice);
    assert!(world.ask(&mut alice, Method::Allocate, &[UDP]).has(AttributeType::SOFTWARE));
}

#[test]
fn fingerprint_is_mirrored_in_challenges_and_signed_answers() {
    let mut world = World::new();
    let mut alice = Endpoint::new(&world, "198.51.100.1:4000");
    alice.fingerprint = true;
    let request = alice.bare(Method::Allocate, &[UDP]);
    assert!(world.ask_raw(alice.client, &request).unwrap().message().has_fingerprint());
    world.greet(&mut alice);
    assert!(world.ask(&mut alice, Method::Allocate, &[UDP]).message().has_fingerprint());
}

#[test]
fn an_expired_credential_gets_401_on_every_request() {
    let mut world = World::new();
    let short = token(&world.setup, "alice", 100);
    let mut alice = Endpoint::with_token(&short, "198.51.100.1:4000", Transport::Udp);
    world.allocate(&mut alice);
    // The allocation itself would be gone: look from another port, where only the credential is judged.
    world.jump_nanos(100 * SECOND - 1);
    let mut other = Endpoint::with_token(&short, "198.51.100.1:4001", Transport::Udp);
    world.greet(&mut other);
    for method in [
        Method::Allocate,
        Method::Refresh,
        Method::CreatePermission,
        Method::ChannelBind,
        Method::Connect,
        Method::ConnectionBind,
    ] {
        assert_eq!(
            world.ask(&mut other, method, &[UDP, Attribute::XorPeerAddress(peer())]).code(),
            Some(401),
            "{method:?}"
        );
    }
}

#[test]
fn without_an_allocation_every_request_about_one_gets_437() {
    let mut world = World::new();
    let mut alice = alice(&mut world);
    for method in [Method::Refresh, Method::CreatePermission, Method::ChannelBind, Method::Connect] {
        let answer =
            world.ask(&mut alice, method, &[Attribute::XorPeerAddress(peer()), Attribute::ChannelNumber(0x4000)]);
        assert_eq!(answer.code(), Some(437), "{method:?}");
        assert!(answer.integrity_for(&alice).is_some());
    }
}

#[test]
fn by_another_user_every_request_about_an_allocation_gets_441() {
    let mut world = World::new();
    let (mut alice, relayed) = allocated(&mut world);
    alice.use_token(&token(&world.setup, "mallory", 36_000));
    for method in [Method::Refresh, Method::CreatePermission, Method::ChannelBind, Method::Connect] {
        let answer =
            world.ask(&mut alice, method, &[Attribute::XorPeerAddress(peer()), Attribute::ChannelNumber(0x4000)]);
        assert_eq!(answer.code(), Some(441), "{method:?}");
    }
    assert_eq!(world.deliver(relayed, peer(), b"x"), Err(DropReason::NoPermission));
}

#[test]
fn the_key_is_md5_unless_the_client_chooses_sha256_of_the_list() {
    for algorithm in [None, Some(PasswordAlgorithm::Md5), Some(PasswordAlgorithm::Sha256)] {
        let mut world = World::new();
        let mut alice = alice(&mut world);
        alice.algorithm = algorithm;
        assert_eq!(allocate_code(&mut world, &mut alice), None, "{algorithm:?}");
    }
    let mut world = World::new();
    let mut alice = alice(&mut world);
    // The key of SHA-256 with a request that says nothing about algorithms.
    let attributes = [
        UDP,
        Attribute::Username(&alice.username.clone()),
        Attribute::Realm(REALM.as_bytes()),
        Attribute::Nonce(&alice.nonce.clone()),
    ];
    alice.algorithm = Some(PasswordAlgorithm::Sha256);
    let request = alice.write(Class::Request, Method::Allocate, &attributes, true);
    assert_eq!(world.ask_raw(alice.client, &request).unwrap().code(), Some(401));
}
