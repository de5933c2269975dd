//! Whole calls of somebody who reaches a mailbox.

use std::collections::VecDeque;
use std::time::Duration;

use crate::store::{FakeStore, alice};
use crate::talk::{Talk, answering};
use postern_mailbox::*;

const GREETING: &str = "the-person-at 1 0 0 1 is-not-available leave-message to-finish press pound";
const REVIEW: &str = "to-accept press 1 to-listen press 2 to-record-again press 3 to-cancel press 7 \
                      to-reach-operator press 0";
const TO_TONE: [(&str, &str); 3] =
    [("calls", GREETING), ("listens", "<tone>"), ("listens", "[records at most 1200 s]")];

fn talk() -> Talk {
    Talk::new(answering(), Options::default(), FakeStore::new())
}

fn with(store: FakeStore) -> Talk {
    Talk::new(answering(), Options::default(), store)
}

fn messages(talk: &Talk) -> Vec<Message> {
    talk.store.kept().messages.iter().map(|(_, message)| message.clone()).collect()
}

fn nothing_open(talk: &Talk) -> bool {
    talk.store.kept().recordings.is_empty()
}

#[test]
fn a_message_is_accepted_by_key_and_synced_before_the_caller_is_told() {
    let mut talk = talk();
    talk.goes(&TO_TONE).goes(&[
        ("speaks 8", ""),
        ("presses #", REVIEW),
        ("presses 1", "[synced 8 s] message-accepted goodbye"),
        ("listens", "[hangs up] [ended: message of 8 s, Finished]"),
    ]);
    let left = messages(&talk);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].caller.address.as_deref(), Some("sip:2002@example.test"));
    assert_eq!(left[0].received, crate::store::wall());
    assert_eq!(talk.events, [Event::MessageLeft]);
    assert!(nothing_open(&talk));
}

#[test]
fn a_message_is_accepted_when_its_caller_hangs_up() {
    let mut talk = talk();
    talk.goes(&TO_TONE).goes(&[("speaks 8", ""), ("hangs-up", "[synced 8 s] [ended: message of 8 s, CallerHungUp]")]);
    assert_eq!(messages(&talk).len(), 1);
}

#[test]
fn a_message_is_accepted_when_its_caller_hangs_up_in_the_menu() {
    let mut talk = talk();
    talk.goes(&TO_TONE)
        .goes(&[("falls-silent 3", REVIEW), ("hangs-up", "[synced 3 s] [ended: message of 3 s, CallerHungUp]")]);
}

#[test]
fn a_message_is_accepted_when_media_is_lost() {
    let mut talk = talk();
    talk.goes(&TO_TONE)
        .goes(&[("speaks 2", ""), ("loses-media", "[synced 2 s] [hangs up] [ended: message of 2 s, MediaLost]")]);
}

#[test]
fn a_message_is_accepted_when_the_longest_call_is_reached() {
    let options = Options { call_max: Duration::from_secs(60), ..Options::default() };
    let mut talk = Talk::new(answering(), options, FakeStore::new());
    talk.goes(&TO_TONE).goes(&[
        ("waits", "[synced 60 s] call-too-long message-accepted goodbye"),
        ("listens", "[hangs up] [ended: message of 60 s, CallTooLong]"),
    ]);
}

#[test]
fn a_message_ends_at_its_limit_and_waits_for_its_caller() {
    let mut talk = talk();
    talk.goes(&TO_TONE).goes(&[
        ("reaches-limit", &format!("limit-reached {REVIEW}")),
        ("presses #", "[synced 1200 s] message-accepted goodbye"),
        ("listens", "[hangs up] [ended: message of 1200 s, Finished]"),
    ]);
}

#[test]
fn a_message_whose_caller_says_nothing_more_is_accepted() {
    let mut talk = talk();
    let again = format!("are-you-there {REVIEW}");
    talk.goes(&TO_TONE).goes(&[
        ("falls-silent 4", REVIEW),
        ("listens", ""),
        ("waits", &again),
        ("listens", ""),
        ("waits", &again),
        ("listens", ""),
        ("waits", "[synced 4 s] message-accepted goodbye"),
        ("listens", "[hangs up] [ended: message of 4 s, InputsFailed]"),
    ]);
}

#[test]
fn a_caller_who_hangs_up_during_the_greeting_is_a_missed_call() {
    let mut talk = talk();
    talk.goes(&[("calls", GREETING), ("hangs-up", "[discards] [ended: MissedCall, CallerHungUp]")]);
    assert_eq!(talk.events, [Event::CallMissed]);
    assert!(nothing_open(&talk) && messages(&talk).is_empty());
}

#[test]
fn less_than_a_second_is_no_message() {
    let mut talk = talk();
    talk.goes(&TO_TONE).goes(&[("speaks 0.9", ""), ("hangs-up", "[discards] [ended: MissedCall, CallerHungUp]")]);
    assert!(nothing_open(&talk) && messages(&talk).is_empty());
}

#[test]
fn exactly_a_second_is_a_message() {
    let mut talk = talk();
    talk.goes(&TO_TONE).goes(&[("speaks 1", ""), ("hangs-up", "[synced 1 s] [ended: message of 1 s, CallerHungUp]")]);
}

#[test]
fn a_caller_who_says_nothing_is_asked_twice_again() {
    let mut talk = talk();
    talk.goes(&TO_TONE).goes(&[
        ("falls-silent 0", "[discards] nothing-recorded record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 1200 s]"),
        ("falls-silent 0.2", "[discards] nothing-recorded record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 1200 s]"),
        ("falls-silent 0", "[discards] nothing-recorded goodbye"),
        ("listens", "[hangs up] [ended: MissedCall, InputsFailed]"),
    ]);
    assert!(nothing_open(&talk));
}

#[test]
fn the_greeting_can_be_skipped() {
    talk().goes(&[("calls", GREETING), ("presses #", "<tone>"), ("listens", "[records at most 1200 s]")]);
}

#[test]
fn keys_pressed_during_the_tone_end_no_recording() {
    talk().goes(&[
        ("calls", GREETING),
        ("presses ###", "<tone>"),
        ("listens", "[records at most 1200 s]"),
        ("speaks 3", ""),
        ("presses 5", ""),
        ("hangs-up", "[synced 3 s] [ended: message of 3 s, CallerHungUp]"),
    ]);
}

#[test]
fn a_caller_listens_and_records_again() {
    let mut talk = talk();
    talk.goes(&TO_TONE).goes(&[
        ("speaks 8", ""),
        ("presses #", REVIEW),
        ("presses 2", &format!("<recording> {REVIEW}")),
        ("presses 3", "record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 1200 s]"),
        ("speaks 5", ""),
        ("presses #", REVIEW),
        ("presses 1", "[synced 5 s] [discards] message-accepted goodbye"),
        ("listens", "[hangs up] [ended: message of 5 s, Finished]"),
    ]);
    assert_eq!(messages(&talk).len(), 1);
    assert!(nothing_open(&talk));
}

#[test]
fn a_take_that_came_to_nothing_does_not_cost_the_one_before() {
    let mut talk = talk();
    talk.goes(&TO_TONE).goes(&[
        ("speaks 8", ""),
        ("presses #", REVIEW),
        ("presses 3", "record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 1200 s]"),
        ("speaks 0.5", ""),
        ("hangs-up", "[discards] [synced 8 s] [ended: message of 8 s, CallerHungUp]"),
    ]);
    assert!(nothing_open(&talk));
}

#[test]
fn a_caller_who_cancels_leaves_nothing() {
    let mut talk = talk();
    talk.goes(&TO_TONE).goes(&[
        ("speaks 8", ""),
        ("presses #", REVIEW),
        ("presses 7", "[discards] cancelled goodbye"),
        ("listens", "[hangs up] [ended: MissedCall, Finished]"),
    ]);
    assert!(nothing_open(&talk) && messages(&talk).is_empty());
}

#[test]
fn the_operator_is_reached_from_the_greeting() {
    let mut talk = talk();
    talk.goes(&[
        ("calls", GREETING),
        ("presses *", "[transfers to sip:operator@example.test]"),
        ("is-transferred", "[discards] [hangs up] [ended: MissedCall, Transferred]"),
    ]);
    assert!(nothing_open(&talk));
}

#[test]
fn an_operator_who_does_not_answer_gives_the_caller_back() {
    talk().goes(&[
        ("calls", GREETING),
        ("presses 0", "[transfers to sip:operator@example.test]"),
        ("is-not-transferred", "[discards] operator-failed record-after-tone"),
        ("listens", "<tone>"),
        ("listens", "[records at most 1200 s]"),
        ("speaks 2", ""),
        ("hangs-up", "[synced 2 s] [ended: message of 2 s, CallerHungUp]"),
    ]);
}

#[test]
fn a_message_is_kept_when_its_caller_goes_on_to_the_operator() {
    talk().goes(&TO_TONE).goes(&[
        ("speaks 4", ""),
        ("presses #", REVIEW),
        ("presses 0", "[transfers to sip:operator@example.test]"),
        ("is-transferred", "[synced 4 s] [hangs up] [ended: message of 4 s, Transferred]"),
    ]);
    talk().goes(&TO_TONE).goes(&[
        ("speaks 4", ""),
        ("presses #", REVIEW),
        ("presses *", "[transfers to sip:operator@example.test]"),
        ("waits", "[synced 4 s] operator-failed message-accepted goodbye"),
        ("listens", "[hangs up] [ended: message of 4 s, Finished]"),
    ]);
}

#[test]
fn a_key_reaches_the_operator_out_of_a_recording_where_the_map_says_so() {
    let options = Options { keys: KeyMap::preset("asterisk").unwrap().into(), ..Options::default() };
    let mut talk = Talk::new(answering(), options, FakeStore::new());
    talk.goes(&TO_TONE).goes(&[
        ("speaks 4", ""),
        ("presses 0", "[transfers to sip:operator@example.test]"),
        ("hangs-up", "[synced 4 s] [ended: message of 4 s, CallerHungUp]"),
    ]);
}

#[test]
fn a_mailbox_without_operator_offers_none() {
    let store = FakeStore::new();
    store.kept().mailboxes[0].operator = None;
    with(store).goes(&TO_TONE).goes(&[
        ("speaks 4", ""),
        ("presses #", "to-accept press 1 to-listen press 2 to-record-again press 3 to-cancel press 7"),
        ("presses 0", "no-operator to-accept press 1*"),
    ]);
}

#[test]
fn the_operator_of_the_plan_is_that_of_mailboxes_that_do_not_say() {
    let goes = |own: Option<&str>, then: &str| {
        let store = FakeStore::new();
        store.kept().mailboxes[0].operator = own.map(str::to_owned);
        let options = Options { operator: Some("0".into()), ..Options::default() };
        Talk::new(answering(), options, store).goes(&TO_TONE).goes(&[
            ("speaks 4", ""),
            ("presses #", "to-accept press 1*"),
            ("presses 0", then),
        ]);
    };
    goes(None, "[transfers to 0]");
    goes(Some("9"), "[transfers to 9]");
    goes(Some(""), "no-operator to-accept press 1*");
}

#[test]
fn a_mailbox_with_a_quota_of_its_own_is_full_at_that_one() {
    let goes = |messages, does: &str| {
        let store = FakeStore::new();
        store.kept().mailboxes[0].quota.messages = Some(messages);
        for _ in 0..2 {
            store.message(None, "2026-10-01T00:00:00Z", MessageState::Saved);
        }
        with(store).goes(&[("calls", does)]);
    };
    goes(2, "mailbox-full goodbye");
    goes(3, "the-person-at 1 0 0 1 is-not-available leave-message to-finish press pound");
}

#[test]
fn a_full_mailbox_says_so() {
    let store = FakeStore::new();
    for _ in 0..100 {
        store.message(None, "2026-10-01T00:00:00Z", MessageState::Saved);
    }
    let mut talk = with(store);
    talk.goes(&[("calls", "mailbox-full goodbye"), ("listens", "[hangs up] [ended: MissedCall, Refused]")]);
    assert_eq!(talk.events, [Event::MailboxFull, Event::CallMissed]);
}

#[test]
fn a_mailbox_without_room_for_a_second_is_full() {
    let store = FakeStore::new();
    store.kept().audio_left = Duration::from_millis(999);
    let mut talk = with(store);
    talk.goes(&[("calls", "[discards] mailbox-full goodbye"), ("hangs-up", "[ended: MissedCall, Refused]")]);
    assert!(nothing_open(&talk));
}

#[test]
fn a_message_is_no_longer_than_the_room_left() {
    let store = FakeStore::new();
    store.kept().audio_left = Duration::from_secs(90);
    with(store).goes(&[
        ("calls", GREETING),
        ("presses #", "<tone>"),
        ("listens", "[records at most 90 s]"),
        ("reaches-limit", "limit-reached to-accept*"),
    ]);
}

#[test]
fn a_fourth_deposit_at_once_is_refused() {
    assert_too_many_after(3, Options::default());
}

#[test]
fn how_many_deposits_there_may_be_at_once_is_an_option() {
    assert_too_many_after(1, Options { deposits_max: 1, ..Options::default() });
}

/// A call while so many others record to the mailbox.
fn assert_too_many_after(others: usize, options: Options) {
    let store = FakeStore::new();
    let deposit = || Beginning {
        mailbox: alice().id,
        purpose: Purpose::Deposit {
            caller: Caller::default(),
            quota: Quota::default(),
            deposits_max: 3,
            replaces: None,
        },
        rate_hz: 8000,
        begun: crate::store::wall(),
    };
    (0..others).for_each(|_| drop(store.answer(StoreRequest::BeginRecording(deposit()))));
    let mut talk = Talk::new(answering(), options, store);
    talk.goes(&[("calls", "mailbox-busy goodbye"), ("listens", "[hangs up] [ended: MissedCall, Refused]")]);
    assert_eq!(talk.events[0], Event::TooManyDeposits);
}

#[test]
fn a_full_disk_is_announced() {
    let store = FakeStore::new();
    store.kept().fail_begin = vec![StoreError::DiskFull];
    let mut talk = with(store);
    talk.goes(&[
        ("calls", "[failed: DiskFull] cannot-record goodbye"),
        ("listens", "[hangs up] [ended: MissedCall, StoreFailed]"),
    ]);
    assert_eq!(talk.events[0], Event::DiskFull);
}

#[test]
fn a_disk_that_fills_up_meanwhile_keeps_what_it_has() {
    let mut talk = talk();
    talk.goes(&TO_TONE).goes(&[
        ("fills-the-disk 20", "[synced 20 s] limit-reached message-accepted goodbye"),
        ("listens", "[hangs up] [ended: message of 20 s, StoreFailed]"),
    ]);
    assert_eq!(talk.events, [Event::DiskFull, Event::MessageLeft]);
}

#[test]
fn a_store_that_does_not_confirm_is_asked_again_and_then_the_caller_is_told() {
    let store = FakeStore::new();
    store.kept().fail_finish = vec![StoreError::Busy];
    with(store).goes(&TO_TONE).goes(&[
        ("speaks 8", ""),
        ("presses #", REVIEW),
        ("presses 1", "[failed: Busy]"),
        ("waits", "[synced 8 s] message-accepted goodbye"),
    ]);

    let store = FakeStore::new();
    store.kept().fail_finish = vec![StoreError::Unavailable; 3];
    let mut talk = with(store);
    talk.goes(&TO_TONE).goes(&[
        ("speaks 8", ""),
        ("presses #", REVIEW),
        ("presses 1", "[failed: Unavailable]"),
        ("waits", "[failed: Unavailable]"),
        ("waits", "[failed: Unavailable] message-not-accepted goodbye"),
        ("listens", "[hangs up] [ended: VoiceMessageUnconfirmed, Finished]"),
    ]);
    assert!(!nothing_open(&talk), "recovery finds it");
}

#[test]
fn an_unknown_mailbox_is_told() {
    let kind = Kind::Answering { mailbox: Address::Extension("4711".into()), reason: Reason::Direct };
    let mut talk = Talk::new(Start { kind, ..answering() }, Options::default(), FakeStore::new());
    talk.goes(&[("calls", "mailbox-unknown goodbye"), ("listens", "[hangs up] [ended: MissedCall, Refused]")]);
    assert_eq!(talk.events, [Event::MailboxUnknown]);
}

#[test]
fn a_store_that_does_not_answer_is_a_technical_problem() {
    let mut talk = talk();
    talk.held_back = Some(VecDeque::new());
    talk.goes(&[
        ("calls", ""),
        ("waits", "technical-problem goodbye"),
        ("listens", "[hangs up] [ended: MissedCall, StoreFailed]"),
    ]);
}

#[test]
fn a_recording_opened_too_late_is_closed_again() {
    let mut talk = talk();
    talk.held_back = Some(VecDeque::new());
    talk.goes(&[("calls", "")]);
    let found = talk.held_back.as_mut().unwrap().pop_front().unwrap();
    talk.call.handle(Input::Stored(found.0, found.1), talk.now);
    talk.goes(&[("speaks 0", ""), ("hangs-up", ""), ("store-answers", "[discards] [ended: MissedCall, CallerHungUp]")]);
    assert!(nothing_open(&talk));
}

#[test]
fn an_own_greeting_is_played_and_replaced_when_it_cannot_be_read() {
    let store = FakeStore::new();
    let own = RecordedGreeting { kind: GreetingKind::Own, id: GreetingId::new(1, [3; 10]) };
    store.kept().mailboxes[0].recorded = vec![own];
    store.kept().mailboxes[0].greeting = GreetingInUse::Own;
    with(store).goes(&[("calls", "<greeting>"), ("cannot-hear", GREETING), ("listens", "<tone>")]);
}

#[test]
fn the_greeting_in_use_decides_what_is_heard() {
    let name = RecordedGreeting { kind: GreetingKind::Name, id: GreetingId::new(1, [3; 10]) };
    for (in_use, recorded, addresses, heard) in [
        (GreetingInUse::Own, vec![], vec!["1001"], GREETING),
        (GreetingInUse::OutOfOffice, vec![name], vec!["1001"], "<greeting> is-not-available*"),
        (GreetingInUse::Standard, vec![name], vec!["1001"], "<greeting> is-not-available*"),
        (GreetingInUse::Standard, vec![], vec!["alice@a.test"], "the-person-you-called is-not-available*"),
        (GreetingInUse::Standard, vec![], vec!["alice@a.test", "+4930"], "the-person-at 4 9 3 0 is-not-available*"),
    ] {
        let store = FakeStore::new();
        let mut addresses: Vec<Address> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let mailbox = Address::Extension("1001".into());
        if !addresses.contains(&mailbox) {
            addresses.push(Address::Uri("called@a.test".into()));
        }
        let called = addresses.last().unwrap().clone();
        store.kept().mailboxes[0] = Mailbox { greeting: in_use, recorded, addresses, ..alice() };
        let kind = Kind::Answering { mailbox: called, reason: Reason::Busy };
        Talk::new(Start { kind, ..answering() }, Options::default(), store).goes(&[("calls", heard)]);
    }
}

#[test]
fn what_a_caller_says_of_itself_is_kept_up_to_a_limit() {
    let caller = Caller { address: Some("9".repeat(100_000)), name: Some("é".repeat(100_000)) };
    let mut talk = Talk::new(Start { caller, ..answering() }, Options::default(), FakeStore::new());
    talk.goes(&TO_TONE).goes(&[("speaks 2", ""), ("hangs-up", "[synced 2 s]*")]);
    let Caller { address, name } = messages(&talk).remove(0).caller;
    assert_eq!(address.map(|text| text.chars().count()), Some(limits::CALLER_CHARS_MAX));
    assert_eq!(name.map(|text| text.chars().count()), Some(limits::CALLER_CHARS_MAX));
}

#[test]
fn hold_lets_the_timers_rest() {
    talk().goes(&TO_TONE).goes(&[
        ("falls-silent 4", REVIEW),
        ("listens", ""),
        ("is-held", ""),
        ("lets-pass 600", ""),
        ("is-resumed", ""),
        ("lets-pass 4.9", ""),
        ("lets-pass 0.2", &format!("are-you-there {REVIEW}")),
    ]);
}

#[test]
fn a_player_or_recorder_that_falls_mute_ends_no_later_than_allowed() {
    talk().goes(&[
        ("calls", GREETING),
        ("waits", "<tone>"),
        ("waits", "[records at most 1200 s]"),
        ("waits", "to-accept*"),
    ]);
}
