//! Recordings: what was recorded is read back, whatever became of the file's end.

use postern_media::codec::Codec;
use postern_media::event::FrameKind;
use postern_media::recording::{Coding, HEADER_BYTES, Header, NotARecording, Player, Reader, Recorder, render};
use proptest::prelude::*;

fn header(coding: Coding, rate: u32) -> Header {
    Header { coding, rate, started_unix_ms: 1_700_000_000_123 }
}

fn signal(samples: usize) -> Vec<i16> {
    (0..samples).map(|i| ((i as f32 * 0.07).sin() * 9_000.0) as i16).collect()
}

/// A file, and where each of its frames ends.
fn record(header: Header, pcm: &[i16]) -> (Vec<u8>, Vec<usize>) {
    let mut recorder = Recorder::new(header);
    let mut file = recorder.header().to_vec();
    let mut ends = Vec::new();
    for (i, frame) in pcm.chunks(header.rate as usize / 50).enumerate() {
        recorder.frame(frame, FrameKind::Audio, i as u32 * 20, &mut file);
        ends.push(file.len());
    }
    assert_eq!(recorder.samples(), pcm.len() as u64);
    (file, ends)
}

#[test]
fn what_was_recorded_is_rendered() {
    let pcm = signal(16_000);
    let (file, _) = record(header(Coding::L16, 16_000), &pcm);
    let rendered = render(&file).unwrap();
    assert_eq!((rendered.rate, &rendered.pcm, rendered.intact_bytes), (16_000, &pcm, file.len()));
    assert_eq!(Reader::new(&file).unwrap().header(), header(Coding::L16, 16_000));
}

#[test]
fn g711_audio_loses_nothing_in_its_own_coding() {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        // What a decoder may give out: every sample of the law.
        let mut decoder = postern_media::coder::Decoder::new(codec);
        let mut pcm = Vec::new();
        decoder.decode(&(0..=255).cycle().take(1_600).collect::<Vec<u8>>(), &mut pcm);
        let (file, _) = record(header(Coding::lossless_for(codec), 8_000), &pcm);
        assert_eq!(render(&file).unwrap().pcm, pcm);
    }
    assert_eq!(Coding::lossless_for(Codec::G722), Coding::L16);
}

#[test]
fn a_g722_master_is_kept_as_it_came_and_rendered_on_demand() {
    let pcm = signal(16_000);
    let mut payload = Vec::new();
    postern_media::coder::Encoder::new(Codec::G722).encode(&pcm, &mut payload);
    let mut recorder = Recorder::new(header(Coding::G722, 16_000));
    let mut file = recorder.header().to_vec();
    for (i, piece) in payload.chunks(160).enumerate() {
        recorder.coded_frame(piece, FrameKind::Audio, i as u32 * 20, &mut file);
    }
    assert_eq!(recorder.duration_ms(), 1_000);
    let mut want = Vec::new();
    postern_media::coder::Decoder::new(Codec::G722).decode(&payload, &mut want);
    assert_eq!(render(&file).unwrap().pcm, want);
}

#[test]
fn any_prefix_is_played_to_its_last_whole_frame() {
    let pcm = signal(1_600);
    let (file, ends) = record(header(Coding::Pcmu, 8_000), &pcm);
    let whole = render(&file).unwrap().pcm;
    for cut in 0..file.len() {
        let rendered = render(&file[..cut]);
        if cut < HEADER_BYTES {
            assert_eq!(rendered, Err(NotARecording));
            continue;
        }
        let frames = ends.iter().filter(|end| **end <= cut).count();
        let rendered = rendered.unwrap();
        assert_eq!(rendered.pcm, whole[..frames * 160]);
        let intact = if frames == 0 { HEADER_BYTES } else { ends[frames - 1] };
        assert_eq!(rendered.intact_bytes, intact);
    }
}

#[test]
fn what_follows_a_damaged_frame_is_not_played() {
    let (file, ends) = record(header(Coding::Pcmu, 8_000), &signal(1_600));
    for at in HEADER_BYTES..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        let frames = ends.iter().filter(|end| **end <= at).count();
        assert_eq!(render(&damaged).unwrap().pcm.len(), frames * 160, "byte {at}");
    }
}

#[test]
fn frames_of_another_file_are_none_of_this() {
    let (mut file, _) = record(header(Coding::Pcmu, 8_000), &signal(320));
    let mut other = header(Coding::Pcmu, 8_000);
    other.started_unix_ms += 1;
    let (other, ends) = record(other, &signal(640));
    // The third frame of the other would fit by its number.
    file.extend_from_slice(&other[ends[1]..ends[2]]);
    assert_eq!(render(&file).unwrap().pcm.len(), 320);
}

#[test]
fn a_long_recording_can_be_played_piece_by_piece() {
    let (file, _) = record(header(Coding::Pcma, 8_000), &signal(8_000));
    let reader = Reader::new(&file).unwrap();
    let mut player = Player::new(reader.header());
    let mut pcm = Vec::new();
    for (i, frame) in reader.enumerate() {
        assert_eq!((frame.since_start_ms, frame.kind), (i as u32 * 20, FrameKind::Audio));
        player.decode(frame.payload, &mut pcm);
    }
    assert_eq!(pcm, render(&file).unwrap().pcm);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let _ = render(&bytes);
        let (mut file, _) = record(header(Coding::G722, 16_000), &signal(960));
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        let _ = render(&file);
        let _ = postern_media::wav::decode(&bytes);
    }
}
