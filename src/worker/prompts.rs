//! Prompts at hand: decoded once at start, at both rates of our calls.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_mailbox::{Clip, Prompt};
use postern_media::resample::Resampler;
use postern_media::tone;
use postern_media::wav::{self, WavError};

/// Languages that we bring prompts in.
const LANGUAGES: [&str; 1] = ["en"];

/// Sample rates of calls: G.711's and G.722's.
const RATES_HZ: [u32; 2] = [8_000, 16_000];

/// Longest pause between two clips.
const PAUSE_SECS_MAX: u64 = 10;

/// Why prompts cannot be used; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}; prompts are WAV files of 16-bit mono", .path.display())]
    Wav { path: PathBuf, source: WavError },
    #[error("{}: {rate_hz} samples per second, where 8000 and 16000 are taken", .path.display())]
    Rate { path: PathBuf, rate_hz: u32 },
}

/// One sound at both rates.
#[derive(Clone)]
struct Sound([Arc<[i16]>; RATES_HZ.len()]);

impl Sound {
    fn new(rate_hz: u32, pcm: &[i16]) -> Self {
        Self(RATES_HZ.map(|wanted| {
            if wanted == rate_hz {
                return pcm.into();
            }
            let mut out = Vec::with_capacity(pcm.len() * 2);
            Resampler::new(rate_hz, wanted).process(pcm, &mut out);
            out.into()
        }))
    }

    fn at(&self, rate_hz: u32) -> Option<Arc<[i16]>> {
        let place = RATES_HZ.iter().position(|rate| *rate == rate_hz)?;
        Some(Arc::clone(&self.0[place]))
    }
}

/// Every prompt and tone of a worker.
pub struct Prompts {
    sounds: HashMap<(&'static str, &'static str), Sound>,
    tone: [Arc<[i16]>; RATES_HZ.len()],
}

impl Prompts {
    /// Loads the prompts that we bring along; a file `<language>/<name>.wav` in `directory` takes the place of the one
    /// of that name.
    ///
    /// # Errors
    /// A file that is there and cannot be used.
    pub fn load(directory: Option<&Path>) -> Result<Self, PromptError> {
        let mut sounds = HashMap::new();
        for tag in LANGUAGES {
            for (name, file) in postern_mailbox::language(tag).recordings() {
                let path = directory.map(|directory| directory.join(tag).join(format!("{name}.wav")));
                let replaced = path.filter(|path| path.exists());
                let sound = match replaced {
                    Some(path) => {
                        let bytes =
                            std::fs::read(&path).map_err(|source| PromptError::File { path: path.clone(), source })?;
                        sound_of(&bytes, &path)?
                    }
                    None => sound_of(file, Path::new(&format!("{tag}/{name}.wav")))?,
                };
                sounds.insert((tag, *name), sound);
            }
        }
        Ok(Self { sounds, tone: RATES_HZ.map(|rate| tone::beep(rate).into()) })
    }

    /// What a clip sounds like at a rate of 8000 or 16000; none for stored audio, for a prompt that is not there, and
    /// at any other rate.
    pub fn clip(&self, clip: &Clip, rate_hz: u32) -> Option<Arc<[i16]>> {
        match clip {
            Clip::Prompt(Prompt { language, name }) => self.sounds.get(&(*language, *name))?.at(rate_hz),
            Clip::Tone => {
                let place = RATES_HZ.iter().position(|rate| *rate == rate_hz)?;
                Some(Arc::clone(&self.tone[place]))
            }
            Clip::Pause(length) => {
                let millis = length.as_millis().min(u128::from(PAUSE_SECS_MAX) * 1000);
                Some(vec![0; (millis * u128::from(rate_hz) / 1000) as usize].into())
            }
            Clip::Audio(_) => None,
        }
    }
}

fn sound_of(file: &[u8], path: &Path) -> Result<Sound, PromptError> {
    let audio = wav::decode(file).map_err(|source| PromptError::Wav { path: path.to_owned(), source })?;
    if !RATES_HZ.contains(&audio.rate) {
        return Err(PromptError::Rate { path: path.to_owned(), rate_hz: audio.rate });
    }
    Ok(Sound::new(audio.rate, &audio.pcm))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn goodbye() -> Clip {
        Clip::Prompt(Prompt { language: "en", name: "goodbye" })
    }

    #[test]
    fn a_prompt_lasts_as_long_at_either_rate() {
        let prompts = Prompts::load(None).unwrap();
        let narrow = prompts.clip(&goodbye(), 8_000).unwrap();
        let wide = prompts.clip(&goodbye(), 16_000).unwrap();
        assert!(narrow.len() > 2_000 && wide.len().abs_diff(2 * narrow.len()) < 160, "{} {}", narrow.len(), wide.len());
        assert_eq!(prompts.clip(&goodbye(), 44_100), None);
        assert_eq!(prompts.clip(&Clip::Tone, 8_000).unwrap().len(), 4_000);
        assert_eq!(prompts.clip(&Clip::Pause(Duration::from_millis(250)), 16_000).unwrap().len(), 4_000);
    }

    #[test]
    fn a_recorded_prompt_takes_the_place_of_ours_and_a_bad_one_is_named() {
        let directory = std::env::temp_dir().join(format!("postern-prompts-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("en")).unwrap();
        let file = directory.join("en/goodbye.wav");
        std::fs::write(&file, wav::encode(8_000, &[7; 800]).unwrap()).unwrap();
        let prompts = Prompts::load(Some(&directory)).unwrap();
        assert_eq!(&*prompts.clip(&goodbye(), 8_000).unwrap(), &[7; 800]);
        std::fs::write(&file, b"noise").unwrap();
        let error = Prompts::load(Some(&directory)).err().unwrap().to_string();
        assert!(error.contains("en/goodbye.wav"), "{error}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
