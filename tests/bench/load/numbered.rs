//! Audio whose every 20 ms say which they are, so that a recording proves each packet.

/// Samples of one packet at 8 kHz.
pub const FRAME: usize = 160;

/// A number's bits, each 10 samples.
const SAMPLES_PER_BIT: usize = FRAME / 16;

/// Levels of the first bit, which marks where a frame begins, and of the others; and what lies between them.
const LOUD: i16 = 16_000;
const SOFT: i16 = 4_000;
const BORDER: u16 = 8_000;

/// Less than that is no bit.
const FAINT: u16 = 2_000;

/// The frame with this number. It survives G.711: only signs count, and which bit is the loud one.
pub fn frame(number: u16) -> [i16; FRAME] {
    let mut pcm = [0; FRAME];
    for (bit, samples) in pcm.chunks_exact_mut(SAMPLES_PER_BIT).enumerate() {
        let level = if bit == 0 { LOUD } else { SOFT };
        samples.fill(if number >> bit & 1 == 1 { level } else { -level });
    }
    pcm
}

/// The number of a frame; `None` when it is not one of ours, whole and unharmed.
fn number(pcm: &[i16]) -> Option<u16> {
    let mut number = 0;
    for (bit, samples) in pcm.chunks_exact(SAMPLES_PER_BIT).enumerate() {
        let is_level = |sample: &i16| match sample.unsigned_abs() {
            level if bit == 0 => level > BORDER,
            level => (FAINT..BORDER).contains(&level),
        };
        if !samples.iter().all(is_level) {
            return None;
        }
        let ones = samples.iter().filter(|sample| **sample > 0).count();
        match ones {
            0 => {}
            SAMPLES_PER_BIT => number |= 1 << bit,
            _ => return None,
        }
    }
    Some(number)
}

/// What a recording holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Frames that are there, each the next one's predecessor.
    pub frames: usize,
    /// Frames that ought to be between the first and the last, and are not there as they were sent.
    pub missing: usize,
    /// Frames that are there a second time, or out of order.
    pub misplaced: usize,
}

/// Judges a recording at 8 kHz. Frames may begin anywhere: what was made up for a late one moves those that follow.
pub fn judge(recording: &[i16]) -> Proof {
    let mut proof = Proof::default();
    let mut last: Option<u16> = None;
    let mut at = 0;
    while let Some(frame) = recording.get(at..at + FRAME) {
        let Some(number) = number(frame) else {
            at += 1;
            continue;
        };
        match last.map(|last| number.wrapping_sub(last)) {
            None => {}
            Some(step @ 1..=0x7FFF) => proof.missing += usize::from(step) - 1,
            Some(_) => proof.misplaced += 1,
        }
        proof.frames += 1;
        last = Some(number);
        at += FRAME;
    }
    proof
}

/// The judge judged: a loss and a repetition are seen.
///
/// # Panics
/// When they are not.
pub fn prove_judge() {
    let sent: Vec<u16> = (65_530..=65_535).chain(0..50).collect();
    let of = |numbers: &[u16]| -> Vec<i16> { numbers.iter().flat_map(|number| frame(*number)).collect() };
    let whole = of(&sent);
    assert_eq!(judge(&whole), Proof { frames: 56, missing: 0, misplaced: 0 });
    assert_eq!(judge(&whole[37..]), Proof { frames: 55, missing: 0, misplaced: 0 });
    let mut lost = whole.clone();
    lost[10 * FRAME..12 * FRAME].fill(0);
    assert_eq!(judge(&lost), Proof { frames: 54, missing: 2, misplaced: 0 });
    lost.drain(10 * FRAME..12 * FRAME);
    assert_eq!(judge(&lost), Proof { frames: 54, missing: 2, misplaced: 0 });
    let mut moved = whole.clone();
    moved.splice(10 * FRAME..10 * FRAME, [0; 33]);
    assert_eq!(judge(&moved), Proof { frames: 56, missing: 0, misplaced: 0 });
    let mut twice = sent.clone();
    twice.insert(20, sent[19]);
    assert_eq!(judge(&of(&twice)), Proof { frames: 57, missing: 0, misplaced: 1 });
}
