//! A process that records is killed at random moments: what it was told is kept is there.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::*;
use postern_mailbox::{AudioId, Finished, MailboxId, Purpose, Store};
use postern_store::SqliteStore;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const KILLS: u32 = 200;
/// Processes at once.
const LANES: u32 = 4;
/// Samples of an append: 100 ms.
const APPENDED: usize = RATE as usize / 10;
/// Tells the test program that it is the one to be killed: the directory of the store, and its mailbox.
const DIRECTORY: &str = "POSTERN_STORE_KILLED_IN";
const MAILBOX: &str = "POSTERN_STORE_KILLED_MAILBOX";

/// The process that is killed: records message after message, and says what it was told.
async fn record(directory: &str, mailbox: MailboxId) {
    let store = open(directory.as_ref()).await;
    loop {
        let mut beginning = deposit(mailbox);
        if let Purpose::Deposit { deposits_max, .. } = &mut beginning.purpose {
            *deposits_max = u32::MAX;
        }
        let recording = begin(&store, beginning).await;
        for part in 0..16 {
            let from = part * APPENDED as u64;
            store.append_audio(recording, &samples(from, APPENDED)).await.unwrap();
            println!("kept {recording} {}", from + APPENDED as u64);
        }
        let Finished::Message { message, .. } = finish(&store, recording).await else { panic!("too short") };
        println!("saved {message}");
    }
}

/// What a process said before it was killed.
#[derive(Default)]
struct Told {
    saved: Vec<String>,
    /// The recording that was under way, and its samples.
    kept: Option<(String, u64)>,
}

fn run_and_kill(directory: &str, mailbox: MailboxId, after: Duration) -> Told {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::what_a_killed_process_was_told_is_kept_is_there", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(MAILBOX, mailbox.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    // The moment counts from the first sign of life, so that a slow start does not eat it.
    let mut text = String::new();
    while !text.contains("kept") {
        assert!(output.read_line(&mut text).unwrap() > 0, "it records: {text}");
    }
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    output.read_to_string(&mut text).unwrap();
    let mut told = Told::default();
    // A line without its end was cut.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let mut words = line.split_whitespace().skip_while(|word| !matches!(*word, "kept" | "saved"));
        match (words.next(), words.next(), words.next()) {
            (Some("kept"), Some(id), Some(samples)) => told.kept = Some((id.into(), samples.parse().unwrap())),
            (Some("saved"), Some(id), None) => {
                told.saved.push(id.into());
                told.kept = None;
            }
            _ => {}
        }
    }
    told
}

/// Compares what is there with what was told; returns how many messages were recovered.
async fn judge(store: &SqliteStore, mailbox: MailboxId, told: &Told) -> u32 {
    let listed = store.list_messages(mailbox).await.unwrap();
    for saved in &told.saved {
        let message = listed.iter().find(|message| message.id.to_string() == *saved).expect("a saved message is there");
        assert!(!message.partial);
        assert_eq!(heard(store, AudioId::Message(message.id)).await, 16 * APPENDED as u64);
    }
    let Some((id, kept)) = &told.kept else { return 0 };
    match listed.iter().find(|message| message.id.to_string() == *id) {
        Some(message) => {
            assert!(heard(store, AudioId::Message(message.id)).await >= *kept, "no sample that was kept is lost");
            u32::from(message.partial)
        }
        None => {
            assert!(*kept < u64::from(RATE), "{kept} samples were kept, and there is no message");
            0
        }
    }
}

async fn lane(number: u32, recovered: &AtomicU32) {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let mailbox = store.add_mailbox(alice()).await.unwrap();
    drop(store);
    let mut random = ChaCha8Rng::seed_from_u64(u64::from(number));
    for _ in 0..KILLS / LANES {
        let after = Duration::from_micros(u64::from(random.next_u32() % 60_000));
        let told = run_and_kill(scratch.0.to_str().unwrap(), mailbox, after);
        let store = open(&scratch.0).await;
        recovered.fetch_add(judge(&store, mailbox, &told).await, Ordering::Relaxed);
        for message in store.list_messages(mailbox).await.unwrap() {
            store.set_message_state(mailbox, message.id, postern_mailbox::MessageState::Deleted).await.unwrap();
        }
    }
    let store = open(&scratch.0).await;
    assert!(!scratch.0.join("recordings/lost").exists(), "nothing with audio was without a name");
    drop(store);
}

#[test]
fn what_a_killed_process_was_told_is_kept_is_there() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let (Ok(directory), Ok(mailbox)) = (std::env::var(DIRECTORY), std::env::var(MAILBOX)) {
        runtime().block_on(record(&directory, mailbox.parse().unwrap()));
        return;
    }
    let recovered = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for number in 0..LANES {
            let recovered = &recovered;
            scope.spawn(move || runtime().block_on(lane(number, recovered)));
        }
    });
    let recovered = recovered.into_inner();
    assert!(recovered >= KILLS / 20, "kills hit recordings under way: {recovered} messages were recovered");
}
