//! Stored audio as a WAV file, as it leaves the house.

use postern_mailbox::{AudioId, Store, StoreError};
use postern_media::wav::{self, WavError};

/// Samples asked of the store at once: a minute at its usual rate.
const SAMPLES_AT_ONCE: usize = 8_000 * 60;

/// Why there is no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Wav(#[from] WavError),
    /// The file would be larger than its taker takes.
    #[error("more audio than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
}

/// The audio as a WAV file (16 bits, mono, at the rate it was recorded with).
///
/// # Errors
/// It cannot be read, or has more than `bytes_max` bytes of samples.
pub async fn wav_of(store: &dyn Store, audio: AudioId, bytes_max: usize) -> Result<Vec<u8>, AudioError> {
    let mut samples = Vec::new();
    loop {
        let piece = store.read_audio(audio, samples.len() as u64, SAMPLES_AT_ONCE).await?;
        let is_end = piece.is_end || piece.samples.is_empty();
        samples.extend_from_slice(&piece.samples);
        if samples.len() * size_of::<i16>() > bytes_max {
            return Err(AudioError::TooLong { bytes_max });
        }
        if is_end {
            return Ok(wav::encode(piece.rate_hz, &samples)?);
        }
    }
}
