//! Whatever comes from the network: no panic, no sample, no state without bound.

#[path = "support/identity.rs"]
mod identity;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_media::Stream;
use postern_media::codec::Codec;
use postern_media::coder::Decoder;
use postern_media::dtls::{Dtls, DtlsKeying, DtlsRole};
use postern_media::fingerprint::{Fingerprint, FingerprintHash};
use postern_media::jitter_buffer::Content;
use postern_media::playout::Playout;
use postern_media::session::{Component, Keying, Options, Session};
use postern_media::srtp_profile::{MasterKey, SdesKeying, SrtpProfile};
use postern_media::{rtcp, rtp};
use proptest::prelude::*;

fn stream(keying: Keying) -> (Stream, SocketAddr, Instant) {
    let peer: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    let now = Instant::now();
    let mut session = Session::plain(Codec::Pcmu, peer);
    session.receive = Codec::ALL.iter().map(|codec| (codec.payload_type(), *codec)).collect();
    session.keying = keying;
    let options = Options::new([1; 32], (now, Duration::ZERO), "x");
    (Stream::new(options, session, now).unwrap(), peer, now)
}

/// Bytes that look like what a media port gets, more or less.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![Just(0x80u8), Just(0x90), Just(0xa0), Just(0x8f), Just(22), any::<u8>()];
    let second =
        prop_oneof![Just(0u8), Just(8), Just(9), Just(13), Just(101), Just(200), Just(201), Just(203), any::<u8>()];
    (first, second, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(first, second, rest)| {
        let mut bytes = vec![first, second];
        bytes.extend(rest);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parsers_take_any_bytes(bytes in datagram()) {
        if let Ok(header) = rtp::Header::parse(&bytes) {
            prop_assert!(header.bytes <= bytes.len());
            if let Ok(payload) = header.payload(&bytes) {
                prop_assert!(payload.len() <= bytes.len());
            }
        }
        if let Ok(packets) = rtcp::parse(&bytes) {
            for packet in packets {
                if let rtcp::Packet::Report { blocks, .. } = packet {
                    prop_assert!(blocks.count() <= 31);
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = text.parse::<Fingerprint>();
        for codec in Codec::ALL {
            let mut pcm = Vec::new();
            Decoder::new(*codec).decode(&bytes, &mut pcm);
            prop_assert_eq!(pcm.len(), bytes.len() * codec.rate() as usize / 8_000);
        }
    }

    #[test]
    fn a_stream_takes_any_datagrams(datagrams in prop::collection::vec((datagram(), any::<bool>(), 0u16..3, 0u64..50), 0..80), kind in 0..3) {
        let keying = match kind {
            0 => Keying::Plain,
            1 => {
                let profile = SrtpProfile::AeadAes256Gcm;
                let key = MasterKey::from_concatenated(profile, &[7; 44]).unwrap();
                Keying::Sdes(SdesKeying { profile, local: key.clone(), remote: key })
            }
            _ => {
                let identity = identity::identity();
                let fingerprints = vec![identity.fingerprint(FingerprintHash::Sha256)];
                let profiles = SrtpProfile::ALL.to_vec();
                Keying::Dtls(DtlsKeying { role: DtlsRole::Server, identity, fingerprints, profiles })
            }
        };
        let (mut stream, peer, mut now) = stream(keying);
        let mut frames = 0;
        let start = now;
        for (bytes, rtcp, port, millis) in datagrams {
            let component = if rtcp { Component::Rtcp } else { Component::Rtp };
            stream.handle_packet(component, SocketAddr::new(peer.ip(), 4_000 + port), &bytes, now);
            now += Duration::from_millis(millis);
            while stream.next_timeout() <= now {
                stream.handle_timeout(now);
                if let Some(frame) = stream.poll_frame() {
                    prop_assert_eq!(frame.pcm.len(), 160);
                    frames += 1;
                }
            }
            while stream.poll_transmit().is_some() {}
            while stream.poll_event().is_some() {}
        }
        prop_assert_eq!(frames, (now - start).as_millis() / 20);
        stream.report();
    }

    #[test]
    fn a_believed_sender_may_send_any_numbers_and_times(packets in prop::collection::vec((any::<u16>(), any::<u32>(), 0usize..500, 0u32..4, 0u32..800), 0..200)) {
        let mut playout = Playout::new(Codec::Pcmu, 16_000);
        let (mut now, mut frame) = (0u32, Vec::new());
        for (sequence, timestamp, length, kind, wait) in packets {
            let content = match kind {
                0 => Content::ComfortNoise,
                1 => Content::Event,
                2 => Content::Audio(Codec::G722),
                _ => Content::Audio(Codec::Pcma),
            };
            // Often near each other, sometimes anywhere.
            let timestamp = if timestamp % 4 == 0 { timestamp } else { now.wrapping_add(timestamp % 4_000) };
            playout.insert(sequence % 300, timestamp, content, &vec![0x33; length], now);
            now = now.wrapping_add(wait);
            playout.frame(now, &mut frame);
            prop_assert_eq!(frame.len(), 320);
        }
    }

    #[test]
    fn dtls_takes_changed_handshakes(at in any::<prop::sample::Index>(), value in any::<u8>(), which in 0usize..8, cut in any::<bool>()) {
        let (a, b) = (identity::identity(), identity::identity());
        let now = Instant::now();
        let keying = |role, ours: &std::sync::Arc<postern_media::dtls::DtlsIdentity>, theirs: &postern_media::dtls::DtlsIdentity| DtlsKeying {
            role,
            identity: ours.clone(),
            fingerprints: vec![theirs.fingerprint(FingerprintHash::Sha256)],
            profiles: SrtpProfile::ALL.to_vec(),
        };
        let mut client = Dtls::new(keying(DtlsRole::Client, &a, &b), now).unwrap();
        let mut server = Dtls::new(keying(DtlsRole::Server, &b, &a), now).unwrap();
        client.start(now);
        let mut number = 0;
        for _ in 0..20 {
            for from_client in [true, false] {
                let (from, to) = if from_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
                while let Some(datagram) = from.poll_transmit() {
                    let mut datagram = datagram.to_vec();
                    if number == which {
                        let at = at.index(datagram.len());
                        if cut { datagram.truncate(at) } else { datagram[at] = value }
                    }
                    number += 1;
                    to.handle(&datagram, now);
                }
            }
        }
    }
}
