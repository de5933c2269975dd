//! Who asked for what is on record, and no secret is.

use std::fmt::Debug;
use std::sync::{Mutex, OnceLock};

use serde_json::json;

use crate::support::{Connection, Running, SECRET, wish};

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
    audit().lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
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
    for part in
        ["token issued", "worker.example.test", "internet", "lifetime_secs=3600", "key=2026a", "extended", "call-9"]
    {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    for secret in [SECRET, answer.body["password"].as_str().unwrap(), answer.body["username"].as_str().unwrap()] {
        assert!(!lines[0].contains(secret), "{}", lines[0]);
    }
}

#[tokio::test]
async fn a_caller_that_is_not_allowed_leaves_an_audit_line() {
    audit();
    let running = Running::new().await;
    let stranger = running.authority.client(&["audited-stranger.example.test"]);
    Connection(running.connect(Some(stranger)).await.unwrap()).post(&wish()).await;
    let lines = audit_lines_with("audited-stranger");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("token refused"), "{lines:?}");
}
