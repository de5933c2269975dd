//! Reading stored audio, from any sample on.

use std::collections::{HashMap, VecDeque};
use std::sync::PoisonError;

use postern_mailbox::{Audio, AudioId};

use crate::error::Fault;
use crate::frames::{Frames, Place};
use crate::limits::{PLACES_KEPT, SAMPLES_READ_MAX};
use crate::recorder::path_of;
use crate::sqlite::SqliteStore;

/// Where the last reading of a recording ended, so that the next one need not walk there again.
#[derive(Default)]
pub(crate) struct Places {
    of: HashMap<[u8; 16], Place>,
    /// Oldest first.
    order: VecDeque<[u8; 16]>,
}

impl Places {
    fn find(&self, id: [u8; 16], sample: u64) -> Place {
        self.of.get(&id).copied().filter(|place| place.sample <= sample).unwrap_or(Place::START)
    }

    fn remember(&mut self, id: [u8; 16], place: Place) {
        if self.of.insert(id, place).is_none() {
            self.order.push_back(id);
            if self.order.len() > PLACES_KEPT
                && let Some(oldest) = self.order.pop_front()
            {
                self.of.remove(&oldest);
            }
        }
    }

    pub(crate) fn forget(&mut self, id: [u8; 16]) {
        if self.of.remove(&id).is_some() {
            self.order.retain(|kept| *kept != id);
        }
    }
}

impl SqliteStore {
    pub(crate) async fn samples(&self, audio: AudioId, from: u64, samples_max: usize) -> Result<Audio, Fault> {
        let id = match audio {
            AudioId::Message(id) => id.to_bytes(),
            AudioId::Greeting(id) => id.to_bytes(),
            AudioId::Recording(id) => id.to_bytes(),
        };
        let path = path_of(&self.directory, id);
        let places = self.places.clone();
        let samples_max = samples_max.min(SAMPLES_READ_MAX);
        self.blocking(move |files| {
            let known = || places.lock().unwrap_or_else(PoisonError::into_inner);
            let mut frames = Frames::open(files, &path)?;
            if samples_max == 0 {
                // Only the rate is asked for: whoever is reading keeps its place.
                return Ok(Audio { samples: Vec::new(), rate_hz: frames.header().rate_hz, is_end: false });
            }
            frames.seek(known().find(id, from));
            let mut samples = Vec::new();
            let mut last = frames.place();
            let is_end = loop {
                if samples.len() >= samples_max {
                    break false;
                }
                last = frames.place();
                let Some(frame) = frames.next()? else { break true };
                let skip = from.saturating_sub(last.sample) as usize;
                samples.extend_from_slice(frame.get(skip..).unwrap_or_default());
            };
            let rate_hz = frames.header().rate_hz;
            // A frame that was read in part is read again; what follows it is for the next reading.
            let is_end = is_end && samples.len() <= samples_max;
            samples.truncate(samples_max);
            known().remember(id, last);
            Ok(Audio { samples, rate_hz, is_end })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use postern_mailbox::{Began, Beginning, Finished, Finishing, GreetingKind, Purpose, Store};

    use super::*;
    use crate::testing::Bench;

    #[tokio::test]
    async fn to_ask_for_the_rate_alone_moves_no_place_for_reading_on() {
        let bench = Bench::new().await;
        let purpose = Purpose::Greeting(GreetingKind::Own);
        let beginning = Beginning { mailbox: bench.mailbox, purpose, rate_hz: 8000, begun: Timestamp::now() };
        let Began::Recording { recording, .. } = bench.begin_recording(beginning).await.unwrap() else {
            panic!("no recording begins")
        };
        for _ in 0..3 {
            bench.append_audio(recording, &[1; 8000]).await.unwrap();
        }
        let finishing = Finishing { recording, audio_min: Duration::ZERO };
        let Finished::Greeting(greeting) = bench.finish_recording(finishing).await.unwrap() else {
            panic!("no greeting")
        };
        let place = || bench.places.lock().unwrap().of[&greeting.to_bytes()].sample;
        bench.read_audio(AudioId::Greeting(greeting), 16_000, 100).await.unwrap();
        let before = place();
        assert!(before > 0);
        let rate = bench.read_audio(AudioId::Greeting(greeting), 0, 0).await.unwrap();
        assert_eq!((rate.rate_hz, rate.samples.len(), rate.is_end, place()), (8000, 0, false, before));
    }
}
