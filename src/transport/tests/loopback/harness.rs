//! A party is an endpoint with its transport; a server runs as a task and tells whom it answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_sip::options::EndpointOptions;
use postern_sip::{Endpoint, Event, Method, Request, Response, SipUri, Source, StatusCode, Target, Uri};
use postern_transport::{Hosts, Listening, Report, TlsIdentity, Transport, TransportOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// More than anything here takes.
pub const LONG: Duration = Duration::from_secs(10);

/// Reports, in order.
#[derive(Clone, Default)]
pub struct Reports(Arc<Mutex<Vec<Report>>>);

impl Reports {
    pub fn any(&self, wanted: impl Fn(&Report) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(wanted)
    }

    pub async fn wait(&self, wanted: impl Fn(&Report) -> bool) {
        let seen = async {
            while !self.any(&wanted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(LONG, seen).await.is_err() {
            panic!("not reported; only {:?}", self.0.lock().unwrap());
        }
    }
}

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub fn on_tcp() -> Listening {
    Listening { tcp: vec![loopback()], ..Listening::default() }
}

pub fn on_tls() -> Listening {
    Listening { tls: vec![loopback()], ..Listening::default() }
}

pub fn hosts(entries: &[(&str, &[&str])]) -> Hosts {
    let addresses = entries
        .iter()
        .map(|(name, list)| (name.to_string(), list.iter().map(|address| address.parse().unwrap()).collect()))
        .collect();
    Hosts { addresses, ..Hosts::default() }
}

pub struct Party {
    pub transport: Transport,
    pub endpoint: Endpoint,
    pub reports: Reports,
}

impl Party {
    pub fn new(listening: Listening, tls: Option<TlsIdentity>, hosts: Hosts) -> Party {
        Party::with(
            TransportOptions { listening, tls, hosts, ..TransportOptions::default() },
            EndpointOptions::default(),
        )
    }

    pub fn with(options: TransportOptions, endpoint: EndpointOptions) -> Party {
        let reports = Reports::default();
        let noted = reports.clone();
        let on_report = Arc::new(move |report| noted.0.lock().unwrap().push(report));
        let transport = Transport::bind(TransportOptions { on_report, ..options }).unwrap();
        let udp = transport.listening().udp;
        Party { transport, endpoint: Endpoint::new(EndpointOptions { udp, ..endpoint }, [3; 32]), reports }
    }

    pub async fn event(&mut self) -> Event {
        let event = async {
            loop {
                if let Some(event) = self.endpoint.poll_event() {
                    return event;
                }
                self.transport.drive(&mut self.endpoint).await;
            }
        };
        tokio::time::timeout(LONG, event).await.expect("nothing happens")
    }

    /// Sends a request and waits for its final response, or `None` for a failure.
    pub async fn ask(&mut self, method: Method, target: Target) -> Option<(Response, Source)> {
        let now = std::time::Instant::now();
        self.endpoint.send_request(request(method, &target.uri), target, now).expect("not sent");
        loop {
            match self.event().await {
                Event::Response { response, source, .. } if response.status.is_final() => {
                    return Some((response, source));
                }
                Event::Failed { .. } => return None,
                _ => {}
            }
        }
    }

    /// Answers OPTIONS by 200 and INVITE by 302 from now on, with a body of this length; tells of each source.
    pub fn serve(mut self, body: usize) -> Server {
        let listening = self.transport.listening();
        let reports = self.reports.clone();
        let (sources, seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                self.transport.drive(&mut self.endpoint).await;
                while let Some(event) = self.endpoint.poll_event() {
                    if let Event::Request { tx, request, source } = event {
                        let _ = sources.send(source);
                        answer(&mut self.endpoint, tx, &request, body);
                    }
                }
            }
        });
        Server { listening, reports, seen, task }
    }
}

fn answer(endpoint: &mut Endpoint, tx: postern_sip::ServerTx, request: &Request, body: usize) {
    let status = if request.method == Method::Invite { StatusCode::MOVED_TEMPORARILY } else { StatusCode::OK };
    let mut response = endpoint.response(tx, status).unwrap();
    if request.method == Method::Invite {
        response.headers.push("Contact", "<sip:7000@127.0.0.1:5062;transport=tcp>");
    }
    response.body = vec![b'x'; body];
    endpoint.send_response(tx, response, std::time::Instant::now());
}

pub struct Server {
    pub listening: Listening,
    pub reports: Reports,
    pub seen: mpsc::UnboundedReceiver<Source>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub fn tcp(&self) -> SocketAddr {
        self.listening.tcp[0]
    }

    pub fn tls(&self) -> SocketAddr {
        self.listening.tls[0]
    }

    pub async fn source(&mut self) -> Source {
        tokio::time::timeout(LONG, self.seen.recv()).await.expect("no request came").unwrap()
    }
}

pub fn target(uri: &str) -> Target {
    Target::new(sip(uri))
}

pub fn sip(uri: &str) -> SipUri {
    Uri::parse(uri).unwrap().as_sip().unwrap().clone()
}

pub fn request(method: Method, uri: &SipUri) -> Request {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut request = Request::new(method.clone(), uri.clone());
    request.headers.push("From", "<sip:caller@example.test>;tag=1");
    request.headers.push("To", "<sip:7000@example.test>");
    request.headers.push("Call-ID", format!("{number}@example.test"));
    request.headers.push("CSeq", format!("1 {method}"));
    request
}
