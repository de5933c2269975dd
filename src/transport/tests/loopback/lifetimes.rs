//! Listeners that come and go, readers that do not read, and the end.

use std::time::Duration;

use postern_sip::{Event, Method};
use postern_transport::{Hosts, Listening, Report, Transport, TransportError, TransportOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

fn options(branch: usize) -> Vec<u8> {
    let mut request = request(Method::Options, &sip("sip:um.example.test"));
    request.headers.push_first("Via", format!("SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{branch}"));
    request.encode()
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_closed_and_others_are_served() {
    let server = Party::new(on_tcp(), None, Hosts::default()).serve(50_000);
    let mut lazy = TcpStream::connect(server.tcp()).await.unwrap();
    let (mut reading, mut writing) = lazy.split();
    // 2,000 answers of 50 KB are more than any kernel keeps.
    let flood = async {
        for branch in 0..2_000 {
            if writing.write_all(&options(branch)).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = flood => {}
        () = server.reports.wait(|report| matches!(report, Report::SlowReader { .. })) => {}
    }
    let mut client = Party::new(Listening::default(), None, Hosts::default());
    let there = target(&format!("sip:{};transport=tcp", server.tcp()));
    assert!(client.ask(Method::Options, there).await.is_some());
    // What the kernel had taken comes, then the end.
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), reading.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection still stands");
}

#[tokio::test]
async fn a_listener_that_goes_leaves_its_connections_and_a_new_one_comes() {
    let mut party = Party::new(on_tcp(), None, Hosts::default());
    let old = party.transport.listening().tcp[0];
    let mut standing = TcpStream::connect(old).await.unwrap();
    standing.write_all(&options(1)).await.unwrap();
    let Event::Request { tx, .. } = party.event().await else { panic!("no request") };
    let next: std::net::SocketAddr = "127.0.0.2:0".parse().unwrap();
    party.transport.listen(&Listening { tcp: vec![next], ..Listening::default() }).unwrap();
    let new = party.transport.listening().tcp;
    assert_eq!(new.len(), 1);
    let response = party.endpoint.response(tx, postern_sip::StatusCode::OK).unwrap();
    party.endpoint.send_response(tx, response, std::time::Instant::now());
    let server = party.serve(0);
    let mut first = [0; 12];
    standing.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"SIP/2.0 200 ");
    assert!(TcpStream::connect(new[0]).await.is_ok());
    // The old listener's task ends soon after.
    let refused = async {
        while TcpStream::connect(old).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, refused).await.expect("the old address still listens");
    drop(server);
}

#[tokio::test]
async fn listeners_are_changed_all_or_none() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut party = Party::new(on_tcp(), None, Hosts::default());
    let before = party.transport.listening();
    let wanted =
        Listening { tcp: vec!["127.0.0.2:0".parse().unwrap(), taken.local_addr().unwrap()], ..Listening::default() };
    let error = party.transport.listen(&wanted).expect_err("the address is taken");
    assert!(matches!(error, TransportError::Bind(_)));
    assert!(error.to_string().contains(&taken.local_addr().unwrap().to_string()), "{error}");
    assert_eq!(party.transport.listening(), before);
    let error = party.transport.listen(&on_tls()).expect_err("there is no certificate");
    assert!(matches!(error, TransportError::NoIdentity));
}

#[tokio::test]
async fn an_address_in_use_is_refused_at_birth() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let listening = Listening { udp: vec![taken.local_addr().unwrap()], ..Listening::default() };
    let bound = Transport::bind(TransportOptions { listening, ..TransportOptions::default() });
    assert!(matches!(bound, Err(TransportError::Bind(_))));
}

#[tokio::test]
async fn what_was_sent_before_the_end_still_arrives() {
    let mut party = Party::new(on_tcp(), None, Hosts::default());
    let mut peer = TcpStream::connect(party.transport.listening().tcp[0]).await.unwrap();
    peer.write_all(&options(1)).await.unwrap();
    let Event::Request { tx, .. } = party.event().await else { panic!("no request") };
    let mut response = party.endpoint.response(tx, postern_sip::StatusCode::OK).unwrap();
    response.body = vec![b'x'; 200_000];
    party.endpoint.send_response(tx, response, std::time::Instant::now());
    let mut all = Vec::new();
    let reading = peer.read_to_end(&mut all);
    let (_, read) = tokio::join!(party.transport.close(&mut party.endpoint), reading);
    read.unwrap();
    assert!(all.len() > 200_000, "{}", all.len());
}

#[tokio::test]
async fn a_stream_that_is_not_sip_is_closed() {
    let server = Party::new(on_tcp(), None, Hosts::default()).serve(0);
    let mut peer = TcpStream::connect(server.tcp()).await.unwrap();
    peer.write_all(&vec![b'x'; 40_000]).await.unwrap();
    let mut all = Vec::new();
    let ended = tokio::time::timeout(LONG, peer.read_to_end(&mut all)).await;
    assert!(ended.is_ok() && all.is_empty());
}
