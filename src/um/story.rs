//! Asks a worker what it knows of calls.

use std::io;
use std::path::Path;

use postern_slots::limits::{RECENT_CALLS_MAX, STORY_BYTES_MAX};
use postern_slots::{CallKey, FromWorker, Lines, RecentCall, Slot, ToWorker, WireError, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::limits::{READ_BYTES, STORY_TIME};

/// Names our question on a connection that carries no other.
const QUESTION: u64 = 1;

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
    let question = ToWorker::Story { question: QUESTION, call: CallKey::of(call_id) };
    let mut story = String::new();
    let on_part = |message| match message {
        FromWorker::Story { question: QUESTION, text, more } => {
            story.push_str(&text);
            Some((more, story.len() > STORY_BYTES_MAX))
        }
        _ => None,
    };
    ask(runtime_directory, slot, &question, on_part).await?;
    Ok(story)
}

/// The calls that the worker in a slot can tell a story of, the youngest first.
///
/// # Errors
/// See [`StoryError`].
pub async fn ask_recent_calls(runtime_directory: &Path, slot: Slot) -> Result<Vec<RecentCall>, StoryError> {
    let mut known = Vec::new();
    let on_part = |message| match message {
        FromWorker::RecentCalls { question: QUESTION, calls, more } => {
            known.extend(calls);
            Some((more, known.len() > RECENT_CALLS_MAX))
        }
        _ => None,
    };
    ask(runtime_directory, slot, &ToWorker::RecentCalls { question: QUESTION }, on_part).await?;
    Ok(known)
}

/// Asks, and gives each message to `on_part`, which says of a part of the answer whether there are more, and whether it is
/// too much by now.
async fn ask(
    runtime_directory: &Path,
    slot: Slot,
    question: &ToWorker,
    mut on_part: impl FnMut(FromWorker) -> Option<(bool, bool)>,
) -> Result<(), StoryError> {
    let nobody = |error| StoryError::Nobody { slot, error };
    let wire = |error| StoryError::Wire { slot, error };
    let answered = async {
        let mut stream = UnixStream::connect(runtime_directory.join(slot.socket_name())).await.map_err(nobody)?;
        stream.write_all(&encode(question).map_err(wire)?).await.map_err(nobody)?;
        let (mut lines, mut buffer) = (Lines::default(), vec![0; READ_BYTES]);
        loop {
            let read = stream.read(&mut buffer).await.map_err(nobody)?;
            if read == 0 {
                return Err(StoryError::Silent(slot));
            }
            for message in lines.push(&buffer[..read]).map_err(wire)? {
                match on_part(message) {
                    Some((_, true)) => return Err(wire(WireError::TooLong)),
                    Some((false, false)) => return Ok(()),
                    Some((true, false)) | None => {}
                }
            }
        }
    };
    tokio::time::timeout(STORY_TIME, answered).await.unwrap_or(Err(StoryError::Silent(slot)))
}
