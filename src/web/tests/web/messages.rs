//! Messages as the web shows, plays and moves them.

use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use postern_mailbox::GreetingKind;
use postern_mailbox::limits::DELETED_KEPT;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn messages_are_listed_by_state_the_youngest_first() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    let first = bench.leave(bench.alice, &samples(2)).await.to_string();
    bench.pass(std::time::Duration::from_secs(5));
    let second = bench.leave(bench.alice, &samples(1)).await.to_string();
    bench.leave(bench.bob, &samples(1)).await;
    let ids = async |query: &str| {
        let listed = bench.get(&alice, &format!("/messages{query}")).await.json();
        let ids = listed["messages"].as_array().unwrap().iter();
        ids.map(|message| message["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, [second.clone(), first.clone()]);
    let shown = &bench.get(&alice, "/messages").await.json()["messages"][1];
    assert_eq!(shown["caller"], json!({"number": "+15550100", "name": "Carol"}));
    assert_eq!(
        (&shown["state"], &shown["duration_secs"], &shown["partial"]),
        (&json!("new"), &json!(2.0), &json!(false))
    );

    let moved =
        bench.change(&alice, Method::PATCH, &format!("/messages/{first}"), Some(json!({"state": "saved"}))).await;
    assert_eq!(moved.json()["state"], "saved");
    let deleted = bench.change(&alice, Method::DELETE, &format!("/messages/{second}"), None).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(ids("").await, [first.clone()]);
    assert_eq!((ids("?state=new").await, ids("?state=saved").await), (vec![], vec![first]));
    assert_eq!(ids("?state=deleted").await, [second.clone()]);
    bench.change(&alice, Method::PATCH, &format!("/messages/{second}"), Some(json!({"state": "new"}))).await;
    assert_eq!(ids("?state=new").await, [second]);
    for query in ["?state=other", "?state=new&state=saved", "?x=1"] {
        assert_eq!(bench.get(&alice, &format!("/messages{query}")).await.refusal().1, "bad_request");
    }
}

#[tokio::test]
async fn a_message_that_is_deleted_again_is_not_kept_longer() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    let path = format!("/messages/{}", bench.leave(bench.alice, &samples(1)).await);
    let delete = async || {
        let answer = bench.change(&alice, Method::PATCH, &path, Some(json!({"state": "deleted"}))).await;
        assert_eq!(answer.json()["state"], "deleted");
    };
    delete().await;
    // The store takes its own clock.
    let deleted = Timestamp::now();
    while Timestamp::now().as_millisecond() <= deleted.as_millisecond() {
        tokio::task::yield_now().await;
    }
    delete().await;
    assert_eq!(bench.store.forget_deleted(deleted + DELETED_KEPT).await, Ok(1));
}

#[tokio::test]
async fn audio_is_a_wav_file_of_which_any_range_can_be_had() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    // Longer than what is read at once.
    let spoken = samples(5);
    let path = format!("/messages/{}/audio", bench.leave(bench.alice, &spoken).await);
    let whole = bench.get(&alice, &path).await;
    assert_eq!((whole.status, whole.header("content-type")), (StatusCode::OK, "audio/wav"));
    let length = 44 + spoken.len() * 2;
    assert_eq!(whole.header("content-length"), length.to_string());
    let bytes: Vec<u8> = spoken.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert!(whole.body[44..] == bytes[..] && whole.body[..4] == *b"RIFF" && whole.body[24..28] == RATE.to_le_bytes());

    let part = async |range: &str, condition: &str| {
        let headers = [("cookie", alice.cookie.as_str()), ("range", range), ("if-range", condition)];
        bench.ask(Method::GET, &path, &headers[..if condition.is_empty() { 2 } else { 3 }], None).await
    };
    for (range, from, to) in [
        ("bytes=0-9", 0, 10),
        ("bytes=40-50", 40, 51),
        ("bytes=45-32100", 45, 32101),
        ("bytes=70000-", 70000, length),
        ("bytes=-3", length - 3, length),
    ] {
        let answer = part(range, "").await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/{length}", to - 1));
        assert!(answer.body == whole.body[from..to], "{range}");
    }
    let beyond = part(&format!("bytes={length}-"), "").await;
    assert_eq!((beyond.refusal().0, beyond.header("content-range")), (416, format!("bytes */{length}").as_str()));
    assert_eq!(part("bytes=0-9", whole.header("etag")).await.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part("bytes=0-9", "\"another\"").await.status, StatusCode::OK);
    let head = bench.ask(Method::HEAD, &path, &[("cookie", &alice.cookie)], None).await;
    assert_eq!((head.header("content-length"), head.body.len()), (length.to_string().as_str(), 0));
}

#[tokio::test]
async fn a_waveform_follows_the_loudness() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    let mut spoken = vec![0; RATE as usize];
    spoken.extend(vec![16384; RATE as usize]);
    let message = bench.leave(bench.alice, &spoken).await;
    let peaks = bench.get(&alice, &format!("/messages/{message}/waveform")).await.json()["peaks"].clone();
    let peaks: Vec<f64> = serde_json::from_value(peaks).unwrap();
    assert_eq!(peaks.len(), 200);
    assert!(peaks[..99].iter().all(|peak| *peak == 0.0) && peaks[101..].iter().all(|peak| *peak == 0.5));
}

#[tokio::test]
async fn greetings_are_listed_and_played() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    bench.greet(bench.alice, GreetingKind::OutOfOffice, &samples(3)).await;
    let listed = bench.get(&alice, "/greetings").await.json();
    assert_eq!(
        listed["greetings"],
        json!([
            {"kind": "own", "recorded": false, "duration_secs": null},
            {"kind": "out-of-office", "recorded": true, "duration_secs": 3.0},
            {"kind": "name", "recorded": false, "duration_secs": null},
        ])
    );
    let audio = bench.get(&alice, "/greetings/out-of-office/audio").await;
    assert_eq!((audio.status, audio.body.len()), (StatusCode::OK, 44 + 6 * RATE as usize));
    for kind in ["own", "none"] {
        assert_eq!(bench.get(&alice, &format!("/greetings/{kind}/audio")).await.refusal().0, 404);
    }
}
