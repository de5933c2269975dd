//! What kind of NAT is between us and the server (RFC 5780), as far as the server lets it be known.

use std::net::SocketAddr;
use std::time::Duration;

use stun_rs::attributes::StunAttribute;
use stun_rs::attributes::discovery::{ChangeRequest, ChangeRequestFlags, OtherAddress};
use stun_rs::methods::BINDING;
use stun_rs::{MessageClass, StunMessage};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::doctor_failure::Failure;
use crate::doctor_message as message;
use crate::doctor_report::Finding;
use crate::doctor_wire::bind_like;

/// Repeats of a test; an answer that a filter swallows never comes, so this is waited for in full.
const TRIES: [Duration; 3] = [Duration::from_millis(400), Duration::from_millis(600), Duration::from_millis(1000)];

/// What is known about UDP to one server.
pub struct Examined {
    pub findings: Vec<Finding>,
    /// Whether any datagram came back.
    pub udp_open: bool,
}

/// How a NAT treats traffic to or from other places (RFC 4787).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
}

impl Behaviour {
    fn name(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address- and port-dependent",
        }
    }
}

/// Examines the way to `server` over UDP.
pub async fn examine(path: &str, server: SocketAddr) -> Examined {
    let reach = format!("{path} reachable");
    let socket = match bind_like(server).await {
        Ok(socket) => socket,
        Err(failure) => return blocked(reach, path, &failure),
    };
    let answer = match ask(&socket, server, None).await {
        Ok(answer) => answer,
        Err(failure) => return blocked(reach, path, &failure),
    };
    let mut findings = vec![Finding::ok(reach, format!("{server} answers over UDP"))];
    let Some(mapped) = message::mapped_address(&answer) else {
        let why = "the server's Binding answer carries no XOR-MAPPED-ADDRESS";
        findings.push(Finding::unknown(format!("{path} nat"), why, "use a server of RFC 8489"));
        return Examined { findings, udp_open: true };
    };
    findings.push(translation(path, local_address(server, &socket).await, mapped));
    let other = answer
        .get::<OtherAddress>()
        .and_then(|attribute| attribute.as_other_address().ok())
        .map(|address| *address.socket_address());
    match other {
        Some(other) => {
            findings.push(mapping(path, &socket, server, other, mapped).await);
            findings.push(filtering(path, server).await);
        }
        None => {
            for what in ["mapping", "filtering"] {
                findings.push(Finding::unknown(
                    format!("{path} nat {what}"),
                    "the server offers no OTHER-ADDRESS",
                    "nothing to do: media by the relay works with every kind; `edge.nat_discovery` would tell",
                ));
            }
        }
    }
    Examined { findings, udp_open: true }
}

fn blocked(check: String, path: &str, failure: &Failure) -> Examined {
    let finding = match failure {
        Failure::NoRoute(text) => Finding::unknown(check, text, failure.remedy()),
        _ => Finding::warn(
            check,
            format!("UDP is blocked or nobody listens: {failure}"),
            "let UDP through to the edge's port; until then media goes over TCP or TLS, which stutters when packets are lost",
        ),
    };
    let why = "no datagram came back";
    let nat = Finding::unknown(format!("{path} nat"), why, "let UDP through to the edge");
    Examined { findings: vec![finding, nat], udp_open: false }
}

fn translation(path: &str, local: Option<SocketAddr>, mapped: SocketAddr) -> Finding {
    let check = format!("{path} nat");
    match local {
        Some(local) if local == mapped => Finding::ok(check, format!("none: the server sees us at our own address {local}")),
        Some(local) => Finding::ok(check, format!("present: {local} is seen as {mapped}")),
        None => Finding::unknown(check, format!("we are seen as {mapped}, our own address is not known"), "repeat"),
    }
}

/// The address that the system sends from: an unconnected socket does not know it.
async fn local_address(server: SocketAddr, socket: &UdpSocket) -> Option<SocketAddr> {
    let scout = bind_like(server).await.ok()?;
    scout.connect(server).await.ok()?;
    Some(SocketAddr::new(scout.local_addr().ok()?.ip(), socket.local_addr().ok()?.port()))
}

/// RFC 5780 section 4.3: does the mapping change with the destination?
async fn mapping(path: &str, socket: &UdpSocket, server: SocketAddr, other: SocketAddr, first: SocketAddr) -> Finding {
    let check = format!("{path} nat mapping");
    let second = seen_from(socket, SocketAddr::new(other.ip(), server.port())).await;
    let verdict = match second {
        Ok(second) if second == first => Ok(Behaviour::EndpointIndependent),
        Ok(second) => match seen_from(socket, other).await {
            Ok(third) if third == second => Ok(Behaviour::AddressDependent),
            Ok(_) => Ok(Behaviour::AddressAndPortDependent),
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    match verdict {
        Ok(Behaviour::EndpointIndependent) => Finding::ok(check, Behaviour::EndpointIndependent.name()),
        Ok(behaviour) => Finding::ok(check, format!("{} (symmetric): calls from here need the relay", behaviour.name())),
        Err(failure) => {
            let remedy = "let UDP through to the edge's second address, or take `edge.nat_discovery` away";
            Finding::unknown(check, format!("{other} does not answer ({failure})"), remedy)
        }
    }
}

async fn seen_from(socket: &UdpSocket, server: SocketAddr) -> Result<SocketAddr, Failure> {
    let answer = ask(socket, server, None).await?;
    message::mapped_address(&answer).ok_or_else(|| Failure::protocol("no XOR-MAPPED-ADDRESS"))
}

/// RFC 5780 section 4.4: from where do answers come in? On a fresh socket, whose mapping nothing else has opened.
async fn filtering(path: &str, server: SocketAddr) -> Finding {
    let check = format!("{path} nat filtering");
    let verdict = async {
        let socket = bind_like(server).await?;
        ask(&socket, server, None).await?;
        let both = ChangeRequest::new(Some(ChangeRequestFlags::ChangeIp | ChangeRequestFlags::ChangePort));
        if heard(ask(&socket, server, Some(both)).await)? {
            return Ok(Behaviour::EndpointIndependent);
        }
        let port = ChangeRequest::new(Some(ChangeRequestFlags::ChangePort.into()));
        let behaviour =
            if heard(ask(&socket, server, Some(port)).await)? { Behaviour::AddressDependent } else { Behaviour::AddressAndPortDependent };
        Ok::<_, Failure>(behaviour)
    };
    match verdict.await {
        Ok(behaviour) => Finding::ok(check, behaviour.name()),
        Err(failure) => Finding::unknown(check, failure.to_string(), "see the server's log"),
    }
}

/// Silence is an answer here: the filter swallowed it.
fn heard(answer: Result<StunMessage, Failure>) -> Result<bool, Failure> {
    match answer {
        Ok(_) => Ok(true),
        Err(Failure::Unreachable(_)) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// One Binding transaction; the answer may come from any address.
async fn ask(socket: &UdpSocket, server: SocketAddr, change: Option<ChangeRequest>) -> Result<StunMessage, Failure> {
    let attributes: Vec<StunAttribute> = change.map(Into::into).into_iter().collect();
    let request = message::encode(BINDING, MessageClass::Request, attributes, None)?;
    let mut bytes = [0; 2048];
    for wait in TRIES {
        let doing = || format!("UDP to {server}");
        socket.send_to(&request.bytes, server).await.map_err(|error| Failure::from_io(&doing(), &error))?;
        let deadline = Instant::now() + wait;
        while let Ok(received) = timeout_at(deadline, socket.recv_from(&mut bytes)).await {
            let (length, _) = received.map_err(|error| Failure::from_io(&doing(), &error))?;
            let Ok(answer) = message::decode(&bytes[..length]) else { continue };
            if *answer.transaction_id().as_bytes() != request.transaction {
                continue;
            }
            return match answer.class() {
                MessageClass::SuccessResponse => Ok(answer),
                _ => Err(Failure::Refused { request: "Binding", code: message::error_code(&answer) }),
            };
        }
    }
    Err(Failure::Unreachable(format!("no answer from {server}")))
}
