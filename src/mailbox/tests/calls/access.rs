//! Whole calls of an owner, and of somebody who would like to be one.

use std::time::Duration;

use postern_mailbox::*;

use crate::store::{FakeStore, PIN, alice, wall};
use crate::talk::{Talk, access, access_by_alice, answering};

const ASK_NUMBER: &str = "welcome enter-mailbox press pound";
const ASK_PIN: &str = "enter-pin press pound";
const NOTHING: &str = "you-have no new-messages and no saved-messages to-change-options press 6 \
                       to-reach-operator press 0 0 to-hear-again press 0 to-end press star";
const MESSAGE_MENU: &str = "to-repeat press 4 to-save press 5 to-delete press 7 to-keep-new press 9 \
                            to-hear-next press pound to-hear-previous press 1 1 to-go-back press star";
const REVIEW: &str = "to-accept press 1 to-listen press 2 to-record-again press 3 to-cancel press 7";

fn with(store: FakeStore) -> Talk {
    Talk::new(access_by_alice(), Options::default(), store)
}

/// Alice, logged on.
fn logged_on(store: FakeStore) -> Talk {
    let mut talk = with(store);
    talk.goes(&[("calls", "welcome enter-pin press pound"), ("presses 271828#", "you-have*")]);
    talk
}

fn states(talk: &Talk) -> Vec<&'static str> {
    talk.store.kept().messages.iter().map(|(_, message)| message.state.name()).collect()
}

#[test]
fn an_owner_is_known_by_the_own_number_and_asked_for_the_pin_only() {
    let mut talk = with(FakeStore::new());
    talk.goes(&[
        ("calls", "welcome enter-pin press pound"),
        ("presses 271828#", NOTHING),
        ("presses 33", "goodbye"),
        ("listens", "[hangs up] [ended: SubscriberAccess, Finished]"),
    ]);
    assert_eq!(talk.events, [Event::LoggedOn]);
    assert_eq!(talk.outcome.unwrap().mailbox, Some(alice().id));
}

#[test]
fn an_owner_elsewhere_enters_the_mailbox_number() {
    for number in ["1001", "4930123456"] {
        Talk::new(access(), Options::default(), FakeStore::new()).goes(&[
            ("calls", ASK_NUMBER),
            (&format!("presses {number}#"), ASK_PIN),
            ("presses 271828#", NOTHING),
        ]);
    }
}

#[test]
fn an_anonymous_caller_enters_the_mailbox_number() {
    let start = Start { caller: Caller::default(), caller_address: None, ..access() };
    Talk::new(start, Options::default(), FakeStore::new()).goes(&[("calls", ASK_NUMBER), ("presses 1001#", ASK_PIN)]);
}

#[test]
fn an_owner_who_calls_the_own_mailbox_directly_is_asked_for_the_pin() {
    let kind = Kind::Answering { mailbox: Address::Extension("1001".into()), reason: Reason::Direct };
    let by_alice = Start { kind, ..access_by_alice() };
    Talk::new(by_alice, Options::default(), FakeStore::new()).goes(&[
        ("calls", "welcome enter-pin press pound"),
        ("hangs-up", "[ended: UnauthenticatedPilot, CallerHungUp]"),
    ]);
    let kind = Kind::Answering { mailbox: Address::Extension("1001".into()), reason: Reason::NoAnswer };
    let diverted = Start { kind, ..access_by_alice() };
    Talk::new(diverted, Options::default(), FakeStore::new()).goes(&[("calls", "the-person-at*")]);
}

#[test]
fn another_mailbox_is_reached_by_the_clear_key() {
    with(FakeStore::new()).goes(&[
        ("calls", "welcome enter-pin press pound"),
        ("presses *", "enter-mailbox press pound"),
        ("presses 99*1001#", ASK_PIN),
    ]);
}

#[test]
fn three_wrong_pins_end_the_call() {
    let mut talk = with(FakeStore::new());
    talk.goes(&[
        ("calls", "welcome enter-pin press pound"),
        ("presses 111111#", "wrong-logon enter-pin press pound"),
        ("presses 222222#", "wrong-logon enter-pin press pound"),
        ("presses 333333#", "wrong-logon goodbye"),
        ("listens", "[hangs up] [ended: UnauthenticatedPilot, LogonFailed]"),
    ]);
    assert_eq!(talk.events, [Event::LogonFailed; 3]);
    assert_eq!(talk.outcome.unwrap().mailbox, None);
}

#[test]
fn a_mailbox_that_does_not_exist_sounds_like_a_wrong_pin_and_costs_the_same() {
    let mut talk = Talk::new(access(), Options::default(), FakeStore::new());
    talk.goes(&[
        ("calls", ASK_NUMBER),
        ("presses 4711#", ASK_PIN),
        ("presses 271828#", "wrong-logon enter-pin press pound"),
    ]);
    assert_eq!(talk.store.kept().compared_for_nobody, 1);
    let number_of_too_many_digits = format!("presses {}#", "1".repeat(24));
    let mut talk = Talk::new(access(), Options::default(), FakeStore::new());
    talk.goes(&[("calls", ASK_NUMBER), (&number_of_too_many_digits, ASK_PIN)]);
}

#[test]
fn too_many_wrong_pins_lock_the_mailbox_over_all_calls() {
    let mut store = FakeStore::new();
    for _ in 0..5 {
        let mut talk = with(store);
        talk.goes(&[("calls", "welcome enter-pin press pound")]);
        for _ in 0..3 {
            talk.goes(&[("presses 999999#", "wrong-logon*")]);
        }
        drop(talk.call);
        store = std::sync::Arc::into_inner(talk.store).unwrap();
    }
    assert!(store.kept().pins.locked);
    let mut talk = with(store);
    talk.goes(&[
        ("calls", "welcome enter-pin press pound"),
        ("presses 271828#", "locked goodbye"),
        ("listens", "[hangs up] [ended: UnauthenticatedPilot, LogonFailed]"),
    ]);
    assert_eq!(talk.events, [Event::LockedOut]);
}

#[test]
fn a_pin_of_too_many_digits_is_wrong() {
    let pin = format!("presses {PIN}{}#", "0".repeat(24));
    with(FakeStore::new()).goes(&[("calls", "welcome enter-pin*"), (&pin, "wrong-logon enter-pin press pound")]);
}

#[test]
fn a_pin_needs_no_finish_key() {
    with(FakeStore::new()).goes(&[
        ("calls", "welcome enter-pin press pound"),
        ("presses 271828", ""),
        ("lets-pass 2.9", ""),
        ("lets-pass 0.2", NOTHING),
    ]);
}

#[test]
fn a_caller_who_enters_nothing_is_asked_three_times() {
    let again = "are-you-there enter-pin press pound";
    let mut talk = with(FakeStore::new());
    talk.goes(&[
        ("calls", "welcome enter-pin press pound"),
        ("listens", ""),
        ("waits", again),
        ("listens", ""),
        ("waits", again),
        ("listens", ""),
        ("waits", "goodbye"),
        ("listens", "[hangs up] [ended: UnauthenticatedPilot, InputsFailed]"),
    ]);
    assert_eq!(talk.events, [Event::InputsFailed]);
}

#[test]
fn a_pin_given_by_an_administrator_must_be_changed_first() {
    let store = FakeStore::new();
    store.kept().pins.must_change = true;
    let mut talk = with(store);
    talk.goes(&[
        ("calls", "welcome enter-pin press pound"),
        ("presses 271828#", "must-change-pin enter-new-pin press pound"),
        ("presses 314159#", "enter-pin-again press pound"),
        ("presses 314159#", NOTHING),
    ]);
    assert_eq!(talk.events, [Event::LoggedOn, Event::PinChanged]);
    assert_eq!(talk.store.kept().pins.used, ["271828", "314159"]);
    assert_eq!(talk.store.kept().pins.chosen, wall());
}

#[test]
fn an_expired_pin_must_be_changed_first() {
    let store = FakeStore::new();
    store.kept().pins.chosen = "2026-08-21T13:00:00Z".parse().unwrap();
    let mut talk = with(store);
    talk.goes(&[
        ("calls", "welcome enter-pin press pound"),
        ("presses 271828#", "pin-expired enter-new-pin press pound"),
        ("hangs-up", "[ended: SubscriberAccess, CallerHungUp]"),
    ]);
    assert_eq!(talk.store.kept().pins.used, ["271828"]);
}

#[test]
fn a_bad_new_pin_is_refused_with_its_reason() {
    for (pin, said) in [
        ("234567", "pin-too-easy enter-new-pin press pound"),
        ("31415", "pin-too-short at-least 6 digits enter-new-pin press pound"),
        ("551001", "pin-own-number enter-new-pin press pound"),
        ("3141592653589793238462643", "pin-too-long enter-new-pin press pound"),
    ] {
        let store = FakeStore::new();
        store.kept().pins.must_change = true;
        with(store).goes(&[
            ("calls", "welcome*"),
            ("presses 271828#", "must-change-pin*"),
            (&format!("presses {pin}#"), said),
        ]);
    }
}

#[test]
fn nobody_gets_past_a_pin_that_must_be_changed() {
    let store = FakeStore::new();
    store.kept().pins.must_change = true;
    with(store).goes(&[
        ("calls", "welcome*"),
        ("presses 271828#", "must-change-pin*"),
        ("presses 271828#", "enter-pin-again press pound"),
        ("presses 271828#", "pin-used-before enter-new-pin press pound"),
        ("presses 314159#", "enter-pin-again press pound"),
        ("presses 314158#", "pins-differ enter-new-pin press pound"),
        ("presses 111111#", "goodbye"),
        ("listens", "[hangs up] [ended: SubscriberAccess, InputsFailed]"),
    ]);
}

#[test]
fn messages_are_heard_in_order_with_caller_and_time() {
    let store = FakeStore::new();
    store.message(Some("2002"), "2026-10-20T12:15:00Z", MessageState::New);
    store.message(None, "2026-10-18T22:05:00Z", MessageState::New);
    store.message(Some("sip:bob@a.test"), "2025-12-24T17:30:00Z", MessageState::Saved);
    let mut talk = with(store);
    talk.goes(&[
        ("calls", "welcome enter-pin press pound"),
        (
            "presses 271828#",
            "you-have 2 new-messages and 1 saved-message-one to-hear-new press 1 to-hear-saved press 8*",
        ),
        ("presses 1", "new-message from 2 0 0 2 received today at 2 15 p-m"),
        ("listens", "<message>"),
        ("listens", &format!("[saved] {MESSAGE_MENU}")),
        ("presses #", ""),
        ("waits", "new-message unknown-caller received yesterday at 12 oh 5 a-m"),
        ("listens", "<message>"),
        ("presses ##", "[saved] no-more-messages you-have no new-messages and 3 saved-messages to-hear-saved press 8*"),
        ("presses 8", "saved-message from 2 0 0 2 received today*"),
        ("presses ##", "saved-message unknown-caller received yesterday*"),
        ("presses ##", "saved-message unknown-caller received on december 20 4th 20 20 5 at 6 30 p-m"),
        ("hangs-up", "[ended: SubscriberAccess, CallerHungUp]"),
    ]);
    assert_eq!(talk.events, [Event::LoggedOn, Event::MessageHeard]);
    assert_eq!(states(&talk), ["saved", "saved", "saved"]);
}

#[test]
fn a_message_skipped_before_it_was_heard_stays_new() {
    let store = FakeStore::new();
    store.message(Some("2002"), "2026-10-20T12:15:00Z", MessageState::New);
    let mut talk = logged_on(store);
    talk.goes(&[("presses 1", "new-message*"), ("presses ##", "no-more-messages you-have 1 new-message-one*")]);
    assert_eq!(states(&talk), ["new"]);
}

#[test]
fn a_message_is_deleted_and_brought_back_before_the_call_ends() {
    let store = FakeStore::new();
    store.message(Some("2002"), "2026-10-20T12:15:00Z", MessageState::New);
    let mut talk = logged_on(store);
    talk.goes(&[
        ("presses 1", "new-message*"),
        ("listens", "<message>"),
        ("presses 7", &format!("[deleted] message-deleted {MESSAGE_MENU}")),
        ("presses 4", "deleted-message from 2 0 0 2*"),
        ("presses 7", &format!("[saved] message-restored {MESSAGE_MENU}")),
        ("presses 7", "[deleted] message-deleted*"),
        ("presses *", NOTHING),
    ]);
    assert_eq!(states(&talk), ["deleted"]);
    assert!(talk.events.contains(&Event::MessageDeleted));
}

#[test]
fn a_message_is_repeated_saved_kept_new_and_gone_back_to() {
    let store = FakeStore::new();
    store.message(Some("2001"), "2026-10-20T12:15:00Z", MessageState::New);
    store.message(Some("2002"), "2026-10-20T12:16:00Z", MessageState::New);
    let mut talk = logged_on(store);
    talk.goes(&[
        ("presses 1", "new-message from 2 0 0 1*"),
        ("presses 4", "new-message from 2 0 0 1*"),
        ("presses 11", "first-message new-message from 2 0 0 1*"),
        ("listens", "<message>"),
        ("presses 5", "[saved] message-saved new-message from 2 0 0 2*"),
        ("presses 11", "saved-message from 2 0 0 1*"),
        ("presses ##", "new-message from 2 0 0 2*"),
        ("listens", "<message>"),
        ("listens", &format!("[saved] {MESSAGE_MENU}")),
        ("presses 9", "[new] no-more-messages you-have 1 new-message-one and 1 saved-message-one*"),
    ]);
    assert_eq!(states(&talk), ["saved", "new"]);
}

#[test]
fn a_partial_message_says_so_and_a_damaged_one_too() {
    let store = FakeStore::new();
    store.message(Some("2001"), "2026-10-20T12:15:00Z", MessageState::New);
    store.kept().messages[0].1.partial = true;
    let mut talk = logged_on(store);
    talk.goes(&[
        ("presses 1", "new-message from 2 0 0 1 received today at 2 15 p-m message-partial"),
        ("listens", "<message>"),
        ("cannot-hear", &format!("message-damaged {MESSAGE_MENU}")),
    ]);
    assert_eq!(states(&talk), ["new"]);
}

#[test]
fn a_store_that_cannot_move_a_message_leaves_it_and_says_so() {
    let store = FakeStore::new();
    store.message(Some("2001"), "2026-10-20T12:15:00Z", MessageState::New);
    let mut talk = logged_on(store);
    talk.goes(&[("presses 1", "new-message*")]);
    talk.store.kept().fail_others = vec![StoreError::Unavailable];
    talk.goes(&[("presses 7", "[deleted] [failed: Unavailable] technical-problem to-repeat*")]);
    assert_eq!(states(&talk), ["new"]);
}

#[test]
fn an_empty_list_is_told() {
    logged_on(FakeStore::new()).goes(&[("presses 1", "no-messages you-have no new-messages*")]);
}

#[test]
fn an_own_greeting_is_recorded_heard_and_in_use_at_once() {
    let mut talk = logged_on(FakeStore::new());
    talk.goes(&[
        ("presses 6", "using-standard to-record-own press 1 to-record-out-of-office press 2 to-record-name press 3 to-change-pin press 7 to-go-back press star"),
        ("presses 1", "record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 300 s]"),
        ("speaks 4", ""),
        ("presses #", REVIEW),
        ("presses 2", &format!("<recording> {REVIEW}")),
        ("presses 1", "[synced greeting] [uses own] greeting-saved using-own*"),
    ]);
    let kept = talk.store.kept();
    assert_eq!(kept.mailboxes[0].greeting, GreetingInUse::Own);
    assert!(kept.mailboxes[0].recorded(GreetingKind::Own).is_some() && kept.recordings.is_empty());
}

#[test]
fn an_out_of_office_greeting_waits_until_it_is_chosen() {
    let mut talk = logged_on(FakeStore::new());
    talk.goes(&[
        ("presses 6", "using-standard*"),
        ("presses 6", "greeting-missing using-standard*"),
        ("presses 2", "record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 300 s]"),
        ("falls-silent 4", REVIEW),
        ("presses #", "[synced greeting] greeting-saved using-standard*"),
        ("presses 6", "[uses out-of-office] using-out-of-office*"),
        ("presses 4", "[uses standard] using-standard*"),
    ]);
}

#[test]
fn a_greeting_that_was_not_accepted_is_discarded() {
    for (does, then) in [
        ("presses 7", "[discards] cancelled using-standard*"),
        ("hangs-up", "[discards] [ended: SubscriberAccess, CallerHungUp]"),
        ("presses 3", "[discards] record-after-tone"),
    ] {
        let mut talk = logged_on(FakeStore::new());
        talk.goes(&[
            ("presses 61", "record-after-tone"),
            ("listens", "<tone>"),
            ("listens", "[records at most 300 s]"),
            ("speaks 4", ""),
            ("presses #", REVIEW),
            (does, then),
        ]);
        assert!(talk.store.kept().mailboxes[0].recorded.is_empty());
    }
}

#[test]
fn a_greeting_is_discarded_when_its_owner_hangs_up_while_recording() {
    let mut talk = logged_on(FakeStore::new());
    talk.goes(&[
        ("presses 63", "record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 300 s]"),
        ("speaks 4", ""),
        ("hangs-up", "[discards] [ended: SubscriberAccess, CallerHungUp]"),
    ]);
    assert!(talk.store.kept().recordings.is_empty());
}

#[test]
fn a_greeting_without_audio_is_asked_for_again() {
    let mut talk = logged_on(FakeStore::new());
    talk.goes(&[
        ("presses 63", "record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 300 s]"),
        ("falls-silent 0.1", "[discards] nothing-recorded record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 300 s]"),
        ("falls-silent 0.6", REVIEW),
    ]);
}

#[test]
fn a_pin_is_changed_by_menu() {
    let mut talk = logged_on(FakeStore::new());
    talk.goes(&[
        ("presses 67", "enter-new-pin press pound"),
        ("presses 314159#", "enter-pin-again press pound"),
        ("presses 314159#", "pin-changed using-standard*"),
        ("presses *", NOTHING),
    ]);
}

#[test]
fn the_operator_is_reached_from_the_main_menu_and_gives_the_owner_back() {
    logged_on(FakeStore::new()).goes(&[
        ("presses 00", "[transfers to sip:operator@example.test]"),
        ("is-not-transferred", &format!("operator-failed {NOTHING}")),
        ("presses 00", "[transfers to sip:operator@example.test]"),
        ("is-transferred", "[hangs up] [ended: SubscriberAccess, Transferred]"),
    ]);
}

#[test]
fn keys_pressed_ahead_are_taken_in_order() {
    let store = FakeStore::new();
    store.message(Some("2001"), "2026-10-20T12:15:00Z", MessageState::New);
    let mut talk = Talk::new(access(), Options::default(), store);
    talk.held_back = Some(Default::default());
    talk.goes(&[("calls", ""), ("presses 1001#271828#1", "")]);
    let came: Vec<String> = (0..5).map(|_| talk.store_catches_up()).collect();
    assert!(came.iter().any(|came| came == "new-message from 2 0 0 1 received today at 2 15 p-m"), "{came:?}");
}

#[test]
fn wrong_keys_end_the_call_when_there_are_too_many() {
    let mut talk = logged_on(FakeStore::new());
    talk.goes(&[
        ("presses 2", &format!("wrong-key {NOTHING}")),
        ("presses 5", &format!("wrong-key {NOTHING}")),
        ("presses 9", "goodbye"),
        ("listens", "[hangs up] [ended: SubscriberAccess, InputsFailed]"),
    ]);
}

#[test]
fn the_longest_call_ends_an_owner_s_call_too() {
    let options = Options { call_max: Duration::from_secs(3), ..Options::default() };
    Talk::new(access_by_alice(), options, FakeStore::new()).goes(&[
        ("calls", "welcome*"),
        ("waits", "call-too-long goodbye"),
        ("listens", "[hangs up] [ended: UnauthenticatedPilot, CallTooLong]"),
    ]);
}

#[test]
fn a_store_that_fails_ends_a_logon() {
    let store = FakeStore::new();
    store.kept().fail_others = vec![StoreError::Unavailable];
    with(store).goes(&[("calls", "[failed: Unavailable] technical-problem goodbye")]);
}

#[test]
fn the_presets_speak_of_their_own_keys() {
    for (preset, said) in [
        (
            "asterisk",
            "you-have no new-messages and no saved-messages to-change-options press 0 to-hear-again press star to-end press pound",
        ),
        (
            "cisco",
            "you-have no new-messages and no saved-messages to-change-options press 4 to-hear-again press 0 to-end press star",
        ),
    ] {
        let options = Options { keys: KeyMap::preset(preset).unwrap().into(), ..Options::default() };
        let mut talk = Talk::new(access_by_alice(), options, FakeStore::new());
        talk.goes(&[("calls", "welcome*"), ("presses 271828#", said)]);
    }
}

#[test]
fn an_unknown_language_is_spoken_to_in_english() {
    let store = FakeStore::new();
    store.kept().mailboxes[0].language = "tlh".into();
    let start = Start { caller_address: None, ..answering() };
    Talk::new(start, Options::default(), store).goes(&[("calls", "the-person-at 1 0 0 1*")]);
}
