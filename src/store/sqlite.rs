//! The store itself: what it is opened with, and the trait, whose functions the other files do.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use postern_mailbox::{
    Address, Audio, AudioId, Began, Beginning, Caller, Finished, Finishing, GreetingInUse, Mailbox, MailboxId, Message,
    MessageId, MessageState, PinAttempt, PinChange, PinChanged, PinVerdict, PlanName, RecordingId, Store, StoreError,
};
use sqlx::sqlite::SqlitePool;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::audio::Places;
use crate::error::{Fault, OpenError};
use crate::files::{Files, SystemFiles};
use crate::hashing::Hashing;
use crate::limits;
use crate::passwords::Passwords;
use crate::pins::PinKey;
use crate::recorder::Recorders;
use crate::recovery::Recovered;
use crate::schema;

/// What a store is opened with.
pub struct Options {
    /// The database; made when it is not there.
    pub database: PathBuf,
    /// The directory of the recordings; made when it is not there.
    pub recordings: PathBuf,
    /// The key of the PINs.
    pub pin_key: PinKey,
    /// The disk under the recordings.
    pub files: Arc<dyn Files>,
    /// Somebody sends letters: they are queued. Otherwise none are, whatever owners want.
    pub sends_letters: bool,
}

impl Options {
    /// The system's own files, and no letters.
    pub fn new(database: impl Into<PathBuf>, recordings: impl Into<PathBuf>, pin_key: PinKey) -> Self {
        Self {
            database: database.into(),
            recordings: recordings.into(),
            pin_key,
            files: Arc::new(SystemFiles),
            sends_letters: false,
        }
    }
}

/// Mailboxes in one SQLite database, recordings in one directory. Any number of processes of one machine may have the
/// same one open.
pub struct SqliteStore {
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    pub(crate) recorders: Recorders,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) directory: Arc<PathBuf>,
    pub(crate) pin_key: PinKey,
    pub(crate) places: Arc<Mutex<Places>>,
    pub(crate) sends_letters: bool,
    questions: Semaphore,
    pub(crate) hashing: Hashing,
    pub(crate) passwords: Passwords,
}

impl SqliteStore {
    /// Opens a store, and recovers what nobody finished.
    ///
    /// # Errors
    /// The operator's: database or directory cannot be used.
    pub async fn open(options: Options) -> Result<(Self, Recovered), OpenError> {
        let (database, recordings) = (options.database.clone(), options.recordings.clone());
        let store = Self::open_beside(options).await?;
        let because = |source| OpenError::Recordings { path: recordings.clone(), source };
        let recovered = store.recover().await.map_err(|fault| match fault {
            Fault::Database(source) => OpenError::Database { path: database, source },
            Fault::Files(source) => because(source),
            Fault::Random(error) => OpenError::Random(error),
            Fault::Told(error) => because(io::Error::other(error)),
        })?;
        Ok((store, recovered))
    }

    /// Opens a store beside those who record into it, whose it is to recover what nobody finished.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_beside(options: Options) -> Result<Self, OpenError> {
        let because = |source| OpenError::Recordings { path: options.recordings.clone(), source };
        options.files.create_directory(&options.recordings).map_err(because)?;
        let directory = Arc::new(options.recordings.clone());
        let (writer, readers) = schema::open(&options.database).await?;
        Ok(Self {
            writer,
            readers,
            recorders: Recorders::start(&options.files, &directory)?,
            files: options.files,
            directory,
            hashing: Hashing::new(options.pin_key.clone(), limits::PINS_AT_ONCE),
            passwords: Passwords::new(options.pin_key.clone()),
            pin_key: options.pin_key,
            places: Arc::default(),
            sends_letters: options.sends_letters,
            questions: Semaphore::new(limits::QUESTIONS_MAX),
        })
    }

    /// Whether the store can be written to now: a row of the database and a file of the recordings.
    ///
    /// # Errors
    /// Why not.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        sqlx::query("UPDATE strangers SET attempts = attempts WHERE id = 1")
            .execute(&self.writer)
            .await
            .map_err(Fault::from)?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(Fault::from)?;
        let path = self.directory.join(format!("probe-{}", RecordingId::from_bytes(id)));
        self.blocking(move |files| {
            let probed = files.create(&path).and_then(|mut file| file.append(&[0; 4096]).and_then(|()| file.sync()));
            let removed = files.remove(&path);
            Ok(probed.and(removed)?)
        })
        .await?;
        Ok(())
    }

    /// A place among the questions, or the answer that there is none.
    pub(crate) fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.questions.try_acquire().map_err(|_| StoreError::Busy)
    }

    /// Hashes on a thread that may be kept busy.
    pub(crate) async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&PinKey) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        self.hashing.run(work).await
    }

    /// Uses files on a thread that may wait.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Files) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let files = Arc::clone(&self.files);
        tokio::task::spawn_blocking(move || work(&*files)).await.map_err(|_| StoreError::Unavailable)?
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn find_mailbox(&self, plan: &PlanName, address: &Address) -> Result<Option<Mailbox>, StoreError> {
        let _turn = self.turn()?;
        Ok(self.mailbox_at(plan, address).await?)
    }

    async fn verify_pin(&self, attempt: PinAttempt) -> Result<PinVerdict, StoreError> {
        let _turn = self.turn()?;
        Ok(self.judge_pin(attempt).await?)
    }

    async fn change_pin(&self, change: PinChange) -> Result<PinChanged, StoreError> {
        let _turn = self.turn()?;
        Ok(self.choose_pin(change).await?)
    }

    async fn begin_recording(&self, beginning: Beginning) -> Result<Began, StoreError> {
        let _turn = self.turn()?;
        Ok(self.begin(beginning).await?)
    }

    async fn append_audio(&self, recording: RecordingId, samples: &[i16]) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        Ok(self.recorders.append(recording, samples.to_vec()).await?)
    }

    async fn finish_recording(&self, finishing: Finishing) -> Result<Finished, StoreError> {
        let _turn = self.turn()?;
        Ok(self.finish(finishing).await?)
    }

    async fn discard_recording(&self, recording: RecordingId) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        Ok(self.discard(recording).await?)
    }

    async fn list_messages(&self, mailbox: MailboxId) -> Result<Vec<Message>, StoreError> {
        let _turn = self.turn()?;
        Ok(self.messages_of(mailbox).await?)
    }

    async fn set_message_state(
        &self,
        mailbox: MailboxId,
        message: MessageId,
        state: MessageState,
    ) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        Ok(self.move_message(mailbox, message, state).await?)
    }

    async fn note_missed_call(&self, mailbox: MailboxId, caller: Caller, at: Timestamp) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        Ok(self.queue_missed_call(mailbox, &caller, at).await?)
    }

    async fn use_greeting(&self, mailbox: MailboxId, greeting: GreetingInUse) -> Result<(), StoreError> {
        let _turn = self.turn()?;
        Ok(self.choose_greeting(mailbox, greeting).await?)
    }

    async fn read_audio(&self, audio: AudioId, from: u64, samples_max: usize) -> Result<Audio, StoreError> {
        let _turn = self.turn()?;
        Ok(self.samples(audio, from, samples_max).await?)
    }
}
