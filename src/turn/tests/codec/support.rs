//! One message of every kind that crosses the wire, shared by the tests of the codec.

use std::net::SocketAddr;

use postern_turn::attribute::{Attribute, ChangeRequest, EvenPort, FamilyWish, Icmp, PasswordAlgorithms, UnknownList};
use postern_turn::error_code::ErrorCode;
use postern_turn::integrity::{IntegrityAlgorithm, IntegrityKey, PasswordAlgorithm};
use postern_turn::io::{ConnectionId, Family};
use postern_turn::message::{Class, MessageWriter, Method, TransactionId};

pub const USERNAME: &[u8] = b"1893456000:alice";
pub const REALM: &[u8] = b"example.test";
pub const PASSWORD: &[u8] = b"correct horse battery staple";
pub const NONCE: &[u8] = b"obMatJos2gAAAAAAAAA_abcdefghijklmnopqrs";
pub const USERHASH: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
pub const TRANSACTION_ID: TransactionId =
    TransactionId([0x21, 0x12, 0xA4, 0x42, 0xB7, 0xE7, 0xA7, 0x01, 0xBC, 0x34, 0xD6, 0x86, 0xFA, 0x87, 0xDF, 0xAE]);

/// What closes a message.
#[derive(Clone, Copy)]
pub struct Tail {
    pub integrity: Option<(IntegrityAlgorithm, PasswordAlgorithm)>,
    pub fingerprint: bool,
}

pub const OPEN: Tail = Tail { integrity: None, fingerprint: false };
pub const FINGERPRINTED: Tail = Tail { integrity: None, fingerprint: true };
pub const SHA1: Tail = Tail { integrity: Some((IntegrityAlgorithm::Sha1, PasswordAlgorithm::Md5)), fingerprint: false };
pub const SHA1_FINGERPRINTED: Tail = Tail { fingerprint: true, ..SHA1 };
pub const SHA256: Tail =
    Tail { integrity: Some((IntegrityAlgorithm::Sha256, PasswordAlgorithm::Sha256)), fingerprint: false };

pub fn v4() -> SocketAddr {
    "192.0.2.15:50000".parse().unwrap()
}

pub fn v6() -> SocketAddr {
    "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap()
}

pub fn key(algorithm: PasswordAlgorithm) -> IntegrityKey {
    IntegrityKey::long_term(algorithm, USERNAME, REALM, PASSWORD)
}

/// Encodes one message, as a client or a server would.
pub fn write(class: Class, method: Method, attributes: &[Attribute<'_>], tail: Tail) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = MessageWriter::new(&mut out, class, method, TRANSACTION_ID);
    for attribute in attributes {
        writer.attribute(attribute);
    }
    if let Some((integrity, password)) = tail.integrity {
        writer.integrity(integrity, &key(password));
    }
    if tail.fingerprint {
        writer.fingerprint();
    }
    writer.finish().unwrap();
    out
}

/// Every kind of message with a name, each as its sender would write it.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = requests();
    all.extend(answers());
    all.extend(indications());
    all
}

fn credentials<'a>(first: &[Attribute<'a>]) -> Vec<Attribute<'a>> {
    let mut attributes = first.to_vec();
    attributes.extend([Attribute::Username(USERNAME), Attribute::Realm(REALM), Attribute::Nonce(NONCE)]);
    attributes
}

fn requests() -> Vec<(&'static str, Vec<u8>)> {
    use Attribute as A;
    let request = |method, attributes: &[A<'_>], tail| write(Class::Request, method, attributes, tail);
    let udp = A::RequestedTransport(17);
    vec![
        ("binding", request(Method::Binding, &[], OPEN)),
        ("binding_software", request(Method::Binding, &[A::Software(b"a client")], FINGERPRINTED)),
        (
            "binding_discovery",
            request(
                Method::Binding,
                &[
                    A::ChangeRequest(ChangeRequest { address: true, port: false }),
                    A::ResponsePort(4000),
                    A::Padding(&[b'p'; 37]),
                ],
                OPEN,
            ),
        ),
        (
            "binding_ice",
            request(
                Method::Binding,
                &[A::Username(b"evtj:h6vY"), A::Priority(0x6E00_01FF), A::UseCandidate, A::IceControlling(77)],
                SHA1_FINGERPRINTED,
            ),
        ),
        ("allocate_bare", request(Method::Allocate, &[udp], OPEN)),
        ("allocate", request(Method::Allocate, &credentials(&[udp, A::Lifetime(600)]), SHA1_FINGERPRINTED)),
        (
            "allocate_sha256",
            request(
                Method::Allocate,
                &[
                    udp,
                    A::RequestedAddressFamily(FamilyWish::Known(Family::V6)),
                    A::DontFragment,
                    A::Userhash(&USERHASH),
                    A::Realm(REALM),
                    A::Nonce(NONCE),
                    A::PasswordAlgorithm(2, &[]),
                    A::PasswordAlgorithms(PasswordAlgorithms::OFFERED),
                ],
                SHA256,
            ),
        ),
        (
            "allocate_dual",
            request(
                Method::Allocate,
                &credentials(&[udp, A::AdditionalAddressFamily(FamilyWish::Known(Family::V6))]),
                SHA1,
            ),
        ),
        (
            "allocate_even",
            request(Method::Allocate, &credentials(&[udp, A::EvenPort(EvenPort { reserve_next: true })]), SHA1),
        ),
        ("allocate_reserved", request(Method::Allocate, &credentials(&[udp, A::ReservationToken(*b"reserved")]), SHA1)),
        ("allocate_mobile", request(Method::Allocate, &credentials(&[udp, A::MobilityTicket(&[])]), SHA1)),
        (
            "refresh",
            request(Method::Refresh, &credentials(&[A::Lifetime(0), A::MobilityTicket(b"a sealed ticket")]), SHA1),
        ),
        (
            "create_permission",
            request(
                Method::CreatePermission,
                &credentials(&[A::XorPeerAddress(v4()), A::XorPeerAddress(v6()), A::XorPeerAddress(v4())]),
                SHA1_FINGERPRINTED,
            ),
        ),
        (
            "channel_bind",
            request(
                Method::ChannelBind,
                &credentials(&[A::ChannelNumber(0x4001), A::XorPeerAddress(v4())]),
                SHA1_FINGERPRINTED,
            ),
        ),
        ("connect", request(Method::Connect, &credentials(&[A::XorPeerAddress(v6())]), SHA1)),
        (
            "connection_bind",
            request(Method::ConnectionBind, &credentials(&[A::ConnectionId(ConnectionId(0xDEAD_BEEF))]), SHA1),
        ),
        ("unknown_attributes", {
            let mut out = Vec::new();
            let mut writer = MessageWriter::new(&mut out, Class::Request, Method::Binding, TRANSACTION_ID);
            for number in [0x0002, 0x7FFF, 0xC001, 0x0002] {
                writer.raw_attribute(postern_turn::attribute::AttributeType(number), b"what");
            }
            writer.finish().unwrap();
            out
        }),
    ]
}

fn answers() -> Vec<(&'static str, Vec<u8>)> {
    use Attribute as A;
    let success = |method, attributes: &[A<'_>], tail| write(Class::Success, method, attributes, tail);
    let error = |method, attributes: &[A<'_>], tail| write(Class::Error, method, attributes, tail);
    vec![
        ("binding_success_v4", success(Method::Binding, &[A::XorMappedAddress(v4())], FINGERPRINTED)),
        (
            "binding_success_v6",
            success(
                Method::Binding,
                &[A::XorMappedAddress(v6()), A::MappedAddress(v6()), A::ResponseOrigin(v4()), A::OtherAddress(v6())],
                OPEN,
            ),
        ),
        (
            "challenge",
            error(
                Method::Allocate,
                &[
                    A::ErrorCode(ErrorCode::UNAUTHENTICATED, b""),
                    A::Realm(REALM),
                    A::Nonce(NONCE),
                    A::PasswordAlgorithms(PasswordAlgorithms::OFFERED),
                ],
                OPEN,
            ),
        ),
        (
            "unknown_attribute_error",
            error(
                Method::Binding,
                &[
                    A::ErrorCode(ErrorCode::UNKNOWN_ATTRIBUTE, b"Unknown Attribute"),
                    A::UnknownAttributes(UnknownList(&[0, 2, 0x7F, 0xFF, 0, 3])),
                ],
                FINGERPRINTED,
            ),
        ),
        (
            "try_alternate",
            error(
                Method::Allocate,
                &[
                    A::ErrorCode(ErrorCode::TRY_ALTERNATE, b""),
                    A::AlternateServer(v4()),
                    A::AlternateDomain(b"edge2.example.test"),
                ],
                SHA1,
            ),
        ),
        (
            "allocate_success",
            success(
                Method::Allocate,
                &[
                    A::XorRelayedAddress(v4()),
                    A::XorRelayedAddress(v6()),
                    A::Lifetime(600),
                    A::XorMappedAddress(v4()),
                    A::ReservationToken([1, 2, 3, 4, 5, 6, 7, 8]),
                    A::MobilityTicket(b"ticket"),
                ],
                SHA1_FINGERPRINTED,
            ),
        ),
        (
            "allocate_one_family_failed",
            success(
                Method::Allocate,
                &[
                    A::XorRelayedAddress(v4()),
                    A::Lifetime(600),
                    A::XorMappedAddress(v6()),
                    A::AddressErrorCode(
                        FamilyWish::Known(Family::V6),
                        ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED,
                        b"Address Family not Supported",
                    ),
                ],
                SHA256,
            ),
        ),
        ("connect_success", success(Method::Connect, &[A::ConnectionId(ConnectionId(7))], SHA1)),
        ("refresh_success", success(Method::Refresh, &[A::Lifetime(3600)], SHA1)),
    ]
}

fn indications() -> Vec<(&'static str, Vec<u8>)> {
    use Attribute as A;
    let indication = |method, attributes: &[A<'_>]| write(Class::Indication, method, attributes, OPEN);
    vec![
        ("send", indication(Method::Send, &[A::XorPeerAddress(v4()), A::Data(b"seventeen bytes!!")])),
        (
            "send_dont_fragment",
            indication(Method::Send, &[A::DontFragment, A::Data(&[0x80; 172]), A::XorPeerAddress(v6())]),
        ),
        ("data", indication(Method::Data, &[A::XorPeerAddress(v6()), A::Data(b"")])),
        (
            "data_icmp",
            indication(
                Method::Data,
                &[A::XorPeerAddress(v4()), A::Icmp(Icmp { icmp_type: 3, icmp_code: 4, data: [0, 0, 5, 0xDC] })],
            ),
        ),
        (
            "connection_attempt",
            indication(
                Method::ConnectionAttempt,
                &[A::XorPeerAddress(v4()), A::ConnectionId(ConnectionId(0x0102_0304))],
            ),
        ),
        ("binding_indication", indication(Method::Binding, &[])),
    ]
}

/// ChannelData messages: plain, padded, empty.
pub fn channel_samples() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("channel", [&[0x40, 0x01, 0, 5][..], b"abcde"].concat()),
        ("channel_padded", [&[0x4F, 0xFF, 0, 5][..], b"abcde\0\0\0"].concat()),
        ("channel_empty", vec![0x40, 0x00, 0, 0]),
    ]
}

/// Numbers that are the same in every run (SplitMix64).
#[derive(Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Changes a few bytes, or cuts, repeats, inserts, joins; as a broken or hostile sender would.
pub fn mutate(numbers: &mut Numbers, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[numbers.below(corpus.len())].clone();
    for _ in 0..=numbers.below(4) {
        let len = bytes.len();
        let at = numbers.below(len + 1);
        let random = numbers.next() as u8;
        match numbers.below(10) {
            0 | 1 if at < len => bytes[at] ^= 1 << (random & 7),
            2 if at < len => bytes[at] = random,
            3 if at < len => bytes[at] = [0x00, 0xFF, 0x7F, 0x80, 0x20, 0x40][usize::from(random) % 6],
            4 => bytes.truncate(at),
            5 => bytes.insert(at, random),
            6 if len >= 4 => {
                let from = numbers.below(len / 4) * 4;
                let piece = bytes[from..(from + 4 * (1 + usize::from(random) % 8)).min(len)].to_vec();
                let at = at / 4 * 4;
                bytes.splice(at..at, piece);
            }
            7 => {
                let other = &corpus[numbers.below(corpus.len())];
                let from = numbers.below(other.len() + 1) / 4 * 4;
                bytes.extend_from_slice(&other[from..]);
            }
            8 if at + 2 <= len => {
                let number = [0, 1, 4, 8, 20, 32, 0x4000, 0xFFFC, 0xFFFF][usize::from(random) % 9];
                bytes[at..at + 2].copy_from_slice(&u16::to_be_bytes(number));
            }
            _ if len >= 8 => {
                let from = numbers.below(len / 4) * 4;
                bytes.drain(from..(from + 4).min(len));
            }
            _ => {}
        }
    }
    if numbers.below(2) == 0 {
        repair(&mut bytes);
    }
    bytes
}

/// Makes the length field true, so that a mutation gets past the first check.
pub fn repair(bytes: &mut [u8]) {
    if bytes.len() >= 20 && bytes.len() - 20 <= 0xFFFF {
        let length = (bytes.len() - 20) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }
}
