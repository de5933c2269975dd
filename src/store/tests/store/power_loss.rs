//! A disk that forgets what was not synced: what was confirmed is there when power comes back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::support::*;
use jiff::Timestamp;
use postern_mailbox::{AudioId, Finished, MailboxId, Purpose, Store, StoreError};
use postern_store::{Appending, Files, SqliteStore};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const SEEDS: u64 = 200;
/// Stores at once.
const LANES: u64 = 8;

/// Files in memory: as every process sees them, and as the disk holds them.
#[derive(Default)]
struct Disk {
    /// Contents by number; a name is given apart from it.
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    names_on_disk: BTreeMap<PathBuf, usize>,
    /// What is asked before power goes.
    left: u64,
    random: Option<ChaCha8Rng>,
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    on_disk: Vec<u8>,
    held: bool,
}

#[derive(Clone, Default)]
struct Forgetful(Arc<Mutex<Disk>>);

impl Forgetful {
    fn disk(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more thing is asked of the disk; after the last one, all fail.
    fn ask(&self) -> io::Result<std::sync::MutexGuard<'_, Disk>> {
        let mut disk = self.disk();
        disk.left = disk.left.saturating_sub(1);
        if disk.left == 0 { Err(io::Error::other("no power")) } else { Ok(disk) }
    }

    /// Power is lost after so many requests.
    fn lose_power_after(&self, requests: u64, seed: u64) {
        let mut disk = self.disk();
        disk.left = requests;
        disk.random = Some(ChaCha8Rng::seed_from_u64(seed));
    }

    /// Power comes back. Of names that were not synced some may have reached the disk, and of bytes a part, or zeros
    /// in their place, as file systems do.
    fn restart(&self) {
        let mut disk = self.disk();
        let mut random = disk.random.take().unwrap();
        disk.left = u64::MAX;
        let changed: Vec<_> = disk.names.keys().chain(disk.names_on_disk.keys()).cloned().collect();
        for name in changed {
            if random.next_u32().is_multiple_of(2) {
                match disk.names.get(&name).copied() {
                    Some(file) => disk.names_on_disk.insert(name, file),
                    None => disk.names_on_disk.remove(&name),
                };
            }
        }
        disk.names = disk.names_on_disk.clone();
        for file in &mut disk.files {
            file.held = false;
            let synced = file.on_disk.len();
            if file.bytes.len() > synced {
                let kept = random.next_u64() as usize % (file.bytes.len() - synced + 1);
                let zeros = random.next_u32().is_multiple_of(3);
                let tail: Vec<u8> =
                    file.bytes[synced..synced + kept].iter().map(|b| if zeros { 0 } else { *b }).collect();
                file.on_disk.extend(tail);
            }
            file.bytes = file.on_disk.clone();
        }
    }
}

struct Open {
    disk: Forgetful,
    file: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.disk.disk().files[self.file].held = false;
    }
}

impl Appending for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.ask()?.files[self.file].bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk.ask()?;
        let file = &mut disk.files[self.file];
        file.on_disk = file.bytes.clone();
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.disk.ask()?.files[self.file].bytes.truncate(length as usize);
        Ok(())
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Files for Forgetful {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Appending>> {
        let mut disk = self.ask()?;
        let file = disk.files.len();
        disk.files.push(Content { held: true, ..Content::default() });
        assert_eq!(disk.names.insert(path.to_owned(), file), None, "a name is new");
        Ok(Box::new(Open { disk: self.clone(), file }))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Appending>>> {
        let mut disk = self.ask()?;
        let file = *disk.names.get(path).ok_or_else(missing)?;
        if std::mem::replace(&mut disk.files[file].held, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Open { disk: self.clone(), file })))
    }

    fn read_at(&self, path: &Path, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let disk = self.ask()?;
        let content = &disk.files[*disk.names.get(path).ok_or_else(missing)?].bytes;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask()?.names.remove(path).map(|_| ()).ok_or_else(missing)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.ask()?;
        let file = disk.names.remove(from).ok_or_else(missing)?;
        disk.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        self.ask().map(drop)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = self.ask()?;
        Ok(disk.names.keys().filter(|path| path.parent() == Some(directory)).cloned().collect())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut disk = self.ask()?;
        let within = |path: &PathBuf| path.parent() == Some(directory);
        let now: Vec<_> = disk.names.iter().filter(|(path, _)| within(path)).map(|(p, f)| (p.clone(), *f)).collect();
        disk.names_on_disk.retain(|path, _| !within(path));
        disk.names_on_disk.extend(now);
        Ok(())
    }
}

async fn open_on(disk: &Forgetful, directory: &Path) -> Result<SqliteStore, postern_store::OpenError> {
    let mut options = options(directory);
    options.files = Arc::new(disk.clone());
    SqliteStore::open(options).await.map(|(store, _)| store)
}

/// What was confirmed before power went.
#[derive(Default)]
struct Confirmed {
    saved: Vec<(postern_mailbox::MessageId, u64)>,
}

/// Leaves messages until the disk says no more.
async fn leave_messages(store: &SqliteStore, mailbox: MailboxId, confirmed: &mut Confirmed) -> Result<(), StoreError> {
    loop {
        let mut beginning = deposit(mailbox);
        if let Purpose::Deposit { deposits_max, .. } = &mut beginning.purpose {
            *deposits_max = u32::MAX;
        }
        let began = store.begin_recording(beginning).await?;
        let postern_mailbox::Began::Recording { recording, .. } = began else { panic!("{began:?}") };
        let parts = 25 + confirmed.saved.len() as u64;
        for part in 0..parts {
            store.append_audio(recording, &samples(part * 800, 800)).await?;
        }
        let finishing = postern_mailbox::Finishing { recording, audio_min: Duration::from_secs(1) };
        match store.finish_recording(finishing).await? {
            Finished::Message { message, .. } => confirmed.saved.push((message, parts * 800)),
            other => panic!("{other:?}"),
        }
    }
}

async fn lose_power(seed: u64, directory: &Path) -> (usize, usize) {
    let disk = Forgetful::default();
    disk.lose_power_after(u64::MAX, seed);
    let store = open_on(&disk, directory).await.unwrap();
    let mailbox = store.add_mailbox(alice()).await.unwrap();
    disk.lose_power_after(2 + ChaCha8Rng::seed_from_u64(seed).next_u64() % 200, seed);
    let mut confirmed = Confirmed::default();
    leave_messages(&store, mailbox, &mut confirmed).await.expect_err("power is lost some time");
    drop(store);
    disk.restart();

    let store = open_on(&disk, directory).await.unwrap();
    let listed = store.list_messages(mailbox).await.unwrap();
    for (saved, length) in &confirmed.saved {
        let message = listed.iter().find(|message| message.id == *saved).expect("a confirmed message is there");
        assert!(!message.partial, "and whole");
        assert_eq!(heard(&store, AudioId::Message(*saved)).await, *length);
    }
    let mut recovered = 0;
    for message in &listed {
        let samples = heard(&store, AudioId::Message(message.id)).await;
        assert!(samples >= u64::from(RATE), "no message is shorter than one may be");
        assert_eq!(message.length, postern_mailbox::audio_length(samples, RATE), "its length is what can be heard");
        recovered += usize::from(message.partial);
    }
    let names = disk.disk().names.len();
    assert_eq!(names, listed.len(), "no file is without its message");
    assert_eq!(store.forget_deleted(Timestamp::now()).await, Ok(0));
    (confirmed.saved.len(), recovered)
}

#[test]
fn what_was_confirmed_survives_power_loss_at_any_request() {
    let (saved, recovered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let (saved, recovered) = (&saved, &recovered);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                for seed in (lane..SEEDS).step_by(LANES as usize) {
                    let scratch = Scratch::new();
                    println!("seed {seed}");
                    let (more, partial) = runtime.block_on(lose_power(seed, &scratch.0));
                    saved.fetch_add(more, Ordering::Relaxed);
                    recovered.fetch_add(partial, Ordering::Relaxed);
                }
            });
        }
    });
    let (saved, recovered) = (saved.into_inner(), recovered.into_inner());
    assert!(saved > 100, "power is lost after messages were confirmed, too: {saved}");
    assert!(recovered > 5, "and in the middle of some: {recovered}");
}
