//! Judges a recording against what was spoken: where it begins in it, how like it is, and whether pieces are missing.

use std::f32::consts::TAU;

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Where the reference begins in the recording, in samples; negative when its start is cut off.
    pub offset: i64,
    /// Normalised cross-correlation at that offset over the reference's whole length, -1..=1.
    pub correlation: f32,
    /// Length of the recording's sound, from the first loud sample to the last, less the reference's, in milliseconds.
    pub length_difference_ms: i64,
    /// Longest stretch, in milliseconds, in which the reference sounds and the recording does not.
    pub longest_gap_ms: u32,
}

impl Verdict {
    /// The rule of a passing call: correlation at least 0.9, length within 100 ms, no gap over 60 ms.
    pub fn passes(&self) -> bool {
        self.correlation >= 0.9 && self.length_difference_ms.abs() <= 100 && self.longest_gap_ms <= 60
    }
}

/// There is nothing to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomparable {
    #[error("the reference is silent")]
    SilentReference,
    #[error("the recording is silent")]
    SilentRecording,
    #[error("longer than ten minutes")]
    TooLong,
}

/// Windows in which sound is looked for.
const WINDOW_MS: usize = 10;

/// Sound is what lies less than 30 dB below the whole's mean power.
const SOUND_SHARE: f64 = 0.001;

/// Compares at `rate` samples per second. Costs O(n log n).
///
/// # Errors
///
/// [`Incomparable`].
pub fn compare(reference: &[i16], recording: &[i16], rate: u32) -> Result<Verdict, Incomparable> {
    if reference.len().max(recording.len()) > rate as usize * 600 {
        return Err(Incomparable::TooLong);
    }
    let window = rate as usize / 1_000 * WINDOW_MS;
    let (reference_start, reference_end) = sound(reference, window).ok_or(Incomparable::SilentReference)?;
    let (recording_start, recording_end) = sound(recording, window).ok_or(Incomparable::SilentRecording)?;
    let offset = best_offset(reference, recording);
    let length = (recording_end - recording_start) as i64 - (reference_end - reference_start) as i64;
    Ok(Verdict {
        offset,
        correlation: correlation_at(reference, recording, offset),
        length_difference_ms: length * 1_000 / i64::from(rate),
        longest_gap_ms: longest_gap(reference, recording, offset, window) as u32 * WINDOW_MS as u32,
    })
}

fn energy(pcm: &[i16]) -> f64 {
    pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}

/// Energy of a window below which it is silent; at least that of samples of 8.
fn threshold(pcm: &[i16], window: usize) -> f64 {
    (energy(pcm) / pcm.len().max(1) as f64 * SOUND_SHARE).max(64.0) * window as f64
}

/// From the first to the last window with sound, in samples.
fn sound(pcm: &[i16], window: usize) -> Option<(usize, usize)> {
    let threshold = threshold(pcm, window);
    let mut loud = pcm.chunks(window).enumerate().filter(|(_, chunk)| energy(chunk) >= threshold).map(|(i, _)| i);
    let first = loud.next()?;
    let last = loud.next_back().unwrap_or(first);
    Some((first * window, ((last + 1) * window).min(pcm.len())))
}

/// The recording's sample at a place of the reference.
fn aligned(recording: &[i16], at: usize, offset: i64) -> i16 {
    let at = at as i64 + offset;
    usize::try_from(at).ok().and_then(|at| recording.get(at)).copied().unwrap_or(0)
}

fn correlation_at(reference: &[i16], recording: &[i16], offset: i64) -> f32 {
    let (mut product, mut squares) = (0.0, 0.0);
    for (at, sample) in reference.iter().enumerate() {
        let other = f64::from(aligned(recording, at, offset));
        product += f64::from(*sample) * other;
        squares += other * other;
    }
    let norm = (energy(reference) * squares).sqrt();
    if norm > 0.0 { (product / norm) as f32 } else { 0.0 }
}

/// In windows.
fn longest_gap(reference: &[i16], recording: &[i16], offset: i64, window: usize) -> usize {
    let (reference_threshold, recording_threshold) = (threshold(reference, window), threshold(recording, window));
    let (mut longest, mut gap) = (0, 0);
    for (i, chunk) in reference.chunks(window).enumerate() {
        let sounds = energy(chunk) >= reference_threshold;
        let heard: f64 =
            (i * window..i * window + chunk.len()).map(|at| f64::from(aligned(recording, at, offset)).powi(2)).sum();
        if sounds && heard < recording_threshold {
            gap += 1;
            longest = longest.max(gap);
        } else if sounds {
            gap = 0;
        }
    }
    longest
}

/// The offset with the largest product, found in the frequency domain.
fn best_offset(reference: &[i16], recording: &[i16]) -> i64 {
    let size = (reference.len() + recording.len()).next_power_of_two();
    let spectrum = |pcm: &[i16]| {
        let mut values = vec![Complex::default(); size];
        for (value, sample) in values.iter_mut().zip(pcm) {
            value.re = f32::from(*sample) / 32_768.0;
        }
        transform(&mut values, false);
        values
    };
    let mut product = spectrum(recording);
    for (a, b) in product.iter_mut().zip(spectrum(reference)) {
        *a = Complex { re: a.re * b.re + a.im * b.im, im: a.im * b.re - a.re * b.im };
    }
    transform(&mut product, true);
    let best = (0..size).max_by(|a, b| product[*a].re.total_cmp(&product[*b].re)).unwrap_or(0);
    // The upper part stands for negative offsets.
    if best < recording.len() { best as i64 } else { best as i64 - size as i64 }
}

#[derive(Clone, Copy, Default)]
struct Complex {
    re: f32,
    im: f32,
}

/// Radix-2 fast Fourier transform in place; its length is a power of two. The inverse is not scaled.
fn transform(values: &mut [Complex], inverse: bool) {
    let size = values.len();
    let mut reversed = 0;
    for i in 1..size {
        let mut bit = size >> 1;
        while reversed & bit != 0 {
            reversed ^= bit;
            bit >>= 1;
        }
        reversed |= bit;
        if i < reversed {
            values.swap(i, reversed);
        }
    }
    let sign = if inverse { 1.0 } else { -1.0 };
    let turns: Vec<Complex> = (0..size / 2)
        .map(|k| {
            let (im, re) = (sign * TAU * k as f32 / size as f32).sin_cos();
            Complex { re, im }
        })
        .collect();
    let mut half = 1;
    while half < size {
        let stride = size / (2 * half);
        for block in values.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                let turn = turns[k * stride];
                let turned = Complex { re: b.re * turn.re - b.im * turn.im, im: b.re * turn.im + b.im * turn.re };
                *b = Complex { re: a.re - turned.re, im: a.im - turned.im };
                *a = Complex { re: a.re + turned.re, im: a.im + turned.im };
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(seed: u32, samples: usize) -> Vec<i16> {
        let mut state = seed;
        let mut low = 0.0f32;
        (0..samples)
            .map(|i| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                low += 0.2 * ((state >> 16) as i16 as f32 / 4.0 - low);
                // Words of 400 ms with pauses of 100.
                if i % 4_000 < 3_200 { low as i16 } else { 0 }
            })
            .collect()
    }

    #[test]
    fn a_delayed_quieter_copy_passes_and_its_place_is_found() {
        let reference = voice(1, 240_000);
        for delay in [0usize, 1, 777, 20_000] {
            let mut recording = vec![3; delay];
            recording.extend(reference.iter().map(|sample| sample / 2));
            recording.extend([0; 5_000]);
            let verdict = compare(&reference, &recording, 8_000).unwrap();
            assert_eq!(verdict.offset, delay as i64);
            assert!(verdict.passes(), "{verdict:?}");
        }
        let verdict = compare(&reference, &reference[100..], 8_000).unwrap();
        assert_eq!(verdict.offset, -100);
    }

    #[test]
    fn another_voice_noise_and_silence_fail() {
        let reference = voice(1, 40_000);
        let verdict = compare(&reference, &voice(2, 40_000), 8_000).unwrap();
        assert!(!verdict.passes() && verdict.correlation < 0.5, "{verdict:?}");
        assert_eq!(compare(&reference, &[0; 40_000], 8_000), Err(Incomparable::SilentRecording));
        assert_eq!(compare(&[], &reference, 8_000), Err(Incomparable::SilentReference));
    }

    #[test]
    fn a_gap_a_cut_and_a_seam_fail() {
        let reference = voice(1, 40_000);
        let mut gap = reference.clone();
        gap[9_000..9_640].fill(0);
        let verdict = compare(&reference, &gap, 8_000).unwrap();
        assert!(!verdict.passes() && verdict.longest_gap_ms > 60, "{verdict:?}");
        let verdict = compare(&reference, &reference[..38_000], 8_000).unwrap();
        assert!(!verdict.passes() && verdict.length_difference_ms < -100, "{verdict:?}");
        let mut seam = reference[..20_000].to_vec();
        seam.extend([0; 200]);
        seam.extend(&reference[20_000..]);
        let verdict = compare(&reference, &seam, 8_000).unwrap();
        assert!(!verdict.passes() && verdict.correlation < 0.9, "{verdict:?}");
    }

    #[test]
    fn a_gap_of_60_ms_passes() {
        let reference = voice(1, 80_000);
        let mut gap = reference.clone();
        gap[9_040..9_440].fill(0);
        let verdict = compare(&reference, &gap, 8_000).unwrap();
        assert!(verdict.passes(), "{verdict:?}");
    }
}
