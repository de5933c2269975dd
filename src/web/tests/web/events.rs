//! Server-sent events.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use futures_util::StreamExt;
use postern_web::limits::STREAMS_PER_MAILBOX;
use postern_web::{CallCause, CallId, CallInfo, CallState, News};

use crate::support::*;

type Pieces = axum::body::BodyDataStream;

async fn follow(bench: &Bench, owner: &Owner) -> Pieces {
    let response = bench.response(Method::GET, "/api/v1/events", &[("cookie", &owner.cookie)], None).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut pieces = response.into_body().into_data_stream();
    assert_eq!(next(&mut pieces).await.as_deref(), Some("retry: 3000\n\n"));
    pieces
}

async fn next(pieces: &mut Pieces) -> Option<String> {
    let piece = tokio::time::timeout(Duration::from_secs(60), pieces.next()).await.expect("a piece of the stream");
    piece.map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn a_browser_is_told_of_its_own_mailbox_alone() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    let mut pieces = follow(&bench, &alice).await;
    let info = CallInfo { state: CallState::Disconnected, cause: Some(CallCause::Busy), sip_status: Some(486) };
    for mailbox in [bench.bob, bench.alice] {
        bench.news.send(News::Messages(mailbox)).unwrap();
        bench.news.send(News::Options(mailbox)).unwrap();
        bench.news.send(News::Call(mailbox, CallId(7), info)).unwrap();
    }
    assert_eq!(next(&mut pieces).await.unwrap(), "event: messages\ndata: {}\n\n");
    assert_eq!(next(&mut pieces).await.unwrap(), "event: options\ndata: {}\n\n");
    let call = r#"{"id":"00000000000000000000000000000007","state":"disconnected","cause":"busy","sip_status":486}"#;
    assert_eq!(next(&mut pieces).await.unwrap(), format!("event: call\ndata: {call}\n\n"));
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    let mut pieces = follow(&bench, &alice).await;
    let other = owner_of(&bench.sign_in("1001", PASSWORD).await);
    bench.change(&other, Method::DELETE, "/session", None).await;
    assert_eq!(next(&mut pieces).await.as_deref(), Some(":\n\n"), "another session ended");
    bench.change(&alice, Method::DELETE, "/session", None).await;
    assert_eq!(next(&mut pieces).await, None);
}

#[tokio::test]
async fn streams_of_a_mailbox_are_bounded_and_a_closed_one_makes_room() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS_PER_MAILBOX {
        streams.push(follow(&bench, &alice).await);
    }
    assert_eq!(bench.get(&alice, "/events").await.refusal(), (429, "too_many".into()));
    streams.pop();
    drop(follow(&bench, &alice).await);
}

#[tokio::test]
async fn news_that_came_too_fast_are_told_as_a_change_of_everything() {
    let bench = Bench::new().await;
    let alice = bench.owner(bench.alice).await;
    let mut pieces = follow(&bench, &alice).await;
    for _ in 0..postern_web::limits::NEWS_MAX + 1 {
        bench.news.send(News::Options(bench.bob)).unwrap();
    }
    let told = next(&mut pieces).await.unwrap();
    assert_eq!(told, "event: messages\ndata: {}\n\nevent: options\ndata: {}\n\n");
}
