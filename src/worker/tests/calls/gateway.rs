//! A gateway that calls leave by: a user agent on an address of its own, which does as a test says.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use postern_sip::options::EndpointOptions;
use postern_sip::sdp::SessionDescription;
use postern_sip::user_agent_io::{CallHandle, EndCause};
use postern_sip::user_agent_options::UserAgentOptions;
use postern_sip::{CallEvent, HeaderName, Request, StatusCode, UserAgent};
use postern_transport::{Listening, Transport, TransportOptions};

use crate::phone::{Phone, seed};

/// Nothing takes longer on a machine that is not ill.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Gateway {
    transport: Transport,
    agent: UserAgent,
    pub address: SocketAddr,
}

/// A call that came to a gateway.
pub struct Incoming {
    pub call: CallHandle,
    pub invite: Box<Request>,
    pub offer: SessionDescription,
}

impl Gateway {
    /// Listens on `ip`, at a port that the system gives.
    pub fn start(ip: &str) -> Self {
        let ip: IpAddr = ip.parse().unwrap();
        let listening = Listening { tcp: vec![SocketAddr::new(ip, 0)], ..Listening::default() };
        let transport = Transport::bind(TransportOptions { listening, ..TransportOptions::default() }).unwrap();
        let address = transport.listening().tcp[0];
        let endpoint = EndpointOptions { tcp_port: Some(address.port()), ..EndpointOptions::default() };
        let options = UserAgentOptions { endpoint, addresses: vec![ip], ..UserAgentOptions::default() };
        Self { transport, agent: UserAgent::new(options, seed()), address }
    }

    /// `[[gateway]]` for it.
    pub fn table(&self) -> String {
        table(self.address)
    }

    /// The next event that is so, and what `take` makes of it.
    pub async fn event<T>(&mut self, what: &str, mut take: impl FnMut(CallEvent) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            while let Some(event) = self.agent.poll_event() {
                if let Some(taken) = take(event) {
                    return taken;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "{what}, but not within {PATIENCE:?}");
            let _ = tokio::time::timeout(Duration::from_millis(100), self.transport.drive(&mut self.agent)).await;
        }
    }

    /// Answers what comes, OPTIONS above all, for ever.
    pub async fn stay(&mut self) {
        loop {
            self.transport.drive(&mut self.agent).await;
        }
    }

    /// Answers OPTIONS until `work` is done: a gateway that is silent for long gets no call.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! { done = work => done, () = self.stay() => unreachable!("it stays") }
    }

    pub async fn incoming(&mut self) -> Incoming {
        let take = |event| match event {
            CallEvent::Incoming { call, invite, offer, .. } => Some(Incoming { call, invite, offer: offer? }),
            _ => None,
        };
        self.event("a call comes", take).await
    }

    pub async fn ended(&mut self) -> EndCause {
        let take = |event| match event {
            CallEvent::Ended { cause, .. } => Some(cause),
            _ => None,
        };
        self.event("the call ends", take).await
    }

    pub fn ring(&mut self, call: CallHandle) {
        self.agent.ring(call, Instant::now()).unwrap();
    }

    pub fn refuse(&mut self, call: CallHandle, status: StatusCode) {
        self.agent.reject(call, status, &[], Instant::now()).unwrap();
    }

    /// 401 with this challenge.
    pub fn challenge(&mut self, call: CallHandle, challenge: &str) {
        let headers = [(HeaderName::WwwAuthenticate, challenge.to_string())];
        self.agent.reject(call, StatusCode::UNAUTHORIZED, &headers, Instant::now()).unwrap();
    }

    /// The phone behind it answers.
    pub async fn answer(self, incoming: &Incoming) -> Phone {
        Phone::answering(self.transport, self.agent, incoming.call, &incoming.offer, self.address.ip()).await
    }
}

/// `[[gateway]]` for whatever listens there.
pub fn table(address: SocketAddr) -> String {
    format!(
        "[[gateway]]\naddress = \"{}\"\ndial_plan = \"office\"\ntarget = \"sip:{address};transport=tcp\"\noutcalls = true\n",
        address.ip()
    )
}
