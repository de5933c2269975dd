//! What is written is read back, for values drawn at random.

use std::net::{IpAddr, SocketAddr};

use postern_turn::attribute::{
    Attribute, AttributeType, ChangeRequest, EvenPort, FamilyWish, Icmp, PasswordAlgorithms, UnknownList,
};
use postern_turn::channel_data::{self, Padding};
use postern_turn::error_code::ErrorCode;
use postern_turn::framer::{Frame, frame_stream};
use postern_turn::integrity::{IntegrityAlgorithm, IntegrityKey, PasswordAlgorithm};
use postern_turn::io::{ConnectionId, Family, HEADROOM, TAILROOM, Transport};
use postern_turn::message::{Class, Message, MessageWriter, Method, TransactionId};
use postern_turn::nonce::{Features, NonceKeys, NonceVerdict};
use postern_turn::{data_indication, opaque_string};
use proptest::collection::vec;
use proptest::prelude::*;

/// An attribute that owns its bytes.
#[derive(Clone, Debug)]
struct Owned {
    kind: usize,
    bytes: Vec<u8>,
    number: u64,
    address: SocketAddr,
}

const KINDS: usize = 37;

impl Owned {
    fn borrow(&self) -> Attribute<'_> {
        use Attribute as A;
        let Self { kind, bytes, number, address } = self;
        let (number, address) = (*number, *address);
        let even_bytes = &bytes[..bytes.len() / 2 * 2];
        let code = ErrorCode::new(300 + (number % 400) as u16).unwrap();
        let family =
            [FamilyWish::Known(Family::V4), FamilyWish::Known(Family::V6), FamilyWish::Unknown(9)][number as usize % 3];
        let array: &[u8; 32] = bytes.first_chunk().unwrap();
        match kind {
            0 => A::MappedAddress(address),
            1 => A::ChangeRequest(ChangeRequest { address: number & 1 != 0, port: number & 2 != 0 }),
            2 => A::Username(bytes),
            3 => A::ErrorCode(code, bytes),
            4 => A::UnknownAttributes(UnknownList(even_bytes)),
            5 => A::ChannelNumber(number as u16),
            6 => A::Lifetime(number as u32),
            7 => A::XorPeerAddress(address),
            8 => A::Data(bytes),
            9 => A::Realm(bytes),
            10 => A::Nonce(bytes),
            11 => A::XorRelayedAddress(address),
            12 => A::RequestedAddressFamily(family),
            13 => A::EvenPort(EvenPort { reserve_next: number & 1 != 0 }),
            14 => A::RequestedTransport(number as u8),
            15 => A::DontFragment,
            16 => A::PasswordAlgorithm(number as u16, bytes),
            17 => A::Userhash(array),
            18 => A::XorMappedAddress(address),
            19 => A::ReservationToken(number.to_be_bytes()),
            20 => A::Priority(number as u32),
            21 => A::UseCandidate,
            22 => A::Padding(bytes),
            23 => A::ResponsePort(number as u16),
            24 => A::ConnectionId(ConnectionId(number as u32)),
            25 => A::AdditionalAddressFamily(family),
            26 => A::AddressErrorCode(family, code, bytes),
            27 => A::PasswordAlgorithms(PasswordAlgorithms::OFFERED),
            28 => A::AlternateDomain(bytes),
            29 => A::Icmp(Icmp {
                icmp_type: number as u8 & 0x7F,
                icmp_code: (number >> 8) as u16 & 0x1FF,
                data: (number as u32).to_be_bytes(),
            }),
            30 => A::Software(bytes),
            31 => A::AlternateServer(address),
            32 => A::IceControlled(number),
            33 => A::IceControlling(number),
            34 => A::ResponseOrigin(address),
            35 => A::OtherAddress(address),
            _ => A::MobilityTicket(bytes),
        }
    }
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn attributes() -> impl Strategy<Value = Owned> {
    (0..KINDS, vec(any::<u8>(), 32..200), any::<u64>(), addresses()).prop_map(|(kind, bytes, number, address)| Owned {
        kind,
        bytes,
        number,
        address,
    })
}

fn transaction_ids() -> impl Strategy<Value = TransactionId> {
    any::<[u8; 12]>().prop_map(TransactionId::new)
}

proptest! {
    #[test]
    fn message_is_read_as_it_was_written(
        owned in vec(attributes(), 0..12),
        id in transaction_ids(),
        method in 0_u16..0x1000,
        password in vec(any::<u8>(), 0..80),
        sha256 in any::<bool>(),
        fingerprint in any::<bool>(),
    ) {
        let key = IntegrityKey::short_term(&password);
        let algorithm = if sha256 { IntegrityAlgorithm::Sha256 } else { IntegrityAlgorithm::Sha1 };
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out, Class::Request, Method::from_number(method), id);
        for one in &owned {
            writer.attribute(&one.borrow());
        }
        writer.integrity(algorithm, &key);
        if fingerprint {
            writer.fingerprint();
        }
        let length = writer.finish().unwrap();
        prop_assert_eq!(length, out.len());

        let message = Message::decode(&out).unwrap();
        prop_assert_eq!((message.method().number(), message.transaction_id()), (method, id));
        prop_assert_eq!(message.has_fingerprint(), fingerprint);
        let integrity = message.integrity().unwrap();
        prop_assert_eq!(integrity.algorithm(), algorithm);
        prop_assert!(integrity.matches(&key));
        prop_assert!(!integrity.matches(&IntegrityKey::long_term(PasswordAlgorithm::Md5, b"u", b"r", &password)));
        let read: Vec<_> =
            message.attributes().map(|raw| Attribute::decode(raw.attribute_type, raw.value, &id).unwrap()).collect();
        let written: Vec<_> = owned.iter().map(Owned::borrow).collect();
        prop_assert_eq!(read, written);
        prop_assert_eq!(frame_stream(&out), Frame::Stun { bytes: length });
    }

    #[test]
    fn attribute_type_of_a_value_is_the_one_it_is_read_by(one in attributes(), id in transaction_ids()) {
        let attribute = one.borrow();
        let mut value = Vec::new();
        attribute.encode_value(&id, &mut value);
        prop_assert_eq!(Attribute::decode(attribute.attribute_type(), &value, &id), Ok(attribute));
    }

    #[test]
    fn arbitrary_bytes_are_read_without_panic_and_stably(number in any::<u16>(), value in vec(any::<u8>(), 0..80), id in transaction_ids()) {
        if let Ok(attribute) = Attribute::decode(AttributeType(number), &value, &id) {
            let mut again = Vec::new();
            attribute.encode_value(&id, &mut again);
            prop_assert_eq!(Attribute::decode(AttributeType(number), &again, &id), Ok(attribute));
        }
    }

    #[test]
    fn channel_data_in_place_is_read_back(
        payload in vec(any::<u8>(), 0..1500),
        channel in 0x4000_u16..0x5000,
        stream in any::<bool>(),
    ) {
        let mut buffer = vec![0x5A; HEADROOM + payload.len() + TAILROOM];
        let at = HEADROOM..HEADROOM + payload.len();
        buffer[at.clone()].copy_from_slice(&payload);
        let padding = if stream { Padding::ToFour } else { Padding::None };
        let frame = channel_data::encode_in_place(&mut buffer, at, channel, padding).unwrap();
        let read = channel_data::decode(&buffer[frame.clone()]).unwrap();
        prop_assert_eq!(read.channel, channel);
        prop_assert_eq!(&buffer[frame][read.payload], &payload);
    }

    #[test]
    fn data_indication_in_place_is_read_back(
        payload in vec(any::<u8>(), 0..1500),
        peer in addresses(),
        id in transaction_ids(),
    ) {
        let mut buffer = vec![0x5A; HEADROOM + payload.len() + TAILROOM];
        let at = HEADROOM..HEADROOM + payload.len();
        buffer[at.clone()].copy_from_slice(&payload);
        let frame = data_indication::encode_in_place(&mut buffer, at, peer, id).unwrap();
        let message = Message::decode(&buffer[frame]).unwrap();
        prop_assert_eq!((message.class(), message.method()), (Class::Indication, Method::Data));
        prop_assert_eq!(message.find(AttributeType::XOR_PEER_ADDRESS), Ok(Some(Attribute::XorPeerAddress(peer))));
        prop_assert_eq!(message.find(AttributeType::DATA), Ok(Some(Attribute::Data(&payload))));
    }

    #[test]
    fn nonce_is_fresh_for_its_own_client_alone(
        client in addresses(),
        other in addresses(),
        secs in 1_000_000_u64..4_000_000_000,
        age in 0_u64..600,
        secret in vec(any::<u8>(), 16..64),
    ) {
        let keys = NonceKeys::new(&[&secret]);
        let nonce = keys.issue(secs, Features::default(), Transport::Tls, client);
        let fresh = NonceVerdict::Fresh(Features::default());
        prop_assert_eq!(keys.verify(&nonce, secs + age, Transport::Tls, client), fresh);
        let same = (client.ip().to_canonical(), client.port()) == (other.ip().to_canonical(), other.port());
        prop_assert_eq!(keys.verify(&nonce, secs + age, Transport::Tls, other) == fresh, same);
    }

    #[test]
    fn preparing_a_prepared_name_changes_nothing(name in "\\PC{0,20}") {
        if let Ok(once) = opaque_string::enforce(name.as_bytes()) {
            prop_assert_eq!(opaque_string::enforce(once.as_bytes()), Ok(once.clone()));
        }
    }
}
