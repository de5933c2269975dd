//! A store with a mailbox that wants mail, and a carrier that does what it is told.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use postern_mail::{Carrier, Composed, Event, Failure, Outbox, Sender, Settings};
use postern_mailbox::{
    Began, Beginning, Caller, Finished, Finishing, MailboxId, MessageId, OwnQuota, Pin, PlanName, Purpose, Quota, Store,
};
use postern_store::{MailSettings, NewMailbox, Options, PinKey, SqliteStore};

pub const RATE: u32 = 8000;

/// A directory that goes when it is dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("postern-mail-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Takes what it is told to take, and keeps it.
#[derive(Default)]
pub struct Fake {
    /// What it says next; when there is nothing left, it takes.
    pub says: Mutex<VecDeque<Result<(), Failure>>>,
    pub taken: Mutex<Vec<Vec<u8>>>,
    pub shown: Mutex<Vec<Vec<u8>>>,
}

#[async_trait]
impl Carrier for Fake {
    async fn carry(&self, letter: &Composed) -> Result<(), Failure> {
        self.shown.lock().unwrap().push(letter.bytes.to_vec());
        let said = self.says.lock().unwrap().pop_front().unwrap_or(Ok(()));
        if said.is_ok() {
            self.taken.lock().unwrap().push(letter.bytes.to_vec());
        }
        said
    }
}

/// A mailbox of Alice in Berlin, and a sender of its letters whose clock is ours.
pub struct House {
    pub store: Arc<SqliteStore>,
    pub alice: MailboxId,
    pub carrier: Arc<Fake>,
    pub outbox: Outbox,
    pub now: Timestamp,
    pub scratch: Scratch,
}

impl House {
    pub async fn new() -> Self {
        Self::owned_by("Alice Ng").await
    }

    pub async fn owned_by(name: &str) -> Self {
        let scratch = Scratch::new();
        let key = PinKey::new(b"a key of tests, long enough".to_vec()).unwrap();
        let options = Options {
            sends_letters: true,
            ..Options::new(scratch.0.join("postern.db"), scratch.0.join("recordings"), key)
        };
        let store = Arc::new(SqliteStore::open(options).await.unwrap().0);
        let alice = NewMailbox {
            plan: PlanName("office".into()),
            addresses: vec!["1001".parse().unwrap()],
            name: name.into(),
            language: "en-US".into(),
            time_zone: "Europe/Berlin".into(),
            operator: None,
            quota: OwnQuota::default(),
            mail: MailSettings { address: Some("alice@example.test".parse().unwrap()), missed_calls: true },
            pin: Pin::new("739182").unwrap(),
            must_change: false,
        };
        let alice = store.add_mailbox(alice).await.unwrap();
        let carrier = Arc::new(Fake::default());
        let outbox = Outbox::new(Arc::clone(&store), settings(carrier.clone(), &scratch));
        // A little ahead of the store's own clock, so that whatever it queues is due.
        let now = Timestamp::now() + SignedDuration::from_secs(2);
        Self { store, alice, carrier, outbox, now, scratch }
    }

    /// Leaves a message of a second.
    pub async fn message(&self, caller: Caller) -> MessageId {
        let samples: Vec<i16> = (0..RATE as i32).map(|at| ((at * 37) % 20_011 - 10_000) as i16).collect();
        self.message_of(caller, &samples).await
    }

    pub async fn message_of(&self, caller: Caller, samples: &[i16]) -> MessageId {
        let quota = Quota { messages: 1000, audio_secs: 360_000 };
        let purpose = Purpose::Deposit { caller, quota, deposits_max: 3, replaces: None };
        // 2026-03-29 00:30 UTC: half an hour before Berlin's summer time.
        let begun = Timestamp::from_second(1_774_744_200).unwrap();
        let beginning = Beginning { mailbox: self.alice, purpose, rate_hz: RATE, begun };
        let Began::Recording { recording, .. } = self.store.begin_recording(beginning).await.unwrap() else {
            panic!("a recording begins")
        };
        for piece in samples.chunks(RATE as usize) {
            self.store.append_audio(recording, piece).await.unwrap();
        }
        let finishing = Finishing { recording, audio_min: Duration::from_secs(1) };
        match self.store.finish_recording(finishing).await.unwrap() {
            Finished::Message { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    pub fn will_say(&self, said: impl IntoIterator<Item = Result<(), Failure>>) {
        self.carrier.says.lock().unwrap().extend(said);
    }

    pub fn pass(&mut self, secs: i64) {
        self.now += SignedDuration::from_secs(secs);
    }

    /// Does what is to do now.
    pub async fn work(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.outbox.turn(self.now).await.unwrap() {
            events.push(event);
            assert!(events.len() < 100, "it never ends: {events:?}");
        }
        events
    }

    pub fn taken(&self) -> Vec<String> {
        let taken = self.carrier.taken.lock().unwrap();
        taken.iter().map(|bytes| String::from_utf8(bytes.clone()).unwrap()).collect()
    }
}

pub fn settings(carrier: Arc<dyn Carrier>, scratch: &Scratch) -> Settings {
    let sender = Sender { address: "voicemail@pbx.example.test".parse().unwrap() };
    Settings { sender, carrier, queue: scratch.0.join("mail") }
}

pub fn bob() -> Caller {
    Caller { address: Some("+15551234567".into()), name: Some("Bob Okafor".into()) }
}
