//! Letters: queued with what they tell, claimed by one, limited, and wiped.

use std::time::Duration;

use crate::support::*;
use jiff::{SignedDuration, Timestamp};
use postern_mailbox::{Caller, Finished, MailboxId, MessageId, MessageState, Store};
use postern_store::{
    Blame, Claimed, Letter, LetterKind, MailSettings, NewMailbox, News, Options, Queued, SqliteStore, Wanted, limits,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};

const HOLD: Duration = Duration::from_secs(360);

fn sending(directory: &std::path::Path) -> Options {
    Options { sends_letters: true, ..options(directory) }
}

async fn reopened(scratch: &Scratch) -> SqliteStore {
    SqliteStore::open(sending(&scratch.0)).await.unwrap().0
}

fn with_mail(missed_calls: bool) -> NewMailbox {
    let mail = MailSettings { address: Some("alice@example.test".parse().unwrap()), missed_calls };
    NewMailbox { mail, ..alice() }
}

async fn mailbox(missed_calls: bool) -> (Scratch, SqliteStore, MailboxId) {
    let scratch = Scratch::new();
    let store = reopened(&scratch).await;
    let id = store.add_mailbox(with_mail(missed_calls)).await.unwrap();
    (scratch, store, id)
}

async fn leave_message(store: &SqliteStore, mailbox: MailboxId) -> MessageId {
    let recording = begin(store, deposit(mailbox)).await;
    store.append_audio(recording, &samples(0, RATE as usize)).await.unwrap();
    match finish(store, recording).await {
        Finished::Message { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

fn later(secs: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(secs)
}

async fn claim(store: &SqliteStore, now: Timestamp) -> Option<Letter> {
    match store.claim_letter(now, HOLD, Wanted::Due).await.unwrap() {
        Some(Claimed::Letter(letter)) => Some(*letter),
        Some(void @ Claimed::Void(_)) => panic!("{void:?}"),
        None => None,
    }
}

async fn queued(store: &SqliteStore) -> u64 {
    store.letter_counts().await.unwrap().queued
}

#[tokio::test]
async fn a_message_and_its_letter_are_there_together() {
    let (_scratch, store, id) = mailbox(false).await;
    assert_eq!(queued(&store).await, 0);
    let message = leave_message(&store, id).await;
    let letter = claim(&store, later(1)).await.unwrap();
    let News::Message(told) = &letter.news else { panic!("{letter:?}") };
    assert_eq!((told.id, letter.to.as_str(), letter.attempts), (message, "alice@example.test", 1));
    assert_eq!(told.caller.address.as_deref(), Some("+15551234567"));
}

#[tokio::test]
async fn a_message_that_recovery_finds_has_a_letter_too() {
    let (scratch, store, id) = mailbox(false).await;
    let recording = begin(&store, deposit(id)).await;
    store.append_audio(recording, &samples(0, 2 * RATE as usize)).await.unwrap();
    drop(store);
    // The recording's lock goes with its thread, a moment after the store.
    let mut store = None;
    for _ in 0..200 {
        let (opened, recovered) = SqliteStore::open(sending(&scratch.0)).await.unwrap();
        store = Some(opened);
        if !recovered.messages.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let letter = claim(&store.unwrap(), later(1)).await.unwrap();
    assert!(matches!(&letter.news, News::Message(message) if message.partial));
}

#[tokio::test]
async fn without_an_address_or_a_sender_nothing_is_queued() {
    let (scratch, store, _) = mailbox(false).await;
    let bob = store.add_mailbox(NewMailbox { addresses: vec!["1002".parse().unwrap()], ..alice() }).await.unwrap();
    leave_message(&store, bob).await;
    store.note_missed_call(bob, Caller::default(), Timestamp::now()).await.unwrap();
    assert_eq!(store.reset_pin_by_mail(bob, pin("482615")).await.unwrap(), Queued::NotWanted);
    assert_eq!(queued(&store).await, 0);
    drop(store);
    let silent = open(&scratch.0).await;
    let all = silent.mailboxes().await.unwrap();
    let alices = all.iter().find(|listed| listed.mail.address.is_some()).unwrap().mailbox.id;
    leave_message(&silent, alices).await;
    assert_eq!(queued(&silent).await, 0);
}

#[tokio::test]
async fn a_missed_call_is_told_to_whoever_wants_that() {
    let (_scratch, store, id) = mailbox(false).await;
    let caller = Caller { address: Some("+15550100".into()), name: Some("Bob".into()) };
    let at = Timestamp::from_second(1_760_000_000).unwrap();
    store.note_missed_call(id, caller.clone(), at).await.unwrap();
    assert_eq!(queued(&store).await, 0);
    let wanted = MailSettings { missed_calls: true, ..store.mail_settings(id).await.unwrap() };
    store.set_mail(id, &wanted).await.unwrap();
    assert_eq!(store.mail_settings(id).await.unwrap(), wanted);
    store.note_missed_call(id, caller.clone(), at).await.unwrap();
    assert_eq!(claim(&store, later(1)).await.unwrap().news, News::MissedCall { caller, at });
}

#[tokio::test]
async fn two_processes_never_hold_the_same_letter_and_a_dead_ones_becomes_free() {
    let (scratch, store, id) = mailbox(false).await;
    let other = reopened(&scratch).await;
    for _ in 0..4 {
        leave_message(&store, id).await;
    }
    let now = later(1);
    let mut held = Vec::new();
    for _ in 0..2 {
        let (ours, theirs) = tokio::join!(claim(&store, now), claim(&other, now));
        held.extend([ours.unwrap().id, theirs.unwrap().id]);
    }
    held.sort();
    held.dedup();
    assert_eq!(held.len(), 4);
    assert_eq!(claim(&other, later(HOLD.as_secs() as i64 - 5)).await, None);
    let again = claim(&other, later(HOLD.as_secs() as i64 + 5)).await.unwrap();
    assert_eq!(again.attempts, 2, "the attempt of the dead one counts");
}

#[tokio::test]
async fn a_claim_that_was_late_to_ask_takes_nothing_from_another() {
    let (scratch, store, id) = mailbox(false).await;
    let other = reopened(&scratch).await;
    leave_message(&store, id).await;
    assert!(claim(&store, later(6)).await.is_some());
    assert_eq!(claim(&other, later(1)).await, None, "its clock was read before the other's");
}

#[tokio::test]
async fn whoever_lost_a_letter_settles_it_no_more() {
    let (_scratch, store, id) = mailbox(false).await;
    leave_message(&store, id).await;
    let lost = claim(&store, later(1)).await.unwrap();
    let held = claim(&store, later(HOLD.as_secs() as i64 + 5)).await.unwrap();
    store.letter_sent(&lost).await.unwrap();
    assert!(!store.letter_dead(&lost, "late").await.unwrap());
    assert_eq!(queued(&store).await, 1);
    store.letter_sent(&held).await.unwrap();
    assert_eq!(queued(&store).await, 0);
}

#[tokio::test]
async fn a_letter_that_waits_survives_a_restart_with_its_attempts_and_its_error() {
    let (scratch, store, id) = mailbox(false).await;
    leave_message(&store, id).await;
    let letter = claim(&store, later(1)).await.unwrap();
    store.letter_delayed(&letter, later(60), Blame::Letter, "busy").await.unwrap();
    drop(store);
    let store = reopened(&scratch).await;
    assert_eq!(claim(&store, later(30)).await, None);
    let again = claim(&store, later(90)).await.unwrap();
    assert_eq!((again.id, again.attempts, again.last_error.as_deref()), (letter.id, 2, Some("busy")));
    assert_eq!(again.made, letter.made);
}

#[tokio::test]
async fn letters_that_waited_for_the_server_are_due_when_it_is_back_and_others_are_not() {
    let (_scratch, store, id) = mailbox(false).await;
    leave_message(&store, id).await;
    leave_message(&store, id).await;
    let now = later(1);
    let (first, second) = (claim(&store, now).await.unwrap(), claim(&store, now).await.unwrap());
    store.letter_delayed(&first, later(3600), Blame::Server, "down").await.unwrap();
    store.letter_delayed(&second, later(3600), Blame::Letter, "not now").await.unwrap();
    store.hasten_letters(now).await.unwrap();
    assert_eq!(claim(&store, now).await.unwrap().id, first.id);
    assert_eq!(claim(&store, now).await, None);
}

#[tokio::test]
async fn a_letter_whose_message_was_deleted_is_dropped() {
    let (_scratch, store, id) = mailbox(false).await;
    let message = leave_message(&store, id).await;
    store.set_message_state(id, message, MessageState::Deleted).await.unwrap();
    let claimed = store.claim_letter(later(1), HOLD, Wanted::Due).await.unwrap();
    assert_eq!(claimed, Some(Claimed::Void(LetterKind::Message)));
    assert_eq!(store.letters().await.unwrap(), []);
}

#[tokio::test]
async fn a_clock_that_was_set_back_holds_no_letter_up() {
    let (_scratch, store, id) = mailbox(false).await;
    leave_message(&store, id).await;
    assert!(claim(&store, later(-30 * 24 * 3600)).await.is_some());
}

/// What the database holds of PINs of letters.
async fn sealed_pins(scratch: &Scratch) -> Vec<Option<Vec<u8>>> {
    let path = scratch.0.join("postern.db");
    let mut database = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let rows = sqlx::query("SELECT pin FROM letters ORDER BY made").fetch_all(&mut database).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_pin_of_a_letter_is_never_in_clear_and_wiped_when_it_is_sent_or_given_up() {
    let (scratch, store, id) = mailbox(false).await;
    for _ in 0..2 {
        assert_eq!(store.reset_pin_by_mail(id, pin("482615")).await.unwrap(), Queued::Yes);
    }
    let kept = sealed_pins(&scratch).await;
    assert!(kept[0] != kept[1], "the same PIN, and two letters tell nothing of that");
    for sealed in kept.iter().flatten() {
        assert!(!sealed.windows(6).any(|bytes| bytes == b"482615"));
    }
    let now = later(1);
    let (first, second) = (claim(&store, now).await.unwrap(), claim(&store, now).await.unwrap());
    assert_eq!(first.news, News::PinReset(pin("482615")));
    store.letter_sent(&first).await.unwrap();
    assert!(store.letter_dead(&second, "refused").await.unwrap());
    assert_eq!(sealed_pins(&scratch).await, [None, None]);
    assert_eq!(store.retry_letters(None, now).await.unwrap(), 0, "there is no PIN to tell any more");
}

#[tokio::test]
async fn a_pin_that_cannot_be_told_by_mail_is_not_changed() {
    let (_scratch, store, id) = mailbox(false).await;
    for _ in 0..limits::PIN_LETTERS_PER_HOUR {
        assert_eq!(store.reset_pin_by_mail(id, pin("482615")).await.unwrap(), Queued::Yes);
    }
    assert_eq!(store.reset_pin_by_mail(id, pin("506172")).await.unwrap(), Queued::TooMany);
    let attempt = |digits| postern_mailbox::PinAttempt { mailbox: Some(id), pin: pin(digits), attempts_max: 3 };
    assert_eq!(store.verify_pin(attempt("506172")).await.unwrap(), postern_mailbox::PinVerdict::Wrong);
    let verdict = store.verify_pin(attempt("482615")).await.unwrap();
    assert!(matches!(verdict, postern_mailbox::PinVerdict::Right { must_change: true, .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_letter_with_a_pin_expires_within_the_hour_and_a_message_within_three_days() {
    let (_scratch, store, id) = mailbox(false).await;
    store.reset_pin_by_mail(id, pin("482615")).await.unwrap();
    leave_message(&store, id).await;
    let expired = async |secs| match store.claim_letter(later(secs), HOLD, Wanted::Expired).await.unwrap() {
        Some(Claimed::Letter(letter)) => Some(letter.news.kind()),
        _ => None,
    };
    assert_eq!(expired(3500).await, None);
    assert_eq!(expired(3610).await, Some(LetterKind::PinReset));
    assert_eq!(expired(3 * 24 * 3600 - 60).await, Some(LetterKind::PinReset), "its first holder died");
    assert_eq!(expired(3 * 24 * 3600 + 10).await, Some(LetterKind::Message));
}

#[tokio::test]
async fn calls_that_leave_nothing_flood_neither_queue_nor_owner() {
    let (_scratch, store, id) = mailbox(true).await;
    let limit = u64::from(limits::MISSED_CALL_LETTERS_PER_HOUR);
    for _ in 0..limit + 7 {
        store.note_missed_call(id, Caller::default(), Timestamp::now()).await.unwrap();
    }
    let letter = claim(&store, later(1)).await.unwrap();
    store.letter_sent(&letter).await.unwrap();
    store.note_missed_call(id, Caller::default(), Timestamp::now()).await.unwrap();
    let counts = store.letter_counts().await.unwrap();
    assert_eq!((counts.queued, counts.refused), (limit - 1, 8), "what was sent still counts");
    leave_message(&store, id).await;
    assert_eq!(queued(&store).await, limit, "messages have a limit of their own");
}

#[tokio::test]
async fn letters_that_were_given_up_are_listed_until_they_are_retried_removed_or_old() {
    let (_scratch, store, id) = mailbox(false).await;
    let mut messages = Vec::new();
    for _ in 0..4 {
        messages.push(leave_message(&store, id).await);
    }
    let now = later(1);
    let mut dead = Vec::new();
    for _ in 0..4 {
        let letter = claim(&store, now).await.unwrap();
        assert!(store.letter_dead(&letter, "550 no such user").await.unwrap());
        dead.push(letter);
    }
    let listed = store.letters().await.unwrap();
    assert!(listed.iter().all(|letter| letter.is_dead && letter.last_error.as_deref() == Some("550 no such user")));
    assert_eq!(store.letter_counts().await.unwrap().dead, 4);

    assert_eq!(store.retry_letters(Some(dead[0].id), now).await.unwrap(), 1);
    assert_eq!(claim(&store, now).await.unwrap().attempts, 1, "it begins anew");
    store.remove_letter(dead[1].id).await.unwrap();
    assert!(store.remove_letter(dead[1].id).await.is_err());
    let News::Message(told) = &dead[2].news else { panic!() };
    store.set_message_state(id, told.id, MessageState::Deleted).await.unwrap();
    store.tend_letters(now).await.unwrap();
    let left: Vec<_> = store.letters().await.unwrap().into_iter().filter(|letter| letter.is_dead).collect();
    assert_eq!(left.iter().map(|letter| letter.id).collect::<Vec<_>>(), [dead[3].id]);
    store.tend_letters(later(31 * 24 * 3600)).await.unwrap();
    assert_eq!(store.letter_counts().await.unwrap().dead, 0);
    assert!(messages.contains(&told.id));
}

#[tokio::test]
async fn the_youngest_dead_letters_of_a_mailbox_stay() {
    let (_scratch, store, id) = mailbox(false).await;
    let most = limits::DEAD_LETTERS_PER_MAILBOX_MAX as usize;
    let mut dead = Vec::new();
    for _ in 0..most + 2 {
        leave_message(&store, id).await;
        let letter = claim(&store, later(1)).await.unwrap();
        assert!(store.letter_dead(&letter, "550 no such user").await.unwrap());
        dead.push(letter.id);
    }
    store.tend_letters(later(1)).await.unwrap();
    let mut left: Vec<_> = store.letters().await.unwrap().into_iter().map(|letter| letter.id).collect();
    left.sort();
    dead.sort();
    assert_eq!(left, dead[2..]);
}

#[tokio::test]
async fn a_mailbox_that_goes_takes_its_letters_along() {
    let (_scratch, store, id) = mailbox(false).await;
    leave_message(&store, id).await;
    store.remove_mailbox(id).await.unwrap();
    assert_eq!(store.letters().await.unwrap(), []);
    assert_eq!(queued(&store).await, 0);
}
