//! The router's loop: each request that belongs to no dialog is answered or sent on.

use std::sync::Arc;
use std::time::Instant;

use postern_config::{RouterMode, SipTarget, SipTransport};
use postern_dialplan::{Decision, Origin, Refusal, ServiceStatus, keeps_to_tls, towards};
use postern_net::system::unix_secs;
use postern_sip::Proxy;
use postern_sip::proxy_io::{Forward, ForwardHandle, ProxyEvent, ProxyTarget};
use postern_sip::{HeaderName, Method, Request, SipUri, Source, StatusCode, Transport as Protocol};
use postern_telemetry::RouterCells;
use postern_telemetry::call_labels::{self as labels, CallRefusal, ServiceHealth, SipMethod, SipResult};
use postern_transport::Transport;

use crate::contact::{ranked, uri_of, worker_for};
use crate::generation::Generation;
use crate::health::News;
use crate::limits::ANSWER_TIME;
use crate::services::{Condition, Services};

const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, REFER, NOTIFY, PRACK, SUBSCRIBE";

/// The loop's state.
pub(crate) struct Serving {
    pub(crate) transport: Transport,
    pub(crate) proxy: Proxy,
    pub(crate) generation: Generation,
    pub(crate) services: Services,
    pub(crate) cells: Arc<RouterCells>,
}

impl Serving {
    /// Waits for the next thing to happen on the wire, and deals with it. Cancel-safe.
    pub(crate) async fn turn(&mut self) {
        self.transport.drive(&mut self.proxy).await;
        while let Some(event) = self.proxy.poll_event() {
            self.on_event(event);
        }
        self.cells.forwarded_requests.set((), self.proxy.forwarding() as u64);
    }

    fn on_event(&mut self, event: ProxyEvent) {
        match event {
            ProxyEvent::Incoming { handle, request, source } => match request.method {
                Method::Invite | Method::Subscribe => self.on_initial(handle, &request, &source),
                Method::Options => self.on_options(handle, &request, &source),
                _ => self.respond(handle, StatusCode::METHOD_NOT_ALLOWED, &[allow()]),
            },
            ProxyEvent::Finished { method, status, .. } => {
                let labels = (SipMethod::from_name(method.as_str()), SipResult::from_status(status.code()));
                self.cells.requests.add(labels, 1);
            }
            ProxyEvent::TargetFailed { uri, fault, .. } => {
                tracing::debug!(%uri, ?fault, "a target did not take a call")
            }
            ProxyEvent::Withdrawn { .. } => {}
        }
    }

    /// Reads what the wire's side counts.
    pub(crate) fn count_wire(&self) {
        let endpoint = self.proxy.endpoint();
        for protocol in [Protocol::Tcp, Protocol::Tls, Protocol::Udp] {
            let Some(label) = labels::SipTransport::named(protocol.param()) else { continue };
            self.cells.malformed.store(label, endpoint.counters().malformed_over(protocol));
            if protocol != Protocol::Udp {
                self.cells.connections.set(label, endpoint.connections_over(protocol) as u64);
            }
        }
    }

    /// Gateways ask by OPTIONS whether calls may come as the question did.
    fn on_options(&mut self, handle: ForwardHandle, request: &Request, source: &Source) {
        let (status, headers) = if !self.generation.rules.admits(source) {
            (StatusCode::FORBIDDEN, Vec::new())
        } else if !self.services.any_healthy(transport_of(request, source)) {
            (StatusCode::SERVICE_UNAVAILABLE, vec![self.retry_after()])
        } else {
            let accept = (HeaderName::Accept, "application/sdp".to_string());
            let supported = (HeaderName::Supported, "timer, 100rel".to_string());
            (StatusCode::OK, vec![allow(), accept, supported])
        };
        self.respond(handle, status, &headers);
    }

    /// A call, or a subscription to message waiting, which UM services take as they take calls.
    fn on_initial(&mut self, handle: ForwardHandle, request: &Request, source: &Source) {
        let began = Instant::now();
        let decided = self.generation.rules.decide(request, source, &self.generation.seals, unix_secs());
        let outcome = decided.and_then(|decision| {
            let uris = self.targets(request, source, &decision)?;
            Ok((decision, uris))
        });
        match outcome {
            Ok((decision, uris)) if self.generation.mode == RouterMode::Proxy => {
                self.forward(handle, request, source, &decision, uris);
            }
            Ok((decision, uris)) => {
                let contacts = ranked(uris);
                let Decision { gateway, plan, belief, unreadable, .. } = &decision;
                tracing::debug!(%gateway, %plan, ?belief, unreadable, %contacts, "redirected");
                let headers = [(HeaderName::Contact, contacts)];
                self.respond(handle, StatusCode::MOVED_TEMPORARILY, &headers);
            }
            Err(refusal) => self.refuse(handle, refusal, request, source),
        }
        if request.method == Method::Invite {
            self.cells.answer_seconds.observe((), began.elapsed().as_secs_f64());
        }
    }

    fn refuse(&mut self, handle: ForwardHandle, refusal: Refusal, request: &Request, source: &Source) {
        let method = &request.method;
        tracing::debug!(%method, remote = %source.remote, why = %refusal, "a call or a subscription is not taken");
        if let Some(label) = CallRefusal::named(refusal.name()).filter(|_| *method == Method::Invite) {
            self.cells.refusals.add(label, 1);
        }
        let headers = match refusal {
            Refusal::Unavailable => vec![self.retry_after()],
            _ => Vec::new(),
        };
        self.respond(handle, refusal.status(), &headers);
    }

    /// Where the call may go, best first.
    fn targets(&mut self, request: &Request, source: &Source, decision: &Decision) -> Result<Vec<SipUri>, Refusal> {
        let generation = &self.generation;
        let transport = transport_of(request, source);
        let gateway = generation.rules.gateway(&decision.gateway);
        let contacts_max = gateway.and_then(|gateway| gateway.contacts).unwrap_or(generation.contacts);
        // Workers know calls alone.
        let to_worker = generation.mode == RouterMode::SingleHop && request.method == Method::Invite;
        let place_of = |target: &SipTarget, status: &ServiceStatus| match to_worker {
            true => worker_for(status, transport, source.remote.ip()),
            false => uri_of(target),
        };
        let places = self.services.choose(transport, contacts_max as usize, place_of)?;
        let now = unix_secs();
        let seal = |uri| generation.rules.seal(uri, decision, &generation.seals, now);
        Ok(places.into_iter().map(|place| seal(towards(place, &request.uri))).collect())
    }

    /// Proxy mode: the caller stays with us, we go on to the service and follow its redirect to the worker.
    fn forward(
        &mut self,
        handle: ForwardHandle,
        request: &Request,
        source: &Source,
        decision: &Decision,
        uris: Vec<SipUri>,
    ) {
        let origin: Origin = self.generation.rules.origin(decision);
        let forward = Forward {
            targets: uris.into_iter().map(|uri| ProxyTarget { uri, hop: None }).collect(),
            headers: vec![(origin_header(), Some(origin.to_string()))],
            follow_redirects: true,
            secured: keeps_to_tls(source, &request.uri),
            answer_time: Some(ANSWER_TIME),
        };
        let Decision { gateway, plan, belief, unreadable, .. } = decision;
        tracing::debug!(remote = %source.remote, %gateway, %plan, ?belief, unreadable, "forwarded");
        self.proxy.forward(handle, forward, Instant::now());
    }

    fn respond(&mut self, handle: ForwardHandle, status: StatusCode, headers: &[(HeaderName, String)]) {
        self.proxy.respond(handle, status, headers, Instant::now());
    }

    fn retry_after(&self) -> (HeaderName, String) {
        (HeaderName::RetryAfter, self.generation.retry_after_secs.to_string())
    }

    /// Takes in how a UM service is.
    pub(crate) fn on_news(&mut self, news: News) {
        if let Some(took) = news.took {
            self.cells.um_check_seconds.observe((), took.as_secs_f64());
        }
        let healthy = matches!(news.condition, Condition::Healthy(_));
        if self.services.note(&news.target, news.condition).is_some() {
            if healthy {
                tracing::info!(um_service = %news.target, "takes calls");
            } else {
                tracing::warn!(um_service = %news.target, why = %news.why, "takes no calls");
            }
        }
        self.count_services();
    }

    pub(crate) fn count_services(&self) {
        let mut counts = [(ServiceHealth::Healthy, 0), (ServiceHealth::Refusing, 0), (ServiceHealth::Dead, 0)];
        for service in self.services.iter() {
            let at = match service.condition {
                Condition::Healthy(_) => 0,
                Condition::Refusing => 1,
                Condition::Unknown | Condition::Dead => 2,
            };
            counts[at].1 += 1;
        }
        for (health, count) in counts {
            self.cells.um_services.set(health, count);
        }
    }
}

/// A call keeps its security: in by TLS, on by TLS.
fn transport_of(request: &Request, source: &Source) -> SipTransport {
    if keeps_to_tls(source, &request.uri) { SipTransport::Tls } else { SipTransport::Tcp }
}

fn allow() -> (HeaderName, String) {
    (HeaderName::Allow, ALLOW.to_string())
}

fn origin_header() -> HeaderName {
    HeaderName::Other(postern_dialplan::ORIGIN_HEADER.into())
}
