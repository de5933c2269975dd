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
        Ok((answer, _)) => answer,
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
    findings.extend(behaviour(path, &socket, server, other, mapped).await);
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
        Some(local) if local == mapped => {
            Finding::ok(check, format!("none: the server sees us at our own address {local}"))
        }
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

/// Mapping and filtering, where the server has the second address and port that telling them takes.
async fn behaviour(
    path: &str,
    socket: &UdpSocket,
    server: SocketAddr,
    other: Option<SocketAddr>,
    mapped: SocketAddr,
) -> Vec<Finding> {
    let checks = [format!("{path} nat mapping"), format!("{path} nat filtering")];
    let why = match other {
        None => "the server offers no OTHER-ADDRESS".into(),
        Some(other) if other.ip() == server.ip() || other.port() == server.port() => {
            format!("the server's OTHER-ADDRESS {other} is no other address and port")
        }
        Some(other) => match mapping(socket, server, other, mapped).await {
            Ok(mapping) => {
                return vec![mapping_finding(&checks[0], mapping), filtering_finding(&checks[1], server).await];
            }
            Err(failure) => failure.to_string(),
        },
    };
    let remedy =
        "nothing to do: media by the relay works behind every kind; `edge.nat_discovery` would tell which it is";
    checks.map(|check| Finding::unknown(check, &why, remedy)).into()
}

/// RFC 5780 section 4.3: does the mapping change with the destination?
async fn mapping(
    socket: &UdpSocket,
    server: SocketAddr,
    other: SocketAddr,
    first: SocketAddr,
) -> Result<Behaviour, Failure> {
    let second = seen_from(socket, SocketAddr::new(other.ip(), server.port())).await?;
    if second == first {
        return Ok(Behaviour::EndpointIndependent);
    }
    let third = seen_from(socket, other).await?;
    Ok(if third == second { Behaviour::AddressDependent } else { Behaviour::AddressAndPortDependent })
}

fn mapping_finding(check: &str, behaviour: Behaviour) -> Finding {
    match behaviour {
        Behaviour::EndpointIndependent => Finding::ok(check, behaviour.name()),
        _ => Finding::ok(check, format!("{} (symmetric): calls from here need the relay", behaviour.name())),
    }
}

async fn seen_from(socket: &UdpSocket, server: SocketAddr) -> Result<SocketAddr, Failure> {
    let (answer, from) = ask(socket, server, None).await?;
    if from != server {
        return Err(Failure::protocol(format!("{server} answers from {from}")));
    }
    message::mapped_address(&answer).ok_or_else(|| Failure::protocol("no XOR-MAPPED-ADDRESS"))
}

async fn filtering_finding(check: &str, server: SocketAddr) -> Finding {
    match filtering(server).await {
        Ok(behaviour) => Finding::ok(check, behaviour.name()),
        Err(failure) => Finding::unknown(check, failure.to_string(), "look for CHANGE-REQUEST in the server's log"),
    }
}

/// RFC 5780 section 4.4: from where do answers come in? On a fresh socket, whose mapping nothing else has opened.
async fn filtering(server: SocketAddr) -> Result<Behaviour, Failure> {
    let socket = bind_like(server).await?;
    ask(&socket, server, None).await?;
    let both = ChangeRequest::new(Some(ChangeRequestFlags::ChangeIp | ChangeRequestFlags::ChangePort));
    if let Some(from) = heard(ask(&socket, server, Some(both)).await)? {
        return if from.ip() != server.ip() && from.port() != server.port() {
            Ok(Behaviour::EndpointIndependent)
        } else {
            Err(Failure::protocol(format!("asked to answer from elsewhere, the server answers from {from}")))
        };
    }
    let port = ChangeRequest::new(Some(ChangeRequestFlags::ChangePort.into()));
    match heard(ask(&socket, server, Some(port)).await)? {
        Some(from) if from.port() != server.port() => Ok(Behaviour::AddressDependent),
        Some(from) => {
            Err(Failure::protocol(format!("asked to answer from another port, the server answers from {from}")))
        }
        None => Ok(Behaviour::AddressAndPortDependent),
    }
}

/// Silence is an answer here: the filter swallowed it.
fn heard(answer: Result<(StunMessage, SocketAddr), Failure>) -> Result<Option<SocketAddr>, Failure> {
    match answer {
        Ok((_, from)) => Ok(Some(from)),
        Err(Failure::Unreachable(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// One Binding transaction: the answer, which may come from any address, and that address.
async fn ask(
    socket: &UdpSocket,
    server: SocketAddr,
    change: Option<ChangeRequest>,
) -> Result<(StunMessage, SocketAddr), Failure> {
    let attributes: Vec<StunAttribute> = change.map(Into::into).into_iter().collect();
    let request = message::encode(BINDING, MessageClass::Request, attributes, None)?;
    let mut bytes = [0; 2048];
    for wait in TRIES {
        let doing = || format!("UDP to {server}");
        socket.send_to(&request.bytes, server).await.map_err(|error| Failure::from_io(&doing(), &error))?;
        let deadline = Instant::now() + wait;
        while let Ok(received) = timeout_at(deadline, socket.recv_from(&mut bytes)).await {
            let (length, from) = received.map_err(|error| Failure::from_io(&doing(), &error))?;
            let Ok(answer) = message::decode(&bytes[..length]) else { continue };
            if *answer.transaction_id().as_bytes() != request.transaction {
                continue;
            }
            return match answer.class() {
                MessageClass::SuccessResponse => Ok((answer, from)),
                _ => Err(Failure::Refused { request: "Binding", code: message::error_code(&answer) }),
            };
        }
    }
    Err(Failure::Unreachable(format!("no answer from {server}")))
}

#[cfg(test)]
mod tests {
    use stun_rs::attributes::stun::XorMappedAddress;
    use stun_rs::{MessageEncoderBuilder, StunMessageBuilder, TransactionId};

    use super::*;
    use crate::doctor_report::Status;

    /// A server that answers Binding from where it was asked, whatever CHANGE-REQUEST says, and names `other`.
    async fn server(other: Option<SocketAddr>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut bytes = [0; 2048];
            loop {
                let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
                let request = message::decode(&bytes[..length]).unwrap();
                let id = TransactionId::from(*request.transaction_id().as_bytes());
                let mut answer = StunMessageBuilder::new(BINDING, MessageClass::SuccessResponse)
                    .with_transaction_id(id)
                    .with_attribute(XorMappedAddress::from(from));
                if let Some(other) = other {
                    answer = answer.with_attribute(OtherAddress::from(other));
                }
                let length = MessageEncoderBuilder::default().build().encode(&mut bytes, &answer.build()).unwrap();
                socket.send_to(&bytes[..length], from).await.unwrap();
            }
        });
        address
    }

    fn status(examined: &Examined, check: &str) -> Status {
        examined.findings.iter().find(|finding| finding.check == check).unwrap().status
    }

    #[tokio::test]
    async fn without_other_address_the_behaviour_is_unknown_and_not_passed() {
        let examined = examine("udp", server(None).await).await;
        assert!(examined.udp_open);
        assert_eq!(status(&examined, "udp nat"), Status::Ok);
        assert_eq!(status(&examined, "udp nat mapping"), Status::Unknown);
        assert_eq!(status(&examined, "udp nat filtering"), Status::Unknown);
    }

    #[tokio::test]
    async fn a_second_port_of_the_same_address_tells_nothing() {
        let other = server(None).await;
        let examined = examine("udp", server(Some(other)).await).await;
        assert_eq!(status(&examined, "udp nat mapping"), Status::Unknown);
    }

    #[tokio::test]
    async fn an_answer_from_the_same_address_is_no_proof_of_an_open_filter() {
        let server = server(None).await;
        assert!(matches!(filtering(server).await, Err(Failure::Protocol(_))));
    }

    #[tokio::test]
    async fn silence_is_udp_blocked_and_the_nat_is_unknown() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let examined = examine("udp", silent.local_addr().unwrap()).await;
        assert!(!examined.udp_open);
        assert_eq!(status(&examined, "udp reachable"), Status::Warn);
        assert_eq!(status(&examined, "udp nat"), Status::Unknown);
    }
}
