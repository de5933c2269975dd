//! What an allowed caller gets.

use postern_edge::token_service::TokenServiceLimits;
use postern_token::Identity;
use serde_json::json;

use crate::support::{Connection, Running, grant_of, unix_secs, wish};

#[tokio::test]
async fn an_allowed_caller_gets_a_token_that_relays_accept() {
    let running = Running::new().await;
    let answer = running.worker().await.post(&wish()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let grant = grant_of(&answer);
    assert_eq!((grant.identity, grant.extended), (Identity::Name("alice".into()), false));
    assert_eq!(answer.body["realm"], "example.test");
    assert_eq!(answer.body["lifetime_secs"], 3600);
    assert_eq!(answer.body["expires_unix_secs"], grant.expires_unix_secs);
    assert!(grant.expires_unix_secs.abs_diff(unix_secs() + 3600) <= 5);
    let relays = json!(["turn:edge.example.test:3478?transport=udp", "turns:edge.example.test:443?transport=tcp"]);
    assert_eq!(answer.body["relays"], relays);
    let ice = json!([{"urls": relays, "username": answer.body["username"], "credential": answer.body["password"]}]);
    assert_eq!(answer.body["iceServers"], ice);
    assert_eq!(running.meter.counted(), ["Internet"]);
}

#[tokio::test]
async fn the_location_decides_which_relays_are_named() {
    let running = Running::new().await;
    let mut wish = wish();
    wish["location"] = json!("intranet");
    let answer = running.worker().await.post(&wish).await;
    assert_eq!(answer.body["relays"], json!(["turn:10.20.0.10:3478?transport=udp"]));
    assert_eq!(running.meter.counted(), ["Intranet"]);
}

#[tokio::test]
async fn claims_make_an_extended_token_that_carries_them() {
    let running = Running::new().await;
    let mut wish = wish();
    wish["peers"] = json!(["10.20.0.9/24", "2001:db8::1"]);
    wish["allocations"] = json!(4);
    wish["bitrate_bps"] = json!(128_000);
    wish["call_id"] = json!("call-7");
    let answer = running.worker().await.post(&wish).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let grant = grant_of(&answer);
    assert!(grant.extended);
    assert_eq!(grant.peers, Some(vec!["10.20.0.0/24".parse().unwrap(), "2001:db8::1/128".parse().unwrap()]));
    assert_eq!(
        (grant.allocations_max, grant.bitrate_bps, grant.call_id.as_deref()),
        (Some(4), Some(128_000), Some("call-7"))
    );
}

#[tokio::test]
async fn a_longer_lifetime_than_the_limit_is_cut_to_it() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    for secs in [28_801, u64::MAX] {
        let mut wish = wish();
        wish["duration_secs"] = json!(secs);
        let answer = connection.post(&wish).await;
        assert_eq!(answer.body["lifetime_secs"], 28_800);
        assert!(grant_of(&answer).expires_unix_secs <= unix_secs() + 28_800);
    }
}

#[tokio::test]
async fn names_are_compared_without_regard_to_case_and_any_of_them_will_do() {
    let running = Running::new().await;
    for names in
        [&["WORKER.example.test"][..], &["billing.example.test"], &["first.example.test", "worker.example.test"]]
    {
        let mut connection = Connection(running.connect(Some(running.authority.client(names))).await.unwrap());
        assert_eq!(connection.post(&wish()).await.status, 200, "{names:?}");
    }
}

#[tokio::test]
async fn while_draining_the_alternates_are_named() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    running.service.drain();
    for location in ["internet", "intranet"] {
        let mut wish = wish();
        wish["location"] = json!(location);
        let answer = connection.post(&wish).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body["relays"], json!(["turn:edge2.example.test:3478?transport=udp"]));
        assert_eq!(answer.body["iceServers"][0]["urls"], answer.body["relays"]);
    }
}

#[tokio::test]
async fn while_draining_without_alternates_nothing_is_issued() {
    let running = Running::with(|options| options.alternates.clear(), TokenServiceLimits::default()).await;
    running.service.drain();
    let answer = running.worker().await.post(&wish()).await;
    assert_eq!((answer.status, &answer.body["error"]), (503, &json!("draining")));
    assert_eq!(running.meter.counted(), ["Draining"]);
}

#[tokio::test]
async fn the_openapi_document_describes_the_request_and_every_answer() {
    let running = Running::new().await;
    let answer = running.worker().await.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body["openapi"].as_str().unwrap().starts_with("3."));
    let post = &answer.body["paths"]["/v1/tokens"]["post"];
    for status in ["200", "400", "403", "413", "415", "429", "503"] {
        assert!(post["responses"][status].is_object(), "{status}");
    }
    let schemas = &answer.body["components"]["schemas"];
    let request = &schemas["TokenRequest"];
    assert_eq!(request["required"], json!(["identity", "location", "duration_secs"]));
    assert_eq!(request["additionalProperties"], json!(false));
    for field in ["peers", "allocations", "bitrate_bps", "call_id"] {
        assert!(request["properties"][field].is_object(), "{field}");
    }
    // What is described is what is answered.
    let token = running.worker().await.post(&wish()).await;
    let mut described: Vec<&String> = schemas["TokenAnswer"]["properties"].as_object().unwrap().keys().collect();
    let mut answered: Vec<&String> = token.body.as_object().unwrap().keys().collect();
    described.sort();
    answered.sort();
    assert_eq!(described, answered);
}
