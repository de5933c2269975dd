//! Tokens from the real A/V authentication service, and from services that are none.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_config::{CertifiedPair, EdgeLocation, WorkerEdgeConfig, load_pair};
use postern_edge::token_service::{
    TokenMeter, TokenService, TokenServiceLimits, TokenServiceOptions, TokenServiceState,
};
use postern_telemetry::WorkerCells;
use postern_telemetry::call_labels::TokenResult;
use postern_telemetry::labels::{Location, TokenRefusal};
use postern_token::{KeyRing, Secret};
use postern_turn::client::EdgeFailure;
use postern_worker::edges::Edges;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Certificate and key, PEM.
    fn sign(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn config(&self, service: SocketAddr, own_name: &str) -> WorkerEdgeConfig {
        let (certificate, key) = self.sign(own_name);
        let material = load_pair(certificate.as_bytes(), key.as_bytes()).unwrap();
        WorkerEdgeConfig {
            host: "127.0.0.1".into(),
            port: service.port(),
            certificate: CertifiedPair {
                certificate: "worker.pem".into(),
                private_key: "worker.key".into(),
                material: Arc::new(material),
            },
            ca: vec![self.certificate.clone()],
            location: EdgeLocation::Intranet,
            token_lifetime_secs: 3600,
        }
    }
}

struct NoMeter;

impl TokenMeter for NoMeter {
    fn issued(&self, _: Location) {}
    fn refused(&self, _: TokenRefusal) {}
}

/// A service that lets `worker.example.test` ask, and names this relay.
async fn service(authority: &Authority, relay: &str) -> TokenService {
    let (certificate, key) = authority.sign("127.0.0.1");
    let material = load_pair(certificate.as_bytes(), key.as_bytes()).unwrap();
    let options = TokenServiceOptions {
        realm: "example.test".into(),
        keys: KeyRing::new(vec![Secret::new("a", "at-least-sixteen-bytes").unwrap()]).unwrap(),
        token_lifetime_max_secs: 28_800,
        allocations_max: 1000,
        allowed_names: vec!["worker.example.test".into()],
        internet: vec!["turn:192.0.2.1:3478".into()],
        intranet: vec!["turns:10.20.0.10:443".into(), relay.into()],
        alternates: Vec::new(),
        requests_per_caller_per_sec: NonZeroU32::new(1000).unwrap(),
        chain: material.chain.clone(),
        key: PrivateKeyDer::clone_key(&material.key),
        client_ca: vec![authority.certificate.clone()],
    };
    let state = TokenServiceState::new(options).unwrap();
    TokenService::start("127.0.0.1:0".parse().unwrap(), state, Arc::new(NoMeter), TokenServiceLimits::default())
        .await
        .unwrap()
}

/// A relay that answers Binding requests (RFC 8489 section 3), and nothing else.
async fn relay() -> (SocketAddr, JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let answering = async move {
        let mut request = [0; 548];
        while let Ok((length, from)) = socket.recv_from(&mut request).await {
            let (SocketAddr::V4(client), 20..) = (from, length) else { continue };
            let mut answer = vec![0x01, 0x01, 0, 12];
            answer.extend_from_slice(&request[4..20]);
            answer.extend_from_slice(&[0x00, 0x20, 0, 8, 0, 1]);
            answer.extend_from_slice(&(client.port() ^ 0x2112).to_be_bytes());
            answer.extend_from_slice(&(client.ip().to_bits() ^ 0x2112_a442).to_be_bytes());
            // A client that is gone asks no more.
            let _ = socket.send_to(&answer, from).await;
        }
    };
    (address, tokio::spawn(answering))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = timeout(Duration::from_secs(20), async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}: not within 20 s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_gets_a_token_of_its_own_from_the_service() {
    let authority = Authority::new();
    let (address, _relay) = relay().await;
    let service = service(&authority, &format!("turn:{address}?transport=udp")).await;
    let cells = Arc::new(WorkerCells::default());
    let config = authority.config(service.local_addr(), "worker.example.test");
    let edges = Edges::start_counting(&[config], Arc::clone(&cells)).unwrap();
    until("a token", || edges.health()[0].usable).await;

    let (one, two) = (edges.servers("one").await, edges.servers("two").await);
    assert_eq!((one.len(), two.len()), (1, 1), "the relay over UDP, and no other");
    assert_eq!(one[0].server, address);
    assert_ne!(one[0].credentials, two[0].credentials);
    let shared_id = edges.shared_id("one").unwrap();
    assert_ne!(edges.shared_id("two"), Some(shared_id));
    assert!(cells.tokens.value(TokenResult::Issued) >= 2);
    assert_eq!(edges.failure(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_edge_is_found_out_and_left_out_while_another_serves() {
    let authority = Authority::new();
    let ((gone_at, gone), (other_at, other)) = (relay().await, relay().await);
    let services =
        [service(&authority, &format!("turn:{gone_at}")).await, service(&authority, &format!("turn:{other_at}")).await];
    let configs = services.each_ref().map(|of| authority.config(of.local_addr(), "worker.example.test"));
    let edges = Edges::start(&configs).unwrap();
    until("tokens of both", || edges.health().iter().all(|edge| edge.usable)).await;
    let servers = edges.servers("call").await;
    assert_eq!(servers.iter().map(|server| server.server).collect::<Vec<_>>(), [gone_at, other_at]);

    edges.note(servers[0].id, EdgeFailure::Unreachable);
    let left: Vec<_> = edges.servers("next").await.iter().map(|server| server.server).collect();
    assert_eq!(left, [other_at], "at once, before any probe");
    assert_eq!(edges.health()[0].failures, [EdgeFailure::Unreachable]);
    assert_eq!(edges.host(servers[0].id).unwrap(), format!("127.0.0.1:{}", services[0].local_addr().port()));
    edges.note_ok(servers[0].id);
    assert_eq!(edges.servers("call").await.len(), 2);

    // Nobody answers at either any more.
    gone.abort();
    other.abort();
    until("both dead", || edges.health().iter().all(|edge| !edge.usable)).await;
    assert_eq!(edges.failure(), Some(EdgeFailure::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_may_not_ask_is_a_failure_of_credentials() {
    let authority = Authority::new();
    let service = service(&authority, "turn:127.0.0.1:9").await;
    let cells = Arc::new(WorkerCells::default());
    let config = authority.config(service.local_addr(), "stranger.example.test");
    let edges = Edges::start_counting(&[config], Arc::clone(&cells)).unwrap();
    until("a refusal", || cells.tokens.value(TokenResult::Refused) > 0).await;
    until("its consequence", || edges.failure() == Some(EdgeFailure::NoCredentials)).await;
    let asked = Instant::now();
    assert!(edges.servers("call").await.is_empty());
    assert!(asked.elapsed() < Duration::from_millis(400), "nothing is waited for where nothing comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_another_authority_or_another_protocol_is_not_believed() {
    let authority = Authority::new();
    let foreign = service(&Authority::new(), "turn:127.0.0.1:9").await;
    let junk = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let junk_at = junk.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = junk.accept().await {
            // Whoever asked may be gone.
            let _ = stream.write_all(b"SSH-2.0-none\r\n").await;
        }
    });
    for at in [foreign.local_addr(), junk_at] {
        let cells = Arc::new(WorkerCells::default());
        let edges = Edges::start_counting(&[authority.config(at, "worker.example.test")], Arc::clone(&cells)).unwrap();
        until("a failure", || cells.tokens.value(TokenResult::Unreachable) > 0).await;
        until("its consequence", || edges.failure() == Some(EdgeFailure::NoCredentials)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_never_answers_holds_up_no_call() {
    let authority = Authority::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = authority.config(silent.local_addr().unwrap(), "worker.example.test");
    let edges = Edges::start(&[config]).unwrap();
    let asked = Instant::now();
    assert!(edges.servers("call").await.is_empty());
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(450) && took < Duration::from_millis(1500), "{took:?}");
    until("the failure", || edges.failure() == Some(EdgeFailure::NoCredentials)).await;
    assert!(asked.elapsed() >= Duration::from_millis(2900), "an answer has three seconds");
}
