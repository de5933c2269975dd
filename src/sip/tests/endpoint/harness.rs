//! An endpoint in virtual time: what it is given and what it did, with the moment.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_sip::io::{Answer, Question};
use postern_sip::options::EndpointOptions;
use postern_sip::{
    Action, ClientTx, ConnId, Core, Endpoint, Event, Message, Method, Request, Response, ServerTx, SipUri, Source,
    Target, Transport, Uri,
};

pub const LOCAL: &str = "192.0.2.1:5060";
pub const PEER: &str = "192.0.2.9:40000";

pub struct Bed {
    pub endpoint: Endpoint,
    pub now: Instant,
    began: Instant,
    /// What was done and is not taken yet, with milliseconds since the start.
    actions: Vec<(u64, Action)>,
}

pub fn options() -> EndpointOptions {
    EndpointOptions {
        tcp_port: Some(5060),
        tls_port: Some(5061),
        udp: vec![LOCAL.parse().unwrap()],
        ..EndpointOptions::default()
    }
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Bed {
    pub fn new() -> Bed {
        Bed::with(options())
    }

    pub fn with(options: EndpointOptions) -> Bed {
        let began = Instant::now();
        Bed { endpoint: Endpoint::new(options, [7; 32]), now: began, began, actions: Vec::new() }
    }

    fn drain(&mut self) {
        let at = (self.now - self.began).as_millis() as u64;
        while let Some(action) = self.endpoint.poll_action() {
            self.actions.push((at, action));
        }
    }

    /// Lets time pass, stopping at each deadline.
    pub fn wait(&mut self, millis: u64) {
        self.drain();
        let until = self.now + Duration::from_millis(millis);
        while let Some(at) = self.endpoint.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// What was done since the last look, with its time.
    pub fn timed_actions(&mut self) -> Vec<(u64, Action)> {
        self.drain();
        std::mem::take(&mut self.actions)
    }

    pub fn actions(&mut self) -> Vec<Action> {
        self.timed_actions().into_iter().map(|(_, action)| action).collect()
    }

    /// The messages sent since the last look, by any way.
    pub fn sent(&mut self) -> Vec<Message> {
        self.timed_sent().into_iter().map(|(_, message)| message).collect()
    }

    pub fn timed_sent(&mut self) -> Vec<(u64, Message)> {
        let read = |(at, action)| match action {
            Action::Send { bytes, .. } | Action::SendDatagram { bytes, .. } => {
                Some((at, Message::parse(&bytes).unwrap()))
            }
            _ => None,
        };
        self.timed_actions().into_iter().filter_map(read).collect()
    }

    /// The only response sent since the last look.
    pub fn response(&mut self) -> Response {
        match self.sent().as_slice() {
            [Message::Response(response)] => response.clone(),
            other => panic!("not one response: {other:#?}"),
        }
    }

    pub fn status(&mut self) -> u16 {
        self.response().status.code()
    }

    /// The only request sent since the last look.
    pub fn request(&mut self) -> Request {
        match self.sent().as_slice() {
            [Message::Request(request)] => request.clone(),
            other => panic!("not one request: {other:#?}"),
        }
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.endpoint.poll_event()).collect()
    }

    pub fn event(&mut self) -> Event {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:#?}");
        events.remove(0)
    }

    /// The transaction of the only event, a request.
    pub fn incoming(&mut self) -> ServerTx {
        match self.event() {
            Event::Request { tx, .. } => tx,
            other => panic!("no request: {other:#?}"),
        }
    }

    pub fn accept(&mut self, transport: Transport, remote: &str, names: &[&str]) -> ConnId {
        self.try_accept(transport, remote, names).expect("refused")
    }

    pub fn try_accept(&mut self, transport: Transport, remote: &str, names: &[&str]) -> Option<ConnId> {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let source =
            Source { transport, local: address(LOCAL), remote: address(remote), names: names.into(), conn: None };
        self.endpoint.handle_accepted(source, self.now)
    }

    pub fn bytes(&mut self, conn: ConnId, text: &str) {
        self.endpoint.handle_bytes(conn, text.as_bytes(), self.now);
        self.drain();
    }

    pub fn datagram(&mut self, text: &str) {
        self.endpoint.handle_datagram(address(LOCAL), address(PEER), text.as_bytes(), self.now);
        self.drain();
    }

    pub fn answer(&mut self, tx: ServerTx, status: u16) {
        let status = postern_sip::StatusCode::new(status).unwrap();
        let response = self.endpoint.response(tx, status).expect("the transaction is gone");
        self.endpoint.send_response(tx, response, self.now);
    }

    pub fn send(&mut self, request: Request, target: Target) -> ClientTx {
        self.endpoint.send_request(request, target, self.now).expect("not sent")
    }

    /// The one connection asked for since the last look.
    pub fn connecting(&mut self) -> (ConnId, Transport, SocketAddr, Option<String>) {
        match self.actions().as_slice() {
            [Action::Connect { conn, transport, remote, server_name }] => {
                (*conn, *transport, *remote, server_name.clone())
            }
            other => panic!("not one connection: {other:#?}"),
        }
    }

    pub fn connected(&mut self, conn: ConnId) {
        self.connected_as(conn, &[]);
    }

    pub fn connected_as(&mut self, conn: ConnId, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        self.endpoint.handle_connected(conn, address("192.0.2.1:33333"), names.into(), self.now);
        self.drain();
    }

    /// The one question asked since the last look is answered.
    pub fn resolve(&mut self, expected: Question, answer: Answer) {
        match self.actions().as_slice() {
            [Action::Resolve { question, what }] => {
                assert_eq!(*what, expected);
                self.endpoint.handle_resolved(*question, answer, self.now);
            }
            other => panic!("not one question: {other:#?}"),
        }
    }
}

/// A request of a peer with this branch.
pub fn incoming(method: &str, branch: &str) -> String {
    incoming_by("UDP", method, branch, "1")
}

pub fn incoming_by(transport: &str, method: &str, branch: &str, call_id: &str) -> String {
    format!(
        "{method} sip:7000@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/{transport} 192.0.2.9:5070;branch={branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:1001@gw.example.test>;tag=theirs\r\nTo: <sip:7000@192.0.2.1>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nContact: <sip:gw@192.0.2.9:5070>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A request of ours.
pub fn outgoing(method: Method) -> Request {
    let mut request = Request::new(method.clone(), Uri::parse("sip:1001@gw.example.test").unwrap());
    request.headers.push("From", "<sip:7000@192.0.2.1>;tag=ours");
    request.headers.push("To", "<sip:1001@gw.example.test>");
    request.headers.push("Call-ID", "out");
    request.headers.push("CSeq", format!("7 {method}"));
    request
}

pub fn target(uri: &str) -> Target {
    Target::new(sip(uri))
}

pub fn sip(uri: &str) -> SipUri {
    Uri::parse(uri).unwrap().as_sip().unwrap().clone()
}

/// What a peer answers to a request of ours, as bytes.
pub fn answer_to(request: &Request, status: u16) -> String {
    let status = postern_sip::StatusCode::new(status).unwrap();
    String::from_utf8(request.response(status, Some("peer")).encode()).unwrap()
}
