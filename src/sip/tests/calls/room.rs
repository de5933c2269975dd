//! Two or three parties in a network, and the words that tests speak with.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postern_sip::offer_answer::OfferAnswer;
use postern_sip::offer_answer_capabilities::{Capabilities, Codec, Local, OfferKeying, Security};
use postern_sip::options::EndpointOptions;
use postern_sip::sdp::SessionDescription;
use postern_sip::sdp_media::Direction;
use postern_sip::user_agent_io::{EndCause, Invite};
use postern_sip::user_agent_options::UserAgentOptions;
use postern_sip::{CallEvent, CallHandle, Message, Method, NameAddr, Request, Response, StatusCode, Uri, UserAgent};

use crate::network::{Network, Node};

pub const A: usize = 0;
pub const B: usize = 1;
pub const C: usize = 2;

pub const SECOND: Duration = Duration::from_secs(1);

/// A network of parties at 10.0.0.1, 10.0.0.2, ... that listen by TCP, TLS and UDP.
pub struct Room {
    pub net: Network,
}

pub fn address(party: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, party as u8 + 1])
}

pub fn options(party: usize) -> UserAgentOptions {
    let endpoint = EndpointOptions {
        tcp_port: Some(5060),
        tls_port: Some(5061),
        udp: vec![(address(party), 5060).into()],
        ..EndpointOptions::default()
    };
    UserAgentOptions { endpoint, user: format!("party{party}"), addresses: vec![address(party)], ..Default::default() }
}

pub fn room(parties: usize) -> Room {
    room_with(parties, |_, _| {})
}

/// Each party's options may be changed before it is born.
pub fn room_with(parties: usize, change: impl Fn(usize, &mut UserAgentOptions)) -> Room {
    let mut net = Network::new(1);
    for party in 0..parties {
        let mut options = options(party);
        change(party, &mut options);
        let agent = UserAgent::new(options, [party as u8 + 1; 32]);
        net.join(Node::Agent(Box::new(agent)), address(party), &format!("party{party}.example.test"));
    }
    Room { net }
}

pub fn uri(party: usize, transport: &str) -> Uri {
    Uri::parse(&format!("sip:7000@10.0.0.{};transport={transport}", party + 1)).unwrap()
}

pub fn name(text: &str) -> NameAddr {
    NameAddr::parse(text).unwrap()
}

pub fn invite(to: Uri) -> Invite {
    Invite {
        uri: to,
        target: None,
        from: name("\"Caller\" <sip:1001@example.test>"),
        to: None,
        offer: Some(sdp("sendrecv")),
        headers: Vec::new(),
        ring_time: Duration::from_secs(60),
        follow_redirects: true,
        credentials: None,
    }
}

/// A description that says this direction; enough for tests that do not negotiate.
pub fn sdp(direction: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na={direction}\r\n"
    )
}

pub fn parsed(text: &str) -> SessionDescription {
    SessionDescription::parse(text.as_bytes()).unwrap()
}

pub fn negotiation(party: usize) -> OfferAnswer {
    let capabilities = Capabilities {
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        telephone_event: true,
        comfort_noise: false,
        security: Security::SrtpIfOffered,
        sdes: Vec::new(),
        dtls: Vec::new(),
        offer: OfferKeying::Plain,
        rtcp_mux: false,
        ptime_ms: 20,
    };
    OfferAnswer::new(capabilities, [party as u8; 32])
}

pub fn local(party: usize, direction: Direction) -> Local {
    let rtp = (address(party), 20_000).into();
    Local { rtp, rtcp: (address(party), 20_001).into(), ice: None, direction }
}

impl Room {
    pub fn run(&mut self, time: Duration) {
        self.net.run(time);
    }

    pub fn agent(&mut self, party: usize) -> &mut UserAgent {
        self.net.parties[party].agent()
    }

    pub fn events(&mut self, party: usize) -> Vec<CallEvent> {
        self.net.take_events(party)
    }

    /// Party A calls party B over this transport: B's handle, ringing in nobody's ear yet.
    pub fn call(&mut self, transport: &str) -> (CallHandle, CallHandle) {
        self.call_as(invite(uri(B, transport)))
    }

    pub fn call_as(&mut self, invite: Invite) -> (CallHandle, CallHandle) {
        let now = self.net.now;
        let out = self.agent(A).invite(invite, now).unwrap();
        self.run(Duration::from_millis(50));
        let incoming = self.events(B).into_iter().find_map(|event| match event {
            CallEvent::Incoming { call, .. } => Some(call),
            _ => None,
        });
        (out, incoming.expect("an incoming call"))
    }

    /// A call that was answered and acknowledged; all events taken.
    pub fn talk(&mut self, transport: &str) -> (CallHandle, CallHandle) {
        let (out, incoming) = self.call(transport);
        self.answer(incoming);
        (out, incoming)
    }

    pub fn answer(&mut self, incoming: CallHandle) {
        let now = self.net.now;
        self.agent(B).answer(incoming, &sdp("sendrecv"), now).unwrap();
        self.run(Duration::from_millis(50));
        let heard = self.events(A);
        assert!(heard.iter().any(|event| matches!(event, CallEvent::Answered { .. })), "{heard:?}");
        let heard = self.events(B);
        assert!(heard.iter().any(|event| matches!(event, CallEvent::Established { .. })), "{heard:?}");
    }

    /// Requests of this method that a party sent so far.
    pub fn requests(&self, party: usize, method: Method) -> Vec<Request> {
        let of = |message: &Message| match message {
            Message::Request(request) if request.method == method => Some(request.clone()),
            _ => None,
        };
        self.net.parties[party].sent.iter().filter_map(of).collect()
    }

    /// Responses with this status that a party sent so far.
    pub fn responses(&self, party: usize, status: StatusCode) -> Vec<Response> {
        let of = |message: &Message| match message {
            Message::Response(response) if response.status == status => Some(response.clone()),
            _ => None,
        };
        self.net.parties[party].sent.iter().filter_map(of).collect()
    }

    /// Why a party's call ended, among the events since last asked.
    pub fn end(&mut self, party: usize) -> Option<EndCause> {
        self.events(party).into_iter().find_map(|event| match event {
            CallEvent::Ended { cause, .. } => Some(cause),
            _ => None,
        })
    }

    /// A datagram from a stranger at 192.0.2.9, its lines ended as they must be; what the party sent since then.
    pub fn throw(&mut self, party: usize, text: &str) -> Vec<Message> {
        self.throw_from("192.0.2.9:5060".parse().unwrap(), party, text)
    }

    /// As [`throw`](Self::throw), by another party.
    pub fn throw_as(&mut self, from: usize, party: usize, text: &str) -> Vec<Message> {
        self.throw_from((address(from), 5060).into(), party, text)
    }

    fn throw_from(&mut self, remote: SocketAddr, party: usize, text: &str) -> Vec<Message> {
        let before = self.net.parties[party].sent.len();
        let (head, body) = text.split_once("\n\n").or(text.split_once("\r\n\r\n")).unwrap_or((text, ""));
        let head = head.replace("\r\n", "\n");
        let wire = format!("{}\r\n\r\n{body}", head.trim().replace('\n', "\r\n"));
        let now = self.net.now;
        let local = (address(party), 5060).into();
        self.net.parties[party].core().handle_datagram(local, remote, wire.as_bytes(), now);
        self.run(Duration::from_millis(10));
        self.net.parties[party].sent[before..].to_vec()
    }

    /// The status of the only response to what a stranger throws.
    pub fn status_of(&mut self, party: usize, text: &str) -> Response {
        let sent = self.throw(party, text);
        match sent.as_slice() {
            [Message::Response(response)] => response.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Nothing is left of any call.
    pub fn assert_empty(&mut self) {
        self.run(Duration::from_secs(100));
        for party in 0..self.net.parties.len() {
            assert!(self.net.parties[party].is_idle(), "party {party}");
        }
    }
}
