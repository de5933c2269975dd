//! Each parser under damaged input, over the committed corpus, for a bounded time.
//!
//! Seeds are the same in every run; how many are used depends on the machine. `POSTERN_MUTATION_SECS` sets the seconds
//! per parser (10 without it). A finding prints its seed and its bytes. `POSTERN_CORPUS=write` writes the corpus anew from
//! the samples.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use postern_turn::attribute::Attribute;
use postern_turn::channel_data::{self, CHANNEL_NUMBERS, Padding};
use postern_turn::framer::{Frame, frame_stream};
use postern_turn::integrity::{IntegrityAlgorithm, PasswordAlgorithm};
use postern_turn::io::Transport;
use postern_turn::limits::{HEADER_BYTES, PEERS_PER_REQUEST_MAX, UNKNOWN_ATTRIBUTES_MAX};
use postern_turn::message::{Class, Message, MessageWriter, Method};
use postern_turn::nonce::{Features, NonceKeys, NonceVerdict, issue_time};
use postern_turn::opaque_string;
use postern_turn::request::Request;

use crate::support::{Numbers, channel_samples, key, mutate, samples, v4};

struct Finding {
    seed: u64,
    input: Vec<u8>,
    message: String,
}

fn corpus_dir() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "corpus"].iter().collect()
}

fn corpus() -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(corpus_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn budget() -> Duration {
    let secs = std::env::var("POSTERN_MUTATION_SECS").ok().and_then(|secs| secs.parse().ok());
    Duration::from_secs_f64(secs.unwrap_or(10.0))
}

/// Feeds damaged inputs to `check` until time is up; `check` panics where an invariant does not hold.
fn search(corpus: &[Vec<u8>], budget: Duration, check: impl Fn(&[u8])) -> Result<u64, Finding> {
    let begin = Instant::now();
    let mut seed = 0;
    while begin.elapsed() < budget {
        let input = mutate(&mut Numbers(seed), corpus);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
            let text = panic.downcast_ref::<String>().cloned();
            let message = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            return Err(Finding { seed, input, message: message.unwrap_or_default() });
        }
        seed += 1;
    }
    Ok(seed)
}

fn run(corpus: &[Vec<u8>], check: impl Fn(&[u8])) {
    for input in corpus {
        check(input);
    }
    match search(corpus, budget(), check) {
        Ok(rounds) => assert!(rounds > 100, "only {rounds} rounds"),
        Err(Finding { seed, input, message }) => panic!("seed {seed}: {message}\n{input:02x?}"),
    }
}

#[test]
fn corpus_holds_every_sample() {
    for (name, bytes) in samples().into_iter().chain(channel_samples()) {
        let path = corpus_dir().join(format!("{name}.bin"));
        if std::env::var("POSTERN_CORPUS").is_ok_and(|value| value == "write") {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap_or_default(), bytes, "{}", path.display());
    }
}

#[test]
fn planted_panic_is_found() {
    let found = search(&corpus(), Duration::from_secs(60), |input| {
        let Ok(message) = Message::decode(input) else {
            return;
        };
        let planted = Request::from_message(&message).lifetime_secs.is_some_and(|secs| secs >> 24 == 0x80);
        assert!(!planted, "planted");
    });
    let finding = found.expect_err("a planted panic was not found within a minute");
    assert_eq!(finding.message, "planted");
    assert_eq!(mutate(&mut Numbers(finding.seed), &corpus()), finding.input, "a seed gives the same input again");
}

#[test]
fn damaged_messages_keep_their_ranges_inside_and_are_written_as_they_were_read() {
    run(&corpus(), |input| {
        let Ok(message) = Message::decode(input) else {
            return;
        };
        let mut again = Vec::new();
        let mut writer = MessageWriter::new(&mut again, message.class(), message.method(), message.transaction_id());
        for raw in message.attributes() {
            assert_eq!(input.get(raw.value_at..raw.value_at + raw.value.len()), Some(raw.value));
            match Attribute::decode(raw.attribute_type, raw.value, &message.transaction_id()) {
                Ok(attribute) => {
                    assert_eq!(attribute.attribute_type(), raw.attribute_type);
                    writer.attribute(&attribute)
                }
                Err(_) => writer.raw_attribute(raw.attribute_type, raw.value),
            };
        }
        writer.finish().unwrap();
        let second = Message::decode(&again).unwrap();
        assert_eq!(second.attributes().count(), message.attributes().count());
        for (one, two) in message.attributes().zip(second.attributes()) {
            let id = message.transaction_id();
            let decode = |raw: postern_turn::message::RawAttribute<'_>| {
                format!("{:?}", Attribute::decode(raw.attribute_type, raw.value, &id))
            };
            assert_eq!(decode(one), decode(two));
        }
    });
}

#[test]
fn damaged_requests_stay_within_their_limits() {
    run(&corpus(), |input| {
        let Ok(message) = Message::decode(input) else {
            return;
        };
        let request = Request::from_message(&message);
        if let Some(data) = request.data.clone() {
            assert!(data.start >= HEADER_BYTES && data.start <= data.end && data.end <= input.len());
        }
        assert!(request.peers.iter().count() <= PEERS_PER_REQUEST_MAX);
        assert_eq!(request.peers.is_empty(), request.peers.first().is_none());
        let unknown: Vec<_> = request.unknown.list().iter().collect();
        assert!(unknown.len() <= UNKNOWN_ATTRIBUTES_MAX);
        assert!(unknown.iter().all(|number| number.is_comprehension_required()));
        assert_eq!(request.integrity.is_some(), message.integrity().is_some());
    });
}

/// Bytes of the corpus messages up to their integrity attribute; what may differ without breaking it comes after.
#[test]
fn damaged_messages_match_no_integrity_that_they_did_not_have() {
    let corpus = corpus();
    let keys = [key(PasswordAlgorithm::Md5), key(PasswordAlgorithm::Sha256)];
    let signed: Vec<Vec<u8>> = corpus.iter().flat_map(|bytes| signed_parts(bytes)).collect();
    run(&corpus, |input| {
        let Ok(message) = Message::decode(input) else {
            return;
        };
        let Some(integrity) = message.integrity() else {
            return;
        };
        if keys.iter().any(|key| integrity.matches(key)) {
            assert!(signed_parts(input).iter().any(|part| signed.contains(part)), "a forged message matches");
        }
    });
}

/// What each integrity attribute covers, without the length field, which may count more.
fn signed_parts(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Ok(message) = Message::decode(bytes) else {
        return Vec::new();
    };
    let covered = [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256].into_iter().filter_map(|algorithm| {
        let end = integrity_at(bytes, algorithm)?;
        message.integrity_by(algorithm).map(|_| [&bytes[..2], &bytes[4..end]].concat())
    });
    covered.collect()
}

fn integrity_at(bytes: &[u8], algorithm: IntegrityAlgorithm) -> Option<usize> {
    let mut at = HEADER_BYTES;
    while at + 4 <= bytes.len() {
        if bytes[at..at + 2] == algorithm.attribute_type().0.to_be_bytes() {
            return Some(at);
        }
        at += 4 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])).next_multiple_of(4);
    }
    None
}

#[test]
fn damaged_streams_give_the_same_frame_however_much_has_arrived() {
    run(&corpus(), |input| {
        let whole = frame_stream(input);
        let taken = match whole {
            Frame::Stun { bytes } => bytes,
            Frame::ChannelData { bytes, padded_bytes } => {
                assert!(bytes <= padded_bytes && padded_bytes < bytes + 4);
                padded_bytes
            }
            Frame::Incomplete { bytes } => {
                assert!(bytes.is_none_or(|bytes| bytes > input.len()));
                input.len() + 1
            }
            Frame::Invalid => return,
        };
        for end in 0..input.len() {
            let frame = frame_stream(&input[..end]);
            if end < taken {
                assert!(matches!(frame, Frame::Incomplete { .. }), "{frame:?} at {end}");
            } else {
                assert_eq!(frame, whole);
            }
        }
    });
}

#[test]
fn damaged_channel_data_keeps_its_range_inside_and_is_written_as_it_was_read() {
    let corpus: Vec<_> = channel_samples().into_iter().map(|(_, bytes)| bytes).collect();
    run(&corpus, |input| {
        let Some(data) = channel_data::decode(input) else {
            return;
        };
        assert!(CHANNEL_NUMBERS.contains(&data.channel));
        let mut again = input.to_vec();
        again[..4].fill(0);
        let frame = channel_data::encode_in_place(&mut again, data.payload.clone(), data.channel, Padding::None);
        assert_eq!(frame, Some(0..data.payload.end));
        assert_eq!(again, input);
    });
}

#[test]
fn damaged_nonces_are_never_fresh() {
    let keys = NonceKeys::new(&[b"a secret of some length", b"another one of some length"]);
    let issue = |secs| keys.issue(secs, Features::PASSWORD_ALGORITHMS, Transport::Udp, v4());
    let corpus: Vec<Vec<u8>> = [0, 1_800_000_000, 4_294_967_295].map(|secs| issue(secs).to_vec()).to_vec();
    let originals = corpus.clone();
    run(&corpus, |input| {
        let verdict = keys.verify(input, 1_800_000_000, Transport::Udp, v4());
        if matches!(verdict, NonceVerdict::Fresh(_)) {
            assert!(originals.iter().any(|original| original == input), "a forged nonce is fresh");
        }
        if let Some(secs) = std::str::from_utf8(input).ok().and_then(issue_time) {
            assert!(secs <= u64::from(u32::MAX));
        }
    });
}

#[test]
fn damaged_names_are_refused_or_prepared_once_for_all() {
    let corpus: Vec<Vec<u8>> = ["alice", "caf\u{e9}", "a\u{3000}b", "\u{30DE}\u{30C8}\u{30EA}", "1893456000:bob"]
        .map(|name| name.as_bytes().to_vec())
        .to_vec();
    run(&corpus, |input| {
        let Ok(once) = opaque_string::enforce(input) else {
            return;
        };
        assert!(!once.is_empty() && !once.chars().any(char::is_control));
        assert_eq!(opaque_string::enforce(once.as_bytes()).as_deref(), Ok(&*once));
    });
}

#[test]
fn every_corpus_message_that_is_a_message_decodes() {
    let decoded = corpus().iter().filter(|bytes| Message::decode(bytes).is_ok()).count();
    assert_eq!(decoded, samples().len());
    let classes: Vec<Class> = corpus().iter().filter_map(|bytes| Some(Message::decode(bytes).ok()?.class())).collect();
    for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
        assert!(classes.contains(&class));
    }
    assert!(
        corpus()
            .iter()
            .filter_map(|bytes| Some(Message::decode(bytes).ok()?.method()))
            .all(|method| !matches!(method, Method::Unknown(_)))
    );
}
