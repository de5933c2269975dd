//! A store in a directory of its own, and recordings whose every sample can be told.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use postern_mailbox::{
    AudioId, Began, Beginning, Caller, Finished, Finishing, MailboxId, OwnQuota, Pin, PlanName, Purpose, Quota,
    RecordingId, Store,
};
use postern_store::{MailSettings, NewMailbox, Options, PinKey, SqliteStore};

pub const RATE: u32 = 8000;

/// A directory that goes when it is dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("postern-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn options(directory: &Path) -> Options {
    let key = PinKey::new(b"a key of tests, long enough".to_vec()).unwrap();
    Options::new(directory.join("postern.db"), directory.join("recordings"), key)
}

pub async fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(options(directory)).await.unwrap().0
}

pub fn pin(digits: &str) -> Pin {
    Pin::new(digits).unwrap()
}

pub fn plan() -> PlanName {
    PlanName("office".into())
}

pub fn alice() -> NewMailbox {
    NewMailbox {
        plan: plan(),
        addresses: vec!["1001".parse().unwrap(), "sip:alice@example.test".parse().unwrap()],
        name: "Alice Ng".into(),
        language: "en".into(),
        time_zone: "Europe/Berlin".into(),
        operator: None,
        quota: OwnQuota::default(),
        mail: MailSettings::default(),
        pin: pin("739182"),
        must_change: false,
    }
}

pub fn deposit(mailbox: MailboxId) -> Beginning {
    Beginning {
        mailbox,
        purpose: Purpose::Deposit {
            caller: Caller { address: Some("+15551234567".into()), name: None },
            quota: Quota { messages: 10_000, audio_secs: 360_000 },
            deposits_max: 3,
            replaces: None,
        },
        rate_hz: RATE,
        begun: Timestamp::now(),
    }
}

pub async fn begin(store: &SqliteStore, beginning: Beginning) -> RecordingId {
    match store.begin_recording(beginning).await.unwrap() {
        Began::Recording { recording, .. } => recording,
        refused => panic!("{refused:?}"),
    }
}

/// The sample at a place of every recording of these tests: no stretch of it repeats soon.
pub fn sample(at: u64) -> i16 {
    (at.wrapping_mul(2_654_435_761) >> 7) as i16
}

pub fn samples(from: u64, count: usize) -> Vec<i16> {
    (from..from + count as u64).map(sample).collect()
}

pub async fn finish(store: &SqliteStore, recording: RecordingId) -> Finished {
    store.finish_recording(Finishing { recording, audio_min: Duration::from_secs(1) }).await.unwrap()
}

/// All samples of a recording, read as a player does; every one must be the right one.
pub async fn heard(store: &SqliteStore, audio: AudioId) -> u64 {
    let mut from = 0;
    loop {
        let audio = store.read_audio(audio, from, RATE as usize).await.unwrap();
        assert_eq!(audio.rate_hz, RATE);
        assert_eq!(audio.samples, samples(from, audio.samples.len()), "from sample {from} on");
        from += audio.samples.len() as u64;
        if audio.is_end {
            return from;
        }
        assert!(!audio.samples.is_empty(), "a reading that is not the last one brings samples");
    }
}
