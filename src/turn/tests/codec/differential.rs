//! Our codec against stun-rs, an independent one, in both directions and on damaged messages.
//!
//! Every attribute is compared on its own, because stun-rs gives up a message at its first bad attribute and we do not.
//! Where the two differ on purpose, [`DISAGREEMENTS`] says why; a difference that is not in it fails the test, and so does
//! an entry that no input needs.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use postern_turn::attribute::{Attribute, AttributeError, AttributeType, FamilyWish};
use postern_turn::integrity::{IntegrityAlgorithm, PasswordAlgorithm};
use postern_turn::io::Family;
use postern_turn::message::{DecodeError, Message};
use stun_rs::attributes::{discovery, ice, mobility, stun, turn};
use stun_rs::error::StunErrorLevel;
use stun_rs::{
    AddressFamily, Algorithm, AlgorithmId, DecoderContextBuilder, ErrorCode, HMACKey, MessageClass, MessageDecoder,
    MessageDecoderBuilder, MessageEncoderBuilder, StunAttribute, StunMessageBuilder, TransactionId, methods,
};

use crate::support::{self, Numbers, PASSWORD, REALM, TRANSACTION_ID, USERNAME, mutate, samples};

/// How many damaged messages are compared.
const MUTATIONS: usize = 100_000;

/// What one side makes of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reading {
    /// In words that both sides use.
    Value(String),
    Refused,
    Unknown,
}

/// A known difference for one attribute value.
struct Disagreement {
    why: &'static str,
    applies: fn(AttributeType, &[u8]) -> bool,
    ours: fn(&Reading) -> bool,
    theirs: fn(&Reading) -> bool,
}

fn any(_: &Reading) -> bool {
    true
}

fn refused(reading: &Reading) -> bool {
    *reading == Reading::Refused
}

fn unknown(reading: &Reading) -> bool {
    *reading == Reading::Unknown
}

fn value(reading: &Reading) -> bool {
    matches!(reading, Reading::Value(_))
}

/// Bytes of attributes whose length is fixed, or the least of two.
fn fixed_bytes(attribute_type: AttributeType) -> Option<usize> {
    Some(match attribute_type {
        AttributeType::CHANGE_REQUEST
        | AttributeType::CHANNEL_NUMBER
        | AttributeType::LIFETIME
        | AttributeType::REQUESTED_ADDRESS_FAMILY
        | AttributeType::ADDITIONAL_ADDRESS_FAMILY
        | AttributeType::REQUESTED_TRANSPORT
        | AttributeType::PRIORITY => 4,
        AttributeType::EVEN_PORT => 1,
        AttributeType::DONT_FRAGMENT | AttributeType::USE_CANDIDATE => 0,
        AttributeType::RESPONSE_PORT => 2,
        AttributeType::RESERVATION_TOKEN
        | AttributeType::ICMP
        | AttributeType::ICE_CONTROLLED
        | AttributeType::ICE_CONTROLLING => 8,
        AttributeType::USERHASH => 32,
        _ => return None,
    })
}

fn is_address(attribute_type: AttributeType) -> bool {
    matches!(
        attribute_type,
        AttributeType::MAPPED_ADDRESS
            | AttributeType::XOR_PEER_ADDRESS
            | AttributeType::XOR_RELAYED_ADDRESS
            | AttributeType::XOR_MAPPED_ADDRESS
            | AttributeType::ALTERNATE_SERVER
            | AttributeType::RESPONSE_ORIGIN
            | AttributeType::OTHER_ADDRESS
    )
}

fn is_text(attribute_type: AttributeType) -> bool {
    matches!(
        attribute_type,
        AttributeType::USERNAME
            | AttributeType::REALM
            | AttributeType::NONCE
            | AttributeType::SOFTWARE
            | AttributeType::PADDING
            | AttributeType::ERROR_CODE
            | AttributeType::ADDRESS_ERROR_CODE
    )
}

const DISAGREEMENTS: &[Disagreement] = &[
    Disagreement {
        why: "a value of fixed length with bytes too many is malformed to us; stun-rs reads its beginning",
        applies: |of, bytes| fixed_bytes(of).is_some_and(|fixed| bytes.len() > fixed),
        ours: refused,
        theirs: value,
    },
    Disagreement {
        why: "an address with bytes too many is malformed to us; stun-rs reads its beginning",
        applies: |of, bytes| is_address(of) && (bytes.len() > 8),
        ours: refused,
        theirs: value,
    },
    Disagreement {
        why: "text is bytes to us until a name is prepared; stun-rs asks for UTF-8, quoted-string or OpaqueString at once",
        applies: |of, _| is_text(of),
        ours: value,
        theirs: refused,
    },
    Disagreement {
        why: "a family that nobody registered is an unsupported wish to us (440), not malformed",
        applies: |of, bytes| {
            let family = matches!(
                of,
                AttributeType::REQUESTED_ADDRESS_FAMILY
                    | AttributeType::ADDITIONAL_ADDRESS_FAMILY
                    | AttributeType::ADDRESS_ERROR_CODE
            );
            family && bytes.first().is_some_and(|family| ![1, 2].contains(family))
        },
        ours: value,
        theirs: refused,
    },
    Disagreement {
        why: "the last algorithm's parameters may bring their padding along to us; stun-rs takes it for another algorithm",
        applies: |of, bytes| of == AttributeType::PASSWORD_ALGORITHMS && !bytes.is_empty(),
        ours: value,
        theirs: refused,
    },
    Disagreement {
        why: "a list of no algorithms is malformed to us",
        applies: |of, bytes| of == AttributeType::PASSWORD_ALGORITHMS && bytes.is_empty(),
        ours: refused,
        theirs: value,
    },
    Disagreement {
        why: "a second algorithm in PASSWORD-ALGORITHM is malformed to us; stun-rs reads the first",
        applies: |of, _| of == AttributeType::PASSWORD_ALGORITHM,
        ours: refused,
        theirs: value,
    },
    Disagreement {
        why: "stun-rs 0.1.11 does not know RFC 6062 and ALTERNATE-DOMAIN",
        applies: |of, _| [AttributeType::CONNECTION_ID, AttributeType::ALTERNATE_DOMAIN].contains(&of),
        ours: any,
        theirs: unknown,
    },
];

/// Reads one attribute value by ours.
fn ours(of: AttributeType, bytes: &[u8]) -> Reading {
    match Attribute::decode(of, bytes, &TRANSACTION_ID) {
        Ok(attribute) => Reading::Value(our_words(&attribute)),
        Err(AttributeError::Malformed) => Reading::Refused,
        Err(AttributeError::Unknown) => Reading::Unknown,
    }
}

/// Reads one attribute value by stun-rs, alone in a message.
fn theirs(decoder: &MessageDecoder, of: AttributeType, bytes: &[u8]) -> Reading {
    let mut message = support::write(
        postern_turn::message::Class::Request,
        postern_turn::message::Method::Binding,
        &[],
        support::OPEN,
    );
    message.extend_from_slice(&of.0.to_be_bytes());
    message.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    message.extend_from_slice(bytes);
    message.resize(message.len().next_multiple_of(4), 0);
    support::repair(&mut message);
    match decoder.decode(&message) {
        Ok((message, _)) => match message.attributes() {
            [StunAttribute::Unknown(_)] => Reading::Unknown,
            [attribute] => Reading::Value(their_words(attribute)),
            other => panic!("one attribute in, {} out", other.len()),
        },
        Err(_) => Reading::Refused,
    }
}

fn our_words(attribute: &Attribute<'_>) -> String {
    use Attribute as A;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let family = |wish: FamilyWish| match wish {
        FamilyWish::Known(Family::V4) => "IPv4".to_owned(),
        FamilyWish::Known(Family::V6) => "IPv6".to_owned(),
        FamilyWish::Unknown(number) => number.to_string(),
    };
    match *attribute {
        A::MappedAddress(address) => format!("mapped {address}"),
        A::ChangeRequest(change) => format!("change {} {}", change.address, change.port),
        A::Username(bytes) => format!("username {}", text(bytes)),
        A::ErrorCode(code, reason) => format!("error {} {}", code.number(), text(reason)),
        A::UnknownAttributes(list) => {
            let sorted: BTreeSet<u16> = list.iter().map(|number| number.0).collect();
            format!("unknown {sorted:?}")
        }
        A::ChannelNumber(number) => format!("channel {number}"),
        A::Lifetime(secs) => format!("lifetime {secs}"),
        A::XorPeerAddress(address) => format!("peer {address}"),
        A::Data(bytes) => format!("data {bytes:?}"),
        A::Realm(bytes) => format!("realm {}", text(bytes)),
        A::Nonce(bytes) => format!("nonce {}", text(bytes)),
        A::XorRelayedAddress(address) => format!("relayed {address}"),
        A::RequestedAddressFamily(wish) => format!("family {}", family(wish)),
        A::EvenPort(even) => format!("even {}", even.reserve_next),
        A::RequestedTransport(protocol) => format!("transport {protocol}"),
        A::DontFragment => "dont fragment".to_owned(),
        A::PasswordAlgorithm(number, parameters) => format!("algorithm {number} {parameters:?}"),
        A::Userhash(hash) => format!("userhash {hash:?}"),
        A::XorMappedAddress(address) => format!("xor mapped {address}"),
        A::ReservationToken(token) => format!("token {token:?}"),
        A::Priority(number) => format!("priority {number}"),
        A::UseCandidate => "use candidate".to_owned(),
        A::Padding(bytes) => format!("padding {}", text(bytes)),
        A::ResponsePort(port) => format!("response port {port}"),
        A::ConnectionId(id) => format!("connection {}", id.0),
        A::AdditionalAddressFamily(wish) => format!("additional {}", family(wish)),
        A::AddressErrorCode(wish, code, reason) => {
            format!("address error {} {} {}", family(wish), code.number(), text(reason))
        }
        A::PasswordAlgorithms(list) => format!("algorithms {:?}", list.iter().collect::<Vec<_>>()),
        A::AlternateDomain(bytes) => format!("domain {}", text(bytes)),
        A::Icmp(icmp) => format!("icmp {} {} {:?}", icmp.icmp_type, icmp.icmp_code, icmp.data),
        A::Software(bytes) => format!("software {}", text(bytes)),
        A::AlternateServer(address) => format!("alternate {address}"),
        A::IceControlled(number) => format!("controlled {number}"),
        A::IceControlling(number) => format!("controlling {number}"),
        A::ResponseOrigin(address) => format!("origin {address}"),
        A::OtherAddress(address) => format!("other {address}"),
        A::MobilityTicket(bytes) => format!("ticket {bytes:?}"),
    }
}

fn their_words(attribute: &StunAttribute) -> String {
    use StunAttribute as A;
    let family = |family: AddressFamily| match family {
        AddressFamily::IPv4 => "IPv4",
        AddressFamily::IPv6 => "IPv6",
    };
    let algorithm =
        |number: AlgorithmId, parameters: Option<&[u8]>| (u16::from(number), parameters.unwrap_or(&[]).to_vec());
    match attribute {
        A::MappedAddress(it) => format!("mapped {}", it.socket_address()),
        A::ChangeRequest(it) => {
            let has = |flag| it.flags().contains(flag);
            let (ip, port) = (discovery::ChangeRequestFlags::ChangeIp, discovery::ChangeRequestFlags::ChangePort);
            format!("change {} {}", has(ip), has(port))
        }
        A::UserName(it) => format!("username {}", it.as_str()),
        A::ErrorCode(it) => format!("error {} {}", it.error_code().error_code(), it.error_code().reason()),
        A::UnknownAttributes(it) => format!("unknown {:?}", it.iter().copied().collect::<BTreeSet<u16>>()),
        A::ChannelNumber(it) => format!("channel {}", it.number()),
        A::LifeTime(it) => format!("lifetime {}", it.as_u32()),
        A::XorPeerAddress(it) => format!("peer {}", it.socket_address()),
        A::Data(it) => format!("data {:?}", it.as_bytes()),
        A::Realm(it) => format!("realm {}", it.as_str()),
        A::Nonce(it) => format!("nonce {}", it.as_str()),
        A::XorRelayedAddress(it) => format!("relayed {}", it.socket_address()),
        A::RequestedAddressFamily(it) => format!("family {}", family(it.family())),
        A::EvenPort(it) => format!("even {}", it.reserve()),
        A::RequestedTrasport(it) => format!("transport {}", it.protocol().as_u8()),
        A::DontFragment(_) => "dont fragment".to_owned(),
        A::PasswordAlgorithm(it) => {
            let (number, parameters) = algorithm(it.algorithm(), it.parameters());
            format!("algorithm {number} {parameters:?}")
        }
        A::UserHash(it) => format!("userhash {:?}", it.hash()),
        A::XorMappedAddress(it) => format!("xor mapped {}", it.socket_address()),
        A::ReservationToken(it) => format!("token {:?}", it.token()),
        A::Priority(it) => format!("priority {}", it.as_u32()),
        A::UseCandidate(_) => "use candidate".to_owned(),
        A::Padding(it) => format!("padding {}", it.as_str()),
        A::ResponsePort(it) => format!("response port {}", it.as_u16()),
        A::AdditionalAddressFamily(it) => format!("additional {}", family(it.family())),
        A::AddressErrorCode(it) => {
            let error = it.error_code();
            format!("address error {} {} {}", family(it.family()), error.error_code(), error.reason())
        }
        A::PasswordAlgorithms(it) => {
            let list: Vec<_> = it.iter().map(|one| algorithm(one.algorithm(), one.parameters())).collect();
            format!("algorithms {list:?}")
        }
        A::Icmp(it) => {
            format!("icmp {} {} {:?}", it.icmp_type().get(), it.icmp_code().get(), it.error_data())
        }
        A::Software(it) => format!("software {}", it.as_str()),
        A::AlternateServer(it) => format!("alternate {}", it.socket_address()),
        A::IceControlled(it) => format!("controlled {}", it.as_u64()),
        A::IceControlling(it) => format!("controlling {}", it.as_u64()),
        A::ResponseOrigin(it) => format!("origin {}", it.socket_address()),
        A::OtherAddress(it) => format!("other {}", it.socket_address()),
        A::MobilityTicket(it) => format!("ticket {:?}", it.value()),
        A::MessageIntegrity(_) | A::MessageIntegritySha256(_) | A::Fingerprint(_) | A::Unknown(_) => {
            format!("{:?}", attribute.attribute_type())
        }
    }
}

/// The types of the attributes that count, integrity and fingerprint among them.
fn our_types(message: &Message<'_>) -> Vec<u16> {
    let mut types: Vec<u16> = message.attributes().map(|raw| raw.attribute_type.0).collect();
    for algorithm in [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256] {
        types.extend(message.integrity_by(algorithm).map(|_| algorithm.attribute_type().0));
    }
    types.extend(message.has_fingerprint().then_some(AttributeType::FINGERPRINT.0));
    types
}

/// Compares both readings of one message; says which entries of [`DISAGREEMENTS`] were needed.
fn compare(decoder: &MessageDecoder, bytes: &[u8], needed: &mut BTreeSet<usize>) -> Result<(), String> {
    let theirs_whole = decoder.decode(bytes);
    let message = match Message::decode(bytes) {
        Ok(message) => message,
        // stun-rs takes any length, reads only as far as the length field says, and checks a FINGERPRINT only when told
        // to; an attribute that overruns the message both refuse.
        Err(DecodeError::NotStun) if theirs_whole.is_ok() && bytes[3].is_multiple_of(4) => {
            return Err("we alone do not see STUN".to_owned());
        }
        Err(DecodeError::Truncated) if theirs_whole.is_ok() => {
            return Err("we alone see an overrun".to_owned());
        }
        Err(_) => return Ok(()),
    };
    match theirs_whole {
        Ok((theirs, size)) => {
            let their_types: Vec<u16> = theirs.attributes().iter().map(|one| one.attribute_type().as_u16()).collect();
            if (size, &their_types) != (bytes.len(), &our_types(&message)) {
                return Err(format!("attributes that count: ours {:x?}, theirs {their_types:x?}", our_types(&message)));
            }
        }
        Err(error) => {
            let StunErrorLevel::Attribute(_) = error.0 else {
                return Err(format!("stun-rs alone refuses: {error}"));
            };
        }
    }
    for raw in message.attributes() {
        let ours = ours(raw.attribute_type, raw.value);
        let theirs = theirs(decoder, raw.attribute_type, raw.value);
        if ours == theirs {
            continue;
        }
        let entry = DISAGREEMENTS.iter().position(|entry| {
            (entry.applies)(raw.attribute_type, raw.value) && (entry.ours)(&ours) && (entry.theirs)(&theirs)
        });
        match entry {
            Some(entry) => needed.insert(entry),
            None => {
                return Err(format!("{:?} {:02x?}: ours {ours:?}, theirs {theirs:?}", raw.attribute_type, raw.value));
            }
        };
    }
    Ok(())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn their_key(algorithm: AlgorithmId) -> HMACKey {
    HMACKey::new_long_term(text(USERNAME), text(REALM), text(PASSWORD), Algorithm::from(algorithm)).unwrap()
}

/// A decoder of stun-rs that also checks integrity and fingerprint.
fn validating(algorithm: AlgorithmId) -> MessageDecoder {
    let context = DecoderContextBuilder::default().with_key(their_key(algorithm)).with_validation().build();
    MessageDecoderBuilder::default().with_context(context).build()
}

/// Compares what both think of the integrity of a message that both can read and that has any: `Some` when they agree.
fn compare_integrity(decoder: &MessageDecoder, judge: &MessageDecoder, bytes: &[u8]) -> Result<Option<bool>, String> {
    let (Ok(message), Ok(_)) = (Message::decode(bytes), decoder.decode(bytes)) else {
        return Ok(None);
    };
    if message.integrity().is_none() {
        return Ok(None);
    }
    let key = support::key(PasswordAlgorithm::Md5);
    let mut present = [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256]
        .into_iter()
        .filter_map(|kind| message.integrity_by(kind));
    let (ours, theirs) = (present.all(|integrity| integrity.matches(&key)), judge.decode(bytes).is_ok());
    if ours == theirs { Ok(Some(ours)) } else { Err(format!("integrity: ours {ours}, theirs {theirs}")) }
}

#[test]
fn stun_rs_reads_every_message_that_we_write_and_finds_its_integrity_right() {
    for (name, bytes) in samples() {
        let sha256 = Message::decode(&bytes).unwrap().integrity_by(IntegrityAlgorithm::Sha256).is_some();
        let algorithm = if sha256 { AlgorithmId::SHA256 } else { AlgorithmId::MD5 };
        let (theirs, size) = validating(algorithm).decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(size, bytes.len(), "{name}");
        let ours = Message::decode(&bytes).unwrap();
        assert_eq!(theirs.transaction_id().as_bytes()[..], ours.transaction_id().0[4..], "{name}");
        assert_eq!(theirs.method().as_u16(), ours.method().number(), "{name}");
        let plain = MessageDecoder::default();
        compare(&plain, &bytes, &mut BTreeSet::new()).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

#[test]
fn we_read_every_attribute_that_stun_rs_writes() {
    let v4: SocketAddr = support::v4();
    let v6: SocketAddr = support::v6();
    let change = discovery::ChangeRequestFlags::ChangeIp | discovery::ChangeRequestFlags::ChangePort;
    let reason = ErrorCode::new(438, "Stale Nonce").unwrap();
    let algorithms =
        [AlgorithmId::SHA256, AlgorithmId::MD5].map(|id| stun::PasswordAlgorithm::new(Algorithm::from(id)));
    let icmp = (turn::IcmpType::new(127).unwrap(), turn::IcmpCode::new(511).unwrap());
    let message = StunMessageBuilder::new(methods::ALLOCATE, MessageClass::Request)
        .with_transaction_id(TransactionId::from(<[u8; 12]>::try_from(&TRANSACTION_ID.0[4..]).unwrap()))
        .with_attribute(stun::MappedAddress::from(v4))
        .with_attribute(discovery::ChangeRequest::new(Some(change)))
        .with_attribute(stun::UserName::new(text(USERNAME)).unwrap())
        .with_attribute(stun::ErrorCode::new(reason.clone()))
        .with_attribute(stun::UnknownAttributes::from(&[0x1234, 0x7FFF, 0x0002][..]))
        .with_attribute(turn::ChannelNumber::new(0x4123))
        .with_attribute(turn::LifeTime::new(3600))
        .with_attribute(turn::XorPeerAddress::from(v4))
        .with_attribute(turn::XorPeerAddress::from(v6))
        .with_attribute(turn::Data::new([1, 2, 3, 4, 5]))
        .with_attribute(stun::Realm::new(text(REALM)).unwrap())
        .with_attribute(stun::Nonce::new(text(support::NONCE)).unwrap())
        .with_attribute(turn::XorRelayedAddress::from(v6))
        .with_attribute(turn::RequestedAddressFamily::new(AddressFamily::IPv6))
        .with_attribute(turn::EvenPort::new(true))
        .with_attribute(turn::RequestedTrasport::default())
        .with_attribute(turn::DontFragment::default())
        .with_attribute(algorithms[0].clone())
        .with_attribute(stun::UserHash::new(text(USERNAME), text(REALM)).unwrap())
        .with_attribute(stun::XorMappedAddress::from(v6))
        .with_attribute(turn::ReservationToken::from([8, 7, 6, 5, 4, 3, 2, 1]))
        .with_attribute(ice::Priority::new(99))
        .with_attribute(ice::UseCandidate::default())
        .with_attribute(discovery::Padding::new("ppppp").unwrap())
        .with_attribute(discovery::ResponsePort::new(4321))
        .with_attribute(turn::AdditionalAddressFamily::new(AddressFamily::IPv4))
        .with_attribute(turn::AddressErrorCode::new(AddressFamily::IPv6, reason))
        .with_attribute(stun::PasswordAlgorithms::from(algorithms.to_vec()))
        .with_attribute(turn::Icmp::new(icmp.0, icmp.1, [1, 2, 3, 4]))
        .with_attribute(stun::Software::new("a stack").unwrap())
        .with_attribute(stun::AlternateServer::from(v4))
        .with_attribute(ice::IceControlled::new(1))
        .with_attribute(ice::IceControlling::new(u64::MAX))
        .with_attribute(discovery::ResponseOrigin::from(v4))
        .with_attribute(discovery::OtherAddress::from(v6))
        .with_attribute(mobility::MobilityTicket::new([9; 40]))
        .with_attribute(stun::MessageIntegrity::new(their_key(AlgorithmId::MD5)))
        .with_attribute(stun::MessageIntegritySha256::new(their_key(AlgorithmId::MD5)))
        .with_attribute(stun::Fingerprint::default())
        .build();
    let mut buffer = [0; 2048];
    let length = MessageEncoderBuilder::default().build().encode(&mut buffer, &message).unwrap();

    let ours = Message::decode(&buffer[..length]).unwrap();
    assert!(ours.has_fingerprint());
    for algorithm in [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256] {
        assert!(ours.integrity_by(algorithm).unwrap().matches(&support::key(PasswordAlgorithm::Md5)));
    }
    let closing = 3;
    assert_eq!(ours.attributes().count(), message.attributes().len() - closing);
    let transaction_id = ours.transaction_id();
    for (raw, theirs) in ours.attributes().zip(message.attributes()) {
        let attribute = Attribute::decode(raw.attribute_type, raw.value, &transaction_id).unwrap();
        assert_eq!(our_words(&attribute), their_words(theirs));
    }
}

#[test]
fn both_derive_the_same_keys() {
    for (theirs, ours) in [(AlgorithmId::MD5, PasswordAlgorithm::Md5), (AlgorithmId::SHA256, PasswordAlgorithm::Sha256)]
    {
        assert_eq!(their_key(theirs).as_bytes(), support::key(ours).as_bytes());
    }
}

#[test]
fn damaged_messages_are_read_alike_but_for_the_listed_differences() {
    let corpus: Vec<Vec<u8>> = samples().into_iter().map(|(_, bytes)| bytes).collect();
    let decoder = MessageDecoder::default();
    let judge = validating(AlgorithmId::MD5);
    let mut numbers = Numbers(0x5EED);
    let mut needed = BTreeSet::new();
    let (mut decoded, mut right, mut wrong) = (0, 0, 0);
    for round in 0..MUTATIONS {
        let bytes = mutate(&mut numbers, &corpus);
        decoded += usize::from(Message::decode(&bytes).is_ok());
        match compare(&decoder, &bytes, &mut needed).and_then(|()| compare_integrity(&decoder, &judge, &bytes)) {
            Ok(agreed) => {
                right += usize::from(agreed == Some(true));
                wrong += usize::from(agreed == Some(false));
            }
            Err(why) => panic!("round {round}: {why}\n{bytes:02x?}"),
        }
    }
    assert!(decoded > MUTATIONS / 20, "only {decoded} of {MUTATIONS} damaged messages got past the structural check");
    assert!(right > 100 && wrong > 100, "integrity was right in {right} messages and wrong in {wrong}");
    for (entry, disagreement) in DISAGREEMENTS.iter().enumerate() {
        assert!(needed.contains(&entry), "no input shows that {}", disagreement.why);
    }
}
