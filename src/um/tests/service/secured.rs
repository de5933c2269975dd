//! A UM service under mutual TLS, from a file: redirects that stay secure, certificates that change, files that break.

use std::path::Path;
use std::time::Instant;

use postern_config::{Role, load_role};
use postern_sip::options::EndpointOptions;
use postern_sip::{Endpoint, Event, Method, Request, Response, Target, Uri};
use postern_slots::Slot;
use postern_transport::{TlsIdentity, Transport, TransportOptions};
use postern_um::{Origin, Stop, run};
use tokio::sync::{mpsc, oneshot};

use crate::authority::Authority;
use crate::lab::{Lab, eventually};

/// A service that runs from a file in the lab's directory, with TLS alone.
struct Secured {
    lab: Lab,
    authority: Authority,
    _stops: mpsc::Sender<Stop>,
}

impl Secured {
    async fn start() -> Self {
        let (lab, authority) = (Lab::new(), Authority::new());
        let (sip, metrics) = (lab.sip, lab.metrics);
        let text = format!(
            r#"
[um]
startup_mode = "tls"
tls = ["{sip}"]
host = "localhost"
certificate = "um.pem"
private_key = "um.key"
client_ca = "ca.pem"
runtime_directory = "run"
metrics = "{metrics}"
[um.recycle]
interval_secs_min = 0
[router]
startup_mode = "tls"
tls = ["127.0.0.1:5061"]
host = "router.example.test"
certificate = "router.pem"
private_key = "router.key"
client_ca = "ca.pem"
um_services = ["sip:localhost:5063;transport=tls"]
[worker]
startup_mode = "tls"
host = "localhost"
certificate = "um.pem"
private_key = "um.key"
client_ca = "ca.pem"
addresses = ["127.0.0.1"]
[mailbox]
[[gateway]]
name = "gw.example.test"
dial_plan = "office"
[[dial_plan]]
name = "office"
security = "secured"
pilots = ["7000"]
digits = 4
"#
        );
        let secured = Self { lab, authority, _stops: mpsc::channel(1).0 };
        secured.write("ca.pem", &secured.authority.roots());
        secured.install(&secured.authority.identity("localhost"));
        secured.install_as("router", &secured.authority.identity("router.example.test"));
        let path = secured.write("postern.toml", text.as_bytes());
        let loaded = load_role(&path, &[], Role::Um).unwrap_or_else(|faults| panic!("{faults:?}"));
        let (stops, told) = mpsc::channel(4);
        let (tell, ready) = oneshot::channel();
        let launch = secured.lab.launch();
        tokio::spawn(
            async move { run(loaded, Origin::File(path), launch, told, |_| assert!(tell.send(()).is_ok())).await },
        );
        ready.await.expect("it starts");
        secured.lab.until_standby().await;
        Self { _stops: stops, ..secured }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.lab.directory.join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, bytes).and_then(|()| private(&new)).expect("own directory");
        std::fs::rename(new, &path).expect("own directory");
        path
    }

    fn install(&self, identity: &TlsIdentity) {
        self.install_as("um", identity);
    }

    fn install_as(&self, role: &str, identity: &TlsIdentity) {
        // The key first: of a pair that does not match nothing is taken, and the next look finds both.
        self.write(&format!("{role}.key"), &identity.private_key);
        self.write(&format!("{role}.pem"), &identity.certificate);
    }

    async fn metric(&self, line: &str) -> bool {
        self.lab.scrape("/metrics").await.lines().any(|known| known == line)
    }

    fn gateway(&self, name: &str) -> Gateway {
        let tls = Some(self.authority.identity(name));
        let transport = Transport::bind(TransportOptions { tls, ..TransportOptions::default() }).expect("bound");
        Gateway { transport, endpoint: Endpoint::new(EndpointOptions::default(), [7; 32]), asked: 0 }
    }
}

fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

struct Gateway {
    transport: Transport,
    endpoint: Endpoint,
    asked: u32,
}

impl Gateway {
    /// The final answer to an INVITE; none where no connection comes about.
    async fn invite(&mut self, service: &Secured, scheme: &str) -> Option<Response> {
        let port = service.lab.sip.port();
        let Some(Uri::Sip(uri)) = Uri::parse(&format!("{scheme}:1001@localhost:{port};transport=tls")) else {
            panic!("no SIP URI")
        };
        self.asked += 1;
        let mut invite = Request::new(Method::Invite, uri);
        for (name, value) in [
            ("From", "<sip:5550100@gw.example.test>;tag=1".to_owned()),
            ("To", "<sip:1001@localhost>".to_owned()),
            ("Call-ID", format!("secured-{}", self.asked)),
            ("CSeq", "1 INVITE".to_owned()),
            ("Contact", "<sip:5550100@gw.example.test;transport=tls>".to_owned()),
        ] {
            invite.headers.push(name, value);
        }
        let target = Target::of(&invite).expect("a place to go");
        self.endpoint.send_request(invite, target, Instant::now()).expect("sent");
        let answered = async {
            loop {
                while let Some(event) = self.endpoint.poll_event() {
                    match event {
                        Event::Response { response, .. } if response.status.is_final() => return Some(response),
                        Event::Failed { .. } => return None,
                        _ => {}
                    }
                }
                self.transport.drive(&mut self.endpoint).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), answered).await.expect("an answer in time")
    }
}

fn contact(answer: &Response) -> &str {
    answer.headers.value("Contact").expect("a Contact")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_by_tls_is_redirected_to_the_worker_s_name_or_not_at_all() {
    let service = Secured::start().await;
    let mut gateway = service.gateway("gw.example.test");
    let answer = gateway.invite(&service, "sip").await.expect("an answer");
    assert_eq!(answer.status.code(), 503, "workers without TLS are no way on");
    for slot in Slot::BOTH {
        service.lab.tell(slot, "secure").await;
    }
    let mut answer = gateway.invite(&service, "sip").await.expect("an answer");
    let began = Instant::now();
    while answer.status.code() == 503 && began.elapsed().as_secs() < 10 {
        answer = gateway.invite(&service, "sip").await.expect("an answer");
    }
    assert_eq!(answer.status.code(), 302);
    assert!(contact(&answer).starts_with("<sip:1001@worker.example.test:506"), "{}", contact(&answer));
    assert!(contact(&answer).contains(";transport=tls"), "{}", contact(&answer));
    let answer = gateway.invite(&service, "sips").await.expect("an answer");
    assert!(contact(&answer).starts_with("<sips:1001@worker.example.test:506"), "{}", contact(&answer));

    let stranger = service.gateway("stranger.example.test").invite(&service, "sip").await.expect("an answer");
    assert_eq!(stranger.status.code(), 403, "the name in the certificate is no gateway's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_at_once_and_recycles_the_workers() {
    let service = Secured::start().await;
    let expiry = |unix_secs: u64| format!("postern_um_certificate_expiry_timestamp_seconds {unix_secs}");
    assert!(service.metric(&expiry(2_240_611_200)).await, "2041");
    let pids = Slot::BOTH.map(|slot| service.lab.pid(slot));
    service.install(&service.authority.identity_until("localhost", 2042));
    eventually(async || service.metric(&expiry(2_272_147_200)).await).await;
    eventually(async || service.metric("postern_um_recycles_total{cause=\"certificate\"} 1").await).await;
    eventually(async || Slot::BOTH.into_iter().zip(pids).all(|(slot, pid)| service.lab.pid(slot) != pid)).await;
    let answer = service.gateway("gw.example.test").invite(&service, "sip").await.expect("a handshake, and an answer");
    assert_eq!(answer.status.code(), 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_of_another_role_leaves_the_workers_alone() {
    let service = Secured::start().await;
    let pids = Slot::BOTH.map(|slot| service.lab.pid(slot));
    // By the second time a recycle of the first would have begun.
    for applied in [1, 2] {
        service.install_as("router", &service.authority.identity_until("router.example.test", 2042));
        let line = format!("postern_um_configuration_reloads_total{{result=\"applied\"}} {applied}");
        eventually(async || service.metric(&line).await).await;
    }
    assert!(service.metric("postern_um_recycles_total{cause=\"certificate\"} 0").await);
    assert_eq!(Slot::BOTH.map(|slot| service.lab.pid(slot)), pids);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_of_workers_is_refused_and_they_stay() {
    for (from, to, named) in [
        ("[mailbox]", "[mailbox]\nstore = \"sqlite:other.db\"", "mailbox.store"),
        ("[worker]", "[telemetry]\nlog = \"debug\"\n[worker]", "telemetry.log"),
    ] {
        let service = Secured::start().await;
        let pids = Slot::BOTH.map(|slot| service.lab.pid(slot));
        let text = std::fs::read_to_string(service.lab.directory.join("postern.toml")).expect("own file");
        service.write("postern.toml", text.replace(from, to).as_bytes());
        // The same in another file: certificates are watched, the configuration is not.
        service.write("ca.pem", &service.authority.roots());
        let refused = "postern_um_configuration_reloads_total{result=\"refused\"} 1";
        eventually(async || service.metric(refused).await).await;
        assert_eq!(Slot::BOTH.map(|slot| service.lab.pid(slot)), pids, "{named}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_certificate_is_refused_and_the_old_one_stays() {
    let service = Secured::start().await;
    let pids = Slot::BOTH.map(|slot| service.lab.pid(slot));
    service.write("um.pem", b"no certificate\n");
    eventually(async || service.metric("postern_um_configuration_reloads_total{result=\"refused\"} 1").await).await;
    let answer = service.gateway("gw.example.test").invite(&service, "sip").await.expect("a handshake, and an answer");
    assert_eq!(answer.status.code(), 503);
    assert_eq!(Slot::BOTH.map(|slot| service.lab.pid(slot)), pids, "no worker would start under it");
    assert!(service.metric("postern_um_configuration_reloads_total{result=\"applied\"} 0").await);
}
