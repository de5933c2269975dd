//! Every way to be told no, with the reason and the remedy.

use std::num::NonZeroU32;

use postern_edge::token_service::TokenServiceLimits;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

use crate::support::{Connection, Running, wish};

#[tokio::test]
async fn a_certificate_whose_names_are_not_allowed_gets_403() {
    let running = Running::new().await;
    let strangers = [
        running.authority.client(&["other.example.test"]),
        running.authority.client(&["*.example.test"]),
        running.authority.client(&["worker.example.test.evil.test"]),
        running.authority.client(&[]),
        // A common name is free text, not a name.
        running.authority.sign(&["other.example.test"], "worker.example.test", ExtendedKeyUsagePurpose::ClientAuth),
    ];
    for stranger in strangers {
        let mut connection = Connection(running.connect(Some(stranger)).await.unwrap());
        let answer = connection.post(&wish()).await;
        assert_eq!((answer.status, &answer.body["error"]), (403, &json!("name_not_allowed")));
        assert!(answer.body["remedy"].as_str().unwrap().contains("edge.tokens.allowed_names"));
        assert_eq!(connection.get("/openapi.json").await.status, 403);
    }
    assert_eq!(running.meter.counted(), vec!["NameNotAllowed"; 10]);
}

#[tokio::test]
async fn a_wrong_request_is_answered_with_the_field_and_the_remedy() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    let with = |field: &str, value: Value| {
        let mut wish = wish();
        wish[field] = value;
        wish
    };
    let without = |field: &str| {
        let mut wish = wish();
        wish.as_object_mut().unwrap().remove(field);
        wish
    };
    let cases = [
        (with("peer", json!(["10.0.0.0/8"])), "peer", "leave it out"),
        (with("Identity", json!("bob")), "Identity", "leave it out"),
        (without("identity"), "identity", "add it"),
        (without("location"), "location", "add it"),
        (without("duration_secs"), "duration_secs", "add it"),
        (with("identity", json!("")), "identity", "1 to 128 bytes"),
        (with("identity", json!("a\r\nb")), "identity", "control characters"),
        (with("identity", json!(7)), "identity", "text"),
        (with("identity", json!("x".repeat(129))), "identity", "1 to 128 bytes"),
        (with("location", json!("moon")), "location", "\"intranet\" or \"internet\""),
        (with("duration_secs", json!(0)), "duration_secs", "1 or more"),
        (with("duration_secs", json!(-5)), "duration_secs", "1 or more"),
        (with("duration_secs", json!(1.5)), "duration_secs", "whole number"),
        (with("duration_secs", json!("3600")), "duration_secs", "whole number"),
        (with("peers", json!("10.0.0.0/8")), "peers", "list"),
        (with("peers", json!([10])), "peers[0]", "list"),
        (with("peers", json!(["worker.example.test"])), "peers", "10.20.0.0/24"),
        (with("peers", json!(vec!["10.0.0.1"; 17])), "peers", "at most 16"),
        (with("allocations", json!(0)), "allocations", "1 or more"),
        (with("allocations", json!(1001)), "allocations", "at most 1000"),
        (with("bitrate_bps", json!(0)), "bitrate_bps", "1 or more"),
        (with("call_id", json!("")), "call_id", "1 to 64 bytes"),
        (with("call_id", json!("x".repeat(65))), "call_id", "1 to 64 bytes"),
    ];
    let count = cases.len();
    for (body, field, remedy) in cases {
        let answer = connection.post(&body).await;
        assert_eq!((answer.status, &answer.body["error"]), (400, &json!("invalid_request")), "{body}");
        assert_eq!(answer.body["field"], field, "{body}: {}", answer.body);
        assert!(answer.body["remedy"].as_str().unwrap().contains(remedy), "{body}: {}", answer.body);
        assert!(answer.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    }
    assert_eq!(running.meter.counted(), vec!["InvalidRequest"; count]);
}

#[tokio::test]
async fn what_is_no_json_object_is_answered_as_such() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    let twice = br#"{"identity":"a","identity":"b","location":"internet","duration_secs":1}"#;
    for body in [
        &b""[..],
        b"[]",
        b"null",
        b"{",
        b"{\"identity\":\"a\"",
        b"{} {}",
        b"\xff",
        &[wish().to_string().as_bytes(), b"x"].concat(),
        twice,
    ] {
        let answer = connection.send("POST /v1/tokens", "content-type: application/json\r\n", body).await.unwrap();
        assert_eq!(answer.status, 400, "{:?}", String::from_utf8_lossy(body));
        assert!(answer.body["detail"].is_string() && answer.body["remedy"].is_string());
    }
    for headers in ["", "content-type: text/plain\r\n", "content-type: application/jsonp\r\n"] {
        let answer = connection.send("POST /v1/tokens", headers, wish().to_string().as_bytes()).await.unwrap();
        assert_eq!((answer.status, &answer.body["error"]), (415, &json!("not_json")), "{headers:?}");
    }
    let answer = connection
        .send("POST /v1/tokens", "content-type: Application/JSON; charset=utf-8\r\n", wish().to_string().as_bytes())
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    let body = vec![b' '; TokenServiceLimits::default().body_bytes_max + 1];
    let answer = connection.send("POST /v1/tokens", "content-type: application/json\r\n", &body).await.unwrap();
    assert_eq!((answer.status, &answer.body["error"]), (413, &json!("too_long")));
}

#[tokio::test]
async fn other_paths_and_methods_say_where_to_go() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    let missing = connection.get("/").await;
    assert_eq!((missing.status, &missing.body["error"]), (404, &json!("not_found")));
    let wrong = connection.get("/v1/tokens").await;
    assert_eq!((wrong.status, &wrong.body["error"]), (405, &json!("method_not_allowed")));
    assert_eq!(wrong.header("allow"), Some("POST"));
    assert!(running.meter.counted().is_empty());
}

#[tokio::test]
async fn a_caller_beyond_its_rate_gets_429_and_others_go_on() {
    let running = Running::with(
        |options| options.requests_per_caller_per_sec = NonZeroU32::new(2).unwrap(),
        TokenServiceLimits::default(),
    )
    .await;
    let mut worker = running.worker().await;
    let mut again = running.worker().await;
    let mut refused = None;
    for _ in 0..20 {
        let connection = if refused.is_none() { &mut worker } else { &mut again };
        let answer = connection.post(&wish()).await;
        if answer.status == 429 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("more than two a second are refused");
    assert_eq!(refused.body["error"], "rate_limited");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    let billing = running.authority.client(&["billing.example.test"]);
    assert_eq!(Connection(running.connect(Some(billing)).await.unwrap()).post(&wish()).await.status, 200);
    assert!(running.meter.counted().contains(&"RateLimited".to_owned()));
}
