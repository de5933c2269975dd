//! SRV and addresses from a DNS server.

use std::net::SocketAddr;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use postern_sip::Method;
use postern_sip::options::EndpointOptions;
use postern_transport::{Hosts, Listening, TransportOptions};
use tokio::net::UdpSocket;

use crate::harness::*;

/// A server that knows two SRV records of example.test, the better of which leads to nobody.
async fn name_server(port: u16) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let srv = move |priority, target: &str| RData::SRV(SRV::new(priority, 1, port, name(target)));
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((read, peer)) = socket.recv_from(&mut buffer).await {
            let Ok(query) = Message::from_vec(&buffer[..read]) else { continue };
            let Some(question) = query.queries.first().cloned() else { continue };
            let asked = question.name().to_ascii().to_lowercase();
            let answers = match (asked.as_str(), question.query_type()) {
                ("_sip._tcp.example.test.", RecordType::SRV) => {
                    vec![srv(20, "b.example.test."), srv(10, "a.example.test.")]
                }
                ("a.example.test.", RecordType::A) => vec![RData::A(A::new(127, 0, 0, 2))],
                ("b.example.test.", RecordType::A) => vec![RData::A(A::new(127, 0, 0, 1))],
                _ => Vec::new(),
            };
            let mut response = Message::response(query.metadata.id, query.metadata.op_code);
            response.metadata.message_type = MessageType::Response;
            response.metadata.recursion_available = true;
            let known = asked.ends_with("example.test.");
            response.metadata.response_code = if known { ResponseCode::NoError } else { ResponseCode::NXDomain };
            response.add_query(question.clone());
            for data in answers {
                response.add_answer(Record::from_rdata(question.name().clone(), 60, data));
            }
            let _ = socket.send_to(&response.to_vec().unwrap(), peer).await;
        }
    });
    addr
}

#[tokio::test]
async fn a_name_is_found_by_srv_and_its_second_record_serves_when_the_first_is_dead() {
    let mut server = Party::new(on_tcp(), None, Hosts::default()).serve(0);
    let dns_servers = vec![name_server(server.tcp().port()).await];
    let options = TransportOptions { dns_servers, listening: Listening::default(), ..TransportOptions::default() };
    let mut client = Party::with(options, EndpointOptions::default());
    let (answer, source) =
        client.ask(Method::Options, target("sip:example.test;transport=tcp")).await.expect("no answer");
    assert_eq!(answer.status.code(), 200);
    assert_eq!(source.remote, server.tcp());
    assert_eq!(server.source().await.transport, postern_sip::Transport::Tcp);
    assert!(client.ask(Method::Options, target("sip:nowhere.test;transport=tcp")).await.is_none());
}
