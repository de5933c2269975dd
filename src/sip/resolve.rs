//! From a target to the addresses where it is tried, one after the other (RFC 3263 section 4, without NAPTR; RFC 2782).
//!
//! The way never gets worse: a target that is to be reached by TLS yields TLS destinations only, and the name that the
//! peer must prove is the host of the URI, not what DNS says about it (RFC 5922 section 4).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::host::Host;
use crate::io::{Answer, Question, SendError, SrvRecord};
use crate::limits::{DESTINATIONS_MAX, SRV_RECORDS_MAX};
use crate::options::{EndpointOptions, Families};
use crate::source::Transport;
use crate::target::{Security, Target};

/// One address to try.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Destination {
    pub(crate) transport: Transport,
    pub(crate) remote: SocketAddr,
    /// With TLS, always.
    pub(crate) server_name: Option<String>,
}

/// What to do next for a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Try(Destination),
    /// Ask, and hand the answer to [`Plan::answer`].
    Ask(Question),
    Exhausted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Srv { transport: Transport, name: String },
    Name { transport: Transport, name: String, port: u16 },
    Ready(Destination),
}

/// The destinations of one target, found as they are needed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    stages: VecDeque<Stage>,
    /// What was asked last.
    asked: Option<Stage>,
    server_name: String,
    families: Families,
    tried: usize,
}

impl Plan {
    /// A plan without destinations.
    pub(crate) fn empty() -> Plan {
        let (stages, server_name) = (VecDeque::new(), String::new());
        Plan { stages, asked: None, server_name, families: Families::Any, tried: 0 }
    }

    /// # Errors
    /// [`SendError::NotSecure`] and [`SendError::NoTransport`].
    pub(crate) fn new(target: &Target, options: &EndpointOptions) -> Result<Plan, SendError> {
        let uri = &target.uri;
        let transports = transports(target, options)?;
        let server_name = match uri.host.address() {
            Some(address) => address.to_string(),
            None => uri.host.to_string(),
        };
        let mut plan = Plan { server_name, families: options.families, ..Plan::empty() };
        match &uri.host {
            Host::Address(address) => {
                for transport in transports {
                    plan.push_ready(transport, *address, uri.port.unwrap_or(transport.default_port()));
                }
                if plan.stages.is_empty() {
                    return Err(SendError::NoTransport);
                }
            }
            Host::Name(name) => {
                if uri.port.is_none() {
                    plan.stages.extend(transports.iter().map(|transport| Stage::Srv {
                        transport: *transport,
                        name: format!("{}.{name}", service(*transport)),
                    }));
                }
                plan.stages.extend(transports.iter().map(|transport| Stage::Name {
                    transport: *transport,
                    name: name.clone(),
                    port: uri.port.unwrap_or(transport.default_port()),
                }));
            }
        }
        Ok(plan)
    }

    pub(crate) fn next(&mut self) -> Step {
        if self.tried >= DESTINATIONS_MAX {
            return Step::Exhausted;
        }
        match self.stages.pop_front() {
            Some(Stage::Ready(destination)) => {
                self.tried += 1;
                Step::Try(destination)
            }
            Some(Stage::Srv { transport, name }) => {
                self.asked = Some(Stage::Srv { transport, name: name.clone() });
                Step::Ask(Question::Srv(name))
            }
            Some(Stage::Name { transport, name, port }) => {
                self.asked = Some(Stage::Name { transport, name: name.clone(), port });
                Step::Ask(Question::Addresses(name))
            }
            None => Step::Exhausted,
        }
    }

    /// Whether there is nothing more to try or ask.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.stages.is_empty() || self.tried >= DESTINATIONS_MAX
    }

    /// Puts a destination in front: it is tried once more, over a fresh connection.
    pub(crate) fn retry(&mut self, destination: Destination) {
        self.stages.push_front(Stage::Ready(destination));
    }

    /// Takes in the answer to what [`next`](Plan::next) asked.
    pub(crate) fn answer(&mut self, answer: &Answer, rng: &mut ChaCha8Rng) {
        match (self.asked.take(), answer) {
            (Some(Stage::Srv { transport, .. }), Answer::Srv(records)) if !records.is_empty() => {
                // The first transport with records is the one (RFC 3263 section 4.1): no other is looked at.
                self.stages.clear();
                for record in in_order(records, rng) {
                    self.push_record(transport, &record);
                }
            }
            (Some(Stage::Name { transport, port, .. }), Answer::Addresses(addresses)) => {
                let later = std::mem::take(&mut self.stages);
                for address in addresses.iter().take(DESTINATIONS_MAX) {
                    self.push_ready(transport, *address, port);
                }
                self.stages.extend(later);
            }
            _ => {}
        }
    }

    fn push_record(&mut self, transport: Transport, record: &SrvRecord) {
        // A target of "." says: no such service here (RFC 2782).
        match Host::parse(&record.target) {
            Some(Host::Name(name)) if record.port != 0 => {
                self.stages.push_back(Stage::Name { transport, name, port: record.port });
            }
            Some(Host::Address(address)) => self.push_ready(transport, address, record.port),
            _ => {}
        }
    }

    fn push_ready(&mut self, transport: Transport, address: IpAddr, port: u16) {
        let address = address.to_canonical();
        let usable = match self.families {
            Families::Any => true,
            Families::V4 => address.is_ipv4(),
            Families::V6 => address.is_ipv6(),
        };
        if usable && port != 0 {
            let server_name = (transport == Transport::Tls).then(|| self.server_name.clone());
            let remote = SocketAddr::new(address, port);
            self.stages.push_back(Stage::Ready(Destination { transport, remote, server_name }));
        }
    }
}

/// The transports to be tried, best first (RFC 3263 section 4.1).
fn transports(target: &Target, options: &EndpointOptions) -> Result<Vec<Transport>, SendError> {
    let uri = &target.uri;
    let secure = uri.secure || target.security == Security::Tls;
    let named = match uri.param("transport") {
        Some(word) => Some(Transport::from_param(&word).ok_or(SendError::NoTransport)?),
        None => None,
    };
    let transports = match (secure, named) {
        (true, None | Some(Transport::Tls)) => vec![Transport::Tls],
        // "sips" with transport=tcp is TLS over TCP (RFC 3261 section 26.2.2); "sip" with it is TCP.
        (true, Some(Transport::Tcp)) if uri.secure => vec![Transport::Tls],
        (true, Some(_)) => return Err(SendError::NotSecure),
        (false, Some(transport)) => vec![transport],
        (false, None) => options.transports.clone(),
    };
    let usable = |transport: &Transport| *transport != Transport::Udp || !options.udp.is_empty();
    let transports: Vec<_> = transports.into_iter().filter(usable).collect();
    if transports.is_empty() { Err(SendError::NoTransport) } else { Ok(transports) }
}

fn service(transport: Transport) -> &'static str {
    match transport {
        Transport::Tls => "_sips._tcp",
        Transport::Tcp => "_sip._tcp",
        Transport::Udp => "_sip._udp",
    }
}

/// Lowest priority first; within one, drawn by weight (RFC 2782).
fn in_order(records: &[SrvRecord], rng: &mut ChaCha8Rng) -> Vec<SrvRecord> {
    let mut left: Vec<_> = records.iter().take(SRV_RECORDS_MAX).cloned().collect();
    // Weight 0 first within a priority, so that it is drawn only when the draw is 0.
    left.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(left.len());
    while let Some(priority) = left.first().map(|record| record.priority) {
        let same = left.iter().take_while(|record| record.priority == priority).count();
        let total: u64 = left[..same].iter().map(|record| u64::from(record.weight)).sum();
        let draw = rng.next_u64() % (total + 1);
        let mut sum = 0;
        let index = left[..same].iter().position(|record| {
            sum += u64::from(record.weight);
            sum >= draw
        });
        ordered.push(left.remove(index.unwrap_or(0)));
    }
    ordered
}
