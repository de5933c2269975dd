//! The A/V authentication service over real connections: a CA of its own, callers with certificates, and what they are told.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use postern_edge::token_service::{
    TokenMeter, TokenService, TokenServiceLimits, TokenServiceOptions, TokenServiceState,
};
use postern_telemetry::labels::{Location, TokenRefusal};
use postern_token::{Grant, Identity, Judgement, KeyRing, Secret, Verifier};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SECRET: &str = "at-least-sixteen-bytes";

/// A certificate authority that signs for both sides.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A chain and its key.
struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// A certificate with `names` as subjectAltName and `common_name` as free text.
    fn sign(&self, names: &[&str], common_name: &str, usage: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|&name| SanType::DnsName(name.try_into().unwrap()))
            .collect();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    fn client(&self, names: &[&str]) -> Pair {
        self.sign(names, "a caller", ExtendedKeyUsagePurpose::ClientAuth)
    }
}

fn options(authority: &Authority) -> TokenServiceOptions {
    let own = authority.sign(
        &["edge.example.test"],
        "edge",
        ExtendedKeyUsagePurpose::ServerAuth,
    );
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
struct Meter(Mutex<Vec<String>>);

impl Meter {
    fn count(&self, what: impl Debug) {
        self.0.lock().unwrap().push(format!("{what:?}"));
    }

    fn counted(&self) -> Vec<String> {
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

struct Running {
    authority: Authority,
    service: TokenService,
    meter: Arc<Meter>,
}

impl Running {
    async fn new() -> Self {
        Self::with(|_| {}, TokenServiceLimits::default()).await
    }

    async fn with(
        change: impl FnOnce(&mut TokenServiceOptions),
        limits: TokenServiceLimits,
    ) -> Self {
        let authority = Authority::new();
        let mut options = options(&authority);
        change(&mut options);
        let state = TokenServiceState::new(options).unwrap();
        let meter = Arc::new(Meter::default());
        let service = TokenService::start(
            "127.0.0.1:0".parse().unwrap(),
            state,
            Arc::clone(&meter) as _,
            limits,
        )
        .await
        .unwrap();
        Self {
            authority,
            service,
            meter,
        }
    }

    async fn connect(&self, caller: Option<Pair>) -> std::io::Result<TlsStream<TcpStream>> {
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
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("edge.example.test").unwrap(), tcp)
            .await
    }

    async fn worker(&self) -> Connection {
        Connection(
            self.connect(Some(self.authority.client(&["worker.example.test"])))
                .await
                .unwrap(),
        )
    }
}

struct Connection(TlsStream<TcpStream>);

struct Answer {
    status: u16,
    headers: String,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            line.split_once(": ")
                .filter(|(own, _)| own.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        })
    }
}

impl Connection {
    async fn post(&mut self, body: &Value) -> Answer {
        self.send(
            "POST /v1/tokens",
            "content-type: application/json\r\n",
            body.to_string().as_bytes(),
        )
        .await
        .unwrap()
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), "", b"").await.unwrap()
    }

    async fn send(&mut self, line: &str, headers: &str, body: &[u8]) -> std::io::Result<Answer> {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: edge.example.test\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all(head.as_bytes()).await?;
        self.0.write_all(body).await?;
        self.0.flush().await?;
        self.read().await
    }

    async fn read(&mut self) -> std::io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let (line, headers) = head.split_once("\r\n").unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            headers: headers.to_owned(),
            body: Value::Null,
        };
        let mut body = vec![
            0;
            answer
                .header("content-length")
                .map_or(0, |len| len.parse().unwrap())
        ];
        self.0.read_exact(&mut body).await?;
        answer.body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(answer)
    }
}

fn wish() -> Value {
    json!({"identity": "alice", "location": "internet", "duration_secs": 3600})
}

fn unix_secs() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// What a relay with the same secret makes of an answer's username and password.
fn grant_of(answer: &Answer) -> Grant {
    let ring = KeyRing::new(vec![Secret::new("2026a", SECRET).unwrap()]).unwrap();
    let text = |field: &str| answer.body[field].as_str().unwrap().to_owned();
    match Verifier::new(&ring).judge(
        text("username").as_bytes(),
        text("password").as_bytes(),
        unix_secs(),
    ) {
        Judgement::Valid(grant) => grant,
        Judgement::Invalid(why) => panic!("{why}"),
    }
}

#[tokio::test]
async fn an_allowed_caller_gets_a_token_that_relays_accept() {
    let running = Running::new().await;
    let answer = running.worker().await.post(&wish()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let grant = grant_of(&answer);
    assert_eq!(
        (grant.identity, grant.extended),
        (Identity::Name("alice".into()), false)
    );
    assert_eq!(answer.body["realm"], "example.test");
    assert_eq!(answer.body["lifetime_secs"], 3600);
    assert_eq!(answer.body["expires_unix_secs"], grant.expires_unix_secs);
    assert!(grant.expires_unix_secs.abs_diff(unix_secs() + 3600) <= 5);
    let relays = json!([
        "turn:edge.example.test:3478?transport=udp",
        "turns:edge.example.test:443?transport=tcp"
    ]);
    assert_eq!(answer.body["relays"], relays);
    let ice = json!([{"urls": relays, "username": answer.body["username"], "credential": answer.body["password"]}]);
    assert_eq!(answer.body["iceServers"], ice);
    assert_eq!(running.meter.counted(), ["Internet"]);
}

#[tokio::test]
async fn the_location_decides_which_relays_are_named() {
    let running = Running::new().await;
    let mut wish = wish();
    wish["location"] = json!("intranet");
    let answer = running.worker().await.post(&wish).await;
    assert_eq!(
        answer.body["relays"],
        json!(["turn:10.20.0.10:3478?transport=udp"])
    );
    assert_eq!(running.meter.counted(), ["Intranet"]);
}

#[tokio::test]
async fn claims_make_an_extended_token_that_carries_them() {
    let running = Running::new().await;
    let mut wish = wish();
    wish["peers"] = json!(["10.20.0.9/24", "2001:db8::1"]);
    wish["allocations"] = json!(4);
    wish["bitrate_bps"] = json!(128_000);
    wish["call_id"] = json!("call-7");
    let answer = running.worker().await.post(&wish).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let grant = grant_of(&answer);
    assert!(grant.extended);
    assert_eq!(
        grant.peers,
        Some(vec![
            "10.20.0.0/24".parse().unwrap(),
            "2001:db8::1/128".parse().unwrap()
        ])
    );
    assert_eq!(
        (
            grant.allocations_max,
            grant.bitrate_bps,
            grant.call_id.as_deref()
        ),
        (Some(4), Some(128_000), Some("call-7"))
    );
}

#[tokio::test]
async fn a_longer_lifetime_than_the_limit_is_cut_to_it() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    for secs in [28_801, u64::MAX] {
        let mut wish = wish();
        wish["duration_secs"] = json!(secs);
        let answer = connection.post(&wish).await;
        assert_eq!(answer.body["lifetime_secs"], 28_800);
        assert!(grant_of(&answer).expires_unix_secs <= unix_secs() + 28_800);
    }
}

#[tokio::test]
async fn a_certificate_whose_names_are_not_allowed_gets_403() {
    let running = Running::new().await;
    let strangers = [
        running.authority.client(&["other.example.test"]),
        running.authority.client(&["*.example.test"]),
        running.authority.client(&["worker.example.test.evil.test"]),
        running.authority.client(&[]),
        // A common name is free text, not a name.
        running.authority.sign(
            &["other.example.test"],
            "worker.example.test",
            ExtendedKeyUsagePurpose::ClientAuth,
        ),
    ];
    for stranger in strangers {
        let mut connection = Connection(running.connect(Some(stranger)).await.unwrap());
        let answer = connection.post(&wish()).await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (403, &json!("name_not_allowed"))
        );
        assert!(
            answer.body["remedy"]
                .as_str()
                .unwrap()
                .contains("edge.tokens.allowed_names")
        );
        assert_eq!(connection.get("/openapi.json").await.status, 403);
    }
    assert_eq!(running.meter.counted(), vec!["NameNotAllowed"; 10]);
}

#[tokio::test]
async fn names_are_compared_without_regard_to_case_and_any_of_them_will_do() {
    let running = Running::new().await;
    for names in [
        &["WORKER.example.test"][..],
        &["billing.example.test"],
        &["first.example.test", "worker.example.test"],
    ] {
        let mut connection = Connection(
            running
                .connect(Some(running.authority.client(names)))
                .await
                .unwrap(),
        );
        assert_eq!(connection.post(&wish()).await.status, 200, "{names:?}");
    }
}

/// With TLS 1.3 a client may believe itself connected until it reads.
async fn is_turned_away(running: &Running, caller: Option<Pair>) -> bool {
    match running.connect(caller).await {
        Err(_) => true,
        Ok(stream) => Connection(stream)
            .send(
                "POST /v1/tokens",
                "content-type: application/json\r\n",
                wish().to_string().as_bytes(),
            )
            .await
            .is_err(),
    }
}

#[tokio::test]
async fn no_certificate_or_one_of_another_authority_ends_the_handshake() {
    let running = Running::new().await;
    assert!(is_turned_away(&running, None).await);
    assert!(
        is_turned_away(
            &running,
            Some(Authority::new().client(&["worker.example.test"]))
        )
        .await
    );
    let server_only = running.authority.sign(
        &["worker.example.test"],
        "",
        ExtendedKeyUsagePurpose::ServerAuth,
    );
    assert!(is_turned_away(&running, Some(server_only)).await);
    assert_eq!(running.meter.counted(), ["Handshake"; 3]);
    assert_eq!(
        running.worker().await.post(&wish()).await.status,
        200,
        "others are undisturbed"
    );
}

#[tokio::test]
async fn a_wrong_request_is_answered_with_the_field_and_the_remedy() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    let with = |field: &str, value: Value| {
        let mut wish = wish();
        wish[field] = value;
        wish
    };
    let without = |field: &str| {
        let mut wish = wish();
        wish.as_object_mut().unwrap().remove(field);
        wish
    };
    let cases = [
        (with("peer", json!(["10.0.0.0/8"])), "peer", "leave it out"),
        (with("Identity", json!("bob")), "Identity", "leave it out"),
        (without("identity"), "identity", "add it"),
        (without("location"), "location", "add it"),
        (without("duration_secs"), "duration_secs", "add it"),
        (with("identity", json!("")), "identity", "1 to 128 bytes"),
        (
            with("identity", json!("a\r\nb")),
            "identity",
            "control characters",
        ),
        (with("identity", json!(7)), "identity", "text"),
        (
            with("identity", json!("x".repeat(129))),
            "identity",
            "1 to 128 bytes",
        ),
        (
            with("location", json!("moon")),
            "location",
            "\"intranet\" or \"internet\"",
        ),
        (
            with("duration_secs", json!(0)),
            "duration_secs",
            "1 or more",
        ),
        (
            with("duration_secs", json!(-5)),
            "duration_secs",
            "1 or more",
        ),
        (
            with("duration_secs", json!(1.5)),
            "duration_secs",
            "whole number",
        ),
        (
            with("duration_secs", json!("3600")),
            "duration_secs",
            "whole number",
        ),
        (with("peers", json!("10.0.0.0/8")), "peers", "list"),
        (with("peers", json!([10])), "peers[0]", "list"),
        (
            with("peers", json!(["worker.example.test"])),
            "peers",
            "10.20.0.0/24",
        ),
        (
            with("peers", json!(vec!["10.0.0.1"; 17])),
            "peers",
            "at most 16",
        ),
        (with("allocations", json!(0)), "allocations", "1 or more"),
        (
            with("allocations", json!(1001)),
            "allocations",
            "at most 1000",
        ),
        (with("bitrate_bps", json!(0)), "bitrate_bps", "1 or more"),
        (with("call_id", json!("")), "call_id", "1 to 64 bytes"),
        (
            with("call_id", json!("x".repeat(65))),
            "call_id",
            "1 to 64 bytes",
        ),
    ];
    let count = cases.len();
    for (body, field, remedy) in cases {
        let answer = connection.post(&body).await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (400, &json!("invalid_request")),
            "{body}"
        );
        assert_eq!(answer.body["field"], field, "{body}: {}", answer.body);
        assert!(
            answer.body["remedy"].as_str().unwrap().contains(remedy),
            "{body}: {}",
            answer.body
        );
        assert!(
            answer.body["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty()),
            "{body}"
        );
    }
    assert_eq!(running.meter.counted(), vec!["InvalidRequest"; count]);
}

#[tokio::test]
async fn what_is_no_json_object_is_answered_as_such() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    let twice = br#"{"identity":"a","identity":"b","location":"internet","duration_secs":1}"#;
    for body in [
        &b""[..],
        b"[]",
        b"null",
        b"{",
        b"{\"identity\":\"a\"",
        b"{} {}",
        b"\xff",
        &[wish().to_string().as_bytes(), b"x"].concat(),
        twice,
    ] {
        let answer = connection
            .send(
                "POST /v1/tokens",
                "content-type: application/json\r\n",
                body,
            )
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{:?}", String::from_utf8_lossy(body));
        assert!(answer.body["detail"].is_string() && answer.body["remedy"].is_string());
    }
    for headers in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/jsonp\r\n",
    ] {
        let answer = connection
            .send("POST /v1/tokens", headers, wish().to_string().as_bytes())
            .await
            .unwrap();
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (415, &json!("not_json")),
            "{headers:?}"
        );
    }
    let answer = connection
        .send(
            "POST /v1/tokens",
            "content-type: Application/JSON; charset=utf-8\r\n",
            wish().to_string().as_bytes(),
        )
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    let body = vec![b' '; TokenServiceLimits::default().body_bytes_max + 1];
    let answer = connection
        .send(
            "POST /v1/tokens",
            "content-type: application/json\r\n",
            &body,
        )
        .await
        .unwrap();
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (413, &json!("too_long"))
    );
}

#[tokio::test]
async fn other_paths_and_methods_say_where_to_go() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    let missing = connection.get("/").await;
    assert_eq!(
        (missing.status, &missing.body["error"]),
        (404, &json!("not_found"))
    );
    let wrong = connection.get("/v1/tokens").await;
    assert_eq!(
        (wrong.status, &wrong.body["error"]),
        (405, &json!("method_not_allowed"))
    );
    assert_eq!(wrong.header("allow"), Some("POST"));
    assert!(running.meter.counted().is_empty());
}

#[tokio::test]
async fn the_openapi_document_describes_the_request_and_every_answer() {
    let running = Running::new().await;
    let answer = running.worker().await.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body["openapi"].as_str().unwrap().starts_with("3."));
    let post = &answer.body["paths"]["/v1/tokens"]["post"];
    for status in ["200", "400", "403", "413", "415", "429", "503"] {
        assert!(post["responses"][status].is_object(), "{status}");
    }
    let schemas = &answer.body["components"]["schemas"];
    let request = &schemas["TokenRequest"];
    assert_eq!(
        request["required"],
        json!(["identity", "location", "duration_secs"])
    );
    assert_eq!(request["additionalProperties"], json!(false));
    for field in ["peers", "allocations", "bitrate_bps", "call_id"] {
        assert!(request["properties"][field].is_object(), "{field}");
    }
    // What is described is what is answered.
    let token = running.worker().await.post(&wish()).await;
    let mut described: Vec<&String> = schemas["TokenAnswer"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    let mut answered: Vec<&String> = token.body.as_object().unwrap().keys().collect();
    described.sort();
    answered.sort();
    assert_eq!(described, answered);
}

#[tokio::test]
async fn a_caller_beyond_its_rate_gets_429_and_others_go_on() {
    let running = Running::with(
        |options| options.requests_per_caller_per_sec = NonZeroU32::new(2).unwrap(),
        TokenServiceLimits::default(),
    )
    .await;
    let mut worker = running.worker().await;
    let mut again = running.worker().await;
    let mut refused = None;
    for _ in 0..20 {
        let connection = if refused.is_none() {
            &mut worker
        } else {
            &mut again
        };
        let answer = connection.post(&wish()).await;
        if answer.status == 429 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("more than two a second are refused");
    assert_eq!(refused.body["error"], "rate_limited");
    assert!(
        refused
            .header("retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    let billing = running.authority.client(&["billing.example.test"]);
    assert_eq!(
        Connection(running.connect(Some(billing)).await.unwrap())
            .post(&wish())
            .await
            .status,
        200
    );
    assert!(running.meter.counted().contains(&"RateLimited".to_owned()));
}

#[tokio::test]
async fn while_draining_the_alternates_are_named() {
    let running = Running::new().await;
    let mut connection = running.worker().await;
    running.service.drain();
    for location in ["internet", "intranet"] {
        let mut wish = wish();
        wish["location"] = json!(location);
        let answer = connection.post(&wish).await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.body["relays"],
            json!(["turn:edge2.example.test:3478?transport=udp"])
        );
        assert_eq!(answer.body["iceServers"][0]["urls"], answer.body["relays"]);
    }
}

#[tokio::test]
async fn while_draining_without_alternates_nothing_is_issued() {
    let running = Running::with(
        |options| options.alternates.clear(),
        TokenServiceLimits::default(),
    )
    .await;
    running.service.drain();
    let answer = running.worker().await.post(&wish()).await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (503, &json!("draining"))
    );
    assert_eq!(running.meter.counted(), ["Draining"]);
}

#[tokio::test]
async fn a_new_generation_bites_on_the_next_connection_and_ends_the_old_ones() {
    let running = Running::new().await;
    let mut old = running.worker().await;
    assert_eq!(old.post(&wish()).await.status, 200);
    let mut next = options(&running.authority);
    next.keys = KeyRing::new(vec![
        Secret::new("2026b", "another-secret-of-ours").unwrap(),
    ])
    .unwrap();
    next.realm = "next.example.test".into();
    running
        .service
        .publish(running.service.state().successor(next).unwrap());
    assert!(old.read().await.is_err(), "the idle connection ends");
    let answer = running.worker().await.post(&wish()).await;
    assert_eq!(answer.body["realm"], "next.example.test");
    let name = answer.body["username"].as_str().unwrap();
    let ring = KeyRing::new(vec![
        Secret::new("2026b", "another-secret-of-ours").unwrap(),
    ])
    .unwrap();
    assert!(
        Verifier::new(&ring)
            .judge(
                name.as_bytes(),
                answer.body["password"].as_str().unwrap().as_bytes(),
                unix_secs()
            )
            .is_valid()
    );

    let mut without_worker = options(&running.authority);
    without_worker.allowed_names = vec!["billing.example.test".into()];
    running
        .service
        .publish(running.service.state().successor(without_worker).unwrap());
    assert_eq!(running.worker().await.post(&wish()).await.status, 403);

    let mut other_ca = options(&running.authority);
    other_ca.client_ca = vec![Authority::new().certificate];
    running
        .service
        .publish(running.service.state().successor(other_ca).unwrap());
    assert!(
        is_turned_away(
            &running,
            Some(running.authority.client(&["worker.example.test"]))
        )
        .await
    );
}

#[tokio::test]
async fn a_reload_does_not_refill_a_callers_rate() {
    let slow = |options: &mut TokenServiceOptions| {
        options.requests_per_caller_per_sec = NonZeroU32::new(1).unwrap()
    };
    let running = Running::with(slow, TokenServiceLimits::default()).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let mut next = options(&running.authority);
        slow(&mut next);
        running
            .service
            .publish(running.service.state().successor(next).unwrap());
        statuses.push(running.worker().await.post(&wish()).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn settings_with_a_key_of_another_certificate_are_refused() {
    let authority = Authority::new();
    let mut wrong = options(&authority);
    wrong.key = authority.client(&["edge.example.test"]).key;
    assert!(
        TokenServiceState::new(wrong)
            .unwrap_err()
            .to_string()
            .contains("certificate and private_key")
    );
    let mut empty = options(&authority);
    empty.client_ca.clear();
    assert!(
        TokenServiceState::new(empty)
            .unwrap_err()
            .to_string()
            .contains("client_ca")
    );
}

fn impatient() -> TokenServiceLimits {
    let soon = Duration::from_millis(300);
    TokenServiceLimits {
        handshake: soon,
        header: soon,
        body: soon,
        connections_per_source_max: 2,
        ..TokenServiceLimits::default()
    }
}

#[tokio::test]
async fn silence_before_or_within_the_handshake_ends_the_connection() {
    let running = Running::with(|_| {}, impatient()).await;
    let mut silent = TcpStream::connect(running.service.local_addr())
        .await
        .unwrap();
    let mut half = TcpStream::connect(running.service.local_addr())
        .await
        .unwrap();
    // The first half of a ClientHello's record header.
    half.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    assert!(matches!(silent.read(&mut [0; 64]).await, Ok(0) | Err(_)));
    assert!(matches!(half.read(&mut [0; 64]).await, Ok(0) | Err(_)));
    assert_eq!(running.meter.counted(), ["Handshake"; 2]);
}

#[tokio::test]
async fn half_a_header_ends_the_connection_and_half_a_body_is_408() {
    let running = Running::with(|_| {}, impatient()).await;
    let mut half_header = running.worker().await;
    half_header
        .0
        .write_all(b"POST /v1/tokens HTTP/1.1\r\nhost: e")
        .await
        .unwrap();
    half_header.0.flush().await.unwrap();
    assert_ne!(
        half_header
            .read()
            .await
            .map(|answer| answer.status)
            .unwrap_or_default(),
        200
    );
    drop(half_header);
    let mut half_body = running.worker().await;
    half_body.0.write_all(b"POST /v1/tokens HTTP/1.1\r\nhost: e\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n{").await.unwrap();
    half_body.0.flush().await.unwrap();
    assert_eq!(half_body.read().await.unwrap().status, 408);
}

#[tokio::test]
async fn one_address_holds_no_more_connections_than_its_share() {
    let running = Running::with(
        |_| {},
        TokenServiceLimits {
            connections_per_source_max: 2,
            ..TokenServiceLimits::default()
        },
    )
    .await;
    let (mut first, mut second) = (running.worker().await, running.worker().await);
    assert!(
        is_turned_away(
            &running,
            Some(running.authority.client(&["worker.example.test"]))
        )
        .await
    );
    assert_eq!(first.post(&wish()).await.status, 200);
    assert_eq!(second.post(&wish()).await.status, 200);
    drop(first);
    let mut tries = 0;
    while is_turned_away(
        &running,
        Some(running.authority.client(&["worker.example.test"])),
    )
    .await
    {
        tries += 1;
        assert!(
            tries < 200,
            "the place is free again once the server has seen the close"
        );
        tokio::task::yield_now().await;
    }
}

/// Everything the tests of this process log under the target "audit", one string per event.
fn audit() -> &'static Mutex<Vec<String>> {
    use tracing_subscriber::layer::SubscriberExt;
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let subscriber = tracing_subscriber::registry().with(AuditLines(&LINES));
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    &LINES
}

struct AuditLines(&'static Mutex<Vec<String>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for AuditLines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        if event.metadata().target() == "audit" {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

fn audit_lines_with(text: &str) -> Vec<String> {
    audit()
        .lock()
        .unwrap()
        .iter()
        .filter(|line| line.contains(text))
        .cloned()
        .collect()
}

#[tokio::test]
async fn each_issue_is_one_audit_line_without_the_secret() {
    audit();
    let running = Running::new().await;
    let mut wish = wish();
    wish["identity"] = json!("audited-alice");
    wish["call_id"] = json!("call-9");
    let answer = running.worker().await.post(&wish).await;
    let lines = audit_lines_with("audited-alice");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "token issued",
        "worker.example.test",
        "internet",
        "lifetime_secs=3600",
        "key=2026a",
        "extended",
        "call-9",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    for secret in [
        SECRET,
        answer.body["password"].as_str().unwrap(),
        answer.body["username"].as_str().unwrap(),
    ] {
        assert!(!lines[0].contains(secret), "{}", lines[0]);
    }
}

#[tokio::test]
async fn a_caller_that_is_not_allowed_leaves_an_audit_line() {
    audit();
    let running = Running::new().await;
    let stranger = running.authority.client(&["audited-stranger.example.test"]);
    Connection(running.connect(Some(stranger)).await.unwrap())
        .post(&wish())
        .await;
    let lines = audit_lines_with("audited-stranger");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("token refused"), "{lines:?}");
}
