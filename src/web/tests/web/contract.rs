//! The OpenAPI document is the contract: each of its routes is there, no other is, and none shows a mailbox to
//! anybody but its owner.

use std::collections::BTreeSet;

use axum::http::Method;
use postern_mailbox::{GreetingKind, MailboxId};
use postern_web::{CallPurpose, Calls, DOCUMENT};
use serde_json::{Value, json};

use crate::support::*;

/// A method and a path of the document, and how it is secured.
struct Operation {
    method: Method,
    path: String,
    security: BTreeSet<String>,
    has_body: bool,
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().expect("each route says how it is secured");
            operations.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                security: security.iter().flat_map(|all| all.as_object().unwrap().keys().cloned()).collect(),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    assert!(operations.len() > 20);
    operations
}

/// What belongs to a mailbox, for the parameters of paths.
struct Belongings {
    message: String,
    call: String,
    address: &'static str,
}

async fn belongings(bench: &Bench, mailbox: MailboxId, address: &'static str) -> Belongings {
    let message = bench.leave(mailbox, &samples(1)).await;
    bench.greet(mailbox, GreetingKind::Own, &samples(1)).await;
    let call = bench.calls.place(mailbox, CallPurpose::PlayMessage(message), "1".into()).await.unwrap();
    Belongings { message: message.to_string(), call: call.to_string(), address }
}

impl Operation {
    fn path_of(&self, of: &Belongings) -> String {
        let id = if self.path.starts_with("/calls") { &of.call } else { &of.message };
        let path = self.path.replace("{id}", id).replace("{kind}", "own").replace("{token}", "x");
        let path = path.replace("{plan}", "office").replace("{address}", of.address);
        assert!(!path.contains('{'), "{path}: the walk knows no such parameter");
        path
    }

    fn body(&self, of: &Belongings) -> Option<Value> {
        let body = match self.path.as_str() {
            _ if !self.has_body => return None,
            "/session" => json!({"mailbox": "1001", "password": "x"}),
            "/password" => json!({"old": PASSWORD, "new": "tea at four in May"}),
            "/links/{token}/password" => json!({"password": "tea at four in May"}),
            "/messages/{id}" => json!({"state": "deleted"}),
            "/options" => json!({"greeting": "own"}),
            "/calls" => json!({"play": {"message": of.message}, "to": "1"}),
            path => panic!("{path}: the walk knows no body for it"),
        };
        Some(body)
    }

    fn is(&self, scheme: &str) -> bool {
        self.security.contains(scheme)
    }
}

#[tokio::test]
async fn every_route_is_documented_and_every_documented_route_is_there() {
    let routed: BTreeSet<&str> = include_str!("../../router.rs")
        .split(".route(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .filter(|path| *path != "/" && !path.starts_with("/assets"))
        .collect();
    let operations = operations();
    let documented: BTreeSet<&str> = operations.iter().map(|operation| operation.path.as_str()).collect();
    assert_eq!(routed, documented);

    let bench = Bench::new().await;
    let own = belongings(&bench, bench.alice, "1001").await;
    for path in documented {
        let of_path: Vec<&Operation> = operations.iter().filter(|operation| operation.path == path).collect();
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let refusal = bench.ask(method.clone(), &of_path[0].path_of(&own), &[], None).await.refusal();
            let is_documented = of_path.iter().any(|operation| operation.method == method);
            assert_eq!(refusal.1 != "method_not_allowed", is_documented, "{method} {path}: {refusal:?}");
        }
    }
}

#[tokio::test]
async fn no_route_answers_anybody_without_what_it_asks_for() {
    let bench = Bench::new().await;
    let (alice, bob) = (bench.owner(bench.alice).await, bench.owner(bench.bob).await);
    let own = belongings(&bench, bench.alice, "1001").await;
    bench.pass(std::time::Duration::from_secs(60));
    let mut open = BTreeSet::new();
    for operation in operations() {
        let (path, body) = (operation.path_of(&own), operation.body(&own));
        let what = format!("{} {path}", operation.method);
        let ask = async |headers: &[(&str, &str)]| {
            bench.pass(postern_web::limits::ATTEMPT_EVERY);
            bench.ask(operation.method.clone(), &path, headers, body.clone()).await.refusal()
        };
        if operation.security.is_empty() {
            open.insert(operation.path.clone());
            continue;
        }
        let nobody = ask(&[]).await;
        if operation.is("administrator") {
            assert_eq!(nobody, (401, "wrong".into()), "{what}");
            let owner = [("cookie", alice.cookie.as_str()), ("x-csrf-token", &alice.csrf)];
            assert_eq!(ask(&owner).await, (401, "wrong".into()), "{what}: an owner is no administrator");
            let foreign = [("authorization", "Bearer another token that is long enough")];
            assert_eq!(ask(&foreign).await, (401, "wrong".into()), "{what}");
            continue;
        }
        assert_eq!(nobody, (401, "signed_out".into()), "{what}");
        let made_up = [("cookie", "__Host-postern=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")];
        assert_eq!(ask(&made_up).await, (401, "signed_out".into()), "{what}");
        let admin = [("authorization", format!("Bearer {ADMIN}"))];
        assert_eq!(ask(&[("authorization", &admin[0].1)]).await.0, 401, "{what}: an administrator is no owner");
        let is_change = operation.method != Method::GET;
        assert_eq!(operation.is("csrf"), is_change, "{what}");
        if is_change {
            let foreign = [("cookie", alice.cookie.as_str()), ("x-csrf-token", &bob.csrf)];
            assert_eq!(ask(&foreign).await, (403, "csrf".into()), "{what}");
        }
    }
    let known = ["/links/{token}/password", "/openapi.json", "/session"].map(String::from);
    assert_eq!(open, BTreeSet::from(known), "a route that needs no sign-in is a decision");
}

#[tokio::test]
async fn what_belongs_to_another_mailbox_is_as_if_it_were_not_there() {
    let bench = Bench::new().await;
    let bob = bench.owner(bench.bob).await;
    let of_alice = belongings(&bench, bench.alice, "1001").await;
    let before = bench.store.messages_in(bench.alice, postern_mailbox::MessageState::New).await.unwrap();
    let (mut walked, mut named) = (0, 0);
    for operation in operations().into_iter().filter(|operation| operation.is("session")) {
        let path = operation.path_of(&of_alice);
        let what = format!("{} {path}", operation.method);
        let headers = [("cookie", bob.cookie.as_str()), ("x-csrf-token", &bob.csrf)];
        if matches!(operation.path.as_str(), "/events" | "/session" | "/password") {
            continue;
        }
        walked += 1;
        let body = operation.body(&of_alice);
        let names_another = path.contains(&of_alice.message)
            || path.contains(&of_alice.call)
            || body.as_ref().is_some_and(|body| body.to_string().contains(&of_alice.message));
        let answer = bench.ask(operation.method.clone(), &path, &headers, body).await;
        let text = String::from_utf8_lossy(&answer.body);
        for secret in [of_alice.message.as_str(), "Alice", "Carol", "1001"] {
            assert!(!text.contains(secret), "{what} tells {secret}: {text}");
        }
        if names_another {
            named += 1;
            assert_eq!(answer.refusal(), (404, "not_found".into()), "{what}");
        }
        // Bob has recorded no greeting, whatever Alice has.
        if operation.path == "/greetings/{kind}/audio" {
            assert_eq!(answer.status, 404, "{what}");
        }
    }
    assert!(walked >= 13 && named >= 7, "{walked} walked, {named} named another's");
    assert_eq!(bench.store.messages_in(bench.alice, postern_mailbox::MessageState::New).await.unwrap(), before);
    assert!(bench.calls.hung_up.lock().unwrap().is_empty());
    let alice = bench.store.mailbox(bench.alice).await.unwrap().unwrap();
    assert_eq!(alice.greeting, postern_mailbox::GreetingInUse::Standard);
}

#[tokio::test]
async fn every_answer_keeps_browsers_from_doing_more_with_it() {
    let bench = Bench::new().await;
    for (path, policy, cache) in [
        ("/", "script-src 'self'", "no-cache"),
        ("/assets/app.js", "script-src 'self'", "no-cache"),
        ("/nowhere", "script-src 'self'", "no-store"),
        ("/api/v1/session", "default-src 'none'", "no-store"),
        ("/api/v1/nowhere", "default-src 'none'", "no-store"),
    ] {
        let answer = bench.ask_at(Method::GET, path, &[], None).await;
        let csp = answer.header("content-security-policy");
        assert!(csp.contains(policy) && csp.contains("frame-ancestors 'none'"), "{path}");
        let mut sources = csp.split([' ', ';']).filter(|word| word.starts_with('\''));
        assert!(sources.all(|source| ["'none'", "'self'"].contains(&source)), "nothing inline or made up: {csp}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), cache, "{path}");
        assert!(answer.header("access-control-allow-origin").is_empty(), "{path}");
    }
    let page = bench.ask_at(Method::GET, "/", &[], None).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    let again = bench.ask_at(Method::GET, "/", &[("if-none-match", page.header("etag"))], None).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(bench.ask_at(Method::GET, "/nowhere", &[], None).await.status, 404);
}
