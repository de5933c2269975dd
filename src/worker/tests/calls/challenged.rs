//! Gateways that ask who calls: each is answered with its own password, and with no other's.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use postern_sip::{HeaderName, StatusCode};
use postern_slots::{FromWorker, OrderCause, Progress, ToWorker};

use crate::gateway::Gateway;
use crate::outgoing::{lab, order};
use crate::slot::Service;

const CHALLENGE: &str = "Digest realm=\"gw\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"";

/// A file that its owner alone can read, removed when dropped.
struct Password(PathBuf);

impl Password {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("postern-gateway-{}.password", std::process::id()));
        std::fs::write(&path, "open sesame\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Self(path)
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn over(service: &mut Service) -> Progress {
    loop {
        if let FromWorker::Order(report) = service.hear().await
            && report.progress.is_over()
        {
            return report.progress;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_answered_with_its_own_password_and_the_next_one_not() {
    let password = Password::new();
    let (mut first, mut next) = (Gateway::start("127.0.0.2"), Gateway::start("127.0.0.3"));
    let login = format!("username = \"postern\"\npassword_file = \"{}\"\n", password.0.display());
    let tables = [first.table(), login, next.table()];
    let lab = first.during(next.during(lab(&tables, ""))).await;
    let mut service = Service::greet(&lab).await;
    service.say(&ToWorker::Place(Box::new(order(&[&first, &next])))).await;
    let asked = first.incoming().await;
    assert!(!asked.invite.headers.contains(HeaderName::Authorization));
    first.challenge(asked.call, CHALLENGE);
    let proved = first.incoming().await;
    assert_eq!(proved.invite.headers.call_id(), asked.invite.headers.call_id());
    let answer = proved.invite.headers.value(HeaderName::Authorization).unwrap().to_owned();
    assert!(answer.starts_with("Digest username=\"postern\", realm=\"gw\", nonce=\"n\""), "{answer}");
    assert!(answer.contains("algorithm=SHA-256, qop=auth, nc=00000001") && !answer.contains("sesame"), "{answer}");
    first.refuse(proved.call, StatusCode::SERVICE_UNAVAILABLE);
    let asked = tokio::select! {
        asked = next.incoming() => asked,
        () = first.stay() => unreachable!("it stays"),
    };
    assert!(!asked.invite.headers.contains(HeaderName::Authorization), "{:?}", asked.invite);
    next.challenge(asked.call, CHALLENGE);
    let end = tokio::select! {
        end = over(&mut service) => end,
        () = next.stay() => unreachable!("it stays"),
    };
    assert_eq!(end, Progress::over(OrderCause::Other, Some(401)));
}
