//! A certificate authority, a running service, and callers that speak HTTP/1.1 by hand.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use postern_edge::token_service::{
    TokenMeter, TokenService, TokenServiceLimits, TokenServiceOptions, TokenServiceState,
};
use postern_telemetry::labels::{Location, TokenRefusal};
use postern_token::{Grant, Judgement, KeyRing, Secret, Verifier};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub const SECRET: &str = "at-least-sixteen-bytes";

/// A certificate authority that signs for both sides.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: CertificateDer<'static>,
}

/// A chain and its key.
pub struct Pair {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate with `names` as subjectAltName and `common_name` as free text.
    pub fn sign(&self, names: &[&str], common_name: &str, usage: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(|&name| SanType::DnsName(name.try_into().unwrap())).collect();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { chain: vec![certificate.der().clone()], key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    pub fn client(&self, names: &[&str]) -> Pair {
        self.sign(names, "a caller", ExtendedKeyUsagePurpose::ClientAuth)
    }
}

pub fn options(authority: &Authority) -> TokenServiceOptions {
    let own = authority.sign(&["edge.example.test"], "edge", ExtendedKeyUsagePurpose::ServerAuth);
    TokenServiceOptions {
        realm: "example.test".into(),
        keys: KeyRing::new(vec![Secret::new("2026a", SECRET).unwrap()]).unwrap(),
        token_lifetime_max_secs: 28_800,
        allocations_max: 1000,
        allowed_names: vec!["worker.example.test".into(), "Billing.Example.Test".into()],
        internet: vec![
            "turn:edge.example.test:3478?transport=udp".into(),
            "turns:edge.example.test:443?transport=tcp".into(),
        ],
        intranet: vec!["turn:10.20.0.10:3478?transport=udp".into()],
        alternates: vec!["turn:edge2.example.test:3478?transport=udp".into()],
        requests_per_caller_per_sec: NonZeroU32::new(1000).unwrap(),
        chain: own.chain,
        key: own.key,
        client_ca: vec![authority.certificate.clone()],
    }
}

#[derive(Default)]
pub struct Meter(Mutex<Vec<String>>);

impl Meter {
    fn count(&self, what: impl Debug) {
        self.0.lock().unwrap().push(format!("{what:?}"));
    }

    pub fn counted(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl TokenMeter for Meter {
    fn issued(&self, location: Location) {
        self.count(location);
    }

    fn refused(&self, reason: TokenRefusal) {
        self.count(reason);
    }
}

pub struct Running {
    pub authority: Authority,
    pub service: TokenService,
    pub meter: Arc<Meter>,
}

impl Running {
    pub async fn new() -> Self {
        Self::with(|_| {}, TokenServiceLimits::default()).await
    }

    pub async fn with(change: impl FnOnce(&mut TokenServiceOptions), limits: TokenServiceLimits) -> Self {
        let authority = Authority::new();
        let mut options = options(&authority);
        change(&mut options);
        let state = TokenServiceState::new(options).unwrap();
        let meter = Arc::new(Meter::default());
        let service =
            TokenService::start("127.0.0.1:0".parse().unwrap(), state, Arc::clone(&meter) as _, limits).await.unwrap();
        Self { authority, service, meter }
    }

    pub async fn connect(&self, caller: Option<Pair>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match caller {
            Some(pair) => builder.with_client_auth_cert(pair.chain, pair.key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let tcp = TcpStream::connect(self.service.local_addr()).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("edge.example.test").unwrap(), tcp).await
    }

    pub async fn worker(&self) -> Connection {
        Connection(self.connect(Some(self.authority.client(&["worker.example.test"]))).await.unwrap())
    }
}

pub struct Connection(pub TlsStream<TcpStream>);

pub struct Answer {
    pub status: u16,
    headers: String,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            line.split_once(": ").filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    }
}

impl Connection {
    pub async fn post(&mut self, body: &Value) -> Answer {
        self.send("POST /v1/tokens", "content-type: application/json\r\n", body.to_string().as_bytes()).await.unwrap()
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), "", b"").await.unwrap()
    }

    pub async fn send(&mut self, line: &str, headers: &str, body: &[u8]) -> std::io::Result<Answer> {
        let head =
            format!("{line} HTTP/1.1\r\nhost: edge.example.test\r\n{headers}content-length: {}\r\n\r\n", body.len());
        self.0.write_all(head.as_bytes()).await?;
        self.0.write_all(body).await?;
        self.0.flush().await?;
        self.read().await
    }

    pub async fn read(&mut self) -> std::io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let (line, headers) = head.split_once("\r\n").unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, headers: headers.to_owned(), body: Value::Null };
        let mut body = vec![0; answer.header("content-length").map_or(0, |len| len.parse().unwrap())];
        self.0.read_exact(&mut body).await?;
        answer.body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(answer)
    }
}

pub fn wish() -> Value {
    json!({"identity": "alice", "location": "internet", "duration_secs": 3600})
}

pub fn unix_secs() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// What a relay with the same secret makes of an answer's username and password.
pub fn grant_of(answer: &Answer) -> Grant {
    let ring = KeyRing::new(vec![Secret::new("2026a", SECRET).unwrap()]).unwrap();
    let text = |field: &str| answer.body[field].as_str().unwrap().to_owned();
    match Verifier::new(&ring).judge(text("username").as_bytes(), text("password").as_bytes(), unix_secs()) {
        Judgement::Valid(grant) => grant,
        Judgement::Invalid(why) => panic!("{why}"),
    }
}

/// With TLS 1.3 a client may believe itself connected until it reads.
pub async fn is_turned_away(running: &Running, caller: Option<Pair>) -> bool {
    match running.connect(caller).await {
        Err(_) => true,
        Ok(stream) => Connection(stream)
            .send("POST /v1/tokens", "content-type: application/json\r\n", wish().to_string().as_bytes())
            .await
            .is_err(),
    }
}
