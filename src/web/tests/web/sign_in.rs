//! Signing in and out, cookies, CSRF, passwords and the links that set them.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use postern_store::{Password, PasswordVerdict};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_session_begins_with_the_right_password_and_ends_by_signing_out() {
    let bench = Bench::new().await;
    assert_eq!(bench.sign_in("1001", PASSWORD).await.refusal(), (401, "wrong".into()), "no password yet");
    bench.owner(bench.alice).await;
    let answer = bench.sign_in("1001", PASSWORD).await;
    let shown = answer.json();
    assert_eq!(shown["mailbox"], json!({"address": "1001", "name": "Alice Ng", "plan": "office", "language": "en"}));
    assert_eq!((&shown["play_on_phone"], &shown["mail"]), (&json!(true), &json!(false)));
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-postern="), "{cookie}");
    for flag in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains("Domain"));

    let owner = owner_of(&answer);
    assert_eq!(bench.get(&owner, "/session").await.json(), shown);
    let gone = bench.change(&owner, Method::DELETE, "/session", None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert!(gone.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(bench.get(&owner, "/session").await.refusal(), (401, "signed_out".into()));
}

#[tokio::test]
async fn a_session_ends_after_an_hour_without_use_and_after_twelve_in_any_case() {
    let bench = Bench::new().await;
    let idle = bench.owner(bench.alice).await;
    bench.pass(Duration::from_secs(3590));
    let used = owner_of(&bench.sign_in("1001", PASSWORD).await);
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.get(&idle, "/session").await.refusal().1, "signed_out");
    for _ in 0..14 {
        assert_eq!(bench.get(&used, "/session").await.status, StatusCode::OK);
        bench.pass(Duration::from_secs(3000));
    }
    bench.pass(Duration::from_secs(1200));
    assert_eq!(bench.get(&used, "/session").await.refusal().1, "signed_out");
}

#[tokio::test]
async fn sessions_outlive_a_restart_and_the_oldest_of_too_many_ends() {
    let bench = Bench::new().await;
    let first = bench.owner(bench.alice).await;
    let bench = bench.restarted().await;
    assert_eq!(bench.get(&first, "/session").await.status, StatusCode::OK);
    let mut last = first.clone();
    for _ in 0..postern_store::limits::SESSIONS_PER_MAILBOX {
        last = owner_of(&bench.sign_in("1001", PASSWORD).await);
    }
    assert_eq!(bench.get(&first, "/session").await.refusal().1, "signed_out");
    assert_eq!(bench.get(&last, "/session").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_change_needs_the_sessions_own_csrf_token_and_no_foreign_origin() {
    let bench = Bench::new().await;
    let (alice, bob) = (bench.owner(bench.alice).await, bench.owner(bench.bob).await);
    let wish = json!({"greeting": "own"});
    let with = async |headers: &[(&str, &str)]| {
        bench.ask(Method::PATCH, "/options", headers, Some(wish.clone())).await.refusal().1
    };
    let cookie = ("cookie", alice.cookie.as_str());
    assert_eq!(with(&[cookie]).await, "csrf");
    assert_eq!(with(&[cookie, ("x-csrf-token", &bob.csrf)]).await, "csrf");
    let own = ("x-csrf-token", alice.csrf.as_str());
    assert_eq!(with(&[cookie, own, ("origin", "https://evil.test")]).await, "csrf");
    assert_eq!(with(&[own]).await, "signed_out");
    assert_eq!(with(&[cookie, own, ("origin", "https://voice.example.test")]).await, "");
    // A stranger's page cannot sign its visitor in either.
    let wish = json!({"mailbox": "1001", "password": PASSWORD});
    let foreign = [("origin", "https://evil.test")];
    assert_eq!(bench.ask(Method::POST, "/session", &foreign, Some(wish)).await.refusal().1, "csrf");
}

#[tokio::test]
async fn a_link_sets_a_password_once_within_a_day() {
    let bench = Bench::new().await;
    let link = bench.store.make_link(bench.alice, bench.now()).await.unwrap().reveal();
    let path = format!("/links/{link}/password");
    let set = async |path: &str, password: &str| {
        bench.ask(Method::POST, path, &[], Some(json!({"password": password}))).await
    };
    assert_eq!(set(&path, "1001").await.refusal(), (422, "weak".into()), "which does not use it up");
    assert_eq!(set(&path, "tea at four in May").await.status, StatusCode::NO_CONTENT);
    assert_eq!(set(&path, "tea at five in May").await.refusal(), (410, "used_or_expired".into()));
    assert_eq!(bench.sign_in("1001", "tea at four in May").await.status, StatusCode::OK);

    let former = bench.store.make_link(bench.alice, bench.now()).await.unwrap().reveal();
    let next = bench.store.make_link(bench.alice, bench.now()).await.unwrap().reveal();
    assert_eq!(set(&format!("/links/{former}/password"), "tea at six in May").await.refusal().0, 410);
    bench.pass(Duration::from_secs(24 * 3600));
    assert_eq!(set(&format!("/links/{next}/password"), "tea at six in May").await.refusal().0, 410);
    assert_eq!(set("/links/x/password", "tea at six in May").await.refusal().0, 410);
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_ends_every_session() {
    let bench = Bench::new().await;
    let other = bench.owner(bench.alice).await;
    let owner = owner_of(&bench.sign_in("1001", PASSWORD).await);
    let put = async |old: &str, new: &str| {
        bench.change(&owner, Method::PUT, "/password", Some(json!({"old": old, "new": new}))).await
    };
    assert_eq!(put("wrong horse", "tea at four in May").await.refusal(), (401, "wrong".into()));
    assert_eq!(put(PASSWORD, "short").await.refusal(), (422, "weak".into()));
    assert_eq!(put(PASSWORD, "tea at four in May").await.status, StatusCode::NO_CONTENT);
    for owner in [&owner, &other] {
        assert_eq!(bench.get(owner, "/session").await.refusal().1, "signed_out");
    }
    assert_eq!(bench.sign_in("1001", PASSWORD).await.refusal().1, "wrong");
    assert_eq!(bench.sign_in("1001", "tea at four in May").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_password_that_was_right_until_another_was_set_begins_no_session() {
    let bench = Bench::new().await;
    bench.owner(bench.alice).await;
    let password = |text: &str| Password::new(text.into());
    let verdict = bench.store.verify_password_of(bench.alice, password(PASSWORD), bench.now()).await.unwrap();
    let PasswordVerdict::Right(proven) = verdict else { panic!("{verdict:?}") };
    assert!(bench.store.begin_session(&proven, bench.now()).await.unwrap().is_some());
    bench.store.set_password(bench.alice, password("tea at four in May")).await.unwrap();
    assert!(bench.store.begin_session(&proven, bench.now()).await.unwrap().is_none());
    assert_eq!(bench.store.tend_sessions(bench.now()).await, Ok(0));
}

#[tokio::test]
async fn nothing_secret_is_readable_in_the_database() {
    let bench = Bench::new().await;
    let owner = bench.owner(bench.alice).await;
    let link = bench.store.make_link(bench.alice, bench.now()).await.unwrap().reveal();
    let token = owner.cookie.split_once('=').unwrap().1;
    for secret in [PASSWORD, token, owner.csrf.as_str(), link.as_str()] {
        for name in ["postern.db", "postern.db-wal"] {
            let bytes = std::fs::read(bench.file(name)).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} in {name}");
        }
    }
}
