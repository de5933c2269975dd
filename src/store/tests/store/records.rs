//! What the store keeps, counts and refuses.

use std::time::Duration;

use crate::support::*;
use jiff::{Timestamp, ToSpan};
use postern_mailbox::{
    AudioId, Began, Caller, Finished, Finishing, GreetingInUse, GreetingKind, MailboxId, MessageState, PinAttempt,
    PinChange, PinChanged, PinVerdict, Purpose, Quota, Store, StoreError,
};
use postern_store::{AddError, SqliteStore};

async fn alices_mailbox() -> (Scratch, SqliteStore, MailboxId) {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let id = store.add_mailbox(alice()).await.unwrap();
    (scratch, store, id)
}

async fn message(store: &SqliteStore, mailbox: MailboxId, seconds: u64) -> postern_mailbox::MessageId {
    let recording = begin(store, deposit(mailbox)).await;
    for second in 0..seconds {
        store.append_audio(recording, &samples(second * u64::from(RATE), RATE as usize)).await.unwrap();
    }
    match finish(store, recording).await {
        Finished::Message { message, length } => {
            assert_eq!(length, Duration::from_secs(seconds));
            message
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_mailbox_is_found_by_each_of_its_addresses_in_its_own_plan_only() {
    let (_scratch, store, id) = alices_mailbox().await;
    for address in ["1001", "sip:alice@EXAMPLE.test"] {
        let found = store.find_mailbox(&plan(), &address.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.id, found.name.as_str()), (id, "Alice Ng"));
        assert_eq!(found.spoken_digits(), Some("1001"));
        assert_eq!(found.time_zone.iana_name(), Some("Europe/Berlin"));
    }
    let elsewhere = postern_mailbox::PlanName("factory".into());
    assert_eq!(store.find_mailbox(&elsewhere, &"1001".parse().unwrap()).await.unwrap(), None);
    assert_eq!(store.find_mailbox(&plan(), &"1002".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn an_address_belongs_to_one_mailbox_of_a_plan() {
    let (_scratch, store, _) = alices_mailbox().await;
    let error = store.add_mailbox(alice()).await.unwrap_err();
    assert!(matches!(&error, AddError::Taken(address) if address.to_string() == "1001"), "{error}");
    assert_eq!(store.mailboxes().await.unwrap().len(), 1, "nothing is left of the one refused");
}

#[tokio::test]
async fn wrong_pins_lock_a_mailbox_across_restarts_until_it_is_unlocked() {
    let (scratch, store, id) = alices_mailbox().await;
    let attempt = |digits| PinAttempt { mailbox: Some(id), pin: pin(digits), attempts_max: 3 };
    assert_eq!(store.verify_pin(attempt("111111")).await.unwrap(), PinVerdict::Wrong);
    assert!(matches!(store.verify_pin(attempt("739182")).await.unwrap(), PinVerdict::Right { must_change: false, .. }));
    for _ in 0..3 {
        assert_eq!(store.verify_pin(attempt("111111")).await.unwrap(), PinVerdict::Wrong);
    }
    drop(store);
    let store = open(&scratch.0).await;
    assert_eq!(store.verify_pin(attempt("739182")).await.unwrap(), PinVerdict::Locked);
    assert_eq!(store.mailboxes().await.unwrap()[0].wrong_pins, 3);
    store.unlock(id).await.unwrap();
    assert!(matches!(store.verify_pin(attempt("739182")).await.unwrap(), PinVerdict::Right { .. }));
}

#[tokio::test]
async fn a_pin_for_a_mailbox_that_does_not_exist_is_wrong_and_never_locks() {
    let (_scratch, store, _) = alices_mailbox().await;
    for _ in 0..4 {
        let attempt = PinAttempt { mailbox: None, pin: pin("739182"), attempts_max: 3 };
        assert_eq!(store.verify_pin(attempt).await.unwrap(), PinVerdict::Wrong);
    }
}

#[tokio::test]
async fn the_last_pins_do_not_come_back_and_the_one_before_them_does() {
    let (_scratch, store, id) = alices_mailbox().await;
    let change = |digits| PinChange { mailbox: id, pin: pin(digits), history: 3, chosen: Timestamp::now() };
    let used = PinChanged::UsedBefore;
    assert_eq!(store.change_pin(change("739182")).await.unwrap(), used, "the present one");
    for digits in ["510284", "628405"] {
        assert_eq!(store.change_pin(change(digits)).await.unwrap(), PinChanged::Changed);
    }
    assert_eq!(store.change_pin(change("739182")).await.unwrap(), used, "the last but two");
    assert_eq!(store.change_pin(change("917364")).await.unwrap(), PinChanged::Changed);
    assert_eq!(store.change_pin(change("739182")).await.unwrap(), PinChanged::Changed, "three have followed");
    let attempt = PinAttempt { mailbox: Some(id), pin: pin("739182"), attempts_max: 3 };
    assert!(matches!(store.verify_pin(attempt).await.unwrap(), PinVerdict::Right { .. }));
}

#[tokio::test]
async fn a_reset_pin_must_be_changed_and_unlocks() {
    let (_scratch, store, id) = alices_mailbox().await;
    let attempt = |digits| PinAttempt { mailbox: Some(id), pin: pin(digits), attempts_max: 1 };
    store.verify_pin(attempt("111111")).await.unwrap();
    store.reset_pin(id, pin("482917"), true).await.unwrap();
    let verdict = store.verify_pin(attempt("482917")).await.unwrap();
    assert!(matches!(verdict, PinVerdict::Right { must_change: true, .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_message_is_listed_and_heard_as_it_was_recorded() {
    let (scratch, store, id) = alices_mailbox().await;
    let left = message(&store, id, 3).await;
    drop(store);
    let store = open(&scratch.0).await;
    let listed = store.list_messages(id).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id, listed[0].state, listed[0].partial), (left, MessageState::New, false));
    assert_eq!(listed[0].caller.address.as_deref(), Some("+15551234567"));
    assert_eq!(heard(&store, AudioId::Message(left)).await, 3 * u64::from(RATE));
    let middle = store.read_audio(AudioId::Message(left), 12_345, 100).await.unwrap();
    assert_eq!((middle.samples, middle.is_end), (samples(12_345, 100), false));
    let earlier = store.read_audio(AudioId::Message(left), 5, 100).await.unwrap();
    assert_eq!(earlier.samples, samples(5, 100), "reading may go back");
    let after = store.read_audio(AudioId::Message(left), 3 * u64::from(RATE), 100).await.unwrap();
    assert_eq!((after.samples.len(), after.is_end), (0, true));
}

#[tokio::test]
async fn what_is_being_recorded_can_be_heard() {
    let (_scratch, store, id) = alices_mailbox().await;
    let recording = begin(&store, deposit(id)).await;
    store.append_audio(recording, &samples(0, 500)).await.unwrap();
    assert_eq!(heard(&store, AudioId::Recording(recording)).await, 500);
}

#[tokio::test]
async fn finishing_twice_gives_the_same_answer_and_one_message() {
    let (_scratch, store, id) = alices_mailbox().await;
    let recording = begin(&store, deposit(id)).await;
    store.append_audio(recording, &samples(0, RATE as usize)).await.unwrap();
    let first = finish(&store, recording).await;
    assert_eq!(finish(&store, recording).await, first);
    assert_eq!(store.list_messages(id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_recording_that_is_too_short_leaves_nothing() {
    let (scratch, store, id) = alices_mailbox().await;
    let recording = begin(&store, deposit(id)).await;
    store.append_audio(recording, &samples(0, RATE as usize - 1)).await.unwrap();
    assert_eq!(finish(&store, recording).await, Finished::TooShort);
    assert_eq!(store.list_messages(id).await.unwrap(), []);
    assert_eq!(std::fs::read_dir(scratch.0.join("recordings")).unwrap().count(), 0);
    let again = Finishing { recording, audio_min: Duration::from_secs(1) };
    assert_eq!(store.finish_recording(again).await, Err(StoreError::Gone));
}

#[tokio::test]
async fn only_so_many_deposits_run_at_once_and_the_one_that_is_replaced_does_not_count() {
    let (_scratch, store, id) = alices_mailbox().await;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(begin(&store, deposit(id)).await);
    }
    assert_eq!(store.begin_recording(deposit(id)).await.unwrap(), Began::TooManyDeposits);
    let mut again = deposit(id);
    if let Purpose::Deposit { replaces, .. } = &mut again.purpose {
        *replaces = Some(running[0]);
    }
    begin(&store, again).await;
    store.discard_recording(running[1]).await.unwrap();
    store.discard_recording(running[1]).await.unwrap();
    store.discard_recording(running[2]).await.unwrap();
    begin(&store, deposit(id)).await;
}

#[tokio::test]
async fn deposits_begun_at_the_same_moment_do_not_exceed_their_number() {
    let (_scratch, store, id) = alices_mailbox().await;
    let store = std::sync::Arc::new(store);
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move { store.begin_recording(deposit(id)).await.unwrap() })
        })
        .collect();
    let mut began = 0;
    for task in tasks {
        began += u32::from(matches!(task.await.unwrap(), Began::Recording { .. }));
    }
    assert_eq!(began, 3);
}

#[tokio::test]
async fn a_full_mailbox_takes_no_message_until_one_is_deleted() {
    let (_scratch, store, id) = alices_mailbox().await;
    let with = |messages, audio_secs| {
        let mut beginning = deposit(id);
        if let Purpose::Deposit { quota, .. } = &mut beginning.purpose {
            *quota = Quota { messages, audio_secs };
        }
        beginning
    };
    let left = message(&store, id, 2).await;
    assert_eq!(store.begin_recording(with(1, 100)).await.unwrap(), Began::MailboxFull);
    assert_eq!(store.begin_recording(with(5, 2)).await.unwrap(), Began::MailboxFull);
    match store.begin_recording(with(5, 10)).await.unwrap() {
        Began::Recording { audio_max, .. } => assert_eq!(audio_max, Duration::from_secs(8)),
        other => panic!("{other:?}"),
    }
    store.set_message_state(id, left, MessageState::Deleted).await.unwrap();
    assert!(matches!(store.begin_recording(with(1, 100)).await.unwrap(), Began::Recording { .. }));
}

#[tokio::test]
async fn a_deleted_message_comes_back_within_a_day_and_is_forgotten_after() {
    let (scratch, store, id) = alices_mailbox().await;
    let left = message(&store, id, 1).await;
    store.set_message_state(id, left, MessageState::Deleted).await.unwrap();
    assert_eq!(store.list_messages(id).await.unwrap(), []);
    let now = Timestamp::now();
    assert_eq!(store.forget_deleted(now).await.unwrap(), 0);
    store.set_message_state(id, left, MessageState::Saved).await.unwrap();
    assert_eq!(store.forget_deleted(now + 25.hours()).await.unwrap(), 0, "it is no longer deleted");
    store.set_message_state(id, left, MessageState::Deleted).await.unwrap();
    assert_eq!(store.forget_deleted(now + 25.hours()).await.unwrap(), 1);
    assert_eq!(store.set_message_state(id, left, MessageState::New).await, Err(StoreError::Gone));
    assert_eq!(std::fs::read_dir(scratch.0.join("recordings")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_message_of_another_mailbox_is_not_there() {
    let (_scratch, store, id) = alices_mailbox().await;
    let left = message(&store, id, 1).await;
    let stranger = MailboxId::from_bytes([9; 16]);
    assert_eq!(store.set_message_state(stranger, left, MessageState::Deleted).await, Err(StoreError::Gone));
    assert_eq!(store.list_messages(stranger).await.unwrap(), []);
}

#[tokio::test]
async fn a_new_greeting_takes_the_place_of_the_old_one_and_comes_into_use_by_choice() {
    let (scratch, store, id) = alices_mailbox().await;
    let mut made = Vec::new();
    for _ in 0..2 {
        let mut beginning = deposit(id);
        beginning.purpose = Purpose::Greeting(GreetingKind::Own);
        let recording = begin(&store, beginning).await;
        store.append_audio(recording, &samples(0, 2 * RATE as usize)).await.unwrap();
        let Finished::Greeting(greeting) = finish(&store, recording).await else { panic!("no greeting") };
        made.push(greeting);
    }
    let found = store.find_mailbox(&plan(), &"1001".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((found.recorded(GreetingKind::Own), found.greeting), (Some(made[1]), GreetingInUse::Standard));
    assert_eq!(heard(&store, AudioId::Greeting(made[1])).await, 2 * u64::from(RATE));
    assert_eq!(store.read_audio(AudioId::Greeting(made[0]), 0, 1).await, Err(StoreError::Gone));
    assert_eq!(std::fs::read_dir(scratch.0.join("recordings")).unwrap().count(), 1);
    store.use_greeting(id, GreetingInUse::Own).await.unwrap();
    let found = store.find_mailbox(&plan(), &"1001".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(found.greeting, GreetingInUse::Own);
}

#[tokio::test]
async fn a_removed_mailbox_takes_its_messages_along() {
    let (scratch, store, id) = alices_mailbox().await;
    message(&store, id, 1).await;
    store.remove_mailbox(id).await.unwrap();
    assert_eq!(store.remove_mailbox(id).await, Err(StoreError::Gone));
    assert_eq!(store.mailboxes().await.unwrap().len(), 0);
    assert_eq!(std::fs::read_dir(scratch.0.join("recordings")).unwrap().count(), 0);
    assert_eq!(store.begin_recording(deposit(id)).await, Err(StoreError::Gone));
}

#[tokio::test]
async fn a_damaged_recording_plays_up_to_its_damage_and_no_header_is_an_error() {
    let (scratch, store, id) = alices_mailbox().await;
    let left = message(&store, id, 3).await;
    let path = scratch.0.join("recordings").join(format!("{left}.pvm"));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(heard(&store, AudioId::Message(left)).await, u64::from(RATE), "the first of three frames is whole");
    bytes[0] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(store.read_audio(AudioId::Message(left), 0, 1).await, Err(StoreError::Damaged));
}

#[tokio::test]
async fn a_store_that_can_be_written_to_says_so_and_leaves_nothing() {
    let (scratch, store, _) = alices_mailbox().await;
    store.probe().await.unwrap();
    assert_eq!(std::fs::read_dir(scratch.0.join("recordings")).unwrap().count(), 0);
    std::fs::remove_dir(scratch.0.join("recordings")).unwrap();
    assert_eq!(store.probe().await, Err(StoreError::Gone));
}

#[tokio::test]
async fn an_anonymous_caller_and_a_very_long_name_are_kept_within_bounds() {
    let (_scratch, store, id) = alices_mailbox().await;
    let mut beginning = deposit(id);
    if let Purpose::Deposit { caller, .. } = &mut beginning.purpose {
        *caller = Caller { address: None, name: Some("ä".repeat(4000)) };
    }
    let recording = begin(&store, beginning).await;
    store.append_audio(recording, &samples(0, RATE as usize)).await.unwrap();
    finish(&store, recording).await;
    let listed = store.list_messages(id).await.unwrap();
    assert_eq!(listed[0].caller.address, None);
    assert_eq!(listed[0].caller.name.as_deref().map(|name| name.chars().count()), Some(255));
}
