//! The doctor against servers and relays that misbehave: each must show in the report.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use stun_rs::attributes::StunAttribute;
use stun_rs::attributes::stun::{ErrorCode, Nonce, Realm, UserName, XorMappedAddress};
use stun_rs::attributes::turn::{LifeTime, XorRelayedAddress};
use stun_rs::methods::ALLOCATE;
use stun_rs::{MessageClass, MessageEncoderBuilder, StunMessage, StunMessageBuilder, TransactionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Mutex, mpsc};

use crate::doctor::Notebook;
use crate::doctor_failure::Failure;
use crate::doctor_leg::Leg;
use crate::doctor_media::{Outcome, Peer, exchange};
use crate::doctor_message::{self as message, Challenge, Credentials, Signature};
use crate::doctor_report::{Media, Report, Status};
use crate::doctor_rtp::Speech;
use crate::doctor_session::Session;
use crate::doctor_target::{Route, Transport};
use crate::doctor_tls::Trust;
use crate::doctor_turn::CrateAllocation;

const REALM: &str = "example.test";
const NONCE: &str = "0123456789abcdef";

fn credentials() -> Credentials {
    Credentials { username: "1999999999:alice".into(), password: "secret".into() }
}

fn signature() -> Signature {
    Signature::new(&credentials(), &Challenge { realm: REALM.into(), nonce: NONCE.into() }).unwrap()
}

/// How a fake server answers a request; `None` is silence.
type Script = fn(&StunMessage) -> Option<Vec<u8>>;

fn is_signed(request: &StunMessage) -> bool {
    request.get::<UserName>().is_some()
}

/// An error answer with realm and nonce.
fn refuse(request: &StunMessage, code: u16) -> Option<Vec<u8>> {
    let error = stun_rs::ErrorCode::new(code, "").unwrap();
    let answer = StunMessageBuilder::new(request.method(), MessageClass::ErrorResponse)
        .with_transaction_id(TransactionId::from(*request.transaction_id().as_bytes()))
        .with_attribute(ErrorCode::new(error))
        .with_attribute(Realm::new(REALM).unwrap())
        .with_attribute(Nonce::new(NONCE).unwrap())
        .build();
    let mut bytes = vec![0; 512];
    let length = MessageEncoderBuilder::default().build().encode(&mut bytes, &answer).unwrap();
    bytes.truncate(length);
    Some(bytes)
}

/// A success answer to Allocate, with or without MESSAGE-INTEGRITY.
fn grant(request: &StunMessage, integrity: bool) -> Option<Vec<u8>> {
    let address: SocketAddr = "192.0.2.1:50000".parse().unwrap();
    let attributes: Vec<StunAttribute> = vec![
        XorRelayedAddress::from(address).into(),
        XorMappedAddress::from(address).into(),
        LifeTime::new(600).into(),
    ];
    let mut answer = StunMessageBuilder::new(request.method(), MessageClass::SuccessResponse)
        .with_transaction_id(TransactionId::from(*request.transaction_id().as_bytes()));
    for attribute in attributes {
        answer = answer.with_attribute(attribute);
    }
    if integrity {
        answer = answer.with_attribute(stun_rs::attributes::stun::MessageIntegrity::new(signature().key().clone()));
    }
    let mut bytes = vec![0; 512];
    let length = MessageEncoderBuilder::default().build().encode(&mut bytes, &answer.build()).unwrap();
    bytes.truncate(length);
    Some(bytes)
}

/// A TCP server that follows the script, one connection after the other.
async fn tcp_server(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 4096];
            // The doctor asks one thing at a time: what is read is one message.
            while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                let request = message::decode(&bytes[..length]).unwrap();
                if let Some(answer) = script(&request) {
                    stream.write_all(&answer).await.unwrap();
                }
            }
        }
    });
    address
}

async fn udp_server(script: Script) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = vec![0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            let request = message::decode(&bytes[..length]).unwrap();
            if let Some(answer) = script(&request) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    address
}

/// What one session over TCP reports of a server.
async fn report_of(script: Script) -> Report {
    let notebook = Notebook::default();
    let session = Session {
        route: Route { transport: Transport::Tcp, host: "127.0.0.1".into(), addresses: vec![tcp_server(script).await] },
        credentials: credentials(),
        trust: Arc::new(Trust::load(None).unwrap()),
        notebook: notebook.clone(),
        seconds: 1,
        stream_id: 7,
    };
    session.run().await;
    notebook.open().clone()
}

fn failed_allocate(report: &Report) -> &str {
    assert!(!report.media_flowed());
    let finding = report.findings.iter().find(|finding| finding.check == "tcp/ipv4 allocate").unwrap();
    assert_eq!(finding.status, Status::Fail);
    assert!(finding.remedy.is_some());
    &finding.detail
}

#[tokio::test]
async fn a_server_that_answers_401_forever_fails_and_is_not_asked_forever() {
    let report = report_of(|request| refuse(request, 401)).await;
    assert_eq!(failed_allocate(&report), "Allocate was refused with 401");
}

#[tokio::test]
async fn a_server_that_answers_438_forever_fails_and_is_not_asked_forever() {
    let report = report_of(|request| refuse(request, if is_signed(request) { 438 } else { 401 })).await;
    assert_eq!(failed_allocate(&report), "Allocate was refused with 438");
}

#[tokio::test]
async fn a_success_without_integrity_is_no_allocation() {
    let report =
        report_of(|request| if is_signed(request) { grant(request, false) } else { refuse(request, 401) }).await;
    assert!(failed_allocate(&report).contains("no MESSAGE-INTEGRITY"), "{report:?}");
}

#[tokio::test]
async fn an_open_relay_fails() {
    let report = report_of(|request| grant(request, false)).await;
    assert!(failed_allocate(&report).contains("open relay"), "{report:?}");
}

#[tokio::test]
async fn a_server_that_grants_and_then_refuses_every_peer_fails() {
    let script: Script = |request| match (is_signed(request), request.method()) {
        (false, _) => refuse(request, 401),
        (true, ALLOCATE) => grant(request, true),
        (true, _) => refuse(request, 403),
    };
    let report = report_of(script).await;
    assert!(!report.media_flowed());
    let statuses: Vec<(&str, Status)> =
        report.findings.iter().map(|finding| (finding.check.as_str(), finding.status)).collect();
    assert!(statuses.contains(&("tcp/ipv4 allocate", Status::Ok)), "{statuses:?}");
    assert!(statuses.contains(&("tcp/ipv4 own socket", Status::Unknown)), "{statuses:?}");
    assert!(statuses.contains(&("tcp/ipv4 media", Status::Fail)), "{statuses:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let start = Instant::now();
    let report = report_of(|_| None).await;
    assert!(failed_allocate(&report).contains("no answer within 5s"), "{report:?}");
    assert!(start.elapsed() < Duration::from_secs(9));
}

#[tokio::test]
async fn the_turn_crates_refusal_keeps_its_code() {
    for code in [401, 486, 508] {
        let script: Script = match code {
            401 => |request| refuse(request, 401),
            486 => |request| refuse(request, if is_signed_challenge(request) { 486 } else { 401 }),
            _ => |request| refuse(request, if is_signed_challenge(request) { 508 } else { 401 }),
        };
        let failure = CrateAllocation::new(udp_server(script).await, &credentials()).await.err().unwrap();
        assert_eq!(failure, Failure::Refused { request: "Allocate", code });
    }
}

fn is_signed_challenge(request: &StunMessage) -> bool {
    is_signed(request) && message::challenge(request).is_some()
}

/// What a fake relay does with a datagram on its way.
type Treatment = fn(u32, Vec<u8>) -> Option<Vec<u8>>;

/// One end of a relay in memory: what is sent here arrives at the other end, treated.
struct FakeLeg {
    relayed: SocketAddr,
    treatment: Treatment,
    sent: std::sync::atomic::AtomicU32,
    to: mpsc::UnboundedSender<(SocketAddr, Vec<u8>)>,
    from: Mutex<mpsc::UnboundedReceiver<(SocketAddr, Vec<u8>)>>,
}

#[async_trait]
impl Leg for FakeLeg {
    fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    fn mapped(&self) -> Option<SocketAddr> {
        None
    }

    async fn permit(&self, _peer: SocketAddr) -> Result<(), Failure> {
        Ok(())
    }

    async fn bind(&self, _peer: SocketAddr) -> Result<(), Failure> {
        Ok(())
    }

    async fn send(&self, _peer: SocketAddr, payload: &[u8]) -> Result<(), Failure> {
        let count = self.sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Some(treated) = (self.treatment)(count, payload.to_vec()) {
            let _ = self.to.send((self.relayed, treated));
        }
        Ok(())
    }

    async fn receive(&self) -> Result<(SocketAddr, Vec<u8>), Failure> {
        let received = self.from.lock().await.recv().await;
        received.ok_or_else(|| Failure::Unreachable("gone".into()))
    }

    fn received_by_channel(&self) -> u64 {
        0
    }

    async fn release(&self) {}
}

/// Half a second of speech through a relay that treats each direction in its own way.
async fn speak(outward: Treatment, back: Treatment) -> (Outcome, Media) {
    let (to_far, at_far) = mpsc::unbounded_channel();
    let (to_near, at_near) = mpsc::unbounded_channel();
    let leg = |port: u16, treatment, to, from| FakeLeg {
        relayed: SocketAddr::from(([192, 0, 2, 1], port)),
        treatment,
        sent: Default::default(),
        to,
        from: Mutex::new(from),
    };
    let near = leg(1, outward, to_far, at_near);
    let far: Arc<dyn Leg> = Arc::new(leg(2, back, to_near, at_far));
    let peer = Peer::relay(&near, far).await.unwrap();
    let outcome = exchange(&near, &peer, &Speech::new(25, 99)).await.unwrap();
    let media = Media {
        path: "udp/ipv4".into(),
        peer: peer.kind(),
        outward: outcome.outward,
        back: outcome.back,
        round_trip: outcome.round_trip,
        trusted: true,
    };
    (outcome, media)
}

const THROUGH: Treatment = |_, payload| Some(payload);
const SWALLOW: Treatment = |_, _| None;

#[tokio::test]
async fn speech_through_a_sound_relay_comes_back_whole() {
    let (outcome, media) = speak(THROUGH, THROUGH).await;
    assert_eq!((outcome.outward.received, outcome.back.received), (25, 25));
    assert!(outcome.round_trip.is_some() && media.flowed());
}

#[tokio::test]
async fn a_relay_that_swallows_everything_is_no_media() {
    let (outcome, media) = speak(SWALLOW, THROUGH).await;
    assert_eq!((outcome.outward.sent, outcome.outward.received, outcome.back.received), (25, 0, 0));
    assert!(!media.flowed() && outcome.round_trip.is_none());
}

#[tokio::test]
async fn a_relay_that_works_one_way_is_no_media() {
    let (outcome, media) = speak(THROUGH, SWALLOW).await;
    assert_eq!((outcome.outward.received, outcome.back.sent, outcome.back.received), (25, 25, 0));
    assert!(!media.flowed());
}

#[tokio::test]
async fn a_relay_that_changes_a_byte_is_no_media() {
    let spoil: Treatment = |count, mut payload| {
        if count == 3 {
            *payload.last_mut()? ^= 1;
        }
        Some(payload)
    };
    let (outcome, media) = speak(THROUGH, spoil).await;
    assert_eq!((outcome.back.received, outcome.back.altered), (24, 1));
    assert!(!media.flowed());
}

#[tokio::test]
async fn loss_and_doubling_are_counted_by_direction() {
    let every_fifth: Treatment = |count, payload| (count % 5 != 0).then_some(payload);
    let (outcome, media) = speak(every_fifth, THROUGH).await;
    assert_eq!((outcome.outward.sent, outcome.outward.received), (25, 20));
    assert_eq!((outcome.back.sent, outcome.back.received), (20, 20));
    assert!((outcome.outward.loss_percent() - 20.0).abs() < 0.01 && media.flowed());
}
