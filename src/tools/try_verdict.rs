//! Whether what a caller heard is what another one spoke.

use anyhow::{Result, bail};
use postern_media::compare::{Incomparable, Verdict, compare};
use postern_media::g711;

use crate::phone_sound::RATE_HZ;

/// What is spoken: 4.7 s of a voice, G.711 mu-law at 8 kHz in a RIFF file.
const SPEECH_WAV: &[u8] = include_bytes!("assets/speech-mulaw.wav");

/// Of what was heard before and after the speech so much is judged with it: enough to see that it became longer, and less
/// than the silence that callers leave around it.
const MARGIN: usize = RATE_HZ as usize * 300 / 1_000;

const MILLISECOND: usize = RATE_HZ as usize / 1_000;

/// What the phone says.
pub(crate) fn speech() -> Vec<i16> {
    let data = SPEECH_WAV.windows(4).position(|window| window == b"data").map_or(SPEECH_WAV.len(), |at| at + 8);
    SPEECH_WAV.get(data..).unwrap_or_default().iter().map(|byte| g711::decode_ulaw(*byte)).collect()
}

/// The part of what was heard in which the speech is, if it is anywhere. Other voices speak before and after it.
///
/// # Errors
/// One of the two is silent, or too long.
pub(crate) fn excerpt(spoken: &[i16], heard: &[i16]) -> Result<Vec<i16>, Incomparable> {
    let offset = compare(spoken, heard, RATE_HZ)?.offset;
    let (begin, end) = (offset - MARGIN as i64, offset + (spoken.len() + MARGIN) as i64);
    let within = |at: i64| usize::try_from(at).unwrap_or(0).min(heard.len());
    Ok(heard[within(begin)..within(end)].to_vec())
}

/// Judges an excerpt: correlation at least 0.9 over the whole length, length within 100 ms, no gap over 60 ms.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn judge(spoken: &[i16], excerpt: &[i16]) -> Result<Verdict> {
    let verdict = compare(spoken, excerpt, RATE_HZ)?;
    if !verdict.passes() {
        bail!("it is another recording: {}", told(&verdict));
    }
    Ok(verdict)
}

/// A verdict in words.
pub(crate) fn told(verdict: &Verdict) -> String {
    let Verdict { correlation, length_difference_ms, longest_gap_ms, .. } = verdict;
    format!("correlation {correlation:.3}, length {length_difference_ms:+} ms, longest gap {longest_gap_ms} ms")
}

/// Recordings made wrong, and how, of an excerpt that passes: each must be refused.
pub(crate) fn wrong_recordings(excerpt: &[i16]) -> [(&'static str, Vec<i16>); 3] {
    let backwards = excerpt.iter().rev().copied().collect();
    let middle = excerpt.len() / 2;
    let short = [&excerpt[..middle - 100 * MILLISECOND], &excerpt[middle + 100 * MILLISECOND..]].concat();
    let gap = 100 * MILLISECOND;
    let loudest = loudest(excerpt, gap);
    let mut holed = excerpt.to_vec();
    holed[loudest..loudest + gap].fill(0);
    [("another speech", backwards), ("200 ms cut out", short), ("100 ms silenced", holed)]
}

/// Where `length` samples begin in which the quietest 10 ms are the loudest.
fn loudest(pcm: &[i16], length: usize) -> usize {
    let energy = |part: &[i16]| part.iter().map(|sample| i64::from(*sample).pow(2)).sum::<i64>();
    let quietest = |part: &[i16]| part.chunks(10 * MILLISECOND).map(energy).min();
    let starts = (0..pcm.len().saturating_sub(length)).step_by(10 * MILLISECOND);
    starts.max_by_key(|start| quietest(&pcm[*start..start + length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prompts around the speech, with half a second of silence between.
    fn heard(speech: &[i16]) -> Vec<i16> {
        let prompt: Vec<i16> = speech[8_000..20_000].iter().rev().copied().collect();
        let silence = vec![0; 4_000];
        [&prompt, &silence, speech, &silence, &prompt].concat()
    }

    #[test]
    fn the_speech_is_found_between_other_voices() {
        let speech = speech();
        assert!((4.0..6.0).contains(&(speech.len() as f64 / f64::from(RATE_HZ))));
        let excerpt = excerpt(&speech, &heard(&speech)).unwrap();
        let verdict = judge(&speech, &excerpt).unwrap();
        assert!(verdict.correlation > 0.999, "{verdict:?}");
        assert_eq!((verdict.length_difference_ms, verdict.longest_gap_ms), (0, 0));
    }

    #[test]
    fn every_wrong_recording_is_refused_for_its_own_fault() {
        let speech = speech();
        let excerpt = excerpt(&speech, &heard(&speech)).unwrap();
        for (wrong, pcm) in wrong_recordings(&excerpt) {
            assert!(judge(&speech, &pcm).is_err(), "{wrong}");
        }
        let [(_, other), (_, short), (_, holed)] = wrong_recordings(&excerpt);
        assert!(compare(&speech, &other, RATE_HZ).unwrap().correlation < 0.5);
        assert_eq!(compare(&speech, &short, RATE_HZ).unwrap().length_difference_ms, -200);
        assert!(compare(&speech, &holed, RATE_HZ).unwrap().longest_gap_ms > 60);
    }

    #[test]
    fn a_tampered_message_does_not_pass() {
        let speech = speech();
        let mut tampered = speech.clone();
        tampered[12_000..24_000].reverse();
        let excerpt = excerpt(&speech, &heard(&tampered)).unwrap();
        assert!(judge(&speech, &excerpt).is_err());
    }

    #[test]
    fn a_message_that_was_not_heard_does_not_pass() {
        let speech = speech();
        let prompts: Vec<i16> = speech.iter().rev().copied().collect();
        assert!(judge(&speech, &excerpt(&speech, &prompts).unwrap()).is_err());
        assert!(excerpt(&speech, &[0; 80_000]).is_err());
        assert!(excerpt(&speech, &[]).is_err());
    }
}
