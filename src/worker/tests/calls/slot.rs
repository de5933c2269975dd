//! A worker in a slot: what it tells over the socket, and what it does as told.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use postern_sip::offer_answer_capabilities::{Codec, OfferKeying};
use postern_sip::user_agent_io::EndCause;
use postern_slots::limits::VERSION;
use postern_slots::{CallKey, Contacts, FromWorker, Lines, Readiness, Slot, Status, ToWorker, encode};
use postern_worker::{Seat, SeatError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::Lab;
use crate::phone::Phone;

const FROM: &str = "<sip:2002@127.0.0.1>";

/// A UM service as the worker sees it.
pub struct Service {
    stream: UnixStream,
    lines: Lines,
    heard: std::collections::VecDeque<FromWorker>,
}

impl Service {
    pub async fn connect(lab: &Lab) -> Self {
        let stream = UnixStream::connect(lab.directory.join(Slot::A.socket_name())).await.unwrap();
        Self { stream, lines: Lines::default(), heard: Default::default() }
    }

    pub async fn greet(lab: &Lab) -> Self {
        let mut service = Self::connect(lab).await;
        service.say(&ToWorker::Hello { version: VERSION, calls_max: 10 }).await;
        service
    }

    pub async fn say(&mut self, message: &ToWorker) {
        self.stream.write_all(&encode(message).unwrap()).await.unwrap();
    }

    pub async fn hear(&mut self) -> FromWorker {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return message;
            }
            let mut bytes = [0; 4096];
            let read = timeout(Duration::from_secs(20), self.stream.read(&mut bytes)).await.unwrap().unwrap();
            assert!(read > 0, "the worker closed the connection");
            self.heard.extend(self.lines.push::<FromWorker>(&bytes[..read]).unwrap());
        }
    }

    /// The next status that is so.
    pub async fn status(&mut self, is_so: impl Fn(&Status) -> bool) -> Status {
        loop {
            if let FromWorker::Status(status) = self.hear().await
                && is_so(&status)
            {
                return status;
            }
        }
    }
}

pub fn seat(directory: &Path) -> Seat {
    Seat { slot: Slot::A, socket: directory.join(Slot::A.socket_name()), generation: 7 }
}

async fn lab() -> Lab {
    Lab::seated(|directory| Some(seat(directory))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_who_it_is_and_how_it_is_twice_a_second() {
    let lab = lab().await;
    let mut service = Service::greet(&lab).await;
    let pid = std::process::id();
    let hello = FromWorker::Hello { version: VERSION, slot: Slot::A, generation: 7, pid };
    assert_eq!(service.hear().await, hello);
    let begun = std::time::Instant::now();
    for _ in 0..5 {
        let status = service.status(|_| true).await;
        assert_eq!((status.ready, status.calls, status.draining_secs), (Readiness::ALL, 0, None));
        let address: SocketAddr = ([127, 0, 0, 1], lab.port).into();
        assert_eq!(status.contacts.tcp, [address]);
        assert!(status.memory_bytes > 1 << 20);
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1400) && took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_told_of_before_it_is_answered_and_when_nothing_of_it_is_left() {
    let lab = lab().await;
    let mut service = Service::greet(&lab).await;
    let phone = Phone::call(FROM, &lab.uri("1001"), Codec::Pcmu, OfferKeying::Plain).await.unwrap();
    let began = loop {
        if let FromWorker::CallBegan { call } = service.hear().await {
            break call;
        }
    };
    assert_eq!(service.status(|_| true).await.calls, 1);

    let mut next = Service::greet(&lab).await;
    assert!(matches!(next.hear().await, FromWorker::Hello { .. }));
    assert_eq!(next.hear().await, FromWorker::CallBegan { call: began.clone() }, "the next one is told too");

    phone.hang_up().await;
    for each in [&mut service, &mut next] {
        loop {
            if let FromWorker::CallEnded { call } = each.hear().await {
                assert_eq!(call, began);
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_worker_sends_new_calls_to_the_other_slot() {
    let (old, new) = (lab().await, Lab::new().await);
    let mut service = Service::greet(&old).await;
    let elsewhere = Contacts { tcp: vec![format!("127.0.0.1:{}", new.port).parse().unwrap()], tls: None };
    service.say(&ToWorker::Drain { elsewhere }).await;
    service.status(|status| status.draining_secs.is_some()).await;
    let phone = Phone::call(FROM, &old.uri("1001"), Codec::Pcmu, OfferKeying::Plain).await.unwrap();
    assert_eq!(*old.worker.load.borrow(), 0);
    assert_eq!(*new.worker.load.borrow(), 1);
    phone.hang_up().await;

    service.say(&ToWorker::Resume).await;
    service.status(|status| status.draining_secs.is_none()).await;
    let phone = Phone::call(FROM, &old.uri("1001"), Codec::Pcmu, OfferKeying::Plain).await.unwrap();
    assert_eq!(*old.worker.load.borrow(), 1);
    phone.hang_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_worker_hangs_up_and_ends() {
    let mut lab = lab().await;
    let mut service = Service::greet(&lab).await;
    let mut phone = Phone::call(FROM, &lab.uri("1001"), Codec::Pcmu, OfferKeying::Plain).await.unwrap();
    service.say(&ToWorker::Retire).await;
    phone.listen("the worker hangs up", |heard| heard.ended.is_some()).await;
    timeout(postern_slots::limits::RETIRE_TIME, &mut lab.worker.task).await.unwrap().unwrap();
}

/// What comes on this connection up to and with these words.
async fn read_until(stream: &mut TcpStream, words: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(words) {
        let mut bytes = [0; 4096];
        let read = timeout(Duration::from_secs(10), stream.read(&mut bytes)).await.expect(words).unwrap();
        assert!(read > 0, "closed before {words}: {heard}");
        heard.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_worker_hangs_up_on_a_caller_whose_ack_comes_late() {
    let lab = lab().await;
    let mut service = Service::greet(&lab).await;
    let mut phone = TcpStream::connect(("127.0.0.1", lab.port)).await.unwrap();
    let own = phone.local_addr().unwrap();
    let request = |method: &str, to_tag: &str, body: &str| {
        format!(
            "{method} sip:1001@127.0.0.1:{} SIP/2.0\r\nVia: SIP/2.0/TCP {own};branch=z9hG4bK{method}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:2002@127.0.0.1>;tag=a\r\nTo: <sip:1001@127.0.0.1>{to_tag}\r\n\
             Call-ID: late\r\nCSeq: 1 {method}\r\nContact: <sip:2002@{own};transport=tcp>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            lab.port,
            body.len()
        )
    };
    let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
    phone.write_all(request("INVITE", "", offer).as_bytes()).await.unwrap();
    let answer = read_until(&mut phone, "m=audio").await;
    let tag = answer.split("\r\nTo: ").last().unwrap().split("\r\n").next().unwrap().split_once(";tag=").unwrap().1;
    service.say(&ToWorker::Retire).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    phone.write_all(request("ACK", &format!(";tag={tag}"), "").as_bytes()).await.unwrap();
    read_until(&mut phone, "BYE sip:2002@").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_what_the_service_allows_are_busy() {
    let lab = lab().await;
    let mut service = Service::greet(&lab).await;
    service.say(&ToWorker::Hello { version: VERSION, calls_max: 1 }).await;
    for _ in 0..2 {
        while !matches!(service.hear().await, FromWorker::Hello { .. }) {}
    }
    let phone = Phone::call(FROM, &lab.uri("1001"), Codec::Pcmu, OfferKeying::Plain).await.unwrap();
    let Err(refused) = Phone::call(FROM, &lab.uri("1001"), Codec::Pcmu, OfferKeying::Plain).await else {
        panic!("a second call is taken")
    };
    assert!(matches!(&refused, EndCause::Refused(response) if response.status.code() == 486), "{refused:?}");
    phone.hang_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_without_a_hello_is_told_of_calls_and_nothing_else() {
    let lab = lab().await;
    let mut asker = Service::connect(&lab).await;
    asker.say(&ToWorker::Drain { elsewhere: Contacts::default() }).await;
    asker.say(&ToWorker::Story { question: 3, call: CallKey::of("nobody") }).await;
    let empty = FromWorker::Story { question: 3, text: String::new(), more: false };
    assert_eq!(asker.hear().await, empty);
    asker.say(&ToWorker::RecentCalls { question: 4 }).await;
    assert_eq!(asker.hear().await, FromWorker::RecentCalls { question: 4, calls: Vec::new(), more: false });
    let mut service = Service::greet(&lab).await;
    assert_eq!(service.status(|_| true).await.draining_secs, None, "only a UM service has it drain");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_closes_that_connection_alone() {
    let lab = lab().await;
    let mut service = Service::greet(&lab).await;
    let mut babbler = Service::connect(&lab).await;
    babbler.stream.write_all(b"no message\n").await.unwrap();
    let read = timeout(Duration::from_secs(20), babbler.stream.read(&mut [0; 64])).await.unwrap().unwrap();
    assert_eq!(read, 0);
    service.status(|_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_has_one_worker() {
    let directory = std::env::temp_dir().join(format!("postern-seat-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let held = seat(&directory).take().await.unwrap();
    let refused = seat(&directory).take().await;
    assert!(matches!(&refused, Err(SeatError::Held { pid, .. }) if *pid == std::process::id().to_string()));
    drop(held);
    seat(&directory).take().await.unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}
