//! Guessing passwords: counted before they are compared, over sessions and restarts, apart from PINs.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use postern_mailbox::{Pin, PinAttempt, PinVerdict, Store};
use postern_store::limits::{FIRST_LOCK, WRONG_PASSWORDS_FORGOTTEN, WRONG_PASSWORDS_MAX};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn guessing_at_once_and_over_a_restart_gains_no_attempt() {
    let bench = Bench::new().await;
    bench.owner(bench.alice).await;
    let half = WRONG_PASSWORDS_MAX / 2;
    let guesses = (0..half).map(|number| {
        let bench = &bench;
        async move { bench.sign_in("1001", &format!("guess number {number}")).await.refusal().1 }
    });
    // At once, as far as one task goes: each is counted before any is compared.
    let mut wrong = 0;
    for guess in guesses {
        wrong += u32::from(guess.await == "wrong");
    }
    let bench = bench.restarted().await;
    while bench.sign_in("1001", "another guess").await.refusal().1 == "wrong" {
        wrong += 1;
    }
    assert_eq!(wrong, WRONG_PASSWORDS_MAX);
    let right = bench.sign_in("1001", PASSWORD).await;
    assert_eq!(right.refusal(), (429, "locked".into()), "the right one is not looked at");
    let wait: u64 = right.header("retry-after").parse().unwrap();
    assert!((1..=FIRST_LOCK.as_secs() + 1).contains(&wait), "{wait}");

    // One more after the lock, and the next lock is longer.
    bench.pass(FIRST_LOCK);
    assert_eq!(bench.sign_in("1001", "yet another guess").await.refusal().1, "wrong");
    bench.pass(FIRST_LOCK);
    assert_eq!(bench.sign_in("1001", PASSWORD).await.refusal().1, "locked");
    bench.pass(FIRST_LOCK);
    assert_eq!(bench.sign_in("1001", PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_name_that_no_mailbox_has_is_told_from_one_by_nothing() {
    let bench = Bench::new().await;
    bench.owner(bench.alice).await;
    for _ in 0..WRONG_PASSWORDS_MAX + 1 {
        let (known, unknown) = (bench.sign_in("1001", "a guess").await, bench.sign_in("7777", "a guess").await);
        assert_eq!(known.refusal(), unknown.refusal());
        if known.refusal().1 == "wrong" {
            assert_eq!(known.body, unknown.body);
        }
        let names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&known), names(&unknown));
    }
    assert_eq!(bench.sign_in("7777", "a guess").await.refusal().1, "locked");
}

#[tokio::test]
async fn no_other_spelling_or_plan_of_a_name_tells_whether_it_has_a_mailbox() {
    let bench = Bench::new().await;
    bench.owner(bench.alice).await;
    for address in ["1001", "7777"] {
        while bench.sign_in(address, "a guess").await.refusal().1 == "wrong" {}
        let with_plus = format!("+{address}");
        for (mailbox, plan) in [(address, "office"), (address, "nowhere"), (&with_plus, "office"), (&with_plus, "x")] {
            bench.pass(postern_web::limits::ATTEMPT_EVERY);
            let wish = json!({"mailbox": mailbox, "plan": plan, "password": "a guess"});
            let refused = bench.ask(Method::POST, "/session", &[], Some(wish)).await.refusal();
            assert_eq!(refused, (429, "locked".into()), "{mailbox} of {plan}");
        }
    }
    // What is counted for a mailbox whose plan is another one is compared with nothing.
    bench.pass(FIRST_LOCK);
    let wish = json!({"mailbox": "1001", "plan": "nowhere", "password": PASSWORD});
    assert_eq!(bench.ask(Method::POST, "/session", &[], Some(wish)).await.refusal().1, "wrong");
}

#[tokio::test]
async fn a_day_after_the_last_lock_wrong_passwords_are_counted_anew() {
    let bench = Bench::new().await;
    bench.owner(bench.alice).await;
    for address in ["1001", "7777"] {
        while bench.sign_in(address, "a guess").await.refusal().1 == "wrong" {}
    }
    bench.pass(FIRST_LOCK + WRONG_PASSWORDS_FORGOTTEN + Duration::from_secs(1));
    for address in ["1001", "7777"] {
        for _ in 0..WRONG_PASSWORDS_MAX {
            assert_eq!(bench.sign_in(address, "a guess").await.refusal().1, "wrong");
        }
        assert_eq!(bench.sign_in(address, "a guess").await.refusal().1, "locked");
    }
}

#[tokio::test]
async fn phone_and_web_lock_apart_and_an_administrator_unlocks() {
    let bench = Bench::new().await;
    bench.owner(bench.alice).await;
    while bench.sign_in("1001", "a guess").await.refusal().1 == "wrong" {}
    let pin = |digits| PinAttempt { mailbox: Some(bench.alice), pin: Pin::new(digits).unwrap(), attempts_max: 15 };
    assert!(matches!(bench.store.verify_pin(pin("271828")).await, Ok(PinVerdict::Right { .. })));
    let unlock = "/admin/mailboxes/office/1001/unlock-web";
    assert_eq!(bench.as_admin(Method::POST, unlock, ADMIN).await.status, StatusCode::NO_CONTENT);
    while bench.store.verify_pin(pin("314159")).await.unwrap() == PinVerdict::Wrong {}
    assert_eq!(bench.store.verify_pin(pin("271828")).await, Ok(PinVerdict::Locked));
    assert_eq!(bench.sign_in("1001", PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_old_password_cannot_be_guessed_from_within_a_session() {
    let bench = Bench::new().await;
    let owner = bench.owner(bench.alice).await;
    let mut tried = 0;
    loop {
        let wish = json!({"old": format!("guess {tried}"), "new": "tea at four in May"});
        match bench.change(&owner, Method::PUT, "/password", Some(wish)).await.refusal() {
            (401, _) => tried += 1,
            refused => break assert_eq!(refused, (429, "locked".into())),
        }
    }
    assert_eq!(tried, WRONG_PASSWORDS_MAX);
}

#[tokio::test]
async fn one_address_has_few_attempts_whatever_it_tries() {
    let bench = Bench::new().await;
    let mut admitted = 0;
    let refused = loop {
        let answer = match admitted % 3 {
            0 => bench.ask(Method::POST, "/session", &[], Some(json!({"mailbox": "1", "password": "x"}))).await,
            1 => bench.ask(Method::POST, "/links/x/password", &[], Some(json!({"password": "x"}))).await,
            _ => bench.as_admin(Method::GET, "/admin/mailboxes", "no token of anybody").await,
        };
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        admitted += 1;
    };
    assert_eq!(admitted, postern_web::limits::ATTEMPTS_AT_ONCE);
    assert_eq!((refused.refusal().1.as_str(), refused.header("retry-after")), ("too_many", "4"));
    let right = bench.as_admin(Method::GET, "/admin/mailboxes", ADMIN).await;
    assert_eq!(right.refusal().1, "too_many", "nothing is compared, so nothing is told of a token");
    bench.pass(Duration::from_secs(3));
    for _ in 0..3 {
        assert_eq!(bench.as_admin(Method::GET, "/admin/mailboxes", ADMIN).await.status, StatusCode::OK);
    }
    assert_eq!(bench.sign_in("1001", "x").await.refusal().1, "wrong");
}
