//! The threads that write recordings. A recording belongs to one of them from its beginning to its end; nothing here
//! runs on a thread that carries media or answers signalling.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use postern_mailbox::{RecordingId, StoreError};
use tokio::sync::oneshot;

use crate::error::{Fault, OpenError};
use crate::files::{Appending, Files};
use crate::frames::{Header, Place, encode_frame};
use crate::limits;

/// What a recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length {
    pub(crate) samples: u64,
    pub(crate) rate_hz: u32,
}

impl Length {
    pub(crate) fn duration(self) -> Duration {
        postern_mailbox::audio_length(self.samples, self.rate_hz)
    }
}

type Answer<T> = oneshot::Sender<Result<T, Fault>>;

enum Command {
    Begin(RecordingId, Header, Answer<()>),
    Append(RecordingId, Vec<i16>, Answer<()>),
    /// Sync, and say how long it is. The lock stays until [`Command::Close`].
    Finish(RecordingId, Answer<Length>),
    /// Give up the lock.
    Close(RecordingId, Answer<()>),
}

/// All recorder threads. They end when this is dropped.
pub(crate) struct Recorders {
    queues: Vec<SyncSender<Command>>,
}

impl Recorders {
    pub(crate) fn start(files: &Arc<dyn Files>, directory: &Arc<PathBuf>) -> Result<Self, OpenError> {
        let queues = (0..limits::RECORDERS).map(|number| {
            let (queue, commands) = sync_channel(limits::RECORDER_QUEUE);
            let recorder = Recorder {
                files: Arc::clone(files),
                directory: Arc::clone(directory),
                open: HashMap::new(),
                frame: Vec::new(),
            };
            std::thread::Builder::new()
                .name(format!("recorder-{number}"))
                .spawn(move || recorder.run(&commands))
                .map_err(OpenError::Thread)?;
            Ok(queue)
        });
        Ok(Self { queues: queues.collect::<Result<_, _>>()? })
    }

    pub(crate) async fn begin(&self, id: RecordingId, header: Header) -> Result<(), Fault> {
        self.ask(id, |answer| Command::Begin(id, header, answer)).await
    }

    pub(crate) async fn append(&self, id: RecordingId, samples: Vec<i16>) -> Result<(), Fault> {
        self.ask(id, |answer| Command::Append(id, samples, answer)).await
    }

    pub(crate) async fn finish(&self, id: RecordingId) -> Result<Length, Fault> {
        self.ask(id, |answer| Command::Finish(id, answer)).await
    }

    pub(crate) async fn close(&self, id: RecordingId) -> Result<(), Fault> {
        self.ask(id, |answer| Command::Close(id, answer)).await
    }

    async fn ask<T>(&self, id: RecordingId, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Fault> {
        let (answer, told) = oneshot::channel();
        // The id's last byte is random.
        let queue = &self.queues[usize::from(id.to_bytes()[15]) % self.queues.len()];
        queue.try_send(command(answer)).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Unavailable,
        })?;
        told.await.map_err(|_| StoreError::Unavailable)?
    }
}

/// The path of a recording's file.
pub(crate) fn path_of(directory: &std::path::Path, id: [u8; 16]) -> PathBuf {
    directory.join(format!("{}.pvm", RecordingId::from_bytes(id)))
}

struct Recorder {
    files: Arc<dyn Files>,
    directory: Arc<PathBuf>,
    open: HashMap<RecordingId, Open>,
    /// Kept for its memory.
    frame: Vec<u8>,
}

struct Open {
    file: Box<dyn Appending>,
    rate_hz: u32,
    end: Place,
    /// When the oldest byte that is not synced was written.
    unsynced_since: Option<Instant>,
    /// A sync failed. The system forgets that once it has told it, so that a later sync would seem to succeed.
    failed: Option<io::ErrorKind>,
}

impl Open {
    /// Somebody is told of a failure when the recording is finished.
    fn sync(&mut self) {
        if let Err(error) = self.file.sync() {
            self.failed.get_or_insert(error.kind());
        }
        self.unsynced_since = None;
    }
}

impl Recorder {
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            match commands.recv_timeout(self.until_sync()) {
                Ok(command) => self.handle(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.sync_due();
        }
    }

    /// A caller that no longer waits for its answer is no reason to stop.
    fn handle(&mut self, command: Command) {
        match command {
            Command::Begin(id, header, answer) => drop(answer.send(self.begin(id, header))),
            Command::Append(id, samples, answer) => drop(answer.send(self.append(id, &samples))),
            Command::Finish(id, answer) => drop(answer.send(self.finish(id))),
            Command::Close(id, answer) => {
                self.open.remove(&id);
                drop(answer.send(Ok(())));
            }
        }
    }

    fn begin(&mut self, id: RecordingId, header: Header) -> Result<(), Fault> {
        if self.open.len() >= limits::RECORDINGS_PER_RECORDER {
            return Err(StoreError::Busy.into());
        }
        let Entry::Vacant(entry) = self.open.entry(id) else { return Err(StoreError::Unavailable.into()) };
        let path = path_of(&self.directory, id.to_bytes());
        let mut file = self.files.create(&path)?;
        let written = file
            .append(&header.encode())
            .and_then(|()| file.sync())
            .and_then(|()| self.files.sync_directory(&self.directory));
        if let Err(error) = written {
            // What cannot be removed either holds no audio: recovery removes it.
            let _ = self.files.remove(&path);
            return Err(error.into());
        }
        entry.insert(Open { file, rate_hz: header.rate_hz, end: Place::START, unsynced_since: None, failed: None });
        Ok(())
    }

    fn append(&mut self, id: RecordingId, samples: &[i16]) -> Result<(), Fault> {
        let open = self.open.get_mut(&id).ok_or(StoreError::Gone)?;
        for part in samples.chunks(limits::SAMPLES_APPENDED_MAX) {
            self.frame.clear();
            encode_frame(open.end.sample, part, &mut self.frame);
            if let Err(error) = open.file.append(&self.frame) {
                // Half a frame would hide what a later append adds. If cutting fails too, the reader stops there.
                let _ = open.file.truncate(open.end.offset);
                return Err(error.into());
            }
            open.end.sample += part.len() as u64;
            open.end.offset += self.frame.len() as u64;
            open.unsynced_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn finish(&mut self, id: RecordingId) -> Result<Length, Fault> {
        let open = self.open.get_mut(&id).ok_or(StoreError::Gone)?;
        open.sync();
        if let Some(kind) = open.failed {
            return Err(io::Error::from(kind).into());
        }
        Ok(Length { samples: open.end.sample, rate_hz: open.rate_hz })
    }

    /// How long nothing needs to be synced.
    fn until_sync(&self) -> Duration {
        let oldest = self.open.values().filter_map(|open| open.unsynced_since).min();
        oldest.map_or(Duration::from_secs(3600), |since| limits::SYNC_AFTER.saturating_sub(since.elapsed()))
    }

    fn sync_due(&mut self) {
        for open in self.open.values_mut() {
            if open.unsynced_since.is_some_and(|since| since.elapsed() >= limits::SYNC_AFTER) {
                open.sync();
            }
        }
    }
}

/// Reads the length of a recording that nobody writes, up to its last whole frame.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when not even its header is whole.
pub(crate) fn measure(files: &dyn Files, path: &std::path::Path) -> io::Result<(Length, Place)> {
    let mut frames = crate::frames::Frames::open(files, path)?;
    while frames.next()?.is_some() {}
    let end = frames.place();
    Ok((Length { samples: end.sample, rate_hz: frames.header().rate_hz }, end))
}
