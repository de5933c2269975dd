//! Waveforms, and lengths of greetings: what only a reading of the whole recording tells, and is then remembered.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use postern_mailbox::{AudioId, GreetingId, MessageId, Store};
use postern_store::AudioSize;

use crate::desk::Desk;
use crate::limits::{PEAKS_MAX, WAVEFORMS_KEPT};
use crate::problem::Problem;

/// What was read before.
#[derive(Default)]
pub(crate) struct Waveforms {
    peaks: Kept<MessageId, Arc<[f32]>>,
    sizes: Kept<GreetingId, AudioSize>,
}

/// The last [`WAVEFORMS_KEPT`] of something that never changes.
struct Kept<K, V>(Mutex<(HashMap<K, V>, VecDeque<K>)>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Kept<K, V> {
    fn find(&self, key: K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get(&key).cloned()
    }

    fn keep(&self, key: K, value: V) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *kept;
        if known.insert(key, value).is_none() {
            order.push_back(key);
            if order.len() > WAVEFORMS_KEPT
                && let Some(oldest) = order.pop_front()
            {
                known.remove(&oldest);
            }
        }
    }
}

/// The loudest sample of each of at most [`PEAKS_MAX`] stretches of a message, from 0 to 1.
pub(crate) async fn peaks(desk: &Desk, message: MessageId, samples: u64) -> Result<Arc<[f32]>, Problem> {
    if let Some(known) = desk.waveforms.peaks.find(message) {
        return Ok(known);
    }
    let _turn = desk.readings.acquire().await.map_err(|_| Problem::Unavailable)?;
    let mut loudest = Loudest::new(samples);
    let mut at = 0;
    loop {
        let audio =
            desk.store.read_audio(AudioId::Message(message), at, postern_store::limits::SAMPLES_READ_MAX).await?;
        loudest.add(at, &audio.samples);
        at += audio.samples.len() as u64;
        if audio.is_end || audio.samples.is_empty() || at >= samples {
            break;
        }
    }
    let peaks = loudest.peaks();
    desk.waveforms.peaks.keep(message, Arc::clone(&peaks));
    Ok(peaks)
}

/// How much audio a greeting has.
pub(crate) async fn size_of(desk: &Desk, greeting: GreetingId) -> Result<AudioSize, Problem> {
    if let Some(known) = desk.waveforms.sizes.find(greeting) {
        return Ok(known);
    }
    let _turn = desk.readings.acquire().await.map_err(|_| Problem::Unavailable)?;
    let size = desk.store.measure(AudioId::Greeting(greeting)).await?;
    desk.waveforms.sizes.keep(greeting, size);
    Ok(size)
}

struct Loudest {
    samples: u64,
    stretches: Vec<u16>,
}

impl Loudest {
    fn new(samples: u64) -> Self {
        Self { samples, stretches: vec![0; (PEAKS_MAX as u64).min(samples) as usize] }
    }

    fn add(&mut self, at: u64, samples: &[i16]) {
        let count = self.stretches.len() as u64;
        for (place, sample) in (at..self.samples).zip(samples) {
            let stretch = &mut self.stretches[(place * count / self.samples) as usize];
            *stretch = (*stretch).max(sample.unsigned_abs());
        }
    }

    /// Three digits are more than a picture shows.
    fn peaks(self) -> Arc<[f32]> {
        self.stretches.into_iter().map(|peak| (f32::from(peak) / 32.768).round() / 1000.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stretch_has_its_loudest_sample_and_no_sample_is_left_out() {
        let mut loudest = Loudest::new(1000);
        loudest.add(0, &[i16::MIN]);
        loudest.add(1, &vec![0; 998]);
        loudest.add(999, &[16384, 99]);
        let peaks = loudest.peaks();
        assert_eq!(peaks.len(), PEAKS_MAX);
        assert_eq!((peaks[0], peaks[1], peaks[199]), (1.0, 0.0, 0.5));
        assert_eq!(Loudest::new(3).peaks().len(), 3);
        assert!(Loudest::new(0).peaks().is_empty());
    }
}
