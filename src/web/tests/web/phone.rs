//! Play on Phone.

use axum::http::{Method, StatusCode};
use postern_mailbox::GreetingKind;
use postern_web::{CallPurpose, CallRefusal};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn a_call_is_placed_told_of_and_hung_up() {
    let bench = Bench::new().await;
    let (alice, bob) = (bench.owner(bench.alice).await, bench.owner(bench.bob).await);
    let message = bench.leave(bench.alice, &samples(1)).await;
    let wish = json!({"play": {"message": message.to_string()}, "to": "+15550123"});
    let placed = bench.change(&alice, Method::POST, "/calls", Some(wish)).await;
    assert_eq!(placed.status, StatusCode::CREATED);
    let id = placed.json()["id"].as_str().unwrap().to_owned();
    let shown = json!({"id": id, "state": "connecting", "cause": null, "sip_status": null});
    assert_eq!(placed.json(), shown);
    assert_eq!(bench.get(&alice, &format!("/calls/{id}")).await.json(), shown);
    assert_eq!(bench.get(&bob, &format!("/calls/{id}")).await.refusal().0, 404);
    assert_eq!(
        bench.change(&alice, Method::DELETE, &format!("/calls/{id}"), None).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(bench.calls.hung_up.lock().unwrap().len(), 1);
    let placed = bench.calls.placed.lock().unwrap();
    assert_eq!(*placed, [(bench.alice, CallPurpose::PlayMessage(message), "+15550123".to_owned())]);
}

#[tokio::test]
async fn a_greeting_is_played_where_there_is_one_and_recorded_in_any_case() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    bench.greet(bench.alice, GreetingKind::Own, &samples(1)).await;
    let place = async |wish: Value| bench.change(&alice, Method::POST, "/calls", Some(wish)).await;
    assert_eq!(place(json!({"play": {"greeting": "own"}, "to": "1"})).await.status, StatusCode::CREATED);
    assert_eq!(place(json!({"play": {"greeting": "name"}, "to": "1"})).await.refusal().0, 404);
    assert_eq!(place(json!({"record": {"greeting": "name"}, "to": "1"})).await.status, StatusCode::CREATED);
    let purposes: Vec<_> = bench.calls.placed.lock().unwrap().iter().map(|placed| placed.1).collect();
    let both = [CallPurpose::PlayGreeting(GreetingKind::Own), CallPurpose::RecordGreeting(GreetingKind::Name)];
    assert_eq!(purposes, both);
    for wish in [
        json!({"to": "1"}),
        json!({"play": {"greeting": "own"}, "record": {"greeting": "own"}, "to": "1"}),
        json!({"play": {"greeting": "own", "message": "x"}, "to": "1"}),
        json!({"play": {"greeting": "other"}, "to": "1"}),
        json!({"play": {"greeting": "own"}}),
        json!({"play": {"greeting": "own"}, "to": ""}),
        json!({"play": {"greeting": "own"}, "to": "1\r\nTo: sip:eve@evil.test"}),
        json!({"play": {"greeting": "own"}, "to": "1".repeat(129)}),
        json!({"play": {"greeting": "own"}, "to": null}),
    ] {
        assert_eq!(place(wish.clone()).await.refusal(), (400, "bad_request".into()), "{wish}");
    }
}

#[tokio::test]
async fn without_a_number_the_one_of_the_options_is_called() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    bench.change(&alice, Method::PATCH, "/options", Some(json!({"play_on_phone_number": "9 5550123"}))).await;
    bench.change(&alice, Method::POST, "/calls", Some(json!({"record": {"greeting": "own"}}))).await;
    assert_eq!(bench.calls.placed.lock().unwrap()[0].2, "9 5550123");
}

#[tokio::test]
async fn each_refusal_of_a_call_has_its_word() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    for (refusal, answer) in [
        (CallRefusal::NotAllowed, (403, "not_allowed")),
        (CallRefusal::Busy, (409, "busy")),
        (CallRefusal::TooMany, (429, "too_many")),
        (CallRefusal::Unavailable, (503, "unavailable")),
    ] {
        *bench.calls.refusal.lock().unwrap() = Some(refusal);
        let wish = json!({"record": {"greeting": "own"}, "to": "1"});
        let refused = bench.change(&alice, Method::POST, "/calls", Some(wish)).await.refusal();
        assert_eq!((refused.0, refused.1.as_str()), answer);
    }
}
