//! Generations of settings.

use std::num::NonZeroU32;

use postern_edge::token_service::{TokenServiceLimits, TokenServiceOptions, TokenServiceState};
use postern_token::{KeyRing, Secret, Verifier};

use crate::support::{Authority, Running, is_turned_away, options, unix_secs, wish};

#[tokio::test]
async fn a_new_generation_bites_on_the_next_connection_and_ends_the_old_ones() {
    let running = Running::new().await;
    let mut old = running.worker().await;
    assert_eq!(old.post(&wish()).await.status, 200);
    let mut next = options(&running.authority);
    next.keys = KeyRing::new(vec![Secret::new("2026b", "another-secret-of-ours").unwrap()]).unwrap();
    next.realm = "next.example.test".into();
    running.service.publish(running.service.state().successor(next).unwrap());
    assert!(old.read().await.is_err(), "the idle connection ends");
    let answer = running.worker().await.post(&wish()).await;
    assert_eq!(answer.body["realm"], "next.example.test");
    let name = answer.body["username"].as_str().unwrap();
    let ring = KeyRing::new(vec![Secret::new("2026b", "another-secret-of-ours").unwrap()]).unwrap();
    assert!(
        Verifier::new(&ring)
            .judge(name.as_bytes(), answer.body["password"].as_str().unwrap().as_bytes(), unix_secs())
            .is_valid()
    );

    let mut without_worker = options(&running.authority);
    without_worker.allowed_names = vec!["billing.example.test".into()];
    running.service.publish(running.service.state().successor(without_worker).unwrap());
    assert_eq!(running.worker().await.post(&wish()).await.status, 403);

    let mut other_ca = options(&running.authority);
    other_ca.client_ca = vec![Authority::new().certificate];
    running.service.publish(running.service.state().successor(other_ca).unwrap());
    assert!(is_turned_away(&running, Some(running.authority.client(&["worker.example.test"]))).await);
}

#[tokio::test]
async fn a_reload_does_not_refill_a_callers_rate() {
    let slow = |options: &mut TokenServiceOptions| options.requests_per_caller_per_sec = NonZeroU32::new(1).unwrap();
    let running = Running::with(slow, TokenServiceLimits::default()).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let mut next = options(&running.authority);
        slow(&mut next);
        running.service.publish(running.service.state().successor(next).unwrap());
        statuses.push(running.worker().await.post(&wish()).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn settings_with_a_key_of_another_certificate_are_refused() {
    let authority = Authority::new();
    let mut wrong = options(&authority);
    wrong.key = authority.client(&["edge.example.test"]).key;
    assert!(TokenServiceState::new(wrong).unwrap_err().to_string().contains("certificate and private_key"));
    let mut empty = options(&authority);
    empty.client_ca.clear();
    assert!(TokenServiceState::new(empty).unwrap_err().to_string().contains("client_ca"));
}
