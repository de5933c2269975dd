//! How loud audio is, and for how long it has been silent.

use crate::limits;
use std::time::Duration;

/// Level of samples in dB relative to full scale (RMS); -127 for digital silence or no samples.
pub fn dbov(pcm: &[i16]) -> f32 {
    if pcm.is_empty() {
        return -127.0;
    }
    let energy: u64 = pcm.iter().map(|s| i64::from(*s).pow(2) as u64).sum();
    let mean = energy as f32 / pcm.len() as f32;
    if mean < 1.0 {
        return -127.0;
    }
    10.0 * (mean / (32_768.0 * 32_768.0)).log10()
}

/// Follows the level frame by frame.
#[derive(Clone, Debug)]
pub struct SilenceDetector {
    /// Squared amplitude per sample at the threshold.
    threshold: u64,
    loud_frames: u32,
    silent_frames: u32,
    talking: bool,
}

/// What a frame changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another whole second of silence is full.
    Silence(Duration),
    /// Speech after silence that was told.
    TalkResumed,
}

/// Loud frames in a row that count as speech: less is a click.
const LOUD_FRAMES: u32 = 2;

impl SilenceDetector {
    /// Audio below `threshold_dbov` is silence.
    pub fn new(threshold_dbov: f32) -> Self {
        let amplitude = 32_768.0 * 10f32.powf(threshold_dbov.clamp(-90.0, 0.0) / 20.0);
        Self { threshold: (amplitude * amplitude) as u64, loud_frames: 0, silent_frames: 0, talking: true }
    }

    /// Whether these samples are below the threshold.
    pub fn is_silent(&self, pcm: &[i16]) -> bool {
        let energy: u64 = pcm.iter().map(|s| i64::from(*s).pow(2) as u64).sum();
        energy < self.threshold * pcm.len().max(1) as u64
    }

    /// Counts one frame.
    pub fn frame(&mut self, silent: bool) -> Option<Change> {
        if silent {
            self.loud_frames = 0;
        } else {
            self.loud_frames += 1;
        }
        if self.loud_frames >= LOUD_FRAMES {
            self.silent_frames = 0;
            let resumed = !self.talking;
            self.talking = true;
            return resumed.then_some(Change::TalkResumed);
        }
        self.silent_frames = self.silent_frames.saturating_add(1);
        if self.silent_frames.is_multiple_of(limits::FRAMES_PER_SEC) {
            self.talking = false;
            return Some(Change::Silence(limits::FRAME * self.silent_frames));
        }
        None
    }

    /// Starts counting anew, after a hold.
    pub fn reset(&mut self) {
        self.loud_frames = 0;
        self.silent_frames = 0;
        self.talking = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_is_relative_to_full_scale() {
        assert!((dbov(&[16_384; 100]) + 6.02).abs() < 0.01);
        assert!((dbov(&[i16::MIN; 100])).abs() < 0.01);
        assert_eq!(dbov(&[0; 10]), -127.0);
        assert_eq!(dbov(&[]), -127.0);
    }

    #[test]
    fn each_second_of_silence_is_told_once_and_a_click_ends_none() {
        let mut detector = SilenceDetector::new(-40.0);
        let mut changes = Vec::new();
        for i in 0..150 {
            // A click at 30.
            changes.extend(detector.frame(i != 30));
        }
        let secs = |n| Change::Silence(Duration::from_secs(n));
        assert_eq!(changes, [secs(1), secs(2), secs(3)]);
        assert_eq!(detector.frame(false), None);
        assert_eq!(detector.frame(false), Some(Change::TalkResumed));
        assert_eq!(detector.frame(false), None);
    }

    #[test]
    fn the_threshold_divides_loud_from_silent() {
        let detector = SilenceDetector::new(-40.0);
        assert!(detector.is_silent(&[300; 160]));
        assert!(!detector.is_silent(&[350; 160]));
        assert!(detector.is_silent(&[]));
    }
}
