//! Damaged and random input: nothing panics, what is read is written and read as the same, and an endpoint stays within
//! its limits whatever its peers do.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use postern_sip::framer::{Frame, Framer};
use postern_sip::io::{Answer, SrvRecord};
use postern_sip::options::EndpointOptions;
use postern_sip::{
    Action, ClientTx, ConnId, Core, Endpoint, Event, Message, Method, Request, ServerTx, Source, StatusCode,
};
use postern_sip::{Target, Transport, Uri};
use proptest::prelude::*;

static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rfc4475");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
});

/// Every reading that can be asked of a message.
fn read_all(message: &Message) {
    let headers = message.headers();
    let _ = (headers.vias(), headers.top_via(), headers.from(), headers.to(), headers.call_id(), headers.cseq());
    let _ = (headers.max_forwards(), headers.contacts(), headers.routes(), headers.record_routes());
    let _ = (headers.diversions(), headers.history_info(), headers.asserted_identities());
    let _ = (headers.session_expires(), headers.min_se_secs(), headers.expires_secs(), headers.required());
    let _ = (headers.allowed(), headers.reasons(), headers.refer_to(), headers.event());
    let _ = (headers.rack(), headers.rseq(), headers.retry_after_secs(), headers.content_type());
    if let Message::Request(request) = message {
        let _ = (Target::of(request), request.response(StatusCode::OK, Some("x")).encode());
        assert!(request.uri.is_equivalent(&request.uri));
    }
}

/// What was read is written, and read again as the same.
fn round_trip(message: &Message) {
    let written = message.encode();
    let again =
        Message::parse(&written).unwrap_or_else(|error| panic!("{error:?}\n{}", String::from_utf8_lossy(&written)));
    assert_eq!(again.encode(), written);
}

fn look(bytes: &[u8]) {
    match Message::parse(bytes) {
        Ok(message) => {
            read_all(&message);
            round_trip(&message);
        }
        Err(malformed) => drop(malformed.answer().map(|answer| answer.encode())),
    }
}

/// The messages of a stream that arrives in pieces of this size.
fn framed(stream: &[u8], size: usize) -> Vec<Frame> {
    let mut framer = Framer::new(65_536);
    let mut frames = Vec::new();
    for chunk in stream.chunks(size) {
        framer.push(chunk);
        while let Some(frame) = framer.pop() {
            frames.push(frame);
        }
    }
    frames
}

fn damage(mut bytes: Vec<u8>, edits: &[(u16, u8, u8)]) -> Vec<u8> {
    for (at, kind, value) in edits {
        let at = usize::from(*at) % bytes.len().max(1);
        match kind % 5 {
            0 if !bytes.is_empty() => bytes[at] = *value,
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 => bytes.insert(at.min(bytes.len()), *value),
            3 => bytes.truncate(at),
            _ => {
                let piece: Vec<_> = bytes[at.min(bytes.len())..].iter().take(usize::from(*value)).copied().collect();
                bytes.extend(piece);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_messages_are_read_or_refused(
        which in 0usize..49, edits in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u8>()), 0..8),
    ) {
        let corpus = &*CORPUS;
        look(&damage(corpus[which % corpus.len()].clone(), &edits));
    }

    #[test]
    fn random_text_of_the_grammars_own_characters_is_read_or_refused(
        text in "(SIP/2.0 200 |INVITE |)(sip:|<|)[a-z@:;,<>\"\\\\=?&%/ \r\n\t0-9.\\[\\]]{0,200}",
    ) {
        look(text.as_bytes());
        if let Some(uri) = Uri::parse(&text) {
            let written = uri.to_string();
            prop_assert_eq!(Uri::parse(&written).map(|uri| uri.to_string()), Some(written));
        }
    }

    #[test]
    fn a_stream_means_the_same_however_it_is_cut(
        first in 0usize..49, second in 0usize..49, size in 1usize..300,
        edits in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u8>()), 0..3),
    ) {
        let corpus = &*CORPUS;
        let mut stream = damage(corpus[first % corpus.len()].clone(), &edits);
        stream.extend_from_slice(&corpus[second % corpus.len()]);
        prop_assert_eq!(framed(&stream, size), framed(&stream, stream.len()));
    }

    #[test]
    fn an_endpoint_stays_within_its_limits_whatever_happens(
        steps in prop::collection::vec((any::<u8>(), any::<u16>(), any::<u8>()), 1..120), seed in any::<u8>(),
    ) {
        Chaos::new(seed).run(&steps);
    }
}

/// An endpoint whose peers, DNS, shell and user do anything in any order.
struct Chaos {
    endpoint: Endpoint,
    now: Instant,
    conns: Vec<ConnId>,
    questions: Vec<postern_sip::io::QuestionId>,
    servers: Vec<ServerTx>,
    clients: Vec<ClientTx>,
    /// What we sent, to be answered or sent back.
    sent: Vec<Vec<u8>>,
}

const MAX: usize = 8;

impl Chaos {
    fn new(seed: u8) -> Chaos {
        let options = EndpointOptions {
            udp: vec!["192.0.2.1:5060".parse().unwrap()],
            tcp_port: Some(5060),
            tls_port: Some(5061),
            connections_max: MAX,
            connections_per_source_max: 4,
            server_transactions_max: MAX,
            client_transactions_max: MAX,
            ..EndpointOptions::default()
        };
        Chaos {
            endpoint: Endpoint::new(options, [seed; 32]),
            now: Instant::now(),
            conns: Vec::new(),
            questions: Vec::new(),
            servers: Vec::new(),
            clients: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn run(mut self, steps: &[(u8, u16, u8)]) {
        for (kind, choice, value) in steps {
            self.step(kind % 14, usize::from(*choice), *value);
            self.drain();
        }
        // Left alone, everything ends.
        for _ in 0..2_000 {
            let Some(at) = self.endpoint.next_timeout() else { break };
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.drain();
            self.settle();
        }
        assert_eq!(self.endpoint.transactions(), (0, 0));
        assert_eq!(self.endpoint.connections(), 0);
        assert_eq!(self.endpoint.next_timeout(), None);
    }

    /// The shell does what it was asked: whatever is open fails.
    fn settle(&mut self) {
        for question in std::mem::take(&mut self.questions) {
            self.endpoint.handle_resolved(question, Answer::None, self.now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.endpoint.poll_action() {
            match action {
                Action::Connect { conn, .. } => self.conns.push(conn),
                Action::Send { bytes, .. } | Action::SendDatagram { bytes, .. } => {
                    if bytes.len() > 4 {
                        if let Err(malformed) = Message::parse(&bytes) {
                            // A refusal repeats what it refuses.
                            let refusals = [b"SIP/2.0 400 ", b"SIP/2.0 505 ", b"SIP/2.0 513 "];
                            assert!(refusals.iter().any(|line| bytes.starts_with(*line)), "{malformed:?}");
                        }
                        self.sent.push(bytes);
                    }
                }
                Action::Close { conn } => self.conns.retain(|known| *known != conn),
                Action::Resolve { question, .. } => self.questions.push(question),
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Request { tx, .. } => self.servers.push(tx),
                Event::Closed { conn } => self.conns.retain(|known| *known != conn),
                _ => {}
            }
        }
        let (servers, clients) = self.endpoint.transactions();
        // What only absorbs repetitions comes on top: a CANCEL, and an attempt per address.
        assert!(servers <= MAX && clients <= MAX * 32, "{servers} {clients}");
        assert!(self.endpoint.connections() <= MAX);
    }

    fn step(&mut self, kind: u8, choice: usize, value: u8) {
        let now = self.now;
        let conn = self.conns.get(choice % self.conns.len().max(1)).copied().unwrap_or(ConnId(99));
        let remote = format!("192.0.2.{}:{}", value % 3, 1 + choice % 3).parse().unwrap();
        match kind {
            0 => {
                let transport = if value.is_multiple_of(2) { Transport::Tcp } else { Transport::Tls };
                let local = "192.0.2.1:5060".parse().unwrap();
                let names = ["a.test".to_owned()].into();
                let source = Source { transport, local, remote, names, conn: None };
                self.conns.extend(self.endpoint.handle_accepted(source, now));
            }
            1 => self.endpoint.handle_connected(conn, "192.0.2.1:9".parse().unwrap(), [].into(), now),
            2 => self.endpoint.handle_connect_failed(conn, now),
            3 => self.endpoint.handle_closed(conn, now),
            4 | 5 => {
                let bytes = damage(CORPUS[choice % CORPUS.len()].clone(), &[(choice as u16, value, value)]);
                let bytes = if value.is_multiple_of(2) { bytes } else { CORPUS[choice % CORPUS.len()].clone() };
                if kind == 4 {
                    self.endpoint.handle_bytes(conn, &bytes, now);
                } else {
                    self.endpoint.handle_datagram("192.0.2.1:5060".parse().unwrap(), remote, &bytes, now);
                }
            }
            6 => {
                let answer = match value % 3 {
                    0 => Answer::None,
                    1 => Answer::Addresses(vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]),
                    _ => Answer::Srv(vec![SrvRecord { priority: 0, weight: 1, port: 5060, target: "b.test".into() }]),
                };
                if let Some(question) = self.questions.pop() {
                    self.endpoint.handle_resolved(question, answer, now);
                }
            }
            7 | 8 => self.send(choice, value),
            9 => self.answer(choice, value),
            10 => {
                if let Some(tx) = self.clients.get(choice % self.clients.len().max(1)) {
                    self.endpoint.cancel(*tx, None, now);
                }
            }
            // Somebody answers what we sent.
            11 | 12 => self.be_answered(choice, value, conn),
            _ => {
                self.now += Duration::from_millis(choice as u64);
                self.endpoint.handle_timeout(self.now);
            }
        }
    }

    fn send(&mut self, choice: usize, value: u8) {
        let uri =
            ["sip:a.test", "sips:a.test", "sip:192.0.2.7;transport=udp", "sip:192.0.2.8;transport=tcp"][choice % 4];
        let uri = Uri::parse(uri).unwrap().as_sip().unwrap().clone();
        let method = [Method::Invite, Method::Options, Method::Ack][usize::from(value) % 3].clone();
        let mut request = Request::new(method.clone(), uri.clone());
        request.headers.push("From", "<sip:x@y.test>;tag=1");
        request.headers.push("To", "<sip:z@y.test>");
        request.headers.push("Call-ID", "1");
        request.headers.push("CSeq", format!("1 {method}"));
        let conn = self.conns.first().copied().filter(|_| value.is_multiple_of(5));
        let target = Target::new(uri).over(conn);
        if method == Method::Ack {
            let _ = self.endpoint.send_ack(request, target, self.now);
        } else {
            self.clients.extend(self.endpoint.send_request(request, target, self.now));
        }
    }

    fn answer(&mut self, choice: usize, value: u8) {
        let Some(tx) = self.servers.get(choice % self.servers.len().max(1)).copied() else { return };
        let status = StatusCode::new([100, 180, 200, 302, 486, 503][usize::from(value) % 6]).unwrap();
        if let Some(response) = self.endpoint.response(tx, status) {
            self.endpoint.send_response(tx, response, self.now);
        }
    }

    fn be_answered(&mut self, choice: usize, value: u8, conn: ConnId) {
        let Some(Ok(Message::Request(request))) =
            self.sent.get(choice % self.sent.len().max(1)).map(|bytes| Message::parse(bytes))
        else {
            return;
        };
        let status = StatusCode::new([100, 180, 200, 302, 486, 503][usize::from(value) % 6]).unwrap();
        let bytes = request.response(status, Some("t")).encode();
        if request.headers.top_via().is_ok_and(|via| via.transport == "UDP") {
            let (local, remote) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.7:5060".parse().unwrap());
            self.endpoint.handle_datagram(local, remote, &bytes, self.now);
        } else {
            self.endpoint.handle_bytes(conn, &bytes, self.now);
        }
    }
}
