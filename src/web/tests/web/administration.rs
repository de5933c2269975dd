//! The administrator's routes.

use axum::http::{Method, StatusCode};
use postern_mailbox::{Pin, PinAttempt, PinVerdict, Store};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn an_administrator_sees_all_mailboxes_and_none_of_their_messages() {
    let bench = Bench::new().await;
    bench.owner(bench.alice).await;
    bench.leave(bench.alice, &samples(1)).await;
    let listed = bench.as_admin(Method::GET, "/admin/mailboxes", ADMIN).await.json();
    assert_eq!(
        listed["mailboxes"][0],
        json!({
            "plan": "office", "addresses": ["1001"], "name": "Alice Ng", "new": 1, "saved": 0,
            "phone_locked": false, "has_password": true, "web_locked_until": null,
        })
    );
    assert_eq!(listed["mailboxes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_pin_is_shown_once_and_must_be_changed() {
    let bench = Bench::new().await;
    let shown = bench.as_admin(Method::POST, "/admin/mailboxes/office/1001/pin", ADMIN).await.json();
    let pin = Pin::new(shown["pin"].as_str().unwrap()).unwrap();
    let attempt = PinAttempt { mailbox: Some(bench.alice), pin, attempts_max: 15 };
    assert!(matches!(bench.store.verify_pin(attempt).await, Ok(PinVerdict::Right { must_change: true, .. })));
}

#[tokio::test]
async fn a_link_of_an_administrator_leads_to_the_page_and_sets_a_password() {
    let bench = Bench::new().await;
    let link = bench.as_admin(Method::POST, "/admin/mailboxes/office/1001/link", ADMIN).await.json();
    let token = link["link"].as_str().unwrap().strip_prefix("https://voice.example.test/#/link/").unwrap().to_owned();
    let wish = json!({"password": "tea at four in May"});
    let set = bench.ask(Method::POST, &format!("/links/{token}/password"), &[], Some(wish)).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.sign_in("1001", "tea at four in May").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_mailbox_that_is_not_there_is_not_found() {
    let bench = Bench::new().await;
    for path in ["office/7777/pin", "other/1001/link", "office/%FF/unlock-web", "office/not%20one/pin"] {
        let refused = bench.as_admin(Method::POST, &format!("/admin/mailboxes/{path}"), ADMIN).await;
        assert_eq!(refused.refusal(), (404, "not_found".into()), "{path}");
    }
}
