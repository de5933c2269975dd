//! The feed of changes, the counts, and the subscriptions.

use crate::support::*;
use jiff::{Timestamp, ToSpan};
use postern_mailbox::{
    Finished, GreetingInUse, GreetingKind, MailboxId, MessageId, MessageState, PinAttempt, Purpose, Store, StoreError,
};
use postern_store::{Changed, Counts, KeptSubscription, SqliteStore};

async fn alices_mailbox() -> (Scratch, SqliteStore, MailboxId) {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let id = store.add_mailbox(alice()).await.unwrap();
    (scratch, store, id)
}

async fn message(store: &SqliteStore, mailbox: MailboxId) -> MessageId {
    let recording = begin(store, deposit(mailbox)).await;
    store.append_audio(recording, &samples(0, RATE as usize)).await.unwrap();
    match finish(store, recording).await {
        Finished::Message { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

/// What changed since, and where that leads.
async fn changed(store: &SqliteStore, sequence: &mut u64) -> Vec<(MailboxId, Changed)> {
    let (changes, newest) = store.changes_since(*sequence).await.unwrap();
    assert!(changes.iter().all(|change| change.sequence > *sequence && change.sequence <= newest));
    *sequence = newest;
    changes.into_iter().map(|change| (change.mailbox, change.what)).collect()
}

#[tokio::test]
async fn each_change_is_told_once_to_another_process() {
    let (scratch, store, id) = alices_mailbox().await;
    let other = SqliteStore::open_beside(options(&scratch.0)).await.unwrap();
    let mut at = 0;
    assert_eq!(changed(&other, &mut at).await, [(id, Changed::Mailbox)]);
    let left = message(&store, id).await;
    assert_eq!(changed(&other, &mut at).await, [(id, Changed::Messages)]);
    for state in [MessageState::Saved, MessageState::Deleted, MessageState::New] {
        store.set_message_state(id, left, state).await.unwrap();
        assert_eq!(changed(&other, &mut at).await, [(id, Changed::Messages)], "{state:?}");
    }
    store.set_message_state(id, left, MessageState::New).await.unwrap();
    assert_eq!(changed(&other, &mut at).await, [], "it was new before");
    store.use_greeting(id, GreetingInUse::OutOfOffice).await.unwrap();
    assert_eq!(changed(&other, &mut at).await, [(id, Changed::Options)]);
    let greeting = postern_mailbox::Beginning { purpose: Purpose::Greeting(GreetingKind::Own), ..deposit(id) };
    let recording = begin(&store, greeting).await;
    store.append_audio(recording, &samples(0, RATE as usize)).await.unwrap();
    finish(&store, recording).await;
    assert_eq!(changed(&other, &mut at).await, [(id, Changed::Options)]);
    let attempt = PinAttempt { mailbox: Some(id), pin: pin("111111"), attempts_max: 3 };
    store.verify_pin(attempt).await.unwrap();
    assert_eq!(changed(&other, &mut at).await, [], "a wrong PIN is nobody's news");
}

#[tokio::test]
async fn several_changes_of_one_kind_are_one_and_a_deleted_message_goes_in_silence() {
    let (_scratch, store, id) = alices_mailbox().await;
    let mut at = 0;
    changed(&store, &mut at).await;
    let first = message(&store, id).await;
    message(&store, id).await;
    store.use_greeting(id, GreetingInUse::Standard).await.unwrap();
    store.set_message_state(id, first, MessageState::Deleted).await.unwrap();
    assert_eq!(changed(&store, &mut at).await, [(id, Changed::Options), (id, Changed::Messages)]);
    let later = Timestamp::now() + (365 * 24).hours();
    assert_eq!(store.forget_deleted(later).await.unwrap(), 1);
    assert_eq!(changed(&store, &mut at).await, []);
}

#[tokio::test]
async fn a_mailbox_that_is_removed_leaves_one_change_and_the_table_stays_small() {
    let (_scratch, store, id) = alices_mailbox().await;
    message(&store, id).await;
    store.use_greeting(id, GreetingInUse::Own).await.unwrap();
    store.remove_mailbox(id).await.unwrap();
    let (changes, newest) = store.changes_since(0).await.unwrap();
    assert_eq!(
        changes.iter().map(|change| (change.mailbox, change.what)).collect::<Vec<_>>(),
        [(id, Changed::Mailbox)]
    );
    assert_eq!(store.changes_since(newest + 7).await.unwrap(), (Vec::new(), newest), "another database than before");
}

#[tokio::test]
async fn counts_are_of_new_and_saved_messages_and_an_unknown_mailbox_has_none() {
    let (_scratch, store, id) = alices_mailbox().await;
    assert_eq!(store.counts(id).await, Ok(Counts::default()));
    let messages = [message(&store, id).await, message(&store, id).await, message(&store, id).await];
    store.set_message_state(id, messages[0], MessageState::Saved).await.unwrap();
    store.set_message_state(id, messages[1], MessageState::Deleted).await.unwrap();
    assert_eq!(store.counts(id).await, Ok(Counts { new: 1, saved: 1 }));
    let all = store.all_waiting().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].mailbox, &all[0].plan, all[0].counts.new), (id, &plan(), 1));
    assert_eq!(all[0].address.as_ref().map(ToString::to_string).as_deref(), Some("1001"));
    store.remove_mailbox(id).await.unwrap();
    assert_eq!(store.counts(id).await, Err(StoreError::Gone));
}

#[tokio::test]
async fn a_subscription_is_kept_replaced_expired_and_goes_with_its_mailbox() {
    let (scratch, store, id) = alices_mailbox().await;
    let kept = |name: &str, expires_unix_secs| KeptSubscription {
        id: name.into(),
        mailbox: id,
        dialog: format!("dialog of {name}"),
        expires_unix_secs,
    };
    store.keep_subscription(&kept("a", 100), &[]).await.unwrap();
    store.keep_subscription(&kept("b", 200), &[]).await.unwrap();
    store.keep_subscription(&kept("a", 300), &[]).await.unwrap();
    store.keep_subscription(&kept("c", 400), &["b".into()]).await.unwrap();
    drop(store);
    let store = SqliteStore::open_beside(options(&scratch.0)).await.unwrap();
    assert_eq!(store.subscriptions(99).await.unwrap(), [kept("a", 300), kept("c", 400)]);
    assert_eq!(store.subscriptions(300).await.unwrap(), [kept("c", 400)]);
    store.forget_subscriptions(&["x".into(), "c".into()]).await.unwrap();
    assert_eq!(store.subscriptions(0).await.unwrap(), []);
    store.keep_subscription(&kept("d", 400), &[]).await.unwrap();
    store.remove_mailbox(id).await.unwrap();
    assert_eq!(store.subscriptions(0).await.unwrap(), []);
    assert_eq!(store.keep_subscription(&kept("e", 400), &[]).await, Err(StoreError::Gone));
}
