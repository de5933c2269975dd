//! The one who sends letters: claims, renders, hands over, settles.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use postern_mailbox::{LetterId, StoreError};
use postern_store::{Blame, Claimed, Letter, LetterCounts, LetterKind, SqliteStore, Wanted};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::backoff::{backoff, pause};
use crate::compose::{Composed, Sender};
use crate::dead_letters::DeadLetters;
use crate::limits::{HOLD, LETTERS_PER_TURN, LOOK_INTERVAL, PAUSE_MAX, TEND_INTERVAL};
use crate::server::{Carrier, Failure};

/// Why a letter that was never taken is given up.
const EXPIRED: &str = "nobody took it in its time";

/// With what letters are sent; a reload may change it.
#[derive(Clone)]
pub struct Settings {
    pub sender: Sender,
    pub carrier: Arc<dyn Carrier>,
    /// Directory of the queue's files: of letters that were given up.
    pub queue: PathBuf,
}

/// What happened to a letter, or to sending as such.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Sent {
        letter: LetterId,
        kind: LetterKind,
    },
    Delayed {
        letter: LetterId,
        kind: LetterKind,
        blame: Blame,
        until: Timestamp,
        why: String,
    },
    GivenUp {
        letter: LetterId,
        kind: LetterKind,
        why: String,
    },
    /// There was nothing to tell any more.
    Dropped {
        kind: LetterKind,
    },
    /// The store cannot be asked, or not told; nothing is sent meanwhile.
    StoreFailed(StoreError),
    /// The folder of dead letters cannot be written; letters that are given up are listed all the same.
    FolderFailed {
        why: String,
    },
    Counts(LetterCounts),
}

/// A sender of letters. Two of them never send the same one.
pub struct Outbox {
    store: Arc<SqliteStore>,
    settings: Settings,
    /// How often the server failed in a row.
    failures: u32,
    /// No letter is tried before.
    paused_until: Option<Timestamp>,
}

impl Outbox {
    pub fn new(store: Arc<SqliteStore>, settings: Settings) -> Self {
        Self { store, settings, failures: 0, paused_until: None }
    }

    /// Takes other settings; a server that was changed is tried at once.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
        self.paused_until = None;
    }

    /// Does one letter, if there is one to do: gives it up when its time is over, sends it when it is due and the server is
    /// not to be left alone. None: there is nothing to do now.
    ///
    /// # Errors
    /// The store cannot. A letter that was claimed becomes free by itself; it may be sent twice.
    pub async fn turn(&mut self, now: Timestamp) -> Result<Option<Event>, StoreError> {
        if let Some(claimed) = self.store.claim_letter(now, HOLD, Wanted::Expired).await? {
            return match claimed {
                Claimed::Void(kind) => Ok(Some(Event::Dropped { kind })),
                Claimed::Letter(letter) => {
                    let why = letter.last_error.clone().unwrap_or_else(|| EXPIRED.to_owned());
                    self.give_up(&letter, None, why).await.map(Some)
                }
            };
        }
        // A pause far ahead was begun before the clock was set back.
        let longest = now.saturating_add(SignedDuration::try_from(PAUSE_MAX).unwrap_or_default()).unwrap_or(now);
        if self.paused_until.is_some_and(|until| now < until && until <= longest) {
            return Ok(None);
        }
        match self.store.claim_letter(now, HOLD, Wanted::Due).await? {
            None => Ok(None),
            Some(Claimed::Void(kind)) => Ok(Some(Event::Dropped { kind })),
            Some(Claimed::Letter(letter)) => self.send(&letter, now).await.map(Some),
        }
    }

    async fn send(&mut self, letter: &Letter, now: Timestamp) -> Result<Event, StoreError> {
        let composed = match self.settings.sender.compose(letter, &*self.store).await {
            Ok(composed) => composed,
            Err(error) => return self.delay(letter, now, Blame::Letter, error.to_string()).await,
        };
        match self.settings.carrier.carry(&composed).await {
            Ok(()) => {
                self.store.letter_sent(letter).await?;
                if self.failures > 0 {
                    (self.failures, self.paused_until) = (0, None);
                    self.store.hasten_letters(now).await?;
                }
                Ok(Event::Sent { letter: letter.id, kind: letter.news.kind() })
            }
            Err(Failure::Delayed { blame, why }) => {
                if blame == Blame::Server {
                    self.failures = self.failures.saturating_add(1);
                    self.paused_until = Some(after(now, pause(self.failures)));
                }
                self.delay(letter, now, blame, why).await
            }
            Err(Failure::Refused { why }) => self.give_up(letter, Some(composed), why).await,
        }
    }

    async fn delay(&self, letter: &Letter, now: Timestamp, blame: Blame, why: String) -> Result<Event, StoreError> {
        let mut random = [0; 4];
        // Without randomness letters are tried a little early.
        let _ = getrandom::fill(&mut random);
        // A letter is given up when its time is over, not when another attempt would be due.
        let until = after(now, backoff(letter.attempts, u32::from_le_bytes(random))).min(letter.expires.max(now));
        self.store.letter_delayed(letter, until, blame, &why).await?;
        Ok(Event::Delayed { letter: letter.id, kind: letter.news.kind(), blame, until, why })
    }

    /// Of a letter with a PIN no file is kept.
    async fn give_up(&self, letter: &Letter, composed: Option<Composed>, why: String) -> Result<Event, StoreError> {
        let kind = letter.news.kind();
        if kind != LetterKind::PinReset {
            let composed = match composed {
                Some(composed) => Some(composed),
                None => self.settings.sender.compose(letter, &*self.store).await.ok(),
            };
            let (folder, id) = (self.folder(), letter.id);
            if let Some(composed) = composed
                && let Err(error) = waiting(move || folder.keep(id, &composed.bytes)).await
            {
                // Better tried again than listed without its text: the disk may have room then.
                let now = Timestamp::now();
                let why = format!("{} cannot be written: {error}", self.folder().path(id).display());
                self.store.letter_delayed(letter, after(now, PAUSE_MAX), Blame::Letter, &why).await?;
                return Ok(Event::FolderFailed { why });
            }
        }
        self.store.letter_dead(letter, &why).await?;
        Ok(Event::GivenUp { letter: letter.id, kind, why })
    }

    /// Forgets what is old, in the store and in the folder of dead letters.
    ///
    /// # Errors
    /// The store cannot.
    pub async fn tend(&self, now: Timestamp) -> Result<Option<Event>, StoreError> {
        self.store.tend_letters(now).await?;
        let letters = self.store.letters().await?;
        let dead: HashSet<LetterId> = letters.iter().filter(|letter| letter.is_dead).map(|letter| letter.id).collect();
        let folder = self.folder();
        let swept = waiting(move || folder.sweep(&dead)).await;
        Ok(swept.err().map(|error| Event::FolderFailed { why: error.to_string() }))
    }

    fn folder(&self) -> DeadLetters {
        DeadLetters::of_queue(&self.settings.queue)
    }
}

/// Sends letters for as long as there are settings to come, and tells what happens to `on_event`. No settings: nothing is
/// sent until there are some.
pub async fn run(
    store: Arc<SqliteStore>,
    mut settings: watch::Receiver<Option<Settings>>,
    mut on_event: impl FnMut(Event),
) {
    let mut outbox: Option<Outbox> = None;
    let mut tended: Option<Instant> = None;
    loop {
        let present = settings.borrow_and_update().clone();
        match (present, &mut outbox) {
            (None, _) => outbox = None,
            (Some(settings), Some(outbox)) => outbox.set(settings),
            (Some(settings), None) => outbox = Some(Outbox::new(Arc::clone(&store), settings)),
        }
        loop {
            match work(&store, outbox.as_mut(), &mut tended, &mut on_event).await {
                Ok(()) => {}
                Err(error) => on_event(Event::StoreFailed(error)),
            }
            tokio::select! {
                changed = settings.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = sleep(LOOK_INTERVAL) => {}
            }
        }
    }
}

/// What is to do now.
async fn work(
    store: &SqliteStore,
    outbox: Option<&mut Outbox>,
    tended: &mut Option<Instant>,
    on_event: &mut impl FnMut(Event),
) -> Result<(), StoreError> {
    if let Some(outbox) = outbox {
        if tended.is_none_or(|at| at.elapsed() >= TEND_INTERVAL) {
            *tended = Some(Instant::now());
            outbox.tend(Timestamp::now()).await?.into_iter().for_each(&mut *on_event);
        }
        for _ in 0..LETTERS_PER_TURN {
            let Some(event) = outbox.turn(Timestamp::now()).await? else { break };
            on_event(event);
        }
    }
    on_event(Event::Counts(store.letter_counts().await?));
    Ok(())
}

async fn waiting<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn after(now: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| now.checked_add(time).ok()).unwrap_or(now)
}
