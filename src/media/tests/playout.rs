//! Packets in, frames out, in virtual time: loss, reordering, jitter, drift, pauses and new timelines.

use postern_media::codec::Codec;
use postern_media::event::FrameKind;
use postern_media::g711;
use postern_media::jitter_buffer::{Content, Inserted};
use postern_media::playout::Playout;

const FRAME: u32 = 160;
const PCMU: Content = Content::Audio(Codec::Pcmu);

/// A signal whose every sample tells where it belongs: a rising ramp in µ-law steps, so that order and place show.
fn sample(at: u32) -> i16 {
    let x = at as f32;
    (6_000.0 * (x * 0.05).sin() + 3_000.0 * (x * 0.0137).sin()) as i16
}

fn payload(timestamp: u32, units: u32) -> Vec<u8> {
    (timestamp..timestamp + units).map(|at| g711::encode_ulaw(sample(at))).collect()
}

struct Call {
    playout: Playout,
    /// Arrival time, sequence, timestamp.
    arrivals: Vec<(u32, u16, u32)>,
    units: u32,
    now: u32,
    pcm: Vec<i16>,
    kinds: Vec<FrameKind>,
    inserted: Vec<Inserted>,
}

impl Call {
    fn new(units: u32) -> Self {
        Self {
            playout: Playout::new(Codec::Pcmu, 8_000),
            arrivals: Vec::new(),
            units,
            now: 0,
            pcm: Vec::new(),
            kinds: Vec::new(),
            inserted: Vec::new(),
        }
    }

    /// `packets` packets, each late by what `delay` says for its number; `None` is lost.
    fn send(&mut self, packets: u32, delay: impl Fn(u32) -> Option<u32>) {
        for i in 0..packets {
            if let Some(late) = delay(i) {
                self.arrivals.push((i * self.units + late, i as u16, i * self.units));
            }
        }
    }

    fn run(&mut self, frames: u32) {
        (0..frames).for_each(|_| self.run_on());
    }

    /// One frame.
    fn run_on(&mut self) {
        self.now += FRAME;
        let (mut come, later) =
            std::mem::take(&mut self.arrivals).into_iter().partition::<Vec<_>, _>(|(at, ..)| *at <= self.now);
        self.arrivals = later;
        come.sort_by_key(|(at, ..)| *at);
        for (at, sequence, timestamp) in come {
            let payload = payload(timestamp, self.units);
            let inserted = self.playout.insert(sequence, timestamp, PCMU, &payload, at);
            self.inserted.push(inserted);
        }
        let mut frame = Vec::new();
        self.kinds.push(self.playout.frame(self.now, &mut frame));
        assert_eq!(frame.len(), FRAME as usize, "a frame of 20 ms, whatever comes");
        self.pcm.extend_from_slice(&frame);
    }

    fn count(&self, kind: FrameKind) -> usize {
        self.kinds.iter().filter(|k| **k == kind).count()
    }

    /// Where the frame at `at` samples comes from in the signal, when it is a piece of it.
    fn origin(&self, at: usize) -> Option<u32> {
        let piece = &self.pcm[at..at + 80];
        (0..at as u32 + 4_000).find(|start| {
            piece.iter().enumerate().all(|(i, s)| *s == g711::decode_ulaw(g711::encode_ulaw(sample(start + i as u32))))
        })
    }
}

#[test]
fn a_steady_stream_is_played_unchanged_at_every_ptime() {
    for units in [80, 160, 240, 320, 480] {
        let mut call = Call::new(units);
        call.send(400 * 160 / units, |_| Some(0));
        call.run(390);
        assert_eq!(call.count(FrameKind::Concealed), 0, "{units}");
        let start = call.kinds.iter().position(|kind| *kind == FrameKind::Audio).unwrap();
        assert!((3..=5).contains(&start), "{start}");
        let pcm = &call.pcm[start * 160..];
        for (i, s) in pcm.iter().enumerate().skip(40) {
            assert_eq!(*s, g711::decode_ulaw(g711::encode_ulaw(sample(i as u32))), "sample {i}");
        }
    }
}

#[test]
fn lost_packets_are_made_up_and_what_follows_keeps_its_place() {
    let mut call = Call::new(160);
    call.send(500, |i| (i % 10 != 7).then_some(0));
    call.run(480);
    assert_eq!(call.pcm.len(), 480 * 160);
    let start = call.kinds.iter().position(|kind| *kind == FrameKind::Audio).unwrap();
    let concealed = call.count(FrameKind::Concealed);
    assert!((46..=48).contains(&concealed), "{concealed}");
    for frame in (start + 3..470).filter(|f| call.kinds[*f] == FrameKind::Audio) {
        assert_eq!(call.origin(frame * 160 + 40), Some((frame - start) as u32 * 160 + 40));
    }
}

/// What a recorder keeps of all frames.
fn recorded(call: &mut Call, frames: u32) -> Vec<i16> {
    call.playout.keep_all(true);
    let (mut kept, mut unsettled) = (Vec::new(), 0_usize);
    for _ in 0..frames {
        let before = call.pcm.len();
        call.run_on();
        let superfluous = call.playout.superfluous();
        assert!(superfluous <= unsettled, "{superfluous} of {unsettled}");
        kept.truncate(kept.len() - superfluous);
        kept.extend_from_slice(&call.pcm[before..]);
        unsettled = if call.playout.unsettled() == 160 { unsettled + 160 } else { call.playout.unsettled() };
    }
    kept
}

#[test]
fn a_sender_that_stood_still_leaves_no_hole_in_what_is_kept() {
    for still in [100_u32, 300, 700, 900, 1_500, 4_000] {
        let mut call = Call::new(160);
        // Packets 100 and following wait until it goes on, and come at once.
        let units = still * 8;
        call.send(300, |i| Some(units.saturating_sub(i.saturating_sub(100) * 160) * u32::from(i >= 100)));
        let kept = recorded(&mut call, 300 + still / 20 + 10);
        let start = kept.iter().position(|s| s.abs() > 1_000).unwrap() / 160 * 160;
        let wrong = |i: &u32| kept[start + *i as usize] != g711::decode_ulaw(g711::encode_ulaw(sample(*i)));
        let wrong: Vec<u32> = (40..300 * 160).filter(wrong).collect();
        // But for the seam, where the first sound after a gap is blended in.
        assert!(
            wrong.iter().all(|i| (100 * 160..100 * 160 + 80).contains(i)),
            "{still}: {:?}",
            &wrong[..wrong.len().min(5)]
        );
        assert_eq!(call.inserted.iter().filter(|inserted| **inserted != Inserted::Stored).count(), 0);
    }
}

#[test]
fn what_is_waited_for_because_packets_keep_missing_their_turn_is_not_kept() {
    let mut call = Call::new(160);
    call.send(400, |i| Some(1_000 * u32::from(i >= 100 && i % 5 == 0)));
    let kept = recorded(&mut call, 400);
    let start = kept.iter().position(|s| s.abs() > 1_000).unwrap() / 160 * 160;
    let late = call.inserted.iter().filter(|inserted| **inserted == Inserted::Late).count();
    assert!((3..30).contains(&late), "{late}: some miss their turn, until the delay has grown");
    for i in 300 * 160..380 * 160 {
        assert_eq!(kept[start + i as usize], g711::decode_ulaw(g711::encode_ulaw(sample(i))), "sample {i}");
    }
}

#[test]
fn what_is_lost_for_a_while_leaves_a_hole_of_its_length() {
    let mut call = Call::new(160);
    call.send(300, |i| (!(100..120).contains(&i)).then_some(0));
    let kept = recorded(&mut call, 300);
    let start = kept.iter().position(|s| s.abs() > 1_000).unwrap() / 160 * 160;
    for i in 121 * 160..290 * 160 {
        assert_eq!(kept[start + i as usize], g711::decode_ulaw(g711::encode_ulaw(sample(i))), "sample {i}");
    }
}

#[test]
fn what_is_not_yet_due_can_be_had_at_the_end() {
    let mut call = Call::new(160);
    call.send(100, |_| Some(0));
    call.run(100);
    let start = call.pcm.iter().position(|s| s.abs() > 1_000).unwrap() / 160 * 160;
    let mut frame = Vec::new();
    while call.playout.rest(call.now, &mut frame).is_some() {
        call.pcm.extend_from_slice(&frame);
    }
    let heard = &call.pcm[start + 40..start + 100 * 160];
    assert!(heard.iter().zip(40..).all(|(s, i)| *s == g711::decode_ulaw(g711::encode_ulaw(sample(i)))));
}

#[test]
fn jitter_and_reordering_below_the_delay_cost_nothing() {
    let mut call = Call::new(160);
    // Up to 70 ms late, which reorders neighbours all the time.
    call.send(500, |i| Some(i.wrapping_mul(2_654_435_761) >> 7 & 0x1ff));
    call.run(480);
    assert_eq!(call.count(FrameKind::Concealed), 0);
    assert!(call.inserted.iter().all(|inserted| *inserted == Inserted::Stored));
    let start = call.kinds.iter().position(|kind| *kind == FrameKind::Audio).unwrap();
    assert_eq!(call.origin(400 * 160), Some((400 - start as u32) * 160));
}

#[test]
fn duplicates_are_dropped() {
    let mut call = Call::new(160);
    call.send(200, |_| Some(0));
    call.send(200, |_| Some(30));
    call.run(190);
    assert_eq!(call.count(FrameKind::Concealed), 0);
    let duplicates = call.inserted.iter().filter(|i| **i == Inserted::Duplicate).count();
    assert!(duplicates > 180, "{duplicates}");
}

#[test]
fn a_burst_after_a_stall_is_played_later_rather_than_lost() {
    let mut call = Call::new(160);
    // From 100 on nothing for 200 ms, then all at once.
    call.send(400, |i| Some(if (100..110).contains(&i) { (110 - i) * 160 } else { 0 }));
    call.run(380);
    let start = call.kinds.iter().position(|kind| *kind == FrameKind::Audio).unwrap();
    // Nothing of the signal is missing: the frames around the stall are all there, later.
    let origins: Vec<u32> = (start..200).filter_map(|frame| call.origin(frame * 160 + 40)).collect();
    assert!(origins.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= 320), "{origins:?}");
    assert!(call.count(FrameKind::Concealed) >= 4);
}

#[test]
fn what_comes_later_than_the_longest_delay_is_given_up() {
    let mut call = Call::new(160);
    call.send(600, |i| Some(if (100..140).contains(&i) { (140 - i) * 160 } else { 0 }));
    call.run(590);
    // 800 ms of stall: the delay ends at 400 ms, so at least 300 ms of it were dropped.
    let at = 500 * 160;
    let delay = at as u32 - call.origin(at + 40).unwrap() + 40;
    assert!(delay <= 3_200 + 320, "{delay}");
}

#[test]
fn a_pause_of_the_sender_takes_as_long_as_it_took() {
    let mut call = Call::new(160);
    // Talks 1 s, pauses 3 s without sending, talks again: numbers go on, timestamps jump.
    for i in 0..100u32 {
        let timestamp = if i < 50 { i * 160 } else { (i + 150) * 160 };
        call.arrivals.push((timestamp, i as u16, timestamp));
    }
    call.run(245);
    let start = call.kinds.iter().position(|kind| *kind == FrameKind::Audio).unwrap();
    let second = (start + 60..245).find(|f| call.kinds[*f] == FrameKind::Audio).unwrap();
    assert_eq!(second - start, 200);
    assert_eq!(call.origin(second * 160 + 160), Some(200 * 160 + 160));
    assert!(call.count(FrameKind::Concealed) <= 11, "{}", call.count(FrameKind::Concealed));
}

#[test]
fn comfort_noise_fills_a_pause() {
    let mut call = Call::new(160);
    call.send(50, |_| Some(0));
    call.run(50);
    call.playout.insert(50, 50 * 160, Content::ComfortNoise, &[40], call.now);
    call.run(100);
    let noisy = &call.kinds[60..150];
    assert!(noisy.iter().all(|kind| *kind == FrameKind::ComfortNoise), "{noisy:?}");
    let level = postern_media::level::dbov(&call.pcm[70 * 160..150 * 160]);
    assert!((level + 40.0).abs() < 1.0, "{level}");
}

#[test]
fn drift_of_either_sign_neither_drains_nor_floods() {
    // 500 ppm for five minutes is 150 ms; the sender is silent in every second half of a second.
    for faster in [true, false] {
        let mut playout = Playout::new(Codec::Pcmu, 8_000);
        let (mut now, mut sent, mut frame, mut concealed) = (0u32, 0u32, Vec::new(), 0);
        for _ in 0..15_000u32 {
            now += FRAME;
            let clock = if faster { now + now / 2_000 } else { now - now / 2_000 };
            while sent * 160 < clock {
                let silent = sent % 50 >= 25;
                let payload = if silent { vec![0xff; 160] } else { payload(sent * 160, 160) };
                playout.insert(sent as u16, sent * 160, PCMU, &payload, now);
                sent += 1;
            }
            concealed += u32::from(playout.frame(now, &mut frame) == FrameKind::Concealed);
        }
        assert!(concealed <= 10, "faster {faster}: {concealed}");
    }
}

#[test]
fn timestamps_that_start_anew_are_followed() {
    let mut call = Call::new(160);
    call.send(100, |_| Some(0));
    call.run(100);
    for i in 100..200u32 {
        call.arrivals.push((i * 160, i as u16, (i - 100) * 160 + 3_000_000));
    }
    call.run(100);
    let heard = call.kinds[100..].iter().filter(|kind| **kind == FrameKind::Audio).count();
    assert!(heard > 85, "{heard}");
}

#[test]
fn a_sequence_number_wraps_without_a_gap() {
    let mut call = Call::new(160);
    for i in 0..200u32 {
        call.arrivals.push((i * 160, 65_436u16.wrapping_add(i as u16), (u32::MAX - 16_000).wrapping_add(i * 160)));
    }
    let mut frame = Vec::new();
    let mut kinds = Vec::new();
    let mut arrivals = std::mem::take(&mut call.arrivals).into_iter().peekable();
    for _ in 0..190 {
        call.now += FRAME;
        while let Some((at, sequence, timestamp)) = arrivals.next_if(|(at, ..)| *at <= call.now) {
            call.playout.insert(sequence, timestamp, PCMU, &[0x20; 160], at);
        }
        kinds.push(call.playout.frame(call.now, &mut frame));
    }
    assert!(!kinds.contains(&FrameKind::Concealed));
}

#[test]
fn key_presses_between_audio_shift_nothing() {
    let mut call = Call::new(160);
    call.send(50, |_| Some(0));
    call.run(50);
    // 600 ms of key down: 30 event packets with one timestamp, no audio.
    for i in 50..80u32 {
        call.now += FRAME;
        call.playout.insert(i as u16, 50 * 160, Content::Event, &[5, 10, 0, 160], call.now);
        let mut frame = Vec::new();
        call.kinds.push(call.playout.frame(call.now, &mut frame));
        call.pcm.extend_from_slice(&frame);
    }
    for i in 80..130u32 {
        call.arrivals.push((i * 160, i as u16, i * 160));
    }
    call.run(45);
    let start = call.kinds.iter().position(|kind| *kind == FrameKind::Audio).unwrap() as u32;
    assert_eq!(call.origin(110 * 160), Some((110 - start) * 160));
}

#[test]
fn g722_at_8_khz_and_pcmu_at_16_khz_fill_whole_frames() {
    for (codec, rate) in [(Codec::G722, 8_000), (Codec::Pcmu, 16_000), (Codec::G722, 16_000)] {
        let mut playout = Playout::new(Codec::Pcma, rate);
        let mut frame = Vec::new();
        let mut kinds = Vec::new();
        for i in 0..100u32 {
            playout.insert(i as u16, i * 160, Content::Audio(codec), &[0x55; 160], i * 160);
            kinds.push(playout.frame(i * 160 + 100, &mut frame));
            assert_eq!(frame.len() as u32, rate / 50);
        }
        assert!(kinds[10..].iter().all(|kind| *kind == FrameKind::Audio), "{kinds:?}");
        assert_eq!(playout.codec(), codec);
    }
}
