//! Web services over a store of two mailboxes, a clock that tests set, and calls that are only noted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use jiff::Timestamp;
use postern_mailbox::{
    Began, Beginning, Caller, Finished, Finishing, GreetingKind, MailboxId, MessageId, OwnQuota, Pin, PinPolicy,
    PlanName, Purpose, Quota, Store,
};
use postern_store::{MailSettings, NewMailbox, PinKey, SqliteStore};
use postern_telemetry::UmCells;
use postern_web::{AdminTokens, CallId, CallInfo, CallPurpose, CallRefusal, CallState, Calls, News, Options, Parts};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tower::ServiceExt;

pub const RATE: u32 = 8000;
pub const HOST: &str = "voice.example.test";
pub const ADMIN: &str = "a token of tests that is long enough";
pub const PASSWORD: &str = "correct horse";

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Calls that are placed nowhere.
#[derive(Default)]
pub struct NotedCalls {
    pub placed: Mutex<Vec<(MailboxId, CallPurpose, String)>>,
    pub hung_up: Mutex<Vec<CallId>>,
    pub refusal: Mutex<Option<CallRefusal>>,
}

#[async_trait]
impl Calls for NotedCalls {
    async fn place(&self, mailbox: MailboxId, what: CallPurpose, to: String) -> Result<CallId, CallRefusal> {
        if let Some(refusal) = *self.refusal.lock().unwrap() {
            return Err(refusal);
        }
        let mut placed = self.placed.lock().unwrap();
        placed.push((mailbox, what, to));
        Ok(CallId(placed.len() as u128))
    }

    async fn info(&self, mailbox: MailboxId, call: CallId) -> Option<CallInfo> {
        let placed = self.placed.lock().unwrap();
        let (owner, ..) = placed.get((call.0 as usize).checked_sub(1)?)?;
        (*owner == mailbox).then_some(CallInfo { state: CallState::Connecting, cause: None, sip_status: None })
    }

    async fn hang_up(&self, mailbox: MailboxId, call: CallId) -> bool {
        let is_own = self.info(mailbox, call).await.is_some();
        if is_own {
            self.hung_up.lock().unwrap().push(call);
        }
        is_own
    }
}

/// Services under test.
pub struct Bench {
    pub router: Router,
    pub store: Arc<SqliteStore>,
    pub calls: Arc<NotedCalls>,
    pub news: broadcast::Sender<News>,
    pub cells: Arc<UmCells>,
    pub alice: MailboxId,
    pub bob: MailboxId,
    clock: Arc<AtomicI64>,
    scratch: Arc<Scratch>,
}

/// An answer, read whole.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Status and word of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Who is signed in, with what his requests show.
#[derive(Clone)]
pub struct Owner {
    pub cookie: String,
    pub csrf: String,
}

pub fn options() -> Options {
    Options {
        url: format!("https://{HOST}"),
        admin_tokens: AdminTokens::new([ADMIN.as_bytes()]).unwrap(),
        pin_policy: PinPolicy::default(),
    }
}

impl Bench {
    pub async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("postern-web-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let clock = Arc::new(AtomicI64::new(1_760_000_000_000));
        let bench = Self::over(Arc::new(Scratch(path)), clock).await;
        let alice = bench.store.add_mailbox(mailbox("1001", "Alice Ng")).await.unwrap();
        let bob = bench.store.add_mailbox(mailbox("1002", "Bob Ito")).await.unwrap();
        Self { alice, bob, ..bench }
    }

    /// The same store under a process that has just started.
    pub async fn restarted(self) -> Self {
        let (alice, bob) = (self.alice, self.bob);
        let bench = Self::over(Arc::clone(&self.scratch), Arc::clone(&self.clock)).await;
        Self { alice, bob, ..bench }
    }

    async fn over(scratch: Arc<Scratch>, clock: Arc<AtomicI64>) -> Self {
        let key = PinKey::new(b"a key of tests, long enough".to_vec()).unwrap();
        let files = (scratch.0.join("postern.db"), scratch.0.join("recordings"));
        let opened =
            postern_store::Options { sends_letters: true, ..postern_store::Options::new(files.0, files.1, key) };
        let store = Arc::new(SqliteStore::open(opened).await.unwrap().0);
        let calls = Arc::new(NotedCalls::default());
        let (news, _) = broadcast::channel(postern_web::limits::NEWS_MAX);
        let cells = Arc::new(UmCells::default());
        let told = Arc::clone(&clock);
        let parts = Parts {
            store: Arc::clone(&store),
            calls: Some(calls.clone()),
            news: news.clone(),
            cells: Arc::clone(&cells),
            clock: Arc::new(move || Timestamp::from_millisecond(told.load(Ordering::Relaxed)).unwrap()),
        };
        let router = postern_web::router(options(), parts);
        let nobody = MailboxId::from_bytes([0; 16]);
        Self { router, store, calls, news, cells, alice: nobody, bob: nobody, clock, scratch }
    }

    /// A file of the store.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.0.join(name)
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.load(Ordering::Relaxed)).unwrap()
    }

    pub fn pass(&self, time: Duration) {
        self.clock.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
    }

    /// Gives a mailbox its password and signs its owner in.
    pub async fn owner(&self, mailbox: MailboxId) -> Owner {
        self.store.set_password(mailbox, postern_store::Password::new(PASSWORD.into())).await.unwrap();
        let address = if mailbox == self.alice { "1001" } else { "1002" };
        let answer = self.sign_in(address, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        owner_of(&answer)
    }

    pub async fn sign_in(&self, address: &str, password: &str) -> Answer {
        // Attempts of one address are limited, which is another test's concern.
        self.pass(postern_web::limits::ATTEMPT_EVERY);
        let wish = json!({ "mailbox": address, "password": password });
        self.ask(Method::POST, "/session", &[], Some(wish)).await
    }

    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        self.ask_at(method, &format!("/api/v1{path}"), headers, body).await
    }

    pub async fn ask_at(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let response = self.response(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn response(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> axum::response::Response {
        let mut request = Request::builder().method(method).uri(path).header("host", HOST);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    pub async fn get(&self, owner: &Owner, path: &str) -> Answer {
        self.ask(Method::GET, path, &[("cookie", &owner.cookie)], None).await
    }

    pub async fn change(&self, owner: &Owner, method: Method, path: &str, body: Option<Value>) -> Answer {
        let headers = [("cookie", owner.cookie.as_str()), ("x-csrf-token", &owner.csrf)];
        self.ask(method, path, &headers, body).await
    }

    pub async fn as_admin(&self, method: Method, path: &str, token: &str) -> Answer {
        self.ask(method, path, &[("authorization", &format!("Bearer {token}"))], None).await
    }

    /// Leaves a message of these samples.
    pub async fn leave(&self, mailbox: MailboxId, samples: &[i16]) -> MessageId {
        let caller = Caller { address: Some("+15550100".into()), name: Some("Carol".into()) };
        let purpose = Purpose::Deposit { caller, quota: Quota::default(), deposits_max: 3, replaces: None };
        match self.record(mailbox, purpose, samples).await {
            Finished::Message { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    pub async fn greet(&self, mailbox: MailboxId, kind: GreetingKind, samples: &[i16]) {
        let finished = self.record(mailbox, Purpose::Greeting(kind), samples).await;
        assert!(matches!(finished, Finished::Greeting(_)));
    }

    async fn record(&self, mailbox: MailboxId, purpose: Purpose, samples: &[i16]) -> Finished {
        let beginning = Beginning { mailbox, purpose, rate_hz: RATE, begun: self.now() };
        let Began::Recording { recording, .. } = self.store.begin_recording(beginning).await.unwrap() else {
            panic!("no recording begins")
        };
        for piece in samples.chunks(RATE as usize) {
            self.store.append_audio(recording, piece).await.unwrap();
        }
        self.store.finish_recording(Finishing { recording, audio_min: Duration::ZERO }).await.unwrap()
    }
}

pub fn owner_of(answer: &Answer) -> Owner {
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    Owner { cookie, csrf: answer.json()["csrf"].as_str().unwrap().to_owned() }
}

/// A second of samples that each can be told.
pub fn samples(seconds: usize) -> Vec<i16> {
    (0..seconds * RATE as usize).map(|place| (place * 7 % 30_000) as i16).collect()
}

fn mailbox(address: &str, name: &str) -> NewMailbox {
    NewMailbox {
        plan: PlanName("office".into()),
        addresses: vec![address.parse().unwrap()],
        name: name.into(),
        language: "en".into(),
        time_zone: "Europe/Berlin".into(),
        operator: None,
        quota: OwnQuota::default(),
        mail: MailSettings::default(),
        pin: Pin::new("271828").unwrap(),
        must_change: false,
    }
}
