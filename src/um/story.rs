//! Asks a worker what it knows of a call.

use std::io;
use std::path::Path;

use postern_slots::{CallKey, FromWorker, Lines, Slot, ToWorker, WireError, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::limits::{READ_BYTES, STORY_TIME};

/// Why a worker told nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    #[error("no worker listens in slot {slot}: {error}")]
    Nobody { slot: Slot, error: io::Error },
    #[error("the worker in slot {0} does not answer")]
    Silent(Slot),
    #[error("the worker in slot {slot} cannot be understood: {error}")]
    Wire { slot: Slot, error: WireError },
}

/// What the worker in a slot knows of the call with this Call-ID; empty when it knows nothing. `runtime_directory` is that
/// of its UM service, which need not run.
///
/// # Errors
/// See [`StoryError`].
pub async fn ask_story(runtime_directory: &Path, slot: Slot, call_id: &str) -> Result<String, StoryError> {
    let asked = tokio::time::timeout(STORY_TIME, ask(runtime_directory, slot, call_id));
    asked.await.unwrap_or(Err(StoryError::Silent(slot)))
}

async fn ask(runtime_directory: &Path, slot: Slot, call_id: &str) -> Result<String, StoryError> {
    let nobody = |error| StoryError::Nobody { slot, error };
    let wire = |error| StoryError::Wire { slot, error };
    let mut stream = UnixStream::connect(runtime_directory.join(slot.socket_name())).await.map_err(nobody)?;
    let question = 1;
    let line = encode(&ToWorker::Story { question, call: CallKey::of(call_id) }).map_err(wire)?;
    stream.write_all(&line).await.map_err(nobody)?;
    let (mut lines, mut buffer, mut story) = (Lines::default(), vec![0; READ_BYTES], String::new());
    loop {
        let read = stream.read(&mut buffer).await.map_err(nobody)?;
        if read == 0 {
            return Err(StoryError::Silent(slot));
        }
        for message in lines.push(&buffer[..read]).map_err(wire)? {
            if let FromWorker::Story { question: of, text, more } = message
                && of == question
            {
                story.push_str(&text);
                if !more {
                    return Ok(story);
                }
                if story.len() > postern_slots::limits::STORY_BYTES_MAX {
                    return Err(wire(WireError::TooLong));
                }
            }
        }
    }
}
