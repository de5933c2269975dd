//! Whole streams against each other, in virtual time.

#[path = "support/call.rs"]
mod call;
#[path = "support/identity.rs"]
mod identity;

use std::net::SocketAddr;
use std::time::Duration;

use call::{Call, addresses, speech};
use postern_media::codec::Codec;
use postern_media::compare;
use postern_media::digit::Digit;
use postern_media::dtls::{DtlsKeying, DtlsRole};
use postern_media::event::{DtlsFailure, Event, FrameKind};
use postern_media::fingerprint::FingerprintHash;
use postern_media::report::{DropReason, NoAudio};
use postern_media::rtp::Outgoing;
use postern_media::session::{Component, Direction, Keying, Session, SourceRule};
use postern_media::srtp_profile::{MasterKey, SdesKeying, SrtpProfile};

fn sessions(codec: Codec) -> [Session; 2] {
    [Session::plain(codec, addresses(1)[0]), Session::plain(codec, addresses(0)[0])]
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn sdes(profile: SrtpProfile) -> [Keying; 2] {
    let length = profile.key_bytes() + profile.salt_bytes();
    let key = |byte| MasterKey::from_concatenated(profile, &vec![byte; length]).unwrap();
    [(1, 2), (2, 1)].map(|(local, remote)| Keying::Sdes(SdesKeying { profile, local: key(local), remote: key(remote) }))
}

fn dtls() -> [Keying; 2] {
    let (a, b) = (identity::identity(), identity::identity());
    let profiles = SrtpProfile::ALL.to_vec();
    let prints = [b.fingerprint(FingerprintHash::Sha256), a.fingerprint(FingerprintHash::Sha256)];
    let [of_b, of_a] = prints;
    [
        Keying::Dtls(DtlsKeying {
            role: DtlsRole::Client,
            identity: a,
            fingerprints: vec![of_b],
            profiles: profiles.clone(),
        }),
        Keying::Dtls(DtlsKeying { role: DtlsRole::Server, identity: b, fingerprints: vec![of_a], profiles }),
    ]
}

/// Side 0 speaks for five seconds; returns how well side 1 heard it.
fn talk(call: &mut Call) -> compare::Verdict {
    let rate = call.sides[0].stream.pcm_rate();
    let spoken = speech(rate, 5_000);
    call.sides[0].to_play.extend(&spoken);
    call.run(secs(6));
    compare::compare(&spoken, &call.sides[1].pcm, call.sides[1].stream.pcm_rate()).unwrap()
}

#[test]
fn what_is_played_is_heard_with_every_codec_and_ptime() {
    for codec in Codec::ALL {
        for ptime_ms in [10, 20, 30, 40, 60] {
            let mut sessions = sessions(*codec);
            sessions[0].ptime_ms = ptime_ms;
            let mut call = Call::new(sessions);
            let verdict = talk(&mut call);
            assert!(verdict.correlation > 0.97, "{codec:?} {ptime_ms}: {verdict:?}");
            let report = call.sides[1].stream.report();
            assert_eq!((report.packets_lost, report.drops.iter().count()), (0, 0), "{report:?}");
            assert_eq!(report.no_audio_received, None);
            assert!(report.mos.unwrap() > 4.2);
            assert!(call.sides[1].saw(|event| *event == Event::FirstAudio));
            assert!(call.sides[0].saw(|event| *event == Event::PlayFinished));
        }
    }
}

#[test]
fn every_srtp_profile_carries_audio_and_reports() {
    for profile in SrtpProfile::ALL {
        let mut sessions = sessions(Codec::Pcmu);
        let [a, b] = sdes(*profile);
        (sessions[0].keying, sessions[1].keying) = (a, b);
        let mut call = Call::new(sessions);
        let verdict = talk(&mut call);
        assert!(verdict.correlation > 0.97, "{profile:?}: {verdict:?}");
        call.run(secs(15));
        for side in &call.sides {
            let report = side.stream.report();
            assert_eq!(report.drops.iter().count(), 0, "{report:?}");
            assert!(report.rtcp_received >= 2);
            let round_trip = report.round_trip.unwrap();
            assert!((Duration::from_millis(8)..Duration::from_millis(12)).contains(&round_trip), "{round_trip:?}");
        }
    }
}

#[test]
fn dtls_srtp_carries_audio_with_and_without_mux() {
    for mux in [true, false] {
        let mut sessions = sessions(Codec::Pcma);
        let [a, b] = dtls();
        (sessions[0].keying, sessions[1].keying) = (a, b);
        sessions.iter_mut().for_each(|session| session.rtcp_mux = mux);
        let mut call = Call::new(sessions);
        let verdict = talk(&mut call);
        assert!(verdict.correlation > 0.97, "mux {mux}: {verdict:?}");
        call.run(secs(15));
        for side in &call.sides {
            assert!(side.saw(|event| *event == Event::DtlsConnected));
            assert!(side.stream.report().rtcp_received >= 2, "mux {mux}");
            assert_eq!(side.stream.report().drops.iter().count(), 0);
        }
    }
}

#[test]
fn a_wrong_certificate_means_no_audio_because_of_dtls() {
    let mut sessions = sessions(Codec::Pcmu);
    let ([a, _], [_, b]) = (dtls(), dtls());
    (sessions[0].keying, sessions[1].keying) = (a, b);
    let mut call = Call::new(sessions);
    call.sides[0].to_play.extend(speech(8_000, 1_000));
    call.run(secs(25));
    assert!(call.sides[0].saw(|event| *event == Event::DtlsFailed(DtlsFailure::Fingerprint)));
    for side in &call.sides {
        let report = side.stream.report();
        assert_eq!((report.no_audio_received, report.no_audio_sent), (Some(NoAudio::Dtls), Some(NoAudio::Dtls)));
    }
    assert!(call.sides[0].stream.play_queued() > 0, "what could not be sent still waits");
}

#[test]
fn ice_media_waits_for_a_selected_pair() {
    let mut sessions = sessions(Codec::Pcmu);
    let [a, b] = dtls();
    (sessions[0].keying, sessions[1].keying) = (a, b);
    for session in &mut sessions {
        session.source = SourceRule::Ice;
        session.rtp_destination = None;
        session.rtcp_mux = true;
    }
    let mut call = Call::new(sessions);
    call.run(secs(2));
    assert_eq!((call.sides[0].packets_out, call.sides[1].packets_out), (0, 0));
    assert_eq!(call.sides[0].stream.report().no_audio_sent, Some(NoAudio::Ice));
    for side in 0..2 {
        let now = call.now;
        call.sides[side].stream.set_ice_selected(Component::Rtp, true, now);
    }
    assert!(talk(&mut call).correlation > 0.97);
}

#[test]
fn loss_and_jitter_are_measured_and_heard_through() {
    let mut call = Call::new(sessions(Codec::Pcmu));
    let mut state = 1u64;
    call.network = Box::new(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = (state >> 33) as u32;
        (draw % 100 >= 3).then(|| Duration::from_millis(5 + u64::from(draw >> 8) % 50))
    });
    let verdict = talk(&mut call);
    assert!(verdict.correlation > 0.9, "{verdict:?}");
    call.run(secs(20));
    let report = call.sides[1].stream.report();
    assert!((10..80).contains(&report.packets_lost), "{report:?}");
    assert!(report.jitter > Duration::from_millis(5), "{report:?}");
    assert!(report.packets_reordered > 0);
    assert!(report.mos.unwrap() < 4.3);
    let remote_loss = call.sides[0].stream.report().remote_loss.unwrap();
    assert!((0.005..0.08).contains(&remote_loss), "{remote_loss}");
}

#[test]
fn a_sprayer_at_every_port_adds_no_sample() {
    let mut call = Call::new(sessions(Codec::Pcmu));
    let sprayer: SocketAddr = "203.0.113.66:4000".parse().unwrap();
    let loud = [0x00u8, 0x80].repeat(80);
    let mut sprayed = 0;
    call.run(Duration::from_millis(30));
    for i in 0..250u16 {
        // Before and after the true source is pinned, on both components, with numbers that fit.
        let header =
            Outgoing { marker: false, payload_type: 0, sequence: i, timestamp: u32::from(i) * 160, ssrc: 0xbad };
        let mut packet = Vec::new();
        header.write(&mut packet);
        packet.extend_from_slice(&loud);
        for component in [Component::Rtp, Component::Rtcp] {
            for port in 0..4 {
                let source = SocketAddr::new(sprayer.ip(), 4_000 + port);
                let now = call.now;
                call.sides[1].stream.handle_packet(component, source, &packet, now);
                sprayed += 1;
            }
        }
        call.run(Duration::from_millis(20));
    }
    let side = &call.sides[1];
    assert!(side.pcm.iter().all(|sample| sample.abs() <= 8), "silence was sent, silence is heard");
    assert_eq!(side.stream.report().drops.of(DropReason::WrongSource), sprayed);
    assert_eq!(side.stream.report().packets_lost, 0);
    assert!(
        side.events.iter().all(|event| !matches!(event, Event::Pinned { source, .. } if source.ip() == sprayer.ip()))
    );
}

#[test]
fn only_a_sprayer_means_wrong_source() {
    let mut call = Call::new(sessions(Codec::Pcmu));
    call.network = Box::new(|_| None);
    let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
    packet.extend_from_slice(&[0; 160]);
    let now = call.now;
    call.sides[1].stream.handle_packet(Component::Rtp, "203.0.113.1:9".parse().unwrap(), &packet, now);
    call.run(secs(1));
    assert_eq!(call.sides[1].stream.report().no_audio_received, Some(NoAudio::WrongSource));
    assert_eq!(call.sides[0].stream.report().no_audio_received, Some(NoAudio::NothingReceived));
}

#[test]
fn a_phone_behind_a_nat_is_answered_where_it_is() {
    let mut sessions = sessions(Codec::Pcmu);
    // The phone describes a private address; its packets come from elsewhere.
    sessions[1].rtp_destination = Some("10.0.0.9:4000".parse().unwrap());
    let seen: [SocketAddr; 2] = ["203.0.113.5:61000".parse().unwrap(), "203.0.113.5:61001".parse().unwrap()];
    sessions[1].source = SourceRule::Address { signalled: "10.0.0.9".parse().unwrap(), symmetric: Some(seen[0].ip()) };
    let mut call = Call::new(sessions);
    call.seen_as = Some(seen);
    call.sides[1].to_play.extend(speech(8_000, 1_000));
    let verdict = talk(&mut call);
    assert!(verdict.correlation > 0.97, "{verdict:?}");
    assert!(call.sides[1].saw(|event| matches!(event, Event::Pinned { source, .. } if *source == seen[0])));
    assert_eq!(call.sides[0].stream.report().no_audio_received, None, "the phone hears us through its NAT");
    call.run(secs(15));
    assert!(call.sides[0].stream.report().rtcp_received > 0, "and our reports");
}

#[test]
fn wrong_keys_and_wrong_payloads_are_named() {
    let mut pair = sessions(Codec::Pcmu);
    let [a, _] = sdes(SrtpProfile::Aes128CmHmacSha1_80);
    let [b, _] = sdes(SrtpProfile::Aes128CmHmacSha1_80);
    (pair[0].keying, pair[1].keying) = (a, b);
    let mut call = Call::new(pair);
    call.run(secs(12));
    let report = call.sides[1].stream.report();
    assert_eq!(report.no_audio_received, Some(NoAudio::SrtpAuthentication));
    assert!(report.drops.of(DropReason::Srtcp) > 0, "counted, and the call goes on");

    let mut pair = sessions(Codec::Pcmu);
    pair[0].payload_type = 96;
    let mut call = Call::new(pair);
    call.run(secs(1));
    assert_eq!(call.sides[1].stream.report().no_audio_received, Some(NoAudio::Payload));
}

#[test]
fn silence_and_hold_are_named_too() {
    let mut call = Call::new(sessions(Codec::Pcmu));
    call.run(secs(4));
    assert_eq!(call.sides[1].stream.report().no_audio_received, Some(NoAudio::Silence));
    assert_eq!(call.sides[1].stream.report().no_audio_sent, Some(NoAudio::Silence));
    for second in 1..=3 {
        assert!(call.sides[1].saw(|event| *event == Event::Silence { duration: secs(second) }));
    }

    let mut pair = sessions(Codec::Pcmu);
    for session in &mut pair {
        session.on_hold = true;
        session.direction = Direction::Inactive;
    }
    let mut call = Call::new(pair);
    call.run(secs(60));
    let report = call.sides[1].stream.report();
    assert_eq!((report.no_audio_received, report.no_audio_sent), (Some(NoAudio::Hold), Some(NoAudio::Hold)));
    assert!(!call.sides[1].saw(|event| *event == Event::Timeout), "a hold may last");
}

#[test]
fn hold_pauses_recording_and_playing_and_resumes_where_it_was() {
    let mut call = Call::new(sessions(Codec::Pcmu));
    let spoken = speech(8_000, 4_000);
    call.sides[0].to_play.extend(&spoken);
    call.run(secs(2));
    let frames_before = call.sides[1].kinds.len();
    let now = call.now;
    for side in 0..2 {
        let mut session = call.sides[side].stream.session().clone();
        session.on_hold = true;
        session.direction = Direction::Inactive;
        call.sides[side].stream.renegotiate(session, now).unwrap();
    }
    call.run(secs(30));
    assert_eq!(call.sides[1].kinds.len(), frames_before, "nothing is recorded on hold");
    let now = call.now;
    for side in 0..2 {
        let mut session = call.sides[side].stream.session().clone();
        session.on_hold = false;
        session.direction = Direction::SendRecv;
        call.sides[side].stream.renegotiate(session, now).unwrap();
    }
    call.run(secs(4));
    // Both halves are there; the seam costs at most what was on its way.
    let heard = &call.sides[1].pcm;
    let second = compare::compare(&spoken[18_000..], &heard[frames_before * 160..], 8_000).unwrap();
    assert!(second.correlation > 0.95, "{second:?}");
}

#[test]
fn digits_arrive_once_each_and_the_audio_around_them_keeps_its_place() {
    for codec in [Codec::Pcmu, Codec::G722] {
        let mut call = Call::new(sessions(codec));
        let mut state = 5u32;
        call.network = Box::new(move |number| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Every tenth packet or so is lost.
            (number < 20 || state >> 16 & 15 != 3).then_some(Duration::from_millis(5))
        });
        call.run(Duration::from_millis(500));
        for key in "12345#*0".chars() {
            let digit = Digit::from_char(key).unwrap();
            call.sides[0].stream.send_digit(digit, Duration::from_millis(100)).unwrap();
        }
        call.run(secs(4));
        let heard: String = call.sides[1]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Digit { digit, duration } => {
                    assert!((40..=120).contains(&duration.as_millis()), "{duration:?}");
                    Some(digit.as_char())
                }
                _ => None,
            })
            .collect();
        assert_eq!(heard, "12345#*0");
        let sent = call.sides[0].events.iter().filter(|event| matches!(event, Event::DigitSent { .. })).count();
        assert_eq!(sent, 8);
    }
}

#[test]
fn a_codec_may_change_in_the_middle() {
    let mut call = Call::new(sessions(Codec::Pcmu));
    call.sides[0].to_play.extend(speech(8_000, 5_000));
    call.run(Duration::from_millis(2_500));
    let now = call.now;
    for side in 0..2 {
        let mut session = call.sides[side].stream.session().clone();
        session.codec = Codec::G722;
        session.payload_type = 9;
        session.receive = vec![(9, Codec::G722), (0, Codec::Pcmu)];
        call.sides[side].stream.renegotiate(session, now).unwrap();
    }
    call.run(Duration::from_millis(3_500));
    // Each codec has a delay of its own, so each half is judged alone; nothing is missing at the seam.
    let (spoken, heard) = (speech(8_000, 5_000), &call.sides[1].pcm);
    let first = compare::compare(&spoken[..19_000], &heard[..20_000], 8_000).unwrap();
    let second = compare::compare(&spoken[21_000..], &heard[20_000..], 8_000).unwrap();
    assert!(first.correlation > 0.97 && second.correlation > 0.94, "{first:?} {second:?}");
    let whole = compare::compare(&spoken, heard, 8_000).unwrap();
    assert!(whole.longest_gap_ms == 0 && whole.length_difference_ms.abs() <= 20, "{whole:?}");
    assert_eq!(call.sides[1].stream.report().codec, Some(Codec::G722));
}

#[test]
fn a_repeated_description_interrupts_no_srtp() {
    let mut pair = sessions(Codec::Pcmu);
    let [a, b] = sdes(SrtpProfile::AeadAes128Gcm);
    (pair[0].keying, pair[1].keying) = (a, b);
    let mut call = Call::new(pair);
    call.sides[0].to_play.extend(speech(8_000, 5_000));
    call.run(secs(2));
    let now = call.now;
    for side in 0..2 {
        let session = call.sides[side].stream.session().clone();
        call.sides[side].stream.renegotiate(session, now).unwrap();
    }
    call.run(secs(4));
    let verdict = compare::compare(&speech(8_000, 5_000), &call.sides[1].pcm, 8_000).unwrap();
    assert!(verdict.correlation > 0.97, "{verdict:?}");
    assert_eq!(call.sides[1].stream.report().drops.iter().count(), 0);
}

#[test]
fn a_peer_that_goes_silent_is_told_and_a_bye_too() {
    let mut call = Call::new(sessions(Codec::Pcmu));
    call.run(secs(1));
    let now = call.now;
    call.sides[0].stream.say_bye(now);
    call.run(Duration::from_millis(100));
    assert!(call.sides[1].saw(|event| *event == Event::RtcpBye));
    call.network = Box::new(|_| None);
    call.run(secs(19));
    assert!(!call.sides[1].saw(|event| *event == Event::Timeout));
    assert!(call.sides[1].saw(|event| *event == Event::Unpinned));
    call.run(secs(3));
    let timeouts = call.sides[1].events.iter().filter(|event| **event == Event::Timeout).count();
    assert_eq!(timeouts, 1);
    assert_eq!(call.sides[1].kinds.last(), Some(&FrameKind::Nothing));
}

#[test]
fn there_is_one_frame_for_every_20_ms_whatever_the_shell_does() {
    let mut call = Call::new(sessions(Codec::Pcmu));
    call.run(secs(10));
    assert_eq!(call.sides[1].kinds.len(), 500);
    // The shell sleeps for a second, then catches up.
    call.now += secs(1);
    call.run(secs(1));
    assert_eq!(call.sides[1].kinds.len(), 600);
    assert_eq!(call.sides[1].pcm.len(), 600 * 160);
}
