//! Requests and answers over each transport.

use postern_sip::options::EndpointOptions;
use postern_sip::{Method, Transport as Protocol};
use postern_transport::{Hosts, Listening, TransportOptions};

use crate::authority::Authority;
use crate::harness::*;

fn status(answer: Option<(postern_sip::Response, postern_sip::Source)>) -> u16 {
    answer.expect("no answer").0.status.code()
}

#[tokio::test]
async fn options_and_invites_are_answered_over_tcp() {
    let server = Party::new(on_tcp(), None, Hosts::default()).serve(0);
    let mut client = Party::new(Listening::default(), None, Hosts::default());
    let there = target(&format!("sip:{};transport=tcp", server.tcp()));
    assert_eq!(status(client.ask(Method::Options, there.clone()).await), 200);
    let (redirect, _) = client.ask(Method::Invite, there).await.unwrap();
    assert_eq!(redirect.status.code(), 302);
    assert!(redirect.headers.contact().unwrap().unwrap().uri.to_string().contains("5062"));
    assert_eq!(client.endpoint.connections(), 1, "one connection carried both");
}

#[tokio::test]
async fn options_and_invites_are_answered_over_udp() {
    let on_udp = Listening { udp: vec![loopback()], ..Listening::default() };
    let mut server = Party::new(on_udp.clone(), None, Hosts::default()).serve(0);
    let mut client = Party::new(on_udp, None, Hosts::default());
    let there = target(&format!("sip:{};transport=udp", server.listening.udp[0]));
    assert_eq!(status(client.ask(Method::Options, there.clone()).await), 200);
    assert_eq!(status(client.ask(Method::Invite, there).await), 302);
    assert_eq!(server.source().await.remote, client.transport.listening().udp[0]);
}

#[tokio::test]
async fn a_large_message_is_carried_whole_over_tls() {
    let authority = Authority::new();
    let server = Party::new(on_tls(), Some(authority.identity("um.example.test")), Hosts::default()).serve(60_000);
    let known = hosts(&[("um.example.test", &["127.0.0.1"])]);
    let mut client = Party::new(Listening::default(), Some(authority.identity("gw.example.test")), known);
    let there = target(&format!("sips:um.example.test:{}", server.tls().port()));
    let (answer, source) = client.ask(Method::Options, there).await.unwrap();
    assert_eq!((answer.body.len(), source.transport), (60_000, Protocol::Tls));
}

#[tokio::test]
async fn a_thousand_requests_at_once_are_all_answered() {
    let server = Party::new(on_tcp(), None, Hosts::default()).serve(0);
    let mut client = Party::new(Listening::default(), None, Hosts::default());
    let there = target(&format!("sip:{};transport=tcp", server.tcp()));
    for _ in 0..1000 {
        let now = std::time::Instant::now();
        client.endpoint.send_request(request(Method::Invite, &there.uri), there.clone(), now).unwrap();
    }
    let mut redirected = 0;
    while redirected < 1000 {
        if let postern_sip::Event::Response { response, .. } = client.event().await
            && response.status.is_final()
        {
            assert_eq!(response.status.code(), 302);
            redirected += 1;
        }
    }
}

#[tokio::test]
async fn ipv6_is_an_address_like_others() {
    let listening = Listening { tcp: vec!["[::1]:0".parse().unwrap()], ..Listening::default() };
    let server = Party::new(listening, None, Hosts::default()).serve(0);
    let mut client = Party::new(Listening::default(), None, Hosts::default());
    let there = target(&format!("sip:{};transport=tcp", server.tcp()));
    assert_eq!(status(client.ask(Method::Options, there).await), 200);
}

#[tokio::test]
async fn the_next_address_is_tried_when_the_first_refuses() {
    let mut server = Party::new(on_tcp(), None, Hosts::default()).serve(0);
    let port = server.tcp().port();
    let known = hosts(&[("um.example.test", &["127.0.0.2", "127.0.0.1"])]);
    let mut client = Party::new(Listening::default(), None, known);
    let there = target(&format!("sip:um.example.test:{port};transport=tcp"));
    assert_eq!(status(client.ask(Method::Options, there).await), 200);
    assert_eq!(server.source().await.local.ip().to_string(), "127.0.0.1");
    assert!(client.reports.any(|report| matches!(report,
        postern_transport::Report::ConnectFailed { remote, .. } if remote.ip().to_string() == "127.0.0.2")));
}

#[tokio::test]
async fn connections_beyond_the_cap_are_closed_and_reported() {
    let options = TransportOptions { listening: on_tcp(), ..TransportOptions::default() };
    let capped = EndpointOptions { connections_per_source_max: 1, ..EndpointOptions::default() };
    let server = Party::with(options, capped).serve(0);
    let mut first = Party::new(Listening::default(), None, Hosts::default());
    let there = target(&format!("sip:{};transport=tcp", server.tcp()));
    assert_eq!(status(first.ask(Method::Options, there.clone()).await), 200);
    let mut second = Party::new(Listening::default(), None, Hosts::default());
    assert!(second.ask(Method::Options, there).await.is_none());
    server.reports.wait(|report| report.refused() == Some(Protocol::Tcp)).await;
}
