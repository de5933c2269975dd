//! What happens below HTTP: handshakes, silence, shares.

use std::time::Duration;

use postern_edge::token_service::TokenServiceLimits;
use rcgen::ExtendedKeyUsagePurpose;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Authority, Running, is_turned_away, wish};

fn impatient() -> TokenServiceLimits {
    let soon = Duration::from_millis(300);
    TokenServiceLimits {
        handshake: soon,
        header: soon,
        body: soon,
        connections_per_source_max: 2,
        ..TokenServiceLimits::default()
    }
}

#[tokio::test]
async fn no_certificate_or_one_of_another_authority_ends_the_handshake() {
    let running = Running::new().await;
    assert!(is_turned_away(&running, None).await);
    assert!(is_turned_away(&running, Some(Authority::new().client(&["worker.example.test"]))).await);
    let server_only = running.authority.sign(&["worker.example.test"], "", ExtendedKeyUsagePurpose::ServerAuth);
    assert!(is_turned_away(&running, Some(server_only)).await);
    assert_eq!(running.meter.counted(), ["Handshake"; 3]);
    assert_eq!(running.worker().await.post(&wish()).await.status, 200, "others are undisturbed");
}

#[tokio::test]
async fn silence_before_or_within_the_handshake_ends_the_connection() {
    let running = Running::with(|_| {}, impatient()).await;
    let mut silent = TcpStream::connect(running.service.local_addr()).await.unwrap();
    let mut half = TcpStream::connect(running.service.local_addr()).await.unwrap();
    // The first half of a ClientHello's record header.
    half.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    assert!(matches!(silent.read(&mut [0; 64]).await, Ok(0) | Err(_)));
    assert!(matches!(half.read(&mut [0; 64]).await, Ok(0) | Err(_)));
    assert_eq!(running.meter.counted(), ["Handshake"; 2]);
}

#[tokio::test]
async fn half_a_header_ends_the_connection_and_half_a_body_is_408() {
    let running = Running::with(|_| {}, impatient()).await;
    let mut half_header = running.worker().await;
    half_header.0.write_all(b"POST /v1/tokens HTTP/1.1\r\nhost: e").await.unwrap();
    half_header.0.flush().await.unwrap();
    assert_ne!(half_header.read().await.map(|answer| answer.status).unwrap_or_default(), 200);
    drop(half_header);
    let mut half_body = running.worker().await;
    half_body
        .0
        .write_all(
            b"POST /v1/tokens HTTP/1.1\r\nhost: e\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n{",
        )
        .await
        .unwrap();
    half_body.0.flush().await.unwrap();
    assert_eq!(half_body.read().await.unwrap().status, 408);
}

#[tokio::test]
async fn one_address_holds_no_more_connections_than_its_share() {
    let running =
        Running::with(|_| {}, TokenServiceLimits { connections_per_source_max: 2, ..TokenServiceLimits::default() })
            .await;
    let (mut first, mut second) = (running.worker().await, running.worker().await);
    assert!(is_turned_away(&running, Some(running.authority.client(&["worker.example.test"]))).await);
    assert_eq!(first.post(&wish()).await.status, 200);
    assert_eq!(second.post(&wish()).await.status, 200);
    drop(first);
    let mut tries = 0;
    while is_turned_away(&running, Some(running.authority.client(&["worker.example.test"]))).await {
        tries += 1;
        assert!(tries < 200, "the place is free again once the server has seen the close");
        tokio::task::yield_now().await;
    }
}
