//! Many calls at once on one thread: every packet is proved by the number in its samples, and the time that
//! it took is printed (run with `--nocapture`; the development profile is several times slower than a release).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_media::Stream;
use postern_media::codec::Codec;
use postern_media::event::FrameKind;
use postern_media::g711;
use postern_media::rtp::Outgoing;
use postern_media::session::{Component, Keying, Options, Session};
use postern_media::srtp::{Outbound, Protect};
use postern_media::srtp_profile::{MasterKey, SdesKeying, SrtpProfile};

const CALLS: usize = 100;
const PACKETS: u32 = 150;
const PROFILE: SrtpProfile = SrtpProfile::Aes128CmHmacSha1_80;

struct Call {
    stream: Stream,
    peer: SocketAddr,
    protect: Option<Outbound>,
    /// What was heard.
    pcm: Vec<i16>,
}

fn can_be_moved_between_threads<T: Send>() {}

fn call(number: usize, secure: bool, now: Instant) -> Call {
    let peer = SocketAddr::new("192.0.2.1".parse().unwrap(), 10_000 + number as u16 * 2);
    let key = MasterKey::from_concatenated(PROFILE, &[number as u8; 30]).unwrap();
    let mut session = Session::plain(Codec::Pcmu, peer);
    if secure {
        session.keying = Keying::Sdes(SdesKeying { profile: PROFILE, local: key.clone(), remote: key.clone() });
    }
    Call {
        stream: Stream::new(Options::new([number as u8; 32], (now, Duration::ZERO), "load"), session, now).unwrap(),
        peer,
        protect: secure.then(|| Outbound::new(PROFILE, &key).unwrap()),
        pcm: Vec::new(),
    }
}

/// µ-law bytes that say which call's which packet they are.
fn numbered(call: usize, packet: u32) -> [u8; 160] {
    let mut payload = [0x20; 160];
    payload[..2].copy_from_slice(&[0x40 + (packet % 64) as u8, 0x40 + (packet / 64) as u8]);
    payload[2] = 0x40 + (call % 64) as u8;
    payload
}

fn send(call: &mut Call, number: usize, packet: u32, buffer: &mut Vec<u8>, now: Instant) {
    buffer.clear();
    let header = Outgoing {
        marker: packet == 0,
        payload_type: 0,
        sequence: packet as u16,
        timestamp: packet * 160,
        ssrc: number as u32 + 1,
    };
    header.write(buffer);
    buffer.extend_from_slice(&numbered(number, packet));
    if let Some(protect) = &mut call.protect {
        protect.protect_rtp(buffer).unwrap();
    }
    call.stream.handle_packet(Component::Rtp, call.peer, buffer, now);
}

fn run(secure: bool) {
    let start = Instant::now();
    let mut now = start;
    let mut calls: Vec<Call> = (0..CALLS).map(|number| call(number, secure, now)).collect();
    let mut buffer = Vec::new();
    let mut sent = 0u64;
    for packet in 0..PACKETS + 10 {
        now += Duration::from_millis(10);
        if packet < PACKETS {
            for (number, call) in calls.iter_mut().enumerate() {
                send(call, number, packet, &mut buffer, now);
            }
        }
        now += Duration::from_millis(10);
        for call in &mut calls {
            call.stream.handle_timeout(now);
            if let Some(frame) = call.stream.poll_frame()
                && frame.kind == FrameKind::Audio
            {
                call.pcm.extend_from_slice(frame.pcm);
            }
            while call.stream.poll_transmit().is_some() {
                sent += 1;
            }
            while call.stream.poll_event().is_some() {}
        }
    }
    let spent = start.elapsed();
    for (number, call) in calls.iter().enumerate() {
        let want: Vec<i16> = (0..PACKETS).flat_map(|packet| numbered(number, packet).map(g711::decode_ulaw)).collect();
        assert!(call.pcm == want, "call {number} heard every packet once and in order");
    }
    assert!(sent >= CALLS as u64 * u64::from(PACKETS));
    let audio = Duration::from_millis(20) * (PACKETS + 10) * CALLS as u32;
    println!(
        "{}: {CALLS} calls, {:.1} us per call and 20 ms both ways, {:.0} times as fast as needed for one",
        if secure { "SRTP" } else { "plain" },
        spent.as_secs_f64() * 1e6 / f64::from(PACKETS + 10) / CALLS as f64,
        audio.as_secs_f64() / spent.as_secs_f64()
    );
}

#[test]
fn a_hundred_plain_calls_hear_every_packet() {
    can_be_moved_between_threads::<Stream>();
    run(false);
}

#[test]
fn a_hundred_srtp_calls_hear_every_packet() {
    run(true);
}
