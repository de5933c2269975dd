//! When letters are sent, again, and no more.

use std::os::unix::fs::PermissionsExt;

use jiff::SignedDuration;
use postern_mail::{DeadLetters, Event, Failure};
use postern_mailbox::{MessageState, Pin, Store};
use postern_store::{Blame, LetterKind};

use crate::support::*;

fn server_down() -> Result<(), Failure> {
    Err(Failure::Delayed { blame: Blame::Server, why: "down".into() })
}

fn not_now() -> Result<(), Failure> {
    Err(Failure::Delayed { blame: Blame::Letter, why: "451 greylisted".into() })
}

fn never() -> Result<(), Failure> {
    Err(Failure::Refused { why: "550 no such user".into() })
}

/// The time of the next attempt, in seconds from now.
fn wait_of(event: &Event, house: &House) -> i64 {
    let Event::Delayed { until, .. } = event else { panic!("{event:?}") };
    until.duration_since(house.now).as_secs()
}

#[tokio::test]
async fn a_letter_that_is_taken_is_sent_once() {
    let mut house = House::new().await;
    house.message(bob()).await;
    assert!(matches!(house.work().await[..], [Event::Sent { kind: LetterKind::Message, .. }]));
    house.pass(7 * 24 * 3600);
    assert_eq!(house.work().await, []);
    assert_eq!(house.taken().len(), 1);
}

#[tokio::test]
async fn a_letter_that_is_not_taken_waits_longer_each_time() {
    let mut house = House::new().await;
    house.message(bob()).await;
    house.will_say(std::iter::repeat_with(not_now).take(9));
    for middle in [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600] {
        let events = house.work().await;
        let [event] = &events[..] else { panic!("{events:?}") };
        let wait = wait_of(event, &house);
        assert!((middle * 79 / 100..=middle * 121 / 100).contains(&wait), "{wait} s, where {middle} s are the middle");
        house.pass(wait - 1);
        assert_eq!(house.work().await, [], "not before");
        house.pass(2);
    }
    assert!(matches!(house.work().await[..], [Event::Sent { .. }]));
}

#[tokio::test]
async fn one_letter_that_is_not_taken_holds_no_other_up() {
    let mut house = House::new().await;
    house.message(bob()).await;
    house.message(bob()).await;
    house.will_say([not_now(), Ok(())]);
    let events = house.work().await;
    assert!(matches!(events[..], [Event::Delayed { .. }, Event::Sent { .. }]), "{events:?}");
}

#[tokio::test]
async fn a_dead_server_only_delays() {
    let mut house = House::new().await;
    for _ in 0..3 {
        house.message(bob()).await;
    }
    house.will_say(std::iter::repeat_with(server_down).take(40));
    let mut attempts = 0;
    // Two hours of a server that is down.
    for _ in 0..720 {
        attempts += house.work().await.len();
        house.pass(10);
    }
    assert!((10..=40).contains(&attempts), "{attempts}: letters are spread, and the server is left alone meanwhile");
    house.carrier.says.lock().unwrap().clear();
    // Until the one that is due first.
    let mut sent = 0;
    for _ in 0..500 {
        sent += house.work().await.iter().filter(|event| matches!(event, Event::Sent { .. })).count();
        if sent > 0 {
            break;
        }
        house.pass(10);
    }
    assert_eq!(sent, 3, "the first one that is taken brings the others, whose time had not come");
    assert_eq!(house.store.letter_counts().await.unwrap().dead, 0);
}

#[tokio::test]
async fn a_letter_that_is_refused_is_given_up_into_a_file_of_its_own() {
    let mut house = House::new().await;
    house.message(bob()).await;
    house.will_say([never()]);
    let events = house.work().await;
    let [Event::GivenUp { letter, why, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(why, "550 no such user");
    let path = DeadLetters::of_queue(&house.scratch.0.join("mail")).path(*letter);
    let shown = house.carrier.shown.lock().unwrap()[0].clone();
    assert_eq!(std::fs::read(&path).unwrap(), shown);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let directory = path.parent().unwrap();
    assert_eq!(std::fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
    house.pass(30 * 24 * 3600);
    assert_eq!(house.work().await, [], "it is not tried by itself");

    assert_eq!(house.store.retry_letters(Some(*letter), house.now).await.unwrap(), 1);
    assert!(matches!(house.work().await[..], [Event::Sent { .. }]));
    assert_eq!(house.taken().len(), 1);
}

#[tokio::test]
async fn a_letter_is_given_up_after_three_days() {
    let mut house = House::new().await;
    house.message(bob()).await;
    house.will_say(std::iter::repeat_with(not_now).take(200));
    let begun = house.now;
    let given_up = loop {
        let events = house.work().await;
        if let Some(given_up) = events.into_iter().find(|event| matches!(event, Event::GivenUp { .. })) {
            break given_up;
        }
        house.pass(60);
    };
    let Event::GivenUp { why, .. } = given_up else { unreachable!() };
    assert_eq!(why, "451 greylisted", "its last error is what is told");
    let took = house.now.duration_since(begun);
    assert!(took >= SignedDuration::from_hours(71) && took <= SignedDuration::from_hours(73), "{took:?}");
    assert_eq!(house.store.letter_counts().await.unwrap().dead, 1);
}

#[tokio::test]
async fn a_pin_that_nobody_took_within_the_hour_is_gone_and_leaves_no_file() {
    let mut house = House::new().await;
    house.store.reset_pin_by_mail(house.alice, Pin::new("482615").unwrap()).await.unwrap();
    house.will_say(std::iter::repeat_with(server_down).take(200));
    for _ in 0..59 {
        assert!(!house.work().await.iter().any(|event| matches!(event, Event::GivenUp { .. })));
        house.pass(60);
    }
    house.pass(120);
    let events = house.work().await;
    assert!(matches!(events[0], Event::GivenUp { kind: LetterKind::PinReset, .. }), "{events:?}");
    assert!(!house.scratch.0.join("mail").exists());
    assert_eq!(house.store.retry_letters(None, house.now).await.unwrap(), 0);
}

#[tokio::test]
async fn a_letter_whose_message_was_deleted_is_not_sent() {
    let mut house = House::new().await;
    let message = house.message(bob()).await;
    house.will_say([not_now()]);
    house.work().await;
    house.store.set_message_state(house.alice, message, MessageState::Deleted).await.unwrap();
    house.pass(200);
    assert_eq!(house.work().await, [Event::Dropped { kind: LetterKind::Message }]);
    assert_eq!(house.taken().len(), 0);
}

#[tokio::test]
async fn files_that_belong_to_no_dead_letter_are_swept() {
    let mut house = House::new().await;
    house.message(bob()).await;
    house.will_say([never()]);
    let events = house.work().await;
    let [Event::GivenUp { letter, .. }] = &events[..] else { panic!("{events:?}") };
    let folder = DeadLetters::of_queue(&house.scratch.0.join("mail"));
    let (stray, young) =
        (postern_mailbox::LetterId::from_bytes([1; 16]), postern_mailbox::LetterId::from_bytes([2; 16]));
    for id in [stray, young] {
        folder.keep(id, b"x").unwrap();
    }
    for id in [stray, *letter] {
        let file = std::fs::File::options().write(true).open(folder.path(id)).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600)).unwrap();
    }
    let foreign = folder.path(stray).with_file_name("notes.txt");
    std::fs::write(&foreign, "an administrator's").unwrap();
    assert_eq!(house.outbox.tend(house.now).await.unwrap(), None);
    assert!(!folder.path(stray).exists(), "nothing lists it");
    assert!(folder.path(young).exists(), "it may be about to be listed");
    assert!(folder.path(*letter).exists() && foreign.exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_loses_no_letter() {
    let mut house = House::new().await;
    house.message(bob()).await;
    std::fs::write(house.scratch.0.join("mail"), "a file where the directory is to be").unwrap();
    house.will_say([never(), never()]);
    let events = house.work().await;
    assert!(matches!(events[..], [Event::FolderFailed { .. }]), "{events:?}");
    assert_eq!(house.store.letter_counts().await.unwrap().queued, 1);
    std::fs::remove_file(house.scratch.0.join("mail")).unwrap();
    house.pass(120);
    assert!(matches!(house.work().await[..], [Event::GivenUp { .. }]));
}
