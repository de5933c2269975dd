//! What the tests of this room share: a small whole configuration, its certificates in memory, and what comes of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, SanType};

use crate::{Config, Finding, Loaded, Source, load_source};

/// Ends at line 19; tests replace lines of it, or add after it.
pub(crate) const BASE: &str = r#"[edge]
realm = "example.test"
udp = ["203.0.113.10:3478", "[2001:db8::10]:3478"]
tcp = ["203.0.113.10:3478"]
tls = ["203.0.113.10:443"]
dtls = []
certificate = "edge.pem"
private_key = "edge.key"

[edge.relay]
addresses = ["203.0.113.10", "2001:db8::10"]
ports = "50000-59999"
allow_peers = ["10.20.0.0/24"]
deny_peers = []

[edge.auth]
secrets = [{ id = "2026a", value = "sixteen-bytes-at-the-least" }]

[telemetry]
"#;

/// To be added to [`BASE`]; its header is line 20.
pub(crate) const TOKENS: &str = r#"[edge.tokens]
listen = "10.20.0.10:8443"
certificate = "edge.pem"
private_key = "edge.key"
client_ca = "edge.pem"
allowed_names = ["worker.example.test"]
"#;

/// A whole configuration without an edge; tests replace lines of it, or add after it.
pub(crate) const CALL: &str = r#"[router]
startup_mode = "dual"
tcp = ["10.20.0.21:5060"]
tls = ["10.20.0.21:5061"]
udp = ["10.20.0.21:5060"]
host = "router.example.test"
certificate = "call.pem"
private_key = "call.key"
client_ca = "call.pem"
um_services = ["sip:10.20.0.20:5062;transport=tcp", "sip:um.example.test:5063;transport=tls"]

[um]
startup_mode = "dual"
tcp = ["10.20.0.20:5062"]
tls = ["10.20.0.20:5063"]
host = "um.example.test"
certificate = "call.pem"
private_key = "call.key"
client_ca = "call.pem"
routers = ["10.20.0.21", "router.example.test"]

[worker]
startup_mode = "dual"
addresses = ["10.20.0.20"]
host = "worker.example.test"
certificate = "call.pem"
private_key = "call.key"
client_ca = "call.pem"

[[worker.edge]]
tokens = "https://10.20.0.10:8443"
certificate = "call.pem"
private_key = "call.key"
ca = "call.pem"

[mailbox]
store = "sqlite:postern.db"
recordings = "file:recordings"

[[gateway]]
address = "203.0.113.0/24"
dial_plan = "office"

[[gateway]]
name = "gw.example.test"
dial_plan = "sealed"

[[dial_plan]]
name = "office"
pilots = ["7000"]

[[dial_plan]]
name = "sealed"
security = "secured"
pilots = ["8000"]
"#;

/// A certificate and key in PEM form: `edge.example.test`, `*.relay.example.test`, 203.0.113.10, valid 1975 to 4096.
pub(crate) fn pem_pair(key: &KeyPair) -> (String, String) {
    pem_pair_for(key, &["edge.example.test", "*.relay.example.test"])
}

/// As [`pem_pair`], with these names.
pub(crate) fn pem_pair_for(key: &KeyPair, names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).expect("plain names");
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10))));
    (params.self_signed(key).expect("a certificate").pem(), key.serialize_pem())
}

pub(crate) fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

pub(crate) fn source(text: &str) -> Source {
    let (certificate, key_pem) = pem_pair(&key());
    let (call, call_key) = pem_pair_for(&key(), &["router.example.test", "um.example.test", "worker.example.test"]);
    Source::text("edge.toml", text, Path::new("/nonexistent"))
        .with_file("call.pem", call)
        .with_file("call.key", call_key)
        .with_file("edge.pem", certificate)
        .with_file("edge.key", key_pem)
        .with_file("other.key", key().serialize_pem())
        .with_file("turn.secret", "a-secret-in-a-file-of-its-own\n")
        .with_file("short.secret", "fifteen-bytes-!\n")
        .with_file("junk.pem", "nothing of use")
}

pub(crate) fn machine() -> Vec<IpAddr> {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
    vec![
        Ipv4Addr::LOCALHOST.into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv4Addr::new(203, 0, 113, 10).into(),
        v6.into(),
        Ipv4Addr::new(10, 20, 0, 10).into(),
        Ipv4Addr::new(10, 20, 0, 20).into(),
        Ipv4Addr::new(10, 20, 0, 21).into(),
    ]
}

pub(crate) fn load_text(text: &str) -> Result<Loaded, Vec<Finding>> {
    load_source(&source(text), &machine())
}

pub(crate) fn accepted(text: &str) -> Config {
    load_text(text).unwrap_or_else(|errors| panic!("refused: {}", printed(&errors))).config
}

pub(crate) fn printed(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

/// `text` has exactly one error, which is printed with this start and holds `what`.
#[track_caller]
pub(crate) fn refuses(text: &str, start: &str, what: &str) {
    let errors = load_text(text).expect_err("this must be refused");
    one(&errors, start, what);
}

/// `text` is accepted with exactly one warning, which is printed with this start and holds `what`.
#[track_caller]
pub(crate) fn warns(text: &str, start: &str, what: &str) {
    match load_text(text) {
        Ok(loaded) => one(&loaded.warnings, start, what),
        Err(errors) => panic!("refused: {}", printed(&errors)),
    }
}

#[track_caller]
fn one(findings: &[Finding], start: &str, what: &str) {
    let all = printed(findings);
    assert!(
        findings.len() == 1 && all.starts_with(&format!("edge.toml:{start}: ")) && all.contains(what),
        "got:\n{all}"
    );
}

/// [`CALL`] with `old` replaced, which must be in it.
#[track_caller]
pub(crate) fn call_with(old: &str, new: &str) -> String {
    assert!(CALL.contains(old), "the call has no {old}");
    CALL.replacen(old, new, 1)
}

/// [`BASE`] with `old` replaced, which must be in it.
#[track_caller]
pub(crate) fn with(old: &str, new: &str) -> String {
    assert!(BASE.contains(old), "the base has no {old}");
    BASE.replacen(old, new, 1)
}

/// A directory of its own under the system's temporary one, removed when dropped.
pub(crate) struct Scratch(std::path::PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("postern-config-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: &str) {
        std::fs::write(self.path(name), contents).expect("a temporary file");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
