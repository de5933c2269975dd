//! Options and PINs.

use axum::http::{Method, StatusCode};
use postern_mailbox::{Pin, PinAttempt, PinVerdict, Store};
use postern_store::MailSettings;
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn any_subset_of_the_options_is_set_and_the_rest_stays() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    let mut expected = json!({
        "greeting": "standard", "missed_call_mail": false, "play_on_phone_number": null,
        "language": "en", "languages": ["en"],
    });
    assert_eq!(bench.get(&alice, "/options").await.json(), expected);
    let patch = async |wish: Value| bench.change(&alice, Method::PATCH, "/options", Some(wish)).await;
    for (key, value) in
        [("greeting", json!("own")), ("play_on_phone_number", json!("5550123")), ("language", json!("en"))]
    {
        expected[key] = value.clone();
        assert_eq!(patch(json!({key: value})).await.json(), expected);
    }
    expected["play_on_phone_number"] = Value::Null;
    assert_eq!(patch(json!({"play_on_phone_number": null})).await.json(), expected);
    assert_eq!(patch(json!({})).await.json(), expected);
    for wish in [
        json!({"greeting": "loud"}),
        json!({"greeting": null}),
        json!({"language": "tlh"}),
        json!({"play_on_phone_number": "1\n2"}),
        json!({"unknown": 1}),
        json!([]),
    ] {
        assert_eq!(patch(wish.clone()).await.refusal(), (400, "bad_request".into()), "{wish}");
    }
    // Nothing of a request is done whose other half is wrong.
    assert_eq!(patch(json!({"greeting": "standard", "language": "tlh"})).await.refusal().0, 400);
    assert_eq!(bench.get(&alice, "/options").await.json(), expected);
}

#[tokio::test]
async fn a_pin_comes_by_mail_where_there_is_an_address_and_changes_nothing_where_there_is_none() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    let reset = async || bench.change(&alice, Method::POST, "/pin", None).await;
    let verdict = async |digits: &str| {
        let pin = Pin::new(digits).unwrap();
        bench.store.verify_pin(PinAttempt { mailbox: Some(bench.alice), pin, attempts_max: 15 }).await.unwrap()
    };
    assert_eq!(reset().await.refusal(), (409, "no_mail".into()));
    let wanted = json!({"missed_call_mail": true});
    assert_eq!(bench.change(&alice, Method::PATCH, "/options", Some(wanted.clone())).await.refusal().1, "no_mail");
    assert!(matches!(verdict("271828").await, PinVerdict::Right { .. }));

    let mail = MailSettings { address: Some("alice@example.test".parse().unwrap()), missed_calls: false };
    bench.store.set_mail(bench.alice, &mail).await.unwrap();
    let sent = reset().await;
    assert_eq!((sent.status, sent.json()), (StatusCode::ACCEPTED, json!({"sent_to": "a…@example.test"})));
    assert_eq!(verdict("271828").await, PinVerdict::Wrong);
    assert_eq!(bench.store.letters().await.unwrap().len(), 1);
    assert_eq!(bench.change(&alice, Method::PATCH, "/options", Some(wanted)).await.json()["missed_call_mail"], true);
    assert_eq!(bench.store.mail_settings(bench.alice).await.unwrap().address, mail.address);
    assert_eq!(bench.get(&alice, "/session").await.json()["mail"], true);
    while reset().await.status == StatusCode::ACCEPTED {}
    assert_eq!(reset().await.refusal(), (429, "too_many".into()));
}

#[tokio::test]
async fn a_body_is_json_of_bounded_length() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    let long = json!({"play_on_phone_number": "1".repeat(10_000)});
    assert_eq!(bench.change(&alice, Method::PATCH, "/options", Some(long)).await.refusal(), (413, "too_large".into()));
    assert_eq!(bench.change(&alice, Method::PATCH, "/options", None).await.refusal(), (415, "unsupported".into()));
    let secret = json!({"mailbox": "1001", "password": ["hunter2"]});
    let refused = bench.ask(Method::POST, "/session", &[], Some(secret)).await;
    assert_eq!(refused.refusal().0, 400);
    assert!(!String::from_utf8_lossy(&refused.body).contains("hunter2"), "an error repeats no password");
}
