//! A small house: two gateways and two plans, and INVITEs as text.

use std::net::SocketAddr;
use std::sync::Arc;

use postern_dialplan::{
    Decision, DiversionOrder, Gateway, HuntGroup, Options, Peer, Plan, Purpose, Refusal, Rules, Seals, Security,
    Status, UriType,
};
use postern_sip::host::Host;
use postern_sip::{Message, Request, Source, Transport};

pub const NOW: u64 = 1_800_000_000;

pub fn gateway(peer: &str, plan: &str) -> Gateway {
    let network = peer.parse().or_else(|_| format!("{peer}/32").parse());
    Gateway {
        peer: network.map_or(Peer::Name(peer.into()), Peer::Network),
        plan: plan.into(),
        status: Status::Enabled,
        diversion: DiversionOrder::Top,
        symmetric_rtp: false,
        contacts: None,
        target: None,
        outcalls: false,
        mwi: true,
    }
}

pub fn plan(name: &str, pilot: &str) -> Plan {
    Plan {
        name: name.into(),
        uri_type: UriType::Extension,
        security: Security::Unsecured,
        pilots: vec![pilot.into()],
        digits: 0,
        country_code: String::new(),
        national_prefix: String::new(),
        international_prefix: String::new(),
        domains: Vec::new(),
        allow: Vec::new(),
        operator: String::new(),
    }
}

/// Gateway 203.0.113.0/24 into `office` (pilot 7000), gw.example.test into `sealed` (secured, pilot 8000); routers
/// 10.20.0.21 and router.example.test.
pub fn options() -> Options {
    Options {
        gateways: vec![gateway("203.0.113.0/24", "office"), gateway("gw.example.test", "sealed")],
        plans: vec![plan("office", "7000"), Plan { security: Security::Secured, ..plan("sealed", "8000") }],
        hunt_groups: Vec::new(),
        routers: vec![gateway("10.20.0.21", "").peer, gateway("router.example.test", "").peer],
        own: ["10.20.0.20", "10.20.0.21", "um.example.test"].iter().filter_map(|host| Host::parse(host)).collect(),
        diversions_max: 10,
    }
}

pub fn rules(options: Options) -> Rules {
    Rules::new(options).expect("options that agree")
}

pub fn hunt(gateway: &str, pilot: &str, plan: &str) -> HuntGroup {
    HuntGroup { gateway: gateway.into(), pilot: pilot.into(), plan: plan.into() }
}

/// By TCP from an address.
pub fn tcp(remote: &str) -> Source {
    source(Transport::Tcp, remote, &[])
}

/// By mutual TLS from an address, with these names in the certificate.
pub fn tls(remote: &str, names: &[&str]) -> Source {
    source(Transport::Tls, remote, names)
}

fn source(transport: Transport, remote: &str, names: &[&str]) -> Source {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    Source {
        transport,
        local: SocketAddr::from(([10, 20, 0, 20], 5062)),
        remote: SocketAddr::new(remote.parse().expect("an address"), 40000),
        names: Arc::from(names),
        conn: None,
    }
}

pub fn invite(uri: &str, headers: &str) -> Request {
    let from = if headers.contains("From:") { "" } else { "From: <sip:2001@pbx.example.test>;tag=1\r\n" };
    let text = format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 203.0.113.7;branch=z9hG4bK1\r\n{from}To: <{uri}>\r\n\
         Call-ID: 1@203.0.113.7\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n{headers}\r\n"
    );
    match Message::parse(text.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("no request: {other:?}\n{text}"),
    }
}

pub fn decide(rules: &Rules, uri: &str, headers: &str) -> Result<Decision, Refusal> {
    rules.decide(&invite(uri, headers), &tcp("203.0.113.7"), &Seals::default(), NOW)
}

/// `answer MAILBOX REASON`, `access MAILBOX REASON` (`-` for none), or `STATUS NAME`.
pub fn told(verdict: &Result<Decision, Refusal>) -> String {
    match verdict {
        Ok(decision) => match &decision.purpose {
            Purpose::CallAnswering { mailbox } => format!("answer {mailbox} {}", decision.reason.name()),
            Purpose::SubscriberAccess { mailbox } => {
                format!("access {} {}", mailbox.as_deref().unwrap_or("-"), decision.reason.name())
            }
        },
        Err(refusal) => format!("{} {}", refusal.status(), refusal.name()),
    }
}
