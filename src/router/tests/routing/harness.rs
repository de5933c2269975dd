//! A router from a configuration, and parties that speak SIP with it: gateways ask, services answer.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postern_config::{Source as ConfigSource, load_source};
use postern_router::Origin;
use postern_sip::options::EndpointOptions;
use postern_sip::{Endpoint, Event, Method, Request, Response, SipUri, StatusCode, Target, Uri};
use postern_transport::{Listening, TlsIdentity, Transport, TransportOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// More than anything here takes.
pub const LONG: Duration = Duration::from_secs(15);

/// A port of the loopback that nobody holds.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

pub fn sip(uri: &str) -> SipUri {
    Uri::parse(uri).and_then(|uri| uri.as_sip().cloned()).unwrap_or_else(|| panic!("no SIP URI: {uri}"))
}

/// A running router; ends with this.
pub struct Router {
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Router {
    /// With these UM services; `more` are further lines of `[router]`, `gateway` those of its one gateway besides the
    /// plan.
    pub async fn start(services: &[SocketAddr], more: &str, gateway: &str) -> Self {
        let (port, metrics) = (free_port(), free_port());
        let services: Vec<String> = services.iter().map(|um| format!("\"sip:{um};transport=tcp\"")).collect();
        // Quick, where the time is not what is tested.
        let health = if more.contains("health_interval_ms") { "" } else { "health_interval_ms = 100" };
        let text = format!(
            "[router]\ntcp = [\"127.0.0.1:{port}\"]\nmetrics = \"127.0.0.1:{metrics}\"\num_services = [{}]\n\
             {health}\n{more}\n\
             [sip]\ncontact_secrets = [{{ id = \"a\", value = \"a-secret-for-these-tests\" }}]\n\
             [[gateway]]\n{gateway}\ndial_plan = \"office\"\n\
             [[dial_plan]]\nname = \"office\"\npilots = [\"7000\"]\n",
            services.join(", ")
        );
        Self::run(ConfigSource::text("router.toml", &text, Path::new("/nonexistent"))).await
    }

    /// From a whole configuration.
    pub async fn run(source: ConfigSource) -> Self {
        let loaded = load_source(&source, &[]).unwrap_or_else(|errors| panic!("{errors:?}"));
        let metrics = loaded.config.router.as_ref().expect("a router").metrics;
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, ready) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            let told = |listening: &Listening| {
                tell.send(listening.tcp.iter().chain(&listening.tls).copied().next()).expect("the test waits")
            };
            postern_router::run(loaded, Origin::Embedded, stopped, told).await.expect("the router starts");
        });
        let address = tokio::time::timeout(LONG, ready).await.expect("in time").expect("ready");
        let address = address.expect("a listener");
        Self { address, metrics, stop: Some(stop), task }
    }

    /// With one gateway, 127.0.0.1.
    pub async fn with(services: &[SocketAddr], more: &str) -> Self {
        Self::start(services, more, "address = \"127.0.0.1\"").await
    }

    pub fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{};transport=tcp", self.address)
    }

    /// The metrics as they are.
    pub async fn counted(&self) -> String {
        let mut stream = TcpStream::connect(self.metrics).await.expect("metrics");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        text
    }

    /// Waits until the metrics have this line.
    pub async fn until_counted(&self, line: &str) {
        let began = Instant::now();
        loop {
            let text = self.counted().await;
            if text.lines().any(|known| known == line) {
                return;
            }
            assert!(began.elapsed() < LONG, "no {line} in {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until OPTIONS is answered so.
    pub async fn until_options_say(&self, status: u16) -> Duration {
        let began = Instant::now();
        let mut gateway = Party::client();
        loop {
            let answer = gateway.ask(Method::Options, &self.uri("ping"), &[]).await;
            if answer.is_some_and(|answer| answer.status.code() == status) {
                return began.elapsed();
            }
            assert!(began.elapsed() < LONG, "OPTIONS are never answered {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn end(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(LONG, &mut self.task).await.expect("it ends in time").expect("it ends well");
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Somebody who speaks SIP.
pub struct Party {
    pub transport: Transport,
    pub endpoint: Endpoint,
}

impl Party {
    /// One that listens nowhere.
    pub fn client() -> Self {
        Self::new(Listening::default(), None)
    }

    pub fn new(listening: Listening, tls: Option<TlsIdentity>) -> Self {
        let options = TransportOptions { listening, tls, ..TransportOptions::default() };
        let transport = Transport::bind(options).expect("bound");
        let tcp_port = transport.listening().tcp.first().map(SocketAddr::port);
        static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
        let seed = [NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed); 32];
        Self { transport, endpoint: Endpoint::new(EndpointOptions { tcp_port, ..EndpointOptions::default() }, seed) }
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
    pub async fn ask(&mut self, method: Method, uri: &str, headers: &[(&str, &str)]) -> Option<Response> {
        let request = request(method, uri, headers);
        self.send(request).await
    }

    pub async fn send(&mut self, request: Request) -> Option<Response> {
        let target = Target::of(&request).expect("a place to go");
        self.endpoint.send_request(request, target, Instant::now()).expect("sent");
        loop {
            match self.event().await {
                Event::Response { response, .. } if response.status.is_final() => return Some(response),
                Event::Failed { .. } => return None,
                _ => {}
            }
        }
    }
}

pub fn request(method: Method, uri: &str, headers: &[(&str, &str)]) -> Request {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut request = Request::new(method.clone(), sip(uri));
    request.headers.push("From", "<sip:2001@pbx.example.test>;tag=1");
    request.headers.push("To", "<sip:7000@example.test>");
    request.headers.push("Call-ID", format!("{number}@example.test"));
    request.headers.push("CSeq", format!("1 {method}"));
    request.headers.push("Contact", "<sip:2001@127.0.0.1:9;transport=tcp>");
    for (name, value) in headers {
        request.headers.push(*name, value);
    }
    request
}

/// How a service answers; may be changed while it runs.
#[derive(Clone, Default)]
pub struct Manner {
    /// Header lines of the 200 to OPTIONS.
    pub status: Vec<(String, String)>,
    /// Contact of a 302 to INVITE; without one, 200.
    pub redirect: Option<String>,
    /// It reads, and answers nothing.
    pub hung: bool,
}

impl Manner {
    pub fn free(calls: u32) -> Self {
        Self { status: vec![("Postern-Free-Calls".into(), calls.to_string())], ..Self::default() }
    }
}

/// A UM service or worker of the test's own; ends with this.
pub struct Service {
    pub address: SocketAddr,
    pub manner: Arc<Mutex<Manner>>,
    /// Requests other than OPTIONS, in order.
    pub seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Service {
    pub fn start(manner: Manner) -> Self {
        let listening = Listening { tcp: vec![([127, 0, 0, 1], 0).into()], ..Listening::default() };
        Self::of(Party::new(listening, None), manner)
    }

    /// Over mutual TLS.
    pub fn start_tls(identity: TlsIdentity, manner: Manner) -> Self {
        let listening = Listening { tls: vec![([127, 0, 0, 1], 0).into()], ..Listening::default() };
        Self::of(Party::new(listening, Some(identity)), manner)
    }

    fn of(mut party: Party, manner: Manner) -> Self {
        let listening = party.transport.listening();
        let address = listening.tcp.iter().chain(&listening.tls).copied().next().expect("a listener");
        let manner = Arc::new(Mutex::new(manner));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (manners, sights) = (Arc::clone(&manner), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                party.transport.drive(&mut party.endpoint).await;
                while let Some(event) = party.endpoint.poll_event() {
                    match event {
                        Event::Request { tx, request, .. } => {
                            let manner = manners.lock().expect("alone").clone();
                            answer(&mut party.endpoint, tx, &request, &manner, address);
                            if request.method != Method::Options {
                                sights.lock().expect("alone").push(request);
                            }
                        }
                        Event::Ack { request, .. } => sights.lock().expect("alone").push(request),
                        _ => {}
                    }
                }
            }
        });
        Self { address, manner, seen, task }
    }

    /// Waits for a request of this method.
    pub async fn request(&self, method: Method) -> Request {
        let began = Instant::now();
        loop {
            let found = self.seen.lock().expect("alone").iter().find(|request| request.method == method).cloned();
            if let Some(request) = found {
                return request;
            }
            assert!(began.elapsed() < LONG, "no {method} came");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Gone, as after kill -9.
    pub fn kill(self) {}
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(endpoint: &mut Endpoint, tx: postern_sip::ServerTx, request: &Request, manner: &Manner, address: SocketAddr) {
    if manner.hung {
        return;
    }
    let redirect = manner.redirect.as_ref().filter(|_| request.method == Method::Invite);
    let status = if redirect.is_some() { StatusCode::MOVED_TEMPORARILY } else { StatusCode::OK };
    let mut response = request.response(status, Some("answer"));
    match redirect {
        Some(contact) => response.headers.push("Contact", contact),
        None => response.headers.push("Contact", format!("<sip:vm@{address};transport=tcp>")),
    }
    for (name, value) in manner.status.iter().filter(|_| request.method == Method::Options) {
        response.headers.push(name.as_str(), value);
    }
    endpoint.send_response(tx, response, Instant::now());
}

/// URIs of the Contacts, in order, without what is sealed into them.
pub fn contacts(response: &Response) -> Vec<String> {
    let Ok(postern_sip::typed::Contacts::List(list)) = response.headers.contacts() else {
        panic!("no contacts: {response:?}");
    };
    let plain = |contact: &postern_sip::NameAddr| {
        let mut uri = contact.uri.as_sip().expect("a SIP URI").clone();
        assert!(uri.has_param(postern_dialplan::SEAL_PARAMETER), "nothing is sealed into {uri}");
        uri.remove_param(postern_dialplan::SEAL_PARAMETER);
        format!("{uri} {}", contact.q_thousandths())
    };
    list.iter().map(plain).collect()
}
