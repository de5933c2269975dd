//! Mutual TLS: who proves which name, and what becomes of those who do not (RFC 5922).

use std::time::Duration;

use postern_sip::{Method, Transport as Protocol};
use postern_transport::{ClientCertificates, Hosts, Listening, Report, TlsIdentity};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::harness::*;

fn client(identity: TlsIdentity) -> Party {
    let known = hosts(&[("um.example.test", &["127.0.0.1"]), ("other.example.test", &["127.0.0.1"])]);
    Party::new(Listening::default(), Some(identity), known)
}

fn server(identity: TlsIdentity) -> Server {
    Party::new(on_tls(), Some(identity), Hosts::default()).serve(0)
}

fn at(name: &str, server: &Server) -> postern_sip::Target {
    target(&format!("sip:{name}:{};transport=tls", server.tls().port())).secured()
}

#[tokio::test]
async fn both_sides_learn_the_names_that_the_other_proved() {
    let authority = Authority::new();
    let mut server = server(authority.identity("um.example.test"));
    let mut client = client(authority.identity("GW.example.test"));
    let (_, source) = client.ask(Method::Options, at("um.example.test", &server)).await.expect("no answer");
    assert!(source.has_name("um.example.test"));
    let source = server.source().await;
    assert_eq!(source.names.to_vec(), ["gw.example.test"]);
    assert!(source.has_name("Gw.Example.Test") && !source.has_name("example.test"));
}

#[tokio::test]
async fn a_server_of_another_name_gets_nothing() {
    let authority = Authority::new();
    let mut server = server(authority.identity("um.example.test"));
    let mut client = client(authority.identity("gw.example.test"));
    assert!(client.ask(Method::Invite, at("other.example.test", &server)).await.is_none());
    assert!(client.reports.any(|report| matches!(report, Report::ConnectFailed { .. })));
    assert!(server.seen.try_recv().is_err(), "not a byte of the request was sent");
}

#[tokio::test]
async fn a_server_of_a_foreign_authority_gets_nothing() {
    let mut server = server(Authority::new().identity("um.example.test"));
    let mut client = client(Authority::new().identity("gw.example.test"));
    assert!(client.ask(Method::Invite, at("um.example.test", &server)).await.is_none());
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_client_of_a_foreign_authority_does_not_come_in() {
    let authority = Authority::new();
    let mut server = server(authority.identity("um.example.test"));
    let stranger = TlsIdentity { ca: authority.roots(), ..Authority::new().identity("gw.example.test") };
    let mut client = client(stranger);
    assert!(client.ask(Method::Invite, at("um.example.test", &server)).await.is_none());
    let failed = |report: &Report| matches!(report, Report::HandshakeFailed { .. });
    server.reports.wait(|report| failed(report) && report.refused() == Some(Protocol::Tls)).await;
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_client_may_be_nameless_only_where_that_is_set() {
    let authority = Authority::new();
    let anonymous = |server: &Server| {
        let mut roots = rustls::RootCertStore::empty();
        let pem = authority.roots();
        for certificate in rustls::pki_types::pem::PemObject::pem_slice_iter(&pem) {
            roots.add(rustls::pki_types::CertificateDer::clone(&certificate.unwrap())).unwrap();
        }
        let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (addr, connector) = (server.tls(), tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)));
        async move {
            let stream = TcpStream::connect(addr).await.unwrap();
            let mut stream = connector.connect("um.example.test".try_into().unwrap(), stream).await.unwrap();
            let asked = request(Method::Options, &sip("sip:um.example.test"));
            let mut asked = asked;
            asked.headers.push_first("Via", "SIP/2.0/TLS 127.0.0.1;branch=z9hG4bKx");
            let mut first = [0; 12];
            tokio::io::AsyncWriteExt::write_all(&mut stream, &asked.encode()).await.ok()?;
            stream.read_exact(&mut first).await.ok()?;
            Some(first)
        }
    };
    let strict = server(authority.identity("um.example.test"));
    assert_eq!(anonymous(&strict).await, None);
    let optional = ClientCertificates::Optional;
    let mut open = server(TlsIdentity { client_certificates: optional, ..authority.identity("um.example.test") });
    assert_eq!(anonymous(&open).await, Some(*b"SIP/2.0 200 "));
    assert!(open.source().await.names.is_empty());
}

#[tokio::test]
async fn those_who_connect_and_say_nothing_do_not_keep_others_out() {
    let authority = Authority::new();
    let server = server(authority.identity("um.example.test"));
    let mut silent = Vec::new();
    for _ in 0..postern_transport::limits::HANDSHAKES_PER_SOURCE_MAX - 1 {
        silent.push(TcpStream::connect(server.tls()).await.unwrap());
    }
    let mut client = client(authority.identity("gw.example.test"));
    assert!(client.ask(Method::Options, at("um.example.test", &server)).await.is_some());
    // One more than the cap is closed at once.
    silent.push(TcpStream::connect(server.tls()).await.unwrap());
    let mut refused = TcpStream::connect(server.tls()).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), refused.read(&mut [0])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))));
    assert!(server.reports.any(|report| matches!(report, Report::CappedSource { .. })));
}

#[tokio::test]
async fn a_new_certificate_counts_for_new_connections_and_old_ones_live_on() {
    let authority = Authority::new();
    let mut there = Party::new(on_tls(), Some(authority.identity("um.example.test")), Hosts::default());
    let addr = there.transport.listening().tls[0];
    let mut here = client(authority.identity("gw.example.test"));
    let target = |name: &str| target(&format!("sip:{name}:{};transport=tls", addr.port())).secured();
    // One after the other, both driven here: the server is asked to change in between.
    async fn exchange(here: &mut Party, there: &mut Party, target: postern_sip::Target) -> Option<postern_sip::ConnId> {
        let serving = async {
            loop {
                if let postern_sip::Event::Request { tx, .. } = there.event().await {
                    let response = there.endpoint.response(tx, postern_sip::StatusCode::OK).unwrap();
                    there.endpoint.send_response(tx, response, std::time::Instant::now());
                }
            }
        };
        tokio::select! {
            answer = here.ask(Method::Options, target) => answer.and_then(|(_, source)| source.conn),
            () = serving => None,
        }
    }
    let first = exchange(&mut here, &mut there, target("um.example.test")).await.expect("no answer");
    there.transport.set_tls(&authority.identity("other.example.test")).unwrap();
    assert!(there.transport.set_tls(&TlsIdentity { ca: Vec::new(), ..authority.identity("x.test") }).is_err());
    let again = exchange(&mut here, &mut there, target("um.example.test")).await;
    assert_eq!(again, Some(first), "the connection that stood is used");
    let other = exchange(&mut here, &mut there, target("other.example.test")).await;
    assert!(other.is_some_and(|conn| conn != first));
}
