//! Whole calls that we placed to a mailbox's owner.

use postern_mailbox::*;

use crate::store::{FakeStore, alice};
use crate::talk::{self, Talk};

const HEADER: &str = "new-message from 2 0 0 1 received today at 2 15 p-m";
const MENU: &str = "to-repeat press 4 to-save press 5 to-delete press 7 to-keep-new press 9";
const REVIEW: &str = "to-accept press 1 to-listen press 2 to-record-again press 3 to-cancel press 7";

fn placed(errand: Errand, store: FakeStore) -> Talk {
    Talk::new(talk::placed(errand), Options::default(), store)
}

/// A new message of 14:15 in Berlin among others, played on a phone.
fn of_a_message() -> Talk {
    let store = FakeStore::new();
    store.message(Some("2002"), "2026-10-20T12:00:00Z", MessageState::New);
    let message = store.message(Some("2001"), "2026-10-20T12:15:00Z", MessageState::New);
    store.message(Some("2003"), "2026-10-20T12:30:00Z", MessageState::New);
    placed(Errand::PlayMessage(message), store)
}

fn states(talk: &Talk) -> Vec<&'static str> {
    talk.store.kept().messages.iter().map(|(_, message)| message.state.name()).collect()
}

#[test]
fn a_message_is_played_at_once_without_a_pin_and_then_its_keys_are_told() {
    let mut talk = of_a_message();
    talk.goes(&[("calls", HEADER), ("listens", "<message>"), ("listens", MENU)]);
    assert_eq!(states(&talk), ["new"; 3]);
    talk.goes(&[("presses 5", "[saved] message-saved*")]);
}

#[test]
fn a_saved_message_ends_the_call_and_the_others_are_untouched() {
    let mut talk = of_a_message();
    talk.goes(&[
        ("calls", HEADER),
        ("listens", "<message>"),
        ("presses 5", "[saved] message-saved goodbye"),
        ("listens", "[hangs up] [ended: PlayOnPhone, Finished]"),
    ]);
    assert_eq!(states(&talk), ["new", "saved", "new"]);
    assert_eq!(talk.outcome.map(|outcome| outcome.mailbox), Some(Some(alice().id)));
}

#[test]
fn keys_repeat_delete_restore_and_keep_a_message() {
    let mut talk = of_a_message();
    talk.goes(&[
        ("calls", HEADER),
        ("listens", "<message>"),
        ("presses 4", &format!("[saved] {}", HEADER.replace("new", "saved"))),
        ("presses 7", &format!("[deleted] message-deleted {MENU}")),
        ("presses 7", &format!("[saved] message-restored {MENU}")),
        ("presses 00", &format!("no-operator {MENU}")),
        ("presses 9", "[new] message-kept-new goodbye"),
        ("hangs-up", "[ended: PlayOnPhone, Finished]"),
    ]);
    assert_eq!(states(&talk), ["new"; 3]);
}

#[test]
fn a_message_that_an_answering_machine_heard_stays_new() {
    let mut talk = of_a_message();
    talk.goes(&[
        ("calls", HEADER),
        ("listens", "<message>"),
        ("listens", MENU),
        ("listens", ""),
        ("waits", &format!("are-you-there {MENU}")),
        ("listens", ""),
        ("waits", &format!("are-you-there {MENU}")),
        ("listens", ""),
        ("waits", "goodbye"),
        ("listens", "[hangs up] [ended: PlayOnPhone, InputsFailed]"),
    ]);
    assert_eq!(states(&talk), ["new"; 3]);
    assert_eq!(talk.events, [Event::MessageHeard, Event::InputsFailed]);
    let mut hung_up = of_a_message();
    hung_up.goes(&[("calls", HEADER), ("listens", "<message>"), ("hangs-up", "[ended: PlayOnPhone, CallerHungUp]")]);
    assert_eq!(states(&hung_up), ["new"; 3]);
}

#[test]
fn a_key_after_the_message_shows_that_somebody_heard_it() {
    let mut talk = of_a_message();
    talk.goes(&[("calls", HEADER), ("listens", "<message>"), ("listens", MENU), ("presses *", "[saved] goodbye")]);
    assert_eq!(states(&talk), ["new", "saved", "new"]);
}

#[test]
fn a_message_that_is_gone_or_another_mailbox_s_is_not_played() {
    let store = FakeStore::new();
    let deleted = store.message(Some("2001"), "2026-10-20T12:15:00Z", MessageState::Deleted);
    let foreign = store.message(Some("2001"), "2026-10-20T12:15:00Z", MessageState::New);
    store.kept().messages[1].0 = MailboxId::new(2, [2; 10]);
    let mut talk = placed(Errand::PlayMessage(deleted), store);
    talk.goes(&[("calls", "no-messages goodbye"), ("listens", "[hangs up] [ended: PlayOnPhone, Finished]")]);
    let store = talk.store;
    let mut talk = placed(Errand::PlayMessage(foreign), FakeStore::new());
    talk.store = store;
    talk.goes(&[("calls", "no-messages goodbye"), ("listens", "[hangs up] [ended: PlayOnPhone, Finished]")]);
}

#[test]
fn a_damaged_message_is_said_to_be_one() {
    let mut talk = of_a_message();
    talk.goes(&[("calls", HEADER), ("listens", "<message>"), ("cannot-hear", &format!("message-damaged {MENU}"))]);
    assert_eq!(states(&talk), ["new"; 3]);
}

#[test]
fn a_greeting_is_played_and_the_call_ends() {
    let store = FakeStore::new();
    let id = GreetingId::new(1, [5; 10]);
    store.kept().mailboxes[0].recorded.push(RecordedGreeting { kind: GreetingKind::OutOfOffice, id });
    let mut talk = placed(Errand::PlayGreeting(GreetingKind::OutOfOffice), store);
    talk.goes(&[
        ("calls", "<greeting>"),
        ("presses 1#", ""),
        ("listens", "goodbye"),
        ("listens", "[hangs up] [ended: PlayOnPhone, Finished]"),
    ]);
    let mut none = placed(Errand::PlayGreeting(GreetingKind::Own), FakeStore::new());
    none.goes(&[("calls", "greeting-missing goodbye"), ("listens", "[hangs up] [ended: PlayOnPhone, Finished]")]);
}

#[test]
fn a_greeting_is_recorded_reviewed_and_in_use() {
    let mut talk = placed(Errand::RecordGreeting(GreetingKind::Own), FakeStore::new());
    talk.goes(&[
        ("calls", "record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 300 s]"),
        ("speaks 4", ""),
        ("presses #", REVIEW),
        ("presses 2", &format!("<recording> {REVIEW}")),
        ("presses 1", "[synced greeting] [uses own] greeting-saved goodbye"),
        ("listens", "[hangs up] [ended: GreetingsRecording, Finished]"),
    ]);
    let kept = talk.store.kept();
    assert_eq!(kept.mailboxes[0].greeting, GreetingInUse::Own);
    assert!(kept.mailboxes[0].recorded(GreetingKind::Own).is_some());
}

#[test]
fn a_greeting_that_nobody_accepted_is_discarded() {
    let mut talk = placed(Errand::RecordGreeting(GreetingKind::OutOfOffice), FakeStore::new());
    talk.goes(&[
        ("calls", "record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 300 s]"),
        ("speaks 4", ""),
        ("presses #", REVIEW),
        ("hangs-up", "[discards] [ended: GreetingsRecording, CallerHungUp]"),
    ]);
    assert!(talk.store.kept().recordings.is_empty());
    let mut cancelled = placed(Errand::RecordGreeting(GreetingKind::Name), FakeStore::new());
    cancelled.goes(&[
        ("calls", "record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 300 s]"),
        ("speaks 4", ""),
        ("presses #", REVIEW),
        ("presses 7", "[discards] cancelled goodbye"),
    ]);
}

#[test]
fn a_mailbox_that_is_gone_or_a_store_that_fails_ends_the_call() {
    let store = FakeStore::new();
    store.kept().mailboxes.clear();
    let mut talk = placed(Errand::PlayGreeting(GreetingKind::Own), store);
    talk.goes(&[("calls", "mailbox-unknown goodbye"), ("listens", "[hangs up] [ended: PlayOnPhone, Refused]")]);
    let store = FakeStore::new();
    store.kept().fail_others = vec![StoreError::Unavailable];
    let mut talk = placed(Errand::PlayGreeting(GreetingKind::Own), store);
    talk.goes(&[
        ("calls", "[failed: Unavailable] technical-problem goodbye"),
        ("listens", "[hangs up] [ended: PlayOnPhone, StoreFailed]"),
    ]);
}
